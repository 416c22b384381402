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
    NO_BOUND,
    NOT_FINITE,
    NOTHING,
    QR,
    SOLVED,
    Answers,
    PackedFactor,
    PackedFinish,
    PackedSystem,
    Points,
)
from rbm.online.kernels.bounds import output_bound
from rbm.online.kernels.compiler import inlined, kernel
from rbm.online.kernels.lanes import alike, equal, fma, fnma, larger, load, modulus, real, root, splat, store
from rbm.online.kernels.memory import bare
from rbm.online.kernels.residuals import (
    coefficients,
    compensated_coefficients,
    gather,
    present,
    refine,
    refine_of_one,
    residual,
    residual_of_one,
)
from rbm.online.kernels.solvers import assemble, ldl, least_squares, lu
from rbm.online.kernels.tile import new_tile

__all__ = ["query"]


@inlined
def load_tile(system: Any, points: Any, answers: Any, row: int, tile: Any) -> None:
    """Load coefficients, and gamma where it is given, of the points `row`, ... into the lanes of one group."""
    gather(points.theta, row, tile.lanes, tile.theta_numbers)
    gather(points.phi, row, tile.lanes, tile.phi_numbers)
    if system.kind == GIVEN:
        gather(answers.gamma, row, tile.lanes, tile.gamma_numbers)


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
def solution(system: Any, answers: Any, row: int, here: int, tile: Any) -> int:
    """Write gamma and verdicts of `here` points from the lanes; return how many could not be solved."""
    failures = 0
    for lane in range(here):
        total = tile.one.dtype.type(0)
        if system.kind != GIVEN:
            for i in range(tile.parts * tile.shape[2]):
                number = tile.gamma_numbers[i * tile.lanes + lane]
                answers.gamma[row + lane, i] = number
                total += 0 * number
        # where x is not finite, 0 x is NaN, which differs from everything
        verdict = SOLVED if total == 0 else NOT_FINITE
        if not tile.one[lane] > 0:
            verdict = INDEFINITE
        answers.failed[row + lane] = verdict
        failures += verdict != SOLVED
    return failures


@inlined
def outputs(finish: Any, answers: Any, row: int, here: int, group: int, tile: Any) -> None:
    """Compute outputs of `here` points, and bounds of their rounding errors into `tile.rounding`."""
    n = tile.shape[2]
    nought = splat(tile.one.dtype.type(0))
    for o in range(len(finish.norms)):
        s, size = alike(nought, load(tile.theta, 0)), nought
        for i in range(n):
            g = load(tile.gamma, i)
            s = fma(splat(finish.functionals[o * n + i]), g, s)
            size = fma(splat(finish.magnitudes[o, i]), modulus(g), size)
        store(tile.sum, 0, s)
        store(tile.rounding, 2 * o + group, size)
        for lane in range(here):
            for part in range(tile.parts):
                answers.outputs[row + lane, tile.parts * o + part] = tile.sum_numbers[part * tile.lanes + lane]


@inlined
def compliance(finish: Any, group: int, tile: Any) -> None:
    """Compute the sums of :class:`rbm.online.forms.Energy` into `tile.rounding`, behind those of the outputs.

    These are (sum_q |theta_q|^{1/2} sum_i w_qi |gamma_i|)^2 + sum_i m_i |gamma_i|, S = sum_q skew_q |theta_q|, and
    S size ||gamma||.
    """
    nought = splat(tile.one.dtype.type(0))
    qa, n, at = tile.shape[0], tile.shape[2], 2 * len(finish.norms) + group
    total, skew, squares, linear = nought, nought, nought, nought
    for q in range(qa):
        t, s = modulus(load(tile.theta, q)), nought
        for i in range(n):
            s = fma(splat(finish.energy[q, i]), modulus(load(tile.gamma, i)), s)
        total = fma(root(t), s, total)
        skew = fma(splat(finish.skew[1 + q]), t, skew)
    for i in range(n):
        g = modulus(load(tile.gamma, i))
        squares = fma(g, g, squares)
        linear = fma(splat(finish.energy[qa, i]), g, linear)
    store(tile.rounding, at, fma(total, total, linear))
    store(tile.rounding, at + 2, skew)
    store(tile.rounding, at + 4, skew * splat(finish.skew[0]) * root(squares))


