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
    """What shows a field."""

    moving: list[Any]  #: artists that change each time

    def show(self, field: np.ndarray | None) -> bool:
        """Show a field (P,), or none; return whether axes and scale are those of before."""


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
        left, bottom, width, height = place
        ax = figure.add_axes((left, bottom, width, height))
        inches = figure.get_size_inches()
        spans = np.ptp(points, axis=0)
        scale = float(min(width * inches[0] / spans[0], height * inches[1] / spans[1])) * figure.dpi
        self._raster = Raster(points, mesh.simplices, *(max(8, int(scale * s)) for s in spans))
        self._norm = drawing("colors").Normalize(0.0, 1.0)
        empty = np.full((2, 2), np.nan)
        options = {"norm": self._norm, "cmap": "cividis", "interpolation": "nearest", "aspect": "equal"}
        self._image = ax.imshow(empty, origin="lower", extent=self._raster.extent, animated=True, **options)
        triangulation = drawing("tri").Triangulation(points[:, 0], points[:, 1], mesh.simplices)
        (self._edge,) = ax.plot(*outline(triangulation), color="0.35", lw=0.8, animated=True)
        ax.set(xlabel="$x$")
        ax.set_ylabel("$y$", rotation=0)
        for low, high, limits in zip(points.min(axis=0), points.max(axis=0), (ax.set_xlim, ax.set_ylim), strict=True):
            limits(low - 0.03 * (high - low), high + 0.03 * (high - low))
        ax.set_anchor("C")
        bar = ax.inset_axes((1.03, 0.0, 0.045, 1.0))
        figure.colorbar(self._image, cax=bar)
        ax.set_title("$u_N$", fontsize=11)
        self.moving = [self._image, self._edge]

    def show(self, field: np.ndarray | None) -> bool:
        if field is None:
            self._image.set_data(np.full((2, 2), np.nan))
            return True
        self._image.set_data(self._raster.image(field))
        return _fits(self._norm, float(field.min()), float(field.max()))


class _Line:
    def __init__(self, mesh: FieldMesh, figure: Any, place: Place) -> None:
        self._ax = axes(figure.add_axes(place))
        order = np.argsort(mesh.points[:, 0], kind="stable")
        self._order = order
        self._x = mesh.points[order, 0]
        (self._line,) = self._ax.plot([], [], color="#009E73", lw=1.8, animated=True)
        self._ax.set(xlabel="$x$", xlim=(self._x[0], self._x[-1]))
        self._ax.set_title("$u_N$", fontsize=11)
        self._norm = drawing("colors").Normalize(0.0, 1.0)
        self.moving = [self._line]

    def show(self, field: np.ndarray | None) -> bool:
        if field is None:
            self._line.set_data([], [])
            return True
        self._line.set_data(self._x, field[self._order])
        if _fits(self._norm, float(field.min()), float(field.max())):
            return True
        room = 0.06 * (self._norm.vmax - self._norm.vmin)
        self._ax.set_ylim(self._norm.vmin - room, self._norm.vmax + room)
        return False


def _fits(norm: Any, low: float, high: float) -> bool:
    """Widen or narrow a scale where numbers leave it, or fill less than 40 % of it; return whether it stays."""
    if norm.vmin <= low and high <= norm.vmax and high - low >= 0.4 * (norm.vmax - norm.vmin):
        return True
    room = 0.15 * (high - low) or abs(low) or 1.0
    norm.vmin = 0.0 if 0 <= low < high / 2 else low - room
    norm.vmax = 0.0 if low / 2 < high <= 0 else high + room
    return False
