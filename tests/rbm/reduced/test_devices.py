"""Reduced models on a device.

They give the same answers as on the CPU and the same failures, and nothing becomes NumPy on the way.

array-api-strict stands in for a GPU: it has nothing but the standard, and its second device refuses every implicit
conversion to NumPy. The same tests run on CuPy where it and a GPU are there.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from array_api_compat import device
from helpers.models import complex_model, two_parameter_model
from helpers.other_arrays import cupy_with_a_gpu
from helpers.scattering_models import scattering, wavenumber_model

import rbm
from lowrank.arrays import to_numpy
from lowrank.dense import solve_triangular
from problems import reaction_diffusion_1d
from rbm.errors import ModelError, ParameterError, StabilityError
from rbm.estimate import Estimate
from rbm.estimators.residual_factor import FactorNorm
from rbm.online import chunks, reference
from rbm.online.triangles import triangles
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.expressions import Expression
from rbm.reduced.error_bound import error_estimate
from rbm.stability.bound import MinTheta

ESTIMATORS = ("orthonormal", "expanded", "sampled", "interpolated")


@dataclass(frozen=True)
class Place:
    """Where a test runs: an array module and a device."""

    xp: Any
    target: Any
    device: Any

    def model(self, model: rbm.ReducedModel) -> rbm.ReducedModel:
        return model.to(self.target, device=self.device)

    def array(self, values: Any) -> Any:
        return self.xp.asarray(values, device=self.device)

    def holds(self, array: Any) -> bool:
        ours = type(self.array(np.zeros(1)))
        return type(array) is ours and (self.device is None or device(array) == self.device)


@pytest.fixture(params=["strict", "cupy"])
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "strict":
        return Place(array_api_strict, array_api_strict, array_api_strict.Device("device1"))
    cupy = cupy_with_a_gpu()
    if isinstance(cupy, str):
        pytest.skip(cupy)
    return Place(cupy, "cupy", None)


def real_model() -> rbm.FullOrderModel:
    """Min-theta, linear outputs with and without coefficients, a quadratic one."""
    base = two_parameter_model(60)
    n = base.dimension
    return rbm.FullOrderModel(
        list(zip(base.operator_coefficients.sources, base.operator_terms, strict=True)),
        [(1.0, base.rhs_terms[:, 0]), ("sqrt(a)/b", np.linspace(0, 1, n) / n)],
        base.product,
        base.parameters,
        MinTheta([10.0, 10.0]),
        outputs={
            "mean": np.full(n, 1 / n),
            "weighted": [("a", np.full(n, 1 / n)), ("1j*b", np.linspace(0, 1, n) / n)],
            "energy": base.product,
        },
    )


def complex_outputs() -> rbm.FullOrderModel:
    base = complex_model(60)
    return rbm.FullOrderModel(
        list(zip(base.operator_coefficients.sources, base.operator_terms, strict=True)),
        [("exp(0.01j*b)", base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
        outputs={"mean": np.full(59, 1 / 59), "mass": [("a", base.operator_terms[1])]},
    )


MODELS: dict[str, tuple[Callable[[], rbm.FullOrderModel], int]] = {
    "real": (real_model, 5),
    "complex": (complex_outputs, 5),
    "anchored": (lambda: scattering(complex_valued=True), 4),
    "interpolated": (wavenumber_model, 4),
}
CASES = [(name, projection) for name in MODELS for projection in ("galerkin", "least-squares")]


@lru_cache(maxsize=16)
def host(name: str, projection: str) -> rbm.ReducedModel:
    """A model with every estimator, E1 among them."""
    make, size = MODELS[name]
    model = make()
    basis = rbm.greedy(model, model.parameters.sample(60), max_basis=size, projection="galerkin", progress=False).basis
    training = model.parameters.sample(400)
    made = rbm.project(model, basis, (*ESTIMATORS, "direct"), training, projection=projection)  # type: ignore[arg-type]
    if name == "interpolated":  # too many products of too many terms
        return made.sketch(10, failure=1e-6)
    assert set(made.refused) <= ({"sampled"} if projection == "least-squares" else set())
    return made.sketch(10, failure=1e-6)


def condition(model: rbm.ReducedModel, mus: np.ndarray) -> float:
    """The largest condition number of the reduced systems."""
    matrices = np.einsum("mq,qij->mij", model.operator_coefficients(mus), model.operators.astype(complex))
    return float(np.linalg.cond(matrices).max())


def arrays(solution: rbm.Solution) -> dict[str, Any]:
    e = solution.estimate
    found = {"coefficients": solution.coefficients}
    found |= {f"output {k}": a for k, a in solution.outputs.items()}
    found |= {f"bound of {k}": a for k, a in solution.output_bounds.items()}
    if e is not None:
        found |= {"value": e.value, "floor": e.floor, "resolved": e.resolved, "bound": solution.bound}
        if e.interpolation is not None:
            found["interpolation"] = e.interpolation
    return found


def assert_same_estimate(here: Any, there: Any, tolerance: float = 0.0, floors: float = 1e-6) -> None:
    """Both are within their floors of the same number, up to `tolerance`, and the floors are the same number."""
    value, floor = to_numpy(here.value), to_numpy(here.floor)
    size = tolerance * (np.abs(there.value) + there.floor)
    np.testing.assert_allclose(floor, there.floor, rtol=floors + tolerance)
    assert np.all(np.abs(value - there.value) <= floor + there.floor + size)


# ---- the same answers


@pytest.mark.every(7)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "projection"), CASES)
def test_answers_are_those_of_the_cpu(place: Place, name: str, projection: str, dtype: str) -> None:
    model = host(name, projection).astype(dtype)
    there, eps = place.model(model), float(np.finfo(dtype).eps)
    mus = model.parameters.sample(70, "random", rng=3)
    expected, solution = model.solve(mus), there.solve(mus)
    assert all(place.holds(a) for a in arrays(solution).values())
    tolerance = 20 * eps * condition(model, mus)
    assert tolerance < 0.1
    gamma = to_numpy(solution.coefficients)
    assert gamma.dtype == expected.coefficients.dtype
    size = np.linalg.norm(expected.coefficients, axis=1, keepdims=True)
    assert np.all(np.abs(gamma - expected.coefficients) <= tolerance * size)
    for key, output in expected.outputs.items():
        largest = float(np.abs(output).max())
        np.testing.assert_allclose(to_numpy(solution.outputs[key]), output, atol=4 * tolerance * largest, err_msg=key)
        assert to_numpy(solution.outputs[key]).dtype == output.dtype
    # the residual norm is as sensitive as the coefficients: the terms of the residual are of the size of the right-hand
    # side
    again = model.estimate(mus, gamma)
    assert solution.estimate is not None
    assert_same_estimate(solution.estimate, again)
    for key, bound in model.solve(mus).output_bounds.items():
        np.testing.assert_allclose(
            to_numpy(solution.output_bounds[key]), bound, rtol=0.02 if dtype == "float64" else 0.5
        )
    u = to_numpy(there.reconstruct(solution.coefficients))
    np.testing.assert_allclose(u, model.reconstruct(gamma), atol=1e-14 * np.abs(u).max())


@pytest.mark.every(7)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "projection"), CASES)
def test_every_estimator_is_that_of_the_cpu(place: Place, name: str, projection: str, dtype: str) -> None:
    model = host(name, projection).astype(dtype)
    there = place.model(model)
    mus = model.parameters.sample(50, "random", rng=4)
    gamma = model.solve(mus, estimate=False).coefficients
    exact = host(name, projection).estimate(mus, gamma, "direct")
    assert set(there.estimators) == {*model.estimators} - {"direct"}
    for method in there.estimators:
        expected = model.estimate(mus, gamma, method)
        estimate = there.estimate(mus, gamma, method)
        assert place.holds(estimate.value)
        assert place.holds(estimate.floor)
        assert place.holds(estimate.resolved)
        # the floors of E3 and E4 are sums over |lambda|, which an ill-conditioned system leaves uncertain
        assert_same_estimate(estimate, expected, floors=0.2 if method in ("sampled", "interpolated") else 1e-6)
        if method in ("orthonormal", "expanded", "sketched"):
            assert np.all(to_numpy(estimate.bound) >= (exact.value - exact.floor) * (1 - 1e-12)), method
        assert_same_estimate(there.solve(mus, method=method).estimate, model.solve(mus, method=method).estimate, 0.5)


def test_coefficients_that_are_no_solutions_are_estimated(place: Place) -> None:
    for name in ("real", "complex"):
        model = host(name, "galerkin")
        there, mus = place.model(model), model.parameters.sample(20, "random", rng=5)
        gamma = 1.01 * model.solve(mus).coefficients + 0.001
        for method in there.estimators:
            expected = model.estimate(mus, gamma, method)
            for given in (gamma, place.array(gamma)):
                assert_same_estimate(there.estimate(mus, given, method), expected, floors=1e-3)


def test_weak_points_alone_are_evaluated_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near round-off E_onb's floor is that of compensated sums, which only the points that need it pay for."""
    seen: list[int] = []

    def spy(factor: Any, theta: Any, phi: Any, gamma: Any) -> Any:
        seen.append(theta.shape[0])
        return reference.compensated_norm(factor, theta, phi, gamma)

    monkeypatch.setattr("rbm.estimators.orthonormal.compensated_norm", spy)
    for make in (reaction_diffusion_1d, complex_model):
        model = make()
        result = rbm.greedy(model, model.parameters.sample(200), progress=False, max_basis=14)
        mus = model.parameters.sample(300, "random", rng=2)
        several = []
        for size in range(2, result.reduced_model.size + 1):
            reduced = result.reduced_model.truncate(size)
            gamma = reduced.solve(mus, estimate=False).coefficients
            expected = reduced.estimate(mus, gamma)
            seen.clear()
            estimate = place.model(reduced).estimate(mus, gamma)
            several.append(sum(seen))
            assert_same_estimate(estimate, expected)
            np.testing.assert_array_equal(to_numpy(estimate.resolved), expected.resolved)
        assert several[0] == 0 < several[-1]
        assert any(0 < count < 300 for count in several), several


