"""Scratch memory for one tile of trajectories, one register of lanes wide."""

from __future__ import annotations

from typing import Any, NamedTuple

from rbm.online.kernels.compiler import inlined
from rbm.online.kernels.tile import aligned, cut

__all__ = ["STEPS", "MarchTile", "march_scratch_size", "new_march_tile"]

#: Number of steps whose residuals are multiplied out together, a multiple of three: what is read of R_mu from the
#: second-level cache serves all of them, and their coefficients fit into the first one for N up to 30.
STEPS = 6


class MarchTile(NamedTuple):
    """Scratch memory for one tile, in registers of lanes. A name with `_numbers` is the same memory as real numbers."""

    phi: Any  #: dt phi
    phi_numbers: Any
    theta: Any  #: dt theta
    theta_numbers: Any
    weights: Any  #: m
    weights_numbers: Any
    stiffness: Any  #: dt A (N * N,)
    source: Any  #: dt f (N,)
    matrix: Any  #: S = M + theta dt A, then its factors
    inverse: Any  #: (N,)
    gamma: Any
    gamma_numbers: Any
    tail: Any
    increment: Any
    functionals: Any  #: (outputs * N,)
    functionals_numbers: Any
    factor: Any  #: R_mu
    c: Any  #: coefficients of the residual ((2 N + 1) * STEPS,), the steps of each together
    residuals: Any  #: R_mu c (rows * STEPS,), the steps of each row together; empty if they are not kept
    residuals_numbers: Any
    sum: Any  #: (1,)
    sum_numbers: Any
    magnitudes: Any  #: (outputs * N,) real, like all that follow
    floor_weights: Any  #: (2 N + 1,)
    values: Any  #: (STEPS,)
    spreads: Any  #: (STEPS,)
    sizes: Any  #: (STEPS,)
    pivots: Any  #: (1,)
    one: Any  #: (1,)
    real: Any  #: all of the memory as real numbers
    shape: Any  #: (Qf, Qa, Qm, N)
    lanes: int
    parts: int  #: real numbers in a number of the working type


def march_scratch_size(shape: tuple[int, int, int, int], entries: int, outputs: int, rows: int = 0) -> int:
    """Return how many registers of the working type `room` must hold, with one to spare for its alignment.

    shape : (Qf, Qa, Qm, N); entries : of R_mu; rows : of R, an even number, if residuals are kept
    """
    qf, qa, qm, n = shape
    working = qf + qa + qm + 2 * n * n + 5 * n + outputs * n + entries + (2 * n + 1 + rows) * STEPS + 1
    return working + outputs * n + 2 * n + 1 + 3 * STEPS + 2 + 2


@inlined
def new_march_tile(system: Any, factor: Any, points: Any, room: Any, keep: bool) -> Any:
    """Cut scratch memory into the fields of a :class:`MarchTile`."""
    numbers = aligned(room, points.magnitudes)
    parts = room.itemsize // numbers.itemsize
    of_phi, of_theta, of_mass = points.phi.shape[1], points.theta.shape[1], points.weights.shape[1]
    of_gamma, of_outputs = points.start.shape[1], points.functionals.shape[1]
    n, last = of_gamma // parts, factor.first.shape[1] - 1
    entries = parts * (factor.first[1, last] + 2 * (2 * n + 1 - factor.first[0, last])) if last >= 0 else 0
    phi, at = cut(numbers, 0, of_phi)
    theta, at = cut(numbers, at, of_theta)
    weights, at = cut(numbers, at, of_mass)
    stiffness, at = cut(numbers, at, of_gamma * n)
    source, at = cut(numbers, at, of_gamma)
    matrix, at = cut(numbers, at, of_gamma * n)
    inverse, at = cut(numbers, at, of_gamma)
    gamma, at = cut(numbers, at, of_gamma)
    tail, at = cut(numbers, at, of_gamma)
    increment, at = cut(numbers, at, of_gamma)
    functionals, at = cut(numbers, at, of_outputs)
    of_point, at = cut(numbers, at, entries)
    c, at = cut(numbers, at, parts * (2 * n + 1) * STEPS)
    rows = 2 * factor.first.shape[1] if keep else 0
    residuals, at = cut(numbers, at, parts * rows * STEPS)
    total, at = cut(numbers, at, parts)
    magnitudes, at = cut(numbers, at, points.magnitudes.shape[1])
    floors, at = cut(numbers, at, 2 * n + 1)
    values, at = cut(numbers, at, STEPS)
    spreads, at = cut(numbers, at, STEPS)
    sizes, at = cut(numbers, at, STEPS)
    pivots, at = cut(numbers, at, 1)
    one, at = cut(numbers, at, 1)
    for i in range(len(c)):  # a last block of fewer steps leaves some registers unwritten
        c[i] = 0
    shape, kind = (of_phi // parts, of_theta // parts, of_mass // parts, n), room.dtype
    return MarchTile(
        phi.viewed(kind), phi, theta.viewed(kind), theta, weights.viewed(kind), weights, stiffness.viewed(kind),
        source.viewed(kind), matrix.viewed(kind), inverse.viewed(kind), gamma.viewed(kind), gamma, tail.viewed(kind),
        increment.viewed(kind), functionals.viewed(kind), functionals, of_point.viewed(kind), c.viewed(kind),
        residuals.viewed(kind), residuals, total.viewed(kind), total, magnitudes, floors, values, spreads, sizes,
        pivots, one, numbers, shape, 64 // numbers.itemsize, parts,
    )  # fmt: skip
