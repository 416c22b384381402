"""CHOLMOD of SuiteSparse (pip install scikit-sparse): supernodal Cholesky factors; SuperLU for all other matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from rbm.solvers.cholesky_proof import cholesky_error
from rbm.solvers.factorization import Solve
from rbm.solvers.superlu import SuperLU
from rbm.solvers.trial import solves_one

__all__ = ["Cholmod"]


@dataclass(frozen=True)
class Cholmod:
    """Cholesky factors of Hermitian positive definite matrices by CHOLMOD, through scikit-sparse, if you have it.

    A matrix that is not Hermitian, or not positive definite, goes to :class:`rbm.solvers.SuperLU`, a dense one to
    LAPACK. Proved: :meth:`cholesky` bounds what a factorisation that succeeds leaves open.

    Written to the documented interface ``sksparse.cholmod.cholesky(A, mode=)`` of scikit-sparse 0.4, whose factor is
    called with right-hand sides.

    Source: Chen, Davis, Hager, Rajamanickam, ACM Trans. Math. Softw. 35 (2008) 22.
    """

    def factorize(self, matrix: Any) -> Solve:
        """Return the solve function of a matrix (n, n). Raises ModelError for a singular one."""
        library = _library()
        if sp.issparse(matrix) and np.all(matrix.diagonal().real > 0):
            csc = sp.csc_array(matrix)
            if (csc != csc.conj().T).nnz == 0 and (factor := _factor(library, csc)) is not None:
                solve = _solve(factor)
                if solves_one(solve, csc):
                    return solve
        return SuperLU().factorize(matrix)

    def cholesky(self, matrix: Any, prove: bool = True) -> tuple[Solve, float | None] | None:
        """Return the solve function of a sparse Hermitian H (n, n) and e, H + e I >= 0 proved; None if a pivot is <= 0.

        The number of entries of the factor is not asked for: n (n + 1) / 2 of them are charged.
        """
        factor = _factor(_library(), sp.csc_array(matrix))
        if factor is None or not solves_one(_solve(factor), matrix):
            return None
        return _solve(factor), cholesky_error(matrix) if prove else None


def _library() -> Any:
    return require("sksparse.cholmod", "scikit-sparse", 'solver="cholmod"')


def _factor(library: Any, matrix: Any) -> Any:
    """Return CHOLMOD's factor, None for a matrix that is not positive definite."""
    try:
        return library.cholesky(sp.csc_matrix(matrix), mode="supernodal")  # L L^H: an L D L^H takes negative pivots
    except library.CholmodNotPositiveDefiniteError:
        return None


def _solve(factor: Any) -> Solve:
    return lambda rhs: np.asarray(factor(np.asfortranarray(rhs)))
