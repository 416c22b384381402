"""Figures and films of fields: lines in one dimension, colours in two, rendered pictures of bodies and surfaces."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbm.show.axes import axes, colors, drawing, finished
from rbm.show.field_values import Drawn
from rbm.show.films import checked_film, pictures, plane_pictures, write_film
from rbm.show.meshes import FieldMesh
from rbm.show.volumes import Scene

__all__ = ["figure_of", "film_of", "moved_meshes", "outline", "wrapped"]

#: Characters of a line of a title above a panel.
WIDTH = 38
#: Lines, curves of one figure, before a colour bar takes the place of the legend.
NAMED = 8


def wrapped(text: str, width: int = WIDTH) -> str:
    """Return a title whose lines are not longer than the panel under it, names and numbers together."""
    lines = (line.replace(" = ", "\u00a0=\u00a0") for line in text.split("\n"))
    return "\n".join("\n".join(textwrap.wrap(line, width)) for line in lines)


def figure_of(mesh: FieldMesh, drawn: Drawn, titles: Sequence[str], head: str, columns: int | None) -> Any:
    """Return a figure with a panel, or a line, for each field."""
    if _is_line(mesh):
        return _lines(mesh, drawn, titles, head)
    count = len(drawn.values)
    wide = min(count, 3) if columns is None else min(int(columns), count)
    rows = -(-count // wide)
    scene = None if _is_flat(mesh) else Scene(mesh, drawn)
    x = np.ptp(mesh.points[:, 0])
    ratio = 0.75 if scene is not None else np.clip(np.ptp(mesh.points[:, 1]) / x, 0.25, 2.5)
    panel = 3.3 if count > 1 else 5.2
    texts = [wrapped(t, int(WIDTH * panel / 3.3)) for t in titles]
    lines = max(t.count("\n") for t in texts) + 1
    size = (panel * wide + 1.1, rows * (panel * ratio + 0.45 + 0.17 * lines) + (0.35 if head else 0.0))
    figure = drawing("figure").Figure(figsize=size, layout="constrained")
    scale = drawing("cm").ScalarMappable(drawing("colors").Normalize(*drawn.limits), drawn.cmap)
    meshes = moved_meshes(mesh, drawn) if scene is None else []
    for k, title in enumerate(texts):
        ax = figure.add_subplot(rows, wide, k + 1)
        ax.set_title(title, fontsize=9)
        if scene is not None:
            ax.imshow(scene.picture(k), interpolation="antialiased")
            ax.set_axis_off()
            continue
        one = meshes[k if len(meshes) > 1 else 0]
        ax.tripcolor(one, drawn.values[k], shading="gouraud", cmap=scale.cmap, norm=scale.norm, rasterized=True)
        ax.set(aspect="equal", xlabel="$x$" if k >= count - wide else "")
        ax.set_ylabel("$y$" if k % wide == 0 else "", rotation=0, labelpad=9)
        ax.plot(*outline(one), color="0.35", lw=0.6)
        if drawn.shifts is not None:  # where the nodes were before they were moved
            ax.plot(*outline(_triangulation(mesh.points[:, :2], mesh.simplices)), color="0.6", lw=0.7, zorder=0)
    if scene is None:
        _same_limits(figure.axes, meshes)
    bar = figure.colorbar(scale, ax=figure.axes, shrink=0.9)
    bar.ax.set_title(drawn.label, fontsize=10)
    _angles(bar, drawn)
    if head:
        figure.suptitle(wrapped(head, int(12 * size[0])), fontsize=9)
    return figure


def film_of(
    path: str | os.PathLike[str], mesh: FieldMesh, drawn: Drawn, titles: Sequence[str], head: str, fps: float
) -> Path:
    """Write a film with a picture for each field, and return its path."""
    checked_film(path, fps)
    texts = [wrapped(f"{head}\n{title}" if head else title, 66) for title in titles]
    if _is_line(mesh):
        return write_film(path, _line_pictures(mesh, drawn, texts), fps)
    if _is_flat(mesh):
        made = plane_pictures(moved_meshes(mesh, drawn), drawn.values, texts, drawn.limits, drawn.label, drawn.cmap)
        return write_film(path, made, fps)
    return write_film(path, _scene_pictures(mesh, drawn, texts), fps)


def moved_meshes(mesh: FieldMesh, drawn: Drawn) -> list[Any]:
    """Return the triangulation of a plane mesh, or that of each field whose displacements move it."""
    if drawn.shifts is None:
        return [_triangulation(mesh.points[:, :2], mesh.simplices)]
    return [_triangulation(mesh.points[:, :2] + s[:, :2], mesh.simplices) for s in drawn.shifts]


def _triangulation(points: np.ndarray, triangles: np.ndarray) -> Any:
    return drawing("tri").Triangulation(points[:, 0], points[:, 1], triangles)


def _is_line(mesh: FieldMesh) -> bool:
    return mesh.dimension == 1 and mesh.flat == 1


def _is_flat(mesh: FieldMesh) -> bool:
    return mesh.dimension == 2 and mesh.flat == 2


def _broken(mesh: FieldMesh, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x (k,) and values (M, k) along a line, each cell from left to right, with gaps between parts."""
    x = mesh.points[mesh.simplices, 0]
    cells = np.where(x[:, :1] <= x[:, 1:], mesh.simplices, mesh.simplices[:, ::-1])
    cells = cells[np.argsort(mesh.points[cells[:, 0], 0])]
    left, right = mesh.points[cells[:-1, 1], 0], mesh.points[cells[1:, 0], 0]
    gaps = 2 * (np.flatnonzero(right > left + 1e-9 * np.ptp(x)) + 1)
    nodes = cells.ravel()
    return np.insert(mesh.points[nodes, 0], gaps, np.nan), np.insert(values[:, nodes], gaps, np.nan, axis=1)


