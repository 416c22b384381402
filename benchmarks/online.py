"""The online stage: microseconds a query of the thermal block (ours, pyMOR, bare NumPy) and of the 1D diffusion model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

import rbm
from benchmarks import peer
from benchmarks.harness import best, fresh, require_pymor, text_table
from problems import reaction_diffusion_1d, thermal_block
from rbm.riesz import factorize

BATCH = 10_000
CHUNK = 1_000
LOOP = 200
REPEATS = 9


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
    times = {
        "ours, one call": _pair(lambda: reduced.solve(mus, estimate=False), lambda: reduced.solve(mus), BATCH),
        "ours, one call, no output": _pair(lambda: bare.solve(mus, estimate=False), lambda: bare.solve(mus), BATCH),
        "ours, one point a call": _pair(
            lambda: [reduced.solve(mu, estimate=False) for mu in mus[:LOOP]],
            lambda: [reduced.solve(mu) for mu in mus[:LOOP]],
            LOOP,
        ),
        "pyMOR, loop": _pair(
            lambda: [rom.solve(mu) for mu in points], lambda: [rom.estimate_error(mu) for mu in points], LOOP
        ),
        "NumPy, all at once": _pair(lambda: numpy_solve(mus), lambda: numpy_bound(mus), BATCH),
        f"NumPy, {CHUNK} at once": _pair(lambda: _chunked(numpy_solve, mus), lambda: _chunked(numpy_bound, mus), BATCH),
        "library calls alone": _pair(lapack, lambda: (lapack(), gemm()), CHUNK),
    }
    theta, phi = model.operator_coefficients(mus[:1])[0], model.rhs_coefficients(mus[:1])[0]
    full = best(lambda: factorize(model.assemble(theta), symmetric=True)(model.rhs_terms @ phi[:, None]), REPEATS)
    solution = reduced.solve(mus[:LOOP])
    value = solution.estimate.value
    gamma = np.stack([rom.solve(mu).to_numpy()[:, 0] for mu in points])
    bound = np.array([rom.estimate_error(mu)[0] for mu in points])
    return {
        "N": reduced.size,
        "terms": reduced.operators.shape[0],
        "factor": list(reduced.estimators["orthonormal"].factor.shape),
        "microseconds": times,
        "full": full * 1e6,
        "deviation": {
            "coefficients, ours and pyMOR": _deviation(solution.coefficients, gamma),
            "coefficients, ours and NumPy": _deviation(solution.coefficients, numpy_solve(mus[:LOOP])),
            "estimates, ours and pyMOR": _deviation(value[:, None], bound[:, None]),
            "estimates, ours and NumPy": _deviation(value[:, None], numpy_bound(mus[:LOOP])[:, None]),
            "our floor in our bound": float((solution.estimate.floor / solution.bound).max()),
        },
    }


def diffusion() -> dict[str, Any]:
    """1D diffusion, N = 8: ours, and the full model solved three ways."""
    model = reaction_diffusion_1d()
    result = rbm.greedy(model, model.parameters.sample(200, "random", seed=0), max_basis=8, progress=False)
    reduced = result.reduced_model
    mus = model.parameters.sample(BATCH, "random", seed=2)
    points = mus[:LOOP]
    times = {
        "ours, one call": _pair(lambda: reduced.solve(mus, estimate=False), lambda: reduced.solve(mus), BATCH),
        "ours, one point a call": _pair(
            lambda: [reduced.solve(mu, estimate=False) for mu in points],
            lambda: [reduced.solve(mu) for mu in points],
            LOOP,
        ),
    }
    load = model.rhs_terms[:, 0]
    banded = [np.array([np.append(0.0, a.diagonal(1)), a.diagonal()]) for a in model.operator_terms]
    full = {
        "full model, refined (model.solve)": lambda: model.solve(points),
        "full model, sparse LU": lambda: [
            factorize(model.assemble((1.0, mu)), symmetric=True)(load[:, None]) for mu in points[:, 0]
        ],
        "full model, tridiagonal solver": lambda: [
            scipy.linalg.solveh_banded(banded[0] + mu * banded[1], load, check_finite=False) for mu in points[:, 0]
        ],
    }
    return {
        "N": reduced.size,
        "dimension": model.dimension,
        "microseconds": times,
        "full": {name: best(work, REPEATS) / LOOP * 1e6 for name, work in full.items()},
    }


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


def _pair(solve: Callable[[], Any], bound: Callable[[], Any], count: int) -> list[float]:
    """Microseconds a query without and with the bound, the smallest of several repeats."""
    return [best(work, REPEATS) / count * 1e6 for work in (solve, bound)]


def _deviation(a: np.ndarray, b: np.ndarray) -> float:
    """Largest relative difference of rows, in the 2-norm."""
    return float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max())


def _block_table(r: dict[str, Any]) -> str:
    times = r["microseconds"]
    rows = [(name, f"{a:.2f}", f"{b:.2f}") for name, (a, b) in times.items()]
    rows.append(("full model, sparse LU", f"{r['full']:.0f}", ""))
    ours, loop = times["ours, one call"], times["pyMOR, loop"]
    fair = times["ours, one call, no output"]
    numpy = [min(times[name][k] for name in times if name.startswith("NumPy")) for k in range(2)]
    k, m = r["factor"]
    notes = [
        f"N = {r['N']}, Q = {r['terms']}, R is {k} x {m}; {BATCH} parameters, loops over {LOOP}; smallest of {REPEATS} repeats, one thread.",
        "pyMOR's estimate_error solves, too; ours, with output: also s(mu) and its bound.",
        f"pyMOR / ours:            {loop[0] / ours[0]:.3g} (solve), {loop[1] / ours[1]:.3g} (solve + bound)",
        f"ours, no output / NumPy: {fair[0] / numpy[0]:.3g} (solve), {fair[1] / numpy[1]:.3g} (solve + bound)",
        f"full model / ours:       {r['full'] / ours[0]:.4g} (solve), {r['full'] / ours[1]:.4g} (solve + bound)",
        "largest relative deviation:",
        *(f"  {name}: {value:.1e}" for name, value in r["deviation"].items()),
    ]
    return text_table("Online: thermal block, microseconds a query", ("", "solve", "solve + bound"), rows, notes)


def _diffusion_table(r: dict[str, Any]) -> str:
    ours = r["microseconds"]["ours, one call"]
    rows = [(name, f"{a:.2f}", f"{b:.2f}", "") for name, (a, b) in r["microseconds"].items()]
    rows += [(name, f"{t:.2f}", "", f"{t / ours[1]:.1f}") for name, t in r["full"].items()]
    notes = [f"N = {r['N']}, {r['dimension']} unknowns; the last column compares with one call of ours, solve + bound."]
    header = ("", "solve", "solve + bound", "full / ours")
    return text_table("Online: 1D reaction-diffusion, microseconds a query", header, rows, notes)
