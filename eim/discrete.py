"""Interpolation points for a given basis: DEIM and Q-DEIM."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from lowrank.arrays import as_matrix

__all__ = ["deim", "qdeim"]


def deim(modes: Any) -> np.ndarray:
    """Points (r,) of the discrete empirical interpolation method for the columns of `modes` (n, r), in their order.

    The k-th point is the largest entry of the k-th mode minus its interpolation in the earlier points, which is what
    Gaussian elimination with partial pivoting does: the points are LAPACK's row pivots. For complex modes the size of
    an entry is |Re| + |Im|, as in LAPACK.

    Raises ValueError if the modes are linearly dependent, not finite, or more than n. Cost n r^2 flops.
    Source: Chaturantabut and Sorensen, SIAM J. Sci. Comput. 32 (2010) 2737-2764.

    Examples
    --------
    >>> import numpy as np
    >>> deim(np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]))
    array([1, 2])
    """
    modes = _check(modes)
    permutation, _, upper = scipy.linalg.lu(modes, p_indices=True)
    order = np.argsort(permutation)[: modes.shape[1]]
    _refuse_dependent(np.abs(np.diag(upper)), modes)
    return order


def qdeim(modes: Any) -> np.ndarray:
    """Points (r,) from QR with column pivoting of modes^H: the same for every orthonormal basis of their span.

    Raises ValueError as :func:`deim`. Cost 2 n r^2 flops. The error constant is at most sqrt(n - r + 1) 2^r and in
    practice of order r. Source: Drmac and Gugercin, SIAM J. Sci. Comput. 38 (2016) A631-A648.

    Examples
    --------
    >>> import numpy as np
    >>> qdeim(np.array([[1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]))
    array([2, 1])
    """
    modes = _check(modes)
    r, order = scipy.linalg.qr(modes.conj().T, mode="r", pivoting=True)
    _refuse_dependent(np.abs(np.diag(r)), modes)
    return order[: modes.shape[1]].astype(int)


def _check(modes: Any) -> np.ndarray:
    modes = np.asarray(as_matrix("modes", modes))
    if modes.shape[1] > modes.shape[0]:
        raise ValueError(f"{modes.shape[1]} modes in a space of dimension {modes.shape[0]} cannot be independent")
    return modes


def _refuse_dependent(pivots: np.ndarray, modes: np.ndarray) -> None:
    if not len(pivots) or pivots.min() > modes.shape[1] * np.finfo(modes.dtype).eps * np.abs(modes).max():
        return
    # name the first column that depends on those before it, whatever the order of the pivots was
    diagonal = np.abs(np.diag(np.linalg.qr(modes, mode="r")))
    k = int(np.argmax(diagonal <= 2 * diagonal.min()))
    raise ValueError(
        f"mode {k} depends on the modes before it (pivot {pivots.min():.1e}): orthonormalise first, for example by lowrank.pod"
    )
