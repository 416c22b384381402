"""SuperLU, SciPy's sparse direct solver, with an order of elimination that suits the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.errors import ModelError
from rbm.solvers.factorization import Solve, definite_solve, factorize, solve_function, symmetric_lu
from rbm.solvers.graph import elimination, symmetric_order, symmetric_pattern
from rbm.solvers.inertia import inertia
from rbm.solvers.patterns import KeptOrders
from rbm.solvers.trial import solves_one

__all__ = ["SuperLU"]

ORDERINGS = ("auto", "NATURAL", "MMD_AT_PLUS_A", "MMD_ATA", "COLAMD")
_kept = KeptOrders()


@dataclass(frozen=True)
class SuperLU:
    """SciPy's SuperLU: needs nothing to be installed; for matrices of plane problems, and of small ones in space.

    A matrix of symmetric pattern takes its pivots from the diagonal, and is solved with partial pivoting where a trial
    shows that this will not do. A dense matrix goes to LAPACK. ``solver=None`` is the same with minimum degree on the
    graph of unknowns in the plane, and up to 5000 unknowns; it has one order for all A(mu).

    Parameters
    ----------
    ordering : "auto": minimum degree on the graph of nodes, where the components of a vector are one (elasticity in
        space: three times faster than on the graph of unknowns), for symmetric patterns; COLAMD for others. Or one of
        SuperLU's own: "MMD_AT_PLUS_A", "MMD_ATA", "COLAMD", "NATURAL"

    Raises ModelError for another ordering.

    Source: Demmel, Eisenstat, Gilbert, Li, Liu, SIAM J. Matrix Anal. Appl. 20 (1999) 720-755.
    """

    ordering: str = "auto"

    def __post_init__(self) -> None:
        """Raise ModelError for an option that means nothing."""
        if self.ordering not in ORDERINGS:
            raise ModelError(f"ordering of SuperLU must be one of {', '.join(ORDERINGS)}, got {self.ordering!r}")

    def factorize(self, matrix: Any) -> Solve:
        """Return the solve function of a matrix (n, n). Raises ModelError for a singular one."""
        if not sp.issparse(matrix):
            return factorize(matrix)
        matrix = sp.csr_array(matrix)
        if _symmetric_pattern(matrix):
            try:
                solve = self._from_diagonal(matrix)
                if solves_one(solve, matrix):
                    return solve
            except RuntimeError:  # a pivot is zero
                pass
        try:
            order = "COLAMD" if self.ordering == "auto" else self.ordering
            return solve_function(spla.splu(sp.csc_array(matrix), permc_spec=order), matrix)
        except RuntimeError as error:
            raise ModelError(f"the matrix is singular to working precision ({error})") from error

    def cholesky(self, matrix: Any, prove: bool = True) -> tuple[Solve, float | None] | None:
        """Return the solve function of a sparse Hermitian H (n, n) and e, H + e I >= 0 proved; None if a pivot is <= 0.

        e is None if it is not asked for (:func:`rbm.solvers.inertia.inertia`). Cost: a factorisation; two with e.
        """
        matrix = sp.csr_array(matrix)
        try:
            lu, order = self._eliminated(matrix)
        except RuntimeError:
            return None
        if not (np.array_equal(lu.perm_r, lu.perm_c) and np.all(lu.U.diagonal().real > 0)):
            return None
        found = inertia(matrix, order) if prove else None
        error = found.error if found is not None and found.negative == 0 else None
        return _in_order(definite_solve(lu, matrix), order), error

    def _from_diagonal(self, matrix: Any) -> Solve:
        lu, order = self._eliminated(matrix)
        return _in_order(solve_function(lu, matrix), order)

    def _eliminated(self, matrix: Any) -> tuple[Any, np.ndarray | None]:
        """Return the SuperLU object of the matrix in an order, pivots on the diagonal, and the order.

        None if SuperLU has its own.
        """
        key = _kept.key(matrix.indptr, matrix.indices, np.array([self.ordering == "auto"]))
        if (known := _kept.get(key)) is None:
            known = elimination(matrix)
            if known.order is None and self.ordering == "auto":
                known = known._replace(order=symmetric_order(matrix))
            _kept.put(key, known)
        if self.ordering != "auto":
            return symmetric_lu(matrix, self.ordering, known.wide), None
        return symmetric_lu(matrix[known.order][:, known.order], "NATURAL", known.wide), known.order


def _in_order(solve: Solve, order: np.ndarray | None) -> Solve:
    """Return the solve function of a matrix (n, n) from that of its reordered one."""
    if order is None:
        return solve
    back = np.argsort(order)
    return lambda rhs: solve(rhs[order])[back]


def _symmetric_pattern(matrix: Any) -> bool:
    csr = sp.csr_array(matrix)
    return symmetric_pattern(csr).nnz == csr.nnz + np.count_nonzero(csr.diagonal() == 0)
