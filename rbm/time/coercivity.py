"""Lower bounds of the coercivity constant: which of the stability bounds are ones, and a check at samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.system import AffineSystem
from rbm.errors import StabilityError, refused
from rbm.full_order import FullOrderModel
from rbm.parameters.space import ParameterSpace
from rbm.solvers.definite import dense, hermitian_part, norm_bound
from rbm.solvers.inertia import inertia
from rbm.stability import Anchored, NaturalNorm
from rbm.stability.anchored_bound import BoundAnchored
from rbm.stability.bound import StabilityBound, evaluated
from rbm.stability.natural_bound import BoundNaturalNorm
from rbm.stability.pencil import BoundPencil

__all__ = ["check_coercivity", "check_kind", "coercivity"]

#: Relative amount by which a bound may be above the constant before it is called too large.
SLACK = 1e-8


def coercivity(bound: StabilityBound, mus: np.ndarray, theta: np.ndarray, parameters: ParameterSpace) -> np.ndarray:
    """Return alpha (M,), checked; of a pencil, whose constant is that of inf-sup, only where the two are the same.

    Raises StabilityError where alpha is not a positive number, and for a pencil with an eigenvalue that is not positive
    or not real.
    """
    check_kind(bound)
    alpha = evaluated(bound, mus, theta, parameters)
    if isinstance(bound, BoundPencil):
        first, second = (theta @ weights for weights in (bound.alphas, bound.kappas))
        ends = np.concatenate([bound.eigenvalues, bound.rest])
        good = (np.imag(first) == 0) & (np.imag(second) == 0)
        good &= np.all(np.real(first)[:, None] + np.real(second)[:, None] * ends > 0, axis=1)
        if not np.all(good):

            def message(i: int, where: str) -> str:
                at = f"{parameters.describe(mus[i])} ({where})"
                return (
                    f"the operator is not coercive at {at}, or not real: the constant of its pencil is one of inf-sup, "
                    "and no bound in time rests on it; TimeModel.space_time() has one for such operators"
                )

            raise refused(StabilityError, ~good, message)
    return alpha


def check_kind(bound: object) -> None:
    """Raise StabilityError for a bound of the inf-sup constant, asked for or already bound to a model."""
    if isinstance(bound, NaturalNorm | Anchored | BoundNaturalNorm | BoundAnchored):
        raise StabilityError(
            f"{type(bound).__name__} bounds an inf-sup constant; the bounds of a TimeModel need one of coercivity, "
            "Re (A v, v) >= alpha (P v, v): a number, an expression, MinTheta, SCM or Pencil. For an operator that is "
            "not coercive there is TimeModel.space_time()"
        )


def check_coercivity(model: FullOrderModel, mus: np.ndarray) -> str | None:
    """Return what was found at mus (M, p): (A + A^H) / 2 - alpha P has positive pivots only; None where none is known.

    Raises StabilityError for a bound that is too large. Operators without entries are not checked.
    """
    if model.black_box or model.low_rank_terms or model.solver is not None:
        return None
    theta = model.operator_coefficients(mus)
    alpha = coercivity(model.stability, mus, theta, model.parameters)
    for mu, coefficients, bound in zip(mus, theta, alpha, strict=True):
        _check(model, mu, coefficients, float(bound))
    return f"alpha bounds the coercivity constant at {len(mus)} points: A - alpha P has positive pivots only"


def _check(model: AffineSystem, mu: np.ndarray, theta: np.ndarray, alpha: float) -> None:
    product = model.inner_product
    matrix: Any = product.in_units(hermitian_part(model.assemble(theta)))
    below = hermitian_part(matrix - alpha * (1 - SLACK) * product.balanced)
    if below.shape[0] <= 400:
        found = float(np.linalg.eigvalsh(dense(below))[0]) < -1e-12 * norm_bound(matrix)
    else:
        count = inertia(below)
        if count is not None and count.negative > 0:  # by how much rounding may be the cause
            count = inertia(below + 2 * count.error * sp.eye_array(below.shape[0]) if sp.issparse(below) else below)
        found = count is not None and count.negative > 0
    if found:
        raise StabilityError(
            f"the stability bound {alpha:.6g} at {model.parameters.describe(mu)} is above the coercivity constant: "
            "(A + A^H) / 2 - alpha P is not positive definite there. Lower it (rbm.stability.MinTheta, SCM and Pencil "
            "compute one)"
        )
