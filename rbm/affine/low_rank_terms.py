"""Operator terms that are low-rank matrices, A_q = U diag(s) V^H: a crack, a patch, a sensor.

They stay factors (:class:`lowrank.LowRankMatrix`) wherever a term is multiplied, compared or measured.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from lowrank import LowRankMatrix
from lowrank.arrays import to_numpy
from rbm.affine.entries import dense_entries
from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF, column_norm_bounds
from rbm.errors import ModelError
from rbm.solvers.definite import norm_bound
from rbm.solvers.updated import UpdatedMatrix

__all__ = [
    "SkewSizes", "adjoint_term", "diagonal", "double_factors", "low_rank_skew", "rows_beside_diagonal",
    "shows_no_entries", "skew_sizes", "updated",
]  # fmt: skip


def double_factors(name: str, given: LowRankMatrix) -> LowRankMatrix:
    """Return the factors in double precision, from any array module; what single precision holds is not rounded.

    Raises ModelError for NaN and infinite entries, and for a matrix without terms.
    """
    if not given.rank:
        raise ModelError(f"{name} is a low-rank matrix of rank 0, without numbers; leave the term out")
    parts = (("U", given.U), ("s", given.s), ("V", given.V))
    u, s, v = (np.array(dense_entries(f"{name}: its factor {part}", to_numpy(a))) for part, a in parts)
    return LowRankMatrix(u, s, v)


def shows_no_entries(term: Any) -> bool:
    """Return True for a term that is neither sparse nor dense nor low-rank factors: a LinearOperator."""
    return extended.is_black_box(term) and not isinstance(term, LowRankMatrix)


def adjoint_term(term: Any) -> Any:
    """Return A^H, stored as A is."""
    if isinstance(term, LowRankMatrix):
        return term.H
    return sp.csr_array(term.conj().T) if sp.issparse(term) else np.ascontiguousarray(term.conj().T)


def diagonal(term: Any) -> np.ndarray:
    """Return the diagonal (n,) of a term, sparse, dense or of low rank."""
    if isinstance(term, LowRankMatrix):
        return np.sum(term.U * term.s * term.V.conj(), axis=1)
    return np.asarray(term.diagonal())


def rows_beside_diagonal(term: Any) -> np.ndarray:
    """Return (n,), true for rows that have an entry off the diagonal; any row of a low-rank term counts as one."""
    if isinstance(term, LowRankMatrix):
        return np.any(term.U != 0, axis=1)
    counts = np.asarray((abs(term) > 0).sum(axis=1)).ravel()
    return counts > (diagonal(term) != 0)


class SkewSizes(NamedTuple):
    """Sizes of an operator term and of its skew part, in the units of the product."""

    skew: float  #: largest |S (A - A^H) S|; of low-rank factors a bound of the norm
    size: float  #: largest |S A S|, or such a bound
    norm: float  #: a proved upper bound of ||S (A - A^H) S||_2

    def is_rounding(self, units: float) -> bool:
        """Return whether A - A^H is at most so many u of A."""
        return self.skew <= units * ROUND_OFF * self.size


def skew_sizes(product: InnerProduct, term: Any) -> SkewSizes:
    """Return the sizes of a term A (n, n), sparse, dense or of low rank, and of A - A^H."""
    if isinstance(term, LowRankMatrix):
        skew, size = low_rank_skew(product, term)
        return SkewSizes(skew, size, skew)
    difference = product.in_units(term - term.conj().T)
    largest = float(abs(difference).max())
    return SkewSizes(largest, float(abs(product.in_units(term)).max()), norm_bound(difference) if largest else 0.0)


def low_rank_skew(product: InnerProduct, term: LowRankMatrix) -> tuple[float, float]:
    """Return proved upper bounds of ||S (A - A^H) S||_2 and ||S A S||_2, in the units of the product.

    The first is sum_k 2 |s_k| ||S (u_k - v_k)|| ||S v_k||, since u v^H - v u^H = (u - v) v^H - v (u - v)^H: exactly 0
    where U and V are the same numbers.
    """
    units, s = product.balance[:, None], np.abs(term.s)
    u, v, apart = (column_norm_bounds(units * a) for a in (term.U, term.V, term.U - term.V))
    up = 1 + (2 * len(s) + 16) * ROUND_OFF
    return float(up * np.sum(s * (2 * apart) * v)), float(up * np.sum(s * u * v))


def updated(base: Any, theta: np.ndarray, terms: tuple[LowRankMatrix, ...]) -> Any:
    """Return base + sum_q theta_q U_q diag(s_q) V_q^H: beside a sparse base as factors, else summed with it."""
    left = np.concatenate([t.U * (value * t.s) for value, t in zip(theta, terms, strict=True)], axis=1)
    right = np.concatenate([t.V for t in terms], axis=1)
    if sp.issparse(base):
        return UpdatedMatrix(base, left, right)
    return np.asarray(base) + left @ right.conj().T
