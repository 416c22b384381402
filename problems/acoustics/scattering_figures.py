"""Figures of scattering problems: surface pressure, field in a plane, far field, inf-sup constant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrank.optional import require
from problems.acoustics.scattering import ScatteringModel
from rbm.reduced.model import ReducedModel
from rbm.stability.anchored import BoundAnchored
from rbm.stability.inf_sup_constants import inf_sup

WAVE = "#D55E00"  #: colour of the arrow of the incident wave
SMOOTH: dict[str, Any] = {"shading": "gouraud", "rasterized": True}  #: how a field is drawn

__all__ = ["far_field_pattern", "figures", "inf_sup_constant", "near_field", "surface_pressure"]


def figures(model: ScatteringModel, reduced: ReducedModel) -> dict[str, Any]:
    """All figures by name, for a model with real admittances of the parts and a fixed wavenumber."""
    low, high = model.parameters.bounds.T
    corners = np.stack([low, high, np.where(np.arange(len(low)) == 0, high, low)])
    path = low + np.linspace(0, 1, 9)[:, None] * np.where(np.arange(len(low)) == 0, high - low, 0)
    return {
        "surface_pressure": surface_pressure(model, reduced, corners),
        "near_field": near_field(model, reduced, corners[[0, 2]]),
        "far_field": far_field_pattern(model, reduced, path),
        "inf_sup": inf_sup_constant(model),
    }


def surface_pressure(model: ScatteringModel, reduced: ReducedModel, mus: np.ndarray) -> Any:
    """The pressure |u| on the surface at parameter points (M, p), side by side.

    The wave (the arrow) comes from the left.
    """
    mesh, d = model.mesh, model.direction
    pressures = np.abs(reduced.reconstruct(reduced.solve(mus).coefficients))
    figure = _figure(3.4 * len(mus) + 0.7, 3.6)
    azimuth = np.degrees(np.arctan2(d[1], d[0])) - 90 if np.hypot(d[0], d[1]) > 1e-6 else -60
    radius = float(np.linalg.norm(mesh.vertices, axis=0).max())
    for k, (mu, values) in enumerate(zip(mus, pressures, strict=True)):
        ax = figure.add_subplot(1, len(mus), k + 1, projection="3d")
        corners, shades = _subdivided(mesh.vertices[:, mesh.triangles], values[mesh.triangles])
        numbers = np.arange(corners[0].size).reshape(3, -1).T
        faces = ax.plot_trisurf(*corners.reshape(3, -1), triangles=numbers, linewidth=0, antialiased=False, shade=False)
        faces.set_array(shades.mean(axis=0))
        faces.set_cmap("cividis")
        faces.set_rasterized(True)
        faces.set_clim(0, pressures.max())
        ax.set_box_aspect((1, 1, 1), zoom=1.25)
        ax.view_init(elev=8, azim=azimuth, roll=_roll(d, 8, azimuth))
        ax.set_axis_off()
        ax.set_title(_label(model, mu), fontsize=9)
        ax.quiver(*(-1.75 * radius * d), *(0.65 * radius * d), color=WAVE, arrow_length_ratio=0.35)
        ax.text(*(-1.45 * radius * d), "wave\n", color=WAVE, fontsize=8, ha="center", va="bottom")
        for axis in "xyz":
            getattr(ax, f"set_{axis}lim")(-1.2 * radius, 1.2 * radius)
    figure.colorbar(faces, ax=figure.axes, label="$|u_N|$ on the surface", shrink=0.75)
    return figure


def near_field(
    model: ScatteringModel, reduced: ReducedModel, mus: np.ndarray, extent: float = 2.6, side: int = 72
) -> Any:
    """The field Re u in a plane through the middle, at parameter points (M, p).

    The plane holds the wave's direction (to the right).

    Nearer to the surface than about half an edge the rule of quadrature cannot follow the kernel; the colours there
    are those further out.
    """
    across, radius = _across(model.direction), float(np.linalg.norm(model.mesh.vertices, axis=0).max())
    x = np.linspace(-extent, extent, side) * radius
    along, up = np.meshgrid(x, x)
    points = model.direction[:, None] * along.ravel() + across[:, None] * up.ravel()
    pressures = reduced.reconstruct(reduced.solve(mus).coefficients)
    total = model.total_field(mus, pressures, points).real.reshape(len(mus), side, side)
    near = _near_surface(model.mesh, points).reshape(side, side)
    total = np.stack([_continued(values, near) for values in total])
    largest = np.nanmax(np.abs(total))
    path = require("matplotlib.path", "matplotlib", "drawing a figure").Path
    patch = require("matplotlib.patches", "matplotlib", "drawing a figure").PathPatch
    obstacle = path.make_compound_path(*(path(loop, closed=True) for loop in _section(model, across)))
    figure = _figure(3.5 * len(mus) + 0.8, 3.7)
    for k, mu in enumerate(mus):
        ax = figure.add_subplot(1, len(mus), k + 1)
        image = ax.pcolormesh(along, up, total[k], cmap="PuOr", vmin=-largest, vmax=largest, **SMOOTH)
        ax.add_patch(patch(obstacle, facecolor="0.35", lw=0))
        ax.annotate("", (0.27, 0.05), (0.04, 0.05), "axes fraction", arrowprops={"arrowstyle": "->", "lw": 1.5})
        ax.text(0.04, 0.07, "wave", transform=ax.transAxes, fontsize=8)
        ax.set(aspect="equal", title=_label(model, mu), xlabel="along the wave", ylabel="across" if k == 0 else "")
        ax.title.set_fontsize(9)
    figure.colorbar(image, ax=figure.axes, label=r"$\mathrm{Re}\, u_N$")
    return figure


def far_field_pattern(model: ScatteringModel, reduced: ReducedModel, mus: np.ndarray, angles: int = 181) -> Any:
    """The far field |f| over the angle from the wave's direction, one curve per parameter point (M, p).

    The radius is the amplitude.
    """
    phi = np.linspace(0, 2 * np.pi, angles)
    across = _across(model.direction)
    directions = model.direction[:, None] * np.cos(phi) + across[:, None] * np.sin(phi)
    amplitude = np.abs(model.far_field(mus, reduced.reconstruct(reduced.solve(mus).coefficients), directions))
    figure = _figure(6.2, 4.6)
    ax = figure.add_subplot(projection="polar")
    varied = np.flatnonzero(np.ptp(mus, axis=0))
    # the parameter that the curves differ in, if it is a single one
    one = mus[:, varied[0]] if len(varied) == 1 else None
    bar = require("matplotlib.cm", "matplotlib", "drawing a figure").ScalarMappable(cmap="cividis")
    shades = np.arange(len(mus)) if one is None else one
    bar.set_clim(shades.min(), max(shades.max(), shades.min() + 1e-12))
    for shade, mu, values in zip(shades, mus, amplitude, strict=True):
        ax.plot(phi, values, color=bar.to_rgba(shade), label=_label(model, mu))
    ax.set_title("far-field amplitude $|f|$; 0° is the direction of the wave", fontsize=9)
    # where the curves are nearest to the middle the labels of the circles hide least
    ax.set_rlabel_position(np.degrees(phi[amplitude.max(axis=0).argmin()]))
    for text in ax.get_yticklabels():
        text.set(fontsize=7, bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 0.5})
    if one is None:
        ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.12, 0.5), frameon=False)
        return figure
    name, others = model.parameters.names[varied[0]], np.delete(np.arange(mus.shape[1]), varied)
    fixed = ", ".join(f"{_symbol(model.parameters.names[i])} = {mus[0, i]:.3g}" for i in others)
    figure.colorbar(bar, ax=ax, label=_symbol(name) + (f"   ({fixed})" if fixed else ""), shrink=0.8, pad=0.12)
    return figure


def inf_sup_constant(model: ScatteringModel, points: int = 9, exact: np.ndarray | None = None) -> Any:
    """The inf-sup constant and its lower bound along the diagonal of the parameter box, and the bound as a map.

    The map, with the anchors, is over the first two parameters, the others in the middle of their ranges. exact : the
    constants, if known.
    """
    low, high = model.parameters.bounds.T
    t = np.linspace(0, 1, 201)
    line = low + t[:, None] * (high - low)
    few = np.linspace(0, 1, points)
    truth = inf_sup(model, low + few[:, None] * (high - low), progress=False) if exact is None else exact

    def bound(mus: np.ndarray) -> np.ndarray:
        return model.stability(mus, model.operator_coefficients(mus))

    figure = _figure(8.6, 3.6)
    ax = figure.add_subplot(1, 2, 1)
    ax.plot(few, truth, color="black", marker="x", ls="--", label=r"$\beta(\mu)$, dense SVD")
    ax.plot(t, bound(line), color="#0072B2", label="lower bound from anchors")
    ax.set(xlabel="from the lowest to the highest corner", ylabel="inf-sup constant", ylim=(0, 1.15 * truth.max()))
    ax.grid(True, color="0.9", lw=0.6)
    ax.legend(fontsize=8, loc="lower right")
    if len(low) >= 2:
        ax = figure.add_subplot(1, 2, 2)
        grid = np.linspace(0, 1, 81)
        first, second = np.meshgrid(low[0] + grid * (high[0] - low[0]), low[1] + grid * (high[1] - low[1]))
        mus = np.tile((low + high) / 2, (first.size, 1))
        mus[:, 0], mus[:, 1] = first.ravel(), second.ravel()
        image = ax.pcolormesh(first, second, bound(mus).reshape(first.shape), cmap="cividis", **SMOOTH)
        figure.colorbar(image, ax=ax, label="lower bound")
        names = model.parameters.names
        if isinstance(model.stability, BoundAnchored) and not model.problem.varies and len(names) == model.mesh.n_parts:
            anchors = model.stability.anchors.real
            marks = {"color": "#D55E00", "marker": "x", "s": 40, "label": "anchors", "zorder": 3, "clip_on": False}
            ax.scatter(anchors[:, 1], anchors[:, 2], **marks)
            ax.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False)
        ax.set(xlabel=_symbol(names[0]), ylabel=_symbol(names[1]))
    return figure


def _section(model: ScatteringModel, across: np.ndarray) -> list[np.ndarray]:
    """Closed curves (m, 2) in which the plane of the wave's direction and `across` cuts the surface.

    Outer curves run in one sense, holes in the other.
    """
    mesh = model.mesh
    height = np.cross(model.direction, across) @ mesh.vertices
    height = np.where(height == 0, 1e-12, height)
    flat = np.stack([model.direction @ mesh.vertices, across @ mesh.vertices])
    upwards, after = {}, {}
    # through every triangle that is cut, from the edge that rises through the plane to the one that falls, which
    # rises in the next
    for triangle in mesh.triangles.T[np.abs(np.sign(height[mesh.triangles]).sum(axis=0)) < 3]:
        edges = list(zip(triangle, np.roll(triangle, -1), strict=True))
        (a, b), (c, d) = (
            next(e for e in edges if (height[e[1]] > 0) is up and (height[e[0]] > 0) is not up)
            for up in (np.True_, np.False_)
        )
        after[a, b] = (d, c)
        share = height[a] / (height[a] - height[b])
        upwards[a, b] = flat[:, a] + share * (flat[:, b] - flat[:, a])
    loops = []
    while after:
        edge, loop = next(iter(after)), []
        while edge in after:
            loop.append(upwards[edge])
            edge = after.pop(edge)
        loops.append(np.array([*loop, loop[0]]))
    return loops


def _near_surface(mesh: Any, points: np.ndarray) -> np.ndarray:
    """Whether points (3, P) are nearer to the surface than 0.5 to 0.8 mean edges: nearer to a vertex than 0.8."""
    from scipy.spatial import cKDTree

    edges = mesh.vertices[:, mesh.triangles] - mesh.vertices[:, np.roll(mesh.triangles, 1, axis=0)]
    distance, _ = cKDTree(mesh.vertices.T).query(points.T)
    return distance < 0.8 * np.linalg.norm(edges, axis=0).mean()


def _continued(values: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Values (n, n): those at `near` (n, n) are replaced from outside, and one row further across the surface."""
    outside = np.isfinite(values)
    values = np.where(near, np.nan, values)
    while np.isnan(values[outside]).any() and not np.isnan(values).all():
        values = _widened(values)
    return _widened(values)