def test_nothing_becomes_numpy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """With points on the device, no array leaves it: not one byte, where all goes well."""
    for name, projection in CASES:
        model = host(name, projection)
        there = place.model(model)
        mus = place.array(model.parameters.sample(40, "random", rng=3))
        for method in there.estimators:  # once, the kernel of a GPU packs the model
            there.solve(mus[:1, :], method=method)

        def forbidden(array: Any) -> np.ndarray:
            raise AssertionError(f"an array of shape {array.shape} was copied to the host")

        with monkeypatch.context() as patch:
            for module in [m for n, m in sys.modules.items() if n.startswith(("rbm.", "lowrank."))]:
                if hasattr(module, "to_numpy"):
                    patch.setattr(module, "to_numpy", forbidden)
            for method in there.estimators:
                solution = there.solve(mus, method=method)
                assert all(place.holds(a) for a in arrays(solution).values()), method
                assert place.holds(there.estimate(mus, solution.coefficients, method).bound)
            assert place.holds(there.reconstruct(solution.coefficients))
            assert place.holds(there.solve(mus[0, :]).bound)
            assert there.solve(mus, estimate=False, coefficients=False).coefficients.shape == (40, 0)
        assert isinstance(solution.failed, np.ndarray)


def test_what_an_interpolated_model_adds(place: Place) -> None:
    """(||r|| + eps_f + eps_A ||gamma||) / (beta - eps_A), with numbers that all matter."""
    space = rbm.ParameterSpace({"a": (0.0, 1.0)})
    rng = np.random.default_rng(0)
    mus, gamma, value = rng.random((6, 1)), rng.standard_normal((6, 3)), rng.random(6)
    beta, errors = 1 + rng.random(6), Coefficients(["0.3 + 0.1*a", "0.2*a"], space)
    expected = error_estimate(Estimate.from_norm(value, 0.1 * value), beta, gamma, mus, space, errors)
    there = [place.array(x) for x in (value, 0.1 * value, beta, gamma, mus)]
    made = error_estimate(Estimate.from_norm(*there[:2]), *there[2:], space, errors)
    for name in ("value", "floor", "interpolation"):
        np.testing.assert_allclose(to_numpy(getattr(made, name)), getattr(expected, name), rtol=1e-12)
        assert place.holds(getattr(made, name))
    of_a, of_f = 0.3 + 0.1 * mus[:, 0], 0.2 * mus[:, 0]
    bound = (1.1 * value + of_f + of_a * np.linalg.norm(gamma, axis=1)) / (beta - of_a)
    np.testing.assert_allclose(to_numpy(made.bound), bound, rtol=1e-8)
    for text, kind, message in (
        ("2*a", StabilityError, "is not below"),
        ("0.1 - a", ModelError, "must be real and >= 0"),
    ):
        wrong = Coefficients([text, 0.0], space)
        at = np.linspace(0, 1, 6)[:, None]
        with pytest.raises(kind, match=message) as on_host:
            error_estimate(Estimate.from_norm(value, value), np.ones(6), gamma, at, space, wrong)
        given = [place.array(x) for x in (value, np.ones(6), gamma, at)]
        with pytest.raises(kind) as on_device:
            error_estimate(Estimate.from_norm(given[0], given[0]), *given[1:], space, wrong)
        assert str(on_device.value) == str(on_host.value)


