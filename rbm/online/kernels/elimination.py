"""LU with partial pivoting for as many small matrices as a register has lanes, each with its own pivot rows.

The conventions are those of :mod:`rbm.online.kernels.solvers`.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import compiled
from rbm.online.kernels.lanes import conj, crowded, equal, fnma, imag, larger, load, modulus, real, splat, square, store

__all__ = ["choose_rows", "exchange", "is_new", "lu", "reciprocal", "size_of"]

#: Columns of a panel: what is right of it is read and written once for all of them.
PANEL = 4


@compiled
def size_of(x: Any) -> Any:
    """Return |re x| + |im x|, which is as good as |x| for choosing and scaling, without a square."""
    return modulus(real(x)) + modulus(imag(x))


@compiled
def reciprocal(x: Any, one: Any) -> Any:
    """Return 1 / x; only numbers of size one are squared."""
    unit = one / size_of(x)
    y = unit * x
    return unit * (conj(y) / square(y))


@compiled
def choose_rows(a: Any, n: int, k: int, choice: Any) -> Any:
    """Return the row of the largest entry in column k, from row k on, for each lane; as numbers in `choice`, too."""
    largest = size_of(load(a, k * n + k))
    row = splat(choice.dtype.type(k))
    for i in range(k + 1, n):
        size = size_of(load(a, i * n + k))
        row = larger(size, largest, splat(choice.dtype.type(i)), row)
        largest = larger(size, largest, size, largest)
    store(choice, 0, row)
    return row


@compiled
def is_new(choice: Any, lane: int, k: int) -> bool:
    """Return whether the row of a lane is neither row k nor that of a lane before it."""
    new = choice[lane] != k
    for other in range(lane):
        new = new and choice[other] != choice[lane]
    return new


@compiled
def exchange(a: Any, first: int, second: int, count: int, row: Any, mine: Any) -> None:
    """Exchange `count` entries from `first` and from `second` on in the lanes where row == mine."""
    for j in range(count):
        upper, lower = load(a, first + j), load(a, second + j)
        store(a, first + j, equal(row, mine, lower, upper))
        store(a, second + j, equal(row, mine, upper, lower))


@compiled
def panel(a: Any, y: Any, n: int, first: int, last: int, inverse: Any, choice: Any, one: Any) -> None:
    """Factorise the columns first, ..., last - 1 with all rows below, and eliminate in y.

    Rows are exchanged from column `first` on; columns behind the panel are not changed otherwise.
    """
    for k in range(first, last):
        row = choose_rows(a, n, k, choice)
        for lane in range(len(choice)):
            if is_new(choice, lane, k):
                p, mine = int(choice[lane]), splat(choice[lane])
                exchange(a, k * n + first, p * n + first, n - first, row, mine)
                exchange(y, k, p, 1, row, mine)
        factor = reciprocal(load(a, k * n + k), one)
        store(inverse, k, factor)
        z = load(y, k)
        for i in range(k + 1, n):
            f = load(a, i * n + k) * factor
            store(a, i * n + k, f)
            store(y, i, fnma(f, z, load(y, i)))
            for j in range(k + 1, last):
                store(a, i * n + j, fnma(f, load(a, k * n + j), load(a, i * n + j)))


@compiled
def behind(a: Any, n: int, first: int, last: int) -> None:
    """Subtract from the columns behind a panel, in the rows below it, what its columns are: a_ij - sum_k l_ik u_kj.

    Four rows at a time, or two: u_kj is read once for them.
    """
    i = last
    while i + 4 <= n and not crowded(load(a, 0)):
        r0, r1, r2, r3 = i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n
        for j in range(last, n):
            s0, s1, s2, s3 = load(a, r0 + j), load(a, r1 + j), load(a, r2 + j), load(a, r3 + j)
            for k in range(first, last):
                u = load(a, k * n + j)
                s0 = fnma(load(a, r0 + k), u, s0)
                s1 = fnma(load(a, r1 + k), u, s1)
                s2 = fnma(load(a, r2 + k), u, s2)
                s3 = fnma(load(a, r3 + k), u, s3)
            store(a, r0 + j, s0)
            store(a, r1 + j, s1)
            store(a, r2 + j, s2)
            store(a, r3 + j, s3)
        i += 4
    while i + 2 <= n:
        r0, r1 = i * n, (i + 1) * n
        for j in range(last, n):
            s0, s1 = load(a, r0 + j), load(a, r1 + j)
            for k in range(first, last):
                u = load(a, k * n + j)
                s0, s1 = fnma(load(a, r0 + k), u, s0), fnma(load(a, r1 + k), u, s1)
            store(a, r0 + j, s0)
            store(a, r1 + j, s1)
        i += 2
    if i < n:
        for j in range(last, n):
            s0 = load(a, i * n + j)
            for k in range(first, last):
                s0 = fnma(load(a, i * n + k), load(a, k * n + j), s0)
            store(a, i * n + j, s0)


@compiled
def lu(a: Any, y: Any, n: int, inverse: Any, choice: Any, one: Any) -> None:
    """Solve A x = y by LU with partial pivoting; each lane has its own pivot row.

    a : (n, n) by rows, overwritten; inverse (n,) scratch; choice : scratch of one register, real.
    Cost: 2/3 n^3 + 2 n^2 flops.
    """
    for first in range(0, n, PANEL):
        last = min(first + PANEL, n)
        panel(a, y, n, first, last, inverse, choice, one)
        for i in range(first + 1, last):
            for j in range(last, n):
                s = load(a, i * n + j)
                for k in range(first, i):
                    s = fnma(load(a, i * n + k), load(a, k * n + j), s)
                store(a, i * n + j, s)
        behind(a, n, first, last)
    for k in range(n - 1, -1, -1):
        x = load(y, k) * load(inverse, k)
        store(y, k, x)
        for i in range(k):
            store(y, i, fnma(load(a, i * n + k), x, load(y, i)))
