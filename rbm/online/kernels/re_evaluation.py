"""Residual norms near round-off, evaluated once more in about twice the working precision.

Points of a batch are gathered in groups of their own and multiplied in parts (:mod:`rbm.online.splitting`), a point
alone by compensated sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online.kernels.compiler import compiled
from rbm.online.kernels.lanes import fma, imag, larger, load, load_from, modulus, real, root, splat, splat_from, store

__all__ = ["compensated_coefficients", "refine", "refine_of_one", "split_coefficients", "two_sum"]

#: 2^52 + 1 and 1 - u: what takes the leading digit of a number.
LEADING, BELOW_ONE = 2.0**52 + 1, 1 - 2.0**-53


@compiled
def two_product(a: Any, b: Any, zero: Any) -> Any:
    """Return p and e with p + e = a b exactly, p the rounded product."""
    p = a * b
    return p, fma(a, b, zero - p)


@compiled
def two_sum(a: Any, b: Any) -> Any:
    """Return s and r with s + r = a + b exactly, s the rounded sum."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@compiled
def sum_of_products(a: Any, b: Any, c: Any, d: Any, zero: Any) -> Any:
    """Return a b + c d in twice the working precision."""
    p, e = two_product(a, b, zero)
    q, f = two_product(c, d, zero)
    s, r = two_sum(p, q)
    return two_sum(s, r + (e + f))


@compiled
def compensated_coefficients(
    theta: Any, phi: Any, gamma: Any, sizes: Any, columns: int, head: Any, tail: Any, zero: Any
) -> None:
    """Write c of one group of lanes in twice the working precision: head + tail, both (columns,)."""
    qa, qf, n = sizes
    parts = theta.itemsize // head.itemsize
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
            if parts == 2:
                s, f = sum_of_products(zero - real(g), real(t), imag(g), imag(t), zero)
                store(head, 2 * j, s)
                store(tail, 2 * j, f)
                s, f = sum_of_products(zero - real(g), imag(t), zero - imag(g), real(t), zero)
                store(head, 2 * j + 1, s)
                store(tail, 2 * j + 1, f)
            else:
                p, e = two_product(zero - real(g), real(t), zero)
                store(head, j, p)
                store(tail, j, e)
            j += 1


@compiled
def split_coefficients(head: Any, tail: Any, columns: int, split: Any, leading: Any, zero: Any) -> None:
    """Write c' to `leading` and c'' to `tail`, of c = head + tail of one group of lanes.

    split : :class:`rbm.online.kernels.arguments.PackedSplit`
    """
    most = zero
    for j in range(columns):
        size = splat_from(split.scales, j) * modulus(load(head, j))
        most = larger(size, most, size, most)
    number = tail.dtype.type
    large = splat(number(LEADING)) * most
    unit = modulus(large - splat(number(BELOW_ONE)) * large)  # the power of two <= most
    for j in range(columns):
        x, shift = load(head, j), unit * splat_from(split.shifts, j)
        first = (x + shift) - shift
        store(leading, j, first)
        store(tail, j, (x - first) + load(tail, j))


@compiled
def refine(split: Any, first: Any, columns: int, leading: Any, head: Any, tail: Any, zero: Any) -> Any:
    """Return norm(F c) of one group of lanes, F = F' + F'', c = c' + c'': F' c' is exact, F' c'' + F'' c is small.

    leading, head, tail : c', c and c'' (columns,). Error: :func:`rbm.online.splitting.split_constant`.
    """
    total = zero
    heads, tails = split.matrix[0], split.matrix[1]
    for b in range(first.shape[1]):
        p = first[1, b]
        s0 = s1 = s2 = s3 = zero
        for j in range(first[0, b], columns):
            x = load(leading, j)
            s0 = fma(splat_from(heads, p), x, s0)
            s1 = fma(splat_from(heads, p + 1), x, s1)
            s2 = fma(splat_from(heads, p + 2), x, s2)
            s3 = fma(splat_from(heads, p + 3), x, s3)
            p += 4
        p = first[1, b]
        r0 = r1 = r2 = r3 = zero
        for j in range(first[0, b], columns):
            x, y = load(tail, j), load(head, j)
            r0 = fma(splat_from(tails, p), y, fma(splat_from(heads, p), x, r0))
            r1 = fma(splat_from(tails, p + 1), y, fma(splat_from(heads, p + 1), x, r1))
            r2 = fma(splat_from(tails, p + 2), y, fma(splat_from(heads, p + 2), x, r2))
            r3 = fma(splat_from(tails, p + 3), y, fma(splat_from(heads, p + 3), x, r3))
            p += 4
        s0, s1, s2, s3 = s0 + r0, s1 + r1, s2 + r2, s3 + r3
        total = fma(s0, s0, fma(s1, s1, fma(s2, s2, fma(s3, s3, total))))
    return root(total)


@compiled
def refine_of_one(factor: Any, first: Any, columns: int, head: Any, tail: Any, stride: int, work: Any) -> Any:
    """Return norm(F c) of one point, c = head + tail, with compensated sums (Dot2).

    c_j is at j * stride; the registers hold four rows and width / 4 columns of F at once.
    Error: u |result| + 2 (m + 4)^2 u^2 s(mu). Source: Ogita, Rump, Oishi, SIAM J. Sci. Comput. 26 (2005) 1955-1988.
    """
    width = 64 // factor.itemsize
    high4, low4 = work[: 4 * columns], work[4 * columns : 8 * columns]
    sums, rests = work[8 * columns : 8 * columns + width], work[8 * columns + width : 8 * columns + 2 * width]
    for j in range(columns):
        for r in range(4):
            high4[4 * j + r] = head[j * stride]
            low4[4 * j + r] = tail[j * stride]
    zero = splat(factor.dtype.type(0))
    total = factor.dtype.type(0)
    for b in range(first.shape[1]):
        p = first[1, b]
        high = low = zero
        for k in range(4 * first[0, b], 4 * columns, width):
            f = load_from(factor, p)
            product, e = two_product(f, load_from(high4, k), zero)
            high, rest = two_sum(high, product)
            low = low + (rest + fma(f, load_from(low4, k), e))
            p += width
        store(sums, 0, high)
        store(rests, 0, low)
        for r in range(4):
            row, rest_of_row = sums[r], rests[r]
            for k in range(r + 4, width, 4):
                row, rest_here = two_sum(row, sums[k])
                rest_of_row += rest_here + rests[k]
            row += rest_of_row
            total += row * row
    return np.sqrt(total)