# ---- moving


def same_state(a: rbm.ReducedModel, b: rbm.ReducedModel) -> None:
    assert list(a.estimators) == list(b.estimators)
    for field in ("operators", "rhs", "basis"):
        x, y = getattr(a, field), getattr(b, field)
        assert isinstance(x, np.ndarray)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    for name, state in a.estimators.items():
        other = b.estimators[name].arrays()
        for key, array in state.arrays().items():
            assert array.dtype == other[key].dtype
            np.testing.assert_array_equal(array, other[key])


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back_is_the_same_bit_for_bit(place: Place, name: str, tmp_path: Path) -> None:
    for dtype in ("float64", "float32"):
        model = host(name, "least-squares").astype(dtype)
        model = replace(model, estimators={k: s for k, s in model.estimators.items() if k != "direct"})
        there = place.model(model)
        assert all(place.holds(a) for a in (there.operators, there.rhs, there.basis))
        for state in there.estimators.values():
            assert state.matrices
            assert all(place.holds(getattr(state, key)) for key in state.matrices)
        assert (there.size, there.dtype, there.method) == (model.size, model.dtype, model.method)
        same_state(there.to("numpy"), model)
        same_state(place.model(there).to("numpy"), model)
        there.save(tmp_path / "there.rbm")
        model.save(tmp_path / "here.rbm")
        # not the same bytes: a basis may be stored by rows or by columns
        same_state(rbm.load(tmp_path / "there.rbm"), rbm.load(tmp_path / "here.rbm"))


