"""Inf-sup constants: the exact ones, and lower bounds from anchors that are never above them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.models import complex_model
from helpers.scattering_models import scattering

import rbm
from problems import thermal_block
from rbm.stability.bound import Anchored, inf_sup

RNG = np.random.default_rng(0)


def random_model(n: int = 40, complex_valued: bool = True, **options: object) -> rbm.FullOrderModel:
    """A non-coercive model: indefinite, not normal, with a product that is not the identity."""

    def matrix() -> np.ndarray:
        real = RNG.standard_normal((n, n)) / np.sqrt(n)
        return real + 1j * RNG.standard_normal((n, n)) / np.sqrt(n) if complex_valued else real

    root = np.eye(n) + 0.3 * RNG.standard_normal((n, n)) / np.sqrt(n)
    diagonal = np.diag(np.where(np.arange(n) % 2, 2.0, -2.0))
    settings: dict = {
        "parameters": rbm.ParameterSpace({"a": (-1.0, 1.0), "b": (-1.0, 1.0)}),
        "stability": Anchored(ratio=0.6, progress=False),
        "projection": "least-squares",
        **options,
    }
    return rbm.FullOrderModel(
        [(1.0, diagonal), ("a", 0.3 * matrix()), ("b*b", 0.3 * matrix())],
        [(1.0, RNG.standard_normal(n))],
        root @ root.T,
        **settings,
    )


def true_constant(model: rbm.FullOrderModel, mu: np.ndarray) -> float:
    """sigma_min of P^{-1/2} A P^{-1/2} with the symmetric root, an independent way."""
    p = model.product.toarray() if sp.issparse(model.product) else model.product
    values, vectors = np.linalg.eigh(p)
    root = (vectors / np.sqrt(values)) @ vectors.conj().T
    a = model.assemble(model.operator_coefficients(mu[None])[0])
    return float(np.linalg.svd(root @ (a.toarray() if sp.issparse(a) else a) @ root, compute_uv=False)[-1])


@pytest.mark.parametrize("complex_valued", [False, True])
def test_inf_sup_is_the_smallest_singular_value(complex_valued: bool) -> None:
    model = random_model(complex_valued=complex_valued)
    mus = model.parameters.sample(10, "random", rng=1)
    expected = [true_constant(model, mu) for mu in mus]
    computed = inf_sup(model, mus)
    np.testing.assert_allclose(computed, expected, rtol=1e-7)
    assert np.all(computed <= np.array(expected) * (1 + 1e-12))  # lowered, never raised


def test_inf_sup_of_a_sparse_coercive_model_is_its_coercivity_constant() -> None:
    model = thermal_block((2, 2), 8)
    mus = model.parameters.sample(5, "random", rng=1)
    np.testing.assert_array_less(mus.min(axis=1) * (1 - 1e-7), inf_sup(model, mus))
    np.testing.assert_allclose(inf_sup(model, np.ones((1, 4))), 1, rtol=1e-7)


def test_nearly_singular_constants_do_not_drown_in_the_square() -> None:
    n = 30
    u, _, v = np.linalg.svd(RNG.standard_normal((n, n)))
    a = u @ np.diag(np.linspace(1, 2, n) ** 1.0 * np.where(np.arange(n), 1, 1e-9)) @ v
    model = rbm.FullOrderModel([("m", a)], [(1.0, np.ones(n))], np.eye(n), rbm.ParameterSpace({"m": (1, 2)}), 1e-10)
    constant = inf_sup(model, [[1.0]])[0]
    assert 0.9e-9 < constant <= 1e-9 * (1 + 1e-5)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_bound_is_never_above_the_truth_and_at_least_the_asked_share_of_it_on_the_training_set(
    complex_valued: bool,
) -> None:
    model = random_model(complex_valued=complex_valued)
    training = model.parameters.sample(500)  # the default of Anchored
    beta = model.stability(training, model.operator_coefficients(training))
    exact = np.array([true_constant(model, mu) for mu in training])
    assert np.all(beta >= 0.6 * exact)
    unseen = model.parameters.sample(500, "random", rng=5)
    bound = model.stability(unseen, model.operator_coefficients(unseen))
    exact = np.array([true_constant(model, mu) for mu in unseen])
    assert np.all(bound <= exact * (1 + 1e-12))
    assert np.min(bound / exact) > 0.4


def test_the_bound_is_the_best_of_both_formulas() -> None:
    """Against the formulas of the docstring, term by term."""
    model = random_model()
    bound = model.stability
    mus = model.parameters.sample(20, "random", rng=2)
    theta = model.operator_coefficients(mus)
    p_inverse_root = np.linalg.inv(np.linalg.cholesky(model.product))
    whitened = [p_inverse_root @ a @ p_inverse_root.conj().T for a in model.operator_terms]
    norms = [np.linalg.norm(w, 2) for w in whitened]
    value = bound(mus, theta)
    for i in range(len(mus)):
        plain, natural = [], []
        for anchor in bound.anchors:
            delta = theta[i] - anchor
            at_anchor = sum(t * w for t, w in zip(anchor, whitened, strict=True))
            constant = np.linalg.svd(at_anchor, compute_uv=False)[-1]
            plain.append(constant - np.abs(delta) @ norms)
            change = sum(d * w for d, w in zip(delta, whitened, strict=True))
            natural.append(constant * (1 - np.linalg.norm(np.linalg.solve(at_anchor, change), 2)))
        assert value[i] >= max(plain) * (1 - 1e-6)  # not worse than the plain perturbation bound
        assert value[i] <= max(natural) * (1 + 1e-6)  # not better than the natural norm allows


def test_the_plain_formula_is_taken_where_it_is_the_better_one() -> None:
    """Eight unitary terms that pull in different ways.

    Moving one of them alone, the joint norm J is too large by sqrt(8).
    """
    names = [f"a{q}" for q in range(8)]
    terms = [np.linalg.qr(RNG.standard_normal((20, 20)))[0] for _ in names]
    model = rbm.FullOrderModel(
        [(1.0, 4 * np.eye(20)), *zip(names, terms, strict=True)],
        [(1.0, np.ones(20))],
        np.eye(20),
        rbm.ParameterSpace(dict.fromkeys(names, (-0.1, 0.1))),
        Anchored(ratio=0.5, progress=False),
    )
    assert len(model.stability.constants) == 1
    mus = model.stability.anchors[0, 1:] + 2.0 * np.eye(8)
    theta = model.operator_coefficients(mus)
    plain = model.stability.constants[0] - 2.0
    np.testing.assert_allclose(model.stability.best(theta), plain, rtol=1e-6)


def test_coefficients_that_did_not_vary_on_the_training_set_are_not_forgotten() -> None:
    model = random_model(stability=1.0)
    training = np.column_stack([np.linspace(-1, 1, 30), np.full(30, 0.5)])  # b never moves
    bound = Anchored(training=training, progress=False).bind(model)
    mus = model.parameters.sample(100, "random", rng=3)
    theta = model.operator_coefficients(mus)
    exact = np.array([true_constant(model, mu) for mu in mus])
    assert np.all(bound.best(theta) <= exact)


def test_a_parameter_without_a_positive_bound_is_named() -> None:
    model = random_model()
    with pytest.raises(rbm.StabilityError, match=r"stability bound from \d+ anchors is -.* at a = 50, b = 0 \(row 0"):
        model.stability(np.array([[50.0, 0.0]]), model.operator_coefficients(np.array([[50.0, 0.0]])))


def test_too_few_anchors_name_the_parameter_and_the_remedy() -> None:
    with pytest.raises(rbm.StabilityError, match=r"1 anchors are not enough: at a = .*max_anchors=.*ratio=.*narrow"):
        random_model(stability=Anchored(ratio=0.9, max_anchors=1, progress=False))


def test_a_singular_anchor_is_named() -> None:
    with pytest.raises(rbm.StabilityError, match="singular to working precision at m = 0"):
        rbm.FullOrderModel(
            [("m", np.eye(3))],
            [(1.0, np.ones(3))],
            np.eye(3),
            rbm.ParameterSpace({"m": (-1, 1)}),
            Anchored(training=np.linspace(-1, 1, 3)[:, None], progress=False),
        )


@pytest.mark.parametrize("ratio", [0.0, 1.0, -1.0])
def test_bad_ratios(ratio: float) -> None:
    with pytest.raises(rbm.StabilityError, match="ratio must lie between 0 and 1"):
        random_model(stability=Anchored(ratio=ratio))


def test_operators_without_entries_and_large_models_are_refused() -> None:
    from scipy.sparse.linalg import aslinearoperator

    with pytest.raises(rbm.StabilityError, match="LinearOperator"):
        rbm.FullOrderModel(
            [(1.0, aslinearoperator(np.eye(3)))],
            [(1.0, np.ones(3))],
            np.eye(3),
            rbm.ParameterSpace({"m": (0, 1)}),
            Anchored(),
            solver=np.linalg.solve,
        )
    with pytest.raises(rbm.StabilityError, match="at most 6000 unknowns; this model has 7081"):
        inf_sup(thermal_block(), np.ones((1, 9)))


def test_anchors_survive_a_file(tmp_path: Path) -> None:
    model = scattering()
    result = rbm.greedy(model, model.parameters.sample(50), max_basis=4, progress=False)
    result.reduced_model.save(tmp_path / "m.rbm")
    again = rbm.load(tmp_path / "m.rbm")
    mus = model.parameters.sample(20, "random", rng=1)
    np.testing.assert_array_equal(again.solve(mus).bound, result.reduced_model.solve(mus).bound)
    assert "anchors" in repr(again.stability)


def test_cached_anchors_are_the_same_and_a_damaged_cache_is_not_used(tmp_path: Path) -> None:
    def make() -> np.ndarray:
        model = complex_model(30)
        bound = Anchored(progress=False, cache=tmp_path, training=model.parameters.sample(50)).bind(model)
        return bound.growths

    first = make()
    (file,) = tmp_path.glob("anchors-*.npz")
    np.testing.assert_array_equal(make(), first)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="cached anchors are not used"):
        np.testing.assert_array_equal(make(), first)


def test_cached_anchors_are_for_one_problem_and_one_training_set(tmp_path: Path) -> None:
    model = complex_model(30)
    training = model.parameters.sample(20)

    def file(model: rbm.FullOrderModel, mus: np.ndarray = training, **options: object) -> Path:
        return Anchored(**options)._file(tmp_path, model, mus)  # type: ignore[arg-type]

    assert file(complex_model(30)) == file(model) == file(model, progress=False, cache=tmp_path)
    # what a run that goes on may change; it takes as many of the anchors as it needs
    assert file(model) == file(model, ratio=0.4) == file(model, max_anchors=10)
    others = [file(model, training[:10]), file(model, np.nextafter(training, 0)), file(complex_model(31))]
    assert len({file(model), *others}) == 1 + len(others)


def test_nearly_singular_anchors_are_refused_or_bounded() -> None:
    """A(m) = A_0 - m s u v^H with sigma_min(A_0) = s: singular at m = 1, however small s is."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        u, _, v = np.linalg.svd(rng.standard_normal((10, 10)))
        for s in (1e-3, 1e-8, 1e-11, 1e-13):
            values = np.append(np.linspace(2, 1, 9), s)
            terms = [(1.0, (u * values) @ v), ("m", -s * np.outer(u[:, -1], v[-1]))]
            model = rbm.FullOrderModel(
                terms, [(1.0, np.ones(10))], np.eye(10), rbm.ParameterSpace({"m": (0.0, 2.0)}), 1e-20
            )
            anchored = Anchored(training=np.zeros((1, 1)), progress=False)
            if s < 1e-10:
                with pytest.raises(rbm.StabilityError, match="singular to working precision at m = 0"):
                    anchored.bind(model)
                continue
            bound = anchored.bind(model)
            m = np.array([[0.0], [0.5], [0.9], [0.999], [1.0]])
            best = bound.best(model.operator_coefficients(m))
            assert np.all(best <= s * (1 - m[:, 0]) + 1e-15), (s, best)


