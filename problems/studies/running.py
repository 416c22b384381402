"""A study from the model to the figures."""

from __future__ import annotations

import json
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import rbm
from lowrank.writing import write_atomically
from problems.studies.comparison import SELECTING, Comparison, Study, compare
from problems.studies.drawing import figures
from problems.studies.gallery import STUDIES
from problems.studies.report import table, wrapped
from rbm import FullOrderModel, GreedyResult
from rbm.command_line.summary import greedy_summary
from rbm.errors import ParameterError
from rbm.online.compilation import compile_seconds

__all__ = ["run", "solver_name", "time_online"]


def run(
    name: str, out: Path, tol: float | None = None, *, progress: bool = True, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Run a study of :data:`STUDIES` and write model.rbm, summary.json and figures (png and pdf) to the folder `out`.

    Returns the summary, the content of summary.json. Takes 5 to 60 seconds, "scattering" two minutes more the first
    time.
    """
    study = STUDIES[name]
    if tol is not None and not tol >= 0:
        raise ParameterError(f"tol must be a number >= 0, got {tol}")
    out.mkdir(parents=True, exist_ok=True)  # now, not after the offline stage
    say(study.title)
    if study.remark:
        say(wrapped(f"  {study.remark}"))
    model = study.model(progress)
    say(wrapped(f"  {model}"))

    training = model.parameters.sample(study.training, "grid" if len(model.parameters) == 1 else "sobol")
    result, seconds, compiling = _offline(study, model, training, study.tol if tol is None else tol, progress)
    once = f" (and {compiling:.1f} s for compiling the kernels, once)" if compiling else ""
    say(wrapped(f"offline, {seconds:.1f} s{once}\n  {result}"))

    result.reduced_model.save(out / "model.rbm")
    say(f"  saved {out / 'model.rbm'}: {(out / 'model.rbm').stat().st_size / 1024:.0f} KiB")

    start = time.perf_counter()
    comparison = compare(model, result, training, study, progress)
    compared = time.perf_counter() - start
    timing = time_online(model, result.reduced_model)
    say(
        wrapped(
            f"online: {timing['microseconds_per_query']:.2f} us per certified query in a batch of {timing['batch']}, "
            f"{timing['speed_up']:.0f} times faster than a full-order solve ({solver_name(model)} and refinement)"
        )
    )
    say(f"estimators against {study.tests} full-order solutions, {compared:.1f} s\n{table(comparison)}")
    summary = _summary(name, study, model, result, (seconds, compiling), timing, comparison)
    write_atomically(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    start = time.perf_counter()
    figures(study, model, result, comparison, out)
    say(f"figures, {time.perf_counter() - start:.1f} s; they, summary.json and model.rbm are in {out}")
    return summary


def _offline(
    study: Study, model: FullOrderModel, training: np.ndarray, tol: float, progress: bool
) -> tuple[GreedyResult, float, float]:
    """The greedy's result, its seconds, and those for compiling kernels, which are not among them."""
    start, compiled = time.perf_counter(), compile_seconds()
    used = [m for m in study.estimators if m not in SELECTING or study.max_basis <= study.sampled_up_to]
    result = rbm.greedy(
        model, training, tol=tol, max_basis=study.max_basis, estimators=used, progress=progress, relative=study.relative
    )
    compiling = compile_seconds() - compiled
    return result, time.perf_counter() - start - compiling, compiling


def _summary(
    name: str,
    study: Study,
    model: FullOrderModel,
    result: GreedyResult,
    seconds: tuple[float, float],
    timing: dict[str, Any],
    comparison: Comparison,
) -> dict[str, Any]:
    """The content of summary.json; seconds : offline, and for compiling kernels."""
    return {
        "study": name,
        "title": study.title,
        "unknowns": model.dimension,
        "parameters": dict(zip(model.parameters.names, model.parameters.bounds.tolist(), strict=True)),
        "training_parameters": study.training,
        "test_parameters": study.tests,
        "offline_seconds": seconds[0],
        "compile_seconds": seconds[1],
        "full_order_solver": solver_name(model),
        "online": timing,
        "oracle": "residual norm of E1, formed in extended precision, over the stability bound",
        "sizes": comparison.rows,
        **greedy_summary(result),
    }


def solver_name(model: FullOrderModel) -> str:
    """The name, in words, of what full-order systems are solved with."""
    if model.solver is not None:
        return f"the model's own solver {getattr(model.solver, '__name__', type(model.solver).__name__)}"
    return "sparse LU" if all(sp.issparse(term) for term in model.operator_terms) else "dense LU"


def time_online(model: FullOrderModel, reduced: rbm.ReducedModel, batch: int = 10_000) -> dict[str, Any]:
    """Microseconds per certified query in one batch, and per full-order solve, the best of three runs each."""
    mus = model.parameters.sample(batch, "random", rng=2)
    reduced.solve(mus[:10])
    queries = _best(lambda: reduced.solve(mus)) / batch * 1e6
    full = _best(lambda: model.solve(mus[:5])) / 5 * 1e6
    return {
        "batch": batch,
        "microseconds_per_query": queries,
        "microseconds_per_full_solve": full,
        "speed_up": full / queries,
    }


def _best(call: Callable[[], Any]) -> float:
    return min(timeit.repeat(call, "gc.enable()", repeat=3, number=1))