def test_what_is_made_of_a_model_stays_where_it_is(place: Place) -> None:
    model = host("complex", "galerkin")
    there = place.model(model)
    made: list[Callable[[rbm.ReducedModel], rbm.ReducedModel]] = [
        lambda m: m.truncate(3),
        lambda m: m.astype("float32"),
        lambda m: m.astype("float64"),
        lambda m: m.compress(0.5),
        lambda m: m.sketch(12, failure=1e-4, rng=3),
    ]
    for change in made:
        changed = change(there)
        assert place.holds(changed.operators)
        assert place.holds(changed.basis)
        same_state(changed.to("numpy"), change(there.to("numpy")))
        changed.solve(model.parameters.bounds.mean(axis=1))
    assert model.to("numpy") is model


def test_direct_stays_behind(place: Place) -> None:
    model = host("real", "galerkin")
    there = place.model(model)
    assert "full model" in there.refused["direct"]
    with pytest.raises(ModelError, match="needs the full model"):
        there.solve(model.parameters.bounds.mean(axis=1), method="E1")
    first = replace(model, estimators={"direct": model.estimators["direct"], **model.estimators})
    with pytest.raises(
        ModelError, match=r"default estimator 'direct' cannot be moved.*estimators=\('orthonormal', 'direct'\)"
    ):
        place.model(first)


