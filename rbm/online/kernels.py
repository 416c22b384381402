"""The online stage compiled: reduced systems, residual norms and floors, fused over tiles of parameter points.

One tile is two registers of lanes, 16 points in float64: it is solved, its residual coefficients are formed and the residual is
multiplied out while everything is in the first two caches. :mod:`rbm.online.reference` and the estimators' `evaluate` define
what is computed; :mod:`rbm.online.packed` prepares the arrays. Nothing here allocates per point, and no lane knows of others.

Complex numbers enter the residual as pairs of real ones: row 2 j + part of the coefficients is the real or the imaginary part
of c_j, and the factor is the real matrix of twice the size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from rbm.online.lanes import alike, equal, fma, fnma, imag, larger, load, load_from, modulus, real, root, splat, store
from rbm.online.solvers import assemble, compiled, ldl, least_squares, lu

__all__ = ["EXPANDED", "GIVEN", "LDL", "LU", "NORM", "NOTHING", "QR", "interpolated", "query"]

#: How the reduced system is solved; GIVEN: gamma is there already.
GIVEN, LDL, LU, QR = range(4)
#: What is made of the residual: nothing, norm(R c), (c^H G c)^{1/2}.
NOTHING, NORM, EXPANDED = range(3)
#: Below this many floors a value is computed again in extended precision.
SHARP = 100.0
#: :data:`rbm.estimate.RESOLVED`
RESOLVED = 11.0

kernel: Any = njit(nogil=True, cache=True, error_model="numpy")


@compiled
def _scratch(registers: int, like: Any) -> Any:
    """Room for `registers` registers on a 64-byte boundary, so that no access straddles two cache lines."""
    room = np.empty((registers + 1) * (64 // like.itemsize), like.dtype)
    skip = (-room.ctypes.data % 64) // like.itemsize
    return room[skip : skip + registers * (64 // like.itemsize)]


@compiled
def _gather(values: Any, first: int, lanes: int, out: Any) -> None:
    """Rows first.. of `values` (M, count) into lanes; lanes beyond the last row repeat it."""
    last = len(values) - 1
    for lane in range(lanes):
        row = min(first + lane, last)
        for q in range(values.shape[1]):
            out[q * lanes + lane] = values[row, q]


@compiled
def _coefficients(theta: Any, phi: Any, gamma: Any, sizes: Any, weights: Any, group: int, c: Any, zero: Any) -> Any:
    """c into the lanes of `group` of a tile (:func:`rbm.online.reference.residual_coefficients`); returns sum_j w_j |c_j|."""
    qa, qf, n = sizes
    parts = theta.itemsize // c.itemsize  # 2 for complex numbers
    nought = real(zero)
    total = nought
    for q in range(qf):
        x = load(phi, q)
        store(c, 2 * parts * q + group, real(x))
        if parts == 2:
            store(c, 4 * q + 2 + group, imag(x))
        total = fma(splat(weights[q]), modulus(x), total)
    j = qf
    for i in range(n):
        g = load(gamma, i)
        inner = nought
        for q in range(qa):
            t = load(theta, q)
            x = fnma(g, t, zero)
            store(c, 2 * parts * j + group, real(x))
            if parts == 2:
                store(c, 4 * j + 2 + group, imag(x))
            inner = fma(splat(weights[j]), modulus(t), inner)
            j += 1
        total = fma(modulus(g), inner, total)
    return total


@compiled
def _residual(factor: Any, first: Any, c: Any, columns: int, expanded: bool, out: Any, zero: Any) -> None:
    """sum_i |(F c)_i|^2, or sum_i c_i (F c)_i, for both groups of a tile, into the two registers of `out`.

    Four rows of F at a time; block b starts at column first[0, b] and at element first[1, b], its rows interleaved.
    """
    u0 = u1 = zero
    for b in range(first.shape[1]):
        p = first[1, b]
        a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = zero
        for j in range(first[0, b], columns):
            x, y = load(c, 2 * j), load(c, 2 * j + 1)
            r = splat(factor[p])
            a0, a1 = fma(r, x, a0), fma(r, y, a1)
            r = splat(factor[p + 1])
            b0, b1 = fma(r, x, b0), fma(r, y, b1)
            r = splat(factor[p + 2])
            c0, c1 = fma(r, x, c0), fma(r, y, c1)
            r = splat(factor[p + 3])
            d0, d1 = fma(r, x, d0), fma(r, y, d1)
            p += 4
        if expanded:
            i = 8 * b
            u0 = fma(load(c, i), a0, fma(load(c, i + 2), b0, fma(load(c, i + 4), c0, fma(load(c, i + 6), d0, u0))))
            u1 = fma(load(c, i + 1), a1, fma(load(c, i + 3), b1, fma(load(c, i + 5), c1, fma(load(c, i + 7), d1, u1))))
        else:
            u0 = fma(a0, a0, fma(b0, b0, fma(c0, c0, fma(d0, d0, u0))))
            u1 = fma(a1, a1, fma(b1, b1, fma(c1, c1, fma(d1, d1, u1))))
    store(out, 0, u0)
    store(out, 1, u1)


@compiled
def _residual_of_one(factor: Any, first: Any, c: Any, columns: int, expanded: bool, lane: int, work: Any, out: Any) -> None:
    """The same for a single lane: the registers run along the rows of F instead of across points."""
    width = 64 // factor.itemsize
    spread, sums = work[: 4 * columns], work[4 * columns : 4 * columns + width]
    for j in range(columns):
        for r in range(4):
            spread[4 * j + r] = c[2 * j * width + lane]
    zero = splat(factor.dtype.type(0))
    total = factor.dtype.type(0)
    for b in range(first.shape[1]):
        p = first[1, b]
        k, end = 4 * first[0, b], 4 * columns
        s0 = s1 = zero
        while k + 2 * width <= end:
            s0 = fma(load_from(factor, p), load_from(spread, k), s0)
            s1 = fma(load_from(factor, p + width), load_from(spread, k + width), s1)
            p += 2 * width
            k += 2 * width
        if k < end:
            s0 = fma(load_from(factor, p), load_from(spread, k), s0)
        store(sums, 0, s0 + s1)
        for r in range(4):
            row = factor.dtype.type(0)
            for k in range(r, width, 4):
                row += sums[k]
            total += row * (spread[16 * b + 4 * r] if expanded else row)
    out[lane] = total


@compiled
def _two_product(a: Any, b: Any, zero: Any) -> Any:
    p = a * b
    return p, fma(a, b, zero - p)


@compiled
def _two_sum(a: Any, b: Any) -> Any:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@compiled
def _refine(theta: Any, phi: Any, gamma: Any, sizes: Any, factor: Any, first: Any, columns: int, work: Any, zero: Any) -> Any:
    """norm(F c) of one group of lanes with c and the sums in twice the working precision, compensated as in Dot2.

    Error u |result| + 2 (m + 4)^2 u^2 s(mu). Source: Ogita, Rump, Oishi, SIAM J. Sci. Comput. 26 (2005) 1955-1988.
    """
    qa, qf, n = sizes
    width = 64 // factor.itemsize
    parts = theta.itemsize // factor.itemsize
    head, tail = work[: columns * width], work[columns * width : 2 * columns * width]
    for j in range(columns):
        store(head, j, zero)
        store(tail, j, zero)
    for q in range(qf):
        x = load(phi, q)
        store(head, parts * q, real(x))
        if parts == 2:
            store(head, 2 * q + 1, imag(x))
    j = qf
    for i in range(n):
        g = load(gamma, i)
        for q in range(qa):
            t = load(theta, q)
            p, e = _two_product(zero - real(g), real(t), zero)
            if parts == 2:
                p2, e2 = _two_product(imag(g), imag(t), zero)
                s, f = _two_sum(p, p2)
                s, f = _two_sum(s, f + (e + e2))
                store(head, 2 * j, s)
                store(tail, 2 * j, f)
                p, e = _two_product(zero - real(g), imag(t), zero)
                p2, e2 = _two_product(zero - imag(g), real(t), zero)
                s, f = _two_sum(p, p2)
                s, f = _two_sum(s, f + (e + e2))
                store(head, 2 * j + 1, s)
                store(tail, 2 * j + 1, f)
            else:
                store(head, j, p)
                store(tail, j, e)
            j += 1
    total = zero
    for b in range(first.shape[1]):
        for r in range(4):
            p = first[1, b] + r
            high = low = zero
            for j in range(first[0, b], columns):
                f = splat(factor[p])
                x = load(head, j)
                product, e = _two_product(f, x, zero)
                high, rest = _two_sum(high, product)
                low = low + (rest + fma(f, load(tail, j), e))
                p += 4
            row = high + low
            total = fma(row, row, total)
    return root(total)


@kernel
def query(
    kind: int, mode: int, refine: bool, like: Any, sizes: Any, theta: Any, phi: Any, terms: Any, sources: Any, start: Any, height: Any,
    factor: Any, first: Any, weights: Any, constants: Any, stability: Any, functionals: Any, magnitudes: Any, norms_of: Any,
    gamma: Any, value: Any, floor: Any, resolved: Any, failed: Any, outputs: Any, output_bounds: Any,
) -> int:  # fmt: skip
    """Solve and estimate M points: gamma (M, N), residual norm, floor and whether it is resolved (M,).

    failed (M,) becomes 1 where L D L^H met a pivot that is not positive, 2 where gamma is not finite, and 3 where there is no error
    bound; returns the number of such points.

    kind, mode : what is to be done, see above; refine : weak points once more in extended precision
    like : an array of the working type; theta (M, Qa), phi (M, Qf), gamma are real views, (M, 2 Qa) .. if that is complex
    sizes : (Qa, Qf, N, columns of the factor, entries of a matrix)
    terms, sources, start, height, factor, first, weights : :class:`rbm.online.packed.System`, :class:`rbm.online.packed.Residual`
    constants : (relative, absolute): floor = sum_j w_j |c_j| + relative value + absolute
    stability : (1 + Qa,): value and floor are divided by beta = stability_0 min_q stability_q theta_q; (1,): by stability_0; (0,): by nothing
    functionals (N * outputs,), magnitudes (outputs, N), norms_of (outputs,) : outputs (M, outputs) and, if there is a beta, their bounds
    """
    qa, qf, n, columns, entries = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    shape = (qa, qf, n)
    lanes = 64 // factor.itemsize
    parts = like.itemsize // factor.itemsize
    count = len(theta)
    th, ph, ga = _scratch(parts * qa, factor), _scratch(parts * qf, factor), _scratch(parts * (n + 1), factor)
    a, spare, inverse = _scratch(parts * entries, factor), _scratch(parts * n, factor), _scratch(parts * n, factor)
    c, work = _scratch(2 * columns + 8, factor), _scratch(2 * columns + 16, factor)
    norms, floors, betas, choice = _scratch(2, factor), _scratch(2, factor), _scratch(2, factor), _scratch(1, factor)
    sums, sizes_of = _scratch(parts, factor), _scratch(2 * len(norms_of), factor)
    # the same memory as numbers of the working type
    theta_t, phi_t, gamma_t = th.view(like.dtype), ph.view(like.dtype), ga.view(like.dtype)
    a_t, spare_t, inverse_t, sums_t = a.view(like.dtype), spare.view(like.dtype), inverse.view(like.dtype), sums.view(like.dtype)
    c[:] = 0  # the rows that pad it
    nought, one = splat(factor.dtype.type(0)), splat(factor.dtype.type(1))
    zero = alike(nought, load(theta_t, 0))
    relative, absolute = splat(factor.dtype.type(constants[0])), splat(factor.dtype.type(constants[1]))
    failures = 0
    for base in range(0, count, 2 * lanes):
        groups = 1 if base + lanes >= count else 2
        for group in range(groups):
            row = base + group * lanes
            here = min(lanes, count - row)
            _gather(theta, row, lanes, th)
            _gather(phi, row, lanes, ph)
            smallest = one
            if kind == GIVEN:
                _gather(gamma, row, lanes, ga)
            elif kind == QR:
                assemble(terms, theta_t, qa, start[n], a_t, zero)
                assemble(sources, phi_t, qf, height[n], a_t[start[n] * lanes :], zero)
                least_squares(a_t, gamma_t, n, start, height, one, zero)
            else:
                assemble(sources, phi_t, qf, n, gamma_t, zero)
                assemble(terms, theta_t, qa, entries, a_t, zero)
                if kind == LDL:
                    smallest = ldl(a_t, gamma_t, n, spare_t, inverse, one)
                else:
                    lu(a_t, gamma_t, n, inverse_t, choice, one)
            for o in range(len(norms_of)):
                s, size = zero, nought
                for i in range(n):
                    g = load(gamma_t, i)
                    s = fma(splat(functionals[o * n + i]), g, s)
                    size = fma(splat(magnitudes[o, i]), modulus(g), size)
                store(sums_t, 0, s)
                store(sizes_of, 2 * o + group, size)
                for lane in range(here):
                    for part in range(parts):
                        outputs[row + lane, parts * o + part] = sums[part * lanes + lane]
            if len(stability) > 1:
                beta = splat(stability[1]) * real(load(theta_t, 0))
                for q in range(1, qa):
                    ratio = splat(stability[1 + q]) * real(load(theta_t, q))
                    beta = larger(beta, ratio, ratio, beta)
                    beta = equal(ratio, ratio, beta, ratio)  # a NaN stays
                store(betas, group, splat(stability[0]) * beta)
            elif len(stability) == 1:
                store(betas, group, splat(stability[0]))
            store(choice, 0, smallest)
            for lane in range(here):
                total = factor.dtype.type(0)
                if kind != GIVEN:
                    for i in range(parts * n):
                        gamma[row + lane, i] = ga[i * lanes + lane]
                        total += 0 * ga[i * lanes + lane]
                verdict = 2 if total != 0 else 0  # 0 x is NaN, which differs from everything, where x is not finite
                if not choice[lane] > 0:
                    verdict = 1
                failed[row + lane] = verdict
                failures += verdict > 0
            if mode != NOTHING:
                store(floors, group, _coefficients(theta_t, phi_t, gamma_t, shape, weights[0], group, c, zero))
        if mode == NOTHING:
            continue
        if count == 1:
            _residual_of_one(factor, first, c, columns, mode == EXPANDED, 0, work, norms)
        else:
            _residual(factor, first, c, columns, mode == EXPANDED, norms, nought)
        for group in range(groups):
            row = base + group * lanes
            here = min(lanes, count - row)
            square, limit = load(norms, group), load(floors, group)
            if mode == EXPANDED:
                square = square + square
                limit = relative * limit + absolute
                norm = larger(square, nought, root(square), limit)
            else:
                norm = root(square)
                limit = fma(relative, norm, limit) + absolute
            store(norms, group, norm)
            store(floors, group, limit)
            weak = False
            for lane in range(here):
                v, f = norms[group * lanes + lane], floors[group * lanes + lane]
                value[row + lane], floor[row + lane], resolved[row + lane] = v, f, v >= RESOLVED * f
                weak = weak or v < SHARP * f
            if refine and weak and groups == 2:  # the scratch arrays hold the last group
                _gather(theta, row, lanes, th)
                _gather(phi, row, lanes, ph)
                _gather(gamma, row, lanes, ga)
            if refine and weak:
                limit = _coefficients(theta_t, phi_t, gamma_t, shape, weights[1], group, c, zero)
                norm = _refine(theta_t, phi_t, gamma_t, shape, factor, first, columns, work, nought)
                store(norms, group, norm)
                store(floors, group, fma(relative, norm, limit) + absolute)
                for lane in range(here):
                    if value[row + lane] < SHARP * floor[row + lane]:
                        value[row + lane] = norms[group * lanes + lane]
                        floor[row + lane] = floors[group * lanes + lane]
                        resolved[row + lane] = norms[group * lanes + lane] >= RESOLVED * floors[group * lanes + lane]
            if not len(stability):
                continue
            for lane in range(here):
                b = betas[group * lanes + lane]
                value[row + lane] /= b
                floor[row + lane] /= b
                bound = value[row + lane] + floor[row + lane]
                if failed[row + lane] == 0 and not (b > 0 and bound < np.inf):
                    failed[row + lane] = 3
                    failures += 1
                for o in range(len(norms_of)):
                    output_bounds[row + lane, o] = norms_of[o] * bound + sizes_of[(2 * o + group) * lanes + lane]
    return failures


@kernel
def interpolated(
    like: Any, sizes: Any, theta: Any, phi: Any, gamma: Any, products: Any, scales: Any, lower: Any, upper: Any, squares: Any,
    weights: Any, constants: Any, value: Any, floor: Any, resolved: Any,
) -> None:  # fmt: skip
    """E4 for M points: sum_r lambda_r V_r, lambda from the selected products by two triangular solves.

    products (3, sigma'), scales (m,), lower, upper (sigma', sigma') by columns, squares (sigma',) : :class:`rbm.estimators.Interpolated`
    constants : (growth u, tau): floor = (growth u sum |lambda_r| V_r)^{1/2} + sum_j w_j |c_j| + tau
    """
    qa, qf, n, columns, rank = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    shape = (qa, qf, n)
    lanes = 64 // squares.itemsize
    parts = like.itemsize // squares.itemsize
    count = len(theta)
    th, ph, ga = _scratch(parts * qa, squares), _scratch(parts * qf, squares), _scratch(parts * (n + 1), squares)
    c, x, out = _scratch(2 * columns + 8, squares), _scratch(rank, squares), _scratch(2, squares)
    theta_t, phi_t, gamma_t = th.view(like.dtype), ph.view(like.dtype), ga.view(like.dtype)
    nought = splat(squares.dtype.type(0))
    zero = alike(nought, load(theta_t, 0))
    growth, deviation = splat(squares.dtype.type(constants[0])), splat(squares.dtype.type(constants[1]))
    for row in range(0, count, lanes):
        _gather(theta, row, lanes, th)
        _gather(phi, row, lanes, ph)
        _gather(gamma, row, lanes, ga)
        limit = _coefficients(theta_t, phi_t, gamma_t, shape, weights, 0, c, zero)
        for s in range(rank):
            i, j = products[0, s], products[1, s]
            scale = splat(scales[i] * scales[j])
            if parts == 1:
                product = load(c, 2 * i) * load(c, 2 * j)
            elif products[2, s] == 0:
                product = fma(load(c, 4 * i), load(c, 4 * j), load(c, 4 * i + 2) * load(c, 4 * j + 2))
            else:
                product = fnma(load(c, 4 * i), load(c, 4 * j + 2), load(c, 4 * i + 2) * load(c, 4 * j))
            store(x, s, scale * product)
        for j in range(rank):
            v = load(x, j)
            for i in range(j + 1, rank):
                store(x, i, fnma(splat(lower[j * rank + i]), v, load(x, i)))
        for j in range(rank - 1, -1, -1):
            v = load(x, j) / splat(upper[j * rank + j])
            store(x, j, v)
            for i in range(j):
                store(x, i, fnma(splat(upper[j * rank + i]), v, load(x, i)))
        square = size = nought
        for r in range(rank):
            v = load(x, r)
            square = fma(splat(squares[r]), v, square)
            size = fma(splat(squares[r]), modulus(v), size)
        limit = root(growth * size) + limit + deviation
        store(out, 0, larger(square, nought, root(square), limit))
        store(out, 1, limit)
        for lane in range(min(lanes, count - row)):
            value[row + lane], floor[row + lane] = out[lane], out[lanes + lane]
            resolved[row + lane] = out[lane] >= RESOLVED * out[lanes + lane]