@inlined
def stability_bound(stability: Any, group: int, tile: Any) -> None:
    """Compute beta = s_0 min_q s_q theta_q - sum_q s_{Qa+q} |theta_q| into `tile.betas`."""
    qa = tile.shape[0]
    least = splat(stability[1]) * real(load(tile.theta, 0))
    spent = splat(stability[1 + qa]) * modulus(load(tile.theta, 0))
    for q in range(1, qa):
        ratio = splat(stability[1 + q]) * real(load(tile.theta, q))
        least = larger(least, ratio, ratio, least)
        spent = fma(splat(stability[1 + qa + q]), modulus(load(tile.theta, q)), spent)
    store(tile.betas, group, fnma(splat(tile.one.dtype.type(1)), spent, splat(stability[0]) * least))


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
def residual_and_floor(factor: Any, points: Any, answers: Any, row: int, here: int, group: int, tile: Any) -> bool:
    """Write residual norms and floors of `here` points; return whether a value is less than SHARP floors."""
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
    weak = False
    for lane in range(here):
        v, f = tile.norms[group * tile.lanes + lane], tile.floors[group * tile.lanes + lane]
        if f == 0 and present(points, answers.gamma, row + lane, factor.weights[0], tile.shape, tile.parts):
            f = number(factor.absolute)
            v = f if factor.mode == EXPANDED else v
        answers.value[row + lane], answers.floor[row + lane] = v, f
        answers.resolved[row + lane] = v >= RESOLVED * f
        weak = weak or v < SHARP * f
    return weak


@inlined
def refined_floors(factor: Any, answers: Any, row: int, here: int, group: int, tile: Any) -> bool:
    """Compute floors in twice the working precision into `tile.one`; return if one is lower by 1/100 of the value.

    theta, phi and gamma of the group must be in the lanes.
    """
    nought = splat(tile.one.dtype.type(0))
    zero = alike(nought, load(tile.theta, 0))
    limit = coefficients(tile.theta, tile.phi, tile.gamma, tile.shape, factor.weights[1], group, tile.c, zero)
    store(tile.one, 0, limit)
    worth = False
    for lane in range(here):
        worth = worth or gains(factor, answers, row, lane, tile)
    return worth


@inlined
def gains(factor: Any, answers: Any, row: int, lane: int, tile: Any) -> bool:
    """Return whether a value is less than SHARP times what its floor gains by twice the working precision."""
    v, f = answers.value[row + lane], answers.floor[row + lane]
    return v < SHARP * (f - (tile.one[lane] + factor.relative * v + factor.absolute))


@inlined
def refined_residual(factor: Any, answers: Any, row: int, here: int, group: int, alone: bool, tile: Any) -> None:
    """Write residual norms in twice the working precision for the points whose floor gains by that."""
    number = tile.one.dtype.type
    nought, relative, absolute = splat(number(0)), splat(number(factor.relative)), splat(number(factor.absolute))
    size = factor.columns * tile.lanes
    head, tail, rest = tile.work[:size], tile.work[size : 2 * size], tile.work[2 * size :]
    compensated_coefficients(tile.theta, tile.phi, tile.gamma, tile.shape, factor.columns, head, tail, nought)
    if alone:
        norm = splat(refine_of_one(factor.matrix, factor.first, factor.columns, head, tail, tile.lanes, rest))
    else:
        norm = refine(factor.matrix, factor.first, factor.columns, head, tail, nought)
    limit = load(tile.one, 0)
    store(tile.norms, group, norm)
    store(tile.floors, group, larger(limit, nought, fma(relative, norm, limit) + absolute, limit))
    for lane in range(here):
        if gains(factor, answers, row, lane, tile):
            v, f = tile.norms[group * tile.lanes + lane], tile.floors[group * tile.lanes + lane]
            answers.value[row + lane], answers.floor[row + lane] = v, f
            answers.resolved[row + lane] = v >= RESOLVED * f