def test_a_solution_is_brought_back(place: Place) -> None:
    model = host("interpolated", "least-squares")
    solution = place.model(model).solve(model.parameters.sample(5))
    back = solution.to("numpy")
    for (key, a), b in zip(arrays(back).items(), arrays(solution).values(), strict=True):
        assert isinstance(a, np.ndarray)
        np.testing.assert_array_equal(a, to_numpy(b), err_msg=key)
    assert all(place.holds(a) for a in arrays(back.to(place.target, device=place.device)).values())
    assert repr(back) == repr(solution)
    assert len(solution) == len(back) == 5
    assert solution.estimate is not None
    assert back.estimate is not None
    assert repr(solution.estimate) == repr(back.estimate)
    for index in (slice(1, 3), np.array([3, 1]), np.arange(5) > 2):
        part = solution.estimate[index]
        np.testing.assert_array_equal(to_numpy(part.bound), back.estimate[index].bound)
        assert repr(part) == repr(back.estimate[index])
    assert repr(solution.estimate[:1]) == repr(back.estimate[:1])
    twice = type(solution.estimate).concatenate([solution.estimate, solution.estimate])
    np.testing.assert_array_equal(to_numpy(twice.bound), np.tile(back.bound, 2))


def test_points_and_coefficients_from_elsewhere_are_refused(place: Place) -> None:
    model = host("real", "galerkin")
    there, mus = place.model(model), model.parameters.sample(3)
    with pytest.raises(ParameterError, match="the model lives on numpy: move one of them"):
        model.solve(place.array(mus))
    with pytest.raises(ValueError, match="the model lives on numpy"):
        model.reconstruct(place.array(np.zeros((3, 5))))
    with pytest.raises(ParameterError, match="shape"):
        there.solve(place.array(mus.T))
    with pytest.raises(ValueError, match="must have shape"):
        there.estimate(mus, np.zeros((3, 4)))
    with pytest.raises(ValueError, match="2 entries that are NaN"):
        there.estimate(mus, np.where(np.arange(15).reshape(3, 5) < 2, np.nan, 0.0))
    assert " on " in repr(there)
    assert " on " not in repr(model)


def test_targets_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    model = host("real", "galerkin")
    with pytest.raises(ValueError, match='"numpy" or "cupy"'):
        model.to("cuda")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(
        ImportError, match=r'pip install cupy-cuda12x, or, in a clone of this package, pip install "\.\[gpu-cuda12\]"'
    ) as error:
        model.to("cupy")
    assert "gpu-cuda13" in str(error.value)

    class CUDARuntimeError(RuntimeError):
        pass

    def no_device() -> int:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=no_device)
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime)))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=r"CuPy finds no GPU \(cudaErrorNoDevice"):
        model.to("cupy")
    runtime.getDeviceCount = lambda: 0
    with pytest.raises(RuntimeError, match="CuPy finds no GPU"):
        model.to("cupy")


# ---- batches


def test_pieces_and_tiles_change_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    evaluate = FactorNorm.evaluate

    def spy(self: FactorNorm, theta: Any, phi: Any, gamma: Any) -> Any:
        rows.append(theta.shape[0])
        return evaluate(self, theta, phi, gamma)

    for name, projection in (("real", "galerkin"), ("complex", "least-squares"), ("interpolated", "least-squares")):
        model = host(name, projection)
        there, mus = place.model(model), model.parameters.sample(700, "random", rng=6)
        whole = there.solve(mus)
        with monkeypatch.context() as patch:
            patch.setattr(chunks, "DEVICE_PIECE_BYTES", 1)
            patch.setattr(chunks, "DEVICE_TILE_BYTES", 100_000)
            patch.setattr(FactorNorm, "evaluate", spy)
            rows.clear()
            several = there.solve(mus)
        assert sum(rows) == 700
        assert max(rows) < 250
        for (key, a), b in zip(arrays(several).items(), arrays(whole).values(), strict=True):
            a, b = to_numpy(a), to_numpy(b)
            if key != "resolved":
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-10 * np.abs(b).max(), err_msg=key)


def test_a_stream_stays_on_the_device(place: Place) -> None:
    model = host("real", "galerkin")
    there, mus = place.model(model), model.parameters.sample(50, "random", rng=6)
    for given in (mus, place.array(mus), iter([mus[:20], place.array(mus[20:])])):
        blocks = list(there.stream(given, size=20))
        assert all(place.holds(b.bound) for b in blocks)
        bound = np.concatenate([to_numpy(b.bound) for b in blocks])
        np.testing.assert_allclose(bound, model.solve(mus).bound, rtol=1e-3)


# ---- failures


