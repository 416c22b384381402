"""E3, and the six mistakes of the one earlier implementation known (in Feel++): each would be caught here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import Case, make_case

import rbm
from rbm.estimate import Estimate
from rbm.estimators import coefficient_products as products
from rbm.estimators import sampled, training
from rbm.estimators.coefficient_products import Products
from rbm.estimators.sampled import Sampled

N = 3


def check(case: Case) -> None:
    """E3 is right: the number of products, and values that follow the exact residual norms."""
    m = 1 + 2 * N
    pairs = sampled.all_products(m, False)
    assert len(pairs.first) == m * (m + 1) // 2
    assert len({frozenset(p) for p in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)}) == len(
        pairs.first
    )
    state = Sampled.prepare(rbm.Reduction(case.model, case.result.basis[:, :N]), case.training)
    value = state.evaluate(*case.query(N)).value
    assert np.all(np.abs(value / case.exact(N) - 1) <= 0.01)


def ordered_pairs(m: int, complex_valued: bool) -> Products:
    first, second = (a.ravel() for a in np.indices((m, m)))
    return Products(first, second, np.zeros(m * m, dtype=int))


def without_operator_terms(m: int, complex_valued: bool) -> Products:
    """Blocks of length N instead of Qa N."""
    keep = products.all_products(m, complex_valued)
    return keep.select(np.flatnonzero((keep.first <= N) & (keep.second <= N)))


def mutate_ordered_pairs(patch: pytest.MonkeyPatch, case: Case) -> None:
    for module in (sampled, training):
        patch.setattr(module, "all_products", ordered_pairs)


def mutate_truth_residual(patch: pytest.MonkeyPatch, case: Case) -> None:
    model, honest = case.model, case.model.residual_norm

    def truth(mus, coefficients, basis, **options):  # type: ignore[no-untyped-def]
        u = model.solve(mus)
        return np.array([honest(mu[None], np.ones((1, 1)), v[:, None])[0] for mu, v in zip(mus, u, strict=True)])

    patch.setattr(model, "residual_norm", truth)


def mutate_stuck_index(patch: pytest.MonkeyPatch, case: Case) -> None:
    honest = case.model.residual_norm
    patch.setattr(
        case.model, "residual_norm", lambda mus, *args, **options: np.full(len(mus), honest(mus, *args, **options)[0])
    )


def mutate_norm_for_square(patch: pytest.MonkeyPatch, case: Case) -> None:
    honest = case.model.residual_norm
    patch.setattr(case.model, "residual_norm", lambda *args, **options: np.sqrt(honest(*args, **options)))


def mutate_block_size(patch: pytest.MonkeyPatch, case: Case) -> None:
    for module in (sampled, training):
        patch.setattr(module, "all_products", without_operator_terms)


def mutate_missing_root(patch: pytest.MonkeyPatch, case: Case) -> None:
    patch.setattr(Estimate, "from_square", classmethod(lambda cls, square, floor: cls.from_norm(square, floor)))


def test_e3_is_right(diffusion: Case) -> None:
    check(diffusion)


@pytest.mark.parametrize(
    "mutate",
    [
        mutate_ordered_pairs,
        mutate_truth_residual,
        mutate_stuck_index,
        mutate_norm_for_square,
        mutate_block_size,
        mutate_missing_root,
    ],
)
def test_each_historical_mistake_is_caught(
    diffusion: Case, monkeypatch: pytest.MonkeyPatch, mutate: Callable[[pytest.MonkeyPatch, Case], None]
) -> None:
    diffusion.exact(N)  # the oracle is not mutated
    mutate(monkeypatch, diffusion)
    with pytest.raises((AssertionError, rbm.EstimatorUnusable)):  # values that are wrong, or the guard sees it
        check(diffusion)


def test_real_data_have_half_the_products_of_complex_data() -> None:
    for m in (1, 2, 7):
        assert len(products.all_products(m, False).first) == m * (m + 1) // 2
        assert len(products.all_products(m, True).first) == m * m


def test_products_determine_the_squared_norm() -> None:
    rng = np.random.default_rng(0)
    m = 5
    c = rng.standard_normal((4, m)) + 1j * rng.standard_normal((4, m))
    w = rng.standard_normal((9, m)) + 1j * rng.standard_normal((9, m))
    gram = w.conj().T @ w
    p = products.all_products(m, True)
    x = products.evaluate_products(c, np.ones(m), p)
    # c^H G c = sum_i G_ii |c_i|^2 + 2 sum_{i<j} Re(G_ji) Re(c_i conj c_j) - Im(G_ji) Im(c_i conj c_j)
    entry = gram[p.second, p.first]
    weight = np.where(p.first == p.second, 1, 2) * np.where(p.part == 0, entry.real, -entry.imag)
    expected = np.linalg.norm(c @ w.T, axis=1) ** 2
    np.testing.assert_allclose(x @ weight, expected, rtol=64 * np.finfo(float).eps)


def test_e3_works_while_the_condition_number_allows_and_then_refuses_with_it() -> None:
    case = make_case("two parameters")
    conditions = []
    for n in (1, 2, 4):
        state = Sampled.prepare(rbm.Reduction(case.model, case.result.basis[:, :n]), case.training)
        conditions.append(state.condition)
        value = state.evaluate(*case.query(n)).value
        np.testing.assert_allclose(value, case.exact(n), rtol=1e-6)
    assert conditions == sorted(conditions)
    basis = rbm.greedy(case.model, case.training, max_basis=12, progress=False).basis
    with pytest.raises(rbm.EstimatorUnusable, match=r"N = 12: .*condition number \d\.\de\+1[3-9].*'orthonormal'"):
        Sampled.prepare(rbm.Reduction(case.model, basis), case.training)


def test_a_model_remembers_why_an_estimator_was_refused() -> None:
    case = make_case("two parameters")
    basis = rbm.greedy(case.model, case.training, max_basis=12, progress=False).basis
    reduced = rbm.project(case.model, basis, ("orthonormal", "sampled"), case.training)
    assert "sampled" not in reduced.estimators
    with pytest.raises(rbm.ModelError, match=r"'sampled' is not available.*condition number"):
        reduced.estimate(case.tests[:1], method="E3")
    with pytest.raises(rbm.EstimatorUnusable):
        rbm.project(case.model, basis, ("sampled",), case.training)


def test_a_training_set_that_is_too_small_is_refused(diffusion: Case) -> None:
    with pytest.raises(
        rbm.EstimatorUnusable,
        match=r"5 of 5 training parameters .* too few: at \d+ other points .* at least \d+ different parameters",
    ):
        Sampled.prepare(rbm.Reduction(diffusion.model, diffusion.result.basis[:, :4]), diffusion.training[::200])
