"""Coefficients in few bits: their errors and the bounds of decoded solutions, against the truth; bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest
from helpers.models import complex_model, two_parameter_model

import rbm
from rbm.errors import FileFormatError
from rbm.reduced.coded_coefficients import CodedCoefficients
from rbm.storage.archive import read_archive, write_archive

MODELS: dict[str, Callable[[], rbm.FullOrderModel]] = {
    "real": lambda: two_parameter_model(16),
    "complex": lambda: complex_model(16),
}


@lru_cache
def reduced(name: str) -> tuple[rbm.FullOrderModel, rbm.ReducedModel]:
    model = MODELS[name]()
    return model, rbm.project(model, model.solve(model.parameters.sample(4, "random", rng=3)).T)


def curve(model: rbm.FullOrderModel, count: int) -> np.ndarray:
    """A path through the parameter space, for which few codes will do."""
    t, (low, high) = np.linspace(0, 1, count)[:, None], model.parameters.bounds.T
    return low + (high - low) * np.concatenate([t, (1 + np.sin(7 * t)) / 2], axis=1)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """||a - b||_2 (M,) of rows of doubles, rounded downwards from 300 bits."""
    flint.ctx.prec = 300
    made = []
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        pairs = [(complex(p), complex(q)) for p, q in zip(x, y, strict=True)]
        parts = [flint.arb(p.real) - q.real for p, q in pairs] + [flint.arb(p.imag) - q.imag for p, q in pairs]
        made.append(float(sum((x * x for x in parts), flint.arb(0)).sqrt()) * (1 - 2.0**-52))
    return np.array(made)


@pytest.mark.parametrize("method", ["bits", "residual"])
@pytest.mark.parametrize("name", MODELS)
def test_errors_and_bounds_hold(name: str, method: Any) -> None:
    model, whole = reduced(name)
    count = 2000 if method == "residual" else 500
    mus, some = curve(model, count), np.arange(0, count, count // 20)
    exact = model.solve_extended(mus[some])
    tried = [(whole.quantize(5), 14), (whole, 10), (whole.astype("float32").quantize(9), 20)]
    for small, bits in tried[: 3 if method == "bits" else 1]:
        solution = small.solve(mus)
        stored = small.encode(solution, bits, method=method)
        assert stored.method == method
        assert len(stored) == count
        parts = 2 if name == "complex" else 1
        assert stored.nbytes - 4 * count <= bits * count * 4 * parts / 8 + 8  # float32 bounds come on top
        decoded = small.decode(stored)
        np.testing.assert_array_equal(decoded.coefficients, stored.coefficients())
        every = slice(None, None, 7)
        assert np.all(distances(solution.coefficients[every], decoded.coefficients[every]) <= stored.error[every])
        np.testing.assert_allclose(stored.error.max(), stored.largest)
        true = model.inner_product.norm(exact[0] - small.reconstruct(decoded[some]).T)
        assert np.all(decoded.bound[some] >= true * (1 - 1e-12))
        assert np.all(decoded.bound <= (solution.bound + 2.1 * decoded.quantization_error) * (1 + 1e-5))
        assert decoded.method == "stored"
        assert not np.any(decoded.estimate.resolved)  # type: ignore[union-attr]
        assert decoded.names == model.parameters.names


def test_a_basis_that_is_not_orthonormal_is_charged() -> None:
    """Distances of coefficients become distances of solutions by the norm of Z, which the model knows."""
    model, whole = reduced("real")
    assert 0 < whole.orthonormality < 1e-12
    solution = whole.solve(curve(model, 100))
    stored = whole.encode(solution, 8)
    one, other = (m.decode(stored).quantization_error for m in (whole, replace(whole, orthonormality=0.44)))
    np.testing.assert_allclose(other, 1.2 * one, rtol=1e-6)


def test_auto_takes_the_better() -> None:
    model, whole = reduced("real")
    gamma = whole.solve(curve(model, 3000)).coefficients
    for bits in (12,):
        made = {m: whole.encode(gamma, bits, method=m) for m in ("auto", "bits", "residual")}  # type: ignore[arg-type]
        size = {m: np.linalg.norm(c.error) for m, c in made.items()}
        better = min(("bits", "residual"), key=lambda m: size[m])
        assert made["auto"].method == better
        np.testing.assert_array_equal(made["auto"].coefficients(), made[better].coefficients())
        assert made["auto"].bounds is None
        decoded = whole.decode(made["auto"])
        assert decoded.estimate is None
    # two points only, over and over: 256 vectors hold them all, bits do not
    twice = gamma[np.random.default_rng(0).integers(0, 2, 3000)]
    assert whole.encode(twice, 12).method == "residual"
    assert whole.encode(gamma[:40], 12).method == "bits"  # fewer points than vectors of a codebook


def test_stored_twice_the_first_distance_stays_in_the_bound() -> None:
    model, whole = reduced("real")
    mus = curve(model, 400)
    small = whole.quantize(10)
    first = small.decode(small.encode(small.solve(mus), 3))
    again = small.decode(small.encode(first, 20))
    some = np.arange(0, 400, 20)
    true = model.inner_product.norm(model.solve_extended(mus[some])[0] - small.reconstruct(again[some]).T)
    assert np.all(again.bound[some] >= true)
    assert np.all(again.bound >= first.bound * (1 - 1e-6))
    # what the basis adds is not counted twice for solutions that were not stored before
    once = small.decode(small.encode(small.solve(mus), 24))
    np.testing.assert_allclose(once.bound, small.solve(mus).bound, rtol=1e-3)


def test_a_basis_of_other_bits_brings_its_own_error() -> None:
    model, whole = reduced("real")
    mus = curve(model, 400)
    rough, fine = whole.quantize(3), whole.quantize(12)
    some = np.arange(0, 400, 20)
    exact = model.solve_extended(mus[some])[0]
    for source, target in ((whole, rough), (rough, whole), (rough, fine), (fine, rough)):
        decoded = target.decode(source.encode(source.solve(mus), 10))
        full = target.reconstruct(decoded[some])
        assert np.all(decoded.bound[some] >= model.inner_product.norm(exact - full.T))
    np.testing.assert_allclose(
        fine.decode(rough.encode(rough.solve(mus), 12)).bound,
        fine.decode(fine.encode(fine.solve(mus), 12)).bound,
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    "gamma",
    [
        np.zeros((40, 4)),
        np.full((400, 4), 3.0),
        2.0**-660 * np.random.default_rng(0).standard_normal((400, 4)),
        2.0**660 * np.random.default_rng(0).standard_normal((400, 4)),
        2.0**-1040 * np.random.default_rng(0).standard_normal((400, 4)),
        np.arange(1600).reshape(400, 4),
        np.geomspace(1, 1e-30, 400)[:, None] * np.ones(4),
    ],
    ids=["zero", "constant", "small", "large", "denormal", "integers", "graded"],
)
def test_coefficients_of_any_size(gamma: np.ndarray) -> None:
    _, whole = reduced("real")
    for bits in (10, 22):
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            stored = whole.encode(gamma, bits)
        decoded = whole.decode(stored).coefficients
        wide = gamma.astype(float)
        assert np.all(distances(wide[::5], decoded[::5]) <= stored.error[::5])
        size = np.abs(wide).max()
        if size > 1e-300:  # and a good part of the bits is used
            assert np.abs(wide - decoded).max() <= size * (0.05 if bits == 10 else 1e-4)


def test_words_and_files(tmp_path: Path) -> None:
    model, whole = reduced("complex")
    solution = whole.solve(curve(model, 3000))
    for method in ("bits", "residual"):
        stored = whole.encode(solution, 10, method=method)  # type: ignore[arg-type]
        assert repr(stored) == (
            f"CodedCoefficients(3000 points, {stored.nbytes / 3000:.3g} bytes each, by {method}, "
            f"error up to {stored.largest:.2g})"
        )
        path = tmp_path / f"{method}.codes"
        stored.save(path)
        again = CodedCoefficients.load(path)
        before, after = whole.decode(stored), whole.decode(again)
        for name in ("coefficients", "bound", "quantization_error"):
            assert getattr(before, name).tobytes() == getattr(after, name).tobytes()
        assert (again.origin, again.largest, again.nbytes) == (stored.origin, stored.largest, stored.nbytes)
        assert path.stat().st_size <= stored.nbytes + 4000


def damages(arrays: dict[str, np.ndarray]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Every array dropped, retyped, reshaped, cut short and, where it can be, NaN."""
    made = []
    for name, a in arrays.items():
        made.append((f"{name} dropped", {k: v for k, v in arrays.items() if k != name}))
        changed = {
            "retyped": a.astype(np.float32 if a.dtype.kind in "iu" or a.dtype == float else np.int64),
            "reshaped": a[..., None],
            "cut short": a[..., :-1],
        }
        if a.dtype.kind in "fc":
            changed["NaN"] = a * np.nan
            changed["infinite"] = a + np.inf
        for what, other in changed.items():
            if other.shape != a.shape or other.dtype != a.dtype or a.size:
                made.append((f"{name} {what}", {**arrays, name: other}))
    return made


