"""What `solver=` takes: nothing, a name, a function, or an object that keeps its factors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.errors import ModelError
from rbm.solvers.amg import AMG
from rbm.solvers.automatic import Auto
from rbm.solvers.cholmod import Cholmod
from rbm.solvers.definite import Prove
from rbm.solvers.factorization import Solve, factorize_positive_definite
from rbm.solvers.pardiso import Pardiso
from rbm.solvers.petsc import PETSc
from rbm.solvers.superlu import SuperLU
from rbm.solvers.updated import user_solve

__all__ = ["NAMED", "prover", "read_solver", "shown", "solve_positive_definite"]

#: The solvers that have a name, with their defaults.
NAMED: dict[str, Callable[[], Any]] = {
    "superlu": SuperLU,
    "pardiso": Pardiso,
    "cholmod": Cholmod,
    "amg": AMG,
    "petsc": PETSc,
    "auto": Auto,
}


def read_solver(given: Any) -> Any:
    """Return None, a function, or an object with the method `factorize`, from what a user gave.

    Raises ModelError for anything else: a name that is not known, a class in place of an object.
    """
    if isinstance(given, str):
        if given not in NAMED:
            raise ModelError(f"solver={given!r} is not known; names are {', '.join(map(repr, NAMED))}")
        return NAMED[given]()
    if isinstance(given, type) and hasattr(given, "factorize"):
        raise ModelError(f"solver must be an object, got the class {given.__name__}: write {given.__name__}()")
    if given is None or callable(getattr(given, "factorize", None)) or callable(given):
        return given
    raise ModelError(
        f"solver must be a function (matrix, rhs (n, k)) -> (n, k), an object with factorize(matrix) -> solve, or one "
        f"of the names {', '.join(map(repr, NAMED))}, got {given!r}"
    )


def shown(solver: Any, matrix: Any) -> str:
    """Return how messages call a solver: its class, the name of a function, of "auto" the one that it chooses."""
    if (choose := getattr(solver, "choice", None)) is not None:
        return f"{type(solver).__name__}, which chose {shown(choose(matrix).solver, matrix)}"
    if hasattr(solver, "factorize"):
        return type(solver).__name__
    return f"the function {getattr(solver, '__name__', type(solver).__name__)}"


def prover(solver: Any, matrix: Any) -> Prove | None:
    """Return the function (H, prove=True) -> (solve, e) | None that proves H + e I >= 0 for matrices such as this one.

    It is `cholesky` of the solver (:class:`rbm.solvers.Pardiso`); None if the solver has none, or the matrix is dense.
    """
    if not sp.issparse(matrix):
        return None
    if (choose := getattr(solver, "proving", None)) is not None:
        return choose(matrix)
    cholesky = getattr(solver, "cholesky", None)
    return None if cholesky is None else partial(_checked, cholesky)


def _checked(cholesky: Prove, matrix: Any, prove: bool = True) -> tuple[Solve, float | None] | None:
    """Return what `cholesky` of a solver returns; raise ModelError for what is no proof: it may be of the user."""
    made: Any = cholesky(matrix, prove=prove)
    if made is None:
        return None
    if not (isinstance(made, tuple) and len(made) == 2 and callable(made[0])):
        raise ModelError(f"cholesky of the solver must return (solve, e) or None, it returned {made!r}")
    error = made[1]
    if prove and error is not None:
        is_number = isinstance(error, int | float | np.number) and not np.iscomplexobj(error)
        if not (is_number and np.isfinite(error) and error >= 0):
            raise ModelError(f"the e of cholesky of the solver, H + e I >= 0, must be a number >= 0, got {error!r}")
    return made


def solve_positive_definite(solver: Any, matrix: Any) -> Solve | None:
    """Return the solve function of a Hermitian matrix, None if a factorisation shows that it is not positive definite.

    Of a solver that only solves nothing is seen: who takes the function looks at residuals.
    """
    if solver is None:
        return factorize_positive_definite(matrix)
    if (cholesky := prover(solver, matrix)) is None:
        return _named(user_solve(solver, matrix))
    made = cholesky(matrix, prove=False)
    return None if made is None else _of_both_types(made[0], matrix)


def _named(solve: Solve) -> Solve:
    """Return the solve function whose errors say that they are about the product, and at no parameter point."""

    def named(rhs: np.ndarray) -> np.ndarray:
        try:
            return solve(rhs)
        except ModelError as error:
            raise ModelError(f"a solve with the product failed: {error}") from error

    return named


def _of_both_types(solve: Solve, matrix: Any) -> Solve:
    """Return the solve function for complex right-hand sides, too: those of a real matrix in two parts."""

    def both(rhs: np.ndarray) -> np.ndarray:
        if not rhs.shape[1]:
            return np.zeros(rhs.shape, np.result_type(rhs, matrix.dtype, float))
        if np.iscomplexobj(rhs) and not np.iscomplexobj(matrix):
            return solve(rhs.real) + 1j * solve(rhs.imag)
        return solve(rhs)

    return both
