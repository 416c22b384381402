"""The exact constant of a Hermitian pencil: never above the true one, and equal to it up to rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from flint import arb, ctx
from helpers.elimination import negative_pivots, rows_of
from helpers.other_arrays import cupy_with_a_gpu

import rbm
from rbm.stability import Pencil
from rbm.stability import outer_eigenvalues as eigenvalues_module
from rbm.stability.outer_eigenvalues import outer_eigenvalues

SPACE = rbm.ParameterSpace({"k": (3.0, 15.0)})
WAVES = ("1", "-k**2*(1 - 0.02j)")


def finite_elements(m: int, complex_valued: bool = False) -> tuple[Any, Any]:
    """Stiffness and mass of bilinear elements on the unit square, m^2 unknowns; turned by phases if complex."""
    h = 1 / (m + 1)
    k = sp.diags_array([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1]) / h
    w = sp.diags_array([np.ones(m - 1), 4 * np.ones(m), np.ones(m - 1)], offsets=[-1, 0, 1]) * h / 6
    pair = [sp.csr_array(sp.kron(k, w) + sp.kron(w, k)), sp.csr_array(sp.kron(w, w))]
    if complex_valued:
        phases = sp.diags_array(np.exp(1j * np.arange(m * m)))
        pair = [sp.csr_array(phases @ a @ phases.conj()) for a in pair]
        pair = [(a + a.conj().T) / 2 for a in pair]
    return pair[0], pair[1]


def pencil_model(k: Any, m: Any, product: Any, terms: Any = WAVES, **options: Any) -> rbm.FullOrderModel:
    settings = {"parameters": SPACE, "stability": Pencil(), **options}
    operators = [*zip(terms, (k, m), strict=False), *settings.pop("further", ())]
    return rbm.FullOrderModel(operators, [(1.0, np.ones(k.shape[0]))], product, **settings)


def exact(model: rbm.FullOrderModel, theta: np.ndarray, above: bool = True) -> np.ndarray:
    """The constants by all eigenvalues in double precision, in the units of the product."""
    units = 1 / np.sqrt(model.product.diagonal().real)

    def dense(a: Any) -> np.ndarray:
        return units[:, None] * (a.toarray() if sp.issparse(a) else a) * units

    terms = [dense(a) for a in model.operator_terms]
    vectors = scipy.linalg.eigh(terms[1 if above else 0], dense(model.product))[1]
    diagonals = np.stack([np.einsum("ij,ij->j", vectors.conj(), a @ vectors) for a in terms])
    return np.abs(theta @ diagonals).min(axis=1)


@pytest.mark.parametrize("m", [15, 24])  # all eigenvalues; those that a count shows to be all
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("weights", [(1, 1), (1, 0), (1, 100), (0, 1), (0, 3.7)])
def test_it_is_the_constant(m: int, complex_valued: bool, weights: tuple[float, float]) -> None:
    k, w = finite_elements(m, complex_valued)
    model = pencil_model(k, w, sp.csr_array(weights[0] * k + weights[1] * w))
    theta = model.operator_coefficients(SPACE.sample(400, "random"))
    beta, truth = model.stability.constant(theta), exact(model, theta, above=weights[0] > 0)
    assert np.all(beta <= truth * (1 + 1e-13))
    assert np.all(beta >= truth * (1 - 1e-9))


def test_it_is_below_the_constant_in_exact_arithmetic() -> None:
    """Near resonances without damping, where all digits cancel, against exact counts of eigenvalues."""
    k, w = finite_elements(3)
    model = pencil_model(k, w, sp.csr_array(k + w), ("1", "-k**2"))
    resonances = np.sqrt(scipy.linalg.eigh(k.toarray(), w.toarray(), eigvals_only=True))
    near = [r * (1 + s) for r in resonances if 3 < r < 15 for s in (1e-3, -1e-6, 1e-9, 3e-12, -1e-13)]
    mus = np.array(near)[:, None]
    theta = model.operator_coefficients(mus)
    beta = model.stability.constant(theta)
    ctx.prec = 400
    try:
        terms = [rows_of(a.toarray()) for a in (*model.operator_terms, model.product)]

        def below(row: np.ndarray, t: float) -> int:
            """How many eigenvalues of A v = s P v are less than t."""
            a, b, c = arb(float(row[0])), arb(float(row[1])), arb(t)
            n = range(len(terms[0]))
            return negative_pivots(
                [[a * terms[0][i][j] + b * terms[1][i][j] - c * terms[2][i][j] for j in n] for i in n]
            )

        for row, found in zip(theta, map(float, beta), strict=True):
            wider = found + 1e-13 * float(np.abs(row).sum())
            assert below(row, found) == below(row, -found)  # none is nearer to zero
            assert below(row, wider) > below(row, -wider)  # and one is not much farther
    finally:
        ctx.prec = 53


@pytest.mark.parametrize("m", [12, 22])
def test_further_terms_are_combinations(m: int) -> None:
    k, w = finite_elements(m)
    damping = [("0.1j*k", sp.csr_array(0.3 * k + 0.2 * w)), ("0.01", w)]
    model = pencil_model(k, w, sp.csr_array(k + w), further=damping)
    theta = model.operator_coefficients(SPACE.sample(200, "random"))
    truth = exact(model, theta)
    beta = model.stability.constant(theta)
    assert np.all(beta <= truth * (1 + 1e-13))
    assert np.all(beta >= truth * (1 - 1e-9))


def test_units_do_not_matter() -> None:
    k, w = finite_elements(22)
    scale = sp.diags_array(10.0 ** np.random.default_rng(0).uniform(-6, 6, k.shape[0]))
    plain = pencil_model(k, w, sp.csr_array(k + w)).stability
    scaled = pencil_model(*(sp.csr_array(scale @ a @ scale) for a in (k, w, k + w))).stability
    theta = np.array([[1.0, -(5.0**2) * (1 - 0.02j)], [1.0, -81.0 + 1j]])
    np.testing.assert_allclose(scaled.constant(theta), plain.constant(theta), rtol=1e-9)
    large = pencil_model(1e9 * k, 1e9 * w, sp.csr_array(k + w)).stability
    np.testing.assert_allclose(large.constant(theta), 1e9 * plain.constant(theta), rtol=1e-9)


def test_a_cut_that_is_too_small_is_true_and_not_sharp() -> None:
    k, w = finite_elements(22)
    model = pencil_model(k, w, sp.csr_array(k + w), stability=Pencil(cut=100.0))
    theta = model.operator_coefficients(SPACE.sample(300, "random"))
    beta, truth = model.stability.constant(theta), exact(model, theta)
    assert np.all(beta <= truth * (1 + 1e-13))
    assert np.any(beta < 0.5 * truth)
    assert np.any(beta > 0.999 * truth)


def test_a_missing_eigenvalue_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The iteration returns another one twice, or one from beyond the cut: the count of pivots says so."""
    k, w = finite_elements(22)
    whole = eigenvalues_module.spla.eigsh

    def skipping(matrix: Any, k: int, **options: Any) -> Any:
        if k == 1:  # not the pencil
            return whole(matrix, k, **options)
        values, vectors = whole(matrix, k + 1, **options)
        order = np.argsort(values)[::-1]
        return np.delete(values[order], 2), np.delete(vectors[:, order], 2, axis=1)

    monkeypatch.setattr(eigenvalues_module.spla, "eigsh", skipping)
    with pytest.raises(rbm.StabilityError, match="could not be separated at the cut"):
        pencil_model(k, w, sp.csr_array(k + w))