@pytest.mark.parametrize("method", ["bits", "residual"])
def test_damaged_files_are_refused(method: Any, tmp_path: Path) -> None:
    model, whole = reduced("real")
    path, other = tmp_path / "whole", tmp_path / "damaged"
    whole.encode(whole.solve(curve(model, 1500)), 16, method=method).save(path)
    header, arrays = read_archive(path, "reduced coefficients")
    header = {k: v for k, v in header.items() if k not in ("version", "format", "sha256", "header_sha256")}
    tried = [(what, header, made) for what, made in damages(arrays)]
    tried += [(f"{k} left out", {n: v for n, v in header.items() if n != k}, arrays) for k in header if k != "kind"]
    for key, value in (
        ("method", "other"),
        ("largest", -1.0),
        ("largest", "x"),
        ("origin", "no mark"),
        ("largest", None),
        ("exponent", 5000),
    ):
        tried.append((f"{key} {value}", {**header, key: value}, arrays))
    tried.append(("negative bounds", header, {**arrays, "bounds": -arrays["bounds"]}))
    for what, head, made in tried:
        if what in ("bounds dropped", "bounds infinite"):  # there may be none; and infinity is a bound
            continue
        write_archive(other, {**head, "kind": "reduced coefficients"}, made)
        if what == "axes/error_per_level retyped":  # is said, and used for nothing
            continue
        try:
            CodedCoefficients.load(other)
        except FileFormatError as error:
            message = str(error)
        else:
            pytest.fail(f"{what} was not seen")
        assert str(other) in message, what
    content = path.read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 1):
        other.write_bytes(content[:cut])
        with pytest.raises(FileFormatError):
            CodedCoefficients.load(other)
    whole.save(other)
    with pytest.raises(FileFormatError):
        CodedCoefficients.load(other)
    with pytest.raises(FileNotFoundError):
        CodedCoefficients.load(tmp_path / "none")


