"""The query of one real parameter point by L D L^H: registers run along rows of its own matrix, not across points.

A tile computes eight points as fast as one, so for one point alone seven eighths of it are lost. Here every number is
formed by the operations of a tile, in their order (:mod:`rbm.online.kernels.batch_query`): the answers have the same
bits as a batch of that one point. What is rare is not done here, but reported, and a tile does it.

Everything comes in three flat arrays, as each argument costs a call from Python a tenth of a microsecond:
:mod:`rbm.online.kernels.packed_point` says what is in them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.estimate import RESOLVED
from rbm.online.forms import SHARP
from rbm.online.kernels.arguments import EXPANDED
from rbm.online.kernels.bounds import output_bound
from rbm.online.kernels.compiler import compiled, inlined, kernel
from rbm.online.kernels.formulas import evaluate_point
from rbm.online.kernels.lanes import fma, fnma, load, load_from, splat, store
from rbm.online.kernels.memory import bare
from rbm.online.kernels.packed_point import PointModel, PointRoom, model_parts, room_parts, sizes_of
from rbm.online.kernels.re_evaluation import refine_of_one
from rbm.online.kernels.residuals import residual_of_one

__all__ = ["point_query"]


@compiled
def assemble_blocks(terms: Any, theta: Any, columns: int, blocks: int, out: Any) -> None:
    """Compute sum_q theta_q A_q in blocks of eight rows, of columns from their diagonal block on."""
    p, zero = 0, splat(0.0)
    for j in range(columns):
        for b in range(j // 8, blocks):
            s = zero
            for q in range(len(theta)):
                s = fma(load_from(terms, p), splat(theta[q]), s)
                p += 8
            store(out, j * blocks + b, s)


@compiled
def subtract_columns(matrix: Any, rows: Any, scaled: Any, inverse: Any, blocks: int, j: int) -> None:
    """Subtract from the columns j and j + 1 of A their parts along the first j columns of L D."""
    for k in range(j):
        v0, v1 = matrix[8 * k * blocks + j], matrix[8 * k * blocks + j + 1]
        rows[8 * j * blocks + k], rows[8 * (j + 1) * blocks + k] = v0, v1
        scaled[2 * k], scaled[2 * k + 1] = inverse[k] * v0, inverse[k] * v1
    b = j // 8
    while b + 2 <= blocks:
        at = j * blocks + b
        s0, s1 = load(matrix, at), load(matrix, at + 1)
        t0, t1 = load(matrix, at + blocks), load(matrix, at + blocks + 1)
        for k in range(j):
            v, w = splat(scaled[2 * k]), splat(scaled[2 * k + 1])
            x, y = load(matrix, k * blocks + b), load(matrix, k * blocks + b + 1)
            s0, s1 = fnma(x, v, s0), fnma(y, v, s1)
            t0, t1 = fnma(x, w, t0), fnma(y, w, t1)
        store(matrix, at, s0)
        store(matrix, at + 1, s1)
        store(matrix, at + blocks, t0)
        store(matrix, at + blocks + 1, t1)
        b += 2
    if b < blocks:
        at = j * blocks + b
        s0, t0 = load(matrix, at), load(matrix, at + blocks)
        for k in range(j):
            x = load(matrix, k * blocks + b)
            s0, t0 = fnma(x, splat(scaled[2 * k]), s0), fnma(x, splat(scaled[2 * k + 1]), t0)
        store(matrix, at, s0)
        store(matrix, at + blocks, t0)


@compiled
def pivot_of(matrix: Any, inverse: Any, right: Any, forward: Any, blocks: int, j: int) -> float:
    """Return d_j, with its reciprocal in `inverse`, and subtract column j from the right-hand side."""
    d = matrix[8 * j * blocks + j]
    inverse[j] = 1.0 / d
    forward[j] = right[j]  # before this block of rows is changed once more
    z = splat(inverse[j] * right[j])
    for b in range(j // 8, blocks):
        store(right, b, fnma(load(matrix, j * blocks + b), z, load(right, b)))
    return d


@compiled
def ldl_of_one(
    matrix: Any, rows: Any, scaled: Any, inverse: Any, right: Any, forward: Any, gamma: Any, blocks: int
) -> float:
    """Solve A x = y by A = L D L^T, with the operations of :func:`rbm.online.kernels.solvers.ldl`; return min_j d_j.

    matrix : columns of A, then of L D; rows : the same by rows, so that both sweeps read contiguous numbers. What is
    above the diagonal within a block is not read as an entry of L. Two columns at a time; there is an empty one behind
    an odd number.
    """
    n, smallest = len(gamma), 1.0
    for j in range(0, n, 2):
        subtract_columns(matrix, rows, scaled, inverse, blocks, j)
        d = pivot_of(matrix, inverse, right, forward, blocks, j)
        if smallest > d:
            smallest = d
        if j + 1 == n:
            break
        v = matrix[8 * j * blocks + j + 1]
        rows[8 * (j + 1) * blocks + j] = v
        w = splat(inverse[j] * v)
        for b in range((j + 1) // 8, blocks):
            at = j * blocks + b
            store(matrix, at + blocks, fnma(load(matrix, at), w, load(matrix, at + blocks)))
        d = pivot_of(matrix, inverse, right, forward, blocks, j + 1)
        if smallest > d:
            smallest = d
    for k in range(n - 1, -1, -1):
        x = inverse[k] * forward[k]
        gamma[k] = x
        for b in range((k + 7) // 8):
            store(forward, b, fnma(load(rows, k * blocks + b), splat(x), load(forward, b)))
    return smallest


@compiled
def floor_of(theta: Any, phi: Any, gamma: Any, weights: Any) -> float:
    """Return sum_j w_j |c_j| (:func:`rbm.online.kernels.residuals.coefficients`)."""
    total = 0.0
    for q in range(len(phi)):
        total = fma(weights[q], abs(phi[q]), total)
    j = len(phi)
    for i in range(len(gamma)):
        inner = 0.0
        for q in range(len(theta)):
            inner = fma(weights[j], abs(theta[q]), inner)
            j += 1
        total = fma(abs(gamma[i]), inner, total)
    return total


@compiled
def coefficients_of(theta: Any, phi: Any, gamma: Any, c: Any, tail: Any) -> None:
    """Write c and, unless `tail` is empty, its rounding errors."""
    for q in range(len(phi)):
        c[q] = phi[q]
    j = len(phi)
    for i in range(len(gamma)):
        g = -gamma[i]
        for q in range(len(theta)):
            product = g * theta[q]
            c[j] = product
            if len(tail):
                tail[j] = fma(g, theta[q], -product)
            j += 1


@inlined
def norm_and_floor(model: Any, room: Any, sizes: Any) -> bool:
    """Write the residual norm, its floor, and whether it is resolved; return False for what a tile must do."""
    relative, absolute = model.floor[0], model.floor[1]
    limit = floor_of(room.theta, room.phi, room.gamma, model.weights[: sizes.terms])
    coefficients_of(room.theta, room.phi, room.gamma, room.c, room.tail[:0])
    expanded = sizes.mode == EXPANDED
    residual_of_one(model.factor, model.first, room.c, 1, sizes.columns, expanded, room.work, room.answers)
    square = room.answers[0]
    if expanded:
        square = square + square
        if limit > 0:
            limit = relative * limit + absolute
        value = square
        if square == square:
            value = np.sqrt(square) if square > 0 else limit
    else:
        value = np.sqrt(square)
        if limit > 0:
            limit = fma(relative, value, limit) + absolute
    if limit == 0:
        return False
    if sizes.refined and value < SHARP * limit:
        sharp = floor_of(room.theta, room.phi, room.gamma, model.weights[sizes.terms :])
        if value < SHARP * (limit - (sharp + relative * value + absolute)):
            coefficients_of(room.theta, room.phi, room.gamma, room.c, room.tail)
            value = refine_of_one(model.factor, model.first, sizes.columns, room.c, room.tail, 1, room.work)
            limit = sharp
            if limit > 0:
                limit = fma(relative, value, limit) + absolute
    room.answers[0], room.answers[1] = value, limit
    room.answers[2] = 1.0 if value >= RESOLVED * limit else 0.0
    return True


@compiled
def stability_of(stability: Any, theta: Any) -> float:
    """Return beta from theta (:func:`rbm.online.kernels.batch_query.stability_bound`)."""
    qa = len(theta)
    least = fma(stability[1], theta[0], stability[1 + 2 * qa])
    spent = stability[1 + qa] * abs(theta[0])
    for q in range(1, qa):
        ratio = fma(stability[1 + q], theta[q], stability[1 + 2 * qa + q])
        if least > ratio:
            least = ratio
        spent = fma(stability[1 + qa + q], abs(theta[q]), spent)
    return stability[0] * least - spent


@compiled
def compliance_of(energy: Any, sizes: Any, theta: Any, gamma: Any) -> Any:
    """Return the three sums of :func:`rbm.online.kernels.batch_query.compliance`; `sizes` is size, skew."""
    qa, n = len(theta), len(gamma)
    total = skew = squares = linear = 0.0
    for q in range(qa):
        t, s = abs(theta[q]), 0.0
        for i in range(n):
            s = fma(energy[q * n + i], abs(gamma[i]), s)
        total = fma(np.sqrt(t), s, total)
        skew = fma(sizes[1 + q], t, skew)
    for i in range(n):
        g = abs(gamma[i])
        squares = fma(g, g, squares)
        linear = fma(energy[qa * n + i], g, linear)
    return fma(total, total, linear), skew, skew * sizes[0] * np.sqrt(squares)


@inlined
def certified(model: Any, room: Any, sizes: Any) -> bool:
    """Write outputs and all bounds; return whether they are finite."""
    b = stability_of(model.stability, room.theta) if len(model.stability) else room.beta[0]
    room.answers[0] /= b
    room.answers[1] /= b
    bound = room.answers[0] + room.answers[1]
    good = b > 0 and b < np.inf and bound < np.inf
    energy = 0.0, 0.0, 0.0
    if len(model.energy) > 0:
        energy = compliance_of(model.energy, model.skew, room.theta, room.gamma)
    for o in range(sizes.outputs):
        value = size = 0.0
        for i in range(sizes.n):
            value = fma(model.functionals[o * sizes.n + i], room.gamma[i], value)
            size = fma(model.magnitudes[o * sizes.n + i], abs(room.gamma[i]), size)
        limit = output_bound(model.norms[o], bound, size, model.mismatch[o], b, energy)
        room.answers[3 + o], room.answers[3 + sizes.outputs + o] = value, limit
        good = good and limit < np.inf and abs(value) < np.inf
    return good


@inlined
def answered(model: Any, room: Any, sizes: Any) -> bool:
    """Do the work of :func:`point_query`, whose arguments have names here."""
    for j in range(len(room.inputs)):
        if not (model.limits[2 * j] <= room.inputs[j] and room.inputs[j] <= model.limits[2 * j + 1]):
            return False
    evaluate_point(model.steps, model.numbers, room.inputs, room.stack, room.values)
    total = 0.0
    for j in range(len(room.values)):
        total += 0.0 * room.values[j]
    if total != 0:  # 0 x is NaN where x is not finite
        return False
    assemble_blocks(model.terms, room.theta, sizes.n, sizes.blocks, room.matrix)
    assemble_blocks(model.sources, room.phi, 1, sizes.blocks, room.right)
    smallest = ldl_of_one(
        room.matrix, room.rows, room.scaled, room.inverse, room.right, room.forward, room.gamma, sizes.blocks
    )
    if not smallest > 0:
        return False
    for i in range(sizes.n):
        total += 0.0 * room.gamma[i]
    return total == 0 and norm_and_floor(model, room, sizes) and certified(model, room, sizes)


@kernel
def point_query(integers: Any, numbers: Any, room: Any) -> bool:
    """Answer one point; return False if a tile has to, or there is no answer.

    integers, numbers : :func:`rbm.online.kernels.packed_point.pack_point`
    room : scratch memory with the point, its coefficients and the answers (:class:`PointRoom`)
    """
    sizes = bare(integers)
    known = sizes_of(sizes)
    model, own = PointModel(*model_parts(known, sizes, bare(numbers))), PointRoom(*room_parts(known, bare(room)))
    return answered(model, own, known)
