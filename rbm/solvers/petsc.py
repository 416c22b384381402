"""PETSc (petsc4py): a KSP with the options that you would give on the command line, on a communicator."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from rbm.errors import ModelError
from rbm.solvers.factorization import Solve, factorize

__all__ = ["PETSc"]

#: Prefixes of options, one for each matrix: PETSc's data base of options is one for the process.
_numbers = count()


@dataclass(frozen=True)
class PETSc:
    """A Krylov solver of PETSc, or one of the direct solvers behind it, if you have petsc4py.

    Every process of the communicator makes the same calls with the same matrix, of which each keeps its rows; right-
    hand sides and solutions are whole arrays on all of them.

    Parameters
    ----------
    options : as on the command line: "-ksp_type cg -pc_type gamg -ksp_rtol 1e-10", "-ksp_type preonly -pc_type lu
        -pc_factor_mat_solver_type mumps". By default GMRES with an incomplete LU, rtol 1e-10. They are in PETSc's data
        base under a prefix of their own while the factors live, as parts of it are read at the first solve, and are
        removed then
    comm : the communicator, PETSc's own default if None; one that cannot be pickled stays in its process

    Nothing is proved with it: definiteness of more than 5000 unknowns is measured (docs/solvers.md).

    Raises ModelError for options that are no text; ImportError without petsc4py, when it is used.
    """

    options: str = ""
    comm: Any = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Raise ModelError for an option that means nothing."""
        if not isinstance(self.options, str):
            raise ModelError(f"options of PETSc must be a text as on its command line, got {self.options!r}")

    def factorize(self, matrix: Any) -> Solve:
        """Return the solve function of a matrix (n, n), which raises ModelError where the iteration does not converge.

        A dense matrix goes to LAPACK. Raises ImportError without petsc4py, ModelError for complex numbers with a PETSc
        of real scalars.
        """
        if not sp.issparse(matrix):
            return factorize(matrix)
        petsc = require("petsc4py.PETSc", "petsc4py", 'solver="petsc"')
        if np.iscomplexobj(matrix) and not np.issubdtype(petsc.ScalarType, np.complexfloating):
            raise ModelError(
                "this PETSc has real scalars and the matrix is complex: take one built for complex numbers"
            )
        prefix = f"rbm{next(_numbers)}_"
        options = [(prefix + name, value) for name, value in _pairs(self.options)]
        table = petsc.Options()
        try:
            for name, value in options:
                table.setValue(name, value)
            ksp, first, last = self._solver(petsc, sp.csr_array(matrix), prefix)
        except BaseException:
            _remove(table, options)
            raise

        def solve(rhs: np.ndarray) -> np.ndarray:
            if not rhs.shape[1]:
                return np.zeros(rhs.shape, np.result_type(matrix.dtype, rhs))
            return np.stack([self._column(petsc, ksp, first, last, b, np.iscomplexobj(matrix)) for b in rhs.T], axis=1)

        weakref.finalize(solve, _remove, table, options).atexit = False  # PETSc may have ended before
        return solve

    def _solver(self, petsc: Any, csr: Any, prefix: str) -> tuple[Any, int, int]:
        comm = petsc.COMM_WORLD if self.comm is None else self.comm
        a = petsc.Mat().create(comm=comm)
        a.setSizes(csr.shape)
        a.setType("aij")
        a.setUp()
        first, last = a.getOwnershipRange()
        own = csr[first:last]
        index = petsc.IntType
        a.setPreallocationCSR((own.indptr.astype(index), own.indices.astype(index), own.data))
        a.assemble()
        ksp = petsc.KSP().create(comm=comm)
        ksp.setOptionsPrefix(prefix)
        ksp.setTolerances(rtol=1e-10)
        ksp.setOperators(a)
        ksp.setFromOptions()
        return ksp, first, last

    def _column(self, petsc: Any, ksp: Any, first: int, last: int, b: np.ndarray, is_complex: bool) -> np.ndarray:
        operator = ksp.getOperators()[0]
        x, right = operator.createVecs()
        right.setArray(b[first:last])
        ksp.solve(right, x)
        reason = ksp.getConvergedReason()
        if reason < 0:
            raise ModelError(
                f"PETSc did not converge: reason {reason} after {ksp.getIterationNumber()} iterations, residual "
                f"{ksp.getResidualNorm():.1e} with the options {self.options!r}; give others, or a direct solver "
                '("-ksp_type preonly -pc_type lu")'
            )
        scatter, whole = petsc.Scatter.toAll(x)
        scatter.scatter(x, whole, addv=petsc.InsertMode.INSERT, mode=petsc.ScatterMode.FORWARD)
        answer = np.array(whole.getArray())
        return answer if is_complex else answer.real


def _remove(table: Any, options: list[tuple[str, str]]) -> None:
    """Remove options from PETSc's data base."""
    for name, _ in options:
        table.delValue(name)


def _pairs(options: str) -> list[tuple[str, str]]:
    """Return names and values of "-name value -flag"; raises ModelError for a value without a name."""
    pairs: list[tuple[str, str]] = []
    for word in options.split():
        if word.startswith("-") and not word[1:2].isdigit():
            pairs.append((word[1:], ""))
        elif pairs and not pairs[-1][1]:
            pairs[-1] = pairs[-1][0], word
        else:
            raise ModelError(f"options of PETSc are pairs '-name value', got {word!r} in {options!r}")
    return pairs
