"""A tall matrix that grows by columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from rbm.arithmetic.precision import column_norm_bounds

__all__ = ["BLOCK", "Columns", "Piece", "Store", "column_blocks", "row_blocks", "sizes_in_units"]

#: Columns that are stored together.
WIDTH = 64
#: Rows of a piece that are worked on together: they stay in cache.
ROWS = 2048
#: Bytes of a temporary that holds some columns of full length.
BLOCK = 1 << 24


class Piece(Protocol):
    """Columns (n, width) that are stored together, in memory or in a file."""

    @property
    def array(self) -> np.ndarray:
        """All of them, to be read, column by column in memory or mapped into it."""

    def write(self, start: int, columns: np.ndarray) -> None:
        """Set columns `start`, `start + 1`, ..."""


class Store(Protocol):
    """What makes pieces: :class:`rbm.storage.workspace.Workspace`, or memory where there is none."""

    def piece(self, rows: int, width: int, dtype: np.dtype) -> Piece:
        """Return room for columns (rows, width), zeros so far."""


class _InMemory:
    """A piece in memory; what no column was written to takes none."""

    def __init__(self, rows: int, width: int, dtype: np.dtype) -> None:
        self.array = np.zeros((rows, width), dtype, "F")

    def write(self, start: int, columns: np.ndarray) -> None:
        self.array[:, start : start + columns.shape[1]] = columns


class Columns:
    """A matrix (n, k) that grows by columns, kept in pieces of 64 columns.

    Growing copies nothing, and takes no memory that is not used: for a matrix that one step makes a few columns wider,
    and reads two or three times, new memory is what costs (7081 x 271 in one piece whose room is doubled: 50 ms; in
    pieces: 7 ms).

    store : where the pieces are; memory by default
    """

    def __init__(self, n: int, store: Store | None = None) -> None:
        self.rows, self.width, self._store = n, 0, store
        self.pieces: list[np.ndarray] = []  #: (n, up to 64) each, column by column in memory; the last one still grows
        self._kept: list[Piece] = []

    @property
    def dtype(self) -> np.dtype:
        """The common type of the pieces, which differ where complex columns followed real ones."""
        return np.result_type(float, *self.pieces)

    @property
    def array(self) -> np.ndarray:
        """All columns (n, k), in memory; a copy if there is more than one piece, or a store."""
        if len(self.pieces) == 1:
            return self.pieces[0] if self._store is None else np.array(self.pieces[0], order="F")
        made = np.empty((self.rows, self.width), self.dtype, "F")
        for start, piece in zip(range(0, self.width, WIDTH), self.pieces, strict=True):
            made[:, start : start + piece.shape[1]] = piece
        return made

    def append(self, columns: np.ndarray) -> None:
        """Add columns (n, j) at the right."""
        while columns.shape[1]:
            used = self.width % WIDTH
            dtype = np.result_type(columns, float)
            if not used:
                self._kept.append(self._piece(dtype))
                self.pieces.append(self._kept[-1].array[:, :0])
            elif (wider := np.result_type(dtype, self.pieces[-1])) != self.pieces[-1].dtype:
                piece = self._piece(wider)
                piece.write(0, self.pieces[-1])
                self._kept[-1] = piece
            end = min(used + columns.shape[1], WIDTH)
            self._kept[-1].write(used, columns[:, : end - used])
            self.pieces[-1] = self._kept[-1].array[:, :end]
            self.width += end - used
            columns = columns[:, end - used :]

    def cut(self, width: int) -> None:
        """Forget all but the first `width` columns."""
        count = -(-width // WIDTH)
        del self._kept[count:], self.pieces[count:]
        if count:
            self.pieces[-1] = self.pieces[-1][:, : width - WIDTH * (count - 1)]
        self.width = width

    def _piece(self, dtype: np.dtype) -> Piece:
        make = _InMemory if self._store is None or not self.rows else self._store.piece
        return make(self.rows, WIDTH, np.dtype(dtype))


def row_blocks(n: int) -> Iterator[slice]:
    """Yield the rows of a tall matrix in blocks that stay in cache. They depend on n alone, and so do all bits."""
    return (slice(start, min(start + ROWS, n)) for start in range(0, n, ROWS))


def column_blocks(n: int, columns: int) -> Iterator[slice]:
    """Yield columns of full length n in blocks of 16 MB, or of one column. They depend on the shape alone."""
    size = max(1, BLOCK // (8 * max(n, 1)))
    return (slice(start, min(start + size, columns)) for start in range(0, columns, size))


def sizes_in_units(vectors: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return bounds (m,) of ||diag(units) v||_2 for each column v of (n, m)."""
    made = np.empty(vectors.shape[1])
    for some in column_blocks(*vectors.shape):
        made[some] = column_norm_bounds((vectors[:, some].T * units).T)  # columns are contiguous
    return made
