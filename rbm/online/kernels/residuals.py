"""Residual coefficients, floors and residual norms for one tile of parameter points.

These are the inner loops of :mod:`rbm.online.kernels.batch_query`.

A tile is two registers of lanes, the groups 0 and 1. Complex numbers enter the residual as pairs of real ones:
row 2 j + part of the coefficients is the real or the imaginary part of c_j, and the factor is the real matrix of twice
the size.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import compiled
from rbm.online.kernels.lanes import (
    ROOMY,
    fma,
    fnma,
    imag,
    item,
    load,
    load_from,
    modulus,
    put,
    real,
    splat,
    splat_from,
    store,
)


@compiled
def gather(values: Any, first: int, lanes: int, out: Any) -> None:
    """Copy the rows of `values` (M, count) from `first` on into lanes; lanes beyond the last row repeat it."""
    last = len(values) - 1
    for lane in range(lanes):
        row = min(first + lane, last)
        for q in range(values.shape[1]):
            out[q * lanes + lane] = values[row, q]


@compiled
def collect(values: Any, rows: Any, lanes: int, out: Any) -> None:
    """Copy the rows of `values` (M, count) with these numbers into lanes."""
    count = values.shape[1]
    for lane in range(lanes):
        start = item(rows, lane) * count
        for q in range(count):
            put(out, q * lanes + lane, item(values, start + q))


@compiled
def coefficients(
    theta: Any, phi: Any, gamma: Any, sizes: Any, weights: Any, group: int, c: Any, moduli: Any, zero: Any
) -> Any:
    """Write c into the lanes of `group` of a tile; return sum_j w_j |c_j|.

    c is that of :func:`rbm.online.reference.residual_coefficients`. moduli (Qa,) : scratch, for |theta|
    """
    qa, qf, n = sizes
    parts = theta.itemsize // c.itemsize  # 2 for complex numbers
    nought = real(zero)
    total = nought
    for q in range(qf):
        x = load(phi, q)
        store(c, 2 * parts * q + group, real(x))
        if parts == 2:
            store(c, 4 * q + 2 + group, imag(x))
        total = fma(splat_from(weights, q), modulus(x), total)
    for q in range(qa):
        store(moduli, q, modulus(load(theta, q)))
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
            inner = fma(splat_from(weights, j), load(moduli, q), inner)
            j += 1
        total = fma(modulus(g), inner, total)
    return total


@compiled
def present(points: Any, gamma: Any, row: int, weights: Any, sizes: Any, parts: int) -> bool:
    """Return whether the residual has a term that is not zero at point `row`.

    Terms with the weight zero do not count; see :func:`rbm.online.reference.where_present`.

    points, gamma (M, parts * N) : real views of the whole batch
    """
    qa, qf, n = sizes
    for q in range(qf):
        for part in range(parts):
            if weights[q] > 0 and points.phi[row, parts * q + part] != 0:
                return True
    for i in range(n):
        g = False
        for part in range(parts):
            g = g or gamma[row, parts * i + part] != 0
        for q in range(qa if g else 0):
            for part in range(parts):
                if weights[qf + i * qa + q] > 0 and points.theta[row, parts * q + part] != 0:
                    return True
    return False


@compiled
def residual_of_group(factor: Any, first: Any, c: Any, group: int, columns: int, expanded: bool, zero: Any) -> Any:
    """Return sum_i |(F c)_i|^2, or sum_i c_i (F c)_i, for one group of a tile.

    Four rows of F at a time; block b starts at column first[0, b] and at element first[1, b], its rows interleaved.
    """
    u = zero
    for b in range(first.shape[1]):
        p = first[1, b]
        s0 = s1 = s2 = s3 = zero
        for j in range(first[0, b], columns):
            x = load(c, 2 * j + group)
            s0 = fma(splat_from(factor, p), x, s0)
            s1 = fma(splat_from(factor, p + 1), x, s1)
            s2 = fma(splat_from(factor, p + 2), x, s2)
            s3 = fma(splat_from(factor, p + 3), x, s3)
            p += 4
        if expanded:
            i = 8 * b + group
            u = fma(load(c, i), s0, fma(load(c, i + 2), s1, fma(load(c, i + 4), s2, fma(load(c, i + 6), s3, u))))
        else:
            u = fma(s0, s0, fma(s1, s1, fma(s2, s2, fma(s3, s3, u))))
    return u


@compiled
def residual_of_tile(factor: Any, first: Any, c: Any, columns: int, expanded: bool, out: Any, zero: Any) -> None:
    """Do the same for both groups at once, into the registers of `out`: their eight sums hide each other's latency."""
    u0 = u1 = zero
    for b in range(first.shape[1]):
        p = first[1, b]
        a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = zero
        for j in range(first[0, b], columns):
            x, y = load(c, 2 * j), load(c, 2 * j + 1)
            r = splat_from(factor, p)
            a0, a1 = fma(r, x, a0), fma(r, y, a1)
            r = splat_from(factor, p + 1)
            b0, b1 = fma(r, x, b0), fma(r, y, b1)
            r = splat_from(factor, p + 2)
            c0, c1 = fma(r, x, c0), fma(r, y, c1)
            r = splat_from(factor, p + 3)
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
def residual_of_groups(factor: Any, first: Any, c: Any, columns: int, expanded: bool, out: Any, zero: Any) -> None:
    """Do the same for one group after the other: the eight registers of its four sums are all there is room for."""
    for group in range(2):
        store(out, group, residual_of_group(factor, first, c, group, columns, expanded, zero))


#: The way for this processor; both have the same bits.
residual = residual_of_tile if ROOMY else residual_of_groups


@compiled
def residual_of_one(
    factor: Any, first: Any, c: Any, stride: int, columns: int, expanded: bool, work: Any, out: Any
) -> None:
    """Do the same for one point, c_j at j * stride: the registers run along the rows of F instead of across points."""
    width = 64 // factor.itemsize
    spread, sums = work[: 4 * columns], work[4 * columns : 4 * columns + width]
    for j in range(columns):
        for r in range(4):
            spread[4 * j + r] = c[j * stride]
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
    out[0] = total
