"""Calls functions of the user so that they cannot change what is ours.

They get copies, and their answers are checked and copied.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from rbm.errors import ModelError

__all__ = ["FactorizedSolver", "Factorizer", "Solver", "UserOperator", "UserSolver", "check_executor", "numbers"]


class Factorizer(Protocol):
    """An object that factorises a matrix once, and solves with its factors."""

    def factorize(self, matrix: Any) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function B (n, k) -> X (n, k) with A X = B, for a matrix A (n, n)."""


#: solver(A (n, n), B (n, k)) -> X (n, k) with A X = B, or an object with factorize(A) -> solve
Solver = Callable[[Any, np.ndarray], np.ndarray] | Factorizer


class UserSolver:
    """Solves X = A^{-1} B (n, k) by ``solver(A, B)``, a function of the user, for one matrix A (n, n).

    The solver may overwrite what it is given, keep it, and return a buffer of its own or its argument:

    - A is a private copy, the same object in all calls, so that a factorisation may be kept with it; before each call
      it is compared with the matrix, and if it was changed the solver gets a new one. A LinearOperator is handed
      out as it is
    - B is a new copy in every call, writable, in the order of memory that the right-hand side has
    - X is checked and copied
    - with no columns, k = 0, there is nothing to solve and the solver is not called

    What is right is not checked here: the caller looks at the residual.

    Raises
    ------
    ModelError
        the answer is not an array of k columns of finite numbers; the message says what it is and what is expected. Or
        the solver raised an error, which the message quotes, and which is its `__cause__`.

    Cost beyond the solver's own: a pass over A and two over B in every call.
    """

    def __init__(self, solver: Callable[[Any, np.ndarray], np.ndarray], matrix: Any) -> None:
        self._solver, self._matrix = solver, matrix
        self._handed_out: Any = None

    def __call__(self, rhs: np.ndarray) -> np.ndarray:
        """Return X (n, k) in double precision; real if A and B are."""
        black_box = not (sp.issparse(self._matrix) or isinstance(self._matrix, np.ndarray))
        complex_valued = np.iscomplexobj(rhs) or np.iscomplexobj(self._matrix) or black_box
        if rhs.shape[1] == 0:
            return np.zeros(rhs.shape, np.result_type(rhs, getattr(self._matrix, "dtype", None) or float, float))
        if black_box:
            self._handed_out = self._matrix
        elif self._handed_out is None or not _same(self._handed_out, self._matrix):
            self._handed_out = self._matrix.copy() if sp.issparse(self._matrix) else np.array(self._matrix)
        answer = _called("solver", self._solver, self._handed_out, np.array(rhs))
        answer = numbers("solver", answer, rhs.shape, "right-hand side")
        # the solution of a real system is real: an imaginary part is the solver's error, and the real part is nearer
        return answer if complex_valued else answer.real


class FactorizedSolver:
    """Solves X = A^{-1} B (n, k) with the factors that ``solver.factorize(A)`` made, once, at the first solve.

    The solver gets a private copy of A, which it may change (a LinearOperator as it is); its solve function gets new
    copies of the right-hand sides, of A's type: complex ones of a real A come as twice as many real columns. X is
    checked and copied, as for :class:`UserSolver`.

    Raises ModelError where `factorize` returns no function, its answer is not k columns of finite numbers, or one of
    both raises an error, which is then the `__cause__`.
    """

    def __init__(self, solver: Factorizer, matrix: Any) -> None:
        self._solver, self._matrix = solver, matrix
        self._solve: Callable[[np.ndarray], np.ndarray] | None = None

    def __call__(self, rhs: np.ndarray) -> np.ndarray:
        """Return X (n, k) in double precision; real if A and B are."""
        black_box = not (sp.issparse(self._matrix) or isinstance(self._matrix, np.ndarray))
        dtype = np.result_type(getattr(self._matrix, "dtype", None) or float, float)
        if rhs.shape[1] == 0:
            return np.zeros(rhs.shape, np.result_type(rhs, dtype))
        if not black_box and np.iscomplexobj(rhs) and not np.issubdtype(dtype, np.complexfloating):
            both = self(np.concatenate([rhs.real, rhs.imag], axis=1))
            return both[:, : rhs.shape[1]] + 1j * both[:, rhs.shape[1] :]
        if self._solve is None:
            self._solve = self._factorized()
        # the order of memory stays: engines that want columns take them as they are
        right = np.array(rhs, dtype=np.result_type(rhs, dtype))
        answer = numbers("solver", _called("solver", self._solve, right), rhs.shape, "right-hand side")
        return answer if black_box or np.iscomplexobj(right) else answer.real

    def _factorized(self) -> Callable[[np.ndarray], np.ndarray]:
        matrix = self._matrix
        if sp.issparse(matrix):
            matrix = matrix.copy()
        elif isinstance(matrix, np.ndarray):
            matrix = np.array(matrix)
        solve = _called("solver", self._solver.factorize, matrix)
        if not callable(solve):
            raise ModelError(
                f"factorize of the solver {type(self._solver).__name__} must return a function rhs (n, k) -> (n, k), "
                f"it returned {solve!r}"
            )
        return solve


