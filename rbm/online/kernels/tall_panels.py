"""Products of many long columns with a few, for Gram-Schmidt; used offline.

Libraries reach half the speed of a processor where one of the matrices has some nine columns: their blocks are made for
large ones. Here some rows of the few columns stay in cache, and what is loaded of the many serves three of them, or
what is loaded and stored of the few serves eight of the many. Matrices are given transposed, so that columns are
contiguous. What a sum over some rows is depends on these rows alone.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import compiled, lane_kernel
from rbm.online.kernels.lanes import fma, fnma, load, splat, store
from rbm.online.kernels.memory import bare

__all__ = ["DEPTH", "WIDTH", "adjoint_sums", "subtract_products"]

#: Numbers in a register of lanes, and rows that are worked on together: of nine columns, 72 kB.
WIDTH, ROWS = 8, 1024
#: Columns of Q that are subtracted while a register of X is loaded.
DEPTH = 8


@compiled
def _two_by_three(y: Any, x: Any, start: int, groups: int, at: int, far: int, sums: Any) -> None:
    """Add the products of two columns with three, some rows of them, to lanes of sums from `at` and `far` on."""
    y_0, y_1, x_0, x_1, x_2 = y[0][start:], y[1][start:], x[0][start:], x[1][start:], x[2][start:]
    s_0, s_1, s_2 = load(sums, at), load(sums, at + 1), load(sums, at + 2)
    t_0, t_1, t_2 = load(sums, far), load(sums, far + 1), load(sums, far + 2)
    for group in range(groups):
        a, b, v = load(y_0, group), load(y_1, group), load(x_0, group)
        s_0, t_0 = fma(a, v, s_0), fma(b, v, t_0)
        v_1 = load(x_1, group)
        s_1, t_1 = fma(a, v_1, s_1), fma(b, v_1, t_1)
        v_2 = load(x_2, group)
        s_2, t_2 = fma(a, v_2, s_2), fma(b, v_2, t_2)
    store(sums, at, s_0)
    store(sums, at + 1, s_1)
    store(sums, at + 2, s_2)
    store(sums, far, t_0)
    store(sums, far + 1, t_1)
    store(sums, far + 2, t_2)


@lane_kernel
def adjoint_sums(y: Any, x: Any, start: int, stop: int, made: Any, sums: Any) -> None:
    """Write the sums over rows `start` to `stop` of Y^T X (k, m) into `made`, for Y^T (k, n) and X^T (m, n).

    sums : scratch, lanes for k and m rounded up to multiples of two and three; what is more than k and m is computed
    from the last columns again, and left there
    """
    y, x, made, sums = bare((y, x, made, sums))
    k, m = len(y), len(x)
    padded = 3 * ((m + 2) // 3)
    for entry in range(2 * ((k + 1) // 2) * padded):
        store(sums, entry, splat(0.0))
    for block in range(start, stop, ROWS):
        groups = (min(block + ROWS, stop) - block) // WIDTH
        for j in range(0, k, 2):
            two = y[j], y[min(j + 1, k - 1)]
            for c in range(0, m, 3):
                three, at = (x[c], x[min(c + 1, m - 1)], x[min(c + 2, m - 1)]), j * padded + c
                _two_by_three(two, three, block, groups, at, at + padded, sums)
    last = stop - (stop - start) % WIDTH
    for j in range(k):
        for c in range(m):
            total, at = 0.0, WIDTH * (j * padded + c)
            for lane in range(WIDTH):
                total += sums[at + lane]
            for i in range(last, stop):
                total += y[j, i] * x[c, i]
            made[j, c] = total


@compiled
def _subtract(q: Any, h: Any, h_1: Any, x: Any, x_1: Any, pairs: int) -> None:
    """Subtract products of eight columns q with the numbers h and h_1 from two columns, two registers at a time.

    Written out: the columns are then known by name, and what is subtracted from stays in registers.
    """
    q_0, q_1, q_2, q_3, q_4, q_5, q_6, q_7 = q
    for pair in range(pairs):
        one = 2 * pair
        two = one + 1
        a, b, c, d = load(x, one), load(x, two), load(x_1, one), load(x_1, two)
        u, v, s, t = load(q_0, one), load(q_0, two), splat(h[0]), splat(h_1[0])
        a, b, c, d = fnma(s, u, a), fnma(s, v, b), fnma(t, u, c), fnma(t, v, d)
        u, v, s, t = load(q_1, one), load(q_1, two), splat(h[1]), splat(h_1[1])
        a, b, c, d = fnma(s, u, a), fnma(s, v, b), fnma(t, u, c), fnma(t, v, d)
        u, v, s, t = load(q_2, one), load(q_2, two), splat(h[2]), splat(h_1[2])
        a, b, c, d = fnma(s, u, a), fnma(s, v, b), fnma(t, u, c), fnma(t, v, d)
        u, v, s, t = load(q_3, one), load(q_3, two), splat(h[3]), splat(h_1[3])
        a, b, c, d = fnma(s, u, a), fnma(s, v, b), fnma(t, u, c), fnma(t, v, d)
        u, v, s, t = load(q_4, one), load(q_4, two), splat(h[4]), splat(h_1[4])
        a, b, c, d = fnma(s, u, a), fnma(s, v, b), fnma(t, u, c), fnma(t, v, d)
        u, v, s, t = load(q_5, one), load(q_5, two), splat(h[5]), splat(h_1[5])
        a, b, c, d = fnma(s, u, a), fnma(s, v, b), fnma(t, u, c), fnma(t, v, d)
        u, v, s, t = load(q_6, one), load(q_6, two), splat(h[6]), splat(h_1[6])
        a, b, c, d = fnma(s, u, a), fnma(s, v, b), fnma(t, u, c), fnma(t, v, d)
        u, v, s, t = load(q_7, one), load(q_7, two), splat(h[7]), splat(h_1[7])
        a, b, c, d = fnma(s, u, a), fnma(s, v, b), fnma(t, u, c), fnma(t, v, d)
        store(x, one, a)
        store(x, two, b)
        store(x_1, one, c)
        store(x_1, two, d)


@lane_kernel
def subtract_products(q: Any, h: Any, x: Any, start: int, stop: int) -> None:
    """Subtract Q H from rows `start` to `stop` of X, in place, for Q^T (k, n), H^T (m, k + padding), X^T (m, n).

    padding : zeros, that make k a multiple of 8
    """
    q, h, x = bare((q, h, x))
    m, end = len(x), len(q) - 1
    for block in range(start, stop, ROWS):
        rows = min(block + ROWS, stop) - block
        pairs = rows // (2 * WIDTH)
        for j in range(0, end + 1, DEPTH):
            q_0, q_1 = q[j, block:], q[min(j + 1, end), block:]
            q_2, q_3 = q[min(j + 2, end), block:], q[min(j + 3, end), block:]
            q_4, q_5 = q[min(j + 4, end), block:], q[min(j + 5, end), block:]
            q_6, q_7 = q[min(j + 6, end), block:], q[min(j + 7, end), block:]
            some = q_0, q_1, q_2, q_3, q_4, q_5, q_6, q_7  # those past the last one are multiplied by zeros
            for c in range(0, m, 2):
                other = min(c + 1, m - 1)
                _subtract(some, h[c, j:], h[other, j:], x[c, block:], x[other, block:], pairs)
        for i in range(block + 2 * WIDTH * pairs, block + rows):
            for c in range(m):
                left = x[c, i]
                for j in range(end + 1):
                    left -= h[c, j] * q[j, i]
                x[c, i] = left
