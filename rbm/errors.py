"""The errors of this package.

All derive from the built-in class a caller would expect, so plain `except` clauses work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.reading import FileFormatError

__all__ = [
    "EstimatorUnusable",
    "FileFormatError",
    "Interrupted",
    "ModelError",
    "ParameterError",
    "PointError",
    "StabilityError",
    "WorkersLost",
    "WorkspaceError",
    "moved",
    "refused",
]


class PointError(ValueError):
    """The base of the errors about parameter points, one or many of a batch.

    rows : (k,) which rows of the batch are concerned, if it is some of them; None if the whole call is wrong
    solution : the answers for all other rows, those concerned are marked: a Solution of :meth:`rbm.ReducedModel.solve`,
        an Estimate of `estimate`, an array of :meth:`rbm.FullOrderModel.solve`; None elsewhere, and where no point has
        an answer
    """

    rows: np.ndarray | None = None
    solution: Any = None
    #: (row of the batch, its description) -> message
    describe: Callable[[int, str], str] | None = None
    #: which parameter or coefficient it is about: failures about different ones are told apart
    about: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the state for pickle, from one process to another.

        It is all but `describe`, which is a function made on the spot.
        """
        return type(self), self.args, {k: v for k, v in self.__dict__.items() if k != "describe"}


class ModelError(PointError):
    """The full-order model is not what it claims: shapes, an indefinite product, a singular matrix."""


class WorkspaceError(ModelError):
    """A folder for tall matrices that is full, read-only, in use, or not what it should be.

    result : what was finished before it happened, such as a :class:`rbm.GreedyResult`; None if there is nothing
    """

    result: Any = None


class ParameterError(PointError):
    """A parameter value that is outside its range, NaN, or of the wrong shape or name."""


class StabilityError(PointError):
    """A stability bound that is not a positive number, or a min-theta bound whose conditions do not hold."""


class WorkersLost(ModelError):
    """The workers of an executor have died, or it was shut down; `solution` holds what was done, if anything was."""


class EstimatorUnusable(ValueError):
    """An estimator that round-off has made meaningless for this model (a singular T in E3, say)."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during long work; `result` holds what was finished."""

    def __init__(self, message: str, result: Any) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the state for pickle, which would call the class with the message alone."""
        return type(self), (*self.args, self.result)


def refused(kind: type[PointError], bad: Any, message: Callable[[int, str], str], about: Any = None) -> PointError:
    """Return the error about the rows where `bad` (M,) is true.

    Its `rows` are a NumPy array wherever `bad` lives.

    message : (i, where) -> text about row i of the batch, `where` being "row 7" or "row 7, 3 such points"
    """
    rows = np.flatnonzero(to_numpy(bad))
    i = int(rows[0])
    error = kind(message(i, place(i, len(rows))))
    error.rows, error.describe, error.about = rows, message, about
    return error


def moved(error: PointError, first: int, count: int) -> PointError:
    """Return the error about rows of a part of a batch as one about the same rows of the batch.

    first : where the part begins; count : the number of rows of the batch. One that names no rows stays as it is.
    """
    if error.rows is None or error.describe is None:
        return error
    bad, local = np.zeros(count, dtype=bool), error.describe
    bad[first + error.rows] = True
    return refused(type(error), bad, lambda i, where: local(i - first, where), error.about)


def scattered(error: PointError, rows: np.ndarray, count: int) -> PointError:
    """Return the error about some rows of a batch, in order (m,), as one about the same rows of all `count`.

    One that names no rows stays as it is. Errors of different parts that say the same are of one kind.
    """
    local = error.describe
    if error.rows is None or local is None:
        if error.rows is not None:
            error.rows = rows[error.rows]
        return error
    bad = np.zeros(count, dtype=bool)
    bad[rows[error.rows]] = True
    about = getattr(local, "__code__", None), error.about
    return refused(type(error), bad, lambda i, where: local(int(np.searchsorted(rows, i)), where), about)


def place(row: int, count: int) -> str:
    """Return which row it is, and how many points are like it, if there are more."""
    return f"row {row}" if count == 1 else f"row {row}, {count} such points"