@inlined
def certify(finish: Any, direct: bool, beta: Any, answers: Any, row: int, here: int, group: int, tile: Any) -> int:
    """Write error bounds of solution and outputs of `here` points; return how many solved points have none.

    direct : whether gamma comes from L D L^H, as the sharper bound of compliant outputs demands
    """
    failures, count = 0, len(finish.norms)
    for lane in range(row, row + here):
        b = tile.betas[group * tile.lanes + lane - row] if len(beta) == 0 else beta[lane]
        answers.value[lane] /= b
        answers.floor[lane] /= b
        bound = answers.value[lane] + answers.floor[lane]
        lost = not (b > 0 and b < np.inf and bound < np.inf)
        for o in range(count):
            rounding = tile.rounding[(2 * o + group) * tile.lanes + lane - row]
            at = (2 * count + group) * tile.lanes + lane - row
            sums = tile.rounding[at], tile.rounding[at + 2 * tile.lanes], tile.rounding[at + 4 * tile.lanes]
            limit = output_bound(finish.norms[o], bound, rounding, finish.mismatch[o] if direct else -1.0, b, sums)
            answers.output_bounds[lane, o] = limit
            lost = lost or not limit < np.inf
            for part in range(tile.parts):
                lost = lost or not abs(answers.outputs[lane, tile.parts * o + part]) < np.inf
        if lost and answers.failed[lane] == SOLVED:
            answers.failed[lane] = NO_BOUND
            failures += 1
    return failures


@inlined
def query_tiles(system: Any, factor: Any, finish: Any, points: Any, answers: Any, room: Any) -> int:
    """Do the work of :func:`query`, whose arguments have the names of their fields here."""
    tile = new_tile(system, factor, finish, points, answers.gamma, room)
    zero = alike(splat(tile.one.dtype.type(0)), load(tile.theta, 0))
    count, failures = len(points.theta), 0
    for base in range(0, count, 2 * tile.lanes):
        groups = 1 if base + tile.lanes >= count else 2
        for group in range(groups):
            row = base + group * tile.lanes
            here = min(tile.lanes, count - row)
            load_tile(system, points, answers, row, tile)
            solve_tile(system, tile)
            failures += solution(system, answers, row, here, tile)
            outputs(finish, answers, row, here, group, tile)
            if system.kind == LDL and len(finish.energy) > 0:
                compliance(finish, group, tile)
            if len(finish.stability) > 1:
                stability_bound(finish.stability, group, tile)
            if factor.mode != NOTHING:
                weights = factor.weights[0]
                limit = coefficients(tile.theta, tile.phi, tile.gamma, tile.shape, weights, group, tile.c, zero)
                store(tile.floors, group, limit)
        if factor.mode == NOTHING:
            continue
        residual_sums(factor, count == 1, tile)
        for group in range(groups):
            row = base + group * tile.lanes
            here = min(tile.lanes, count - row)
            weak = residual_and_floor(factor, points, answers, row, here, group, tile)
            if factor.refined and weak:
                if groups == 2:  # the lanes hold the last group
                    load_tile(system, points, answers, row, tile)
                    gather(answers.gamma, row, tile.lanes, tile.gamma_numbers)
                if refined_floors(factor, answers, row, here, group, tile):
                    refined_residual(factor, answers, row, here, group, count == 1, tile)
            if len(finish.stability) + len(points.beta) > 0:
                direct = system.kind == LDL
                failures += certify(finish, direct, points.beta, answers, row, here, group, tile)
    return failures


@kernel
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
