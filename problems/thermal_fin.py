"""The thermal fin: a post with four pairs of plates that give off its heat."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from problems.user_input import whole_number
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace
from rbm.stability.bound import MinTheta

__all__ = ["thermal_fin", "thermal_fin_basis", "thermal_fin_mesh"]

HEIGHT, HALF_WIDTH = 4.0, 0.5  #: of the post, which is 1 wide
LENGTH, THICKNESS = 2.5, 0.25  #: of a fin; the upper edges of the four pairs are at heights 1, 2, 3 and 4
CONDUCTIVITIES, BIOT = (0.1, 10.0), (0.01, 1.0)
#: The Biot number at which the energy is the inner product; all conductivities are one there.
REFERENCE_BIOT = 0.1


def thermal_fin(refinement: int = 4) -> FullOrderModel:
    """Steady heat flow through a fin: from the root of the post through the fins into the air.

    refinement : squares across the thickness of a fin, each cut into four triangles by its diagonals; all unknowns are
        kept, the values at the nodes (5009 for 4)

    The post is 1 x 4, and each of its four pairs of fins 2.5 x 0.25 a side. -div(k grad u) = 0, with the conductivity
    k = 1 in the post and k1 to k4 in the pairs, from below; unit heat flux into the root, the post's lower edge; and
    k du/dn = -Bi u on the rest of the boundary.

    Parameters k1, .., k4 in [0.1, 10] and Bi in [0.01, 1], logarithmic. Affine form A(mu) = A_0 + sum_i k_i A_i + Bi B
    with B the mass of the boundary, f parameter-free; P = A_0 + sum_i A_i + 0.1 B, for which the min-theta bound
    min(1, k_i, Bi / 0.1) is rigorous. Output "T_root": the integral of u over the root, which is compliant (l = f):
    it increases under refinement, by the square of the energy of what is added.

    Raises ModelError for a refinement that is no positive whole number.
    Source: the fin problem of A. T. Patera's course 16.920 at MIT; T_root = 1.53107, 1.535071 and 1.536266 on the three
    triangulations handed out there, at k = 1.5 and Bi = 0.1.
    """
    skfem, poisson = (require(m, "scikit-fem", "thermal_fin") for m in ("skfem", "skfem.models.poisson"))
    mesh = thermal_fin_mesh(refinement)
    element = skfem.ElementTriP1()

    part = _parts(mesh)
    terms = [
        poisson.laplace.assemble(skfem.Basis(mesh, element, elements=np.flatnonzero(part == i))).tocsr()
        for i in range(5)
    ]
    root = mesh.facets_satisfying(lambda x: x[1] < 1e-9, boundaries_only=True)
    air = np.setdiff1d(mesh.boundary_facets(), root)
    terms.append(poisson.mass.assemble(skfem.FacetBasis(mesh, element, facets=air)).tocsr())
    f = poisson.unit_load.assemble(skfem.FacetBasis(mesh, element, facets=root))
    matrices = [sp.csr_array(a) for a in terms]
    reference = [1.0] * 4 + [REFERENCE_BIOT]
    names = [f"k{i}" for i in range(1, 5)]
    return FullOrderModel(
        operators=list(zip([1.0, *names, "Bi"], matrices, strict=True)),
        rhs=[(1.0, f)],
        product=sum((r * a for r, a in zip(reference, matrices[1:], strict=True)), start=matrices[0]),
        parameters=ParameterSpace({**dict.fromkeys(names, CONDUCTIVITIES), "Bi": BIOT}, scale="log"),
        stability=MinTheta(reference=reference),
        outputs={"T_root": f},
    )


def thermal_fin_basis(refinement: int = 4) -> Any:
    """The ``skfem.Basis`` of :func:`thermal_fin`, for fields of its solutions."""
    skfem = require("skfem", "scikit-fem", "thermal_fin_basis")
    return skfem.Basis(thermal_fin_mesh(refinement), skfem.ElementTriP1())


def thermal_fin_mesh(refinement: int = 4) -> Any:
    """The mesh of :func:`thermal_fin`, a ``skfem.MeshTri``; the unknowns are its nodes, in their order."""
    skfem = require("skfem", "scikit-fem", "thermal_fin_mesh")
    cells = whole_number("refinement", refinement, least=1)
    per_unit = round(cells / THICKNESS)
    reach = HALF_WIDTH + LENGTH
    x = np.linspace(-reach, reach, round(2 * reach * per_unit) + 1)
    mesh = skfem.MeshQuad.init_tensor(x, np.linspace(0, HEIGHT, round(HEIGHT * per_unit) + 1))
    return mesh.restrict(np.flatnonzero(_parts(mesh) >= 0)).to_meshtri(style="x")


def _parts(mesh: Any) -> np.ndarray:
    """Return for each element 0 in the post, 1 to 4 in a pair of fins, and -1 elsewhere."""
    x, y = mesh.p[:, mesh.t].mean(axis=1)
    level = np.floor(y).astype(int)
    fin = np.where(y - level > 1 - THICKNESS, level + 1, -1)
    return np.where(np.abs(x) < HALF_WIDTH, 0, fin)
