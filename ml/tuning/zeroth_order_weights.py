"""Weights that are moved along random directions, back to the last bit, and updated; in place, piece by piece.

A piece is 65 536 numbers, which lie on a grid: whole multiples of q = 2^(p - digits), 2^p > max |t| + h eps, with h =
16 for normal z and 64 for products of them. Moves are rounded to the grid. As whole multiples of q up to 2^digits q =
2^p are floating-point numbers, the sums t + s, t - s with |s| <= h eps are exact: what was added can be taken away
again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ml.tuning.interrupts import Interrupts
from ml.tuning.zeroth_order_arrays import Trained
from ml.tuning.zeroth_order_numbers import BASIS, DIRECTION, ROUNDING, Source

__all__ = ["PIECE", "Direction", "Projection", "Weights"]

#: Numbers that are worked on at a time.
PIECE = 65536
#: |z| that is never met: P(|z| > 16) = 1e-57 for a normal number, P(|u v| > 64) < 1e-27 for a product of two.
LARGEST, LARGEST_PRODUCT = 16.0, 64.0
#: eps in spacings of the grid, at least: the variance of z rounded to the grid is then within 1 % of 1.
LEAST_SPACINGS = 4.0

Projection = Literal["full"] | int


@dataclass(frozen=True)
class Direction:
    """The seeds of a direction: of z or of U, and of V."""

    seed: int
    basis: int


@dataclass(frozen=True, eq=False)
class _Piece:
    array: Trained
    start: int
    stop: int
    columns: int  #: of the matrix whose rows these are; 0: plain numbers

    @property
    def work(self) -> Any:
        return self.array.work[self.start : self.stop]


class Weights:
    """Arrays t on their grid (after `to_grid`), and where each piece is: t + offset s, s = eps z rounded to the grid.

    eps : length of a move; projection : "full", or the rank of the directions of arrays with two or more axes

    Raises ValueError for weights that are not finite, and for an eps below four spacings of the grid.
    """

    def __init__(self, arrays: Sequence[Trained], source: Source, eps: float, projection: Projection) -> None:
        self.source, self.eps, self.projection = source, eps, projection
        self.interrupts = Interrupts()  #: enter them for a run
        self.pieces = [piece for array in arrays for piece in _pieces(array, projection)]
        self.spacing = [self._spacing(piece, piece.work) for piece in self.pieces]
        self.offset = [0] * len(self.pieces)
        self.direction: Direction | None = None  #: of the offsets

    def to_grid(self) -> None:
        """Round the weights to the grid: the first change, when all has been checked."""
        for piece, q in zip(self.pieces, self.spacing, strict=True):
            self._write(piece, self.source.xp.round(piece.work / q) * q)

    def move(self, direction: Direction, to: int) -> None:
        """Bring the weights to t + to s; they must be at some t + offset s of the same direction."""
        self.interrupts.hold()
        self.direction = direction
        try:
            for k, z in enumerate(self._walk(direction)):
                if self.offset[k] != to:
                    self._shift(k, self._whole_steps(z, k) * self.spacing[k], to)
        finally:
            self.interrupts.release()

    def back(self) -> None:
        """Bring the weights to t, wherever they are."""
        if self.direction is not None and any(self.offset):
            self.move(self.direction, 0)

    def update(self, directions: Sequence[Direction], factors: Sequence[float], decay: float, rounding: int) -> None:
        """Set t to t - sum_k factor_k s_k - decay t, rounded to the grid at random (with the seed `rounding`).

        The weights may stand at an offset along the last direction. What lies between two points of the grid goes up
        with the probability of what is left: right in the mean, however small. The grid follows the weights.

        Raises ValueError where they are not finite any more, or too large for eps.
        """
        uniform = self.source.numbers(rounding, ROUNDING)
        walks = [self._walk(direction) for direction in directions]
        self.interrupts.hold()
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                for k, piece in enumerate(self.pieces):
                    up = uniform.uniform(piece.stop - piece.start, piece.work.dtype)
                    self._update_piece(k, walks, factors, decay, up)
        finally:
            self.interrupts.release()

    def _update_piece(
        self, k: int, walks: Sequence[Iterator[Any]], factors: Sequence[float], decay: float, up: Any
    ) -> None:
        q, piece = self.spacing[k], self.pieces[k]
        t, steps, change = piece.work, 0.0, 0.0
        for walk, factor in zip(walks, factors, strict=True):
            steps = self._whole_steps(next(walk), k)
            change = steps * factor + change
        if self.offset[k] and not piece.array.copied:
            t = t - steps * (self.offset[k] * q)
        if decay:
            change = t * (decay / q) + change
        t = t - self.source.xp.floor(change + up) * q
        self.offset[k] = 0
        self.spacing[k] = self._spacing(piece, t)
        if self.spacing[k] > q:
            t = self.source.xp.round(t / self.spacing[k]) * self.spacing[k]
        self._write(piece, t)

    def _shift(self, k: int, s: Any, to: int) -> None:
        piece = self.pieces[k]
        if piece.array.copied:
            _copy(piece.work + s * to, piece.array.seen[piece.start : piece.stop])
        else:
            piece.work[:] += s * (to - self.offset[k])
        self.offset[k] = to

    def _write(self, piece: _Piece, t: Any) -> None:
        piece.work[:] = t
        if piece.array.copied:
            _copy(piece.work, piece.array.seen[piece.start : piece.stop])

    def _whole_steps(self, z: Any, k: int) -> Any:
        """Return s in spacings of the grid: eps z / q, rounded."""
        return self.source.xp.round(z * (self.eps / self.spacing[k]))

    def _spacing(self, piece: _Piece, t: Any) -> float:
        largest = float(abs(t).max())
        name = piece.array.name
        if not math.isfinite(largest):
            raise ValueError(
                f"parameter {name} holds NaN or infinite numbers: at the start, mend it; later, the run has diverged: "
                "take a smaller rate, and ml.replay(start, log, steps=...) for the weights before"
            )
        room = (LARGEST if self.projection == "full" else LARGEST_PRODUCT) * self.eps
        q = math.ldexp(1.0, math.frexp(largest + room)[1] - piece.array.digits)
        if self.eps < LEAST_SPACINGS * q:
            raise ValueError(
                f"eps={self.eps:g} is too small for parameter {name}, whose largest number is {largest:.3g}: "
                "numbers of "
                f"{piece.array.digits} bits lie {q:.2g} apart there. Take eps >= {2 * LEAST_SPACINGS * q:.2g}; if the "
                "weights have grown that far, a smaller rate"
            )
        return q

    def _walk(self, direction: Direction) -> Iterator[Any]:
        """Yield z of every piece in their order; no other is there at the time."""
        numbers = self.source.numbers(direction.seed, DIRECTION)
        rank = 0 if self.projection == "full" else int(self.projection)
        basis: Any = self.source.numbers(direction.basis, BASIS) if rank else None
        v: Any = None
        for piece in self.pieces:
            dtype, count = piece.work.dtype, piece.stop - piece.start
            if not piece.columns:
                yield numbers.normal(count, dtype)
                continue
            if piece.start == 0:
                v = basis.normal(rank * piece.columns, dtype).reshape(rank, piece.columns)
            yield _product(numbers.normal(rank * (count // piece.columns), dtype).reshape(rank, -1), v)


def _pieces(array: Trained, projection: Projection) -> Iterator[_Piece]:
    size = math.prod(array.shape)
    columns = 0 if projection == "full" or len(array.shape) < 2 or not size else size // array.shape[0]
    length = max(1, PIECE // columns) * columns if columns else PIECE
    for start in range(0, size, length):
        yield _Piece(array, start, min(start + length, size), columns)


def _product(u: Any, v: Any) -> Any:
    """Return z = u^T v / sqrt(r), u (r, rows), v (r, columns), as (rows columns,).

    Term by term: the sums of a matrix product depend on the number of threads.
    """
    z = u[0][:, None] * v[0]
    for a, b in zip(u[1:], v[1:], strict=True):
        z += a[:, None] * b
    return (z * len(u) ** -0.5).reshape(-1)


def _copy(t: Any, seen: Any) -> None:
    """Round numbers of a copy to what the loss sees."""
    if isinstance(t, np.ndarray) and not isinstance(seen, np.ndarray):
        from lowrank.optional import require

        t = require("torch", "torch", "ml.mezo", "ml").from_numpy(t)
    seen[:] = t
