"""A study from the model to the figures."""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

import rbm
from lowrank.phases import Phases
from lowrank.writing import write_atomically
from problems.studies.comparison import SELECTING, Comparison, Study, compare
from problems.studies.drawing import figures
from problems.studies.gallery import STUDIES
from problems.studies.report import table, wrapped
from rbm import FullOrderModel, GreedyResult
from rbm.command_line.summary import greedy_summary
from rbm.errors import ParameterError
from rbm.online.compilation import compile_seconds

__all__ = ["checked_options", "run", "solver_name", "time_online", "timed_offline", "write_summary"]

Result = TypeVar("Result")


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    progress: bool = True,
    say: Callable[[str], None] = print,
    rng: int = 0,
    training: int | None = None,
    size: int | None = None,
) -> dict[str, Any]:
    """Run a study of :data:`STUDIES` and write model.rbm, summary.json and figures (png and pdf) to the folder `out`.

    rng : of the training points, unless they are a grid, and of the test points; training : their number; size : of the
    full model, as `measure` of the study says. None: those of the study. Raises ParameterError for a number that is
    none of these.

    Returns the summary, the content of summary.json. Takes 5 to 60 seconds, "scattering" two minutes more the first
    time.
    """
    study, phases = STUDIES[name], Phases()
    tol, count = checked_options(tol, rng, training, size, study)
    say(wrapped(study.title))
    if study.remark:
        say(wrapped(f"  {study.remark}"))
    with phases("full model"):
        model = study.model(size, progress)
    out.mkdir(parents=True, exist_ok=True)  # after what may refuse the size, before the offline stage
    say(wrapped(f"  {model}"))

    points = model.parameters.sample(count, "grid" if len(model.parameters) == 1 else "sobol", rng=rng)
    result, compiling = _offline(study, model, points, tol, progress, phases)
    once = f" (and {compiling:.1f} s for compiling the kernels, once)" if compiling else ""
    say(wrapped(f"offline, {phases.wall('offline'):.1f} s{once}\n  {result}"))

    with phases("files"):
        result.reduced_model.save(out / "model.rbm")
    say(wrapped(f"  saved {out / 'model.rbm'}: {(out / 'model.rbm').stat().st_size / 1024:.0f} KiB"))

    inner = Phases()  # the full-order solutions are a phase of their own
    with phases("estimators"):
        comparison = compare(model, result, points, study, progress, inner, rng)
    solving = inner.rows()[0]
    spent = solving["wall_seconds"], solving["cpu_seconds"]
    phases.move(str(solving["phase"]), "estimators", *spent)
    with phases("online"):
        timing = time_online(model, result.reduced_model, rng=rng)
    say(
        wrapped(
            f"online: {timing['microseconds_per_query']:.2f} us per certified query in a batch of {timing['batch']}, "
            f"{timing['speed_up']:.0f} times faster than a full-order solve ({solver_name(model)} and refinement)"
        )
    )
    compared = phases.wall("estimators") + spent[0]
    say(wrapped(f"estimators against {study.tests} full-order solutions, {compared:.1f} s"))
    say(table(comparison))
    chosen = {"rng": rng, "training_parameters": len(points), "size": size, "tolerance": tol}
    seconds = phases.wall("offline"), compiling
    summary = _summary(name, study, model, result, seconds, timing, comparison) | chosen
    write_summary(out, summary, phases)  # now, should a figure fail
    with phases("figures"):
        figures(study, model, result, comparison, out, size)
    write_summary(out, summary, phases)
    say(f"where the time went\n{phases.table()}")
    say(wrapped(f"figures, summary.json and model.rbm are in {out}"))
    return summary


def checked_options(
    tol: float | None, rng: int, training: int | None, size: int | None, study: Any
) -> tuple[float, int]:
    """Return the tolerance and the number of training points; raise ParameterError for what cannot be.

    study : has `tol`, `training`, and `measure`, what the size is a number of
    """
    if tol is not None and not 0 <= tol < np.inf:
        raise ParameterError(f"tol must be a number >= 0, got {tol}")
    if rng < 0:
        raise ParameterError(f"rng must be a whole number of at least 0, got {rng}")
    for label, given, what in (("training", training, "points"), ("size", size, study.measure)):
        if given is not None and not (isinstance(given, int) and given >= 1):
            raise ParameterError(f"{label} is a number of {what}, at least 1, got {given}")
    return study.tol if tol is None else tol, study.training if training is None else training


def write_summary(out: Path, summary: dict[str, Any], phases: Phases) -> None:
    """Write summary.json, with where the time went so far."""
    summary["time"] = phases.rows()
    write_atomically(out / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())


def _offline(
    study: Study, model: FullOrderModel, training: np.ndarray, tol: float, progress: bool, phases: Phases
) -> tuple[GreedyResult, float]:
    """The greedy's result, and the seconds for compiling kernels."""
    used = [m for m in study.estimators if m not in SELECTING or study.max_basis <= study.sampled_up_to]

    def run_greedy() -> GreedyResult:
        return rbm.greedy(
            model,
            training,
            tol=tol,
            max_basis=study.max_basis,
            estimators=used,
            progress=progress,
            relative=study.relative,
        )

    return timed_offline(run_greedy, phases)


def timed_offline(call: Callable[[], Result], phases: Phases) -> tuple[Result, float]:
    """Return call() and the seconds that it took to compile kernels, a phase of its own beside "offline"."""
    compiled = compile_seconds()
    with phases("offline"):
        result = call()
    if compiling := compile_seconds() - compiled:
        phases.move("compiling kernels", "offline", compiling, compiling)
    return result, compiling


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


def time_online(
    model: FullOrderModel, reduced: rbm.ReducedModel, batch: int = 10_000, *, rng: int = 0
) -> dict[str, Any]:
    """Microseconds per certified query in one batch, and per full-order solve, the best of three runs each."""
    mus = model.parameters.sample(batch, "random", rng=rng + 2)
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
