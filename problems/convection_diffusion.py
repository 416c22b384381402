"""Convection and diffusion in a square, with the velocity as parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.optional import require
from problems.interval import Interval, on_rectangle
from problems.user_input import whole_number
from rbm.affine.constraints import Constraints
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace

__all__ = ["convection_diffusion", "convection_diffusion_basis"]

DIFFUSION = 0.05
#: Squares over which the solution is averaged: the intervals in x and in y.
WINDOWS = {
    "upper_right": ((0.7, 0.8), (0.7, 0.8)),
    "upper_left": ((0.2, 0.3), (0.7, 0.8)),
    "lower_left": ((0.2, 0.3), (0.2, 0.3)),
    "lower_right": ((0.7, 0.8), (0.2, 0.3)),
}


def convection_diffusion(n: int = 50, bounds: tuple[float, float] = (-2.0, 2.0)) -> FullOrderModel:
    """Convection and diffusion -0.05 Laplace(u) + vx u_x + vy u_y = 1 in the unit square, u = 0 on its boundary.

    n : bilinear squares per side, at least 2; the (n - 1)^2 unknowns are the values at the inner nodes, x first
    bounds : range of both components vx and vy of the velocity, which is constant in the square

    Affine form A(mu) = 0.05 K + vx C_x + vy C_y, f parameter-free; P = K, so that ||v||_P is the H1_0 seminorm. C_x and
    C_y are skew-symmetric, hence v^T A v = 0.05 ||v||_P^2: the coercivity constant is 0.05 for all velocities, and a
    lower bound of the inf-sup constant. Outputs "upper_right", "upper_left", "lower_left", "lower_right": means over
    the squares of side 0.1 whose midpoints have the coordinates 0.25 and 0.75.

    Raises ModelError for fewer than two squares per side.
    Source: the first reduced basis example of libMesh, whose greedy run and online answers are published for n = 50.

    Examples
    --------
    >>> convection_diffusion(10)
    FullOrderModel(81 unknowns, real, 3 operator and 1 right-hand side terms, \
ParameterSpace(vx in [-2, 2], vy in [-2, 2], linear), outputs upper_right, upper_left, lower_left, lower_right)
    """
    side = Interval(whole_number("n", n, least=2), 1.0)
    inner = slice(1, -1)
    stiffness, mass, transport = (a[inner, inner] for a in (side.stiffness, side.mass, side.transport))
    product = on_rectangle(stiffness, mass) + on_rectangle(mass, stiffness)
    means = {
        name: on_rectangle(*(side.load(low, high)[inner] / (high - low) for low, high in window))
        for name, window in WINDOWS.items()
    }
    free = np.zeros((n + 1, n + 1), dtype=bool)
    free[inner, inner] = True
    return FullOrderModel(
        operators=[
            (DIFFUSION, product),
            ("vx", on_rectangle(transport, mass)),
            ("vy", on_rectangle(mass, transport)),
        ],
        rhs=[(1.0, np.full((n - 1) ** 2, side.h**2))],
        product=product,
        parameters=ParameterSpace({"vx": bounds, "vy": bounds}),
        stability=DIFFUSION,
        outputs=means,
        constraints=Constraints(np.flatnonzero(free), np.flatnonzero(~free)),
    )


def convection_diffusion_basis(n: int = 50) -> Any:
    """The ``skfem.Basis`` of :func:`convection_diffusion`, for fields of its solutions, the boundary included."""
    skfem = require("skfem", "scikit-fem", "convection_diffusion_basis")
    line = np.linspace(0, 1, whole_number("n", n, least=2) + 1)
    first = (np.arange(n) + (n + 1) * np.arange(n)[:, None]).ravel()  # the lower left node of each square, x first
    squares = np.stack([first, first + 1, first + n + 2, first + n + 1])
    nodes = np.stack([np.tile(line, n + 1), np.repeat(line, n + 1)])
    return skfem.Basis(skfem.MeshQuad(nodes, squares), skfem.ElementQuad1())
