"""Reaction-diffusion in one dimension: the model problem on which the estimators are compared."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from rbm.full_order import FullOrderModel
from rbm.parameters import ParameterSpace

__all__ = ["exact_solution", "reaction_diffusion_1d"]


def reaction_diffusion_1d(n_elements: int = 200, bounds: tuple[float, float] = (1.0, 100.0)) -> FullOrderModel:
    """-u'' + mu u = 1 on (0, 1), u(0) = u(1) = 0, mu in [1, 100]; P1 elements of equal length h = 1 / n_elements.

    Affine form A(mu) = K + mu M, f parameter-free, with stiffness K and mass M; P = K, so that ||v||_P is the H1_0 seminorm
    and beta = 1 for mu >= 0, 1 + mu / pi^2 for mu < 0 (an error from -pi^2 down). The n_elements - 1 interior unknowns are the nodal values at x_i = i h: Dirichlet unknowns are
    eliminated. Output "mean": the integral of u. After the diffusion case of Casenave, Ern, Lelievre, arXiv 1212.0970;
    mesh and range are our parameters.

    Raises ValueError if there are fewer than two elements. See :func:`exact_solution` for the closed form.

    Examples
    --------
    >>> reaction_diffusion_1d()
    FullOrderModel(199 unknowns, real, 2 operator and 1 right-hand side terms, ParameterSpace(mu in [1, 100], linear), outputs mean)
    """
    if n_elements < 2:
        raise ValueError(f"n_elements must be at least 2, got {n_elements}")
    n, h = n_elements - 1, 1 / n_elements
    one = np.ones(n)
    stiffness = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1], format="csr") / h
    mass = sp.diags_array([one[1:], 4 * one, one[1:]], offsets=[-1, 0, 1], format="csr") * (h / 6)
    load = np.full(n, h)
    return FullOrderModel(
        operators=[(1.0, stiffness), ("mu", mass)],
        rhs=[(1.0, load)],
        product=stiffness,
        parameters=ParameterSpace({"mu": bounds}),
        stability="1 - (abs(mu) - mu) / (2 * pi**2)",  # 1 for mu >= 0, and not more than the truth for mu < 0
        outputs={"mean": load},
    )


def exact_solution(x: np.ndarray, mu: np.ndarray | float) -> np.ndarray:
    """u(x; mu) = (1 - cosh(sqrt(mu) (x - 1/2)) / cosh(sqrt(mu) / 2)) / mu of the continuous problem, mu > 0.

    Evaluated as 2 sinh(sqrt(mu) x / 2) sinh(sqrt(mu) (1 - x) / 2) / (mu cosh(sqrt(mu) / 2)), which does not cancel for small mu.
    """
    root = np.sqrt(mu)
    return 2 * np.sinh(root * x / 2) * np.sinh(root * (1 - x) / 2) / (mu * np.cosh(root / 2))
