"""Coefficients beyond the range of a model's number type."""

from __future__ import annotations

import numpy as np

from rbm.arithmetic.precision import rounded
from rbm.errors import ModelError, refused
from rbm.parameters.space import ParameterSpace

__all__ = ["check_range"]


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
