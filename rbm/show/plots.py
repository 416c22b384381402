"""Figures of a reduced basis study: estimators against true errors, with floors as bands.

Every function draws into given or new axes and returns the matplotlib ``Axes``; :func:`save` writes png and pdf.
Colours are those of Okabe and Ito, which are safe for colour-blind readers; every curve also has a marker of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbm.estimate import Estimate
from rbm.estimators import METHODS
from rbm.parameters.space import ParameterSpace
from rbm.show.axes import axes, colors, drawing, finished, short_log_ticks
from rbm.show.over_time import errors_over_time, film, outputs_over_time
from rbm.show.response import frequency_response
from rbm.show.uncertain import marginal, sobol_intervals

__all__ = [
    "effectivity", "eim_decay", "errors_over_time", "estimators_over_parameter", "estimators_over_size", "film",
    "frequency_response", "marginal", "outputs_over_time", "save", "selected_parameters", "sobol_intervals",
    "solutions", "solutions_on_mesh", "symbol",
]  # fmt: skip

#: Curves drawn last lie on top; the wide ones are drawn first, so that none hides another.
STYLES: dict[str, dict[str, Any]] = {
    "direct": {"color": "#009E73", "marker": "s", "label": r"$E_1$ direct", "lw": 5.0},
    "expanded": {"color": "#D55E00", "marker": "v", "label": r"$E_2$ expanded", "lw": 1.6},
    "sampled": {"color": "#CC79A7", "marker": "D", "label": r"$E_3$ sampled", "lw": 3.6},
    "interpolated": {"color": "#56B4E9", "marker": "o", "label": r"$E_4$ interpolated", "lw": 2.4},
    "orthonormal": {"color": "#0072B2", "marker": "^", "label": r"$E_\mathrm{onb}$ orthonormal", "lw": 1.2},
}
#: Colours and markers of estimators that are not in the table, a user's own for instance, in the order of their names.
OTHERS = tuple(zip(("#E69F00", "#999999", "#F0E442", "#000000"), ("P", "X", "*", "h"), strict=True))
ERROR_LABEL = r"$\max_\mu \| u(\mu) - u_N(\mu) \|_P$"


def _order(method: str) -> tuple[int, str]:
    """Return the sort key of an estimator: those of the table in its order, then others by name."""
    known = list(STYLES)
    return (known.index(method) if method in STYLES else len(known), method)


def _style(method: str) -> dict[str, Any]:
    """Return colour, marker, label and line width of an estimator."""
    if method in STYLES:
        return STYLES[method]
    others = sorted(set(METHODS) - set(STYLES) | {method})
    color, marker = OTHERS[others.index(method) % len(OTHERS)]
    return {"color": color, "marker": marker, "label": method, "lw": 1.6}


def estimators_over_size(
    sizes: Sequence[int],
    true_errors: Sequence[float],
    estimates: Mapping[str, Mapping[int, Estimate]],
    *,
    floors: Sequence[str] = ("expanded", "orthonormal"),
    ax: Any = None,
) -> Any:
    """Draw the largest estimate over the test parameters against N, with the true error and floors as bands.

    sizes : N (k,); true_errors : largest true error for each N; estimates : {method: {N: Estimate of the test set}};
    floors : methods whose floor is shown as a band from zero up to it. Points that are not resolved are hollow.
    """
    ax, hollow = axes(ax), False
    for method in sorted(estimates, key=_order):
        found = [(n, estimates[method][n]) for n in sizes if n in estimates[method]]
        if not found:
            continue
        ns = [n for n, _ in found]
        worst = [int(np.argmax(e.value)) for _, e in found]
        values = [e.value[i] for (_, e), i in zip(found, worst, strict=True)]
        resolved = np.array([e.resolved[i] for (_, e), i in zip(found, worst, strict=True)])
        hollow |= not resolved.all()
        style = _style(method)
        ax.plot(ns, values, color=style["color"], lw=style["lw"], alpha=0.85, zorder=2)
        faces = [style["color"] if r else "white" for r in resolved]
        ax.scatter(ns, values, c=faces, edgecolors=style["color"], marker=style["marker"], s=42, zorder=3)
        ax.plot([], [], **style)
        if method in floors:
            _band(ax, ns, [float(e.floor.max()) for _, e in found], style)
    ax.plot(sizes, true_errors, color="black", ls="--", marker="x", lw=1.4, zorder=4, label="true error")
    if hollow:
        ax.plot([], [], color="grey", marker="o", ls="none", mfc="white", label="hollow: not resolved")
    smallest = min(min(true_errors), *(float(e.value.max()) for per in estimates.values() for e in per.values()))
    tops = [max(float(e.floor.max()) for e in per.values()) for m, per in estimates.items() if m in floors and per]
    # floors far below all curves need not be seen whole
    lowest = min(smallest, max(min(tops, default=smallest), 1e-8 * smallest))
    limits = max(lowest, 1e-18) / 10, 20 * max(true_errors)
    ax.set(yscale="log", xlabel="basis size $N$", ylabel=ERROR_LABEL, ylim=limits)
    return finished(ax, integers=True)


def estimators_over_parameter(
    mu: np.ndarray,
    true_error: np.ndarray,
    estimates: Mapping[str, Estimate],
    *,
    floors: Sequence[str] = ("expanded", "orthonormal"),
    name: str = r"$\mu$",
    log: bool = False,
    ax: Any = None,
) -> Any:
    """Draw estimates against one parameter `mu` (M,), with the true error (M,) and floors as bands."""
    ax = axes(ax)
    order = np.argsort(mu)
    for method in sorted(estimates, key=_order):
        style, e = _style(method), estimates[method]
        ax.plot(mu[order], e.value[order], **{**style, "marker": None}, alpha=0.85)
        if method in floors:
            _band(ax, mu[order], e.floor[order], style)
    ax.plot(mu[order], true_error[order], color="black", ls="--", lw=1.2, label="true error")
    lowest = min(float(np.quantile(true_error, 0.02)), *(float(e.floor.min()) for e in estimates.values()))
    highest = max(float(true_error.max()), *(float(e.value.max()) for e in estimates.values()))
    limits = max(lowest, 1e-18) / 10, 10 * highest
    ax.set(yscale="log", xlabel=name, ylabel=r"$\| u(\mu) - u_N(\mu) \|_P$", ylim=limits)
    if log:
        ax.set_xscale("log")
    return finished(ax)


def effectivity(sizes: Sequence[int], ratios: Mapping[str, Mapping[int, np.ndarray]], *, ax: Any = None) -> Any:
    """Draw bound / true error over the test parameters for each N: median as a line, the range as a band.

    ratios : {method: {N: bound / true error (M,)}}. A certified bound stays at or above the line at 1.
    """
    ax = axes(ax)
    for method in sorted(ratios, key=_order):
        per_size, style = ratios[method], _style(method)
        ns = [n for n in sizes if n in per_size]
        low, median, high = (np.array([f(per_size[n]) for n in ns]) for f in (np.min, np.median, np.max))
        ax.fill_between(ns, low, high, color=style["color"], alpha=0.15, lw=0)
        for edge in (low, high):  # bands may coincide; the wide edges are drawn below
            ax.plot(ns, edge, color=style["color"], lw=style["lw"] / 2, ls=":", alpha=0.85)
        ax.plot(ns, median, **{**style, "label": f"{style['label']}, median"})
    ax.fill_between([], [], [], color="grey", alpha=0.3, lw=0, label="smallest to largest")
    ax.axhline(1, color="black", lw=1, ls="--", label="bound = true error")
    ax.set(yscale="log", xlabel="basis size $N$", ylabel="effectivity: bound / true error")
    return finished(ax, integers=True)


def eim_decay(histories: Mapping[str, np.ndarray], *, round_off: float | None = None, ax: Any = None) -> Any:
    """Draw max |g - I_r g| against the number of points r, one curve per name.

    round_off : level of saturation, drawn as a line
    """
    ax = axes(ax)
    for color, (name, history) in zip(colors(len(histories)), histories.items(), strict=True):
        ax.plot(np.arange(len(history)), np.asarray(history), color=color, marker=".", label=name)
    if round_off is not None:
        ax.axhline(round_off, color="black", lw=1, ls=":", label="round-off")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(yscale="log", xlabel="interpolation points $r$", ylabel=r"$\max_{x,\mu} |g - I_r g|$")
    ax.legend(fontsize=8)
    return ax


def selected_parameters(parameters: np.ndarray, space: ParameterSpace, *, ax: Any = None) -> Any:
    """Draw the parameters (N, p) at which the greedy took snapshots, in their order.

    One parameter is drawn against the step; two as points of the plane, coloured by the step; more as one row per
    parameter, likewise coloured. Grey lines are the ends of the ranges.
    """
    ax = axes(ax)
    order = np.arange(1, len(parameters) + 1)
    low, high = space.bounds.T
    names = [symbol(name) for name in space.names]
    log = space.scale == "log"
    if len(space) > 2:
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = np.log(parameters / low) / np.log(high / low) if log else (parameters - low) / (high - low)
        unit = np.where(high > low, unit, 0.5)  # of a parameter that is fixed
        lift = 0.6 * (order / len(order) - 0.5)
        rows = np.arange(len(space))
        colors = np.broadcast_to(order[:, None], unit.shape).ravel()  # flat: three numbers alone would be a colour
        points = ax.scatter(unit.ravel(), (rows + lift[:, None]).ravel(), c=colors, cmap="cividis", s=18)
        ax.set(xlabel="position in the range", yticks=rows, yticklabels=names)
        ends = [(ax.axvline, 0.0), (ax.axvline, 1.0)]
    elif len(space) == 2:
        points = ax.scatter(*parameters.T, c=order, cmap="cividis", s=40, edgecolors="white", lw=0.5, zorder=2)
        ax.set(xlabel=names[0], ylabel=names[1], xscale=space.scale, yscale=space.scale)
        ends = [(ax.axvline, low[0]), (ax.axvline, high[0]), (ax.axhline, low[1]), (ax.axhline, high[1])]
    else:
        ax.scatter(parameters[:, 0], order, color=STYLES["orthonormal"]["color"], s=60, zorder=2)
        ax.set(xlabel=names[0], ylabel="greedy step", xscale=space.scale)
        ax.yaxis.get_major_locator().set_params(integer=True)
        ends = [(ax.axvline, low[0]), (ax.axvline, high[0])]
    for line, position in ends:
        line(position, color="0.6", lw=1, zorder=1)
    short_log_ticks(ax)
    if len(space) > 1:
        ax.figure.colorbar(points, ax=ax, label="greedy step").locator.set_params(integer=True)
    return ax


def solutions(x: np.ndarray, u: np.ndarray, labels: Sequence[str], *, ax: Any = None) -> Any:
    """Draw solutions u (M, n) over a one-dimensional domain x (n,)."""
    ax = axes(ax)
    for color, label, values in zip(colors(len(u)), labels, u, strict=True):
        ax.plot(x, values, color=color, label=label)
    ax.set(xlabel="$x$", ylabel=r"$u_N(x; \mu)$")
    ax.legend(fontsize=8)
    return ax


def solutions_on_mesh(points: np.ndarray, triangles: np.ndarray, u: np.ndarray, labels: Sequence[str]) -> Any:
    """Draw solutions u (M, n) on a triangulation, side by side; return the figure.

    points : nodes (2, n); triangles : (3, t)
    """
    figure = drawing("figure").Figure(figsize=(3.1 * len(u) + 0.8, 3.4), layout="constrained")
    for k, (values, label) in enumerate(zip(u, labels, strict=True)):
        ax = figure.add_subplot(1, len(u), k + 1)
        mesh = drawing("tri").Triangulation(points[0], points[1], triangles.T)
        image = ax.tripcolor(mesh, values, shading="gouraud", cmap="cividis", vmin=0, vmax=u.max())
        ax.set(aspect="equal", title=label, xlabel="$x$")
        ax.set_ylabel("$y$" if k == 0 else "", rotation=0)
    figure.colorbar(image, ax=figure.axes).ax.set_title(r"$u_N$")
    return figure


def save(ax: Any, stem: str | os.PathLike[str]) -> list[Path]:
    """Write the figure of `ax` (or a figure) as stem.png and stem.pdf, each whole or not at all; returns the paths."""
    import io

    from lowrank.writing import write_atomically

    figure = getattr(ax, "figure", ax)
    written = []
    for kind in ("png", "pdf"):
        buffer = io.BytesIO()
        # no dates in the files: the same study gives the same bytes
        undated = {"CreationDate": None} if kind == "pdf" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=160, metadata=undated)
        path = Path(f"{os.fspath(stem)}.{kind}")
        write_atomically(path, buffer.getvalue())
        written.append(path)
    return written


def _band(ax: Any, x: Any, top: Any, style: dict[str, Any]) -> None:
    """Draw a floor as a band from zero up to it."""
    label = f"floor of {style['label'].split()[0]}"
    ax.fill_between(x, 1e-300, top, color=style["color"], alpha=0.12, lw=0, label=label)


def symbol(name: str) -> str:
    """Return a parameter name as a formula.

    mu becomes a Greek letter, Bi stands upright, k3 and beta_3 get the index 3, and beta_3_re becomes the real part of
    beta_3.
    """
    part = {"_re": "\\mathrm{Re}\\,", "_im": "\\mathrm{Im}\\,"}.get(name[-3:], "")
    name = name[:-3] if part else name
    head = name.rstrip("0123456789")
    tail = name[len(head) :]
    head = head.rstrip("_")
    greek = {"mu", "alpha", "beta", "gamma", "kappa", "nu", "omega", "sigma", "theta"}
    letter = f"\\{head}" if head in greek else head if len(head) < 2 else f"\\mathrm{{{head}}}"
    return f"${part}{letter}_{{{tail}}}$" if tail else f"${part}{letter}$"
