"""What a linear output is made of at parameter points, when it is evaluated for many solutions a point."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import namespace

__all__ = ["LinearTerms", "above_underflow"]


class LinearTerms(NamedTuple):
    """A linear output at M points: s = vectors gamma + offset.

    |s(u) - s| <= norm error + magnitudes |gamma| + rounding, and the smallest normal number.
    """

    vectors: np.ndarray  #: l^T Z (M, N), or (1, N) for all points
    magnitudes: np.ndarray  #: of the same shape
    norm: Any  #: a number, or (M, 1)
    offset: Any  #: 0 or (M,)
    rounding: Any  #: of the offset, 0 or (M,)


def above_underflow(bound: Any, norm: Any, error: Any) -> Any:
    """Return the bound plus the smallest normal number, or the bound itself where the output or the error is zero.

    So much the products of small numbers may have lost.
    """
    xp = namespace(error)
    present = (error > 0) & (norm > 0)
    return bound + xp.astype(present, error.dtype) * float(np.finfo(float).tiny)
