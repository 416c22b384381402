"""The online stage compiled: reduced systems, residual norms and floors, fused over tiles of parameter points.

One tile is two registers of lanes, 16 points in float64: it is solved, its residual coefficients are formed and the residual is
multiplied out while everything is in the first two caches. :mod:`rbm.online.reference` and the estimators' `evaluate` define
what is computed; :mod:`rbm.online.packed` prepares the arrays. Nothing here allocates per point, and no lane knows of others.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np

from rbm.online.compilation import watch
from rbm.online.kernel_cache import KernelCache
from rbm.online.lanes import alike, equal, fma, fnma, larger, load, modulus, real, root, splat, store
from rbm.online.residuals import (
    coefficients,
    compensated_coefficients,
    gather,
    present,
    refine,
    refine_of_one,
    residual,
    residual_of_one,
    scratch,
)
from rbm.online.solvers import assemble, ldl, least_squares, lu

__all__ = ["EXPANDED", "GIVEN", "LDL", "LU", "NORM", "NOTHING", "QR", "interpolated", "query"]

#: How the reduced system is solved; GIVEN: gamma is there already.
GIVEN, LDL, LU, QR = range(4)
#: What is made of the residual: nothing, norm(R c), (c^H G c)^{1/2}.
NOTHING, NORM, EXPANDED = range(3)
#: A value is computed again in extended precision where it is less than this many times what its floor gains by that.
SHARP = 100.0
#: Modules of this folder that are compiled into the kernels.
SOURCES = ("lanes", "solvers", "residuals", "kernels")
#: :data:`rbm.estimate.RESOLVED`
RESOLVED = 11.0
#: The smallest normal number.
TINY = float(np.finfo(np.float64).tiny)


if getattr(numba.config, "DISABLE_JIT", False):
    raise RuntimeError(
        "NUMBA_DISABLE_JIT is set: reduced models are solved by compiled code, which cannot run uncompiled; unset it"
    )


def _digest() -> str:
    """Of the sources and their compilers: what is kept on disk follows every one of them."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {np.__version__}".encode())
    for name in SOURCES:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def kernel(function: Any) -> Any:
    """Compiled without the GIL, and kept on disk under the user's cache folder (:mod:`rbm.online.kernel_cache`)."""
    made: Any = numba.njit(nogil=True, error_model="numpy")(function)
    made._cache = KernelCache(function.__name__, _digest())
    return made