def test_bad_input() -> None:
    model, whole = reduced("real")
    mus = curve(model, 300)
    solution = whole.solve(mus)
    for bits in (0, -1, 25, np.nan, True, "8", None):
        with pytest.raises(rbm.ModelError, match=r"mean number of bits in \(0, 24\]"):
            whole.encode(solution, bits)  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match='method must be "auto", "bits" or "residual", got \'other\''):
        whole.encode(solution, method="other")  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match=r"hold no code: give more bits"):
        whole.encode(solution, 0.5)
    with pytest.raises(rbm.ModelError, match=r"hold no code"):
        whole.encode(solution.coefficients[:1], 8)
    for shape in ((300, 3), (4,), (0, 4), (2, 2, 4)):
        with pytest.raises(ValueError, match=r"shape \(M, 4\) with M >= 1"):
            whole.encode(np.ones(shape))
    for bad in (np.nan, np.inf):
        gamma = solution.coefficients.copy()
        gamma[3, 1] = bad
        with pytest.raises(ValueError, match="hold 1 entries that are NaN or infinite"):
            whole.encode(gamma)
    with pytest.raises(ValueError, match="must be numbers, got an array of bool"):
        whole.encode(np.ones((300, 4), dtype=bool))
    stored = whole.encode(solution)
    with pytest.raises(TypeError, match="decode takes what encode returned, got ndarray"):
        whole.decode(solution.coefficients)  # type: ignore[arg-type]
    other = rbm.project(model, model.solve(model.parameters.sample(4, "random", rng=9)).T)
    with pytest.raises(rbm.ModelError, match="another basis"):
        other.decode(stored)
    with pytest.raises(rbm.ModelError, match="another basis"):
        other.encode(solution)
    with pytest.raises(rbm.ModelError, match="of 4 basis vectors, the model has 3"):
        whole.truncate(3).decode(stored)


def test_infinite_bounds_stay_infinite() -> None:
    model, whole = reduced("real")
    small = whole.quantize(6)
    solution = small.solve(curve(model, 300))
    assert solution.estimate is not None
    blank = solution.estimate.mapped(lambda a, n: a if n == "resolved" else np.where(np.arange(300) < 5, np.inf, a))
    decoded = small.decode(small.encode(replace(solution, estimate=blank), 10))
    np.testing.assert_array_equal(np.isinf(decoded.bound), np.arange(300) < 5)
    assert not np.any(np.isnan(decoded.bound))


@pytest.mark.parametrize("power", [-1040, -600, 0, 600])
def test_bounds_of_any_size_are_stored(power: int) -> None:
    """Single precision alone holds 1e-45 to 3e38."""
    model, whole = reduced("real")
    solution = whole.solve(curve(model, 400))
    assert solution.estimate is not None
    scaled = solution.estimate.mapped(lambda a, n: a if n == "resolved" else np.ldexp(a, power))
    stored = whole.encode(replace(solution, estimate=scaled), 12)
    kept = stored.error_bounds
    assert kept is not None
    assert np.all(kept >= scaled.bound)
    assert np.all(kept <= scaled.bound * (1 + 1e-5) + 2.0**-1000)
