"""E_onb with fewer rows.

What is left out stays in the bound, at the sample, between its points, and for any coefficients.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Case, make_case
from helpers.oracle import Oracle

import rbm
from rbm.estimators import Orthonormal
from rbm.reduced.shortened import _shortened

EPS = float(np.finfo(float).eps)


def query(model: rbm.ReducedModel, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    gamma = model.solve(mus, estimate=False).coefficients
    return model.operator_coefficients(mus), model.rhs_coefficients(mus), gamma


@pytest.mark.parametrize("rtol", [0.5, 0.01, 1e-4])
@pytest.mark.parametrize("n", [1, 3, 5, 8])
def test_bounds_hold_between_the_sample_points(case: Case, n: int, rtol: float) -> None:
    reduced = case.result.reduced_model.truncate(n)
    short = reduced.compress(rtol)
    theta, phi, gamma = query(short, case.tests[:200])
    exact = case.oracle.norm(theta, phi, gamma)
    before, after = (m.estimators["orthonormal"].evaluate(theta, phi, gamma) for m in (reduced, short))
    assert np.all(after.bound >= exact)
    assert np.all(np.abs(after.value - exact) <= after.floor)
    # the promise, for points that were not in the sample: twice leaves room for those
    assert np.all(after.bound <= before.bound + 2 * rtol * np.median(before.value) + 8 * before.floor)


@pytest.mark.parametrize("n", [4, 8])
def test_bounds_hold_for_coefficients_that_solve_nothing(case: Case, n: int) -> None:
    short = case.result.reduced_model.truncate(n).compress(0.1)
    theta, phi, gamma = query(short, case.tests[:100])
    gamma = gamma * (1 + 1e-2 * np.random.default_rng(0).standard_normal(gamma.shape))
    exact = case.oracle.norm(theta, phi, gamma)
    e = short.estimators["orthonormal"].evaluate(theta, phi, gamma)
    assert np.all(e.bound >= exact)
    assert np.all(np.abs(e.value - exact) <= e.floor)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_out_is_in_the_floor(complex_valued: bool, seed: int) -> None:
    """Coefficients that the short factor does not see at all, where nothing but the floor speaks for the residual."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if complex_valued else 0)

    k, m = 12, 15
    factor = np.linalg.qr(normal(k, k) * np.geomspace(1, 1e-6, k) @ normal(k, m))[1]
    sizes = np.abs(normal(100, m)) * np.geomspace(1, 1e-3, m)
    full = Orthonormal(factor, np.linalg.norm(factor, axis=0), np.zeros(m), 0.0)
    allowed = 1e-2
    short = _shortened(full, sizes, allowed)
    rows = len(short.factor)
    assert 1 <= rows < k
    assert short.full_rows == k
    assert short.growth <= allowed
    np.testing.assert_array_equal(np.tril(short.factor, -1), 0)
    # one row fewer would have been too few
    u = np.linalg.svd(factor * np.sqrt(np.mean(sizes**2, axis=0)), full_matrices=False)[0]
    fewer = factor - u[:, : rows - 1] @ (u[:, : rows - 1].conj().T @ factor)
    assert (sizes @ np.linalg.norm(fewer, axis=0)).max() > 0.99 * allowed
    blind = np.linalg.svd(short.factor)[2][rows:].conj()  # c with R' c = 0
    phi, none = blind, np.zeros((len(blind), 1))
    e = short.evaluate(none, phi, np.zeros((len(blind), 0)))
    exact = np.linalg.norm(phi @ factor.T, axis=1)
    assert np.all(exact > 1e3 * EPS)
    assert np.all(e.bound >= exact)
    others = normal(500, m) * np.geomspace(1, 1e-3, m)
    e = short.evaluate(np.zeros((500, 1)), others, np.zeros((500, 0)))
    assert np.all(np.abs(e.value - np.linalg.norm(others @ factor.T, axis=1)) <= e.floor)


@pytest.mark.parametrize("name", ["real", "complex", "two parameters"])
@pytest.mark.parametrize("n", [4, 8])
def test_the_floor_grows_by_no_more_than_was_asked(name: str, n: int) -> None:
    case = make_case(name)
    reduced, mus = case.result.reduced_model.truncate(n), case.training[:300]
    theta, phi, gamma = query(reduced, mus)
    full = reduced.estimators["orthonormal"]
    before = full.evaluate(theta, phi, gamma)
    for options in ({"rtol": 0.3}, {"rtol": 1e-3}, *({"tol": t} for t in (1e-6, 1e-12, 3e-15, 1e-15, 3e-16, 1e-16))):
        state = reduced.compress(training=mus, **options).estimators["orthonormal"]
        assert isinstance(state, Orthonormal)
        allowed = options.get("tol", options.get("rtol", 0.0) * np.median(before.value))
        assert state.growth <= allowed
        after = state.evaluate(theta, phi, gamma)
        # values change by less than their floors say, and with them the part of the floor that is relative to them
        assert np.all(after.floor - before.floor <= allowed * (1 + 1e-9) + 1e3 * EPS * before.value + 8 * before.floor)
        assert len(state.factor) < len(full.factor) or state.growth == 0