def _called(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what code of the user answers, called `name` in messages; what it raises becomes a ModelError.

    A package that is missing, and memory that is, keep their type: they are not about one matrix.
    """
    try:
        return function(*arguments)
    except (ModelError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(f"the {name} raised {type(error).__name__}: {error or 'no message'}") from error


class UserOperator(LinearOperator):
    """The LinearOperator of the user, called with copies of the vectors; its answers are checked and copied.

    Columns go to its `matmat` if it has one of its own, else one by one to its `matvec`, as vectors (n,): for functions
    written for vectors, x -> w * x, a column (n, 1) is something else. A matvec that fails for (n,) is tried with
    (n, 1).
    """

    def __init__(self, operator: Any) -> None:
        self.operator = aslinearoperator(operator)
        super().__init__(self.operator.dtype, self.operator.shape)

    def _matmat(self, x: np.ndarray) -> np.ndarray:
        return self._apply("matmat", "matvec", x)

    def _rmatmat(self, x: np.ndarray) -> np.ndarray:
        return self._apply("rmatmat", "rmatvec", x)

    def _matvec(self, x: np.ndarray) -> np.ndarray:
        return self._matmat(x.reshape(-1, 1))

    def _rmatvec(self, x: np.ndarray) -> np.ndarray:
        return self._rmatmat(x.reshape(-1, 1))

    def _apply(self, columns: str, vector: str, x: np.ndarray) -> np.ndarray:
        if x.shape[1] == 0:
            return np.zeros(x.shape, np.result_type(x, self.dtype or float, float))
        whole = _takes_columns(self.operator, columns)
        function = getattr(self.operator, columns) if whole else _by_vectors(getattr(self.operator, vector))
        answer = _called("LinearOperator", function, np.array(x))
        return numbers("LinearOperator", answer, x.shape, "matrix of columns")


def _takes_columns(operator: Any, method: str) -> bool:
    """Return True if the operator has a `matmat` (`rmatmat`) of its own, not SciPy's loop over columns.

    All that it is composed of must have one, too.
    """
    if type(operator).__name__ == "_CustomLinearOperator":  # made from functions
        return getattr(operator, f"_CustomLinearOperator__{method}_impl", None) is not None
    if getattr(type(operator), f"_{method}", None) is getattr(LinearOperator, f"_{method}"):
        return False
    parts = [part for part in getattr(operator, "args", ()) if isinstance(part, LinearOperator)]
    # the adjoint of a part is applied by the other method; both must be there
    return all(_takes_columns(part, "matmat") and _takes_columns(part, "rmatmat") for part in parts)


def _by_vectors(function: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function of a vector (n,) applied to each column of (n, k)."""

    def apply(x: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(_of_vector(function, column)).reshape(-1) for column in x.T], axis=1)

    return apply


def _of_vector(function: Callable[[np.ndarray], Any], vector: np.ndarray) -> Any:
    try:
        return function(np.array(vector))
    except Exception:
        with suppress(Exception):
            return function(np.array(vector)[:, None])
        raise  # what it said of the vector


def check_executor(executor: Any) -> Any:
    """Return the executor itself: None, or an object with the method `map` of concurrent.futures.Executor.

    Raises ModelError for others.
    """
    if executor is None or (callable(getattr(executor, "map", None)) and not isinstance(executor, type)):
        return executor
    shown = executor.__name__ if isinstance(executor, type) else repr(executor)
    workers = executor if isinstance(executor, int) and executor > 0 else 4
    raise ModelError(
        f"executor must be an object with a method map, such as concurrent.futures.ThreadPoolExecutor({workers}), got "
        f"{shown}"
    )


def numbers(name: str, given: Any, shape: tuple[int, ...], argument: str) -> np.ndarray:
    """Return a checked copy, in double precision, of what user code returned.

    The code is called `name` in messages, and answered to an `argument` of the given shape (n, k).

    Raises ModelError for None, sparse and masked arrays, anything that NumPy does not read as numbers, another shape,
    NaN and infinities.
    """
    wanted = f"it must return a dense array of numbers of shape {shape}"
    kind = type(given).__name__
    if given is None:
        raise ModelError(f"the {name} returned None for a {argument} of shape {shape}; {wanted}")
    if sp.issparse(given):
        raise ModelError(f"the {name} returned a sparse {kind} of shape {given.shape}; {wanted}: call .toarray()")
    if np.ma.is_masked(given):
        raise ModelError(f"the {name} returned an array with {np.ma.count_masked(given)} masked entries; {wanted}")
    try:
        array = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the {name} returned a {kind} that is no array ({error}); {wanted}") from error
    if array.dtype.kind not in "iufc":
        raise ModelError(f"the {name} returned a {kind} of {array.dtype}; {wanted}")
    if array.shape != shape:
        hint = "; transpose it" if array.shape == shape[::-1] else ""
        if array.ndim == 1:
            hint = (
                "; for one column return x[:, None], for several solve column by column and use np.stack(..., axis=1)"
            )
        raise ModelError(f"the {name} returned shape {array.shape} for a {argument} of shape {shape}{hint}")
    if not np.all(np.isfinite(array)):
        row, column = np.argwhere(~np.isfinite(array))[0]
        raise ModelError(
            f"the {name} returned {int((~np.isfinite(array)).sum())} entries that are NaN or infinite for a {argument} "
            f"of shape {shape}, the first in row {row} of column {column}: the matrix is singular, or the {name} failed"
        )
    return np.array(array, dtype=complex if array.dtype.kind == "c" else float)


def _same(copy: Any, matrix: Any) -> bool:
    """Return True if the copy that user code had still is the matrix."""
    if not sp.issparse(matrix):
        return np.array_equal(copy, matrix)
    parts = ("data", "indices", "indptr")
    return copy.shape == matrix.shape and all(np.array_equal(getattr(copy, p), getattr(matrix, p)) for p in parts)
