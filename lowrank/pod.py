"""Proper orthogonal decomposition: the best low-dimensional space for a set of snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import as_matrix, namespace, plain, real_part, to_numpy
from lowrank.dense import adjoint
from lowrank.limits import check_limits
from lowrank.renamed import renamed
from lowrank.svd import Method, truncated_svd

__all__ = ["POD", "pod"]


@dataclass(frozen=True, eq=False)
class POD:
    """Result of :func:`pod`, which unpacks into its three arrays.

    S diag(w)^{1/2} = modes @ diag(singular_values) @ coefficients up to the truncation.
    """

    modes: Any  #: (n, r), P-orthonormal
    singular_values: np.ndarray  #: (r,), descending
    coefficients: Any  #: (r, m), orthonormal rows

    def __iter__(self) -> Iterator[Any]:
        return iter((self.modes, self.singular_values, self.coefficients))


@renamed(l2_error="atol")
def pod(
    snapshots: Any,
    *,
    product: Any = None,
    weights: Any = None,
    rank: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    method: Method = "direct",
) -> POD:
    """Return the POD modes of a set of snapshots: the best spaces of each dimension.

    The first r modes minimise sum_j w_j ||s_j - Pi_r s_j||_P^2 over all r-dimensional spaces.

    The left singular vectors of S diag(w)^{1/2} in P. By default P-orthonormalise, S diag(w)^{1/2} = Q R, then take the
    SVD of the small R = U diag(s) V^H: modes = Q U. This is accurate down to s_r / s_1 of order u, where the method of
    snapshots (eigenvalues of S^H P S) stops at u^{1/2}.

    Parameters
    ----------
    snapshots : S (n, m), real or complex; a sparse matrix is made dense, as the modes are
    product : Hermitian positive definite P (n, n), or None
    weights : w (m,) >= 0, or None for ones
    rank : keep at most so many modes
    rtol : keep modes with s_r > rtol s_1
    atol : keep the fewest modes with (sum of discarded s^2)^{1/2} <= atol, an error in the l2 sense over all snapshots
    method : how, see :func:`lowrank.truncated_svd`

    Returns
    -------
    POD(modes (n, r), singular_values (r,), coefficients (r, m))

    Raises
    ------
    ValueError
        shapes that do not fit, NaN, negative weights or limits.

    Source: Sirovich, Quart. Appl. Math. 45 (1987) 561-571.

    Notes
    -----
    Cost: that of :func:`lowrank.gram_schmidt` plus O(m^3). Modes below (max(n, m))^{1/2} u s_1 are never returned
    (below u s_1 if `atol` is given, which may ask for more than that leaves).

    Examples
    --------
    >>> import numpy as np
    >>> pod(np.diag([3.0, 2.0, 1.0]), rank=2).singular_values
    array([3., 2.])
    """
    is_sparse = hasattr(snapshots, "nnz") and hasattr(snapshots, "toarray")
    snapshots = as_matrix("snapshots", snapshots.toarray() if is_sparse else snapshots)
    xp, m = namespace(snapshots), snapshots.shape[1]
    check_limits(rank, rtol, atol)
    if weights is not None:
        w = to_numpy(plain("weights", weights))
        if w.dtype.kind == "c":
            raise TypeError(f"weights must be real numbers, got {w.dtype}")
        if w.shape != (m,) or not np.all(np.isfinite(w) & (w >= 0)):
            bad = f"shape {w.shape}" if w.shape != (m,) else f"{w[~(np.isfinite(w) & (w >= 0))][0]:g}"
            raise ValueError(f"weights must be {m} finite numbers >= 0, one per snapshot, got {bad}")
        snapshots = snapshots * xp.asarray(np.sqrt(w), dtype=real_part(snapshots[:0, :0]).dtype)
    svd = truncated_svd(snapshots, rank, atol=atol, left_product=product, method=method)
    values = to_numpy(svd.s)
    r = int(np.count_nonzero(values > (rtol or 0.0) * (values[0] if len(values) else 0.0)))
    return POD(svd.U[:, :r], values[:r], adjoint(svd.V[:, :r]))
