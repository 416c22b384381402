"""Scratch memory for one tile of parameter points, two registers of lanes wide."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rbm.online.kernels.compiler import inlined

__all__ = ["Tile", "aligned", "cut", "new_tile", "scratch_size"]


@inlined
def aligned(room: Any, like: Any) -> Any:
    """Return `room` as numbers of the type of `like`, from a 64-byte boundary on.

    No access then straddles two cache lines.
    """
    numbers = room.viewed(like.dtype)
    return numbers[(-numbers.address % 64) // like.itemsize :]


@inlined
def cut(numbers: Any, first: int, registers: int) -> Any:
    """Return some registers of scratch memory, and the index of the first one that is left."""
    lanes = 64 // numbers.itemsize
    return numbers[first * lanes : (first + registers) * lanes], first + registers


class Tile(NamedTuple):
    """Scratch memory for one tile, in registers of lanes.

    The first eight fields belong to one group at a time, the others to both.

    A name with `_numbers` is the same memory as real numbers, real parts before imaginary parts.
    """

    theta: Any
    theta_numbers: Any
    phi: Any
    phi_numbers: Any
    gamma: Any
    gamma_numbers: Any
    matrix: Any
    spare: Any  #: (N,) of the working type
    inverse: Any  #: (N,) of the working type
    sum: Any  #: (1,) of the working type
    sum_numbers: Any
    one: Any  #: (1,) real: smallest pivots, pivot rows, floors
    c: Any  #: residual coefficients, entry i of group g in register 2 i + g
    work: Any
    norms: Any  #: (2,)
    floors: Any  #: (2,)
    betas: Any  #: (2,)
    rounding: Any  #: (2 * outputs + 6,) rounding errors of the outputs; of compliant ones, and what A - A^H adds
    moduli: Any  #: (Qa,) |theta|
    rows: Any  #: (6 * lanes,) numbers of the points in the lanes of both groups, then of those that wait
    shape: Any  #: (Qa, Qf, N)
    lanes: int
    parts: int  #: real numbers in a number of the working type


def scratch_size(qa: int, qf: int, n: int, system: Any, factor: Any, finish: Any) -> int:
    """Return how many numbers of the working type `room` must hold.

    That is a register and a half of real ones more than :func:`new_tile` cuts.
    """
    registers = 2 * qa + qf + 3 * n + 2 + system.entries + 6 * factor.columns + 2 * len(finish.norms) + 50
    return registers * (64 // factor.matrix.itemsize)


@inlined
def new_tile(system: Any, factor: Any, finish: Any, points: Any, gamma: Any, room: Any) -> Any:
    """Cut scratch memory into the fields of a :class:`Tile`."""
    numbers = aligned(room, factor.matrix)
    parts = room.itemsize // numbers.itemsize
    of_theta, of_phi, of_gamma = points.theta.shape[1], points.phi.shape[1], gamma.shape[1]
    theta, at = cut(numbers, 0, of_theta)
    phi, at = cut(numbers, at, of_phi)
    solution, at = cut(numbers, at, of_gamma + parts)
    matrix, at = cut(numbers, at, parts * system.entries)
    spare, at = cut(numbers, at, of_gamma)
    inverse, at = cut(numbers, at, of_gamma)
    total, at = cut(numbers, at, parts)
    one, at = cut(numbers, at, 1)
    c, at = cut(numbers, at, 2 * factor.columns + 8)
    work, at = cut(numbers, at, 4 * factor.columns + 16)
    norms, at = cut(numbers, at, 2)
    floors, at = cut(numbers, at, 2)
    betas, at = cut(numbers, at, 2)
    rounding, at = cut(numbers, at, 2 * len(finish.norms) + 6)
    moduli, at = cut(numbers, at, of_theta // parts)
    rows, at = cut(numbers, at, 12)
    for i in range(len(c)):  # the rows that pad c must be zero
        c[i] = 0
    shape = of_theta // parts, of_phi // parts, of_gamma // parts
    return Tile(
        theta.viewed(room.dtype), theta, phi.viewed(room.dtype), phi, solution.viewed(room.dtype), solution,
        matrix.viewed(room.dtype), spare.viewed(room.dtype), inverse.viewed(room.dtype), total.viewed(room.dtype),
        total, one, c, work, norms, floors, betas, rounding, moduli, rows.viewed(np.int64), shape,
        64 // numbers.itemsize, parts,
    )  # fmt: skip
