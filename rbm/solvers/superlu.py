"""SuperLU, SciPy's sparse direct solver, with an order of elimination that suits the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.errors import ModelError
from rbm.solvers.definite import definiteness_error
from rbm.solvers.factorization import Solve, factorize, factorize_positive_definite, solve_function
from rbm.solvers.graph import dimension, symmetric_order, symmetric_pattern
from rbm.solvers.trial import solves_one

__all__ = ["SuperLU"]

ORDERINGS = ("auto", "NATURAL", "MMD_AT_PLUS_A", "MMD_ATA", "COLAMD")
#: Graphs of a larger dimension are those of bodies: their fronts are dense, and wide panels pay.
BODY = 2.2


@dataclass(frozen=True)
class SuperLU:
    """SciPy's SuperLU: needs nothing to be installed; for matrices of plane problems, and of small ones in space.

    A matrix of symmetric pattern takes its pivots from the diagonal, and is solved with partial pivoting where a trial
    shows that this will not do. A dense matrix goes to LAPACK. ``solver=None`` is the same with one order for all
    A(mu), minimum degree on the graph of unknowns.

    Parameters
    ----------
    ordering : "auto": minimum degree on the graph of nodes, where the components of a vector are one (elasticity in
        space: three times faster than on the graph of unknowns), for symmetric patterns; COLAMD for others. Or one of
        SuperLU's own: "MMD_AT_PLUS_A", "MMD_ATA", "COLAMD", "NATURAL"
    """

    ordering: str = "auto"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.ordering not in ORDERINGS:
            raise ModelError(f"ordering of SuperLU must be one of {', '.join(ORDERINGS)}, got {self.ordering!r}")

    def factorize(self, matrix: Any) -> Solve:
        """Return the solve function of a matrix. Raises ModelError for a singular one."""
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

    def cholesky(self, matrix: Any) -> tuple[Solve, float | None] | None:
        """Return the solve function of a sparse Hermitian H and e with H + e I >= 0, proved; None if a pivot is <= 0.

        See :func:`rbm.solvers.definite.definiteness_error`. Cost: two factorisations.
        """
        solve = factorize_positive_definite(matrix)
        return None if solve is None else (solve, definiteness_error(matrix))

    def _from_diagonal(self, matrix: Any) -> Solve:
        wide = {} if dimension(matrix) > BODY else {"panel_size": 1}
        options = {"diag_pivot_thresh": 0.0, "options": {"SymmetricMode": True}, **wide}
        if self.ordering != "auto":
            return solve_function(spla.splu(sp.csc_array(matrix), permc_spec=self.ordering, **options), matrix)
        order = symmetric_order(matrix)
        ordered = sp.csc_array(matrix[order][:, order])
        solve, back = solve_function(spla.splu(ordered, permc_spec="NATURAL", **options), matrix), np.argsort(order)
        return lambda rhs: solve(rhs[order])[back]


def _symmetric_pattern(matrix: Any) -> bool:
    csr = sp.csr_array(matrix)
    return symmetric_pattern(csr).nnz == csr.nnz + np.count_nonzero(csr.diagonal() == 0)
