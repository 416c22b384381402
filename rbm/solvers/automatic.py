"""The solver that is chosen by the size and the graph of the matrix, and by what is installed."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from rbm.solvers.amg import AMG
from rbm.solvers.definite import Prove
from rbm.solvers.factorization import Solve
from rbm.solvers.graph import BODY, dimension
from rbm.solvers.pardiso import Pardiso
from rbm.solvers.superlu import SuperLU

__all__ = ["Auto", "Choice"]

#: Up to here a factorisation takes milliseconds, whoever makes it.
SMALL = 5000
#: Entries of factors: c n log2(n) in the plane, c n^{4/3} in space for nested dissection (measured: 2.1 and 5.1).
PLANE, SPACE = 2.5, 5.5
#: The share of the machine's memory that factors may take: P and one A(mu) are there at a time, and all else.
SHARE = 0.2


class Choice(NamedTuple):
    """A solver, and why it is taken."""

    solver: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.solver!r}: {self.reason}"


@dataclass(frozen=True)
class Auto:
    """Chooses for each matrix: SuperLU, PARDISO if it is installed, multigrid where factors do not fit into memory.

    :meth:`choice` says which one, and why. The same matrix on a machine with other packages or other memory may get
    another: name a solver where results must be the same to the last bit.
    """

    def choice(self, matrix: Any) -> Choice:
        """Return the solver for a matrix (n, n), and the reason in words. Cost: some products with its pattern."""
        if not sp.issparse(matrix):
            return Choice(SuperLU(), "the matrix is dense: LAPACK")
        n = matrix.shape[0]
        if n <= SMALL:
            return Choice(SuperLU(), f"{n} unknowns are few")
        d = dimension(matrix)
        body = d > BODY
        numbers = 2 if np.iscomplexobj(matrix) else 1
        entries = SPACE * _nodes(matrix) * n ** (1 / 3) * n if body else PLANE * n * np.log2(n) * _nodes(matrix)
        size = 8.0 * numbers * entries
        graph = f"{n} unknowns, a graph of dimension {d:.1f}"
        if size > SHARE * _memory() and _installed("pyamg") and _definite(matrix):
            held = f"factors would take about {size / 1e9:.0f} GB"
            return Choice(AMG(), f"{graph}: {held} of {_memory() / 1e9:.0f} GB; the matrix is Hermitian")
        if _installed("pypardiso"):
            return Choice(Pardiso(), f"{graph}; pypardiso is installed")
        if body and n > 10 * SMALL and _installed("pyamg") and _definite(matrix):
            return Choice(AMG(), f"{graph}: SuperLU is slow there, pypardiso is not installed, pyamg is")
        missing = "; pip install pypardiso would be several times faster" if body else ""
        return Choice(SuperLU(), f"{graph}; pypardiso is not installed{missing}")

    def factorize(self, matrix: Any) -> Solve:
        """Return the solve function of a matrix (n, n), by the solver of :meth:`choice`."""
        return self.choice(matrix).solver.factorize(matrix)

    def proving(self, matrix: Any) -> Prove | None:
        """Return `cholesky` of the solver of :meth:`choice` for a matrix (n, n); None where that one proves nothing."""
        return getattr(self.choice(matrix).solver, "cholesky", None)


def _nodes(matrix: Any) -> float:
    """Return how much fuller rows are than those of a scalar P1 element, as a factor of the fill."""
    return max(1.0, matrix.nnz / matrix.shape[0] / 15)


def _definite(matrix: Any) -> bool:
    """Return True for a Hermitian matrix with a positive diagonal."""
    csr = sp.csr_array(matrix)
    return bool(np.all(csr.diagonal().real > 0)) and (csr != csr.conj().T).nnz == 0


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _memory() -> float:
    """Return the bytes of memory of this machine."""
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