def test_a_multiple_eigenvalue_counts_as_often_as_it_is_there() -> None:
    """The square has double eigenvalues: their vectors are taken together, and no value goes for two."""
    k, w = finite_elements(22)
    inner = pencil_model(k, w, sp.csr_array(k + w), stability=1.0).inner_product
    found = outer_eigenvalues(w, inner, 1 / 251.0, True, 50, lambda *_: None)
    truth = scipy.linalg.eigh(w.toarray(), (k + w).toarray(), eigvals_only=True)
    outer = truth[truth > 1 / 251.0]
    assert len(found.values) == len(outer)
    assert np.all(np.abs(found.values - outer) <= found.radii + 1e-15)
    assert np.all(found.radii < 1e-12)
    assert found.rest[0] <= truth.min()
    assert truth[truth < found.values.min() - 1e-9].max() <= found.rest[1]


def test_a_cut_on_an_eigenvalue_is_moved() -> None:
    k, w = finite_elements(22)
    lowest = scipy.linalg.eigh(k.toarray(), w.toarray(), eigvals_only=True)[5]
    model = pencil_model(k, w, sp.csr_array(k + w), stability=Pencil(cut=float(lowest)))
    theta = model.operator_coefficients(SPACE.sample(100, "random"))
    assert np.all(model.stability.constant(theta) <= exact(model, theta) * (1 + 1e-13))