def assert_same_failure(
    place: Place, model: rbm.ReducedModel, mus: np.ndarray, kind: type, text: str, **options: Any
) -> None:
    """The same rows are named, in the same words, and the others answered."""
    there = place.model(model)
    with pytest.raises(kind, match=text) as expected:
        model.solve(mus, **options)
    for given in (mus, place.array(mus)):
        with pytest.raises(kind, match=text) as error:
            there.solve(given, **options)
        assert str(error.value) == str(expected.value)
        np.testing.assert_array_equal(error.value.rows, expected.value.rows)  # type: ignore[attr-defined]
        marked, reference_ = (m.solve(x, on_error="mark", **options) for m, x in ((there, given), (model, mus)))
        np.testing.assert_array_equal(marked.failed, reference_.failed)
        assert marked.reasons == reference_.reasons
        assert all(place.holds(a) for a in arrays(marked).values())
        for (key, a), b in zip(arrays(marked).items(), arrays(reference_).values(), strict=True):
            a = to_numpy(a)
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b), err_msg=key)
            np.testing.assert_array_equal(np.isinf(a), np.isinf(b), err_msg=key)
            good = np.isfinite(b) if key != "resolved" else np.zeros(len(b), dtype=bool)
            np.testing.assert_allclose(a[good], b[good], rtol=0.05, atol=1e-9 * np.abs(b[good]).max(initial=0.0))


@pytest.mark.parametrize("count", [7, 600])
def test_parameters_that_are_no_numbers_or_outside(place: Place, count: int) -> None:
    model = host("real", "galerkin")
    mus = model.parameters.sample(count, "random", rng=7)
    mus[[1, 4], 1] = np.nan
    assert_same_failure(place, model, mus, ParameterError, r"b = nan \(row 1, 2 such points\) is not a finite number")
    mus[[1, 4], 1] = 1000.0
    assert_same_failure(place, model, mus, ParameterError, r"b = 1000 \(row 1, 2 such points\) is outside \[1, 100\]")
    mus[2, 0] = np.inf
    assert_same_failure(place, model, mus, ParameterError, "row 1, 2 such points.*further: a = inf")


def test_stability_bounds_that_are_not_positive(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "DEVICE_PIECE_BYTES", 1)
    model = host("real", "galerkin")
    mus = model.parameters.sample(300, "random", rng=7)
    mus[[5, 280]] = [3.0, -1.0]
    text = r"theta_2 = -1\.0 at a = 3, b = -1 \(row 5, 2 such points\)"
    assert_same_failure(place, replace(model, outputs={}), mus, StabilityError, text, extrapolate=True)
    everywhere = np.tile([3.0, -1.0], (4, 1))
    marked = place.model(replace(model, outputs={})).solve(everywhere, extrapolate=True, on_error="mark")
    assert marked.failed.tolist() == [0, 1, 2, 3]
    assert np.all(np.isinf(to_numpy(marked.bound)))
    diffusion = reaction_diffusion_1d(40)
    made = rbm.greedy(diffusion, diffusion.parameters.sample(20), max_basis=2, progress=False).reduced_model
    at = np.array([[2.0], [-12.0], [3.0]])
    assert_same_failure(place, made, at, StabilityError, r"mu = -12 \(row 1\); an error bound needs", extrapolate=True)
    anchored = host("anchored", "galerkin")
    far = anchored.parameters.sample(4, "random", rng=1)
    far[2] = [-40.0, 0.0, -40.0, 0.0]
    assert_same_failure(place, anchored, far, StabilityError, r"anchors is .*row 2", extrapolate=True)
    outside = host("interpolated", "least-squares")
    points = outside.parameters.sample(4, "random", rng=1)
    points[3, 1] = 2.5
    assert_same_failure(
        place, outside, points, ParameterError, r"row 3\) is outside the parameter ranges, where", extrapolate=True
    )


