"""An array as blocks of real numbers that share a scale, and back."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import is_complex, namespace, real_part

__all__ = ["Blocks", "blocks_of", "spread"]


@dataclass(frozen=True)
class Blocks:
    """Which numbers of an array share a scale.

    Lines are rows, columns or all of the array; each is cut into blocks of the same length. A complex number is two.
    """

    shape: tuple[int, ...]
    axis: int | None  #: 0: lines are rows, 1: columns, None: all is one line
    group: int | None  #: entries of a block as the user counts them; None for whole lines
    complex: bool

    @property
    def lines(self) -> int:
        """Number of rows, columns, or 1 for all."""
        return 1 if self.axis is None else self.shape[self.axis]

    @property
    def entries(self) -> int:
        """Entries of a line, real or complex."""
        return (
            math.prod(self.shape)
            if self.axis is None
            else math.prod(self.shape[1:])
            if self.axis == 0
            else self.shape[0]
        )

    @property
    def width(self) -> int:
        """Real numbers of a line."""
        return self.entries * (2 if self.complex else 1)

    @property
    def length(self) -> int:
        """Real numbers of a block."""
        return max(self.width, 1) if self.group is None else self.group * (2 if self.complex else 1)

    @property
    def count(self) -> int:
        """Number of blocks; none where lines are empty."""
        return self.lines * (self.width // self.length)

    def split(self, array: Any) -> Any:
        """Return the blocks (count, length) of an array of this shape."""
        xp = namespace(array)
        lines = xp.permute_dims(array, (1, 0)) if self.axis == 1 else array
        if is_complex(lines):
            lines = xp.stack([real_part(lines), xp.imag(lines)], axis=-1)
        return xp.reshape(lines, (self.count, self.length))

    def join(self, blocks: Any, lines: int | None = None) -> Any:
        """Return the array of blocks (count, length); of so many lines if it has not all of them, (lines, ...)."""
        xp = namespace(blocks)
        lines = self.lines if lines is None else lines
        if self.complex:
            pairs = xp.reshape(blocks, (lines * self.entries, 2))
            blocks = _as_complex(pairs)
        if self.axis is None:
            return xp.reshape(blocks, self.shape)
        if self.axis == 0:
            return xp.reshape(blocks, (lines, *self.shape[1:]))
        return xp.permute_dims(xp.reshape(blocks, (lines, self.shape[0])), (1, 0))


def blocks_of(shape: tuple[int, ...], axis: int | None, group: int | None, complex_entries: bool) -> Blocks:
    """Return the blocks of an array of this shape.

    Raises ValueError for an axis that there is not, and a group that does not divide the length of the rows.
    """
    if not (axis is None or (isinstance(axis, int | np.integer) and axis in (0, 1))):
        raise ValueError(f"axis must be 0 (a scale per row), 1 (per column) or None (one for all), got {axis!r}")
    if len(shape) < (1 if axis is None else 2) or (axis == 1 and len(shape) != 2):
        needed = {0: "an array of two dimensions or more", 1: "a matrix (n, m)"}.get(-1 if axis is None else int(axis))
        hint = "; a vector has one scale with axis=None" if len(shape) == 1 else ""
        raise ValueError(f"axis={axis} needs {needed or 'an array of one dimension or more'}, got shape {shape}{hint}")
    if group is not None:
        try:
            group = operator.index(group)
        except TypeError:
            raise ValueError(f"group must be an integer, got {group!r}") from None
        width = math.prod(shape[1:])
        if axis != 0:
            raise ValueError(f"group={group} are neighbours in a row: it needs axis=0, got axis={axis}")
        if group < 1 or width % group:
            raise ValueError(f"group must divide the length {width} of a row, got {group}")
    return Blocks(tuple(int(n) for n in shape), None if axis is None else int(axis), group, complex_entries)


def spread(units: np.ndarray, total: int) -> np.ndarray:
    """Return the bits of all units, where one number may stand for all."""
    return np.broadcast_to(units, (total,)) if len(units) == 1 else units


def _as_complex(pairs: Any) -> Any:
    """Return complex numbers (n,) of pairs (n, 2)."""
    xp = namespace(pairs)
    kind = xp.complex64 if pairs.dtype == xp.float32 else xp.complex128
    if hasattr(pairs, "view"):  # NumPy and CuPy: the same memory
        return xp.ascontiguousarray(pairs).view(kind)[:, 0]
    return xp.astype(pairs[:, 0], kind) + 1j * xp.astype(pairs[:, 1], kind)
