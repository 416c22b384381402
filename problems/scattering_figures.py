"""Figures of scattering problems: surface pressure, field in a plane, far-field pattern, inf-sup constant and its bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrank.optional import require
from problems.scattering import ScatteringModel
from rbm.anchored import BoundAnchored, inf_sup
from rbm.reduced import ReducedModel

__all__ = ["far_field_pattern", "figures", "inf_sup_constant", "near_field", "surface_pressure"]


def figures(model: ScatteringModel, reduced: ReducedModel) -> dict[str, Any]:
    """All of them, by name, for a model with real admittances of the parts and a fixed wavenumber."""
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
    """|u| on the surface at parameter points (M, p), side by side, seen from the side of the wave (the arrow)."""
    mesh, d = model.mesh, model.direction
    pressures = np.abs(reduced.reconstruct(reduced.solve(mus).coefficients))
    figure = _figure(3.4 * len(mus) + 0.7, 3.6)
    azimuth = np.degrees(np.arctan2(d[1], d[0])) - 90 if np.hypot(d[0], d[1]) > 1e-6 else -60
    for k, (mu, values) in enumerate(zip(mus, pressures, strict=True)):
        ax = figure.add_subplot(1, len(mus), k + 1, projection="3d")
        faces = ax.plot_trisurf(*mesh.vertices, triangles=mesh.triangles.T, linewidth=0.1, edgecolor=(0, 0, 0, 0.15))
        faces.set_array(values[mesh.triangles].mean(axis=0))
        faces.set_cmap("cividis")
        faces.set_rasterized(True)
        faces.set_clim(0, pressures.max())
        ax.set_box_aspect((1, 1, 1), zoom=1.35)
        ax.view_init(elev=8, azim=azimuth)
        ax.set_axis_off()
        ax.set_title(_label(model, mu), fontsize=9)
        radius = float(np.linalg.norm(mesh.vertices, axis=0).max())
        ax.quiver(*(-1.75 * radius * d), *(0.65 * radius * d), color="#D55E00", arrow_length_ratio=0.35)
        for axis in "xyz":
            getattr(ax, f"set_{axis}lim")(-1.2 * radius, 1.2 * radius)
    figure.colorbar(faces, ax=figure.axes, label="$|u_N|$ on the surface", shrink=0.75)
    return figure


def near_field(
    model: ScatteringModel, reduced: ReducedModel, mus: np.ndarray, extent: float = 2.6, side: int = 72
) -> Any:
    """Re u in a plane through the middle that holds the direction of the wave (to the right), at parameter points (M, p)."""
    across, radius = _across(model.direction), float(np.linalg.norm(model.mesh.vertices, axis=0).max())
    x = np.linspace(-extent, extent, side) * radius
    along, up = np.meshgrid(x, x)
    points = model.direction[:, None] * along.ravel() + across[:, None] * up.ravel()
    pressures = reduced.reconstruct(reduced.solve(mus).coefficients)
    total = model.total_field(mus, pressures, points).real.reshape(len(mus), side, side)
    largest = np.nanmax(np.abs(total))
    figure = _figure(3.5 * len(mus) + 0.8, 3.7)
    for k, mu in enumerate(mus):
        ax = figure.add_subplot(1, len(mus), k + 1)
        ax.set_facecolor("0.35")
        image = ax.pcolormesh(
            along, up, total[k], cmap="PuOr", vmin=-largest, vmax=largest, shading="gouraud", rasterized=True
        )
        lines = require("matplotlib.collections", "matplotlib", "drawing a figure").LineCollection
        ax.add_collection(lines(_section(model, across), colors="0.35", linewidths=5))
        ax.set(aspect="equal", title=_label(model, mu), xlabel="along the wave", ylabel="across" if k == 0 else "")
        ax.title.set_fontsize(9)
    figure.colorbar(image, ax=figure.axes, label=r"$\mathrm{Re}\, u_N$")
    return figure


def far_field_pattern(model: ScatteringModel, reduced: ReducedModel, mus: np.ndarray, angles: int = 181) -> Any:
    """|f| against the angle from the wave's direction, one curve a parameter point (M, p); the radius is the amplitude."""
    phi = np.linspace(0, 2 * np.pi, angles)
    across = _across(model.direction)
    directions = model.direction[:, None] * np.cos(phi) + across[:, None] * np.sin(phi)
    amplitude = np.abs(model.far_field(mus, reduced.reconstruct(reduced.solve(mus).coefficients), directions))
    figure = _figure(6.2, 4.6)
    ax = figure.add_subplot(projection="polar")
    colors = require("matplotlib.cm", "matplotlib", "drawing a figure").ScalarMappable(cmap="cividis").get_cmap()
    for color, mu, values in zip(colors(np.linspace(0, 0.92, len(mus))), mus, amplitude, strict=True):
        ax.plot(phi, values, color=color, label=_label(model, mu))
    ax.set_title("far-field amplitude $|f|$; 0° is the direction of the wave", fontsize=9)
    ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.12, 0.5), frameon=False)
    return figure


