"""Reduced trajectories, residual norms of all steps, floors and outputs for many parameter points in one sweep.

One tile is one register of lanes, 8 points. The matrices of a tile are assembled and factorised once; then it marches
through all steps, a few at a time, whose residuals are multiplied out together, while everything is in the second-level
cache. Nothing here allocates memory, and no lane depends on another. :mod:`rbm.online.marching` defines what is
computed.

With the coefficients of a point, the factor R (k, m) of the residual becomes R_mu (k, 2 N + 1), one column for f, and
for each basis vector one for dt A z_n and one for M z_n: fewer products a step where A or M have several terms. Each
product of R c is rounded at most 2 N + 4 + max(Qa, Qf, Qm) times then; the floor of
:func:`rbm.online.marching.step_norms` has room for m + 5 roundings, which is as many or more.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.arguments import (
    INDEFINITE,
    LDL,
    NOT_FINITE,
    SOLVED,
    MarchAnswers,
    MarchFactor,
    MarchPoints,
    MarchSystem,
)
from rbm.online.kernels.compiler import compiled, inlined, kernel
from rbm.online.kernels.factors import ldl_factors, ldl_solve, lu_factors, lu_solve
from rbm.online.kernels.lanes import alike, fma, fnma, larger, load, modulus, root, splat, square, store
from rbm.online.kernels.march_tile import STEPS, new_march_tile
from rbm.online.kernels.memory import bare
from rbm.online.kernels.re_evaluation import two_sum
from rbm.online.kernels.residuals import gather
from rbm.online.kernels.solvers import assemble

__all__ = ["march"]

#: Added to a sum of squares that is not zero, which may have lost as much below the smallest normal number.
LOST = 1e-300


@inlined
def load_coefficients(system: Any, points: Any, row: int, tile: Any) -> None:
    """Load dt phi, dt theta, m and gamma^0 of the points `row`, ... into the lanes, and what outputs are made of."""
    gather(points.phi, row, tile.lanes, tile.phi_numbers)
    gather(points.theta, row, tile.lanes, tile.theta_numbers)
    gather(points.weights, row, tile.lanes, tile.weights_numbers)
    gather(points.start, row, tile.lanes, tile.gamma_numbers)
    gather(points.functionals, row, tile.lanes, tile.functionals_numbers)
    gather(points.magnitudes, row, tile.lanes, tile.magnitudes)
    dt = splat(tile.real.dtype.type(system.dt))
    for q in range(tile.shape[0]):
        store(tile.phi, q, dt * load(tile.phi, q))
    for q in range(tile.shape[1]):
        store(tile.theta, q, dt * load(tile.theta, q))


@compiled
def merged(
    terms: Any, first: Any, last: int, theta: Any, phi: Any, weights: Any, sizes: Any, out: Any, zero: Any
) -> None:
    """Compute R_mu from R: its two rows at a time, from the first column that is not zero on.

    first (3, blocks) : first column of R_mu, its first entry in `out`, and in `terms`; last : the number of columns
    """
    qf, qa, qm = sizes
    for b in range(first.shape[1]):
        p, t = first[1, b], first[2, b]
        for column in range(first[0, b], last):
            s0 = s1 = zero
            if column == 0:
                for q in range(qf):
                    x = load(phi, q)
                    s0, s1 = fma(splat(terms[t]), x, s0), fma(splat(terms[t + 1]), x, s1)
                    t += 2
            elif column % 2 == 1:
                for q in range(qa):
                    x = load(theta, q)
                    s0, s1 = fma(splat(terms[t]), x, s0), fma(splat(terms[t + 1]), x, s1)
                    t += 2
            else:
                for q in range(qm):
                    x = load(weights, q)
                    s0, s1 = fma(splat(terms[t]), x, s0), fma(splat(terms[t + 1]), x, s1)
                    t += 2
            store(out, p, s0)
            store(out, p + 1, s1)
            p += 2


@compiled
def floor_weights(weights: Any, theta: Any, phi: Any, mass: Any, sizes: Any, n: int, out: Any, nought: Any) -> None:
    """Compute weights of floors (2 N + 1,) in the order of the columns of R_mu: sums of w_j |coefficient|."""
    qf, qa, qm = sizes
    total, j = nought, 0
    for q in range(qf):
        total = fma(splat(weights[j]), modulus(load(phi, q)), total)
        j += 1
    store(out, 0, total)
    for i in range(n):
        total = nought
        for q in range(qa):
            total = fma(splat(weights[j]), modulus(load(theta, q)), total)
            j += 1
        store(out, 1 + 2 * i, total)
        total = nought
        for q in range(qm):
            total = fma(splat(weights[j]), modulus(load(mass, q)), total)
            j += 1
        store(out, 2 + 2 * i, total)


@inlined
def factorize(system: Any, tile: Any) -> None:
    """Assemble dt A, dt f and S = M + theta dt A, and factorise S; `tile.pivots` gets its smallest pivot, or 1 (LU)."""
    qf, qa, qm, n = tile.shape
    one = splat(tile.real.dtype.type(1))
    zero = alike(one - one, load(tile.phi, 0))
    part = splat(tile.real.dtype.type(system.theta))
    assemble(system.sources, tile.phi, qf, n, tile.source, zero)
    assemble(system.operators, tile.theta, qa, n * n, tile.stiffness, zero)
    assemble(system.mass, tile.weights, qm, len(system.mass) // qm, tile.matrix, zero)
    smallest = one
    if system.kind == LDL:
        e = 0
        for i in range(n):
            for j in range(i + 1):
                store(tile.matrix, e, fma(part, load(tile.stiffness, i * n + j), load(tile.matrix, e)))
                e += 1
        smallest = ldl_factors(tile.matrix, n, tile.increment, tile.inverse.viewed(tile.real.dtype), one)
    else:
        for e in range(n * n):
            store(tile.matrix, e, fma(part, load(tile.stiffness, e), load(tile.matrix, e)))
        lu_factors(tile.matrix, tile.stiffness, tile.source, n, tile.inverse, tile.one, one)
    store(tile.pivots, 0, smallest)


@compiled
def force(stiffness: Any, source: Any, gamma: Any, n: int, control: Any, out: Any) -> None:
    """Compute control f - A gamma. Cost: 2 n^2 flops."""
    i = 0
    while i + 4 <= n:
        r0, r1, r2, r3 = i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n
        s0, s1 = control * load(source, i), control * load(source, i + 1)
        s2, s3 = control * load(source, i + 2), control * load(source, i + 3)
        for j in range(n):
            g = load(gamma, j)
            s0 = fnma(load(stiffness, r0 + j), g, s0)
            s1 = fnma(load(stiffness, r1 + j), g, s1)
            s2 = fnma(load(stiffness, r2 + j), g, s2)
            s3 = fnma(load(stiffness, r3 + j), g, s3)
        store(out, i, s0)
        store(out, i + 1, s1)
        store(out, i + 2, s2)
        store(out, i + 3, s3)
        i += 4
    while i < n:
        s0 = control * load(source, i)
        for j in range(n):
            s0 = fnma(load(stiffness, i * n + j), load(gamma, j), s0)
        store(out, i, s0)
        i += 1


@compiled
def advance(
    step: Any, gamma: Any, tail: Any, n: int, part: Any, weights: Any, place: int, control: Any, c: Any, zero: Any
) -> Any:
    """Add an increment to gamma + tail, write c of this step; return sum_j w_j sizes_j and the sum of |gamma|^2.

    c = (-control, gamma_theta, d), entry j in register j STEPS + place; part : 1 - theta
    """
    squares = zero
    store(c, place, alike(zero, control) - control)
    spread = load(weights, 0) * modulus(control)
    for i in range(n):
        d = load(step, i)
        s, r = two_sum(load(gamma, i), d)
        s, t = two_sum(s, load(tail, i) + r)
        store(gamma, i, s)
        store(tail, i, t)
        store(c, (1 + 2 * i) * STEPS + place, fnma(part, d, s))
        store(c, (2 + 2 * i) * STEPS + place, d)
        size = modulus(d)
        spread = fma(load(weights, 2 + 2 * i), size, spread)
        spread = fma(load(weights, 1 + 2 * i), fma(part, size, modulus(s)), spread)
        squares = square(s) + squares
    return spread, squares


@compiled
def residuals(factor: Any, first: Any, last: int, c: Any, steps: int, out: Any, kept: Any, zero: Any) -> None:
    """Compute sum_i |(R_mu c)_i|^2 of up to STEPS steps into the registers of `out`, and R_mu c into those of `kept`.

    Two rows and three steps at a time: twelve sums of four numbers, in as many registers of AVX2. `kept` has STEPS
    registers for each row, or none.
    """
    keep = len(kept) > 0
    for k in range(STEPS):
        store(out, k, splat(out.dtype.type(0)))
    for b in range(first.shape[1]):
        for k in range(0, steps, 3):
            p, j = first[1, b], first[0, b] * STEPS + k
            a0 = a1 = a2 = b0 = b1 = b2 = zero
            for _ in range(first[0, b], last):
                r, s = load(factor, p), load(factor, p + 1)
                x = load(c, j)
                a0, b0 = fma(r, x, a0), fma(s, x, b0)
                x = load(c, j + 1)
                a1, b1 = fma(r, x, a1), fma(s, x, b1)
                x = load(c, j + 2)
                a2, b2 = fma(r, x, a2), fma(s, x, b2)
                p += 2
                j += STEPS
            store(out, k, square(a0) + (square(b0) + load(out, k)))
            store(out, k + 1, square(a1) + (square(b1) + load(out, k + 1)))
            store(out, k + 2, square(a2) + (square(b2) + load(out, k + 2)))
            if keep:
                place = 2 * b * STEPS + k
                store(kept, place, a0)
                store(kept, place + 1, a1)
                store(kept, place + 2, a2)
                store(kept, place + STEPS, b0)
                store(kept, place + STEPS + 1, b1)
                store(kept, place + STEPS + 2, b2)


@inlined
def outputs(points: Any, answers: Any, row: int, here: int, k: int, tile: Any) -> None:
    """Write gamma^k, if it is kept, the outputs at time k, and bounds of their rounding errors, of `here` points."""
    n = tile.shape[3]
    if answers.gamma.shape[0] > 0:
        for lane in range(here):
            for i in range(tile.parts * n):
                answers.gamma[row + lane, k, i] = tile.gamma_numbers[i * tile.lanes + lane]
    for o in range(answers.outputs.shape[0]):
        size = splat(tile.real.dtype.type(0))
        s = alike(size, load(tile.gamma, 0))
        for i in range(n):
            g = load(tile.gamma, i)
            s = fma(load(tile.functionals, o * n + i), g, s)
            size = fma(load(tile.magnitudes, o * n + i), modulus(g), size)
        store(tile.sum, 0, s)
        store(tile.one, 0, size)
        for lane in range(here):
            for part in range(tile.parts):
                answers.outputs[o, row + lane, tile.parts * k + part] = tile.sum_numbers[part * tile.lanes + lane]
            answers.roundings[o, row + lane, k] = tile.one[lane]


@inlined
def write_residuals(answers: Any, row: int, here: int, k: int, steps: int, tile: Any) -> None:
    """Write R c of the steps k, ..., if it is kept, of `here` points; the coefficients of the tile are -c."""
    if answers.residuals.shape[0] > 0:
        for lane in range(here):
            for place in range(steps):
                for i in range(answers.residuals.shape[2]):
                    register = (i // tile.parts * STEPS + place) * tile.parts + i % tile.parts
                    answers.residuals[row + lane, k + place, i] = -tile.residuals_numbers[register * tile.lanes + lane]


@inlined
def one_step(system: Any, points: Any, answers: Any, row: int, k: int, place: int, tile: Any) -> None:
    """March from time k to time k + 1; c, floor and size of the step go into the place of the same number."""
    n, last = tile.shape[3], len(points.control) - 1
    nought = splat(tile.real.dtype.type(0))
    for lane in range(tile.lanes):
        for part in range(tile.parts):
            tile.sum_numbers[part * tile.lanes + lane] = points.control[min(row + lane, last), tile.parts * k + part]
    control = load(tile.sum, 0)
    force(tile.stiffness, tile.source, tile.gamma, n, control, tile.increment)
    if system.kind == LDL:
        ldl_solve(tile.matrix, tile.increment, n, tile.inverse.viewed(tile.real.dtype))
    else:
        lu_solve(tile.matrix, tile.increment, n, tile.inverse)
    rest = splat(tile.real.dtype.type(1 - system.theta))
    spread, squares = advance(
        tile.increment, tile.gamma, tile.tail, n, rest, tile.floor_weights, place, control, tile.c, nought
    )
    store(tile.spreads, place, spread)
    store(tile.sizes, place, root(larger(spread, nought, squares + splat(tile.real.dtype.type(LOST)), squares)))


@inlined
def verdicts(answers: Any, row: int, here: int, tile: Any) -> int:
    """Write how `here` points ended; return how many could not be marched. ."""
    failures, nought = 0, tile.real.dtype.type(0)
    for lane in range(here):
        total = nought
        for i in range(tile.parts * tile.shape[3]):
            total += (
                nought * tile.gamma_numbers[i * tile.lanes + lane]
            )  # what is not finite stays so in all later steps
        verdict = SOLVED if total == 0 else NOT_FINITE
        if not tile.pivots[lane] > 0:
            verdict = INDEFINITE
        answers.failed[row + lane] = verdict
        failures += verdict != SOLVED
    return failures


@inlined
def march_tiles(system: Any, factor: Any, points: Any, answers: Any, room: Any) -> int:
    """Do the work of :func:`march`, whose arguments have the names of their fields here."""
    tile = new_march_tile(system, factor, points, room, answers.residuals.shape[0] > 0)
    qf, qa, qm, n = tile.shape
    sizes, nought = (qf, qa, qm), splat(tile.real.dtype.type(0))
    zero = alike(nought, load(tile.phi, 0))
    count, steps, failures = len(points.theta), points.control.shape[1] // tile.parts, 0
    certified = len(answers.values) > 0
    for row in range(0, count, tile.lanes):
        here = min(tile.lanes, count - row)
        load_coefficients(system, points, row, tile)
        factorize(system, tile)
        for i in range(n):
            store(tile.tail, i, zero)
        if certified:
            merged(factor.matrix, factor.first, 2 * n + 1, tile.theta, tile.phi, tile.weights, sizes, tile.factor, zero)
        floor_weights(factor.weights, tile.theta, tile.phi, tile.weights, sizes, n, tile.floor_weights, nought)
        outputs(points, answers, row, here, 0, tile)
        for k in range(0, steps, STEPS):
            todo = min(STEPS, steps - k)
            for place in range(todo):
                one_step(system, points, answers, row, k + place, place, tile)
                outputs(points, answers, row, here, k + place + 1, tile)
            if certified:
                residuals(tile.factor, factor.first, 2 * n + 1, tile.c, todo, tile.values, tile.residuals, zero)
                write_residuals(answers, row, here, k, todo, tile)
                for place in range(todo):
                    store(tile.values, place, root(load(tile.values, place)))
                    for lane in range(here):
                        answers.values[row + lane, k + place] = tile.values[place * tile.lanes + lane]
                        answers.spreads[row + lane, k + place] = tile.spreads[place * tile.lanes + lane]
                        answers.sizes[row + lane, k + place + 1] = tile.sizes[place * tile.lanes + lane]
        failures += verdicts(answers, row, here, tile)
    return failures


@kernel
def march(system: Any, factor: Any, points: Any, answers: Any, room: Any) -> int:
    """March and certify M points; return the number of those that failed, which `answers.failed` tells apart.

    system, factor, points, answers : plain tuples of the fields of :mod:`rbm.online.kernels.arguments`
    room : scratch memory, :func:`rbm.online.kernels.march_tile.march_scratch_size` numbers of the working type
    """
    own = MarchSystem(*bare(system)), MarchFactor(*bare(factor)), MarchPoints(*bare(points))
    return march_tiles(*own, MarchAnswers(*bare(answers)), bare(room))
