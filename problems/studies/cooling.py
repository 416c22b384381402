"""The study of the cooling fin: trained on the impulse, asked with a flux that nobody knew offline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from lowrank.phases import Phases
from lowrank.terminal import terminal_width
from problems.cooling_fin import cooling_fin
from problems.studies.report import wrapped
from problems.studies.running import checked_options, timed_offline, write_summary
from problems.thermal_fin import thermal_fin_mesh
from rbm import plots
from rbm.command_line.summary import greedy_summary
from rbm.show.history import greedy_history
from rbm.time.model import ErrorNorms

__all__ = ["Size", "pulses", "run", "table"]

#: Three fins, as (k1, .., k4, Bi): poor plates in still air, good ones, and two of each in moving air.
SHOWN = np.array([[0.5, 0.5, 0.5, 0.5, 0.03], [2.0, 2.0, 2.0, 2.0, 0.1], [8.0, 0.3, 8.0, 0.3, 0.4]])


@dataclass(frozen=True)
class Size:
    """How large the study is."""

    refinement: int = 2
    training: int = 100
    max_basis: int = 60
    modes: int = 4  #: of a trajectory that are taken at a time
    tests: int = 10  #: points at which the truth is marched
    batch: int = 1000  #: points of the timed batch
    tol: float = 1e-3
    measure: str = "squares across the thickness of a plate (2)"  #: what `refinement` is a number of


def run(
    name: str,
    out: Path,
    tol: float | None = None,
    *,
    progress: bool = True,
    say: Callable[[str], None] = print,
    rng: int = 0,
    training: int | None = None,
    size: int | Size | None = None,
) -> dict[str, Any]:
    """Run the study "cooling" and write model.rbm, summary.json, figures (png, pdf) and a film (gif) to `out`.

    rng : of training and test points; training : their number; size : squares across the thickness of a plate, or all
    sizes of the study. Returns the summary, the content of summary.json. Takes about a minute.
    """
    sizes, phases = size if isinstance(size, Size) else Size(), Phases()
    given = None if isinstance(size, Size) else size
    tol, count = checked_options(tol, rng, training, given, sizes)
    sizes = replace(sizes, training=count, refinement=given or sizes.refinement)
    say(wrapped("The cooling fin: a post with four pairs of plates in time, five parameters, heated by any flux"))
    with phases("full model"):
        model = cooling_fin(sizes.refinement)
    out.mkdir(parents=True, exist_ok=True)
    say(wrapped(f"  {model}"))
    result = _offline(model, tol, sizes, rng, progress, phases)
    say(wrapped(f"offline, trained on the impulse, {phases.wall('offline'):.1f} s\n  {result}"))
    reduced = result.reduced_model
    with phases("files"):
        reduced.save(out / "model.rbm")
    say(wrapped(f"  saved {out / 'model.rbm'}: {(out / 'model.rbm').stat().st_size / 1024:.0f} KiB"))

    flux = pulses(model.times)
    with phases("online"):
        timing = _timed(model, reduced, flux, sizes.batch, rng)
    say(
        wrapped(
            f"online: {1e3 * timing['seconds_per_trajectory']:.2f} ms per certified trajectory of {model.steps} steps "
            f"in a batch of {sizes.batch}, {timing['speed_up']:.0f} times faster than a full-order march"
        )
    )
    mus = np.vstack([SHOWN, model.parameters.sample(sizes.tests, "random", rng=rng + 1)])
    truth, answer, errors = _compared(model, result, mus, flux, progress, phases)
    rows = _rows(model, answer, errors, truth)
    below = int((answer.bound < errors.energy).sum() + (answer.bound_l2 < errors.l2).sum())
    say(wrapped(f"two pulses of heat, not in the training, at {len(mus)} points"))
    say(table(rows, below))
    chosen = {"rng": rng, "training_parameters": count, "size": sizes.refinement, "tolerance": tol}
    summary = chosen | _summary(name, model, result, phases.wall("offline"), timing, rows, below)
    write_summary(out, summary, phases)
    with phases("figures and film"):
        _figures(model, result, answer, errors, truth, out, sizes)
    write_summary(out, summary, phases)
    say(f"where the time went\n{phases.table()}\n" + wrapped(f"figures, a film and the files are in {out}"))
    return summary


def pulses(times: np.ndarray) -> np.ndarray:
    """Return a flux g (K,): on until a third of the time, off, and on again, less, for a fifth of it.

    >>> pulses(np.linspace(0, 10, 11))
    array([1. , 1. , 1. , 0. , 0. , 0.6, 0.6, 0. , 0. , 0. ])
    """
    share = times[1:] / times[-1]
    return np.where(share < 0.34, 1.0, np.where((share > 0.54) & (share < 0.74), 0.6, 0.0))


#: The norms of the table, with what is written above them.
NORMS = {"energy": "energy norm up to t", "l2": "norm of M at t"}


def table(rows: list[dict[str, Any]], below: int, width: int | None = None) -> str:
    """The comparison as text: largest errors and bounds, and effectivities, at some times, in each of two norms.

    below : bounds below the true error, at all points and times
    width : columns, by default the terminal's; where the norms do not fit side by side, one is below the other
    """
    width = terminal_width() if width is None else width
    times = ["", "     t", *(f"{row['t']:6.2f}" for row in rows)]
    blocks = [_in_norm(norm, rows) for norm in NORMS]
    beside = [list(zip(times, *blocks, strict=True))]
    if len("".join(beside[0][1])) > width:
        beside = [list(zip(times, block, strict=True)) for block in blocks]
    lines = ["".join([f"{first:6}", *cells]).rstrip() for part in beside for first, *cells in part]
    lines.append(wrapped(f"    largest of all points; {below} bounds below the true error", width))
    for name in rows[-1]["outputs"]:
        last = rows[-1]["outputs"][name]
        text = (
            f"    {name:<8}at the end: up to {last['largest_value']:.3g}, off by at most "
            f"{last['largest_true_error']:.1e}, bound {last['largest_bound']:.1e}"
        )
        lines.append(wrapped(text, width))
    return "\n".join(lines)


def _in_norm(norm: str, rows: list[dict[str, Any]]) -> list[str]:
    """The columns of one norm, with two lines of headings."""
    lines = [f"      {NORMS[norm]:<28}", "  true error    bound  bound/error"]
    for part in (row[norm] for row in rows):
        ratio = f"{part['smallest_effectivity']:.1f} to {part['largest_effectivity']:.3g}"
        lines.append(f"  {part['largest_true_error']:10.1e}{part['largest_bound']:9.1e}{ratio:>13}")
    return lines


def _offline(
    model: rbm.TimeModel, tol: float, size: Size, rng: int, progress: bool, phases: Phases
) -> rbm.PODGreedyResult:
    """The result of POD-greedy; compiling kernels is a phase of its own."""
    training = model.parameters.sample(size.training, "sobol", rng=rng)
    most, modes = size.max_basis, size.modes
    result, _ = timed_offline(
        lambda: rbm.pod_greedy(
            model, training, tol=tol, max_basis=most, modes=modes, control="impulse", progress=progress
        ),
        phases,
    )
    return result


def _summary(
    name: str,
    model: rbm.TimeModel,
    result: rbm.PODGreedyResult,
    offline: float,
    timing: dict[str, float],
    rows: list[dict[str, Any]],
    below: int,
) -> dict[str, Any]:
    """The content of summary.json but what was chosen; offline : seconds; below : bounds below the true error."""
    return {
        "study": name,
        "unknowns": model.dimension,
        "steps": model.steps,
        "offline_seconds": offline,
        "online": timing,
        "times": rows,
        "bounds_below_true_error": below,
        **greedy_summary(result),  # type: ignore[arg-type]  # a result of pod_greedy has the same fields
        "basis_size": result.reduced_model.size,
    }


def _compared(
    model: rbm.TimeModel, result: rbm.PODGreedyResult, mus: np.ndarray, flux: np.ndarray, progress: bool, phases: Phases
) -> tuple[np.ndarray, rbm.TimeSolution, ErrorNorms]:
    """The true trajectories, the answers of the reduced model, and their true errors."""
    with phases("full-order marches"):
        truth = model.solve(mus, flux, progress=progress)
    with phases("true errors"):
        answer = result.reduced_model.solve(mus, flux)
        assert answer.coefficients is not None
        errors = model.error_norms(mus, answer.coefficients, result.basis, flux)
    return truth, answer, errors


def _rows(
    model: rbm.TimeModel, answer: rbm.TimeSolution, errors: ErrorNorms, truth: np.ndarray
) -> list[dict[str, Any]]:
    """The figures of the table, at five times."""
    rows: list[dict[str, Any]] = []
    for k in np.unique(np.maximum(np.round(np.array([0.01, 0.1, 0.3, 0.5, 1.0]) * model.steps), 1).astype(int)):
        row: dict[str, Any] = {"t": float(model.times[k])}
        for norm, bound, error in (("energy", answer.bound, errors.energy), ("l2", answer.bound_l2, errors.l2)):
            ratio = bound[:, k] / error[:, k]
            row[norm] = {
                "largest_true_error": float(error[:, k].max()),
                "largest_bound": float(bound[:, k].max()),
                "smallest_effectivity": float(ratio.min()),
                "largest_effectivity": float(ratio.max()),
            }
        row["outputs"] = {
            name: {
                "largest_value": float(np.abs(answer.outputs[name][:, k]).max()),
                "largest_true_error": float(np.abs(truth[:, k] @ out.terms[0] - answer.outputs[name][:, k]).max()),
                "largest_bound": float(answer.output_bounds[name][:, k].max()),
            }
            for name, out in model.outputs.items()
        }
        rows.append(row)
    return rows


def _timed(
    model: rbm.TimeModel, reduced: rbm.ReducedTimeModel, flux: np.ndarray, batch: int, rng: int
) -> dict[str, float]:
    """Seconds for a certified trajectory in a batch, and for a full-order march."""
    mus = model.parameters.sample(batch, "random", rng=rng + 2)
    reduced.solve(mus[:2], flux)  # compiles, where there is something to compile
    start = time.perf_counter()
    reduced.solve(mus, flux, coefficients=False)
    each = (time.perf_counter() - start) / batch
    start = time.perf_counter()
    model.solve(mus[:2], flux)
    full = (time.perf_counter() - start) / 2
    return {"seconds_per_trajectory": each, "seconds_per_full_march": full, "speed_up": full / each}


def _figures(
    model: rbm.TimeModel, result: rbm.PODGreedyResult, answer: rbm.TimeSolution, errors: ErrorNorms, truth: np.ndarray,
    out: Path, size: Size,
) -> None:  # fmt: skip
    """Draw the course of the run, outputs, errors and a film, and save them in the folder `out`."""
    ax = greedy_history(result.history)  # type: ignore[arg-type]  # whose steps have size, bound and floor as well
    ax.set_ylabel("error bound for the impulse, in the energy norm")
    plots.save(ax, out / "history")
    first = range(len(SHOWN))
    labels = [f"$k_1, k_3 = {m[0]:g}$\n$k_2, k_4 = {m[1]:g}$\n$\\mathrm{{Bi}} = {m[4]:g}$" for m in SHOWN]
    for name, output in model.outputs.items():
        true = truth[: len(SHOWN)] @ output.terms[0]
        plots.save(plots.outputs_over_time(answer, name, points=first, labels=labels, truth=true), out / name)
    plots.save(plots.errors_over_time(answer, errors, point=1), out / "errors")
    mesh, u = thermal_fin_mesh(size.refinement), result.reduced_model.reconstruct(answer)[1]
    plots.film(out / "film.gif", mesh.p, mesh.t, u, answer.times, every=2)
