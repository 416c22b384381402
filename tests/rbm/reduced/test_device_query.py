"""Models whose batches one kernel answers: `solve` through the stand-in for CuPy, against the CPU and batched calls."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache
from typing import Any

import array_api_strict
import numpy as np
import pytest
from helpers.emulated_gpu import EmulatedCupy, emulated
from helpers.models import complex_model, two_parameter_model

import rbm
from lowrank.arrays import to_numpy
from problems import reaction_diffusion_1d, thermal_block
from rbm.errors import ModelError, ParameterError, StabilityError
from rbm.online import chunks
from rbm.online.device.source import Variant, source

__all__ = ["emulated"]  # a fixture
DEVICE = array_api_strict.Device("device1")


def formulas() -> rbm.FullOrderModel:
    """Formulas for theta, phi and beta; several outputs, one an array of them."""
    base = two_parameter_model(40)
    n = base.dimension
    k, left, right = base.operator_terms
    return rbm.FullOrderModel(
        [(1.0, k), ("sqrt(a) * 2", left), ("b**2 / (1 + b)", right)],
        [(1.0, base.rhs_terms[:, 0]), ("a / b", np.linspace(0, 1, n) / n)],
        base.product,
        base.parameters,
        "1 / (1 + 1e-3*a)",
        outputs={"mean": np.full(n, 1 / n), "ends": rbm.Linear(np.eye(n)[[0, n // 2, n - 1]])},
    )


def functions() -> rbm.FullOrderModel:
    """A function that only Python knows."""
    base = two_parameter_model(40)
    terms: Any = list(zip((1.0, lambda mus: np.exp(mus[:, 0] / 50), "b"), base.operator_terms, strict=True))
    return rbm.FullOrderModel(
        terms, [(1.0, base.rhs_terms[:, 0])], base.product, base.parameters, rbm.stability.MinTheta([10.0, 10.0])
    )


MODELS: dict[str, Any] = {
    "diffusion": (lambda: reaction_diffusion_1d(50), 6),
    "thermal block": (lambda: thermal_block((2, 2), 8), 12),
    "formulas": (formulas, 5),
    "functions": (functions, 4),
    "complex": (lambda: complex_model(50), 5),
}


@lru_cache(maxsize=8)
def host(name: str) -> rbm.ReducedModel:
    make, size = MODELS[name]
    model = make()
    return rbm.greedy(model, model.parameters.sample(60), max_basis=size, progress=False).reduced_model


def moved(model: rbm.ReducedModel) -> rbm.ReducedModel:
    return model.to(array_api_strict, device=DEVICE)


def rows(solution: rbm.Solution) -> dict[str, np.ndarray]:
    e = solution.estimate
    assert e is not None
    named = {"value": e.value, "floor": e.floor, "coefficients": solution.coefficients, "resolved": e.resolved}
    named |= {f"output {k}": a for k, a in solution.outputs.items()}
    named |= {f"bound of {k}": a for k, a in solution.output_bounds.items()}
    return {key: to_numpy(array) for key, array in named.items()}


def assert_alike(made: rbm.Solution, wanted: rbm.Solution, tolerance: float = 1e-9) -> int:
    """Compare, and return how many points are far from round-off."""
    one, two = rows(made), rows(wanted)
    assert one.keys() == two.keys()
    floor = one["floor"] + two["floor"]
    clear = two["value"] > 1000 * floor  # elsewhere the last digits of gamma decide
    for key, array in two.items():
        assert one[key].dtype == array.dtype, key
        assert one[key].shape == array.shape, key
        if key == "value":
            assert np.all(np.abs(one[key] - array) <= floor + tolerance * array)
        elif key == "floor":
            np.testing.assert_allclose(one[key][clear], array[clear], rtol=max(1e-6, tolerance), err_msg=key)
        elif key.startswith("bound"):
            np.testing.assert_allclose(one[key][clear], array[clear], rtol=max(0.02, tolerance), err_msg=key)
            assert np.all((one[key] < 100 * array) & (array < 100 * one[key])), key
        elif key != "resolved" and array.size:
            np.testing.assert_allclose(one[key], array, atol=tolerance * np.abs(array).max(), rtol=0, err_msg=key)
    return int(np.count_nonzero(clear))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_the_cpu(emulated: EmulatedCupy, name: str, dtype: str) -> None:
    model = host(name).astype(dtype)
    mus = model.parameters.sample(35, "random", rng=4)
    made = moved(model).solve(mus)
    assert len(emulated.launches) == 1
    assert made.method == "orthonormal"
    assert type(made.bound) is type(array_api_strict.asarray(1.0))
    clear = assert_alike(made, model.solve(mus), 1e-9 if dtype == "float64" else 1e-3)
    assert clear >= 5 or name == "diffusion" or dtype == "float32"  # these are near round-off


@pytest.mark.parametrize("name", MODELS)
def test_batched_calls_give_the_same(emulated: EmulatedCupy, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The definition itself on the device, with the kernel kept out by RBM_GPU_KERNEL."""
    model = host(name)
    mus = model.parameters.sample(20, "random", rng=5)
    made = moved(model).solve(mus)
    assert len(emulated.launches) == 1
    monkeypatch.setenv("RBM_GPU_KERNEL", "batched")
    wanted = moved(model).solve(mus)
    assert len(emulated.launches) == 1
    one, two = rows(made), rows(wanted)
    for key in ("value", "floor", "coefficients"):
        scale = np.abs(two[key]).max()
        np.testing.assert_allclose(one[key], two[key], rtol=1e-6, atol=1e-9 * scale, err_msg=key)
    for key in two:
        if key.startswith("bound"):  # compliant outputs have another bound here and there
            assert np.all(one[key] <= 3 * two[key] + 1e-12), key


