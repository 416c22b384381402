"""A matrix seen through some of its rows, columns and entries: from an array or from functions, checked and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowrank.arrays import all_true, beside, namespace, numpy_dtype, to_numpy

__all__ = ["Entries", "entries_of_array", "is_pair"]

Reader = Callable[..., Any]


class Entries:
    """Rows, columns and single entries of an (m, n) matrix, as they are asked for.

    `rows(i (k,)) -> (k, n)`, `columns(j (k,)) -> (m, k)` and, where it is there, `entries(i (k,), j (k,)) -> (k,)`, for NumPy
    integers. What comes back is checked: shape, one type of entries, no NaN or infinity. `read` counts the entries.
    """

    def __init__(
        self, shape: tuple[int, int], rows: Reader, columns: Reader, entries: Reader | None, of_array: bool = False
    ) -> None:
        self.shape = shape
        self.read = 0
        self.pointwise = entries is not None
        self._of_array = of_array
        self._readers = {"rows": rows, "columns": columns, "entries": entries}
        self._dtype: np.dtype | None = None

    def rows(self, i: np.ndarray) -> Any:
        """A[i, :] (k, n)."""
        return self._checked("rows", (i,), (len(i), self.shape[1]))

    def columns(self, j: np.ndarray) -> Any:
        """A[:, j] (m, k)."""
        return self._checked("columns", (j,), (self.shape[0], len(j)))

    def entries(self, i: np.ndarray, j: np.ndarray) -> Any:
        """A[i_k, j_k] (k,)."""
        return self._checked("entries", (i, j), (len(i),))

    def _checked(self, name: str, indices: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> Any:
        values = self._readers[name](*indices)  # type: ignore[misc]
        if not hasattr(values, "shape"):
            values = np.asarray(values)
        if tuple(values.shape) != shape:
            raise ValueError(
                f"{name}(...) must return shape {shape} for {_how_many(indices)}, got {tuple(values.shape)}"
            )
        kind = numpy_dtype(values).kind
        xp = namespace(values)
        if kind in "biu":
            values = xp.astype(values, xp.float64)
        elif kind not in "fc":
            raise TypeError(f"{name}(...) must return numbers, got dtype {values.dtype}")
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
            source = "matrix has" if self._of_array else f"{name}(...) returned"
            raise ValueError(f"{source} {to_numpy(values[k])[()]} for the entry ({i}, {j}); remove or recompute it")
        self.read += values.size if isinstance(values, np.ndarray) else int(np.prod(shape))
        return values


def is_pair(matrix: Any) -> bool:
    """True for two functions (rows, columns) in the place of a matrix."""
    return isinstance(matrix, tuple) and len(matrix) == 2 and all(callable(f) for f in matrix)


def _how_many(indices: tuple[np.ndarray, ...]) -> str:
    """How many indices, in words."""
    return f"{len(indices[0])} ind{'ex' if len(indices[0]) == 1 else 'ices'}"


def entries_of_array(matrix: Any) -> Entries:
    """The same of an array (m, n), which is neither copied nor read as a whole."""
    xp = namespace(matrix)

    def rows(i: np.ndarray) -> Any:
        return matrix[int(i[0]), :][None, :] if len(i) == 1 else xp.take(matrix, beside(i, matrix), axis=0)

    def columns(j: np.ndarray) -> Any:
        return matrix[:, int(j[0])][:, None] if len(j) == 1 else xp.take(matrix, beside(j, matrix), axis=1)

    def entries(i: np.ndarray, j: np.ndarray) -> Any:
        return matrix[beside(i, matrix), beside(j, matrix)]

    return Entries((matrix.shape[0], matrix.shape[1]), rows, columns, entries, of_array=True)
