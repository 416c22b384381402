"""The thermal fin in time: it is heated at its root, by a flux that is the control, and cooled by the air."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from problems.thermal_fin import HALF_WIDTH, LENGTH, THICKNESS, thermal_fin, thermal_fin_mesh
from rbm.time.model import TimeModel

__all__ = ["cooling_fin"]


def cooling_fin(
    refinement: int = 2, *, dt: float = 0.1, steps: int = 100, control: Any = None, theta: float = 1.0
) -> TimeModel:
    """Heat flow through a fin in time: u_t - div(k grad u) = 0, u = 0 at first, flux g_k into the root.

    refinement : squares across the thickness of a fin, as for :func:`thermal_fin`, whose mesh it is (1353 unknowns for
        2, 5009 for 4)
    dt, steps, theta : length of a step, their number K, and the scheme, as for :class:`rbm.TimeModel`
    control : flux g (K,) into the root, ones by default

    Geometry, conductivities k1 to k4 in [0.1, 10] of the pairs, 1 of the post, and the exchange of heat with the air,
    Bi in [0.01, 1], are those of :func:`thermal_fin`; the capacity of heat is 1. So M is the mass matrix, A(mu) and f
    are those of the steady fin, to whose solution u^k tends where g_k = 1. P = A at k_i = 1 and Bi = 0.1, in whose norm
    min(1, k_i, Bi / 0.1) bounds the coercivity constant. The slowest mode takes a time of about 0.18 / Bi for small Bi.

    Outputs: "T_root", the integral of u over the root, which is 1 wide; "T_tip", the mean over both outer edges of the
    uppermost pair; "T_mean", the mean over the fin, a ninth of the heat in it. Bounds of outputs are proportional to
    ||l|| in the dual of the mass: 1/3 for T_mean, and h^{-1/2} times some number for values on edges.

    Raises ModelError for a refinement that is no positive whole number, and what :class:`rbm.TimeModel` raises.
    Source: the fin problem of A. T. Patera's course 16.920 at MIT, which poses it in time as well.
    """
    skfem, poisson = (require(m, "scikit-fem", "cooling_fin") for m in ("skfem", "skfem.models.poisson"))
    steady = thermal_fin(refinement)
    mesh, element = thermal_fin_mesh(refinement), skfem.ElementTriP1()

    @skfem.LinearForm
    def edge(v, _):  # type: ignore[no-untyped-def]
        return 1.0 * v

    tips = mesh.facets_satisfying(lambda x: np.abs(x[0]) > HALF_WIDTH + LENGTH - 1e-9, boundaries_only=True)
    upper = tips[mesh.p[1, mesh.facets[:, tips]].min(axis=0) > 3.0]  # the lower edges of the pairs are at 0.75 + i
    tip = edge.assemble(skfem.FacetBasis(mesh, element, facets=upper)) / (2 * THICKNESS)
    mass = sp.csr_array(poisson.mass.assemble(skfem.Basis(mesh, element)))
    mean = mass @ np.ones(mass.shape[0])
    return TimeModel(
        mass=mass,
        operators=list(zip(steady.operator_coefficients.sources, steady.operator_terms, strict=True)),
        rhs=[(1.0, steady.rhs_terms[:, 0])],
        product=steady.product,
        parameters=steady.parameters,
        stability=steady.stability,
        dt=dt,
        steps=steps,
        control=control,
        theta=theta,
        outputs={"T_root": steady.rhs_terms[:, 0], "T_tip": tip, "T_mean": mean / mean.sum()},
    )