def singular_model(stability: float = 1.0) -> rbm.ReducedModel:
    """(mu - 50) K u = exp(mu) f."""
    base = reaction_diffusion_1d(30)
    model = rbm.FullOrderModel(
        [("mu - 50", base.operator_terms[0])],
        [("exp(mu)", base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        stability=stability,
    )
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((29, 2)))[0]
    return rbm.project(model, basis, ("orthonormal", "expanded"))


@pytest.mark.parametrize("silent", [False, True], ids=["reported", "silent"])
@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
def test_singular_systems(place: Place, projection: str, silent: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the library reports them or, as CuPy, gives NaN."""
    if silent and place.xp is array_api_strict:
        solve = np.linalg.solve

        def as_cupy(a: Any, b: Any) -> Any:
            results = np.full(b.shape, np.nan, dtype=b.dtype)
            for i, matrix in enumerate(a):
                if np.linalg.matrix_rank(matrix) == len(matrix):
                    results[i] = solve(matrix, b[i])
            return results

        monkeypatch.setattr(
            array_api_strict.linalg,
            "solve",
            lambda a, b: place.array(as_cupy(to_numpy(a), to_numpy(b))),
        )
    model = singular_model()
    if projection == "least-squares":
        padded = [
            np.concatenate([x, np.zeros((*x.shape[:1], 3, *x.shape[2:]))], axis=1) for x in (model.operators, model.rhs)
        ]
        model = replace(model, operators=padded[0], rhs=padded[1], projection="least-squares")
    mus = np.array([[3.0], [50.0], [4.0], [50.0], [2.0]])
    text = r"the reduced system at mu = 50 \(row 1, 2 such points\) is singular"
    assert_same_failure(place, model, mus, ModelError, text)
    assert_same_failure(place, model, mus, ModelError, text, method="expanded")


def test_bounds_that_are_not_finite(place: Place) -> None:
    """The residual is 1e308 at the second point: its norm is there, over a stability bound of 1e-3 it is not."""
    mus = np.array([[3.0], [709.5], [4.0]])
    bound = singular_model().solve(mus, extrapolate=True).bound
    assert np.all(np.isfinite(bound))
    there = place.model(singular_model()).solve(place.array(mus), extrapolate=True).bound
    np.testing.assert_allclose(to_numpy(there), bound, rtol=1e-9)
    text = r"the error bound at mu = 709\.5 \(row 1\) is not finite"
    assert_same_failure(place, singular_model(stability=1e-3), mus, ParameterError, text, extrapolate=True)


def test_coefficients_beyond_single_precision(place: Place) -> None:
    mus = np.array([[3.0], [95.0], [4.0]])
    text = r"coefficient 0 is .* at mu = 95 \(row 1\), beyond the range of float32"
    there = place.model(singular_model().astype("float32"))
    with pytest.raises(ModelError, match=text):
        there.solve(mus)
    marked = there.solve(place.array(mus), on_error="mark")
    assert marked.failed.tolist() == [1]
    assert np.isfinite(to_numpy(marked.bound)).tolist() == [True, False, True]


# ---- coefficients


def test_expressions_are_those_of_numpy(place: Place) -> None:
    texts = (
        "2",
        "pi + 1",
        "1j*2",
        "a",
        "+a",
        "-b",
        "a + 2*b - 3/a",
        "a**b",
        "2**a",
        "a**-0.5",
        "(a + 1j*b)**2",
        "1/(a - 1j)",
        *(f"{f}(a/100)" for f in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh")),
        *(f"{f}(a - 50)" for f in ("abs", "real", "imag", "conj")),
        *(
            f"{f}(a/50 - 1j*b/50)"
            for f in ("exp", "log", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "abs", "real", "imag", "conj")
        ),
        "abs(3) + real(2j)*a",
        "conj(1j) + b",
        "exp(1j*pi)",
        "imag(2)*a",
    )
    mus = two_parameter_model(10).parameters.sample(20, "random", rng=8)
    for text in texts:
        expression = Expression(text, ("a", "b"))
        expected, values = expression(mus), expression(place.array(mus))
        assert place.holds(values), text
        values = to_numpy(values)
        assert values.shape == (20,)
        assert values.dtype == np.result_type(expected, np.float64), text
        np.testing.assert_allclose(values, expected, rtol=1e-13, atol=1e-13, err_msg=text)


def test_coefficients_that_are_not_finite_are_named(place: Place) -> None:
    base = reaction_diffusion_1d(20)
    coefficients = Coefficients(["1/(mu - 3)", 2.0, "1j*mu"], base.parameters)
    at = np.array([[1.0], [3.0]])
    with pytest.raises(ParameterError) as expected:
        coefficients(at)
    with pytest.raises(ParameterError, match=r"coefficient '1/\(mu - 3\)' is \(?inf.* at mu = 3 \(row 1\)") as error:
        coefficients(place.array(at))
    assert str(error.value) == str(expected.value)
    good = coefficients(place.array(at[:1]))
    assert place.holds(good)
    np.testing.assert_array_equal(to_numpy(good), coefficients(at[:1]))


def test_callables_get_numpy_arrays(place: Place) -> None:
    seen = []

    def theta(mus: np.ndarray) -> np.ndarray:
        seen.append(type(mus))
        return mus[:, 0]

    base = reaction_diffusion_1d(40)
    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), (theta, base.operator_terms[1])],
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        stability=1.0,
    )
    made = rbm.greedy(model, model.parameters.sample(20), max_basis=3, progress=False).reduced_model
    mus = model.parameters.sample(10, "random", rng=1)
    solution = place.model(made).solve(place.array(mus))
    assert set(seen) == {np.ndarray}
    assert place.holds(solution.bound)
    np.testing.assert_allclose(to_numpy(solution.bound), made.solve(mus).bound, rtol=1e-3)


def test_triangular_solves(place: Place) -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.complex128):
        matrix = (
            (rng.standard_normal((9, 9)) + 1j * rng.standard_normal((9, 9))).astype(dtype)
            if dtype is np.complex128
            else rng.standard_normal((9, 9))
        )
        matrix += 3 * np.eye(9)
        right = rng.standard_normal((9, 4))
        for unit_lower in (False, True):
            expected = solve_triangular(matrix, right, lower=unit_lower, unit=unit_lower)
            for given in (matrix, place.array(matrix)):
                made = solve_triangular(given, place.array(right), lower=unit_lower, unit=unit_lower)
                assert place.holds(made)
                np.testing.assert_allclose(to_numpy(made), expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128", "complex64"])
@pytest.mark.parametrize("shape", [(159, 55), (20, 8), (9, 9), (5, 1), (30, 17)])
def test_triangles_of_many_matrices(place: Place, shape: tuple[int, int], dtype: str) -> None:
    """R^H R = A^H A, and |R| is LAPACK's.

    For any units, a column of zeros and a matrix of zeros; the matrices stay as they are.
    """
    rng, eps = np.random.default_rng(0), np.finfo(dtype).eps
    a = rng.standard_normal((5, *shape)) + (1j * rng.standard_normal((5, *shape)) if np.dtype(dtype).kind == "c" else 0)
    a[1, :, 0], a[2], a[4, :, -1] = 0, 0, a[4, :, 0]
    a[3] *= 10.0 ** np.linspace(-15, 15, shape[1])
    given = place.array(a.astype(dtype))
    found = triangles(given)
    assert place.holds(found)
    np.testing.assert_array_equal(to_numpy(given), a.astype(dtype))
    r = to_numpy(found)
    assert r.dtype == np.dtype(dtype)
    assert np.array_equal(np.tril(r, -1), np.zeros_like(r))
    columns = np.linalg.norm(a, axis=1)
    gram = np.einsum("mki,mkj->mij", a.conj(), a)
    room = 50 * shape[1] * eps * columns[:, :, None] * columns[:, None, :]
    assert np.all(abs(np.einsum("mki,mkj->mij", r.conj(), r.astype(complex)) - gram) <= room)
    expected = np.linalg.qr(a[[0, 3]], mode="r")
    assert np.all(abs(abs(r[[0, 3]]) - abs(expected)) <= 1e3 * eps * columns[[0, 3]][:, None, :])


def test_triangles_of_the_smallest_numbers() -> None:
    for dtype in ("complex128", "complex64", "float64"):
        small = 3 * np.finfo(dtype).smallest_subnormal
        a = np.full((2, 3, 1), small * (1 + 1j) if np.dtype(dtype).kind == "c" else small, dtype=dtype)
        r = to_numpy(triangles(array_api_strict.asarray(a)))
        expected = 3 * (6 if np.dtype(dtype).kind == "c" else 3) ** 0.5  # in units of the smallest number
        np.testing.assert_allclose(abs(r[:, 0, 0]) / np.finfo(dtype).smallest_subnormal, expected, atol=3)
