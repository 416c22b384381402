"""Reduced systems, residual norms, floors, error bounds and outputs for many parameter points in one sweep.

One tile is two registers of lanes, 16 points in float64, the groups 0 and 1. It is solved, its residual coefficients
are formed and the residual is multiplied out while everything is in the first two caches. Nothing here allocates memory
per point, and no lane depends on another. :mod:`rbm.online.reference` and `evaluate` of the estimators define what is
computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.estimate import RESOLVED
from rbm.online.forms import SHARP
from rbm.online.kernels.arguments import (
    EXPANDED,
    GIVEN,
    INDEFINITE,
    LDL,
    NOT_FINITE,
    NOTHING,
    QR,
    SOLVED,
    Answers,
    PackedFactor,
    PackedFinish,
    PackedSplit,
    PackedSystem,
    Points,
)
from rbm.online.kernels.certification import certify, finish_group, is_weak
from rbm.online.kernels.compiler import compiled, inlined, lane_kernel
from rbm.online.kernels.elimination import lu
from rbm.online.kernels.lanes import (
    alike,
    equal,
    fma,
    item,
    larger,
    load,
    put,
    root,
    splat,
    store,
)
from rbm.online.kernels.memory import bare
from rbm.online.kernels.re_evaluation import compensated_coefficients, refine, refine_of_one, split_coefficients
from rbm.online.kernels.residuals import coefficients, collect, present, residual, residual_of_one
from rbm.online.kernels.solvers import assemble, ldl, least_squares
from rbm.online.kernels.tile import new_tile

__all__ = ["query"]


@inlined
def rows_of_tile(base: int, count: int, tile: Any) -> None:
    """Number the points in the lanes of a tile that begins with point `base`; beyond the last, that one is repeated."""
    for lane in range(2 * tile.lanes):
        tile.rows[lane] = min(base + lane, count - 1)


@compiled
def load_group(points: Any, answers: Any, given: bool, group: int, tile: Any) -> None:
    """Load coefficients, and gamma where it is given, of the points of one group into its lanes."""
    rows = tile.rows[group * tile.lanes :]
    collect(points.theta, rows, tile.lanes, tile.theta_numbers)
    collect(points.phi, rows, tile.lanes, tile.phi_numbers)
    if given:
        collect(answers.gamma, rows, tile.lanes, tile.gamma_numbers)


@inlined
def solve_tile(system: Any, tile: Any) -> None:
    """Solve for gamma of one group; `tile.one` gets the smallest pivot of L D L^H, or 1 from other solvers."""
    qa, qf, n = tile.shape
    one = splat(tile.one.dtype.type(1))
    zero = alike(one - one, load(tile.theta, 0))
    smallest = one
    if system.kind == QR:
        first = system.start[n]
        assemble(system.terms, tile.theta, qa, first, tile.matrix, zero)
        assemble(system.sources, tile.phi, qf, system.height[n], tile.matrix[first * tile.lanes :], zero)
        least_squares(tile.matrix, tile.gamma, n, system.start, system.height, one, zero)
    elif system.kind != GIVEN:
        assemble(system.sources, tile.phi, qf, n, tile.gamma, zero)
        assemble(system.terms, tile.theta, qa, system.entries, tile.matrix, zero)
        if system.kind == LDL:
            smallest = ldl(tile.matrix, tile.gamma, n, tile.spare, tile.inverse.viewed(tile.one.dtype), one)
        else:
            lu(tile.matrix, tile.gamma, n, tile.inverse, tile.one, one)
    store(tile.one, 0, smallest)


@inlined
def solution(system: Any, answers: Any, here: int, group: int, tile: Any) -> int:
    """Write gamma and verdicts of `here` points from the lanes; return how many could not be solved."""
    failures, count, nought = 0, tile.parts * tile.shape[2], tile.one.dtype.type(0)
    for lane in range(here):
        row, total = item(tile.rows, group * tile.lanes + lane), nought
        if system.kind != GIVEN:
            for i in range(count):
                number = item(tile.gamma_numbers, i * tile.lanes + lane)
                put(answers.gamma, row * count + i, number)
                total += nought * number
        # where x is not finite, 0 x is NaN, which differs from everything
        verdict = SOLVED if total == 0 else NOT_FINITE
        if not item(tile.one, lane) > 0:
            verdict = INDEFINITE
        put(answers.failed, row, verdict)
        failures += verdict != SOLVED
    return failures


@compiled
def terms(weights: Any, group: int, tile: Any) -> Any:
    """Write the residual coefficients of one group, and return sum_j w_j |c_j|."""
    zero = alike(splat(tile.one.dtype.type(0)), load(tile.theta, 0))
    return coefficients(tile.theta, tile.phi, tile.gamma, tile.shape, weights, group, tile.c, tile.moduli, zero)


@inlined
def residual_sums(factor: Any, alone: bool, tile: Any) -> None:
    """Compute ||F c||^2 or half of c^H G c of both groups into `tile.norms`; if `alone`, of the first lane only."""
    expanded = factor.mode == EXPANDED
    if alone:
        stride = 2 * tile.lanes
        residual_of_one(factor.matrix, factor.first, tile.c, stride, factor.columns, expanded, tile.work, tile.norms)
    else:
        nought = splat(tile.one.dtype.type(0))
        residual(factor.matrix, factor.first, tile.c, factor.columns, expanded, tile.norms, nought)


@inlined
def residual_and_floor(factor: Any, points: Any, answers: Any, here: int, group: int, tile: Any) -> None:
    """Write residual norms and floors of `here` points."""
    number = tile.one.dtype.type
    nought, relative, absolute = splat(number(0)), splat(number(factor.relative)), splat(number(factor.absolute))
    square, limit = load(tile.norms, group), load(tile.floors, group)
    if factor.mode == EXPANDED:
        square = square + square
        limit = larger(limit, nought, relative * limit + absolute, limit)  # zero if nothing is there
        norm = equal(square, square, larger(square, nought, root(square), limit), square)  # NaN remains NaN
    else:
        norm = root(square)
        limit = larger(limit, nought, fma(relative, norm, limit) + absolute, limit)
    store(tile.norms, group, norm)
    store(tile.floors, group, limit)
    for lane in range(group * tile.lanes, group * tile.lanes + here):
        row, v, f = item(tile.rows, lane), item(tile.norms, lane), item(tile.floors, lane)
        if f == 0 and present(points, answers.gamma, row, factor.weights[0], tile.shape, tile.parts):
            f = number(factor.absolute)
            v = f if factor.mode == EXPANDED else v
        put(answers.value, row, v)
        put(answers.floor, row, f)
        put(answers.resolved, row, v >= RESOLVED * f)


@inlined
def gains(factor: Any, answers: Any, lane: int, tile: Any) -> bool:
    """Return whether a value is less than SHARP times what its floor gains by twice the working precision."""
    v, f = answers.value[tile.rows[lane]], answers.floor[tile.rows[lane]]
    return v < SHARP * (f - (tile.one[lane] + factor.relative * v + factor.absolute))


@compiled
def refined_residual(factor: Any, answers: Any, here: int, alone: bool, tile: Any) -> None:
    """Write residual norms in twice the working precision for the points of the first group whose floor gains by it.

    `tile.one` : their floors, but for what is relative to the value
    """
    number = tile.one.dtype.type
    nought, relative, absolute = splat(number(0)), splat(number(factor.relative)), splat(number(factor.absolute))
    size = factor.columns * tile.lanes
    head, tail, rest = tile.work[:size], tile.work[size : 2 * size], tile.work[2 * size :]
    compensated_coefficients(tile.theta, tile.phi, tile.gamma, tile.shape, factor.columns, head, tail, nought)
    if alone:
        norm = splat(refine_of_one(factor.matrix, factor.first, factor.columns, head, tail, tile.lanes, rest))
    else:
        split = PackedSplit(*factor.split)
        split_coefficients(head, tail, factor.columns, split, rest, nought)
        norm = refine(split, factor.first, factor.columns, rest, head, tail, nought)
    limit = load(tile.one, 0)
    store(tile.norms, 0, norm)
    store(tile.floors, 0, larger(limit, nought, fma(relative, norm, limit) + absolute, limit))
    for lane in range(here):
        v, f, row = tile.norms[lane], tile.floors[lane], tile.rows[lane]
        if gains(factor, answers, lane, tile) and v < np.inf:  # numbers above 1e290 cannot be split
            answers.value[row], answers.floor[row] = v, f
            answers.resolved[row] = v >= RESOLVED * f


@compiled
def look_again(
    system: Any, factor: Any, finish: Any, points: Any, answers: Any, here: int, alone: bool, tile: Any
) -> int:
    """Evaluate the first `here` points that wait in twice the working precision; return how many have no bound."""
    for lane in range(tile.lanes):
        tile.rows[lane] = tile.rows[2 * tile.lanes + min(lane, here - 1)]
    load_group(points, answers, True, 0, tile)
    store(tile.one, 0, terms(factor.weights[1], 0, tile))
    worth = False
    for lane in range(here):
        worth = worth or gains(factor, answers, lane, tile)
    if worth:
        refined_residual(factor, answers, here, alone, tile)
    if len(finish.stability) + len(points.beta) == 0:
        return 0
    finish_group(system, finish, answers, here, 0, tile)
    return certify(factor, finish, system.kind == LDL, points.beta, answers, here, 0, True, tile)


@inlined
def query_tiles(system: Any, factor: Any, finish: Any, points: Any, answers: Any, room: Any) -> int:
    """Do the work of :func:`query`, whose arguments have the names of their fields here."""
    tile = new_tile(system, factor, finish, points, answers.gamma, room)
    count, failures, waiting = len(points.theta), 0, 0
    for base in range(0, count, 2 * tile.lanes):
        rows_of_tile(base, count, tile)
        groups = 1 if base + tile.lanes >= count else 2
        for group in range(groups):
            here = min(tile.lanes, count - base - group * tile.lanes)
            load_group(points, answers, system.kind == GIVEN, group, tile)
            solve_tile(system, tile)
            failures += solution(system, answers, here, group, tile)
            finish_group(system, finish, answers, here, group, tile)
            if factor.mode != NOTHING:
                store(tile.floors, group, terms(factor.weights[0], group, tile))
        if factor.mode == NOTHING:
            continue
        residual_sums(factor, count == 1, tile)
        for group in range(groups):
            here = min(tile.lanes, count - base - group * tile.lanes)
            residual_and_floor(factor, points, answers, here, group, tile)
            for lane in range(group * tile.lanes, group * tile.lanes + here):
                tile.rows[2 * tile.lanes + waiting] = tile.rows[lane]
                waiting += is_weak(factor, answers, tile.rows[lane])
            if len(finish.stability) + len(points.beta) > 0:
                direct = system.kind == LDL
                failures += certify(factor, finish, direct, points.beta, answers, here, group, False, tile)
        last = base + 2 * tile.lanes >= count
        while waiting >= tile.lanes or (last and waiting > 0):
            here = min(waiting, tile.lanes)
            failures += look_again(system, factor, finish, points, answers, here, count == 1, tile)
            waiting -= here
            for lane in range(2 * tile.lanes, 2 * tile.lanes + waiting):
                tile.rows[lane] = tile.rows[lane + tile.lanes]
    return failures


@lane_kernel
def query(system: Any, factor: Any, finish: Any, points: Any, answers: Any, room: Any) -> int:
    """Solve and estimate M points; return the number of those that failed, which `answers.failed` tells apart.

    system, factor, finish, points, answers : plain tuples of the fields of :mod:`rbm.online.kernels.arguments`
    room : scratch memory, :func:`rbm.online.kernels.tile.scratch_size` numbers of the working type
    """
    return query_tiles(
        PackedSystem(*bare(system)),
        PackedFactor(*bare(factor)),
        PackedFinish(*bare(finish)),
        Points(*bare(points)),
        Answers(*bare(answers)),
        bare(room),
    )