def test_compiled_and_defined_are_the_same() -> None:
    k, w = finite_elements(12)
    bound = pencil_model(k, w, sp.csr_array(k + w)).stability
    rng = np.random.default_rng(0)
    for dtype in (float, complex):
        alpha = rng.standard_normal(301).astype(dtype)
        kappa = (300 * rng.standard_normal(301)).astype(dtype)
        kappa[:3] = 0
        if dtype is complex:
            alpha, kappa = alpha + 1j * rng.standard_normal(301), kappa * (1 - 0.1j)
        np.testing.assert_allclose(bound._compiled(alpha, kappa), bound._least(alpha, kappa), rtol=1e-12)


def test_it_goes_through_greedy_batch_file_and_back(tmp_path: Path) -> None:
    k, w = finite_elements(20)
    model = pencil_model(k, w, sp.csr_array(k + w))
    reduced = rbm.greedy(model, SPACE.sample(60), tol=1e-5).reduced_model
    reduced.save(tmp_path / "sweep.rbm")
    again = rbm.load(tmp_path / "sweep.rbm")
    mus = SPACE.sample(500, "random", rng=3)
    assert np.array_equal(again.solve(mus).bound, reduced.solve(mus).bound)
    truth = model.solve(mus[:20])
    error = model.inner_product.norm((truth - reduced.reconstruct(reduced.solve(mus[:20]))).T)
    assert np.all(error <= reduced.solve(mus[:20]).bound)
    assert "the stability bound is positive" in repr(model.verify())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mass": 5}, "mass must be the number of an operator term, 0 to 1, got 5"),
        ({"mass": 0}, "two different matrices"),
        ({"cut": np.nan}, "cut must be a finite eigenvalue"),
        ({"cut": -100.0}, "no eigenvalue that p lambda \\+ q > 0 allows"),
        ({"max_eigenvalues": 0}, "max_eigenvalues must be a whole number of at least 1, got 0"),
        ({"max_eigenvalues": 3}, "eigenvalues of the pencil are needed .* more than max_eigenvalues=3"),
    ],
)
def test_options_that_cannot_be(change: dict, message: str) -> None:
    k, w = finite_elements(22)
    with pytest.raises(rbm.StabilityError, match=message):
        pencil_model(k, w, sp.csr_array(k + w), stability=replace(Pencil(), **change))


def test_matrices_that_are_no_pencil() -> None:
    k, w = finite_elements(12)
    off = sp.csr_array(k + sp.diags_array(np.ones(k.shape[0] - 1), offsets=1))
    identity = sp.eye_array(k.shape[0], format="csr")
    with pytest.raises(rbm.StabilityError, match=r"operator term 0 \(stiffness\) is not"):
        pencil_model(off, w, sp.csr_array(k + w))
    with pytest.raises(rbm.StabilityError, match="the product is no combination a K \\+ b M"):
        pencil_model(k, w, identity)
    with pytest.raises(rbm.StabilityError, match="operator term 2 is no combination"):
        pencil_model(k, w, sp.csr_array(k + w), further=[("k", identity)])


