"""Separation of variables: matrices A(k) from a few of them, A(k) ~ sum_m lambda_m(k) A(k_m)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eim.interpolation import EmpiricalInterpolation, empirical_interpolation
from lowrank.arrays import as_matrix, plain
from lowrank.renamed import renamed

__all__ = ["Separation", "lagrange", "separate"]

Family = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Separation:
    """Result of :func:`separate` and :func:`lagrange`: A(k) ~ sum_m lambda_m(k) A(k_m)."""

    nodes: np.ndarray  #: k_m (m,), where A is to be assembled
    family: Family  #: k (M,) -> g (P, M); with Lagrange polynomials the cardinal functions (m, M) themselves
    interpolation: EmpiricalInterpolation | None  #: of the family; None for Lagrange polynomials

    @property
    def rank(self) -> int:
        """Number of terms m of the sum."""
        return len(self.nodes)

    @property
    def points(self) -> np.ndarray:
        """(m,) rows of the family from whose values the coefficients are computed."""
        return np.arange(self.rank) if self.interpolation is None else self.interpolation.points

    def coefficients(self, k: Any) -> np.ndarray:
        """Return the coefficients lambda (M, m) at k (M,): two triangular solves, O(m^2) per value of k.

        Raises ValueError for k that are not real and finite.
        """
        values = self._values(_numbers("k", k))
        return values.T if self.interpolation is None else self.interpolation.coefficients(values[self.points]).T

    def error(self, k: Any) -> np.ndarray:
        """Return the largest interpolation error in the family (M,), by which the error of the matrices can be bounded.

        max_x |g_x(k) - sum_m lambda_m(k) g_x(k_m)|; 0 for Lagrange polynomials, which have no family.

        Raises ValueError for k that are not real and finite.
        """
        k = _numbers("k", k)
        if self.interpolation is None:
            return np.zeros(len(k))
        return np.abs(self._values(k) - self._values(self.nodes) @ self.coefficients(k).T).max(axis=0)

    def _values(self, k: np.ndarray) -> np.ndarray:
        return _columns("the family", self.family(k), len(k), "values of k")

    def combine(self, matrices: Sequence[Any], k: float) -> Any:
        """Return sum_m lambda_m(k) A_m for the matrices A_m = A(k_m).

        Raises ValueError for as many matrices as there are no nodes.
        """
        if len(matrices) != self.rank:
            raise ValueError(f"{self.rank} matrices are needed, one per node, got {len(matrices)}")
        total = 0
        for weight, matrix in zip(self.coefficients(k)[0], matrices, strict=True):
            total = total + weight * (plain("a matrix", matrix) if isinstance(matrix, np.ndarray) else matrix)
        return total

    def __repr__(self) -> str:
        kind = "Lagrange polynomials" if self.interpolation is None else "empirical interpolation"
        ends = f", {self.nodes.min():.4g} to {self.nodes.max():.4g}" if self.rank else ""
        return f"Separation({self.rank} nodes{ends}, {kind})"


@renamed(max_rank="rank")
def separate(family: Family, candidates: Any, *, rtol: float = 1e-10, rank: int | None = None) -> Separation:
    """Find nodes k_m and coefficients for A(k) ~ sum_m lambda_m(k) A(k_m) from a scalar family of functions.

    If A(k) is linear in functions g_x(k), A(k) = integral of g_x(k) dw(x) entry by entry, as a boundary element matrix
    is in exp(ikr), then weights that reproduce the family reproduce A, with no other knowledge of A than its values at
    the nodes:

        ||A(k) - sum_m lambda_m(k) A(k_m)|| <= const max_x |g_x(k) - sum_m lambda_m(k) g_x(k_m)|.

    The empirical interpolation of g[x, k] over the candidates selects points x_p and nodes k_m; lambda(k) solves
    sum_m g_{x_p}(k_m) lambda_m = g_{x_p}(k).

    Parameters
    ----------
    family : k (M,) -> g (P, M), vectorised: all functions of which A is made, each on a grid of x
    candidates : (K,) values of k; the nodes are among them
    rtol, rank : of the empirical interpolation of the family

    Returns
    -------
    Separation: assemble at its `nodes`, then `combine`.

    Raises
    ------
    ValueError
        a family that does not return one column per candidate, or is not finite.

    Cost: m passes over (P, K); online O(m^2). Source: Casenave, Ern, Lelievre, Sylvand, arXiv 1307.4330.

    Examples
    --------
    >>> import numpy as np
    >>> r = np.linspace(0, 2, 200)
    >>> separation = separate(lambda k: np.exp(1j * np.outer(r, k)), np.linspace(1, 4, 100), rtol=1e-10)
    >>> separation
    Separation(11 nodes, 1 to 4, empirical interpolation)
    >>> matrix = lambda k: np.exp(1j * k * np.abs(np.subtract.outer(r, r)))  # any matrix made of exp(ikr), r <= 2
    >>> error = separation.combine([matrix(k) for k in separation.nodes], 2.345) - matrix(2.345)
    >>> bool(abs(error).max() < 1e-9)
    True
    """
    candidates = plain("candidates", candidates)
    if candidates.ndim != 1 or not len(candidates):
        raise ValueError(f"candidates must have shape (K,), K >= 1, got {candidates.shape}")
    candidates = _numbers("candidates", candidates)
    snapshots = _columns("the family at the candidates", family(candidates), len(candidates), "candidates")
    interpolation = empirical_interpolation(snapshots, rtol=rtol, rank=rank)
    return Separation(candidates[interpolation.snapshots], family, interpolation)


def _columns(name: str, values: Any, count: int, of: str) -> np.ndarray:
    """Return values of a family, (P, count). Raises ValueError for another number of columns, one for each `of`."""
    values = np.asarray(as_matrix(name, values))
    if values.shape[1] != count:
        raise ValueError(f"the family returned shape {values.shape} for {count} {of}; one column each is expected")
    return values


def _numbers(name: str, given: Any) -> np.ndarray:
    """Return real finite numbers (M,). Raises ValueError for others."""
    k = np.atleast_1d(np.asarray(plain(name, given)))
    if k.ndim != 1 or k.dtype.kind == "c" or not np.all(np.isfinite(k)):
        what = f"shape {k.shape}, dtype {k.dtype}" if k.ndim != 1 or k.dtype.kind == "c" else f"{k[~np.isfinite(k)][0]}"
        raise ValueError(f"{name} must be real finite numbers, a vector of them or one, got {what}")
    return k.astype(float)


def lagrange(low: float, high: float, count: int) -> Separation:
    """Interpolate by polynomials at `count` Chebyshev nodes of [low, high].

    For matrices of which no scalar family is at hand.

    lambda_m(k) = prod_{l != m} (k - k_l) / (k_m - k_l). Its error falls like rho^-count for A analytic in an ellipse
    around [low, high]; poles nearby (1/k of a boundary operator at k = 0) must be multiplied away before.

    Raises ValueError for an interval that is none, and a count below 1.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"the interval must be finite with low < high, got [{low}, {high}]")
    if not (isinstance(count, int | np.integer) and count >= 1):
        raise ValueError(f"at least one node is needed, and a whole number of them, got {count}")
    angles = (2 * np.arange(count) + 1) / (2 * count) * np.pi
    nodes = (low + high) / 2 - (high - low) / 2 * np.cos(angles)

    def cardinal(k: np.ndarray) -> np.ndarray:
        others = ~np.eye(count, dtype=bool)
        factors = np.where(others[..., None], k - nodes[None, :, None], 1.0)  # (m, l, M)
        scales = np.where(others, nodes[:, None] - nodes[None, :], 1.0)
        return np.prod(factors / scales[..., None], axis=1)

    return Separation(nodes, cardinal, None)