@kernel
def query(
    kind: int, mode: int, again: bool, like: Any, sizes: Any, theta: Any, phi: Any, terms: Any, sources: Any, start: Any, height: Any,
    factor: Any, first: Any, weights: Any, constants: Any, stability: Any, functionals: Any, magnitudes: Any, norms_of: Any, beta: Any,
    gamma: Any, value: Any, floor: Any, resolved: Any, failed: Any, outputs: Any, output_bounds: Any,
) -> int:  # fmt: skip
    """Solve and estimate M points: gamma (M, N), residual norm, floor and whether it is resolved (M,).

    failed (M,) becomes 1 where L D L^H met a pivot that is not positive, 2 where gamma is not finite, and 3 where there is no error
    bound; returns the number of such points.

    kind, mode : what is to be done, see above; again : weak points once more in extended precision
    like : an array of the working type; theta (M, Qa), phi (M, Qf), gamma are real views, (M, 2 Qa) .. if that is complex
    sizes : (Qa, Qf, N, columns of the factor, entries of a matrix)
    terms, sources, start, height, factor, first, weights : :class:`rbm.online.packed.System`, :class:`rbm.online.packed.Residual`
    constants : (relative, absolute): floor = sum_j w_j |c_j| + relative value + absolute
    stability : (1 + 2 Qa,): value and floor are divided by s_0 min_q s_q theta_q - sum_q s_{Qa+q} |theta_q|; (0,): by beta (M,), unless
        that is (0,), too
    functionals (N * outputs,), magnitudes (outputs, N), norms_of (outputs,) : outputs (M, outputs) and, if there is a beta, their bounds
    """
    qa, qf, n, columns, entries = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    shape = (qa, qf, n)
    lanes = 64 // factor.itemsize
    parts = like.itemsize // factor.itemsize
    count = len(theta)
    th, ph, ga = scratch(parts * qa, factor), scratch(parts * qf, factor), scratch(parts * (n + 1), factor)
    a, spare, inverse = scratch(parts * entries, factor), scratch(parts * n, factor), scratch(parts * n, factor)
    c, work = scratch(2 * columns + 8, factor), scratch(4 * columns + 16, factor)
    norms, floors, betas, choice = scratch(2, factor), scratch(2, factor), scratch(2, factor), scratch(1, factor)
    sums, sizes_of = scratch(parts, factor), scratch(2 * len(norms_of), factor)
    # the same memory as numbers of the working type
    theta_t, phi_t, gamma_t = th.view(like.dtype), ph.view(like.dtype), ga.view(like.dtype)
    a_t, spare_t, inverse_t, sums_t = (
        a.view(like.dtype),
        spare.view(like.dtype),
        inverse.view(like.dtype),
        sums.view(like.dtype),
    )
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
            gather(theta, row, lanes, th)
            gather(phi, row, lanes, ph)
            smallest = one
            if kind == GIVEN:
                gather(gamma, row, lanes, ga)
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
                least = splat(stability[1]) * real(load(theta_t, 0))
                spent = splat(stability[1 + qa]) * modulus(load(theta_t, 0))
                for q in range(1, qa):
                    ratio = splat(stability[1 + q]) * real(load(theta_t, q))
                    least = larger(least, ratio, ratio, least)
                    spent = fma(splat(stability[1 + qa + q]), modulus(load(theta_t, q)), spent)
                store(betas, group, fnma(one, spent, splat(stability[0]) * least))
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
                store(floors, group, coefficients(theta_t, phi_t, gamma_t, shape, weights[0], group, c, zero))
        if mode == NOTHING:
            continue
        if count == 1:
            residual_of_one(factor, first, c, columns, mode == EXPANDED, 0, work, norms)
        else:
            residual(factor, first, c, columns, mode == EXPANDED, norms, nought)
        for group in range(groups):
            row = base + group * lanes
            here = min(lanes, count - row)
            square, limit = load(norms, group), load(floors, group)
            if mode == EXPANDED:
                square = square + square
                limit = larger(limit, nought, relative * limit + absolute, limit)  # zero stays zero
                norm = equal(square, square, larger(square, nought, root(square), limit), square)  # NaN stays
            else:
                norm = root(square)
                limit = larger(limit, nought, fma(relative, norm, limit) + absolute, limit)
            store(norms, group, norm)
            store(floors, group, limit)
            weak = False
            for lane in range(here):
                v, f = norms[group * lanes + lane], floors[group * lanes + lane]
                if f == 0 and present(theta, phi, gamma, row + lane, weights[0], shape, parts):
                    f = factor.dtype.type(constants[1])
                    v = f if mode == EXPANDED else v
                value[row + lane], floor[row + lane], resolved[row + lane] = v, f, v >= RESOLVED * f
                weak = weak or v < SHARP * f
            if again and weak:
                if groups == 2:  # the scratch arrays hold the last group
                    gather(theta, row, lanes, th)
                    gather(phi, row, lanes, ph)
                    gather(gamma, row, lanes, ga)
                limit = coefficients(theta_t, phi_t, gamma_t, shape, weights[1], group, c, zero)
                store(choice, 0, limit)
                weak = False
                for lane in range(here):
                    v, f = value[row + lane], floor[row + lane]
                    gain = f - (choice[lane] + constants[0] * v + constants[1])
                    weak = weak or v < SHARP * gain
            if again and weak:
                head, tail = work[: columns * lanes], work[columns * lanes : 2 * columns * lanes]
                compensated_coefficients(theta_t, phi_t, gamma_t, shape, columns, head, tail, nought)
                if count == 1:
                    norm = splat(refine_of_one(factor, first, columns, head, tail, work[2 * columns * lanes :]))
                else:
                    norm = refine(factor, first, columns, head, tail, nought)
                store(norms, group, norm)
                store(floors, group, larger(limit, nought, fma(relative, norm, limit) + absolute, limit))
                for lane in range(here):
                    v, f = value[row + lane], floor[row + lane]
                    if v < SHARP * (f - (choice[lane] + constants[0] * v + constants[1])):
                        value[row + lane] = norms[group * lanes + lane]
                        floor[row + lane] = floors[group * lanes + lane]
                        resolved[row + lane] = norms[group * lanes + lane] >= RESOLVED * floors[group * lanes + lane]
            if len(stability) + len(beta) == 0:
                continue
            for lane in range(here):
                b = betas[group * lanes + lane] if len(beta) == 0 else beta[row + lane]
                value[row + lane] /= b
                floor[row + lane] /= b
                bound = value[row + lane] + floor[row + lane]
                if failed[row + lane] == 0 and not (b > 0 and bound < np.inf):
                    failed[row + lane] = 3
                    failures += 1
                for o in range(len(norms_of)):
                    output_bounds[row + lane, o] = norms_of[o] * bound + sizes_of[(2 * o + group) * lanes + lane]
                    if norms_of[o] > 0 and bound > 0:
                        output_bounds[row + lane, o] += TINY  # what the products may have lost below it
                    lost = not output_bounds[row + lane, o] < np.inf
                    for part in range(parts):
                        lost = lost or not abs(outputs[row + lane, parts * o + part]) < np.inf
                    if failed[row + lane] == 0 and lost:
                        failed[row + lane] = 3
                        failures += 1
    return failures


