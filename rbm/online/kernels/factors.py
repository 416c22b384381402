"""Factorisations of small dense systems that are solved many times, for as many points as a register has lanes.

The conventions are those of :mod:`rbm.online.kernels.solvers`, whose solvers factorise and solve at once.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import compiled
from rbm.online.kernels.elimination import choose_rows, exchange, is_new, reciprocal
from rbm.online.kernels.lanes import conj, fnma, larger, load, real, splat, store
from rbm.online.kernels.solvers import ldl_column

__all__ = ["ldl_factors", "ldl_solve", "lu_factors", "lu_solve"]


@compiled
def ldl_factors(a: Any, n: int, scaled: Any, inverse: Any, one: Any) -> Any:
    """Factorise A = L D L^H, A Hermitian positive definite; return min_j d_j, which is <= 0 if A is not.

    a : the lower triangle by rows, A_ij at i (i + 1) / 2 + j; the unscaled columns V = L D on return
    scaled (n,) : scratch; inverse (n,) : 1 / d, real

    Cost: n^3 / 3 flops.
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
    # a comparison with NaN is false and leaves an earlier pivot: the sum finds it
    total = one - one
    for j in range(n):
        total = total + load(inverse, j)
    return smallest + (total - total)


@compiled
def ldl_forward(a: Any, y: Any, n: int, inverse: Any) -> None:
    """Solve V z = y, so that z = D^{-1} L^{-1} y."""
    i = 0
    while i + 4 <= n:
        r0 = i * (i + 1) // 2
        r1, r2, r3 = r0 + i + 1, r0 + 2 * i + 3, r0 + 3 * i + 6
        s0, s1, s2, s3 = load(y, i), load(y, i + 1), load(y, i + 2), load(y, i + 3)
        for k in range(i):
            z = load(y, k)
            s0 = fnma(load(a, r0 + k), z, s0)
            s1 = fnma(load(a, r1 + k), z, s1)
            s2 = fnma(load(a, r2 + k), z, s2)
            s3 = fnma(load(a, r3 + k), z, s3)
        s0 = load(inverse, i) * s0
        s1 = load(inverse, i + 1) * fnma(load(a, r1 + i), s0, s1)
        s2 = fnma(load(a, r2 + i), s0, s2)
        s2 = load(inverse, i + 2) * fnma(load(a, r2 + i + 1), s1, s2)
        s3 = fnma(load(a, r3 + i + 1), s1, fnma(load(a, r3 + i), s0, s3))
        s3 = load(inverse, i + 3) * fnma(load(a, r3 + i + 2), s2, s3)
        store(y, i, s0)
        store(y, i + 1, s1)
        store(y, i + 2, s2)
        store(y, i + 3, s3)
        i += 4
    while i < n:
        r0 = i * (i + 1) // 2
        s0 = load(y, i)
        for k in range(i):
            s0 = fnma(load(a, r0 + k), load(y, k), s0)
        store(y, i, load(inverse, i) * s0)
        i += 1


