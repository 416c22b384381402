"""The online stage: microseconds and GFLOP/s per query.

Beside pyMOR's loop, batched NumPy and the machine's own matrix product.
"""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import scipy.linalg

import rbm
from benchmarks import peer
from benchmarks.counts import output_flops, residual_flops, solve_flops
from benchmarks.harness import fastest, fresh, require_pymor, text_table
from benchmarks.online_peers import CHUNK, bare_numpy, evaluated_again, gemm, in_chunks, in_threads
from problems import reaction_diffusion_1d, thermal_block
from rbm.online.batches import thread_count
from rbm.solvers.factorization import factorize

BATCH, LOOP, REPEATS = 100_000, 200, 7
SWEEP = 20_000
#: Vectors of the scattering model with which no point is evaluated twice.
FEWER = 28
CASES = ("block", "diffusion", "scattering")


def run() -> dict[str, Any]:
    """Each model in a fresh process that may use all processors, as may its peers."""
    require_pymor()
    cases = [c for c in CASES if c != "scattering" or importlib.util.find_spec("bempp_cl")]
    return {name: fresh(f"benchmarks.online:{name}", threads=None) for name in cases}


def table(result: dict[str, Any]) -> str:
    """One table per model, and the sweeps over N, Q and M."""
    titles = {
        "block": "Online: thermal block 3 x 3, 7081 unknowns",
        "diffusion": "Online: reaction-diffusion in one dimension, mu in [1, 1e5]",
        "scattering": "Online: acoustic scattering, complex, two parts, 258 unknowns",
    }
    parts = [_table(titles[name], result[name]) for name in CASES if name in result]
    parts.insert(1, _sweep_table(result["block"]))
    return "\n\n".join(parts)


# ---- the three models


def block() -> dict[str, Any]:
    """Thermal block, N = 30, one basis for all; sweeps over N, the number of blocks Q, and the size of the batch M."""
    model = thermal_block()
    result = rbm.greedy(model, model.parameters.sample(500, "random", rng=0), max_basis=30, progress=False)
    reduced = result.reduced_model
    mus = model.parameters.sample(BATCH, "random", rng=2)
    fom = peer.thermal_block_model(model)
    rom = peer.reductor(model, fom, result.basis).reduce()
    theta, phi = model.operator_coefficients(mus[:1])[0], model.rhs_coefficients(mus[:1])[0]
    full = lambda: factorize(model.assemble(theta), symmetric=True)(model.rhs_terms @ phi[:, None])  # noqa: E731
    made = _compare({"ours": reduced}, mus, rom, peer.parse(fom, mus[:LOOP]), {"full model, sparse LU": full})
    variants = {
        "ours, float32": reduced.astype("float32"),
        "ours, compressed to 1 %": reduced.compress(0.01),
        "ours, sketched (40 rows, 1e-9)": reduced.sketch(),
    }
    for name, other in variants.items():
        method = "sketched" if "sketched" in name else None
        seconds = fastest({"": lambda o=other, m=method: o.solve(mus, method=m)}, REPEATS)[""]  # type: ignore[misc]
        made["rows"][name] = [None, seconds / BATCH * 1e6]
    made["compressed_rows"] = len(variants["ours, compressed to 1 %"].estimators["orthonormal"].factor)  # type: ignore[attr-defined]
    return {**made, "sweeps": _sweeps(reduced, mus)}


def diffusion() -> dict[str, Any]:
    """N = 10, Q = 2: a wider range of mu than in the studies, which end at N = 8."""
    model = reaction_diffusion_1d(200, (1.0, 1e5))
    training = np.geomspace(1, 1e5, 400)[:, None]
    reduced = rbm.greedy(model, training, max_basis=10, progress=False).reduced_model
    mus = model.parameters.sample(BATCH, "random", rng=2)
    banded = [np.array([np.append(0.0, a.diagonal(1)), a.diagonal()]) for a in model.operator_terms]
    load, mu = model.rhs_terms[:, 0], mus[0, 0]
    full = lambda: scipy.linalg.solveh_banded(banded[0] + mu * banded[1], load, check_finite=False)  # noqa: E731
    made = _compare({"ours": reduced}, mus, None, [], {"full model, tridiagonal solver": full})
    return {**made, "memory": _memory(reduced)}


