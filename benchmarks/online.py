"""The online stage: microseconds a query of the thermal block (ours, pyMOR, bare NumPy) and of the 1D diffusion model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

import rbm
from benchmarks import peer
from benchmarks.harness import fastest, fresh, require_pymor, text_table
from problems import reaction_diffusion_1d, thermal_block
from rbm.riesz import factorize

BATCH = 10_000
CHUNK = 1_000
LOOP = 200
REPEATS = 15
HEADER = ("", "solve", "solve + bound")


def run() -> dict[str, Any]:
    """Each model in a fresh process with one BLAS thread."""
    require_pymor()
    return {name: fresh(f"benchmarks.online:{name}") for name in ("block", "diffusion")}


def table(result: dict[str, Any]) -> str:
    """Microseconds a query: the solution alone, and with its error bound."""
    return f"{_block_table(result['block'])}\n\n{_diffusion_table(result['diffusion'])}"


def block() -> dict[str, Any]:
    """Thermal block, N = 30, one basis for all: ours, pyMOR's loop, bare NumPy, the library calls alone, the full model."""
    model = thermal_block()
    training = model.parameters.sample(500, "random", seed=0)
    result = rbm.greedy(model, training, max_basis=30, progress=False)
    reduced = result.reduced_model
    mus = model.parameters.sample(BATCH, "random", seed=2)
    bare = dataclasses.replace(reduced, outputs={})
    fom = peer.thermal_block_model(model)
    rom = peer.reductor(model, fom, result.basis).reduce()
    points = peer.parse(fom, mus[:LOOP])
    numpy_solve, numpy_bound = _bare_numpy(reduced)
    lapack, gemm = _library_calls(reduced, mus[:CHUNK])
    theta, phi = model.operator_coefficients(mus[:1])[0], model.rhs_coefficients(mus[:1])[0]
    work = {
        "ours, one call": (lambda: reduced.solve(mus, estimate=False), lambda: reduced.solve(mus), BATCH),
        "ours, one call, no output": (lambda: bare.solve(mus, estimate=False), lambda: bare.solve(mus), BATCH),
        "ours, one point a call": (
            lambda: [reduced.solve(mu, estimate=False) for mu in mus[:LOOP]],
            lambda: [reduced.solve(mu) for mu in mus[:LOOP]],
            LOOP,
        ),
        "pyMOR, loop": (
            lambda: [rom.solve(mu) for mu in points],
            lambda: [rom.estimate_error(mu) for mu in points],
            LOOP,
        ),
        "NumPy, all at once": (lambda: numpy_solve(mus), lambda: numpy_bound(mus), BATCH),
        f"NumPy, {CHUNK} at once": (lambda: _chunked(numpy_solve, mus), lambda: _chunked(numpy_bound, mus), BATCH),
        "library calls alone": (lapack, lambda: (lapack(), gemm()), CHUNK),
        "full model, sparse LU": (
            lambda: factorize(model.assemble(theta), symmetric=True)(model.rhs_terms @ phi[:, None]),
            None,
            1,
        ),
    }
    times = _microseconds(work)
    solution = reduced.solve(mus[:LOOP])
    value = solution.estimate.value
    gamma = np.stack([rom.solve(mu).to_numpy()[:, 0] for mu in points])
    bound = np.array([rom.estimate_error(mu)[0] for mu in points])
    return {
        "N": reduced.size,
        "terms": reduced.operators.shape[0],
        "factor": list(reduced.estimators["orthonormal"].factor.shape),
        "microseconds": times,
        "deviation": {
            "coefficients, ours and pyMOR": _deviation(solution.coefficients, gamma),
            "coefficients, ours and NumPy": _deviation(solution.coefficients, numpy_solve(mus[:LOOP])),
            "estimates, ours and pyMOR": _deviation(value[:, None], bound[:, None]),
            "estimates, ours and NumPy": _deviation(value[:, None], numpy_bound(mus[:LOOP])[:, None]),
        },
        "floor": float((solution.estimate.floor / solution.bound).max()),
    }


def diffusion() -> dict[str, Any]:
    """1D diffusion, N = 8: ours, and the full model solved three ways."""
    model = reaction_diffusion_1d()
    result = rbm.greedy(model, model.parameters.sample(200, "random", seed=0), max_basis=8, progress=False)
    reduced = result.reduced_model
    mus = model.parameters.sample(BATCH, "random", seed=2)
    points = mus[:LOOP]
    load = model.rhs_terms[:, 0]
    banded = [np.array([np.append(0.0, a.diagonal(1)), a.diagonal()]) for a in model.operator_terms]
    work = {
        "ours, one call": (lambda: reduced.solve(mus, estimate=False), lambda: reduced.solve(mus), BATCH),
        "ours, one point a call": (
            lambda: [reduced.solve(mu, estimate=False) for mu in points],
            lambda: [reduced.solve(mu) for mu in points],
            LOOP,
        ),
        "full model, refined (model.solve)": (lambda: model.solve(points), None, LOOP),
        "full model, sparse LU": (
            lambda: [factorize(model.assemble((1.0, mu)), symmetric=True)(load[:, None]) for mu in points[:, 0]],
            None,
            LOOP,
        ),
        "full model, tridiagonal solver": (
            lambda: [
                scipy.linalg.solveh_banded(banded[0] + mu * banded[1], load, check_finite=False) for mu in points[:, 0]
            ],
            None,
            LOOP,
        ),
    }
    return {"N": reduced.size, "dimension": model.dimension, "microseconds": _microseconds(work)}