@compiled
def ldl_backward(a: Any, y: Any, n: int, inverse: Any) -> None:
    """Solve L^H x = z: x_i = z_i - sum_{k > i} conj(v_ki) x_k / d_i."""
    i = n
    while i >= 4:
        i -= 4
        s0 = s1 = s2 = s3 = load(y, i) - load(y, i)
        for k in range(i + 4, n):
            x, row = load(y, k), k * (k + 1) // 2 + i
            s0 = fnma(conj(load(a, row)), x, s0)
            s1 = fnma(conj(load(a, row + 1)), x, s1)
            s2 = fnma(conj(load(a, row + 2)), x, s2)
            s3 = fnma(conj(load(a, row + 3)), x, s3)
        r1 = (i + 1) * (i + 2) // 2 + i
        r2, r3 = r1 + i + 2, r1 + 2 * i + 5
        x3 = load(y, i + 3) + load(inverse, i + 3) * s3
        s2 = fnma(conj(load(a, r3 + 2)), x3, s2)
        x2 = load(y, i + 2) + load(inverse, i + 2) * s2
        s1 = fnma(conj(load(a, r2 + 1)), x2, fnma(conj(load(a, r3 + 1)), x3, s1))
        x1 = load(y, i + 1) + load(inverse, i + 1) * s1
        s0 = fnma(conj(load(a, r2)), x2, fnma(conj(load(a, r3)), x3, s0))
        x0 = load(y, i) + load(inverse, i) * fnma(conj(load(a, r1)), x1, s0)
        store(y, i, x0)
        store(y, i + 1, x1)
        store(y, i + 2, x2)
        store(y, i + 3, x3)
    while i > 0:
        i -= 1
        s0 = load(y, i) - load(y, i)
        for k in range(i + 1, n):
            s0 = fnma(conj(load(a, k * (k + 1) // 2 + i)), load(y, k), s0)
        store(y, i, load(y, i) + load(inverse, i) * s0)


@compiled
def ldl_solve(a: Any, y: Any, n: int, inverse: Any) -> None:
    """Replace y by A^{-1} y, with what :func:`ldl_factors` left in a and inverse. Cost: 2 n^2 flops.

    Rows and columns in fours: a sum stays in its register, and four sums hide each other's latency.
    """
    ldl_forward(a, y, n, inverse)
    ldl_backward(a, y, n, inverse)


@compiled
def lu_factors(a: Any, b: Any, y: Any, n: int, inverse: Any, choice: Any, one: Any) -> None:
    """Factorise P A = L U with partial pivoting, each lane with its own P, and replace B by P B and y by P y.

    a, b : (n, n) by rows; a holds L below its diagonal and U on return
    inverse (n,) : of the diagonal of U; choice : scratch of one register, real

    So A d = y - B x is solved by L and U alone, without a permutation. Cost: 2/3 n^3 flops.
    """
    for k in range(n):
        row = choose_rows(a, n, k, choice)
        for lane in range(len(choice)):
            if is_new(choice, lane, k):
                p, mine = int(choice[lane]), splat(choice[lane])
                exchange(a, k * n, p * n, n, row, mine)
                exchange(b, k * n, p * n, n, row, mine)
                exchange(y, k, p, 1, row, mine)
        factor = reciprocal(load(a, k * n + k), one)
        store(inverse, k, factor)
        i = k + 1
        while i + 2 <= n:
            r0, r1 = i * n, (i + 1) * n
            f0, f1 = load(a, r0 + k) * factor, load(a, r1 + k) * factor
            store(a, r0 + k, f0)
            store(a, r1 + k, f1)
            for j in range(k + 1, n):
                u = load(a, k * n + j)
                store(a, r0 + j, fnma(f0, u, load(a, r0 + j)))
                store(a, r1 + j, fnma(f1, u, load(a, r1 + j)))
            i += 2
        if i < n:
            r0 = i * n
            f0 = load(a, r0 + k) * factor
            store(a, r0 + k, f0)
            for j in range(k + 1, n):
                store(a, r0 + j, fnma(f0, load(a, k * n + j), load(a, r0 + j)))


@compiled
def lu_solve(a: Any, y: Any, n: int, inverse: Any) -> None:
    """Replace y by U^{-1} L^{-1} y, with what :func:`lu_factors` left in a and inverse. Cost: 2 n^2 flops."""
    i = 0
    while i + 4 <= n:
        r0, r1, r2, r3 = i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n
        s0, s1, s2, s3 = load(y, i), load(y, i + 1), load(y, i + 2), load(y, i + 3)
        for k in range(i):
            z = load(y, k)
            s0 = fnma(load(a, r0 + k), z, s0)
            s1 = fnma(load(a, r1 + k), z, s1)
            s2 = fnma(load(a, r2 + k), z, s2)
            s3 = fnma(load(a, r3 + k), z, s3)
        s1 = fnma(load(a, r1 + i), s0, s1)
        s2 = fnma(load(a, r2 + i + 1), s1, fnma(load(a, r2 + i), s0, s2))
        s3 = fnma(load(a, r3 + i + 1), s1, fnma(load(a, r3 + i), s0, s3))
        store(y, i, s0)
        store(y, i + 1, s1)
        store(y, i + 2, s2)
        store(y, i + 3, fnma(load(a, r3 + i + 2), s2, s3))
        i += 4
    while i < n:
        s0 = load(y, i)
        for k in range(i):
            s0 = fnma(load(a, i * n + k), load(y, k), s0)
        store(y, i, s0)
        i += 1
    i = n
    while i >= 4:
        i -= 4
        r0, r1, r2, r3 = i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n
        s0, s1, s2, s3 = load(y, i), load(y, i + 1), load(y, i + 2), load(y, i + 3)
        for k in range(i + 4, n):
            x = load(y, k)
            s0 = fnma(load(a, r0 + k), x, s0)
            s1 = fnma(load(a, r1 + k), x, s1)
            s2 = fnma(load(a, r2 + k), x, s2)
            s3 = fnma(load(a, r3 + k), x, s3)
        s3 = s3 * load(inverse, i + 3)
        s2 = fnma(load(a, r2 + i + 3), s3, s2) * load(inverse, i + 2)
        s1 = fnma(load(a, r1 + i + 2), s2, fnma(load(a, r1 + i + 3), s3, s1)) * load(inverse, i + 1)
        s0 = fnma(load(a, r0 + i + 2), s2, fnma(load(a, r0 + i + 3), s3, s0))
        store(y, i, fnma(load(a, r0 + i + 1), s1, s0) * load(inverse, i))
        store(y, i + 1, s1)
        store(y, i + 2, s2)
        store(y, i + 3, s3)
    while i > 0:
        i -= 1
        s0 = load(y, i)
        for k in range(i + 1, n):
            s0 = fnma(load(a, i * n + k), load(y, k), s0)
        store(y, i, s0 * load(inverse, i))
