"""Solvers of small dense systems, for as many parameter points as a register has lanes.

They work on one entry of all matrices at a time. All arrays are flat scratch arrays of :mod:`rbm.online.kernels.lanes`:
entry i of `a` is entry i of the matrices of all lanes. The solution replaces the right-hand side `y`. A singular matrix
leaves infinities or NaN in its own lane and disturbs no other.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import compiled
from rbm.online.kernels.elimination import size_of
from rbm.online.kernels.lanes import (
    alike,
    conj,
    copysign,
    crowded,
    fma,
    fnma,
    larger,
    load,
    real,
    root,
    splat_from,
    square,
    store,
)

__all__ = ["assemble", "ldl", "least_squares"]


@compiled
def assemble(terms: Any, theta: Any, count: int, entries: int, out: Any, zero: Any) -> None:
    """Compute out_e = sum_q terms_eq theta_q.

    terms : (entries, count), flat; theta, out : lanes. Cost per entry: 2 count flops.
    """
    e = 0
    while e + 4 <= entries and not crowded(zero):
        s0 = s1 = s2 = s3 = zero
        p = e * count
        for q in range(count):
            t = load(theta, q)
            s0 = fma(splat_from(terms, p + q), t, s0)
            s1 = fma(splat_from(terms, p + count + q), t, s1)
            s2 = fma(splat_from(terms, p + 2 * count + q), t, s2)
            s3 = fma(splat_from(terms, p + 3 * count + q), t, s3)
        store(out, e, s0)
        store(out, e + 1, s1)
        store(out, e + 2, s2)
        store(out, e + 3, s3)
        e += 4
    while e + 2 <= entries:
        s0 = s1 = zero
        p = e * count
        for q in range(count):
            t = load(theta, q)
            s0 = fma(splat_from(terms, p + q), t, s0)
            s1 = fma(splat_from(terms, p + count + q), t, s1)
        store(out, e, s0)
        store(out, e + 1, s1)
        e += 2
    if e < entries:
        s = zero
        for q in range(count):
            s = fma(splat_from(terms, e * count + q), load(theta, q), s)
        store(out, e, s)


@compiled
def ldl_column(a: Any, j: int, n: int, scaled: Any) -> None:
    """Subtract from the entries (j, j), ..., (n - 1, j) of A what the columns before j are: a_ij - sum_k v_ik w_k."""
    i = j
    while i + 4 <= n and not crowded(load(a, 0)):
        r0 = i * (i + 1) // 2
        r1, r2, r3 = r0 + i + 1, r0 + 2 * i + 3, r0 + 3 * i + 6
        s0, s1, s2, s3 = load(a, r0 + j), load(a, r1 + j), load(a, r2 + j), load(a, r3 + j)
        for k in range(j):
            w = load(scaled, k)
            s0 = fnma(load(a, r0 + k), w, s0)
            s1 = fnma(load(a, r1 + k), w, s1)
            s2 = fnma(load(a, r2 + k), w, s2)
            s3 = fnma(load(a, r3 + k), w, s3)
        store(a, r0 + j, s0)
        store(a, r1 + j, s1)
        store(a, r2 + j, s2)
        store(a, r3 + j, s3)
        i += 4
    while i + 2 <= n:
        r0 = i * (i + 1) // 2
        r1 = r0 + i + 1
        s0, s1 = load(a, r0 + j), load(a, r1 + j)
        for k in range(j):
            w = load(scaled, k)
            s0 = fnma(load(a, r0 + k), w, s0)
            s1 = fnma(load(a, r1 + k), w, s1)
        store(a, r0 + j, s0)
        store(a, r1 + j, s1)
        i += 2
    if i < n:
        r0 = i * (i + 1) // 2
        s0 = load(a, r0 + j)
        for k in range(j):
            s0 = fnma(load(a, r0 + k), load(scaled, k), s0)
        store(a, r0 + j, s0)


@compiled
def ldl(a: Any, y: Any, n: int, scaled: Any, inverse: Any, one: Any) -> Any:
    """Solve A x = y, A Hermitian positive definite, by A = L D L^H; return min_j d_j, which is <= 0 if A is not.

    a : the lower triangle by rows, A_ij at i (i + 1) / 2 + j; the unscaled columns L D on return
    scaled (n,), inverse (n,) : scratch; inverse is real

    No square roots are taken. Cost: n^3/3 + 2 n^2 flops.
    """
    smallest = one
    for j in range(n):
        row = j * (j + 1) // 2
        for k in range(j):
            store(scaled, k, load(inverse, k) * conj(load(a, row + k)))
        ldl_column(a, j, n, scaled)
        d = real(load(a, row + j))
        smallest = larger(smallest, d, d, smallest)
        store(inverse, j, one / d)
        z = load(inverse, j) * load(y, j)
        for i in range(j + 1, n):
            store(y, i, fnma(load(a, i * (i + 1) // 2 + j), z, load(y, i)))
    # L^H x = D^{-1} y: x_i = (y_i - sum_k conj(v_ki) x_k) / d_i
    for k in range(n - 1, -1, -1):
        row = k * (k + 1) // 2
        x = load(inverse, k) * load(y, k)
        store(y, k, x)
        for i in range(k):
            store(y, i, fnma(conj(load(a, row + i)), x, load(y, i)))
    return smallest


@compiled
def reflect(a: Any, start: Any, j: int, rows: int, columns: int, tau: Any, zero: Any) -> None:
    """Apply H = I - tau v v^H to the columns behind column j, which holds v in its rows j, ..., rows - 1.

    Four columns at a time, or two: v is read once for them.
    """
    base, column = start[j], j + 1
    while column + 4 <= columns and not crowded(zero):
        c0, c1, c2, c3 = start[column], start[column + 1], start[column + 2], start[column + 3]
        s0 = s1 = s2 = s3 = zero
        for i in range(j, rows):
            v = conj(load(a, base + i))
            s0 = fma(v, load(a, c0 + i), s0)
            s1 = fma(v, load(a, c1 + i), s1)
            s2 = fma(v, load(a, c2 + i), s2)
            s3 = fma(v, load(a, c3 + i), s3)
        s0, s1, s2, s3 = s0 * tau, s1 * tau, s2 * tau, s3 * tau
        for i in range(j, rows):
            v = load(a, base + i)
            store(a, c0 + i, fnma(v, s0, load(a, c0 + i)))
            store(a, c1 + i, fnma(v, s1, load(a, c1 + i)))
            store(a, c2 + i, fnma(v, s2, load(a, c2 + i)))
            store(a, c3 + i, fnma(v, s3, load(a, c3 + i)))
        column += 4
    while column + 2 <= columns:
        c0, c1 = start[column], start[column + 1]
        s0 = s1 = zero
        for i in range(j, rows):
            v = conj(load(a, base + i))
            s0 = fma(v, load(a, c0 + i), s0)
            s1 = fma(v, load(a, c1 + i), s1)
        s0, s1 = s0 * tau, s1 * tau
        for i in range(j, rows):
            v = load(a, base + i)
            store(a, c0 + i, fnma(v, s0, load(a, c0 + i)))
            store(a, c1 + i, fnma(v, s1, load(a, c1 + i)))
        column += 2
    if column < columns:
        c0 = start[column]
        s0 = zero
        for i in range(j, rows):
            s0 = fma(conj(load(a, base + i)), load(a, c0 + i), s0)
        s0 = s0 * tau
        for i in range(j, rows):
            store(a, c0 + i, fnma(load(a, base + i), s0, load(a, c0 + i)))


@compiled
def least_squares(a: Any, x: Any, n: int, start: Any, height: Any, one: Any, zero: Any) -> None:
    """Minimise ||f - A x||_2 by Householder QR of [A | f].

    a : the n columns of A, then f; column j from entry start_j on, its first height_j entries, the others being zero;
        the heights do not decrease, so that reflections fill in nothing. Overwritten.
    x : (n,) the solution

    Cost: 4 sum_j (height_j - j) (n - j) flops.
    """
    for j in range(n):
        base, rows = start[j], height[j]
        head = load(a, base + j)
        # in units of its largest entry: no square overflows, and none that matters vanishes
        largest = size_of(head)
        for i in range(j + 1, rows):
            size = size_of(load(a, base + i))
            largest = larger(size, largest, size, largest)
        unit = one / largest
        total = one - one
        for i in range(j, rows):
            scaled = unit * load(a, base + i)
            store(a, base + i, scaled)
            total = total + square(scaled)
        # H = I - tau v v^H takes the column to beta e_1, beta = -sign(Re head) ||column||, v = column - beta e_1
        head = load(a, base + j)
        beta = (one - one) - copysign(root(total), real(head))
        lead = head - alike(beta, head)
        tau = conj(lead) / ((one - one) - beta * square(lead))
        store(a, base + j, lead)
        reflect(a, start, j, rows, n + 1, tau, zero)
        store(a, base + j, alike(beta * largest, head))
    for k in range(n):
        store(x, k, load(a, start[n] + k))
    for k in range(n - 1, -1, -1):
        value = load(x, k) / real(load(a, start[k] + k))
        store(x, k, value)
        for i in range(k):
            store(x, i, fnma(load(a, start[k] + i), value, load(x, i)))
