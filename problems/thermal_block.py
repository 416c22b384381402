"""The thermal block: stationary heat conduction in a square made of blocks of different conductivity."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from problems.user_input import whole_number
from rbm.affine.constraints import Constraints
from rbm.errors import ModelError
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace
from rbm.solvers.user_code import Solver
from rbm.stability.bound import MinTheta

__all__ = ["thermal_block", "thermal_block_basis", "thermal_block_mesh"]


def thermal_block(
    blocks: tuple[int, int] = (3, 3),
    n_elements: int = 60,
    bounds: tuple[float, float] = (0.1, 1.0),
    *,
    solver: Solver | str | None = None,
) -> FullOrderModel:
    """Heat conduction -div(k grad u) = 1 in the unit square, u = 0 on its boundary, with a conductivity per block.

    blocks : number of blocks in x and in y; k = mu_i on block i = column + row * blocks[0], parameter "k{i+1}"
    n_elements : cells per side, each cut into four triangles by its diagonals; block edges are mesh edges, so both
        block numbers must divide it. Unknowns of the P1 elements: the inner nodes, 2 n_elements^2 - 2 n_elements + 1
        (7081 for 60)
    bounds : range of every conductivity
    solver : of :class:`rbm.FullOrderModel`

    Affine form A(mu) = sum_i mu_i A_i, f parameter-free; P = sum_i A_i, so that ||v||_P is the H1_0 seminorm and the
    min-theta bound beta = min_i mu_i is rigorous and sharp. Output "mean": the mean temperature, which is compliant.

    Raises ModelError for blocks that are not a positive pair or do not fit the mesh.
    """
    try:
        nx, ny = (whole_number("blocks", b, least=1) for b in blocks)
    except (TypeError, ValueError):
        raise ModelError(f"blocks must be a pair of positive whole numbers, got {blocks!r}") from None
    n_elements = whole_number("n_elements", n_elements, least=1)
    if n_elements % nx or n_elements % ny or n_elements < 2:
        raise ModelError(f"n_elements = {n_elements} must be at least 2 and a multiple of both block numbers {blocks}")
    skfem, poisson = (require(m, "scikit-fem", "thermal_block") for m in ("skfem", "skfem.models.poisson"))
    basis = thermal_block_basis(n_elements)
    mesh, element = basis.mesh, basis.elem
    edge = basis.get_dofs().flatten()
    inner = basis.complement_dofs(edge)

    x, y = mesh.p[:, mesh.t].mean(axis=1)
    block = np.floor(x * nx).astype(int) + nx * np.floor(y * ny).astype(int)
    terms = []
    for i in range(nx * ny):
        matrix = poisson.laplace.assemble(skfem.Basis(mesh, element, elements=np.flatnonzero(block == i)))
        terms.append(sp.csr_array(matrix)[inner][:, inner])
    product = sum(terms[1:], start=terms[0])
    names = [f"k{i + 1}" for i in range(nx * ny)]
    f = poisson.unit_load.assemble(basis)[inner]
    return FullOrderModel(
        operators=list(zip(names, terms, strict=True)),
        rhs=[(1.0, f)],
        product=product,
        parameters=ParameterSpace(dict.fromkeys(names, bounds)),
        stability=MinTheta(reference=[1.0] * (nx * ny)),
        outputs={"mean": f},
        solver=solver,
        constraints=Constraints(inner, np.sort(edge)),
    )


def thermal_block_basis(n_elements: int = 60):  # type: ignore[no-untyped-def]
    """The ``skfem.Basis`` of :func:`thermal_block`, for fields of its solutions, the boundary included."""
    skfem = require("skfem", "scikit-fem", "thermal_block_basis")
    return skfem.Basis(thermal_block_mesh(n_elements), skfem.ElementTriP1())


def thermal_block_mesh(n_elements: int = 60):  # type: ignore[no-untyped-def]
    """The mesh of :func:`thermal_block`, a ``skfem.MeshTri``; the unknowns are its inner nodes, in their order."""
    skfem = require("skfem", "scikit-fem", "thermal_block_mesh")
    grid = np.linspace(0, 1, whole_number("n_elements", n_elements, least=1) + 1)
    return skfem.MeshQuad.init_tensor(grid, grid).to_meshtri(style="x")
