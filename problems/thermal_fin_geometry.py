"""The thermal fin with the length and the thickness of its plates as parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from problems.geometry import MappedBlocks, mapped_grid, merged_terms
from problems.thermal_fin import (
    BIOT,
    CONDUCTIVITIES,
    HALF_WIDTH,
    HEIGHT,
    LENGTH,
    REFERENCE_BIOT,
    THICKNESS,
    thermal_fin_mesh,
)
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace
from rbm.stability.bound import MinTheta

__all__ = ["thermal_fin_domain", "thermal_fin_geometry"]

LENGTHS, THICKNESSES = (2.0, 3.0), (0.1, 0.5)


def thermal_fin_geometry(refinement: int = 4) -> FullOrderModel:
    """Steady heat flow through a fin whose plates have the length L and the thickness t.

    refinement : as for :func:`thermal_fin`, on whose mesh the unknowns are (5009 for 4): that of L = 2.5, t = 0.25

    The equations are those of :func:`thermal_fin`. The post stays 1 x 4, and the upper edges of the plates stay at the
    heights 1, 2, 3 and 4. Parameters k1, .., k4 in [0.1, 10], Bi in [0.01, 1], L in [2, 3], t in [0.1, 0.5], all
    logarithmic. The domain is a grid of 3 columns and 8 rows, L, 1, L wide and 1 - t, t, 1 - t, .. high. Of 65 terms of
    its cells and edges 16 are left with coefficients of their own,

        1 - t, 1 / (1 - t), t, 1 / t;   k_i t / L, k_i L / t;   Bi, Bi (1 - t), Bi L, Bi t,

    all positive, with semi-definite matrices: the min-theta bound is rigorous. P = A at k_i = 1, Bi = 0.1, L = 2.5 and
    t = 0.25, the product of :func:`thermal_fin`. Output "T_root", compliant: the integral of u over the root.

    Raises ModelError for a refinement that is no positive whole number.
    Source: as :func:`thermal_fin`; length and thickness as parameters: C. Prud'homme and others, J. Fluids Eng. 124
    (2002) 70-80.
    """
    domain = thermal_fin_domain(refinement)
    mesh = domain.mesh
    root = mesh.facets_satisfying(lambda x: x[1] < 1e-9, boundaries_only=True)
    air = np.setdiff1d(mesh.boundary_facets(), root)
    pairs = {f"pair{i}": f"k{i}" for i in range(1, 5)}
    operators = merged_terms(domain.diffusion({"post": 1.0, **pairs}) + domain.boundary_mass("Bi", air))
    rhs = merged_terms(domain.boundary_source(1.0, root))
    reference = [1.0] * 4 + [REFERENCE_BIOT, LENGTH, THICKNESS]
    return FullOrderModel(
        operators=operators,
        rhs=rhs,
        product=domain.assemble(operators, reference),
        parameters=domain.parameters,
        stability=MinTheta(reference=reference),
        outputs={"T_root": rhs[0][1]},
    )


def thermal_fin_domain(refinement: int = 4) -> MappedBlocks:
    """The mapped mesh of :func:`thermal_fin_geometry`, with the blocks "post" and "pair1" to "pair4".

    >>> thermal_fin_domain(1).mesh_at([1, 1, 1, 1, 0.1, 3, 0.5]).p.max(axis=1)
    array([3.5, 4. ])
    """
    mesh: Any = thermal_fin_mesh(refinement)
    levels = range(int(HEIGHT))
    cells = {"post": [(1, row) for row in range(2 * len(levels))]}
    for i in levels:
        cells[f"pair{i + 1}"] = [(0, 2 * i + 1), (2, 2 * i + 1)]
    names = [f"k{i + 1}" for i in levels]
    ranges = {**dict.fromkeys(names, CONDUCTIVITIES), "Bi": BIOT, "L": LENGTHS, "t": THICKNESSES}
    return mapped_grid(
        mesh,
        columns=[(LENGTH, "L"), (2 * HALF_WIDTH, 1), (LENGTH, "L")],
        rows=[(1 - THICKNESS, "1 - t"), (THICKNESS, "t")] * len(levels),
        parameters=ParameterSpace(ranges, scale="log"),
        origin=((-LENGTH - HALF_WIDTH, 0), ("-L - 0.5", 0)),
        blocks=cells,
    )
