"""The figures of docs/uncertainty.md and docs/sensors.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.uncertainty import STEP, TRUE, fin

__all__ = ["figures"]


def figures(folder: str) -> None:
    """Draw a posterior with Sobol indices, and a temperature from twenty sensors, in the folder."""
    import rbm
    from rbm.show.axes import drawing

    target = Path(folder)
    model, _, found = fin(30)
    chain = found.chain(model, 3000, chains=16, step=STEP, rng=5)
    figure = drawing("figure").Figure(figsize=(9.0, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    rbm.plots.marginal(chain, found.space, "Bi", discard=200, ax=left)
    left.axvline(TRUE[-1], color="black", lw=0.8, ls="--")
    rbm.plots.sobol_intervals(rbm.sobol_indices(fin(15)[1], "T_root", 1024), ax=right)
    rbm.plots.save(figure, target / "uncertainty")
    print(chain)

    model, reduced, _ = fin(10)
    from problems.thermal_fin import thermal_fin_mesh

    mesh = thermal_fin_mesh()
    placed = rbm.place_sensors(reduced, 20)
    seen = rbm.pbdw(reduced, placed)
    u = model.solve(TRUE)[0]
    state = seen.estimate(u[placed]).states[0]
    labels = ["temperature", "from 20 sensors", "10 x difference"]
    picture = rbm.plots.solutions_on_mesh(mesh.p, mesh.t, np.array([u, state, 10 * np.abs(state - u)]), labels)
    for ax in picture.axes[:3]:
        ax.plot(*mesh.p[:, placed], ls="none", marker="o", ms=3, mfc="none", mec="#D55E00")
    rbm.plots.save(picture, target / "sensors")
    print(
        seen, float(model.inner_product.norm((state - u)[:, None])[0]), float(model.inner_product.norm(u[:, None])[0])
    )
