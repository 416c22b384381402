"""The field beside the curve: a line, or a picture of pixels, redrawn in milliseconds."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from rbm.errors import ModelError
from rbm.show.axes import axes, drawing
from rbm.show.field_pictures import outline
from rbm.show.meshes import FieldMesh
from rbm.show.raster import Raster

__all__ = ["Panel", "panel_for"]

Place = tuple[float, float, float, float]


class Panel(Protocol):
    """What shows a field beside the curve."""

    moving: list[Any]  #: artists that change each time
    numbers: list[Any]  #: axes whose numbers change now and then

    def show(self, field: np.ndarray | None) -> bool:
        """Show a field (P,), or none; return whether the numbers at the axes are those of before."""


def panel_for(mesh: FieldMesh, figure: Any, place: Place) -> Panel:
    """Return the panel for a mesh at a place (left, bottom, width, height) of a figure, in shares of its size.

    Raises ModelError for bodies and surfaces in space, which take too long for a slider.
    """
    if mesh.dimension == 1 and mesh.flat == 1:
        return _Line(mesh, figure, place)
    if mesh.dimension == 2 and mesh.flat == 2:
        return _Plane(mesh, figure, place)
    raise ModelError(
        "a field beside sliders is drawn on lines and in the plane, this mesh is one in space: explore without it, and "
        "look at single points with rbm.fields(reduced, mus, mesh).plot()"
    )


class _Plane:
    def __init__(self, mesh: FieldMesh, figure: Any, place: Place) -> None:
        points = mesh.points[:, :2]
        ax = figure.add_axes(place, aspect="equal", anchor="N", xlabel="$x$")
        ax.set_ylabel("$y$", rotation=0, labelpad=9)
        ax.set_title("$u_N$", fontsize=11)
        for low, high, limits in zip(points.min(axis=0), points.max(axis=0), (ax.set_xlim, ax.set_ylim), strict=True):
            limits(low - 0.03 * (high - low), high + 0.03 * (high - low))
        self._scale = drawing("cm").ScalarMappable(drawing("colors").Normalize(0.0, 1.0), "cividis")
        bar = figure.colorbar(self._scale, cax=ax.inset_axes((1.03, 0.0, 0.045, 1.0)))
        bar.locator = drawing("ticker").MaxNLocator(4)
        bar.ax.yaxis.set_animated(True)
        self._pixels = _pixels(points, mesh.simplices, self._scale.cmap)
        self._pixels.set_animated(True)
        ax.add_artist(self._pixels)
        triangulation = drawing("tri").Triangulation(points[:, 0], points[:, 1], mesh.simplices)
        (edge,) = ax.plot(*outline(triangulation), color="0.35", lw=0.8, animated=True)
        self.moving, self.numbers = [self._pixels, edge], [bar.ax.yaxis]

    def show(self, field: np.ndarray | None) -> bool:
        if field is None:
            self._pixels.field = None
            return True
        old = self._scale.norm.vmin, self._scale.norm.vmax
        ends = _fitted(old, float(field.min()), float(field.max()))
        if ends != old:
            self._scale.set_clim(*ends)
        self._pixels.field, self._pixels.ends = field, ends
        return ends == old


def _pixels(points: np.ndarray, triangles: np.ndarray, cmap: Any) -> Any:
    """Return an artist that colours the pixels of a mesh; the mesh is looked up anew only for another size."""
    table = np.rint(255 * cmap(np.linspace(0, 1, 256))).astype(np.uint8)
    table = np.concatenate([table, np.zeros((1, 4), np.uint8)])  # the last one, clear, is outside the mesh

    class Pixels(drawing("artist").Artist):  # type: ignore[misc]
        field: np.ndarray | None = None
        ends = (0.0, 1.0)
        raster: Raster | None = None
        place = np.zeros((2, 2))  #: where the mesh is on the canvas, in its pixels
        corner = np.zeros(2)  #: the lower left one of those that are drawn

        def draw(self, renderer: Any) -> None:
            if self.field is None:
                return
            place = self.axes.transData.transform([points.min(axis=0), points.max(axis=0)])
            if self.raster is None or not np.array_equal(place, self.place):
                # the pixels of the canvas, so that the picture ends where the outline does
                self.corner, end = np.floor(place[0]), np.ceil(place[1])
                frame = self.axes.transData.inverted().transform([self.corner, end])
                width, height = np.maximum(end - self.corner, 2).astype(int)
                self.raster, self.place = Raster(points, triangles, int(width), int(height), frame), place
            gc = renderer.new_gc()
            renderer.draw_image(gc, *self.corner, table[self.raster.shades(self.field, self.ends)])
            gc.restore()

    return Pixels()


class _Line:
    def __init__(self, mesh: FieldMesh, figure: Any, place: Place) -> None:
        self._ax = axes(figure.add_axes(place))
        order = np.argsort(mesh.points[:, 0], kind="stable")
        self._order = order
        self._x = mesh.points[order, 0]
        (self._line,) = self._ax.plot([], [], color="#009E73", lw=1.8, animated=True)
        self._ax.set(xlabel="$x$", xlim=(self._x[0], self._x[-1]))
        self._ax.set_title("$u_N$", fontsize=11)
        self._ends = (0.0, 1.0)
        self._ax.yaxis.set_animated(True)
        self.moving, self.numbers = [self._line], [self._ax.yaxis]

    def show(self, field: np.ndarray | None) -> bool:
        if field is None:
            self._line.set_data([], [])
            return True
        self._line.set_data(self._x, field[self._order])
        old, self._ends = self._ends, _fitted(self._ends, float(field.min()), float(field.max()))
        room = 0.06 * (self._ends[1] - self._ends[0])
        self._ax.set_ylim(self._ends[0] - room, self._ends[1] + room)
        return old == self._ends


def _fitted(ends: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """Return the ends of a scale, others where numbers leave it, or fill less than 30 % of it."""
    if ends[0] <= low and high <= ends[1] and high - low >= 0.3 * (ends[1] - ends[0]):
        return ends
    room = 0.3 * (high - low) or abs(low) or 1.0
    return 0.0 if 0 <= low < high / 2 else low - room, 0.0 if low / 2 < high <= 0 else high + room
