"""The picture of an exploration: response curve with its band, the answer in words, and the field."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from rbm.show.axes import axes, drawing, plain_log_ticks
from rbm.show.explore.field_panel import panel_for
from rbm.show.explore.state import Curve, Explorer

__all__ = ["Picture", "agg_figure", "size_for"]

#: The curve is higher by a line of words, in shares of the height, for each output that is not there of so many.
LINE, LINES = 0.037, 5
BLUE, ORANGE = "#0072B2", "#D55E00"


class Picture:
    """Draws an :class:`Explorer` into a figure; what did not change since the last time is not drawn again.

    figure : of matplotlib, with its canvas; left : the share of its width, from the left, that others draw in
    """

    def __init__(self, explorer: Explorer, figure: Any, left: float = 0.0) -> None:
        self.explorer, self.figure = explorer, figure
        #: pieces of the figure by name: their places (left, bottom, width, height) in shares of its size, and the
        #: artists that are drawn over the background there, each time
        self.pieces: dict[str, tuple[tuple[float, float, float, float], list[Any]]] = {}
        self._behind: dict[str, Any] = {}
        self._bare: Any = None  #: the background of the piece "picture" without the numbers at axes
        self._numbers: list[Any] = []  #: axes whose numbers change now and then
        right = 0.985
        middle = right if explorer.placement is None else left + 0.52 * (right - left)
        width = figure.get_size_inches()[0]
        start, end = left + 0.85 / width, middle - 0.15 / width
        self._columns = int((end - start) * width * 11)
        spare = LINE * max(0, LINES - len(explorer.outputs))
        moving = self._make_curve((start, 0.46 - spare, end - start, 0.46 + spare))
        self.words = figure.text(
            start, 0.34 - spare, "", va="top", fontsize=10, linespacing=1.45, animated=True, parse_math=False
        )
        self.panel = None
        moving.append(self.words)
        if explorer.placement is not None:
            place = (middle + 0.6 / width, 0.1, right - middle - 1.35 / width, 0.82)
            self.panel = panel_for(explorer.placement.mesh, figure, place)
            moving += self.panel.moving
            self._numbers += self.panel.numbers
        self.pieces["picture"] = (left, 0.0, 1.0 - left, 1.0), moving
        self._limits: tuple[float, float] | None = None
        self._labels: tuple[Any, ...] = ()
        figure.canvas.mpl_connect("draw_event", lambda _: self._drawn())

    def _make_curve(self, place: tuple[float, float, float, float]) -> list[Any]:
        """Make axes and artists of the curve; return what changes, in the order of drawing."""
        self.ax = axes(self.figure.add_axes(place))
        self.ax.yaxis.set_animated(True)  # its numbers change as the curve does
        self.band = self.ax.fill_between([], [], [], alpha=0.28, lw=0, color=BLUE, animated=True)
        (self.line,) = self.ax.plot([], [], lw=1.8, color=BLUE, animated=True)
        (self.bar,) = self.ax.plot([], [], color=ORANGE, lw=2.2, marker="_", ms=9, animated=True)
        (self.dot,) = self.ax.plot([], [], color=ORANGE, marker="o", ms=6, ls="none", animated=True)
        inside: dict[str, Any] = {"transform": self.ax.transAxes, "va": "bottom", "fontsize": 8.5, "color": "0.3"}
        self.note = self.ax.text(0.5, 0.03, "", ha="center", animated=True, **inside)
        self.certified = self.ax.text(1.0, 1.015, "band: certified", ha="right", animated=True, **inside)
        self._numbers.append(self.ax.yaxis)
        return [self.band, self.line, self.bar, self.dot, self.note, self.certified]

    def update(self, *pieces: str) -> None:
        """Show the explorer as it is now; also draw other pieces anew, whose artists have changed."""
        explorer = self.explorer
        known = explorer.answers
        curve = explorer.curve(known)
        still, same = self._place(curve)
        self._show(curve)
        text = explorer.sentences(known)
        self.words.set_text("\n".join(textwrap.fill(t, self._columns, subsequent_indent="   ") for t in text))
        if self.panel is not None:
            same = self.panel.show(None if known.reasons[0] else explorer.field()) and same
        if still and self._behind:
            if not same:
                self._number()
            self._over("picture", *pieces)
        else:
            self.figure.canvas.draw()  # ends in _drawn

    def forget(self) -> None:
        """Draw all anew at the next update."""
        self._behind = {}

    def image(self) -> np.ndarray:
        """Return the picture as it was drawn last, (height, width, 4) bytes; of canvases of Agg."""
        return np.asarray(self.figure.canvas.buffer_rgba())

    def _place(self, curve: Curve) -> tuple[bool, bool]:
        """Choose axes that hold the curve; return whether all but the y axis is as before, and whether that is."""
        labels = (curve.xlabel, curve.ylabel, curve.log_x, curve.log_y, curve.x[0], curve.x[-1])
        same = labels == self._labels
        if not same:
            self._labels, self._limits = labels, None
            self.ax.set(xlabel=curve.xlabel, ylabel="", xscale="log" if curve.log_x else "linear")
            self.ax.xaxis.label.set_parse_math(False)  # units may hold dollars
            self.ax.set_title(curve.ylabel, fontsize=11, loc="left", parse_math=False)
            self.ax.set_yscale("log" if curve.log_y else "linear")
            if not curve.log_y:
                self.ax.yaxis.set_major_locator(drawing("ticker").MaxNLocator(5))
            self.ax.set_xlim(curve.x[0], curve.x[-1])
            if curve.log_x:
                plain_log_ticks(self.ax.xaxis, curve.x[0], curve.x[-1])
        limits = _room(curve.limits, self._limits, curve.log_y)
        if limits == self._limits:
            return same, True
        self._limits = limits
        self.ax.set_ylim(*limits)
        return same, False

    def _show(self, curve: Curve) -> None:
        self.line.set_data(curve.x, curve.middle)
        band = _polygons(curve)
        self.band.set_verts(band)
        self.certified.set_text("band: certified" if len(band) else "")
        x, y, low, high = curve.at
        inside = np.isfinite(y)
        self.dot.set_data([x] if inside else [], [y] if inside else [])
        self.bar.set_data([x, x] if np.isfinite(high) else [], [low, high] if np.isfinite(high) else [])
        gaps = int(np.sum(~np.isfinite(curve.middle)))
        note = f"no answer at {gaps} of {len(curve.x)} points: {curve.missing.partition(';')[0]}" if gaps else ""
        self.note.set_text(textwrap.fill(note, self._columns))

    def _drawn(self) -> None:
        """Keep what was drawn in full as a background, and draw the rest over it."""
        canvas = self.figure.canvas
        if not canvas.supports_blit:  # all is drawn anew each time, after this one
            moving = [*self._numbers, *(artist for _, artists in self.pieces.values() for artist in artists)]
            if any(artist.get_animated() for artist in moving):
                for artist in moving:
                    artist.set_animated(False)
                canvas.draw_idle()
            return
        self._behind = {name: canvas.copy_from_bbox(self._box(place)) for name, (place, _) in self.pieces.items()}
        self._bare = self._behind["picture"]
        self._number()
        self._over(*self.pieces, shown=False)  # the canvas shows itself next; Qt must not be asked to while it paints

    def _number(self) -> None:
        """Make the background of the picture anew, with the numbers at its axes."""
        canvas = self.figure.canvas
        canvas.restore_region(self._bare)
        for axis in self._numbers:
            self.figure.draw_artist(axis)
        self._behind["picture"] = canvas.copy_from_bbox(self._box(self.pieces["picture"][0]))

    def _over(self, *pieces: str, shown: bool = True) -> None:
        """Draw what changes in some pieces over their backgrounds, and show these pieces."""
        canvas = self.figure.canvas
        for name in pieces:
            canvas.restore_region(self._behind[name])
            place, artists = self.pieces[name]
            for artist in artists:
                self.figure.draw_artist(artist)
            if shown:
                canvas.blit(self._box(place))

    def _box(self, place: tuple[float, float, float, float]) -> Any:
        box = drawing("transforms").Bbox.from_bounds(*place)
        return drawing("transforms").TransformedBbox(box, self.figure.transFigure)


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
        if first <= low and high <= last and high - low >= 0.2 * (last - first):
            return old
    size = max(abs(low), abs(high))
    share = 0.12 if old is None else 0.4  # who has left the axes once will go on
    room = max(share * (high - low), 1e-9 * size, 0.05 if log else 0.0) or 1.0
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