def test_a_resonance_is_named() -> None:
    k, w = finite_elements(12)
    model = pencil_model(k, w, sp.csr_array(k + w), ("1", "-k**2"))
    resonance = np.sqrt(scipy.linalg.eigh(k.toarray(), w.toarray(), eigvals_only=True)[0])
    mus = np.array([[3.5], [resonance]])
    with pytest.raises(rbm.StabilityError, match=r"zero to working precision at k = 4\.4.* \(row 1\)"):
        model.stability(mus, model.operator_coefficients(mus))


@pytest.mark.parametrize(
    "wrong", [{"radii": np.zeros(3)}, {"rest": np.array([1.0, 0.0])}, {"alphas": np.full(2, np.nan)}]
)
def test_files_that_do_not_fit(wrong: dict) -> None:
    k, w = finite_elements(12)
    bound = pencil_model(k, w, sp.csr_array(k + w)).stability
    with pytest.raises(ValueError, match="do not fit each other"):
        type(bound).from_arrays({**bound.arrays(), **wrong})


def test_long_work_is_announced(capsys: pytest.CaptureFixture[str]) -> None:
    k, w = finite_elements(22)
    pencil_model(k, w, sp.csr_array(k + w), stability=Pencil(progress=True))
    assert "the pencil: 20 eigenvalues: about" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="will take about 83 min; cut="):
        Pencil()._announce(100, 10.0)