def test_an_ill_conditioned_product_is_refused() -> None:
    q = np.linalg.qr(RNG.standard_normal((12, 12)))[0]
    for smallest, refused in ((1e-6, False), (1e-14, True)):
        product = (q * np.append(np.ones(11), smallest)) @ q.T
        model = rbm.FullOrderModel(
            [("m", product)], [(1.0, np.ones(12))], (product + product.T) / 2, rbm.ParameterSpace({"m": (1, 2)}), 1.0
        )
        if refused:
            with pytest.raises(rbm.StabilityError, match="too ill-conditioned; choose another inner product"):
                inf_sup(model, [[1.0]])
        else:
            assert 1 - 1e-6 < inf_sup(model, [[1.0]])[0] <= 1


@pytest.mark.parametrize("complex_valued", [False, True])
def test_interpolated_operators_are_bounded_too_the_small_terms_included(complex_valued: bool) -> None:
    from helpers.scattering_models import wavenumber_model

    model = wavenumber_model(complex_valued)
    mus = model.parameters.sample(100, "random", rng=3)
    theta = model.operator_coefficients(mus)
    exact = inf_sup(model, mus, progress=False)
    bound = model.stability(mus, theta)
    assert np.all(bound <= exact)
    assert np.median(bound / exact) > 0.5
    # in a direction that the training set hardly knows
    size = len(model.stability.remainder)
    assert size > 0
    direction = np.conj(model.stability.remainder[-1])
    direction = direction / np.linalg.norm(direction)
    whitened = []
    factor = np.linalg.cholesky(model.product)
    for a in model.operator_terms:
        half = np.linalg.solve(factor, a)
        whitened.append(np.linalg.solve(factor, half.conj().T).conj().T)
    for scale in (1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0):
        far = theta[:5] + scale * direction
        best = model.stability.best(far)
        true = [
            np.linalg.svd(sum(t * w for t, w in zip(row, whitened, strict=True)), compute_uv=False)[-1] for row in far
        ]
        assert np.all(best <= np.array(true) * (1 + 1e-9)), scale


def test_many_equal_eigenvalues_do_not_stop_it() -> None:
    model = rbm.FullOrderModel(
        [(1.0, 4 * np.eye(20)), ("a", np.eye(20))],
        [(1.0, np.ones(20))],
        np.eye(20),
        rbm.ParameterSpace({"a": (0, 1)}),
        Anchored(progress=False),
    )
    beta = model.stability(np.array([[0.3]]), np.array([[1.0, 0.3]]))
    assert 0.5 * 4.3 < beta[0] <= 4.3


@pytest.mark.parametrize("what", ["shape", "nan", "negative"])
def test_stored_anchors_are_checked(what: str) -> None:
    from rbm.stability.anchored import BoundAnchored

    model = random_model()
    arrays = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in model.stability.arrays().items()}
    if what == "shape":
        arrays["norms"] = arrays["norms"][1:]
    elif what == "nan":
        arrays["growths"][0] = np.nan
    else:
        arrays["constants"][0] = -1.0
    with pytest.raises(ValueError, match="stability anchors do not fit"):
        BoundAnchored.from_arrays(arrays)