def _memory(reduced: rbm.ReducedModel, count: int = 10**7) -> dict[str, float]:
    """Resident megabytes that a sweep adds, beside those of its answer; seconds."""
    process, stop = psutil.Process(), threading.Event()
    mus = reduced.parameters.sample(count, "random", rng=3)
    before = process.memory_info().rss
    peak = [before]

    def watch() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    solution = reduced.solve(mus, coefficients=False)
    seconds = time.perf_counter() - start
    stop.set()
    watcher.join()
    assert solution.estimate is not None
    kept = [solution.estimate.value, solution.estimate.floor, solution.estimate.resolved, *solution.outputs.values()]
    answer = sum(a.nbytes for a in (*kept, *solution.output_bounds.values()))
    return {"points": count, "seconds": seconds, "answer_MB": answer / 1e6, "peak_MB": (peak[0] - before) / 1e6}


def scattering() -> dict[str, Any]:
    """Real admittances of two parts, so complex matrices.

    Least squares (the model's default) and Galerkin, which pyMOR can do.
    """
    from problems import acoustic_scattering

    model = acoustic_scattering("sphere", 2, 2.0, 3, progress=False)
    result = rbm.greedy(model, model.parameters.sample(500), max_basis=36, relative=True, progress=False)
    galerkin = rbm.project(model, result.basis, projection="galerkin")
    mus = model.parameters.sample(BATCH // 5, "random", rng=2)
    fom = peer.scattering_model(model)
    rom = peer.reductor(model, fom, result.basis, constant=0.4).reduce()
    theta, b = model.operator_coefficients(mus[:1])[0], model.rhs_terms[:, 0]
    full = lambda: scipy.linalg.solve(model.assemble(theta), b, check_finite=False)  # noqa: E731
    ours = {"ours": galerkin, "ours, least squares": result.reduced_model}
    ours |= {f"{name}, N = {FEWER}": model.truncate(FEWER) for name, model in ours.items()}
    return _compare(ours, mus, rom, peer.parse(fom, mus[:LOOP], "b"), {"full model, dense LU": full})


# ---- one table


def _compare(
    ours: dict[str, rbm.ReducedModel], mus: np.ndarray, rom: Any, points: list[Any], full: dict[str, Callable[[], Any]]
) -> dict[str, Any]:
    """Microseconds per query, solve alone and with bound.

    The first of `ours` is compared with the peers on the same numbers.
    """
    count = len(mus)
    reduced = next(iter(ours.values()))
    work: dict[str, tuple[Callable[[], Any] | None, Callable[[], Any] | None, int]] = {}
    for name, model in ours.items():
        work[name] = (lambda m=model: m.solve(mus, estimate=False), lambda m=model: m.solve(mus), count)  # type: ignore[misc]
        work[f"{name}, one point a call"] = (
            lambda m=model: [m.solve(mu, estimate=False) for mu in mus[:LOOP]],  # type: ignore[misc]
            lambda m=model: [m.solve(mu) for mu in mus[:LOOP]],  # type: ignore[misc]
            LOOP,
        )
        evaluate = model.evaluator()
        work[f"{name}, evaluator"] = (
            None,
            lambda e=evaluate: [e(mu) for mu in mus[:LOOP]],  # type: ignore[misc]
            LOOP,
        )
    if rom is not None:
        work["pyMOR, loop"] = (
            lambda: [rom.solve(mu) for mu in points],
            lambda: [rom.estimate_error(mu) for mu in points],
            LOOP,
        )
    solve, estimate = bare_numpy(reduced)
    part = mus[: count // 5]
    for threads in ("BLAS threads", "Python threads"):
        one = (
            (lambda f: lambda: in_threads(f, part))
            if threads == "Python threads"
            else (lambda f: lambda: in_chunks(f, part))
        )
        work[f"NumPy, {CHUNK} at once, {threads}"] = one(solve), one(estimate), len(part)
    work.update({name: (call, None, 1) for name, call in full.items()})
    rows = _microseconds(work)
    flops = {
        name: [solve_flops(m) + output_flops(m), solve_flops(m) + output_flops(m) + residual_flops(m)]
        for name, m in ours.items()
    }
    theirs = None if rom is None else np.stack([rom.solve(mu).to_numpy()[:, 0] for mu in points])
    return {
        "N": reduced.size,
        "Q": reduced.operators.shape[0],
        "factor": list(reduced.estimators["orthonormal"].factor.shape),  # type: ignore[attr-defined]
        "batch": count,
        "threads": thread_count(),
        "flops": flops["ours"],
        "flops_of": flops,
        "again": {name: evaluated_again(m, mus[:LOOP]) for name, m in ours.items()},
        "dgemm": gemm(np.float64),
        "sgemm": gemm(np.float32),
        "zgemm": gemm(np.complex128),
        "rows": rows,
        "deviation": _deviations(reduced, mus[:LOOP], solve, estimate, theirs),
    }


def _deviations(
    reduced: rbm.ReducedModel, mus: np.ndarray, solve: Any, estimate: Any, theirs: np.ndarray | None
) -> dict[str, float]:
    """Largest relative differences between us and the peers; theirs : coefficients (M, N) of pyMOR, or None."""
    estimated = reduced.solve(mus).estimate
    assert estimated is not None
    beta = reduced.stability(mus, reduced.operator_coefficients(mus))
    value, gamma = estimated.value * beta, reduced.solve(mus).coefficients
    deviation = {
        "coefficients, ours and NumPy": _deviation(gamma, solve(mus)),
        "residual norms, ours and NumPy": _deviation(value[:, None], estimate(mus)[:, None]),
    }
    if theirs is not None:
        deviation["coefficients, ours and pyMOR"] = _deviation(gamma, theirs)
    return deviation


def _microseconds(
    work: dict[str, tuple[Callable[[], Any] | None, Callable[[], Any] | None, int]],
) -> dict[str, list[float | None]]:
    """Microseconds per query without and, where there is one, with the bound; each row counts its queries."""
    calls = {(name, k): call for name, row in work.items() for k, call in enumerate(row[:2]) if call is not None}
    seconds = fastest(calls, REPEATS)
    return {
        name: [seconds[name, k] / row[2] * 1e6 if (name, k) in seconds else None for k in range(2)]
        for name, row in work.items()
    }


def _deviation(a: np.ndarray, b: np.ndarray) -> float:
    """Largest relative difference of rows, in the 2-norm."""
    return float((np.linalg.norm(a - b, axis=1) / np.linalg.norm(b, axis=1)).max())


def _slower(r: dict[str, Any]) -> list[str]:
    """Compare models all of whose points are evaluated twice with those where none is, by time for a needed flop."""
    notes, rows, flops = [], r["rows"], r["flops_of"]
    for name, share in r["again"].items():
        fewer = f"{name}, N = {FEWER}"
        if fewer in rows and share > 0.9 and r["again"][fewer] < 0.01:
            ratio = (rows[name][1] / flops[name][1]) / (rows[fewer][1] / flops[fewer][1])
            notes.append(f"time for a flop where all points are evaluated again / where none is ({name}): {ratio:.2f}")
    return notes


def _table(title: str, r: dict[str, Any]) -> str:
    rows = r["rows"]
    ours, numpy = rows["ours"], [min(rows[n][k] for n in rows if n.startswith("NumPy")) for k in range(2)]
    lines, product = [], "zgemm" if "scattering" in title else "dgemm"
    for name, times in rows.items():
        cells = ["" if t is None else f"{t:.3g}" for t in times]
        rate = ""
        same = name == "ours" or name.startswith(("NumPy", "ours, one", "pyMOR"))
        if (same or name in r["flops_of"]) and times[1] is not None:
            gflops = r["flops_of"].get(name, r["flops"])[1] / times[1] * 1e-3
            rate = f"{gflops:.3g} ({gflops / r[product]:.1%})"
        lines.append((name, *cells, rate))
    rows_of, columns = r["factor"]
    notes = [
        f"N = {r['N']}, Q = {r['Q']}, R is {rows_of} x {columns}; {r['batch']} parameters in a batch, loops "
        f"over {LOOP}, NumPy over a fifth; "
        f"smallest of {REPEATS}; {r['threads']} threads.",
        f"flops needed: {r['flops'][0]:.4g} solve, {r['flops'][1]:.4g} solve + bound; matrix product of this "
        "machine in this run: "
        f"{r['dgemm']:.3g} GFLOP/s double, {r['sgemm']:.3g} single, {r['zgemm']:.3g} complex.",
        "evaluated again near round-off: " + ", ".join(f"{share:.0%} ({name})" for name, share in r["again"].items()),
        *_slower(r),
        f"best NumPy / ours: {numpy[0] / ours[0]:.3g} (solve), {numpy[1] / ours[1]:.3g} (solve + bound)",
    ]
    if "pyMOR, loop" in rows:
        loop, one = rows["pyMOR, loop"], rows["ours, one point a call"]
        evaluator = rows["ours, evaluator"][1]
        notes.append(
            f"pyMOR / ours: {loop[0] / ours[0]:.3g} (solve), {loop[1] / ours[1]:.3g} (solve + bound); one "
            "point a call: "
            f"{loop[0] / one[0]:.3g}, {loop[1] / one[1]:.3g}; evaluator: {loop[1] / evaluator:.3g} (with bound)"
        )
    full = next((rows[n][0] for n in rows if n.startswith("full")), None)
    if full is not None:
        notes.append(f"full model / ours, solve + bound: {full / ours[1]:.4g}")
    if "memory" in r:
        m = r["memory"]
        notes.append(
            f"sweep over {m['points']:.0e} points: {m['seconds']:.2f} s, answer {m['answer_MB']:.0f} MB, peak "
            f"of the process {m['peak_MB']:.0f} MB more "
            f"than before (1.5 answers + 200 MB: {1.5 * m['answer_MB'] + 200:.0f} MB)"
        )
    if "compressed_rows" in r:
        notes.append(f"compressed: R has {r['compressed_rows']} rows.")
    notes += [f"largest relative difference, {name}: {value:.1e}" for name, value in r["deviation"].items()]
    return text_table(title, ("", "us, solve", "us, solve + bound", f"GFLOP/s (of {product})"), lines, notes)


# ---- sweeps


def _sweeps(reduced: rbm.ReducedModel, mus: np.ndarray) -> dict[str, list[list[Any]]]:
    """Over N, Q and M: [value, microseconds solve + bound, GFLOP/s, NumPy / ours]."""
    sizes = [(n, reduced.truncate(n), mus) for n in (5, 10, 20, 30)]
    terms = []
    for blocks in ((1, 2), (2, 2), (3, 3), (4, 4)):
        model = thermal_block(blocks, 24)
        made = rbm.greedy(model, model.parameters.sample(300), max_basis=15, progress=False).reduced_model
        terms.append((blocks[0] * blocks[1], made, model.parameters.sample(SWEEP, "random", rng=2)))
    batches = [(m, reduced, mus[:m]) for m in (1, 3, 10, 30, 100, 1000, 10_000, BATCH)]
    return {name: [_point(*p) for p in points] for name, points in (("N", sizes), ("Q", terms), ("M", batches))}


def _point(value: int, model: rbm.ReducedModel, mus: np.ndarray) -> list[Any]:
    _, estimate = bare_numpy(model)
    count, repeats = len(mus), max(1, 300 // len(mus))
    times = fastest(
        {
            "ours": lambda: [model.solve(mus) for _ in range(repeats)],
            "chunks": lambda: [in_chunks(estimate, mus) for _ in range(repeats)],
            **({"threads": lambda: in_threads(estimate, mus)} if repeats == 1 else {}),
        },
        5,
    )
    ours = times.pop("ours") / count / repeats
    flops = solve_flops(model) + output_flops(model) + residual_flops(model)
    numpy = min(t / (1 if name == "threads" else repeats) for name, t in times.items()) / count
    return [value, ours * 1e6, flops / ours * 1e-9, numpy / ours]


def _sweep_table(r: dict[str, Any]) -> str:
    fixed = {"N": f"Q = 9, M = {BATCH}", "Q": f"N = 15, M = {SWEEP}", "M": "N = 30, Q = 9"}
    lines = [
        (
            f"{name} = {value}" + (f"   ({fixed[name]})" if k == 0 else ""),
            f"{us:.3g}",
            f"{rate:.3g} ({rate / r['dgemm']:.0%})",
            f"{ratio:.3g}",
        )
        for name, points in r["sweeps"].items()
        for k, (value, us, rate, ratio) in enumerate(points)
    ]
    return text_table(
        "Online: thermal block, sweeps", ("", "us, solve + bound", "GFLOP/s (of dgemm)", "NumPy / ours"), lines
    )
