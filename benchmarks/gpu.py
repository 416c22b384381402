"""``python -m benchmarks.gpu [--out FILE] [--model FILE] [--queries M]``: a million queries on a GPU \
and on the CPU, one JSON line a case, device and way.

Without CuPy or a GPU it prints one JSON line that says so. With one, each line has the time of a query, the flops that
a query needs, the time these would take at the rate of the device's own matrix product, measured in the same run, and
how far the answers are from those of the compiled kernels. The fused kernel and batched calls of the library take
turns. Cases that FILE holds from this device and this kernel are not measured again.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from benchmarks.harness import cpu_name, fastest
from lowrank.devices import mover
from problems import acoustic_scattering, frequency_sweep, thermal_block
from problems.acoustics import boundary_elements as bem
from rbm.online.device.source import Variant, source

QUERIES = 1_000_000
REPEATS = 5
#: Size of the matrix product whose rate is the measure.
PRODUCT = 4096
WAVENUMBER, LEVEL = 2.0, 4


@dataclass(frozen=True)
class Device:
    """A device as the benchmark needs it."""

    xp: Any  #: its array module
    target: Any  #: for ReducedModel.to
    wait: Callable[[], Any]  #: until all work that was started is done
    about: dict[str, Any]  #: name and versions


def main() -> int:
    """Print and, if a file is given, append the lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, help="also append the lines to this file")
    parser.add_argument("--model", type=Path, action="append", default=[], help="also measure this saved reduced model")
    parser.add_argument("--queries", type=int, default=QUERIES, help="points a case (the CPU gets a tenth of them)")
    arguments = parser.parse_args()
    out = arguments.out
    known = [json.loads(text) for text in out.read_text().splitlines()] if out is not None and out.exists() else []
    for line in lines(arguments.model, arguments.queries, known):
        text = json.dumps({key: _rounded(value) for key, value in line.items()})
        print(text, flush=True)
        if out is not None:
            with out.open("a") as file:
                file.write(text + "\n")
    return 0