def _widened(values: np.ndarray) -> np.ndarray:
    """Values (n, n) with the mean of its neighbours in place of a NaN that has some.

    So a cell that the surface crosses is coloured up to it.
    """
    padded = np.pad(values, 1, constant_values=np.nan)
    n, m = values.shape
    near = np.stack([padded[i : i + n, j : j + m] for i in range(3) for j in range(3)])
    count = np.isfinite(near).sum(axis=0)
    mean = np.where(np.isfinite(near), near, 0).sum(axis=0) / np.where(count == 0, np.nan, count)
    return np.where(np.isnan(values), mean, values)


def _subdivided(corners: np.ndarray, values: np.ndarray, enough: int = 8000) -> tuple[np.ndarray, np.ndarray]:
    """Corners (3, 3, t), (axis, corner, triangle), and values (3, t) there, of triangles cut in four until `enough`."""
    while values.shape[-1] < enough:
        both = np.concatenate([corners, values[None]])
        a, b, c = both.transpose(1, 0, 2)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        smaller = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        both = np.stack([np.stack(s, axis=1) for s in smaller], axis=-1).reshape(4, 3, -1)
        corners, values = both[:3], both[3]
    return corners, values


def _roll(d: np.ndarray, elevation: float, azimuth: float) -> float:
    """Angle (degrees) by which the camera is rolled so that the direction d points to the right of the picture."""
    e, a = np.radians([elevation, azimuth])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    up = np.array([-np.sin(e) * np.cos(a), -np.sin(e) * np.sin(a), np.cos(e)])
    return -float(np.degrees(np.arctan2(up @ d, right @ d)))


def _across(direction: np.ndarray) -> np.ndarray:
    """A unit vector orthogonal to the direction."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    across = helper - direction * (helper @ direction)
    return across / np.linalg.norm(across)


def _label(model: ScatteringModel, mu: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{_symbol(n)} = {x:.3g}" for n, x in zip(model.parameters.names, mu, strict=True))


def _symbol(name: str) -> str:
    from rbm.show.plots import symbol

    return symbol(name)


def _figure(width: float, height: float) -> Any:
    figure = require("matplotlib.figure", "matplotlib", "drawing a figure").Figure
    return figure(figsize=(width, height), layout="constrained")
