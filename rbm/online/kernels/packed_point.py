"""A reduced model, and scratch memory, for the query of one point, each in one flat array.

`numbers` has the fields of :class:`PointModel` one after the other, `room` those of :class:`PointRoom`; each starts at
a multiple of eight numbers, so that a register is read from one cache line.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rbm.online.kernels.arguments import NOTHING, PackedFactor, PackedFinish
from rbm.online.kernels.compiler import inlined
from rbm.online.programs import Program

__all__ = [
    "PackedPoint",
    "PointModel",
    "PointRoom",
    "PointSizes",
    "aligned_room",
    "model_parts",
    "pack_point",
    "room_parts",
    "sizes_of",
]


class PointSizes(NamedTuple):
    """How long everything is: the first integers."""

    inputs: int  #: p
    qa: int
    qf: int
    n: int
    blocks: int  #: of eight rows
    outputs: int
    mode: int  #: NORM or EXPANDED
    refined: int
    terms: int  #: m, the number of residual coefficients
    columns: int  #: m, padded
    entries: int  #: of the factor
    stability: int  #: 1 + 3 Qa, or 0
    compliant: int  #: Qa + 1, or 0
    constants: int  #: of the program
    depth: int  #: of its stack
    steps: int  #: 2 S


class PointModel(NamedTuple):
    """What stays the same from point to point."""

    limits: Any  #: (2 p,) lowest and highest value of each parameter in turn
    numbers: Any  #: of the program
    terms: Any  #: (blocks from the diagonal on, Qa, 8)
    sources: Any  #: (blocks, Qf, 8)
    factor: Any
    weights: Any  #: (2 m,)
    floor: Any  #: (2,) relative, absolute
    stability: Any
    functionals: Any  #: (outputs * N,)
    magnitudes: Any  #: (outputs * N,)
    norms: Any  #: (outputs,)
    energy: Any  #: ((Qa + 1) * N,)
    skew: Any  #: (Qa + 1,)
    mismatch: Any  #: (outputs,)
    steps: Any  #: (2 S,) integers
    first: Any  #: (2, blocks of the factor) integers


class PointRoom(NamedTuple):
    """Scratch memory, with the point and the answers."""

    answers: Any  #: (3 + 2 outputs,): value, floor, resolved (0 or 1), outputs, their bounds
    gamma: Any  #: (N,)
    inputs: Any  #: (p,) the point
    values: Any  #: (Qa + Qf + 1,) theta, phi, beta: by the program, or given
    theta: Any  #: views of `values`
    phi: Any
    beta: Any
    stack: Any
    right: Any  #: (8 blocks,)
    forward: Any  #: (8 blocks,)
    scaled: Any  #: (16 blocks,)
    inverse: Any
    matrix: Any  #: (N + 1, 8 blocks)
    rows: Any  #: (N + 1, 8 blocks)
    c: Any  #: (columns,)
    tail: Any  #: (columns,)
    work: Any


class PackedPoint(NamedTuple):
    """The arguments of :func:`rbm.online.kernels.point_query.point_query` that stay the same, and the size of room."""

    integers: np.ndarray  #: sizes, the steps of the program, the places of the factor's blocks
    numbers: np.ndarray
    room: int


@inlined
def cut(array: Any, first: int, count: int) -> Any:
    """Return `count` numbers, and where the next field starts."""
    return array[first : first + count], first + (count + 7) // 8 * 8


@inlined
def sizes_of(integers: Any) -> Any:
    """Return the :class:`PointSizes` at the start."""
    i = integers
    return PointSizes(
        i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], i[8], i[9], i[10], i[11], i[12], i[13], i[14], i[15]
    )


@inlined
def model_parts(sizes: Any, integers: Any, numbers: Any) -> Any:
    """Return the fields of :class:`PointModel`."""
    n, blocks, qa, outputs = sizes.n, sizes.blocks, sizes.qa, sizes.outputs
    low, rest = n // 8, n % 8
    stored = 8 * (low * blocks - low * (low - 1) // 2) + rest * (blocks - low)  # blocks from the diagonal on
    limits, at = cut(numbers, 0, 2 * sizes.inputs)
    constants, at = cut(numbers, at, sizes.constants)
    terms, at = cut(numbers, at, 8 * qa * stored)
    sources, at = cut(numbers, at, 8 * sizes.qf * blocks)
    factor, at = cut(numbers, at, sizes.entries)
    weights, at = cut(numbers, at, 2 * sizes.terms)
    floor, at = cut(numbers, at, 2)
    stability, at = cut(numbers, at, sizes.stability)
    functionals, at = cut(numbers, at, outputs * n)
    magnitudes, at = cut(numbers, at, outputs * n)
    norms, at = cut(numbers, at, outputs)
    energy, at = cut(numbers, at, sizes.compliant * n)
    skew, at = cut(numbers, at, sizes.compliant)
    mismatch, at = cut(numbers, at, outputs)
    steps, first = integers[len(sizes) : len(sizes) + sizes.steps], integers[len(sizes) + sizes.steps :]
    return (
        limits, constants, terms, sources, factor, weights, floor, stability, functionals, magnitudes, norms, energy,
        skew, mismatch, steps, first.reshape((2, len(first) // 2)),
    )  # fmt: skip


@inlined
def room_parts(sizes: Any, room: Any) -> Any:
    """Return the fields of :class:`PointRoom`."""
    rows = 8 * sizes.blocks
    answers, at = cut(room, 0, 3 + 2 * sizes.outputs)
    gamma, at = cut(room, at, sizes.n)
    inputs, at = cut(room, at, sizes.inputs)
    values, at = cut(room, at, sizes.qa + sizes.qf + 1)
    theta, phi, beta = values[: sizes.qa], values[sizes.qa : sizes.qa + sizes.qf], values[sizes.qa + sizes.qf :]
    stack, at = cut(room, at, sizes.depth)
    right, at = cut(room, at, rows)
    forward, at = cut(room, at, rows)
    scaled, at = cut(room, at, 2 * rows)
    inverse, at = cut(room, at, rows)
    matrix, at = cut(room, at, (sizes.n + 1) * rows)
    transposed, at = cut(room, at, (sizes.n + 1) * rows)
    c, at = cut(room, at, sizes.columns)
    tail, at = cut(room, at, sizes.columns)
    work, at = cut(room, at, 8 * sizes.columns + 16)
    for j in range(sizes.terms, sizes.columns):  # what pads c must be zero
        c[j] = tail[j] = 0.0
    for j in range(sizes.qf):  # the functionals of f have no rounding errors
        tail[j] = 0.0
    return (
        answers, gamma, inputs, values, theta, phi, beta, stack, right, forward, scaled, inverse, matrix, transposed,
        c, tail, work,
    )  # fmt: skip


def pack_point(
    operators: np.ndarray,
    rhs: np.ndarray,
    factor: PackedFactor,
    finish: PackedFinish,
    limits: np.ndarray,
    program: Program,
) -> PackedPoint:
    """Pack a real model in double precision whose terms A_q (Qa, N, N) are symmetric.

    rhs : (Qf, N); limits : (2, p); program : theta, phi and beta at the places 0 .. Qa + Qf; those that it leaves out
    are given
    """
    qa, n, _ = operators.shape
    blocks = -(-n // 8)
    padded = np.zeros((qa, n, 8 * blocks))
    padded[:, :, :n] = np.tril(operators).transpose(0, 2, 1)  # by columns
    right = np.zeros((len(rhs), 8 * blocks))
    right[:, :n] = rhs
    columns = [padded[:, j, 8 * (j // 8) :].reshape(qa, -1, 8).transpose(1, 0, 2) for j in range(n)]
    arrays = (
        limits.T, program.numbers, np.concatenate(columns), right.reshape(len(rhs), -1, 8).transpose(1, 0, 2),
        factor.matrix, factor.weights, np.array([factor.relative, factor.absolute]), finish.stability,
        finish.functionals, finish.magnitudes, finish.norms, finish.energy, finish.skew, finish.mismatch,
    )  # fmt: skip
    assert factor.mode != NOTHING
    sizes = PointSizes(
        limits.shape[1], qa, len(rhs), n, blocks, len(finish.norms), factor.mode, int(factor.refined),
        factor.weights.shape[1], factor.columns, factor.matrix.size, len(finish.stability), len(finish.energy),
        len(program.numbers), program.depth, len(program.steps),
    )  # fmt: skip
    fields = [np.append(np.ravel(a), np.zeros(-np.size(a) % 8)) for a in arrays]
    counts = (3 + 2 * sizes.outputs, n, sizes.inputs, qa + len(rhs) + 1, sizes.depth)
    room = sum(-(-count // 8) * 8 for count in counts) + 8 * blocks * (7 + 2 * n) + 10 * sizes.columns + 32
    integers = np.concatenate([np.array(sizes, np.int64), program.steps, factor.first.ravel()])
    numbers = np.concatenate(fields)
    made = aligned_room(len(numbers))
    made[:] = numbers
    return PackedPoint(integers, made, room)


def aligned_room(count: int) -> np.ndarray:
    """Return room for so many numbers, from a boundary of 64 bytes on."""
    room = np.empty(count + 8)
    first = (-room.ctypes.data % 64) // 8
    return room[first : first + count]