def lines(
    saved: Sequence[Path] = (), queries: int = QUERIES, known: Sequence[dict[str, Any]] = ()
) -> Iterator[dict[str, Any]]:
    """All lines but those of cases that are `known`, those of saved models last; one without a GPU."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        device = gpu()
    except (ImportError, RuntimeError) as error:
        yield {"benchmark": "gpu", "skipped": str(error), "date": date}
        return
    about = {"benchmark": "gpu", "date": date, "cpu": cpu_name(), "numpy": np.__version__, **device.about}
    about["kernel_text"] = kernel_text()
    rates = {dtype: product_rate(device, dtype) for dtype in ("float64", "float32")}
    for case, model in (*cases(), *((file.stem, rbm.load(file)) for file in saved)):
        if isinstance(model, str):
            yield {**about, "case": case, "skipped": model}
            continue
        count = queries if model.projection == "galerkin" else max(queries // 20, 1)
        for dtype in ("float64", "float32"):
            made = model.astype(dtype)
            same = {"case": case, "dtype": str(made.dtype), "queries": count}
            same |= {key: about[key] for key in ("gpu", "kernel_text")}
            if any(all(line.get(key) == value for key, value in same.items()) for line in known):
                continue
            for line in measured(made, device, rates, count):
                yield {**about, "case": case, **line}


def kernel_text() -> str:
    """The beginning of the SHA-256 of the fused kernel, by which files of results know it."""
    text = source(Variant(False, False, True, 16, 1))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def gpu() -> Device:
    """The current device of CuPy. Raises ImportError or RuntimeError if there is none."""
    mover("cupy")  # says what is missing
    import array_api_compat.cupy
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    about = {
        "gpu": properties["name"].decode(),
        "gpu_bytes": properties["totalGlobalMem"],
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
        "rbm": importlib.metadata.version("rbm-toolkit"),
    }
    return Device(array_api_compat.cupy, "cupy", cupy.cuda.Device().synchronize, about)


def cases() -> Iterator[tuple[str, rbm.ReducedModel | str]]:
    """Reduced models by name, or why there is none."""
    block = thermal_block()
    training = block.parameters.sample(500, "random", rng=0)
    whole = rbm.greedy(block, training, max_basis=60, progress=False).reduced_model
    for size in (30, 10, 20, 60):
        yield "thermal block" if size == 30 else f"thermal block, N = {size}", whole.truncate(size)
    duct = frequency_sweep("duct", 2000, admittance=1.0, wavenumbers=(2.0, 12.0))
    training = duct.parameters.sample(300)
    yield "duct, complex", rbm.greedy(duct, training, max_basis=24, progress=False).reduced_model
    yield "scattering, complex admittances", _scattering()


def _scattering() -> rbm.ReducedModel | str:
    """The complex model of :mod:`benchmarks.scattering`, solved by least squares, if its matrices are cached."""
    from problems.acoustics.matrix_cache import cached_file
    from problems.acoustics.shapes import surface

    if not cached_file(bem.cache_folder(), surface("sphere", LEVEL, 2), WAVENUMBER, 4).exists():
        return "its matrices are not cached: python -m benchmarks scattering makes them"
    model = acoustic_scattering("sphere", 2, WAVENUMBER, LEVEL, susceptance=(-1.0, 1.0), progress=False)
    return rbm.greedy(model, model.parameters.sample(500), tol=1e-10, relative=True, progress=False).reduced_model


def measured(
    model: rbm.ReducedModel, device: Device, rates: dict[str, float], queries: int = QUERIES, repeats: int = REPEATS
) -> Iterator[dict[str, Any]]:
    """Solve and bound by each device and each way, which take turns; the CPU gets a tenth of the queries.

    rates : flops per second of matrix products on the device, by precision; residuals are summed in double precision
    """
    mus = model.parameters.sample(queries, "random", rng=2)
    mus_there = device.xp.asarray(mus)
    ways = models_there(model, device)

    def waited(work: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            work()
            device.wait()

        return run

    on_device: dict[str, Callable[[], Any]] = {}
    for name, there in ways.items():
        for way, work in _works(there, mus, mus_there).items():
            on_device[f"{name}, {way}"] = waited(work)
    threads = sorted({2, os.cpu_count() or 2})
    few = mus[: max(queries // 10, 1)]
    on_host = {f"compiled, {n} threads": _with_threads(n, lambda: model.solve(few)) for n in threads}
    seconds = fastest({**on_device, **on_host}, repeats)
    own = str(np.finfo(model.dtype).dtype)
    of_solve, of_residual = flops(model)
    ideal = of_solve / rates[own] + of_residual / rates["float64"]
    wanted = model.solve(few)
    deviations = {name: _deviation(there.solve(few).to("numpy"), wanted) for name, there in ways.items()}
    for way, time in seconds.items():
        count = queries if way in on_device else len(few)
        line = {
            "way": way,
            "N": model.size,
            "Q": int(model.operators.shape[0]),
            "dtype": str(model.dtype),
            "projection": model.projection,
            "queries": count,
            "ns_a_query": time / count * 1e9,
            "flops_a_query": of_solve + of_residual,
            "gflops": (of_solve + of_residual) * count / time / 1e9,
        }
        if way in on_device:
            line |= {f"product_gflops_{name}": rate / 1e9 for name, rate in rates.items()}
            line |= {"share_of_product_rate": ideal * count / time, **deviations[way.partition(",")[0]]}
        yield line


def _works(there: rbm.ReducedModel, mus: np.ndarray, mus_there: Any) -> dict[str, Callable[[], Any]]:
    return {
        "points and answers on the device": lambda: there.solve(mus_there),
        "points and answers moved": lambda: there.solve(mus).to("numpy"),
        "points, outputs and bounds moved": lambda: there.solve(mus, coefficients=False).to("numpy"),
    }


def models_there(model: rbm.ReducedModel, device: Device) -> dict[str, rbm.ReducedModel]:
    """The model on the device: answered by the fused kernel, where that knows it, and by batched calls."""
    fused, batched = model.to(device.target), model.to(device.target)
    with _environment("RBM_GPU_KERNEL", "batched"):
        batched.solve(model.parameters.sample(1))  # remembers its way
    known = fused._online.fused(fused.state(None)) is not None
    return {"fused": fused, "batched": batched} if known else {"batched": batched}


def flops(model: rbm.ReducedModel) -> tuple[float, float]:
    """Flops that a query needs: assembly and solution, and R c by E_onb; four times as many for complex numbers.

    Q N (N + 1) + N^3/3 + 2 N^2 for a Hermitian system, Q triangles and L D L^H; 2 Q N^2 + 2 N^3/3 + 2 N^2 for another
    square one; 2 Q k N + 2 k N^2 - 2 N^3/3 for least squares with k rows. R (r, m) is upper trapezoidal: 2 r m - r^2,
    m^2 for a triangle.
    """
    q, k, n = model.operators.shape
    hermitian = k == n and all(
        np.allclose(a, a.conj().T, rtol=1e-12, atol=1e-13 * np.abs(a).max()) for a in model.operators
    )
    if k > n:
        solve = 2 * q * k * n + 2 * k * n**2 - 2 * n**3 / 3
    else:
        solve = q * n * (n + 1) + n**3 / 3 + 2 * n**2 if hermitian else 2 * q * n**2 + 2 * n**3 / 3 + 2 * n**2
    rows, columns = model.estimators["orthonormal"].factor.shape  # type: ignore[attr-defined]
    times = 4 if model.operators.dtype.kind == "c" else 1
    return float(times * solve), float(times * (2 * rows * columns - rows**2))


def product_rate(device: Device, dtype: str, size: int = PRODUCT) -> float:
    """Flops a second of a product of two square matrices."""
    a = device.xp.asarray(np.random.default_rng(0).standard_normal((size, size)).astype(dtype))

    def product() -> None:
        _ = a @ a
        device.wait()

    return 2.0 * size**3 / fastest({"product": product}, REPEATS)["product"]


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _with_threads(count: int, work: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        with _environment("RBM_NUM_THREADS", str(count)):
            work()

    return run


def _deviation(here: rbm.Solution, there: rbm.Solution) -> dict[str, float]:
    """How far the device's answers are from the compiled kernels'."""
    size = np.linalg.norm(there.coefficients, axis=1)
    coefficients = np.linalg.norm(here.coefficients - there.coefficients, axis=1) / size
    return {
        "deviation_of_coefficients": float(coefficients.max()),
        "deviation_of_bounds": float(np.max(np.abs(here.bound / there.bound - 1))),
    }


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