def _cut(x: np.ndarray, u: np.ndarray, cyclic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return a curve, with a gap wherever an angle goes from pi to -pi or back, where no stroke should be."""
    if not cyclic:
        return x, u
    wraps = np.flatnonzero(np.abs(np.diff(u)) > np.pi) + 1
    return np.insert(x, wraps, np.nan), np.insert(u, wraps, np.nan)


def _lines(mesh: FieldMesh, drawn: Drawn, titles: Sequence[str], head: str) -> Any:
    ax = axes(None)
    x, values = _broken(mesh, drawn.values)
    shades = colors(len(values))
    for shade, u, title in zip(shades, values, titles, strict=True):
        label = title.replace("\n", ", ") if len(values) == 1 else title
        ax.plot(*_cut(x, u, drawn.cyclic), color=shade, lw=1.6, label=label if len(values) <= NAMED else None)
    ax.set(xlabel="$x$", ylabel=drawn.label)
    if len(values) == 1:
        ax.set_title(wrapped(f"{head}\n{titles[0]}" if head else titles[0], 66), fontsize=9)
        return ax.figure
    ax.set_title(wrapped(head, 66), fontsize=9)
    if len(values) <= NAMED:
        finished(ax)
    else:
        ax.plot([], [], color=shades[0], label=titles[0])
        ax.plot([], [], color=shades[-1], label=titles[-1])
        finished(ax)
    return ax.figure


def _line_pictures(mesh: FieldMesh, drawn: Drawn, titles: Sequence[str]) -> Iterator[Any]:
    ax = axes(None)
    x, values = _broken(mesh, drawn.values)
    low, high = drawn.limits
    room = 0.05 * (high - low)
    ax.set(xlabel="$x$", ylabel=drawn.label, xlim=(np.nanmin(x), np.nanmax(x)), ylim=(low - room, high + room))
    ax.title.set_fontsize(10)

    def draw(k: int) -> Any:
        return ax.plot(*_cut(x, values[k], drawn.cyclic), color="#0072B2", lw=1.8)

    shades = drawing("cm").ScalarMappable(cmap="cividis").get_cmap()(np.linspace(0, 1, 216))[:, :3]
    blue = np.array([0x00, 0x72, 0xB2]) / 255
    shades[:100] = blue + np.linspace(0, 0.85, 100)[:, None] * (1 - blue)  # of the curve and its edges
    yield from pictures(ax.figure, ax, titles, draw, shades)


def _scene_pictures(mesh: FieldMesh, drawn: Drawn, titles: Sequence[str]) -> Iterator[Any]:
    figure = drawing("figure").Figure(figsize=(6.4, 5.0), layout="constrained")
    scene = Scene(mesh, drawn)
    scale = drawing("cm").ScalarMappable(drawing("colors").Normalize(*drawn.limits), drawn.cmap)
    ax = figure.add_subplot()
    ax.set_axis_off()
    empty = ax.imshow(scene.picture(0))
    empty.remove()
    figure.colorbar(scale, ax=ax, shrink=0.8).ax.set_title(drawn.label)

    def draw(k: int) -> Any:
        return [ax.imshow(scene.picture(k), interpolation="antialiased")]

    yield from pictures(figure, ax, titles, draw, scale.cmap(np.linspace(0, 1, 216))[:, :3])


def outline(mesh: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the boundary of a triangulation as x and y of closed lines, with a gap between one and the next."""
    a, b, c = (np.stack([mesh.x, mesh.y])[:, mesh.triangles[:, k]] for k in range(3))
    turned = (b[0] - a[0]) * (c[1] - a[1]) < (c[0] - a[0]) * (b[1] - a[1])
    triangles = np.where(turned[:, None], mesh.triangles[:, ::-1], mesh.triangles)  # all anticlockwise
    edges = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2)
    _, first, count = np.unique(np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True)
    following: dict[int, list[int]] = {}
    for start, end in edges[np.sort(first[count == 1])].tolist():
        following.setdefault(start, []).append(end)
    x, y = [], []
    while following:
        node = next(iter(following))
        line = [node]
        while node in following:
            ends = following[node]
            line.append(ends.pop())
            if not ends:
                del following[node]
            node = line[-1]
        x += [*mesh.x[line], np.nan]
        y += [*mesh.y[line], np.nan]
    return np.array(x), np.array(y)


def _same_limits(panels: Sequence[Any], meshes: Sequence[Any]) -> None:
    for name in "xy":
        ends = [ax.dataLim.get_points()[:, "xy".index(name)] for ax in panels]
        ends += [np.array([getattr(m, name).min(), getattr(m, name).max()]) for m in meshes]
        low, high = min(e[0] for e in ends), max(e[1] for e in ends)
        room = 0.03 * (high - low)
        for ax in panels:
            getattr(ax, f"set_{name}lim")(low - room, high + room)


def _angles(bar: Any, drawn: Drawn) -> None:
    if drawn.cyclic:
        bar.set_ticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi])
        bar.set_ticklabels([r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"])
