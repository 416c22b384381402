"""The picture of an exploration: response curve with its band, the answer in words, and the field."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from rbm.show.axes import axes, drawing
from rbm.show.explore.field_panel import panel_for
from rbm.show.explore.state import Curve, Explorer

__all__ = ["Picture", "agg_figure", "size_for"]

BLUE, ORANGE = "#0072B2", "#D55E00"


class Picture:
    """Draws an :class:`Explorer` into a figure; what did not change since the last time is not drawn again.

    figure : of matplotlib, with its canvas; left : the share of its width, from the left, that others draw in
    """

    def __init__(self, explorer: Explorer, figure: Any, left: float = 0.0) -> None:
        self.explorer, self.figure = explorer, figure
        self.moving: list[Any] = []  #: artists that are drawn over the rest, each time
        self._behind: Any = None
        right = 0.985
        middle = right if explorer.placement is None else left + 0.52 * (right - left)
        width = figure.get_size_inches()[0]
        start, end = left + 0.85 / width, middle - 0.15 / width
        self.ax = axes(figure.add_axes((start, 0.46, end - start, 0.46)))
        self.words = figure.text(start, 0.33, "", va="top", fontsize=10, linespacing=1.45, animated=True)
        self._columns = int((end - start) * width * 11)
        style = {"color": BLUE, "animated": True}
        self.band = self.ax.fill_between([], [], [], alpha=0.28, lw=0, **style)
        (self.line,) = self.ax.plot([], [], lw=1.8, **style)
        (self.bar,) = self.ax.plot([], [], color=ORANGE, lw=2.2, marker="_", ms=9, animated=True, zorder=4)
        (self.dot,) = self.ax.plot([], [], color=ORANGE, marker="o", ms=6, ls="none", animated=True, zorder=5)
        self.note = self.ax.text(
            0.5,
            0.03,
            "",
            transform=self.ax.transAxes,
            ha="center",
            va="bottom",
            fontsize=8.5,
            color="0.3",
            animated=True,
        )
        self.moving += [self.band, self.line, self.bar, self.dot, self.note, self.words]
        self.panel = None
        if explorer.placement is not None:
            place = (middle + 0.6 / width, 0.1, right - middle - 1.35 / width, 0.82)
            self.panel = panel_for(explorer.placement.mesh, figure, place)
            self.moving += self.panel.moving
        self._limits: tuple[float, float] | None = None
        self._labels: tuple[Any, ...] = ()
        figure.canvas.mpl_connect("draw_event", lambda _: self._drawn())

    def update(self) -> None:
        """Show the explorer as it is now."""
        explorer = self.explorer
        known = explorer.answers
        curve = explorer.curve(known)
        still = self._place(curve)
        self._show(curve)
        text = explorer.sentences(known)
        self.words.set_text("\n".join(textwrap.fill(t, self._columns, subsequent_indent="   ") for t in text))
        if self.panel is not None:
            field = None if known.reasons[0] else explorer.field()
            still = self.panel.show(field) and still
        if still and self._behind is not None and self.figure.canvas.supports_blit:
            self.figure.canvas.restore_region(self._behind)
            self._over()
        else:
            self.figure.canvas.draw()  # ends in _drawn

    def forget(self) -> None:
        """Draw all anew at the next update."""
        self._behind = None

    def image(self) -> np.ndarray:
        """Return the picture as it was drawn last, (height, width, 4) bytes; of canvases of Agg."""
        return np.asarray(self.figure.canvas.buffer_rgba())

    def _place(self, curve: Curve) -> bool:
        """Choose axes that hold the curve; return whether they are those of before."""
        labels = (curve.xlabel, curve.ylabel, curve.log_x, curve.log_y, curve.x[0], curve.x[-1])
        same = labels == self._labels
        if not same:
            self._labels, self._limits = labels, None
            self.ax.set(xlabel=curve.xlabel, ylabel="", xscale="log" if curve.log_x else "linear")
            self.ax.set_title(curve.ylabel, fontsize=11)
            self.ax.set_yscale("log" if curve.log_y else "linear")
            self.ax.set_xlim(curve.x[0], curve.x[-1])
        limits = _room(curve.limits, self._limits, curve.log_y)
        if limits == self._limits:
            return same
        self._limits = limits
        self.ax.set_ylim(*limits)
        return False

    def _show(self, curve: Curve) -> None:
        self.line.set_data(curve.x, curve.middle)
        self.band.set_verts(_polygons(curve))
        x, y, low, high = curve.at
        inside = np.isfinite(y)
        self.dot.set_data([x] if inside else [], [y] if inside else [])
        self.bar.set_data([x, x] if np.isfinite(high) else [], [low, high] if np.isfinite(high) else [])
        gaps = int(np.sum(~np.isfinite(curve.middle)))
        note = f"no answer at {gaps} of {len(curve.x)} points: {curve.missing}" if gaps and curve.missing else ""
        self.note.set_text("\n".join(textwrap.wrap(note, self._columns)[:3]))

    def _drawn(self) -> None:
        """Keep what was drawn in full as a background, and draw the rest over it."""
        if self.figure.canvas.supports_blit:
            self._behind = self.figure.canvas.copy_from_bbox(self.figure.bbox)
            self._over()
        else:
            for artist in self.moving:
                artist.set_animated(False)

    def _over(self) -> None:
        for artist in self.moving:
            self.figure.draw_artist(artist)
        self.figure.canvas.blit(self.figure.bbox)


def size_for(explorer: Explorer, left: float = 0.0) -> tuple[float, float]:
    """Return the size in inches of a figure for the picture beside `left` inches of controls."""
    return left + (5.6 if explorer.placement is None else 10.2), 5.4


def agg_figure(size: tuple[float, float]) -> Any:
    """Return a figure of that size in inches, which is drawn into memory and shown by nobody."""
    figure = drawing("figure").Figure(figsize=size)
    drawing("backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def _room(needed: tuple[float, float], old: tuple[float, float] | None, log: bool) -> tuple[float, float]:
    """Return limits with room around the numbers; the old ones, where they hold these and are not far too wide."""
    low, high = np.log(needed) if log else np.array(needed)
    if old is not None:
        first, last = np.log(old) if log else np.array(old)
        if first <= low and high <= last and high - low >= 0.3 * (last - first):
            return old
    size = max(abs(low), abs(high))
    room = max(0.12 * (high - low), 1e-9 * size, 0.05 if log else 0.0) or 1.0
    ends = np.array([low - room, high + room])
    first, last = np.exp(ends) if log else ends
    return float(first), float(last)


def _polygons(curve: Curve) -> Sequence[np.ndarray]:
    """Return the band as polygons (k, 2), one for each run of points that have it."""
    good = np.isfinite(curve.low) & np.isfinite(curve.high)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(int)))
    made = []
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        x, low, high = curve.x[a:b], curve.low[a:b], curve.high[a:b]
        made.append(np.column_stack([np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])]))
    return made