def test_a_dependent_range_costs_only_its_rank() -> None:
    """A z = P z - mu M z = f - ..: every second direction depends on the others, up to round-off."""
    case = make_case("complex")
    reduced = case.result.reduced_model.truncate(5)
    short = reduced.compress(1e-6)
    full = reduced.estimators["orthonormal"]
    state = short.estimators["orthonormal"]
    assert (len(full.factor), len(state.factor)) == (10, 6)
    assert state.full_rows == 10
    assert state.growth <= 64 * EPS
    assert "orthonormal (6 of 10 rows)" in repr(short)
    np.testing.assert_array_equal(np.tril(state.factor, -1), 0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_truncation_afterwards(case: Case, dtype: str) -> None:
    short = case.result.reduced_model.astype(dtype).compress(0.1)
    for n in (2, 5):
        cut = short.truncate(n)
        theta, phi, gamma = query(cut, case.tests[:100])
        state = cut.estimators["orthonormal"]
        assert state.factor.shape[1] == 1 + n * theta.shape[1]
        assert len(state.factor) <= min(state.factor.shape[1], len(short.estimators["orthonormal"].factor))
        exact = case.oracle.norm(theta, phi, gamma)
        e = state.evaluate(theta, phi, gamma)
        assert np.all(e.bound >= exact)
        assert np.all(np.abs(e.value - exact) <= e.floor)


@pytest.mark.parametrize("order", ["compress first", "single first"])
def test_single_precision(case: Case, order: str) -> None:
    reduced = case.result.reduced_model.truncate(5)
    short = (
        reduced.compress(0.1).astype("float32")
        if order == "compress first"
        else reduced.astype("float32").compress(0.1)
    )
    state = short.estimators["orthonormal"]
    assert np.finfo(state.factor.dtype).dtype == np.float32
    assert 0 < len(state.factor) < state.full_rows
    theta, phi, gamma = query(short, case.tests[:200])
    exact = case.oracle.norm(theta, phi, gamma)
    e = state.evaluate(theta, phi, gamma)
    assert np.all(e.bound >= exact)
    assert np.all(np.abs(e.value - exact) <= e.floor)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_random_models(complex_valued: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 15

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if complex_valued else 0)

    root = normal(n, n) * np.geomspace(1, 1e-4, n)
    product = root.conj().T @ root + 1e-6 * np.eye(n)
    product = (product + product.conj().T) / 2
    model = rbm.FullOrderModel(
        [(1.0, product), ("0.1*mu", normal(n, n)), ("mu*nu", normal(n, 2) @ normal(2, n))],
        [(1.0, normal(n)), ("nu", normal(n))],
        product,
        rbm.ParameterSpace({"mu": (0.0, 1.0), "nu": (0.0, 1.0)}),
        stability=1.0,
    )
    short = rbm.project(model, normal(n, 4)).compress(0.2)
    mus = model.parameters.sample(40, "random", rng=seed)
    theta, phi, gamma = query(short, mus)
    for given in (gamma, normal(40, 4)):
        exact = Oracle(model, short.basis).norm(theta, phi, given)
        e = short.estimators["orthonormal"].evaluate(theta, phi, given)
        assert np.all(e.bound >= exact)
        assert np.all(np.abs(e.value - exact) <= e.floor * (1 + 1e-9))


def test_where_nothing_can_be_spared_nothing_changes(diffusion: Case) -> None:
    reduced = diffusion.result.reduced_model
    for same in (reduced.compress(0.0), reduced.compress(tol=0.0), reduced.compress(tol=1e-20)):
        a, b = (m.estimators["orthonormal"] for m in (reduced, same))
        np.testing.assert_array_equal(a.factor, b.factor)
        np.testing.assert_array_equal(a.defects, b.defects)
        assert b.growth == 0
        assert b.full_rows == len(a.factor)


def test_compressing_twice_adds_up(diffusion: Case) -> None:
    reduced = diffusion.result.reduced_model.truncate(6)
    once = reduced.compress(tol=1e-10)
    twice = once.compress(tol=1e-6)
    a, b = (m.estimators["orthonormal"] for m in (once, twice))
    assert len(b.factor) < len(a.factor) < b.full_rows == a.full_rows == len(reduced.estimators["orthonormal"].factor)
    assert a.growth < b.growth <= 1.001e-6
    theta, phi, gamma = query(twice, diffusion.tests[:100])
    e = b.evaluate(theta, phi, gamma)
    assert np.all(e.bound >= diffusion.oracle.norm(theta, phi, gamma))


def test_files_also_older_ones(tmp_path: Path, diffusion: Case) -> None:
    short = diffusion.result.reduced_model.truncate(5).compress(1e-3)
    short.save(tmp_path / "short.rbm")
    loaded = rbm.load(tmp_path / "short.rbm")
    state = loaded.estimators["orthonormal"]
    assert isinstance(state, Orthonormal)
    assert (state.full_rows, state.growth) == (11, short.estimators["orthonormal"].growth)
    np.testing.assert_array_equal(loaded.solve(diffusion.tests).bound, short.solve(diffusion.tests).bound)
    arrays = {k: v for k, v in state.arrays().items() if k not in ("full_rows", "growth")}
    old = Orthonormal.from_arrays(arrays)  # written before there was compression
    assert (old.full_rows, old.growth) == (0, 0.0)
    with pytest.raises(KeyError, match="defects"):
        Orthonormal.from_arrays({k: v for k, v in arrays.items() if k != "defects"})


def test_bad_arguments(diffusion: Case) -> None:
    reduced = diffusion.result.reduced_model
    for options in ({"rtol": -1.0}, {"rtol": np.nan}, {"tol": np.inf}, {"rtol": "small"}):
        with pytest.raises(rbm.ModelError, match="must be a number >= 0"):
            reduced.compress(**options)
    with pytest.raises(rbm.ParameterError, match="outside"):
        reduced.compress(training=[[1e6]])
    other = rbm.project(diffusion.model, diffusion.result.basis[:, :2], ("expanded",))
    with pytest.raises(rbm.ModelError, match=r"'orthonormal', which this model lacks; it has expanded"):
        other.compress()