def test_other_arrays_give_the_same() -> None:
    strict = pytest.importorskip("array_api_strict")
    k, w = finite_elements(12)
    for terms in (WAVES, ("1", "-k**2")):
        model = pencil_model(k, w, sp.csr_array(k + w), terms)
        theta = model.operator_coefficients(SPACE.sample(50))
        other = model.stability.constant(strict.asarray(theta))
        np.testing.assert_allclose(np.asarray(other), model.stability.constant(theta), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_arrays_of_torch_give_the_same(complex_valued: bool) -> None:
    """Its matrix products take one type: complex theta with real weights, and real theta with complex weights."""
    torch = pytest.importorskip("torch")
    k, w = finite_elements(9, complex_valued)
    turned = sp.csr_array(k + 0.1j * w)
    for terms, further in ((WAVES, ()), (("1", "-k**2"), [("k", turned)]), (("1j*k", "k"), [("k", turned)])):
        model = pencil_model(k, w, sp.csr_array(k + w), terms, further=further)
        mus = SPACE.sample(50)
        theta = model.operator_coefficients(mus)
        other = model.stability(torch.asarray(mus), torch.asarray(theta))
        assert other.dtype == torch.float64
        np.testing.assert_allclose(other.numpy(), model.stability(mus, theta), rtol=1e-11)


@pytest.mark.parametrize("sizes", [(2.0, 1.0, 3.0), (2.0, -1.0, 2.0), (-0.3, 1e8, 7.0), (1.0, 1e-12, 1e-12)])
@pytest.mark.parametrize("dense", [False, True])
def test_one_unknown(dense: bool, sizes: tuple[float, float, float]) -> None:
    """All numbers are combinations of two, in many ways: the constant is |A(mu)| / P."""
    k, w, product = (np.array([[x]]) if dense else sp.csr_array([[x]]) for x in sizes)
    further = [("k", np.array([[0.5 + 0.25j]]))]
    for terms, more in ((WAVES, ()), (("k", "1j*k"), further)):
        model = pencil_model(k, w, product, terms, further=more)
        theta = model.operator_coefficients(SPACE.sample(100))
        values = [a.toarray()[0, 0] if sp.issparse(a) else a[0, 0] for a in model.operator_terms]
        truth = np.abs(theta @ np.array(values)) / sizes[2]
        beta = model.stability.constant(theta)
        assert np.all(beta <= truth * (1 + 1e-15))
        assert np.all(beta >= truth - 1e-12 * (np.abs(theta) @ np.abs(values)) / sizes[2])
    with pytest.raises(rbm.StabilityError, match="two different matrices"):
        pencil_model(k, w, product, stability=Pencil(mass=0))


def test_on_a_device() -> None:
    cupy = cupy_with_a_gpu()
    if isinstance(cupy, str):
        pytest.skip(cupy)
    k, w = finite_elements(12)
    model = pencil_model(k, w, sp.csr_array(k + w))
    theta = model.operator_coefficients(SPACE.sample(50))
    np.testing.assert_allclose(
        model.stability.constant(cupy.asarray(theta)).get(), model.stability.constant(theta), rtol=1e-12
    )


@pytest.mark.parametrize("exponent", [-170, -161, -158, 0, 140, 155])
def test_sizes_near_the_ends_of_the_range_of_numbers(exponent: int) -> None:
    """Squares of alpha + kappa t would over- or underflow: the bound is that of order one, scaled."""
    k, w = finite_elements(5)
    plain = pencil_model(k, w, sp.csr_array(k + w)).stability
    theta = np.array([[1.0, -(5.0**2)], [1.0, -30.0], [0.5, 0.1]])
    np.testing.assert_allclose(
        plain.constant(theta * 10.0**exponent), plain.constant(theta) * 10.0**exponent, rtol=1e-12
    )


def test_a_bound_that_is_infinite_is_refused() -> None:
    k, w = finite_elements(5)
    model = pencil_model(1e9 * k, 1e9 * w, sp.csr_array(k + w))
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(rbm.StabilityError):
        model.stability(np.array([[5.0]]), np.array([[1e305, 1e305]]))


@pytest.mark.parametrize("n", [399, 410])
def test_heat_in_the_norm_of_the_mass(n: int) -> None:
    """K with constants in its kernel, P = M: no resonance, and the lowest eigenvalue is the nearest."""
    h = 1 / (n - 1)
    k = sp.diags_array([np.r_[1.0, 2 * np.ones(n - 2), 1.0], -np.ones(n - 1), -np.ones(n - 1)], offsets=[0, 1, -1]) / h
    w = (
        sp.diags_array([np.r_[2.0, 4 * np.ones(n - 2), 2.0], np.ones(n - 1), np.ones(n - 1)], offsets=[0, 1, -1])
        * h
        / 6
    )
    model = pencil_model(sp.csr_array(k), sp.csr_array(w), sp.csr_array(w), ("1", "k"))
    theta = model.operator_coefficients(np.array([[3.0], [10.0]]))
    np.testing.assert_allclose(model.stability.constant(theta), [3.0, 10.0], rtol=1e-8)


def test_the_interval_of_the_rest_begins_at_the_next_eigenvalue() -> None:
    """Between resonances far apart the constant is exact to the gap, cut or no cut."""
    n = 401
    h = 1 / (n + 1)
    k = sp.csr_array(sp.diags_array([2 * np.ones(n), -np.ones(n - 1), -np.ones(n - 1)], offsets=[0, 1, -1]) / h)
    w = sp.csr_array(sp.diags_array([4 * np.ones(n), np.ones(n - 1), np.ones(n - 1)], offsets=[0, 1, -1]) * h / 6)
    model = pencil_model(k, w, sp.csr_array(k + w), ("1", "-k**2"), parameters=rbm.ParameterSpace({"k": (0.1, 4.0)}))
    theta = model.operator_coefficients(model.parameters.sample(200))
    beta, truth = model.stability.constant(theta), exact(model, theta)
    assert np.all(beta <= truth * (1 + 1e-12))
    assert np.all(beta >= 0.999 * truth - 1e-9)
