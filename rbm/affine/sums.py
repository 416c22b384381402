"""Sums of terms, A(mu) = sum_q theta_q A_q: assembled, factorised, and applied to few vectors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank import LowRankMatrix
from rbm.affine.compiled_products import split_matrix
from rbm.arithmetic import extended
from rbm.arithmetic.low_rank import SplitLowRank
from rbm.arithmetic.precision import column_norm_bounds
from rbm.solvers.factorization import Solve, solve_function, symmetric_lu
from rbm.solvers.graph import elimination

__all__ = ["SparseSum", "TermStack"]


class SparseSum:
    """Assembles sparse terms A_q (n, n) on their common sparsity pattern.

    A matrix is one sum of data arrays per parameter point; all have one ordering.

    SuperLU takes no symbolic factorisation from before, but it takes an order. The fill-reducing one depends on the
    pattern only and is computed once; the matrix is assembled in that order.
    """

    def __init__(self, terms: Sequence[Any]) -> None:
        n = terms[0].shape[0]
        keys, data = [], []
        for term in terms:
            entries = sp.coo_array(term)
            entries.sum_duplicates()
            row, column = entries.coords
            keys.append(row.astype(np.int64) * n + column)
            data.append(entries.data)
        union = np.unique(np.concatenate(keys))
        self._rows, self._columns = (part.astype(np.int32) for part in np.divmod(union, n))
        self._terms = [(np.searchsorted(union, key), values) for key, values in zip(keys, data, strict=True)]
        self._indptr = np.concatenate([[0], np.cumsum(np.bincount(self._rows, minlength=n))]).astype(np.int32)
        self.shape = (n, n)
        #: True if the common pattern is symmetric
        self.symmetric = bool(np.array_equal(np.sort(union % n * n + union // n), union))

    def assemble(self, theta: np.ndarray) -> sp.csr_array:
        """Return A for one set of coefficients theta (Qa,).

        Entries of the common pattern that come out zero stay in it.
        """
        total = np.zeros(len(self._rows), dtype=np.result_type(theta, *(values for _, values in self._terms)))
        for value, (positions, values) in zip(theta, self._terms, strict=True):
            total[positions] += value * values
        return sp.csr_array((total, self._columns, self._indptr), shape=self.shape)

    def factorize(self, matrix: sp.csr_array) -> Solve:
        """Return the solve function of an assembled matrix, with pivots on the diagonal.

        The caller checks the solution. Raises RuntimeError if a pivot is zero.
        """
        order, sequence, indices, indptr, wide = self._order
        reordered = sp.csc_array((matrix.data[sequence], indices, indptr), shape=self.shape)
        inner = solve_function(symmetric_lu(reordered, "NATURAL", wide), reordered)
        inverse = self._back
        return lambda rhs: inner(rhs[order])[inverse]

    def prepare(self) -> None:
        """Compute the order of the unknowns now."""
        _ = self._order

    @cached_property
    def _back(self) -> np.ndarray:
        """Where each unknown stands in the order (n,)."""
        return np.argsort(self.order)

    @property
    def order(self) -> np.ndarray:
        """The fill-reducing order (n,) of the unknowns."""
        return self._order[0]

    @cached_property
    def _order(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
        """Return the order of the unknowns, where the reordered entries lie in the data, their CSC pattern, and panels.

        The panels are wide or not (:func:`rbm.solvers.graph.elimination`).

        From the factorisation of another matrix with this pattern that has one for certain, and not of the first A(mu)
        that comes: same input, same bits, wherever a run starts.
        """
        n = self.shape[0]
        pattern = sp.csr_array((np.full(len(self._rows), -1.0), self._columns, self._indptr), shape=self.shape)
        pattern = sp.csc_array(pattern + 2.0 * n * sp.eye_array(n))
        order = np.argsort(symmetric_lu(pattern).perm_c)
        position = np.argsort(order)
        rows, columns = position[self._rows], position[self._columns]
        sequence = np.lexsort((rows, columns))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(columns, minlength=n))])
        return order, sequence, rows[sequence].astype(np.int32), indptr.astype(np.int32), elimination(pattern).wide


class TermStack:
    """Stacks all A_q, so that A_1 x .. A_Qa x come from one product in extended precision.

    Sparse terms are stacked without their empty rows; low-rank ones beside them keep the rows that their U has.

    A term that lives in a part of the domain has few rows that are not empty; with Qa parts the stack is no larger than
    one matrix, and a product costs what one costs, where Qa products cost Qa passes over vectors of full length.

    Attributes
    ----------
    rows : for each term, the rows of A_q that the stack holds
    parts : for each term, where they are in the stack
    owner : (r,) the term of each row of the stack
    """

    def __init__(self, terms: Sequence[Any], splits: Sequence[Any], inner_scale: np.ndarray) -> None:
        n = terms[0].shape[0]
        first = [q for q, a in enumerate(terms) if sp.issparse(a)]
        rest = [q for q in range(len(terms)) if q not in first]
        together = all(isinstance(terms[q], LowRankMatrix) for q in rest)
        self.rows, stacked = [np.arange(n)] * len(terms), []
        #: what is multiplied, one after the other: the sparse terms together, then the others
        self._products = list(splits)
        if together:
            for q in first:
                matrix = sp.csr_array(terms[q])
                self.rows[q] = np.flatnonzero(np.diff(matrix.indptr))
                stacked.append(matrix[self.rows[q]])
            for q in rest:
                self.rows[q] = np.flatnonzero(np.any(terms[q].U != 0, axis=1))
            self._products = [split_matrix(sp.vstack(stacked, format="csr"), inner_scale)] if first else []
            self._products += [_of_rows(terms[q], self.rows[q], inner_scale) for q in rest]
        sequence = [*first, *rest] if together else list(range(len(terms)))
        ends = np.cumsum([0, *(len(self.rows[q]) for q in sequence)])
        places = {q: slice(int(a), int(b)) for q, a, b in zip(sequence, ends[:-1], ends[1:], strict=True)}
        self.parts = [places[q] for q in range(len(terms))]
        self._row = np.concatenate([self.rows[q] for q in sequence])
        self.owner = np.repeat(sequence, [len(self.rows[q]) for q in sequence])
        self._shape = (n, len(terms))
        #: of what is multiplied: for each term norms of the largest entries of its rows, which stay the same
        self._norms: dict[int, dict[int, np.ndarray]] = {}

    @property
    def terms(self) -> int:
        """The number Qa of terms."""
        return self._shape[1]

    def product(self, x: np.ndarray | extended.Extended) -> extended.Extended:
        """Return [A_1 x; ..; A_Qa x] (r, m) as hi + lo, in the rows of the stack."""
        products = [extended.product(split, x) for split in self._products]
        if len(products) == 1:
            return products[0]
        hi, lo = (np.concatenate([p[k] for p in products]) for k in (0, 1))
        return hi, lo

    def rounding(self, x: np.ndarray) -> np.ndarray:
        """Return a bound (r, m) of the error of :meth:`product` (:func:`rbm.arithmetic.extended.rounding`)."""
        return np.concatenate([extended.rounding(split, x) for split in self._products])

    def rounding_norms(self, x: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Return bounds (m, Qa) of ||diag(units) e||_2 for the error e of A_q x_j in :meth:`product`, units (n,).

        Of matrices that show their entries the bounds (r, m) themselves are not formed.
        """
        made, start = np.zeros((x.shape[1], self._shape[1])), 0
        for k, split in enumerate(self._products):
            part = slice(start, start + split.shape[0])
            start, owner, scale = part.stop, self.owner[part], units[self._row[part], None]
            known = isinstance(split, extended.SplitMatrix)
            if not known or k not in self._norms:
                sizes = split.row_max[:, None] * scale if known else extended.rounding(split, x) * scale
                self._norms[k] = {q: column_norm_bounds(sizes[owner == q]) for q in np.unique(owner)}
            of_x = extended.rounding_sizes(split, x) if known else 1.0
            for q, norms in self._norms[k].items():
                made[:, q] = norms * of_x
        return made

    def side_by_side(self, stacked: np.ndarray) -> np.ndarray:
        """Return the parts of a stacked vector (r,) as columns (n, Qa), one per term.

        Of k vectors (r, k) they are (n, k Qa), those of one vector together. Entries are zero where the stack has none.
        """
        n, terms = self._shape
        several = stacked[:, None] if stacked.ndim == 1 else stacked
        columns = np.zeros((n, terms * several.shape[1]), dtype=stacked.dtype, order="F")
        for j, vector in enumerate(several.T):
            columns[self._row, self.owner + j * terms] = vector
        return columns


def _of_rows(term: LowRankMatrix, rows: np.ndarray, inner_scale: np.ndarray) -> SplitLowRank:
    return SplitLowRank(LowRankMatrix(term.U[rows], term.s, term.V), inner_scale)
