"""Min-theta bounds of models with low-rank terms, against coercivity constants; other bounds refuse them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

import rbm
from lowrank import LowRankMatrix
from rbm.affine.inner_product import InnerProduct
from rbm.solvers.definite import dense
from rbm.stability import SCM, Anchored, MinTheta, NaturalNorm, Pencil, inf_sup, low_rank_parts
from rbm.stability.low_rank_parts import LowRankPart

N = 60
RNG = np.random.default_rng(0)
U, W = RNG.standard_normal((2, N, 2))


def stiffness(n: int = N, *, free: bool = False) -> Any:
    one = np.ones(n)
    middle = 2 * one
    if free:
        middle[[0, -1]] = 1
    return sp.diags_array([-one[1:], middle, -one[1:]], offsets=[-1, 0, 1], format="csr") * (n + 1)


def model(term: Any, k: Any = None, product: Any = None, **options: Any) -> rbm.FullOrderModel:
    k = stiffness() if k is None else k
    n = k.shape[0]
    stability = options.pop("stability", MinTheta([1.0]))
    return rbm.FullOrderModel(
        [(1.0, k), ("mu", term)], [(1.0, np.ones(n))], k if product is None else product, {"mu": (0.1, 10.0)}, stability
    )


def check_below(made: rbm.FullOrderModel, share: float = 0.0) -> None:
    """The bound against the coercivity constant, from a dense eigenvalue decomposition."""
    mus = made.parameters.sample(12)
    theta = made.operator_coefficients(mus)
    beta = made.stability(mus, theta)
    for t, b in zip(theta, beta, strict=True):
        whole = dense(made.assemble(t))
        true = scipy.linalg.eigh((whole + whole.conj().T) / 2, made.product.toarray(), eigvals_only=True)[0]
        assert share * true <= b <= true * (1 + 1e-12)


@pytest.mark.parametrize("turn", [1.0, 1j])
def test_a_term_u_s_u_is_semi_definite_to_the_last_bit(turn: complex) -> None:
    u = U * np.exp(turn.imag * 1j * W) if turn.imag else U
    made = model(LowRankMatrix(u, [2.0, 0.5], u.copy()))
    assert made.stability.slack[1] == 0.0
    check_below(made, share=0.09)


def test_factors_that_differ_by_rounding_are_semi_definite_up_to_it() -> None:
    v = U * (1 + 2e-16 * np.sign(W))
    made = model(LowRankMatrix(U, [2.0, 0.5], v))
    assert 0 < made.stability.slack[1] < 1e-10
    check_below(made, share=0.09)


def test_an_indefinite_term_is_refused_and_says_what_to_do() -> None:
    for term in (LowRankMatrix(U, [1.0, -1.0], U), LowRankMatrix(U, [1.0, 1.0], W), LowRankMatrix(-U, [1.0, 1.0], U)):
        with pytest.raises(rbm.StabilityError, match=r"term 1, a low-rank matrix, is not positive.*U diag\(s\) U\^H"):
            model(term)


def test_a_skew_term_is_left_out_of_the_minimum_and_its_rounding_charged() -> None:
    a, b = U[:, :1], U[:, 1:]
    made = model(LowRankMatrix(np.concatenate([a, b], 1), [1.0, 1.0], np.concatenate([b, -a], 1)))
    assert np.isinf(made.stability.reference[1])
    assert 0 < made.stability.slack[1] < 1e-10
    check_below(made, share=0.09)


@pytest.mark.parametrize("spread", [0, 150])
def test_the_slack_is_what_the_hermitian_part_lacks(spread: int) -> None:
    """An eigenvalue that is negative by round-off is forgiven, and charged, in any units; a larger one is not."""
    units = 2.0 ** RNG.integers(-spread, spread + 1, N)
    product = InnerProduct(sp.csr_array(sp.diags_array(units) @ stiffness() @ sp.diags_array(units)))
    u = np.concatenate([U, W[:, :1]], axis=1)
    for size in (1e-13, 1e-12, 1e-11):
        s = np.array([1.0, 3.0, -size])
        part = LowRankPart.of(LowRankMatrix(units[:, None] * u, s, units[:, None] * u), product, 1e-14)
        lowest = scipy.linalg.eigh((u * s) @ u.T, stiffness().toarray(), eigvals_only=True)[0]
        slack = np.ldexp(part.slack(1) / product.units.smallest, part.exponent)
        assert -lowest - 2e-14 <= slack <= 1e3 * (-lowest + 1e-13)
    part = LowRankPart.of(LowRankMatrix(units[:, None] * u, [1.0, 3.0, -1e-7], units[:, None] * u), product, 1e-14)
    with pytest.raises(rbm.StabilityError, match="not positive semi-definite"):
        part.slack(1)


@pytest.mark.parametrize("n", [60, 1500])
def test_a_model_that_its_low_rank_term_makes_coercive(n: int) -> None:
    """A stiffness matrix without Dirichlet conditions, and the mean value: coercive together only."""
    k, one = stiffness(n, free=True), np.ones((n, 1)) / n
    product = k + sp.eye_array(n, format="csr") / n
    made = model(LowRankMatrix(one, [1.0], one), k, product)
    if n < 100:
        other = model(one @ one.T, k, product)
        assert 0.99 * other.stability.constant <= made.stability.constant <= other.stability.constant * (1 + 1e-9)
        check_below(made, share=0.09)
    assert 0.8 < made.stability.constant <= 1 / (1 + 1 / np.pi**2) + 1e-3
    assert "verified" in repr(made.verify(samples=2))
    # orthogonal to constants: nothing makes the sum definite
    twisted = np.linspace(-1, 1, n)[:, None] / n
    with pytest.raises(rbm.StabilityError, match="coercive model"):
        model(LowRankMatrix(twisted, [1.0], twisted), k, product)


@pytest.mark.parametrize(
    "bound", [SCM(), Anchored(max_anchors=30), NaturalNorm()], ids=["SCM", "Anchored", "NaturalNorm"]
)
def test_bounds_that_need_entries_get_them_of_few_unknowns(bound: Any, tmp_path: Any) -> None:
    n = 12
    term = LowRankMatrix(U[:n], [1.0, 0.3], U[:n] + 0.1 * W[:n])
    made = model(term, stiffness(n), stability=bound)
    whole = (term.U * term.s) @ term.V.T
    plain = model(whole, stiffness(n), stability=bound)
    mus = made.parameters.sample(20)
    theta = made.operator_coefficients(mus)
    beta, other = (m.stability(mus, theta) for m in (made, plain))
    losses = made.stability.losses
    # of a matrix that the rounding of its entries moves by at most u of the largest
    smallest = np.linalg.eigvalsh(made.inner_product.balanced.toarray())[0]
    assert losses[0] == 0
    assert 1e-17 < losses[1] < 1e-13 * np.abs(whole).max() / smallest
    np.testing.assert_allclose(beta, other, rtol=1e-9)
    assert np.all(beta <= inf_sup(plain, mus) * (1 + 1e-6))
    if isinstance(bound, SCM):
        check_below(made)
    reduced = rbm.project(made, made.solve(mus[:3]).T)
    reduced.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(rbm.load(tmp_path / "model.npz").solve(mus).bound, reduced.solve(mus).bound)


@pytest.mark.parametrize("factor", [1.5, 30.0])
def test_an_estimate_that_is_too_large_is_not_believed(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    k, one = stiffness(free=True), np.ones((N, 1)) / N
    product = k + sp.eye_array(N, format="csr") / N
    true = model(one @ one.T, k, product).stability.constant
    monkeypatch.setattr(low_rank_parts, "_estimate", lambda *_: factor * true)
    if factor < 10:
        assert 0 < model(LowRankMatrix(one, [1.0], one), k, product).stability.constant <= true * (1 + 1e-9)
    else:
        with pytest.raises(rbm.StabilityError, match="cannot be proved"):
            model(LowRankMatrix(one, [1.0], one), k, product)


def test_what_rounding_takes_is_subtracted_and_refused_where_nothing_is_left() -> None:
    n = 12
    made = model(LowRankMatrix(U[:n], [1.0, 1.0], U[:n]), stiffness(n), stability=SCM())
    mus = made.parameters.sample(4)
    theta = made.operator_coefficients(mus)
    whole = made.stability
    less = replace(whole, losses=np.array([0.1, 0.01]))
    np.testing.assert_allclose(less(mus, theta), whole(mus, theta) - 0.1 - 0.01 * theta[:, 1], rtol=1e-9)
    with pytest.raises(rbm.StabilityError, match="the rounding of low-rank terms takes"):
        replace(whole, losses=np.array([3.0, 0.0]))(mus, theta)


def test_bounds_that_need_entries_say_what_to_use() -> None:
    n = 1100
    u = np.ones((n, 1)) / n
    for bound in (SCM(), Pencil(), NaturalNorm(), Anchored()):
        with pytest.raises(rbm.StabilityError, match=r"operator term 1, a low-rank matrix .* at most 1000 .*MinTheta"):
            model(LowRankMatrix(u, [1.0], u), stiffness(n), stability=bound)
    term = LowRankMatrix(U, [1.0, 1.0], U)
    model(term, stability="1.0")
    model(term, stability=lambda mus: np.ones(len(mus)))


@pytest.mark.parametrize("bound", [SCM(), Pencil(), NaturalNorm(), Anchored()], ids=lambda b: type(b).__name__)
def test_an_operator_without_entries_beside_factors_is_named(bound: Any) -> None:
    n = 12
    terms = [(1.0, aslinearoperator(stiffness(n))), ("mu", LowRankMatrix(U[:n], [1.0, 1.0], U[:n]))]
    with pytest.raises(rbm.StabilityError, match=r"needs the entries of operator term 0, which is a .*LinearOperator"):
        rbm.FullOrderModel(
            terms, [(1.0, np.ones(n))], stiffness(n), {"mu": (0.1, 1.0)}, bound,
            solver=lambda a, b: np.linalg.solve(a @ np.eye(n), b),
        )  # fmt: skip


def test_a_bound_that_is_too_large_is_found_out() -> None:
    for n in (60, 900):
        u = np.ones((n, 1)) / n
        with pytest.raises(rbm.StabilityError, match="above the true inf-sup constant"):
            model(LowRankMatrix(u, [-0.2], u), stiffness(n), stability=1.2).verify(samples=2)


def test_terms_that_are_zero_have_no_size() -> None:
    u = np.concatenate([U[:, :1], 0 * U[:, :1]], axis=1)
    v = np.concatenate([U[:, :1] * (1 + 2e-16 * np.sign(W[:, :1])), 1e100 * W[:, :1]], axis=1)
    made = model(LowRankMatrix(u, [2.0, 3.0], v))
    assert 0 < made.stability.slack[1] < 1e-10
    check_below(made, share=0.09)


def test_factors_keep_their_digits_in_the_units_of_the_product() -> None:
    """Balanced, U falls below the normal range; as it is there rounded it is a multiple of V, as it is it is not."""
    units = 2.0**-250
    product = InnerProduct(stiffness(6) / 7 / units**2)
    rough = np.random.default_rng(1).standard_normal((6, 1))
    u = rough * 2.0**-821
    v = np.ldexp(u * units, 1071)
    assert np.linalg.norm(v / np.linalg.norm(v) - rough / np.linalg.norm(rough)) > 1e-3
    with pytest.raises(rbm.StabilityError, match="not positive semi-definite"):
        LowRankPart.of(LowRankMatrix(u, [1.0], v), product, 1e-14).slack(1)


def test_weights_and_factors_may_have_a_product_below_the_range_of_numbers() -> None:
    """1.6 times the smallest number is rounded to twice that, which would make the constant too large."""
    k, one = stiffness(free=True), np.ones((N, 1)) / N
    product = k + sp.eye_array(N, format="csr") / N
    tiny = float(np.finfo(float).smallest_subnormal)
    made = model(LowRankMatrix(1e161 * one, [tiny], 1e161 * one), k, product, stability=MinTheta([1.6]))
    whole = k.toarray() + 1.6 * (tiny * 1e161 * 1e161) * (one @ one.T)
    true = scipy.linalg.eigh(whole, product.toarray(), eigvals_only=True)[0]
    assert 0.9 * true <= made.stability.constant <= true


@pytest.mark.parametrize("of", [None, (), ("rounded factors",), "SCM"])
def test_a_file_that_does_not_say_which_bound_was_rounded_is_refused(of: Any) -> None:
    made = model(LowRankMatrix(U[:12], [1.0, 1.0], U[:12]), stiffness(12), stability=SCM()).stability
    with pytest.raises(ValueError, match="do not fit each other: 'of' is"):
        type(made).from_arrays({**made.arrays(), "of": of})
