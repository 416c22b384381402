"""Interpolation points for a given basis: DEIM and Q-DEIM."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from lowrank.arrays import as_matrix

__all__ = ["deim", "qdeim"]


def deim(modes: Any) -> np.ndarray:
    """Return the points (r,) of the discrete empirical interpolation method for the columns of `modes` (n, r).

    The k-th point is the largest entry of the k-th mode minus its interpolation in the earlier points, which is what
    Gaussian elimination with partial pivoting does: the points are LAPACK's row pivots. They do not depend on the units
    of the modes. For complex modes the size of an entry is |Re| + |Im|, as in LAPACK.

    Raises ValueError if the modes are linearly dependent (up to round-off, each measured by its own size), not finite,
    or more than n, and TypeError for what is no array. Cost n r^2 flops, and 2 n r^2 to look for dependent modes.
    Source: Chaturantabut and Sorensen, SIAM J. Sci. Comput. 32 (2010) 2737-2764.

    Examples
    --------
    >>> import numpy as np
    >>> deim(np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]))
    array([1, 2])
    """
    modes = _checked(modes)
    permutation, _, upper = scipy.linalg.lu(modes, p_indices=True)
    _refuse_dependent(modes, np.abs(np.diag(upper)))
    return np.argsort(permutation)[: modes.shape[1]]


def qdeim(modes: Any) -> np.ndarray:
    """Return interpolation points (r,) from QR with column pivoting (Q-DEIM).

    The pivots of Q^H, modes = Q R: they are the same for every basis of the span of the modes, in any units.

    Raises ValueError, TypeError as :func:`deim`. Cost 6 n r^2 flops. The error constant is at most sqrt(n - r + 1) 2^r
    and in practice of order r. Source: Drmac and Gugercin, SIAM J. Sci. Comput. 38 (2016) A631-A648.

    Examples
    --------
    >>> import numpy as np
    >>> qdeim(np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]))
    array([2, 1])
    """
    modes = _checked(modes)
    _refuse_dependent(modes)
    basis = scipy.linalg.qr(modes, mode="economic")[0] if modes.size else modes
    order = scipy.linalg.qr(basis.conj().T, mode="r", pivoting=True)[1]
    return order[: modes.shape[1]].astype(int)


def _checked(modes: Any) -> np.ndarray:
    """Return the modes (n, r), each divided exactly by a power of two so that its entries are at most one."""
    modes = np.asarray(as_matrix("modes", modes))
    if modes.shape[1] > modes.shape[0]:
        raise ValueError(f"{modes.shape[1]} modes in a space of dimension {modes.shape[0]} cannot be independent")
    if not modes.size:
        return modes
    largest = np.maximum(np.abs(modes.real), np.abs(modes.imag)).max(axis=0).astype(float)
    if np.any(largest == 0):
        raise ValueError(f"mode {int(np.argmin(largest))} is zero; leave it out")
    half = np.frexp(largest)[1] // 2
    for exponents in (half, np.frexp(largest)[1] - half):  # in two steps, neither of which overflows
        modes = modes * np.ldexp(1.0, -exponents).astype(modes.real.dtype)
    return modes


def _refuse_dependent(modes: np.ndarray, pivots: np.ndarray | None = None) -> None:
    """Raise ValueError for a mode that the modes before it span up to round-off.

    Its distance from them tells, or its pivot.
    """
    distances = np.abs(np.diag(np.linalg.qr(modes, mode="r"))) / np.linalg.norm(modes, axis=0)
    smallest = distances if pivots is None else np.minimum(distances, pivots)
    bad = np.flatnonzero(smallest <= modes.shape[1] * np.finfo(modes.dtype).eps)
    if len(bad):
        raise ValueError(
            f"mode {bad[0]} depends on the modes before it (what is left of it is {smallest[bad[0]]:.1e} of its size): "
            "orthonormalise first, for example by lowrank.pod"
        )
