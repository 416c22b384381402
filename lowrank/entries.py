"""Rows, columns and entries of a matrix that is an array or given by functions, checked and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowrank.arrays import all_true, beside, namespace, numpy_dtype, plain, to_numpy

__all__ = ["Entries", "entries_of_array", "is_pair"]

Reader = Callable[..., Any]
#: Entries that are asked for at a time, where all are.
PIECE = 2**20


class Entries:
    """Rows, columns and single entries of an (m, n) matrix, as they are asked for.

    `rows(i (k,)) -> (k, n)`, `columns(j (k,)) -> (m, k)` and, where it is there, `entries(i (k,), j (k,)) -> (k,)`, for
    NumPy integers. What comes back is checked: shape, one type of entries, no NaN or infinity. `read` counts the
    entries.
    """

    def __init__(
        self, shape: tuple[int, int], rows: Reader, columns: Reader, entries: Reader | None, array: Any = None
    ) -> None:
        self.shape = shape
        self.read = 0
        self.largest = 0.0  #: modulus of the largest entry read, of functions
        self.pointwise = entries is not None
        self.array = array  #: the matrix, if it is there
        self._readers = {"rows": rows, "columns": columns, "entries": entries}
        self._dtype: np.dtype | None = None

    def rows(self, i: np.ndarray) -> Any:
        """Read the rows A[i, :] (k, n)."""
        return self._checked("rows", (i,), (len(i), self.shape[1]))

    def columns(self, j: np.ndarray) -> Any:
        """Read the columns A[:, j] (m, k)."""
        return self._checked("columns", (j,), (self.shape[0], len(j)))

    def entries(self, i: np.ndarray, j: np.ndarray) -> Any:
        """Read the entries A[i_k, j_k] (k,)."""
        return self._checked("entries", (i, j), (len(i),))

    def whole(self) -> Any:
        """Read all of A (m, n)."""
        m, n = self.shape
        if self.array is not None:
            self.read += m * n
            return self.array
        step = max(1, PIECE // max(n, 1))
        pieces = [self.rows(np.arange(i, min(i + step, m))) for i in range(0, m, step)]
        return pieces[0] if len(pieces) == 1 else namespace(*pieces).concat(pieces, axis=0)

    def _checked(self, name: str, indices: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> Any:
        values = self._readers[name](*indices)  # type: ignore[misc]
        values = plain("the matrix" if self.array is not None else f"what {name}(...) returned", values)
        if tuple(values.shape) != shape:
            raise ValueError(
                f"{name}(...) must return shape {shape} for {_how_many(indices)}, got {tuple(values.shape)}"
            )
        xp = namespace(values)
        if numpy_dtype(values).kind in "biu":
            values = xp.astype(values, xp.float64)
        dtype = numpy_dtype(values)
        if self._dtype is None:
            self._dtype = dtype
        elif dtype != self._dtype:
            raise TypeError(f"{name}(...) returned {dtype}, the reading before {self._dtype}; return one dtype always")
        finite = xp.isfinite(values)
        if not all_true(finite):
            k = tuple(int(x) for x in np.argwhere(~to_numpy(finite))[0])
            i, j = {
                "rows": lambda: (int(indices[0][k[0]]), k[1]),
                "columns": lambda: (k[0], int(indices[0][k[1]])),
                "entries": lambda: (int(indices[0][k[0]]), int(indices[1][k[0]])),
            }[name]()
            source = "matrix has" if self.array is not None else f"{name}(...) returned"
            raise ValueError(f"{source} {to_numpy(values[k])[()]} for the entry ({i}, {j}); remove or recompute it")
        self.read += (size := int(np.prod(shape)))
        if self.array is None and size:
            self.largest = max(self.largest, float(xp.max(xp.abs(values))))
        return values


def is_pair(matrix: Any) -> bool:
    """Return whether two functions (rows, columns) stand in the place of a matrix."""
    return isinstance(matrix, tuple) and len(matrix) == 2 and all(callable(f) for f in matrix)


def _how_many(indices: tuple[np.ndarray, ...]) -> str:
    """Return how many indices there are, in words."""
    return f"{len(indices[0])} ind{'ex' if len(indices[0]) == 1 else 'ices'}"


def entries_of_array(matrix: Any) -> Entries:
    """Return the Entries of an array (m, n), which is neither copied nor read as a whole."""
    xp = namespace(matrix)

    def rows(i: np.ndarray) -> Any:
        return matrix[int(i[0]), :][None, :] if len(i) == 1 else xp.take(matrix, beside(i, matrix), axis=0)

    def columns(j: np.ndarray) -> Any:
        return matrix[:, int(j[0])][:, None] if len(j) == 1 else xp.take(matrix, beside(j, matrix), axis=1)

    def entries(i: np.ndarray, j: np.ndarray) -> Any:
        return matrix[beside(i, matrix), beside(j, matrix)]

    return Entries((matrix.shape[0], matrix.shape[1]), rows, columns, entries, matrix)
