"""Empirical interpolation: a family of functions from its values at a few well-chosen points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lowrank import CrossApproximation, cross_approximation
from lowrank.arrays import as_matrix, namespace, to_numpy, unit_roundoff
from lowrank.dense import adjoint, solve_triangular
from lowrank.full_pivoting import saturated_rank
from lowrank.limits import check_limits
from lowrank.operands import scaled_to_range
from lowrank.renamed import renamed

__all__ = ["EmpiricalInterpolation", "empirical_interpolation"]


@dataclass(frozen=True)
class EmpiricalInterpolation:
    """Result of :func:`empirical_interpolation`: the interpolation in r selected points.

    I_r g = sum_k q_k (B^{-1} g(x))_k, x the points.
    """

    basis: Any  #: Q (n, r) = (q_1 .. q_r), q_k(x_k) = 1, q_k(x_l) = 0 for l < k
    points: np.ndarray  #: (r,) row indices x_k
    snapshots: np.ndarray  #: (r,) column indices j_k
    triangle: Any  #: B = Q[points] (r, r), unit lower triangular
    expansion: Any  #: C (r, r) upper triangular: snapshots[:, j] = Q C on the selected snapshots
    pivots: np.ndarray  #: (r,) C's diagonal
    residual_history: np.ndarray  #: (r + 1,) max |g - I_k g| over the training snapshots, k = 0..r
    stopped: Literal["tolerance", "rank", "round-off"]

    @property
    def rank(self) -> int:
        """Number of interpolation points r."""
        return len(self.points)

    def interpolate(self, values: Any) -> Any:
        """Return the interpolants Q B^{-1} values (n, M) of functions with the given values (r, M) at the points.

        Cost O(r^2 M + n r M); a triangular solve, never an inverse.

        Raises ValueError where the interpolant overflows.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(self.basis @ self._solve_lower(self._check(values)))

    def coefficients(self, values: Any) -> Any:
        """Return the weights lambda (r, M) of the selected snapshots.

        I_r g = sum_k lambda_k g_{j_k}, lambda = C^{-1} B^{-1} values.

        Raises ValueError where the interpolant overflows.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(solve_triangular(self.expansion, self._solve_lower(self._check(values)), lower=False))

    @property
    def lebesgue_constant(self) -> float:
        """Lebesgue constant max_x sum_k |h_k(x)|, with the cardinal functions h = Q B^{-1}.

        The error is at most (1 + the constant) times that of the best approximation.
        """
        if self.rank == 0:
            return 0.0
        xp = namespace(self.basis)
        # B^-H Q^H, the conjugates of the cardinal functions
        cardinal = solve_triangular(
            self.triangle, adjoint(self.basis), lower=True, unit=True, conjugate_transposed=True
        )
        return float(xp.max(xp.sum(xp.abs(cardinal), axis=0)))

    def truncate(self, rank: int) -> EmpiricalInterpolation:
        """Return the interpolation in the first `rank` points, as if the greedy selection had stopped there.

        Raises ValueError for a rank that is no whole number from 1 to r.
        """
        if not 0 <= rank <= self.rank:
            raise ValueError(f"cannot truncate {self.rank} points to {rank}")
        return EmpiricalInterpolation(
            self.basis[:, :rank],
            self.points[:rank],
            self.snapshots[:rank],
            self.triangle[:rank, :rank],
            self.expansion[:rank, :rank],
            self.pivots[:rank],
            self.residual_history[: rank + 1],
            self.stopped if rank == self.rank else "rank",
        )

    def _check(self, values: Any) -> Any:
        values = as_matrix("values", values)
        if values.shape[0] != self.rank:
            raise ValueError(f"values must have shape ({self.rank}, M), one row per point, got {tuple(values.shape)}")
        return values

    def _solve_lower(self, values: Any) -> Any:
        return solve_triangular(self.triangle, values, lower=True, unit=True)

    def __repr__(self) -> str:
        error = self.residual_history[-1]
        return f"EmpiricalInterpolation({self.rank} points, largest residual {error:.1e}, stopped by {self.stopped})"


@renamed(max_rank="rank")
def empirical_interpolation(
    snapshots: Any,
    *,
    rtol: float | None = None,
    rank: int | None = None,
    stabilized: bool = True,
    incremental: bool | None = None,
) -> EmpiricalInterpolation:
    """Select interpolation points and basis functions greedily for the functions g_j(x) = snapshots[x, j].

    Repeat: residual R = g - I_k g; (x_k, j_k) = argmax |R|; q_k = R[:, j_k] / R[x_k, j_k]. Three forms, equal in exact
    arithmetic:

    ===========  ===========  ===============================================================================
    stabilized   incremental  residual
    ===========  ===========  ===============================================================================
    True         True         R <- R - q_k R[x_k, :]: zero rows stay exactly zero, B is triangular to the last bit,
                              so that (Id - I_k) applied again changes nothing (the default, and the cheapest)
    True         False        from scratch, g - Q B^{-1} g(x), and (Id - I_k) applied to it once more
    False        False        from scratch, once: the textbook recursion, which loses triangularity; for comparison
    ===========  ===========  ===============================================================================

    Parameters
    ----------
    snapshots : g (n, k): n points, k snapshots; real or complex, float32 or float64
    rtol : stop when max |R| <= rtol max |g|
    rank : largest number of points
    stabilized, incremental : see the table; `incremental` defaults to `stabilized`

    Returns
    -------
    EmpiricalInterpolation. `stopped` is "tolerance", "rank" or "round-off": the residual has arrived at round-off
    (:func:`lowrank.cross_approximation`) or, in the textbook form, a point would be picked a second time, which never
    happens.

    Raises
    ------
    ValueError
        NaN or infinite entries, wrong shape, negative tolerance.
    TypeError
        snapshots that are no array (sparse, masked).

    Notes
    -----
    Cost: r passes over the snapshots (2 n k flops each); from scratch 2 n k r flops *each*. Error at unseen functions:
    (1 + Lebesgue constant) times the best approximation in span Q, with a floor of a few u max |g|.
    Sources: Barrault, Maday, Nguyen, Patera 2004; the stabilised form: Casenave, Ern, Lelievre, arXiv 1212.0970.

    Examples
    --------
    >>> import numpy as np
    >>> x, mu = np.linspace(0, 1, 100), np.linspace(1, 2, 30)
    >>> interpolation = empirical_interpolation(np.exp(-np.outer(x, mu)), rtol=1e-8)
    >>> interpolation
    EmpiricalInterpolation(6 points, largest residual 1.9e-09, stopped by tolerance)
    >>> unseen = np.exp(-1.234 * x)
    >>> bool(abs(interpolation.interpolate(unseen[interpolation.points, None])[:, 0] - unseen).max() < 1e-8)
    True
    """
    snapshots = as_matrix("snapshots", snapshots)
    check_limits(rank, rtol)
    if incremental is None:
        incremental = stabilized
    scaled, unit = scaled_to_range(snapshots)
    if incremental:
        found = from_cross(cross_approximation(scaled, rtol=rtol, rank=rank))
    else:
        found = _from_scratch(scaled, rtol, rank, passes=2 if stabilized else 1)
    return found if unit == 1 else _in_units(found, unit)


def _in_units(found: EmpiricalInterpolation, unit: float) -> EmpiricalInterpolation:
    """Return the interpolation of unit g from that of g: points and basis are the same."""
    with np.errstate(over="ignore"):
        expansion, pivots, history = (x * unit for x in (found.expansion, found.pivots, found.residual_history))
    if not np.all(np.isfinite(history)) or not bool(namespace(expansion).all(namespace(expansion).isfinite(expansion))):
        raise ValueError("residuals of the snapshots overflow; scale the snapshots")
    return replace(found, expansion=expansion, pivots=pivots, residual_history=history)


def _finite(found: Any) -> Any:
    """Return an interpolant. Raises ValueError if it has overflowed."""
    xp = namespace(found)
    if not bool(xp.all(xp.isfinite(found))):
        raise ValueError("the interpolant overflows; scale the values and the snapshots")
    return found


def from_cross(cross: CrossApproximation) -> EmpiricalInterpolation:
    """Read a fully pivoted cross approximation as an interpolation: the same points, basis and triangular matrices."""
    xp = namespace(cross.columns)
    points, columns = xp.asarray(cross.row_indices), xp.asarray(cross.column_indices)
    return EmpiricalInterpolation(
        cross.columns,
        cross.row_indices,
        cross.column_indices,
        xp.take(cross.columns, points, axis=0),
        xp.take(cross.rows, columns, axis=1),
        cross.pivots,
        cross.residual_history,
        cross.stopped,
    )


def _from_scratch(g: Any, rtol: float | None, rank: int | None, passes: int) -> EmpiricalInterpolation:
    """Run EIM with the residual of all snapshots recomputed at every step, Id - I_k applied `passes` times."""
    xp = namespace(g)
    n, k = g.shape
    limit = min(n, k) if rank is None else min(rank, n, k)
    basis = xp.zeros((n, limit), dtype=g.dtype)
    points: list[int] = []
    columns: list[int] = []
    pivots: list[Any] = []
    history: list[float] = []
    stopped: Literal["tolerance", "rank", "round-off"] = "rank"
    keep = None
    u = unit_roundoff(g)
    while True:
        r = len(points)
        residual = g
        for _ in range(passes if r else 0):
            at_points = xp.asarray(points)
            triangle = xp.tril(xp.take(basis[:, :r], at_points, axis=0))
            values = solve_triangular(triangle, xp.take(residual, at_points, axis=0), lower=True, unit=True)
            residual = residual - basis[:, :r] @ values
        x, j = divmod(int(xp.argmax(xp.reshape(xp.abs(residual), (-1,)))), k) if n * k else (0, 0)
        pivot: Any = to_numpy(residual[x, j])[()] if n * k else 0.0
        history.append(float(abs(pivot)))
        keep = saturated_rank(history, u, rtol)
        if keep is not None or x in points or j in columns:
            stopped = "round-off"
            break
        if rtol is not None and history[-1] <= rtol * history[0]:
            stopped = "tolerance"
            break
        if r == limit:
            break
        points.append(x)
        columns.append(j)
        pivots.append(pivot)
        basis[:, r] = residual[:, j] / residual[x, j]
    r = len(points) if keep is None else keep
    basis, points, columns = basis[:, :r], points[:r], columns[:r]
    at_points = xp.asarray(points, dtype=xp.int64)
    triangle = xp.take(basis, at_points, axis=0)
    crossing = xp.take(xp.take(g, at_points, axis=0), xp.asarray(columns, dtype=xp.int64), axis=1)
    return EmpiricalInterpolation(
        basis,
        np.array(points, dtype=int),
        np.array(columns, dtype=int),
        triangle,
        xp.triu(solve_triangular(xp.tril(triangle), crossing, lower=True, unit=True)),
        np.array(pivots[:r]),
        np.array(history[: r + 1]),
        stopped,
    )
