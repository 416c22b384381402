"""The thermal block in space: stationary heat conduction in a cube made of blocks of different conductivity."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from problems.user_input import whole_number
from rbm.affine.constraints import Constraints
from rbm.errors import ModelError
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace
from rbm.stability.bound import MinTheta

__all__ = ["ELEMENTS", "thermal_block_3d", "thermal_block_3d_mesh"]

#: Kinds of elements, with the classes of scikit-fem: of the mesh, and of linear or trilinear elements on it.
ELEMENTS = {"tetrahedra": ("MeshTet", "ElementTetP1"), "hexahedra": ("MeshHex", "ElementHex1")}


def thermal_block_3d(
    n_elements: int = 18,
    blocks: tuple[int, int, int] = (3, 3, 1),
    bounds: tuple[float, float] = (0.1, 1.0),
    *,
    element: str = "tetrahedra",
    solver: Any = None,
) -> FullOrderModel:
    """Heat conduction -div(k grad u) = 1 in the unit cube, u = 0 on its boundary, with a conductivity per block.

    n_elements : cells per side; unknowns are the (n_elements - 1)^3 inner nodes: 4913 for 18, 68 921 for 42, 274 625
        for 66. All block numbers must divide it: block faces are faces of the mesh
    blocks : number of blocks in x, y and z; k = mu_i on block i = ix + blocks[0] (iy + blocks[1] iz), parameter
        "k{i+1}"
    bounds : range of every conductivity
    element : "tetrahedra", linear, or "hexahedra", trilinear
    solver : as for :class:`rbm.FullOrderModel`; a factorisation by SuperLU takes far more time and memory than one for
        as many unknowns in the plane

    Affine form A(mu) = sum_i mu_i A_i, f parameter-free; P = sum_i A_i, so that ||v||_P is the H1_0 seminorm and the
    min-theta bound beta = min_i mu_i is rigorous and sharp. Output "mean": the mean temperature, which is compliant.

    Raises ModelError for blocks that are not three positive numbers or do not fit the mesh, and for other elements.
    """
    try:
        numbers = [whole_number("blocks", b, least=1) for b in blocks]
        if len(numbers) != 3:
            raise ValueError
    except (TypeError, ValueError):
        raise ModelError(f"blocks must be three positive whole numbers, got {blocks!r}") from None
    n_elements = whole_number("n_elements", n_elements, least=1)
    if any(n_elements % b for b in numbers) or n_elements < 2:
        raise ModelError(f"n_elements = {n_elements} must be at least 2 and a multiple of all block numbers {blocks}")
    skfem, poisson = (require(m, "scikit-fem", "thermal_block_3d") for m in ("skfem", "skfem.models.poisson"))
    mesh = thermal_block_3d_mesh(n_elements, element)
    kind = getattr(skfem, ELEMENTS[element][1])()

    inner = mesh.interior_nodes()
    centre = np.floor(mesh.p[:, mesh.t].mean(axis=1) * np.array(numbers)[:, None]).astype(int)
    block = centre[0] + numbers[0] * (centre[1] + numbers[1] * centre[2])
    terms, total = [], np.zeros(mesh.p.shape[1])
    for i in range(int(np.prod(numbers))):
        basis = skfem.Basis(mesh, kind, elements=np.flatnonzero(block == i))
        terms.append(sp.csr_array(sp.csr_array(poisson.laplace.assemble(basis))[inner][:, inner]))
        total += poisson.unit_load.assemble(basis)
    names = [f"k{i + 1}" for i in range(len(terms))]
    f = total[inner]
    return FullOrderModel(
        operators=list(zip(names, terms, strict=True)),
        rhs=[(1.0, f)],
        product=sum(terms[1:], start=terms[0]),
        parameters=ParameterSpace(dict.fromkeys(names, bounds)),
        stability=MinTheta(reference=[1.0] * len(terms)),
        outputs={"mean": f},
        solver=solver,
        constraints=Constraints(inner, np.setdiff1d(np.arange(mesh.p.shape[1]), inner)),
    )


def thermal_block_3d_mesh(n_elements: int = 18, element: str = "tetrahedra"):  # type: ignore[no-untyped-def]
    """The mesh of :func:`thermal_block_3d`, a mesh of scikit-fem; the unknowns are its inner nodes, in their order.

    Raises ModelError for other elements.
    """
    skfem = require("skfem", "scikit-fem", "thermal_block_3d_mesh")
    if element not in ELEMENTS:
        raise ModelError(f"element must be one of {', '.join(map(repr, ELEMENTS))}, got {element!r}")
    grid = np.linspace(0, 1, whole_number("n_elements", n_elements, least=1) + 1)
    return getattr(skfem, ELEMENTS[element][0]).init_tensor(grid, grid, grid)
