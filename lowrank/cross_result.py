"""The result of a cross approximation, whatever the pivoting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank.arrays import device, is_complex, namespace, real_part, to_numpy, unit_roundoff
from lowrank.dense import adjoint, column_norms
from lowrank.limits import check_limits
from lowrank.matrix import ErrorEstimate, LowRankMatrix

__all__ = ["CrossApproximation", "Stopped"]

Stopped = Literal["tolerance", "rank", "round-off"]


@dataclass(frozen=True)
class CrossApproximation:
    """Result of :func:`lowrank.cross_approximation`: A ~ columns @ rows.

    The approximation is exact in the selected rows and columns.
    """

    columns: Any  #: C (m, r); C[row_indices] is unit lower triangular
    rows: Any  #: U (r, n); U[:, column_indices] is upper triangular with the pivots on the diagonal
    row_indices: np.ndarray  #: (r,)
    column_indices: np.ndarray  #: (r,)
    pivots: np.ndarray  #: (r,) values of the residual at the selected entries
    #: (r + 1,) the residual A - C_k U_k for k = 0..r. Full pivoting: its largest entry, exactly. Partial and rook: the
    #: usual guess of its Frobenius norm, that of the next cross, |c_{k+1}| |u_{k+1}|; for k = r that of the check,
    #: error.value
    residual_history: np.ndarray
    stopped: Stopped
    #: ||A - C U||_F: exact (standard error 0) where all entries were compared, as they are of arrays; of functions from
    #: entries at random, or rows and columns, which were not read for the approximation. It knows nothing of entries
    #: that stand alone, see `unseen`, and of its own rounding, see `rounding`
    error: ErrorEstimate
    norm: float  #: ||A||_F, exact or estimated in the same way
    entries_read: int  #: entries of A that were computed or looked at, those of the checks included
    rtol: float = 0.0  #: the Frobenius tolerance that is promised: ||A - C U||_F <= rtol ||A||_F; 0 for none
    sampled: bool = False  #: A was seen in `entries_read` entries only, as functions are
    #: share of the entries that `error` does not speak for: so many, scattered or in a block, would have been missed by
    #: the last check once in 10^6 times. 0 where all were compared
    unseen: float = 0.0
    largest: float = 0.0  #: modulus of the largest entry read, of functions
    pivoting: Literal["full", "partial", "rook"] = "full"

    @property
    def rank(self) -> int:
        """Number of crosses r."""
        return len(self.pivots)

    @property
    def bound(self) -> float:
        """The error plus 2 standard errors: an estimate where only a sample was compared, see `unseen`."""
        return self.error.value + 2 * self.error.standard_error

    @property
    def error_bound(self) -> float:
        """A cautious estimate of ||A - C U||_F, which is a bound where all entries were compared.

        It is the error plus 2 standard errors, plus :attr:`rounding`, plus what entries that no check has met may add.

        A bound where all entries were compared (`unseen` = 0), for the entries as they are given. Elsewhere an
        estimate, which rests on an assumption that nobody has checked: that what was not met is a share `unseen` of all
        entries, and off by up to twice the largest that *was* read. One larger entry that was never read, 1000 among
        numbers of order 1, is beyond it. It is infinite where nothing but zeros was read, which says nothing of the
        size of others. No tolerance below some percent can be reached by it, which is why the search does not ask for
        that: it is what to look at where single entries may stand alone.
        """
        if not self.unseen:
            return self.bound + self.rounding
        entries = self.unseen * self.columns.shape[0] * self.rows.shape[1]
        return float(np.hypot(self.bound + self.rounding, 2 * self.largest * entries**0.5)) if self.largest else np.inf

    @property
    def rounding(self) -> float:
        """How much larger than `error` ||A - C U||_F may be by rounding.

        2 (r + 1) u (||A||_F + sum_k ||c_k|| ||u_k||).

        Elimination makes the residual zero where C U is A up to rounding: after all crosses the `error` of full
        pivoting is 0. A bound (|A - C U - R| <= (r + 1) u (|A| + |C| |U|), as for LU, and as much for :meth:`to_dense`;
        three times that for complex numbers), for the entries as they are given: errors that they have themselves are
        not in it, see the warning of :func:`lowrank.cross_approximation`.
        """
        if not self.norm:
            return 0.0
        sizes = (to_numpy(column_norms(factor)).astype(float) for factor in (self.columns, adjoint(self.rows)))
        share = 2 * (self.rank + 1) * unit_roundoff(self.columns) * (3 if is_complex(self.columns) else 1)
        with np.errstate(over="ignore"):  # an infinite bound is one
            return share * (self.norm + float(np.dot(*sizes)))

    def to_dense(self) -> Any:
        """Return the approximation C @ U as an (m, n) array."""
        return self.columns @ self.rows

    def low_rank(self) -> LowRankMatrix:
        """Return the same approximation as a :class:`lowrank.LowRankMatrix`, which shares the factors."""
        rows = adjoint(self.rows)
        ones = namespace(rows).ones(self.rank, dtype=real_part(rows[:0, :0]).dtype, device=device(rows))
        return LowRankMatrix(self.columns, ones, rows)

    def recompress(self, rank: int | None = None, *, rtol: float | None = None) -> LowRankMatrix:
        """Return the SVD of C U, cut to the lowest rank for which ||A - .||_F <= rtol ||A||_F still holds.

        The crosses have used up their own error, value + 2 standard errors; singular values are cut from what is left.
        By default `rtol` is that of the approximation: the crosses go for half of it, so at least half is left here.
        Where no tolerance was set or reached (and for full pivoting, whose tolerance is one of the largest entry) only
        round-off is cut.

        Parameters
        ----------
        rank : largest rank
        rtol : tolerance relative to ||A||_F, not below the error that the crosses have

        Raises
        ------
        ValueError
            a tolerance below the error of the crosses.

        Notes
        -----
        O((m + n) r^2) flops: two QR factorisations and an SVD (r, r).
        """
        check_limits(rank, rtol)
        spent = self.bound
        left = (self.rtol if rtol is None else rtol) * self.norm - spent
        if rtol is not None and left < 0 and rtol > 0:
            raise ValueError(
                f"the crosses have a relative error of {spent / self.norm:.1e}, rtol={rtol} cannot be kept; call "
                "cross_approximation with a smaller rtol, or leave rtol out to cut round-off only"
            )
        return self.low_rank().recompress(rank, atol=max(left, 0.0))

    def __repr__(self) -> str:
        m, n = self.columns.shape[0], self.rows.shape[1]
        value, deviation = (e / self.norm if self.norm else e for e in self.error)
        if self.pivoting == "full":
            found = f"largest residual {self.residual_history[-1]:.1e}"
        elif not self.unseen:
            found = f"relative error {value:.1e}, all entries compared"
        elif not self.largest:
            found = f"zero in all {self.entries_read:,} of {m * n:,} entries read, {self.unseen:.1%} may not be"
        else:
            found = f"relative error {value:.1e} +- {deviation:.1e} in all but {self.unseen:.1%} of the entries"
            found += f", {self.entries_read:,} of {m * n:,} entries read"
        return f"CrossApproximation({m} x {n}, rank {self.rank}, {found}, stopped by {self.stopped})"