def inf_sup_constant(model: ScatteringModel, points: int = 9, exact: np.ndarray | None = None) -> Any:
    """The inf-sup constant and its lower bound from the lowest to the highest corner of the parameter box; and the bound as a map.

    The map, with the anchors, is over the first two parameters, the others in the middle of their ranges. exact : the constants, if known.
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
        image = ax.pcolormesh(
            first, second, bound(mus).reshape(first.shape), cmap="cividis", shading="gouraud", rasterized=True
        )
        figure.colorbar(image, ax=ax, label="lower bound")
        names = model.parameters.names
        if (
            isinstance(model.stability, BoundAnchored)
            and not isinstance(model.wavenumber, tuple)
            and len(names) == model.mesh.n_parts
        ):
            anchors = model.stability.anchors.real
            ax.scatter(
                anchors[:, 1],
                anchors[:, 2],
                color="#D55E00",
                marker="x",
                s=40,
                label="anchors",
                zorder=3,
                clip_on=False,
            )
            ax.legend(fontsize=8, loc="upper right")
        ax.set(xlabel=_symbol(names[0]), ylabel=_symbol(names[1]))
    return figure


def _section(model: ScatteringModel, across: np.ndarray) -> np.ndarray:
    """Segments (s, 2, 2) in which the plane of the wave's direction and `across` cuts the surface."""
    mesh = model.mesh
    height = np.cross(model.direction, across) @ mesh.vertices
    height = np.where(height == 0, 1e-12, height)[mesh.triangles]
    flat = np.stack([model.direction @ mesh.vertices, across @ mesh.vertices])[:, mesh.triangles]  # (2, 3, t)
    cut = np.abs(np.sign(height).sum(axis=0)) < 3
    height, flat = height[:, cut], flat[:, :, cut]
    crossings, found = [], []
    for a, b in ((0, 1), (1, 2), (2, 0)):
        share = height[a] / (height[a] - height[b] + np.where(height[a] == height[b], 1.0, 0.0))
        crossings.append(flat[:, a] + share * (flat[:, b] - flat[:, a]))
        found.append(height[a] * height[b] < 0)
    points, hit = np.stack(crossings), np.stack(found)  # (3, 2, t), (3, t): two of three are hit
    order = np.argsort(~hit, axis=0, kind="stable")[:2]
    return np.take_along_axis(points, order[:, None, :], axis=0).transpose(2, 0, 1)


def _across(direction: np.ndarray) -> np.ndarray:
    """A unit vector orthogonal to the direction."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    across = helper - direction * (helper @ direction)
    return across / np.linalg.norm(across)


def _label(model: ScatteringModel, mu: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{_symbol(n)} = {x:.3g}" for n, x in zip(model.parameters.names, mu, strict=True))


def _symbol(name: str) -> str:
    from rbm.plots import symbol

    return symbol(name)


def _figure(width: float, height: float) -> Any:
    return require("matplotlib.figure", "matplotlib", "drawing a figure").Figure(
        figsize=(width, height), layout="constrained"
    )
