"""The offline stage: weak greedy on the thermal block, ours and pyMOR's, on the same matrices and training set."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import rbm
from benchmarks import peer
from benchmarks.harness import fresh, require_pymor, text_table
from problems import thermal_block
from rbm.reduction import ResidualRange
from rbm.solvers.factorization import factorize, positive_lu, solve_function

N = 30
TRAINING = 500
TESTS = 20
REPEATS = 2


def run() -> dict[str, Any]:
    """Both sides in turns, each time in a fresh process; the fastest run of each."""
    require_pymor()
    runs: dict[str, list[dict[str, Any]]] = {"ours": [], "pymor": []}
    for _ in range(REPEATS):
        for side, results in runs.items():
            results.append(fresh(f"benchmarks.offline:{side}"))
    fastest = {side: min(results, key=lambda r: r["cpu"]) for side, results in runs.items()}
    spread = {side: max(r["cpu"] for r in results) for side, results in runs.items()}
    return {**fastest, "slowest_cpu": spread, "repeats": REPEATS}


def table(result: dict[str, Any]) -> str:
    """Cost and quality of both, then where our time goes and what it cannot go below."""
    ours, pymor, slowest = result["ours"], result["pymor"], result["slowest_cpu"]
    rows = [
        _row("basis vectors N", ours, pymor, "N", "d"),
        _row("CPU seconds, greedy", ours, pymor, "cpu", ".2f"),
        _row("  slowest run", *({"cpu": slowest[s]} for s in ("ours", "pymor")), "cpu", ".2f"),
        _row("wall seconds, greedy", ours, pymor, "wall", ".2f"),
        _row(f"largest bound, {TRAINING} training points", ours, pymor, "bound", ".4e"),
        _row(f"largest true error, {TESTS} test points", ours, pymor, "error", ".4e"),
    ]
    notes = [
        f"dimension {ours['dimension']}, Q = {ours['terms']}; fastest of {result['repeats']} runs, one BLAS thread."
    ]
    parts, limits = ours["parts"], ours["limits"]
    rest = ours["cpu"] - sum(parts.values())
    limit = sum(limits.values())
    detail = [
        (name, f"{seconds:.2f}", f"{limits[name]:.2f}" if name in limits else "")
        for name, seconds in [*parts.items(), ("everything else", rest), ("whole greedy", ours["cpu"])]
    ]
    detail[-1] = (*detail[-1][:2], f"{limit:.2f}")
    first = text_table("Offline: weak greedy, thermal block 3 x 3", ("", "ours", "pyMOR", "pyMOR / ours"), rows, notes)
    second = text_table(
        "Ours, part by part (CPU seconds, each part repeated alone)",
        ("", "ours", "limit"),
        detail,
        [
            f"limit: {N} sparse LU + solve, and {ours['riesz']} Riesz solves with P factorised once, all by SuperLU, "
            "nothing else.",
            f"ours / limit = {ours['cpu'] / limit:.1f}",
        ],
    )
    return f"{first}\n\n{second}"


def ours() -> dict[str, Any]:
    """rbm.greedy, then its parts and their limits, measured alone."""
    model = thermal_block()
    training = model.parameters.sample(TRAINING, "random", rng=0)
    tests = model.parameters.sample(TESTS, "random", rng=1)
    # load the compiled kernels, those of large matrices too, as pyMOR has been imported before its clock starts
    rbm.greedy(thermal_block((2, 2), 66), [[0.5] * 4, [1.0] * 4], max_basis=2, progress=False)
    start = time.process_time(), time.perf_counter()
    result = rbm.greedy(model, training, max_basis=N, progress=False)
    cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    reduced = result.reduced_model
    gamma = reduced.solve(tests, estimate=False).coefficients
    parts, limits = _parts(model, result, training)
    return {
        "N": reduced.size,
        "cpu": cpu,
        "wall": wall,
        "bound": result.history[-1].bound,
        "error": float(model.error_norm(tests, gamma, result.basis).max()),
        "dimension": model.dimension,
        "terms": len(model.operator_terms),
        "riesz": model.rhs_terms.shape[1] + N * len(model.operator_terms),
        "parts": parts,
        "limits": limits,
    }


def pymor() -> dict[str, Any]:
    """pyMOR's rb_greedy; it stops after the last extension, so the bounds of the final basis are computed apart."""
    from pymor.algorithms.greedy import rb_greedy

    model = thermal_block()
    training = model.parameters.sample(TRAINING, "random", rng=0)
    tests = model.parameters.sample(TESTS, "random", rng=1)
    fom = peer.thermal_block_model(model)
    points = peer.parse(fom, training)
    start = time.process_time(), time.perf_counter()
    reductor = peer.reductor(model, fom)
    rom = rb_greedy(fom, reductor, points, max_extensions=N)["rom"]
    cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
    basis = reductor.bases["RB"].to_numpy()
    gamma = np.stack([rom.solve(mu).to_numpy()[:, 0] for mu in peer.parse(fom, tests)])
    return {
        "N": basis.shape[1],
        "cpu": cpu,
        "wall": wall,
        "bound": float(max(rom.estimate_error(mu)[0] for mu in points)),
        "error": float(model.error_norm(tests, gamma, basis).max()),
    }


def _parts(
    model: rbm.FullOrderModel, result: rbm.GreedyResult, training: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """CPU seconds of the greedy's parts, each done again alone, and of the bare solves that no method avoids."""
    theta, phi = model.operator_coefficients(result.parameters), model.rhs_coefficients(result.parameters)
    blocks = [model.rhs_terms] + [np.stack([a @ z for a in model.operator_terms], axis=1) for z in result.basis.T]
    models = [result.reduced_model.truncate(n) for n in range(1, N + 1)]

    def truth() -> None:
        for t, p in zip(theta, phi, strict=True):
            factorize(model.assemble(t), symmetric=True)(model.rhs_terms @ p[:, None])

    def riesz() -> None:
        solve = solve_function(positive_lu(model.product), model.product)
        for block in blocks:
            solve(block)

    solves, residual = "truth solves", "residual range"
    parts = {
        solves: _cpu(lambda: model.solve(result.parameters)),
        residual: _cpu(lambda: ResidualRange(model).extend(result.basis)),
        "training sweeps": _cpu(lambda: [m.estimate(training) for m in models]),
    }
    return parts, {solves: _cpu(truth), residual: _cpu(riesz)}


def _cpu(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _row(name: str, ours: dict[str, Any], pymor: dict[str, Any], key: str, form: str) -> tuple[str, str, str, str]:
    return name, f"{ours[key]:{form}}", f"{pymor[key]:{form}}", f"{pymor[key] / ours[key]:.4g}"