def test_what_the_kernel_knows(emulated: EmulatedCupy) -> None:
    """Compliant outputs, formulas with the bits of NumPy, and estimators that are norms go through one launch."""
    model = host("thermal block")
    there, mus = moved(model), model.parameters.sample(18, "random", rng=6)
    made = there.solve(mus)
    error, known = to_numpy(made.bound), to_numpy(made.output_bounds["mean"])
    assert np.all(known < 1e-2 * error)  # the square
    assert there.solve(mus, coefficients=False).coefficients.shape == (18, 0)
    for method, launches in (("orthonormal", 3), (None, 4)):
        there.solve(mus, method=method)
        assert len(emulated.launches) == launches
    sketched = moved(model.sketch(8, failure=1e-3))
    assert_alike(sketched.solve(mus, method="sketched"), model.sketch(8, failure=1e-3).solve(mus, method="sketched"))
    assert len(emulated.launches) == 5
    assert there.solve(mus, estimate=False).estimate is None
    assert len(emulated.launches) == 5
    assert there.solve(mus[0]).bound.shape == (1,)
    assert len(emulated.launches) == 6


def test_bases_in_few_bits(emulated: EmulatedCupy) -> None:
    model = host("thermal block").quantize(6)
    mus = model.parameters.sample(9, "random", rng=6)
    for coefficients in (True, False):
        made, wanted = (m.solve(mus, coefficients=coefficients) for m in (moved(model), model))
        assert_alike(made, wanted)
        np.testing.assert_allclose(to_numpy(made.quantization_error), wanted.quantization_error, rtol=1e-9)
    assert len(emulated.launches) == 2


def test_pieces(emulated: EmulatedCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "DEVICE_PIECE", (64, 64))
    monkeypatch.setattr(chunks, "PIECE", (64, 64))
    model = host("diffusion")
    mus = model.parameters.sample(150, "random", rng=7)
    assert_alike(moved(model).solve(mus), model.solve(mus))
    assert [launch[0] for launch in emulated.launches] == [4, 4, 2]


def test_errors_are_those_of_the_cpu(emulated: EmulatedCupy) -> None:
    for name in ("diffusion", "formulas", "functions"):
        model = host(name)
        there, mus = moved(model), model.parameters.sample(7, "random", rng=8)
        mus[4, 0] = 1e6
        for extrapolate in (False, True):
            results: list[Any] = []
            for one in (model, there):
                try:
                    results.append(rows(one.solve(mus, extrapolate=extrapolate)))
                except (ParameterError, ModelError, StabilityError) as error:
                    results.append(str(error).partition("(the other")[0])
            if isinstance(results[0], str):
                assert results[0] == results[1]
            else:
                np.testing.assert_allclose(results[1]["coefficients"], results[0]["coefficients"], rtol=1e-6)
        made, wanted = (one.solve(mus, on_error="mark") for one in (there, model))
        assert made.failed.tolist() == wanted.failed.tolist() == [4]
        assert made.reasons == wanted.reasons


def test_memory_decides(emulated: EmulatedCupy) -> None:
    """A GPU whose blocks have room for no point is served by batched calls."""
    model = host("thermal block")
    mus = model.parameters.sample(5)
    emulated.shared = 1 << 10
    assert_alike(moved(model).solve(mus), model.solve(mus))
    assert not emulated.launches


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("numbers.cu", "return a / b;", "return 5.0 * (a / b);"),
        ("systems.cu", "1 / real(sum)", "1 / real(sum + sum)"),
        ("residuals.cu", "b.norm[p] = norm;", "b.norm[p] = 1e-3 * norm;"),
        ("query.cu", "to.outputs[row * outputs + o] = sum", "to.outputs[row * outputs + o] = scaled(sum, 1.01)"),
        ("query.cu", "extern", "extern extern"),
    ],
)
def test_a_kernel_that_is_wrong_is_not_used(
    emulated: EmulatedCupy, monkeypatch: pytest.MonkeyPatch, file: str, right: str, wrong: str
) -> None:
    """Whatever a compiler or a GPU makes of it: the first answers are compared with those of batched calls."""
    whole = source(Variant(False, False, True, 16, 1))
    assert right in whole
    monkeypatch.setattr("rbm.online.device.launch.source", lambda variant: source(variant).replace(right, wrong))
    model = host("thermal block")
    if file == "numbers.cu":
        model = replace(model, operators=model.operators + 1e-3 * np.triu(model.operators, 1))  # by LU
    there, mus = moved(model), model.parameters.sample(30, "random", rng=9)
    launches = 0
    for count in (20, 30):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            made = there.solve(mus[:count])
        assert ["GPU" in str(w.message) for w in told] == [True] * (count == 20)
        wanted = model.solve(mus[:count])
        np.testing.assert_allclose(to_numpy(made.coefficients), wanted.coefficients, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(to_numpy(made.bound), wanted.bound, rtol=1e-6)
        launches = launches or len(emulated.launches)
        assert len(emulated.launches) == launches


def test_an_interrupted_comparison_is_made_again(emulated: EmulatedCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the first answers are compared does not keep the kernel out of all later batches."""
    there, mus = moved(host("thermal block")), host("thermal block").parameters.sample(20, "random", rng=9)
    with monkeypatch.context() as patch:
        patch.setattr(there._online, "residual", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            there.solve(mus)
    for launches in (2, 3):
        there.solve(mus)
        assert len(emulated.launches) == launches