@kernel
def interpolated(
    like: Any, sizes: Any, theta: Any, phi: Any, gamma: Any, products: Any, scales: Any, lower: Any, upper: Any, squares: Any,
    errors: Any, weights: Any, deviation: Any, value: Any, floor: Any, resolved: Any,
) -> None:  # fmt: skip
    """E4 for M points: sum_r lambda_r V_r, lambda from the selected products by two triangular solves.

    products (3, sigma'), scales (m,), lower, upper (sigma', sigma') by columns, squares (sigma',) : :class:`rbm.estimators.Interpolated`
    errors (sigma',), deviation (2,): floor = (sum_r e_r |lambda_r|)^{1/2} + sum_j w_j |c_j| + deviation_0, + deviation_1 where the residual
        is not zero
    """
    qa, qf, n, columns, rank = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    shape = (qa, qf, n)
    lanes = 64 // squares.itemsize
    parts = like.itemsize // squares.itemsize
    count = len(theta)
    th, ph, ga = scratch(parts * qa, squares), scratch(parts * qf, squares), scratch(parts * (n + 1), squares)
    c, x, out = scratch(2 * columns + 8, squares), scratch(rank, squares), scratch(2, squares)
    theta_t, phi_t, gamma_t = th.view(like.dtype), ph.view(like.dtype), ga.view(like.dtype)
    nought = splat(squares.dtype.type(0))
    zero = alike(nought, load(theta_t, 0))
    for row in range(0, count, lanes):
        gather(theta, row, lanes, th)
        gather(phi, row, lanes, ph)
        gather(gamma, row, lanes, ga)
        limit = coefficients(theta_t, phi_t, gamma_t, shape, weights, 0, c, zero)
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
            size = fma(splat(errors[r]), modulus(v), size)
        limit = root(size) + limit + splat(deviation[0] + deviation[1])
        store(out, 0, equal(square, square, larger(square, nought, root(square), limit), square))  # NaN stays
        store(out, 1, limit)
        for lane in range(min(lanes, count - row)):
            value[row + lane], floor[row + lane] = out[lane], out[lanes + lane]
            if not present(theta, phi, gamma, row + lane, weights, shape, parts):
                value[row + lane] = floor[row + lane] = deviation[0]
            resolved[row + lane] = out[lane] >= RESOLVED * out[lanes + lane]


watch((query, interpolated))
