"""The models of the first two reduced basis examples of libMesh, whose console output is published.

Bilinear squares on the unit square, integrated exactly; unknowns on Dirichlet boundaries are eliminated.
Source: libMesh, reduced_basis_ex1 and reduced_basis_ex2 (definition of the problems; assembled here anew).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import skfem

ORDER = {"intorder": 3}


@skfem.BilinearForm
def conduction(u: Any, v: Any, _: Any) -> Any:
    return u.grad[0] * v.grad[0] + u.grad[1] * v.grad[1]


@skfem.BilinearForm
def mass(u: Any, v: Any, _: Any) -> Any:
    return u * v


@skfem.BilinearForm
def transport(u: Any, v: Any, w: Any) -> Any:
    return u.grad[w.axis] * v


@skfem.BilinearForm
def adjoint_transport(u: Any, v: Any, _: Any) -> Any:
    return -u * v.grad[0]


@skfem.LinearForm
def load(v: Any, _: Any) -> Any:
    return 1.0 * v


class Square:
    """n x n bilinear squares, and the unknowns that are kept."""

    def __init__(self, n: int, dirichlet: str) -> None:
        grid = np.linspace(0, 1, n + 1)
        self.mesh = skfem.MeshQuad.init_tensor(grid, grid)
        self.basis = skfem.Basis(self.mesh, skfem.ElementQuad1(), **ORDER)
        x, y = self.basis.doflocs
        walls = {"left": x, "all": np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))}
        self.free = np.flatnonzero(walls[dirichlet] > 1e-9)

    def part(self, left: float, right: float, bottom: float = 0.0, top: float = 1.0) -> Any:
        """The elements whose midpoints lie in a rectangle."""
        x, y = self.mesh.p[:, self.mesh.t].mean(axis=1)
        inside = (left <= x) & (x <= right) & (bottom <= y) & (y <= top)
        return skfem.Basis(self.mesh, skfem.ElementQuad1(), elements=np.flatnonzero(inside), **ORDER)

    def matrix(self, form: Any, on: Any = None, **data: Any) -> Any:
        return sp.csr_array(form.assemble(on or self.basis, **data))[self.free][:, self.free]

    def vector(self, on: Any = None) -> np.ndarray:
        return load.assemble(on or self.basis)[self.free]

    def means(self, boxes: Sequence[tuple[float, float, float, float]]) -> dict[str, np.ndarray]:
        """Mean values over rectangles."""
        areas = [(box[1] - box[0]) * (box[3] - box[2]) for box in boxes]
        return {
            f"s{k}": self.vector(self.part(*box)) / area for k, (box, area) in enumerate(zip(boxes, areas, strict=True))
        }


def first_example() -> dict[str, Any]:
    """-0.05 Laplace(u) + x u_x + y u_y = 1, u = 0 on the boundary; arguments of a FullOrderModel."""
    square = Square(50, "all")
    stiffness = square.matrix(conduction)
    axes = [square.matrix(transport, axis=k) for k in (0, 1)]
    boxes = [(0.7, 0.8, 0.7, 0.8), (0.2, 0.3, 0.7, 0.8), (0.2, 0.3, 0.2, 0.3), (0.7, 0.8, 0.2, 0.3)]
    return {
        "operators": [(0.05, stiffness), ("x", axes[0]), ("y", axes[1])],
        "rhs": [(1.0, square.vector())],
        "product": stiffness,
        "parameters": {"x": (-2.0, 2.0), "y": (-2.0, 2.0)},
        "stability": 0.05,
        "outputs": square.means(boxes),
    }


def second_example(n: int = 25) -> dict[str, Any]:
    """a (grad u, grad v) on the left, b (grad u, grad v) on the right half, - c (u, v_x) = (1, v); u = 0 at x = 0."""
    square = Square(n, "left")
    # elements whose midpoint is on the line between them belong to the right
    halves = [square.matrix(conduction, square.part(*ends)) for ends in ((0.0, 0.5 - 1e-9), (0.5 - 1e-9, 1.0))]
    boxes = [(0.72, 0.88, 0.72, 0.88), (0.12, 0.28, 0.72, 0.88), (0.12, 0.28, 0.12, 0.28), (0.72, 0.88, 0.12, 0.28)]
    return {
        "operators": [("a", halves[0]), ("b", halves[1]), ("c", square.matrix(adjoint_transport))],
        "rhs": [(1.0, square.vector())],
        "product": square.matrix(conduction) + square.matrix(mass),
        "parameters": {"a": (0.1, 1.0), "b": (0.1, 1.0), "c": (0.01, 0.1)},
        "outputs": square.means(boxes),
    }
