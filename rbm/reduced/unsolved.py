"""Why a reduced system could not be solved: it is singular, or beyond the range of its numbers."""

from __future__ import annotations

import numpy as np

from lowrank.arrays import to_numpy
from rbm.arithmetic.precision import rounded, widened
from rbm.errors import ModelError, refused
from rbm.parameters.space import ParameterSpace
from rbm.reduced.arrays import ReducedArrays

__all__ = ["check_range", "unsolved"]


def check_range(values: np.ndarray, dtype: np.dtype, mus: np.ndarray, parameters: ParameterSpace) -> None:
    """Raise ModelError, with the parameter, for theta or phi (M, Q) beyond the range of a model's precision."""
    made = rounded(values, dtype)
    beyond = ~np.isfinite(made)
    if made is values or not beyond.any():
        return

    def message(i: int, where: str) -> str:
        q = int(np.argmax(beyond[i]))
        return (
            f"coefficient {q} is {values[i, q]:.3g} at {parameters.describe(mus[i])} ({where}), beyond the range "
            f"of {made.dtype}; scale the model (its units), or keep it in float64"
        )

    raise refused(ModelError, beyond.any(axis=1), message)


def unsolved(arrays: ReducedArrays, mu: np.ndarray, theta: np.ndarray, where: str) -> str:
    """Return what to say of a point mu (p,), with coefficients theta (Qa,), that has no solution."""
    at = f"at {arrays.parameters.describe(mu)} ({where})"
    matrix = np.tensordot(theta, widened(to_numpy(arrays.operators)), 1)
    singular = np.linalg.svd(matrix, compute_uv=False) if np.isfinite(matrix).all() else np.ones(1)
    if singular.min() <= np.finfo(arrays.dtype).eps * arrays.size * singular.max():
        return (
            f"the reduced system {at} is singular; leave this parameter out, and check the stability bound of the "
            "full model with verify()"
        )
    return f"the reduced solution {at} is not finite"
