"""Reaction-diffusion in one dimension: the model problem on which the estimators are compared."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from problems.user_input import whole_number
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace

__all__ = ["exact_solution", "reaction_diffusion_1d"]


def reaction_diffusion_1d(n_elements: int = 200, bounds: tuple[float, float] = (1.0, 100.0)) -> FullOrderModel:
    """The model problem -u'' + mu u = 1 on (0, 1) with u(0) = u(1) = 0, by P1 elements of equal length.

    n_elements : their number, at least 2; h = 1 / n_elements
    bounds : range of the parameter mu

    Affine form A(mu) = K + mu M, f parameter-free, with stiffness K and mass M. P = K, so that ||v||_P is the H1_0
    seminorm. beta = 1 for mu >= 0, 1 + mu / pi^2 for mu < 0 (an error from -pi^2 down). The n_elements - 1 unknowns
    are the values at the inner nodes x_i = i h; Dirichlet unknowns are eliminated. Output "mean": the integral of u.

    Raises ModelError for fewer than two elements. See :func:`exact_solution` for the closed form.
    Source: the diffusion case of Casenave, Ern, Lelievre, arXiv 1212.0970; mesh and range are our parameters.

    Examples
    --------
    >>> reaction_diffusion_1d()
    FullOrderModel(199 unknowns, real, 2 operator and 1 right-hand side terms, ParameterSpace(mu in [1, 100], linear), \
outputs mean)
    """
    n_elements = whole_number("n_elements", n_elements, least=2)
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
    """The solution of the continuous problem of :func:`reaction_diffusion_1d`, mu > 0.

    x (J,) and mu, a number or (K, 1), are combined as NumPy does.

    u(x; mu) = (1 - cosh(sqrt(mu) (x - 1/2)) / cosh(sqrt(mu) / 2)) / mu, evaluated without cancellation for small mu as
    2 sinh(sqrt(mu) x / 2) sinh(sqrt(mu) (1 - x) / 2) / (mu cosh(sqrt(mu) / 2)).
    """
    root = np.sqrt(mu)
    return 2 * np.sinh(root * x / 2) * np.sinh(root * (1 - x) / 2) / (mu * np.cosh(root / 2))
