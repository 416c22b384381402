"""PARDISO of Intel's MKL (pip install pypardiso): supernodal factors, several times faster than SuperLU in space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.errors import ModelError
from rbm.solvers import mkl
from rbm.solvers.cholesky_proof import cholesky_error
from rbm.solvers.factorization import Solve, factorize
from rbm.solvers.trial import solves_one

__all__ = ["Pardiso"]

#: MKL's types of real and complex matrices.
DEFINITE, SYMMETRIC, STRUCTURED, GENERAL = (2, 4), (-2, -4), (1, 3), (11, 13)
COMPLEX_SYMMETRIC = 6


@dataclass(frozen=True)
class Pardiso:
    """The sparse direct solver PARDISO of MKL, through pypardiso: real and complex, Hermitian or not.

    A Hermitian matrix with a positive diagonal is taken for positive definite (Cholesky, its upper triangle), and for
    an indefinite one where a pivot is not positive; one of symmetric pattern is eliminated in a symmetric order; for
    others, and where that failed, large entries are matched to the diagonal first. The order of elimination is found
    once per pattern, and taken again for the next A(mu): the bits are the same. A dense matrix goes to LAPACK.

    Parameters
    ----------
    threads : of MKL; one by default, so that results do not depend on how many processors there are. More of them, or
        None for as many as MKL takes, change last bits: for one large model on one machine

    Proved: :meth:`cholesky` bounds what a factorisation that succeeds leaves open (rbm.solvers.cholesky_proof).
    Memory: MKL's own, freed when the solve function is.

    Raises ModelError for a number of threads that is none; ImportError without pypardiso, when it is used.

    Source: Schenk, Gartner, Future Gener. Comput. Syst. 20 (2004) 475-487.
    """

    threads: int | None = 1

    def __post_init__(self) -> None:
        """Raise ModelError for an option that means nothing."""
        if self.threads is not None and not (type(self.threads) is int and self.threads > 0):
            raise ModelError(f"threads of Pardiso must be a whole number of at least 1, or None, got {self.threads!r}")

    def factorize(self, matrix: Any) -> Solve:
        """Return the solve function of a matrix (n, n).

        Raises ModelError for a singular matrix, ImportError without pypardiso.
        """
        if not sp.issparse(matrix):
            return factorize(matrix)
        check_rows(matrix)
        failed: Exception | None = None
        for kind in _kinds(matrix):
            try:
                solve = mkl.Factors(matrix, kind, self.threads)
            except mkl.PardisoError as error:
                if error.code in (-2, -8, -9):
                    raise
                failed = error
                continue
            if solves_one(solve, matrix):
                return solve
        raise ModelError("the matrix is singular to working precision" + (f" ({failed})" if failed else ""))

    def cholesky(self, matrix: Any, prove: bool = True) -> tuple[Solve, float | None] | None:
        """Return the solve function of a sparse Hermitian H (n, n) and e with H + e I >= 0, proved (None: nothing is).

        None if H is not positive definite: a pivot is not positive.

        Raises ImportError without pypardiso, and MKL's own errors but that of a pivot.
        """
        if not np.all(matrix.diagonal().real > 0):
            return None
        try:
            solve = mkl.Factors(matrix, DEFINITE[np.iscomplexobj(matrix)], self.threads)
        except mkl.PardisoError as error:
            if error.code == mkl.NOT_POSITIVE:
                return None
            raise
        if solve.perturbed or not solves_one(solve, matrix):
            return None
        return solve, cholesky_error(matrix, solve.entries) if prove else None


def check_rows(matrix: Any) -> None:
    """Raise ModelError for a matrix with a row or a column without entries, on which libraries end the process."""
    for part, name in ((sp.csr_array(matrix), "row"), (sp.csc_array(matrix), "column")):
        empty = np.flatnonzero(np.diff(part.indptr) == 0)
        if len(empty):
            raise ModelError(f"the matrix is singular: {name} {empty[0]} has no entries")


def _kinds(matrix: Any) -> Iterator[int]:
    """Yield the types of matrices to try, the fastest first."""
    is_complex = np.iscomplexobj(matrix)
    transposed = sp.csr_array(matrix.T)
    if _equal(matrix, transposed.conj()):
        if np.all(matrix.diagonal().real > 0):
            yield DEFINITE[is_complex]
        yield SYMMETRIC[is_complex]
    elif is_complex and _equal(matrix, transposed):
        yield COMPLEX_SYMMETRIC
    elif _equal(_pattern(matrix), _pattern(transposed)):
        yield STRUCTURED[is_complex]
    yield GENERAL[is_complex]


def _equal(first: Any, second: Any) -> bool:
    return (first != second).nnz == 0


def _pattern(matrix: Any) -> Any:
    csr = sp.csr_array(matrix)
    return sp.csr_array((np.ones(csr.nnz, np.int8), csr.indices, csr.indptr), csr.shape)
