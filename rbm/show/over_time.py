"""Figures of trajectories: outputs with their bounds as bands, errors against bounds, and films of fields.

They are reached as ``rbm.plots.outputs_over_time`` and likewise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbm.errors import ModelError
from rbm.show.axes import axes, drawing, finished
from rbm.show.films import checked_film, plane_pictures, write_film
from rbm.time.model import ErrorNorms
from rbm.time.solution import TimeSolution

__all__ = ["errors_over_time", "film", "outputs_over_time"]

#: Colours of Okabe and Ito, dark ones first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def outputs_over_time(
    solution: TimeSolution,
    name: str,
    *,
    points: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    truth: np.ndarray | None = None,
    ax: Any = None,
) -> Any:
    """Draw an output against time, with its error bound as a band around it: the true output is in the band.

    points : rows of the answer to draw, all by default; labels : one for each, by default the parameters
    truth : outputs of the full model (len(points), K + 1), drawn as black dashes

    Complex outputs are drawn by their real parts. Raises ModelError for an output that the answer does not have, and
    labels or a truth of another length.
    """
    if name not in solution.outputs:
        raise ModelError(f"there is no output {name!r} in this answer; it has {', '.join(solution.outputs) or 'none'}")
    rows = list(range(len(solution))) if points is None else list(points)
    if labels is None:
        labels = [", ".join(f"{x:.3g}" for x in solution.mus[i]) for i in rows]
    for what, given in (("labels", labels), ("rows of the truth", truth)):
        if given is not None and len(given) != len(rows):
            raise ModelError(f"there are {len(given)} {what}, for {len(rows)} points")
    ax = axes(ax)
    values, bounds = np.real(solution.outputs[name]), solution.output_bounds.get(name)
    for k, (i, label) in enumerate(zip(rows, labels, strict=True)):
        color = COLORS[k % len(COLORS)]
        if bounds is not None:
            low, high = values[i] - bounds[i], values[i] + bounds[i]
            ax.fill_between(solution.times, low, high, color=color, alpha=0.25, lw=0, zorder=2)
        ax.plot(solution.times, values[i], color=color, lw=1.6, label=label, zorder=3)
    if truth is not None:
        for k, line in enumerate(np.real(truth)):
            style = {"color": "black", "lw": 1.0, "ls": (0, (4, 4)), "zorder": 4}
            ax.plot(solution.times, line, label=None if k else "true output", **style)
    if bounds is not None:
        ax.fill_between([], [], [], color="grey", alpha=0.35, lw=0, label="certified band")
    ax.set(xlabel="time $t$", ylabel=name, xlim=(0, solution.times[-1]))
    return finished(ax)


def errors_over_time(
    solution: TimeSolution, errors: ErrorNorms | None = None, *, point: int = 0, ax: Any = None
) -> Any:
    """Draw the two error bounds of one parameter point against time, and the true errors if they are known.

    errors : (M, K + 1) each, of :meth:`rbm.TimeModel.error_norms`; point : the row of the answer
    Floors are bands from below, where the figure reaches down to them. What is zero, as at t = 0, is left out.

    Raises ModelError for an answer without estimates.
    """
    energy, l2 = solution.estimate, solution.estimate_l2
    if energy is None or l2 is None:
        raise ModelError("this answer has no error estimate; call solve(mus, control) without estimate=False")
    ax = axes(ax)
    found = errors if errors is not None else (None, None)
    drawn: list[np.ndarray] = []
    styles = ((COLORS[0], "energy up to $t$"), (COLORS[1], r"$\|e(t)\|_M$"))
    for estimate, error, (color, norm) in zip((energy, l2), found, styles, strict=True):
        bound = _positive(estimate.bound[point])
        ax.plot(solution.times, bound, color=color, lw=1.8, label=f"bound, {norm}")
        drawn.append(bound)
        if error is not None:
            true = _positive(error[point])
            ax.plot(solution.times, true, color=color, lw=1.4, ls="--", label="true error")
            drawn.append(true)
    lowest = min((float(np.nanmin(a)) for a in drawn if not np.all(np.isnan(a))), default=1.0)
    highest = max((float(np.nanmax(a)) for a in drawn if not np.all(np.isnan(a))), default=1.0)
    for estimate, (color, _) in zip((energy, l2), styles, strict=True):
        floor = estimate.floor[point]
        if floor.max() > lowest / 3:
            ax.fill_between(solution.times, 1e-300, floor, color=color, alpha=0.12, lw=0, label="its floor")
    ax.set(yscale="log", xlabel="time $t$", ylabel="error", ylim=(lowest / 3, 3 * highest))
    ax.set_xlim(0, solution.times[-1])
    return finished(ax)


def film(
    path: str | os.PathLike[str],
    points: np.ndarray,
    triangles: np.ndarray | None,
    u: np.ndarray,
    times: np.ndarray,
    *,
    every: int = 1,
    fps: float = 20.0,
    label: str = "$u_N$",
    title: str = "",
) -> Path:
    """Write the film of a trajectory on a triangulation, .gif or .mp4, whole or not at all; returns its path.

    points : nodes (2, n); triangles : (3, t), or None for a convex domain, whose nodes are then joined to triangles
    u : trajectory (K + 1, n), such as ``reduced.reconstruct(answer)[0]``; times : (K + 1,)
    every : only each such time is drawn; fps : pictures a second; label : of the colour bar; title : before the time

    One scale of colours, from the least to the largest value of all times, holds for all pictures. Complex fields are
    drawn by their real parts. Cost: some hundredths of a second a picture.

    Raises ModelError for arrays that do not fit each other, another ending, and .mp4 without ffmpeg; ImportError
    without matplotlib.
    """
    if u.shape != (len(times), points.shape[1]):
        raise ModelError(f"u must have the shape ({len(times)}, {points.shape[1]}), times and nodes; got {u.shape}")
    if isinstance(every, bool) or not (isinstance(every, int | np.integer) and every >= 1):
        raise ModelError(f"every must be a whole number of at least 1, got {every!r}")
    checked_film(path, fps)
    if not np.all(np.isfinite(u)):
        raise ModelError("u holds numbers that are not finite; there is no scale of colours for them")
    mesh = drawing("tri").Triangulation(points[0], points[1], None if triangles is None else triangles.T)
    values = np.real(u)
    low = float(values.min())
    high = float(values.max()) if values.max() > low else low + 1
    shown = slice(0, None, every)
    titles = [_at(title, t) for t in times][shown]
    return write_film(path, plane_pictures([mesh], values[shown], titles, (low, high), label), fps)


def _at(title: str, time: float) -> str:
    return f"{title}{', ' if title else ''}$t = {time:.2f}$"


def _positive(values: np.ndarray) -> np.ndarray:
    """Return the values, NaN where they are not positive, so that logarithmic axes have a gap there."""
    return np.where(values > 0, values, np.nan)