def _bare_numpy(reduced: rbm.ReducedModel) -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """The same arithmetic written out for this model: theta = mu, f parameter-free, beta = min mu."""
    q, n, _ = reduced.operators.shape
    flat, f = reduced.operators.reshape(q, n * n), reduced.rhs[0]
    transposed = np.ascontiguousarray(reduced.estimators["orthonormal"].factor.T)

    def solve(mus: np.ndarray) -> np.ndarray:
        matrices = (mus @ flat).reshape(-1, n, n)
        return np.linalg.solve(matrices, np.broadcast_to(f[:, None], (len(mus), n, 1)))[..., 0]

    def estimate(mus: np.ndarray) -> np.ndarray:
        gamma = solve(mus)
        c = np.empty((len(mus), 1 + n * q))
        c[:, 0] = 1.0
        np.multiply(-gamma[:, :, None], mus[:, None, :], out=c[:, 1:].reshape(-1, n, q))
        return np.linalg.norm(c @ transposed, axis=1) / mus.min(axis=1)

    return solve, estimate


def _library_calls(reduced: rbm.ReducedModel, mus: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The two calls that nobody avoids, on arrays that are there: np.linalg.solve, and the product C R^T."""
    q, n, _ = reduced.operators.shape
    matrices = (mus @ reduced.operators.reshape(q, n * n)).reshape(-1, n, n)
    vectors = np.broadcast_to(reduced.rhs[0][:, None], (len(mus), n, 1)).copy()
    transposed = np.ascontiguousarray(reduced.estimators["orthonormal"].factor.T)
    c = np.random.default_rng(0).standard_normal((len(mus), len(transposed)))
    return lambda: np.linalg.solve(matrices, vectors), lambda: c @ transposed


def _chunked(function: Callable[[np.ndarray], np.ndarray], mus: np.ndarray) -> np.ndarray:
    return np.concatenate([function(mus[i : i + CHUNK]) for i in range(0, len(mus), CHUNK)])


def _microseconds(work: dict[str, tuple[Callable[[], Any], Callable[[], Any] | None, int]]) -> dict[str, list[float]]:
    """Microseconds a query without and, where there is one, with the bound; each row counts its queries."""
    calls = {(name, k): call for name, row in work.items() for k, call in enumerate(row[:2]) if call is not None}
    seconds = fastest(calls, REPEATS)
    return {
        name: [seconds[name, k] / row[2] * 1e6 for k in range(2) if (name, k) in seconds] for name, row in work.items()
    }


def _deviation(a: np.ndarray, b: np.ndarray) -> float:
    """Largest relative difference of rows, in the 2-norm."""
    return float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max())


def _block_table(r: dict[str, Any]) -> str:
    times = r["microseconds"]
    ours, loop, full = times["ours, one call"], times["pyMOR, loop"], times["full model, sparse LU"][0]
    equal = times["ours, one call, no output"]
    numpy = [min(times[name][k] for name in times if name.startswith("NumPy")) for k in range(2)]
    rows, columns = r["factor"]
    notes = [
        f"N = {r['N']}, Q = {r['terms']}, R is {rows} x {columns}; {BATCH} parameters, loops over {LOOP}; "
        f"smallest of {REPEATS} repeats, one thread.",
        "pyMOR's estimate_error solves, too; ours, with output: also s(mu) and its bound.",
        f"pyMOR / ours:            {loop[0] / ours[0]:.3g} (solve), {loop[1] / ours[1]:.3g} (solve + bound)",
        f"ours, no output / NumPy: {equal[0] / numpy[0]:.3g} (solve), {equal[1] / numpy[1]:.3g} (solve + bound)",
        f"full model / ours:       {full / ours[0]:.4g} (solve), {full / ours[1]:.4g} (solve + bound)",
        "largest relative deviation:",
        *(f"  {name}: {value:.1e}" for name, value in r["deviation"].items()),
        f"largest share of the floor in our bound: {r['floor']:.1e}",
    ]
    return text_table("Online: thermal block, microseconds a query", HEADER, _rows(times), notes)


def _diffusion_table(r: dict[str, Any]) -> str:
    times = r["microseconds"]
    ours = times["ours, one call"][1]
    notes = [
        f"N = {r['N']}, {r['dimension']} unknowns. Full model / ours (one call, solve + bound): "
        + ", ".join(f"{t[0] / ours:.3g}" for name, t in times.items() if name.startswith("full"))
        + " in the order of the rows."
    ]
    return text_table("Online: 1D reaction-diffusion, microseconds a query", HEADER, _rows(times), notes)


def _rows(times: dict[str, list[float]]) -> list[tuple[str, str, str]]:
    return [(name, f"{t[0]:.2f}", f"{t[1]:.2f}" if len(t) > 1 else "") for name, t in times.items()]
