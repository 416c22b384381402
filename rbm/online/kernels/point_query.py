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
from rbm.online.kernels.compiler import compiled, kernel
from rbm.online.kernels.formulas import evaluate_point
from rbm.online.kernels.lanes import fma, fnma, load, load_from, splat, store
from rbm.online.kernels.packed_point import PointModel, PointRoom, model_parts, room_parts, sizes_of
from rbm.online.kernels.residuals import refine_of_one, residual_of_one

__all__ = ["point_query"]


@compiled
def assemble_blocks(terms: Any, theta: Any, sizes: Any, first: bool, out: Any) -> None:
    """Compute sum_q theta_q A_q in blocks of eight rows, of columns from their diagonal block on, or one column."""
    p, zero = 0, splat(0.0)
    for j in range(1 if first else sizes.n):
        for b in range(j // 8, sizes.blocks):
            s = zero
            for q in range(len(theta)):
                s = fma(load_from(terms, p), splat(theta[q]), s)
                p += 8
            store(out, j * sizes.blocks + b, s)


@compiled
def subtract_columns(room: Any, blocks: int, j: int) -> None:
    """Subtract from the columns j and j + 1 of A their parts along the first j columns of L D."""
    for k in range(j):
        v0, v1 = room.matrix[8 * k * blocks + j], room.matrix[8 * k * blocks + j + 1]
        room.rows[8 * j * blocks + k], room.rows[8 * (j + 1) * blocks + k] = v0, v1
        room.scaled[2 * k], room.scaled[2 * k + 1] = room.inverse[k] * v0, room.inverse[k] * v1
    b = j // 8
    while b + 2 <= blocks:
        at = j * blocks + b
        s0, s1 = load(room.matrix, at), load(room.matrix, at + 1)
        t0, t1 = load(room.matrix, at + blocks), load(room.matrix, at + blocks + 1)
        for k in range(j):
            v, w = splat(room.scaled[2 * k]), splat(room.scaled[2 * k + 1])
            x, y = load(room.matrix, k * blocks + b), load(room.matrix, k * blocks + b + 1)
            s0, s1 = fnma(x, v, s0), fnma(y, v, s1)
            t0, t1 = fnma(x, w, t0), fnma(y, w, t1)
        store(room.matrix, at, s0)
        store(room.matrix, at + 1, s1)
        store(room.matrix, at + blocks, t0)
        store(room.matrix, at + blocks + 1, t1)
        b += 2
    if b < blocks:
        at = j * blocks + b
        s0, t0 = load(room.matrix, at), load(room.matrix, at + blocks)
        for k in range(j):
            x = load(room.matrix, k * blocks + b)
            s0, t0 = fnma(x, splat(room.scaled[2 * k]), s0), fnma(x, splat(room.scaled[2 * k + 1]), t0)
        store(room.matrix, at, s0)
        store(room.matrix, at + blocks, t0)


@compiled
def pivot_of(room: Any, blocks: int, j: int) -> float:
    """Return d_j, with its reciprocal in room.inverse, and subtract column j from the right-hand side."""
    d = room.matrix[8 * j * blocks + j]
    room.inverse[j] = 1.0 / d
    room.forward[j] = room.right[j]  # before this block of rows is changed once more
    z = splat(room.inverse[j] * room.right[j])
    for b in range(j // 8, blocks):
        store(room.right, b, fnma(load(room.matrix, j * blocks + b), z, load(room.right, b)))
    return d


@compiled
def ldl_of_one(room: Any, sizes: Any) -> float:
    """Solve A x = y by A = L D L^T, with the operations of :func:`rbm.online.kernels.solvers.ldl`; return min_j d_j.

    Column j of L D in room.matrix, its rows once more in room.rows, so that both sweeps read contiguous numbers. What
    stands above the diagonal within a block is not read as an entry of L. Two columns at a time; there is an empty one
    behind an odd number.
    """
    n, blocks = sizes.n, sizes.blocks
    smallest = 1.0
    for j in range(0, n, 2):
        subtract_columns(room, blocks, j)
        d = pivot_of(room, blocks, j)
        if smallest > d:
            smallest = d
        if j + 1 == n:
            break
        v = room.matrix[8 * j * blocks + j + 1]
        room.rows[8 * (j + 1) * blocks + j] = v
        w = splat(room.inverse[j] * v)
        for b in range((j + 1) // 8, blocks):
            at = j * blocks + b
            store(room.matrix, at + blocks, fnma(load(room.matrix, at), w, load(room.matrix, at + blocks)))
        d = pivot_of(room, blocks, j + 1)
        if smallest > d:
            smallest = d
    for k in range(n - 1, -1, -1):
        x = room.inverse[k] * room.forward[k]
        room.gamma[k] = x
        for b in range((k + 7) // 8):
            store(room.forward, b, fnma(load(room.rows, k * blocks + b), splat(x), load(room.forward, b)))
    return smallest


@compiled
def floor_of(room: Any, weights: Any, sizes: Any) -> float:
    """Return sum_j w_j |c_j| (:func:`rbm.online.kernels.residuals.coefficients`)."""
    total = 0.0
    for q in range(sizes.qf):
        total = fma(weights[q], abs(room.phi[q]), total)
    j = sizes.qf
    for i in range(sizes.n):
        inner = 0.0
        for q in range(sizes.qa):
            inner = fma(weights[j], abs(room.theta[q]), inner)
            j += 1
        total = fma(abs(room.gamma[i]), inner, total)
    return total


@compiled
def coefficients_of(room: Any, sizes: Any, tail: bool) -> None:
    """Write c, and its rounding errors if `tail`."""
    for q in range(sizes.qf):
        room.c[q] = room.phi[q]
    j = sizes.qf
    for i in range(sizes.n):
        g = -room.gamma[i]
        for q in range(sizes.qa):
            product = g * room.theta[q]
            room.c[j] = product
            if tail:
                room.tail[j] = fma(g, room.theta[q], -product)
            j += 1


@compiled
def norm_and_floor(model: Any, room: Any, sizes: Any) -> bool:
    """Write the residual norm, its floor, and whether it is resolved; return False for what a tile must do."""
    relative, absolute = model.floor[0], model.floor[1]
    limit = floor_of(room, model.weights[: sizes.terms], sizes)
    coefficients_of(room, sizes, False)
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
        sharp = floor_of(room, model.weights[sizes.terms :], sizes)
        if value < SHARP * (limit - (sharp + relative * value + absolute)):
            coefficients_of(room, sizes, True)
            value = refine_of_one(model.factor, model.first, sizes.columns, room.c, room.tail, 1, room.work)
            limit = sharp
            if limit > 0:
                limit = fma(relative, value, limit) + absolute
    room.answers[0], room.answers[1] = value, limit
    room.answers[2] = 1.0 if value >= RESOLVED * limit else 0.0
    return True


@compiled
def stability_of(model: Any, room: Any, sizes: Any) -> float:
    """Return beta (:func:`rbm.online.kernels.batch_query.stability_bound`), or the one that is given."""
    if len(model.stability) == 0:
        return room.beta[0]
    least = model.stability[1] * room.theta[0]
    spent = model.stability[1 + sizes.qa] * abs(room.theta[0])
    for q in range(1, sizes.qa):
        ratio = model.stability[1 + q] * room.theta[q]
        if least > ratio:
            least = ratio
        spent = fma(model.stability[1 + sizes.qa + q], abs(room.theta[q]), spent)
    return model.stability[0] * least - spent


@compiled
def compliance_of(model: Any, room: Any, sizes: Any) -> Any:
    """Return the three sums of :func:`rbm.online.kernels.batch_query.compliance`."""
    qa, n = sizes.qa, sizes.n
    total = skew = squares = linear = 0.0
    for q in range(qa):
        t, s = abs(room.theta[q]), 0.0
        for i in range(n):
            s = fma(model.energy[q * n + i], abs(room.gamma[i]), s)
        total = fma(np.sqrt(t), s, total)
        skew = fma(model.skew[1 + q], t, skew)
    for i in range(n):
        g = abs(room.gamma[i])
        squares = fma(g, g, squares)
        linear = fma(model.energy[qa * n + i], g, linear)
    return fma(total, total, linear), skew, skew * model.skew[0] * np.sqrt(squares)


@compiled
def certified(model: Any, room: Any, sizes: Any) -> bool:
    """Write outputs and all bounds; return whether they are finite."""
    b = stability_of(model, room, sizes)
    room.answers[0] /= b
    room.answers[1] /= b
    bound = room.answers[0] + room.answers[1]
    good = b > 0 and b < np.inf and bound < np.inf
    energy = 0.0, 0.0, 0.0
    if len(model.energy) > 0:
        energy = compliance_of(model, room, sizes)
    for o in range(sizes.outputs):
        value = size = 0.0
        for i in range(sizes.n):
            value = fma(model.functionals[o * sizes.n + i], room.gamma[i], value)
            size = fma(model.magnitudes[o * sizes.n + i], abs(room.gamma[i]), size)
        limit = output_bound(model.norms[o], bound, size, model.mismatch[o], b, energy)
        room.answers[3 + o], room.answers[3 + sizes.outputs + o] = value, limit
        good = good and limit < np.inf and abs(value) < np.inf
    return good


@compiled
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
    assemble_blocks(model.terms, room.theta, sizes, False, room.matrix)
    assemble_blocks(model.sources, room.phi, sizes, True, room.right)
    if not ldl_of_one(room, sizes) > 0:
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
    known = sizes_of(integers)
    model, own = PointModel(*model_parts(known, integers, numbers)), PointRoom(*room_parts(known, room))
    return answered(model, own, known)
