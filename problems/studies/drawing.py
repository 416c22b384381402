"""The figures of a study: estimators, effectivities, selected parameters, and solutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import rbm
from lowrank.full_pivoting import SATURATION
from problems.studies.comparison import Comparison, Study
from problems.thermal_block import thermal_block_mesh
from problems.thermal_fin import thermal_fin_mesh
from problems.thermal_fin_geometry import thermal_fin_domain
from rbm import FullOrderModel, GreedyResult, plots

__all__ = ["diffusion_solutions", "figures", "fin_shapes", "fin_solutions", "thermal_solutions"]

#: Text that can be read on dark and on bright colours.
READABLE: dict[str, Any] = {"color": "white", "bbox": {"facecolor": "black", "alpha": 0.45, "lw": 0, "pad": 1.5}}


def figures(
    study: Study,
    model: FullOrderModel,
    result: GreedyResult,
    comparison: Comparison,
    out: Path,
    size: int | None = None,
) -> None:
    """Draw all figures of a study, and save them in the folder `out`; size : of the model, None for the study's."""
    sizes = list(comparison.errors)
    errors = [float(comparison.errors[n].max()) for n in sizes]
    plots.save(plots.estimators_over_size(sizes, errors, comparison.estimates), out / "estimators")
    ratios: dict[str, dict[int, np.ndarray]] = {
        m: {n: e.bound / comparison.errors[n] for n, e in comparison.estimates[m].items()}
        for m in ("expanded", "orthonormal")
        if m in comparison.estimates
    }
    plots.save(plots.effectivity(sizes, ratios), out / "effectivity")
    plots.save(plots.selected_parameters(result.parameters, model.parameters), out / "selected_parameters")
    for name, figure in study.figures(model, result.reduced_model, size).items():
        plots.save(figure, out / name)
    if len(model.parameters) == 1:
        for n in sizes[len(sizes) // 2 :: 2]:
            per_method = {m: per[n] for m, per in comparison.estimates.items() if n in per}
            ax = plots.estimators_over_parameter(comparison.mus[:, 0], comparison.errors[n], per_method)
            ax.set_title(f"$N = {n}$")
            plots.save(ax, out / f"estimators_over_mu_N{n}")
    if comparison.decay:
        ax = plots.eim_decay(comparison.decay, round_off=SATURATION * np.finfo(float).eps / 2)
        ax.set_ylabel(r"$\max |X - I_r X| \,/\, \max |X|$")
        plots.save(ax, out / "eim_decay")


def diffusion_solutions(model: FullOrderModel, reduced: rbm.ReducedModel, size: int | None = None) -> dict[str, Any]:
    """Solutions of the diffusion study at four parameter points."""
    n = reduced.basis.shape[0]  # type: ignore[union-attr]
    mus = np.array([[1.0], [10.0], [30.0], [100.0]])
    u = reduced.reconstruct(reduced.solve(mus).coefficients)
    x = np.linspace(0, 1, n + 2)
    return {"solutions": plots.solutions(x, np.pad(u, ((0, 0), (1, 1))), [rf"$\mu = {m:g}$" for m in mus[:, 0]])}


def thermal_solutions(model: FullOrderModel, reduced: rbm.ReducedModel, size: int | None = None) -> dict[str, Any]:
    """Temperatures of the thermal block at three parameter points, with the conductivities of its blocks."""
    mesh = thermal_block_mesh(size or 60)
    inner = np.setdiff1d(np.arange(mesh.p.shape[1]), mesh.boundary_nodes())
    mus = reduced.parameters.sample(3, "random", rng=3)
    u = np.zeros((len(mus), mesh.p.shape[1]))
    u[:, inner] = reduced.reconstruct(reduced.solve(mus).coefficients)
    figure = plots.solutions_on_mesh(mesh.p, mesh.t, u, ["conductivity of each block"] * len(mus))
    for mu, ax in zip(mus, figure.axes, strict=False):
        for i, k in enumerate(mu):
            ax.text((i % 3 + 0.5) / 3, (i // 3 + 0.5) / 3, f"{k:.2f}", ha="center", va="center", fontsize=8, **READABLE)
        for edge in (1 / 3, 2 / 3):
            ax.axvline(edge, color="white", lw=0.5)
            ax.axhline(edge, color="white", lw=0.5)
    return {"solutions": figure}


def fin_solutions(model: FullOrderModel, reduced: rbm.ReducedModel, size: int | None = None) -> dict[str, Any]:
    """Temperatures of the thermal fin: poor and good plates, in still and in moving air."""
    mesh = thermal_fin_mesh(size or 4)
    mus = np.array([[0.3, 0.3, 0.3, 0.3, 0.05], [8.0, 8.0, 8.0, 8.0, 0.05], [8.0, 0.3, 8.0, 0.3, 0.15]])
    u = reduced.reconstruct(reduced.solve(mus).coefficients)
    titles = [f"$k_1, k_3 = {m[0]:g}$, $k_2, k_4 = {m[1]:g}$\n$\\mathrm{{Bi}} = {m[4]:g}$" for m in mus]
    return {"solutions": plots.solutions_on_mesh(mesh.p, mesh.t, u, titles)}


def fin_shapes(model: FullOrderModel, reduced: rbm.ReducedModel, size: int | None = None) -> dict[str, Any]:
    """Temperatures of fins of three shapes, each on its own mesh."""
    domain = thermal_fin_domain(size or 2)
    mus = np.array([[2, 2, 2, 2, 0.1, 2.0, 0.1], [2, 2, 2, 2, 0.1, 2.5, 0.25], [2, 2, 2, 2, 0.1, 3.0, 0.5]])
    u = reduced.reconstruct(reduced.solve(mus).coefficients)
    names = ("short_and_thin", "reference", "long_and_thick")
    return {
        f"solution_{name}": plots.solutions_on_mesh(
            domain.nodes(mu), domain.mesh.t, row[None], [f"$L = {mu[5]:g}$, $t = {mu[6]:g}$"]
        )
        for name, mu, row in zip(names, mus, u, strict=True)
    }
