"""Products in extended precision with matrices of full length, sparse and tall; used offline.

The sums are those of :mod:`rbm.arithmetic.extended` and :mod:`rbm.arithmetic.split_columns`: leading parts exactly,
others in the same order. What is saved is memory: NumPy writes and reads some ten arrays of full length for a product,
here one pass over the matrix serves eight columns, or all columns serve a block of rows while they are in cache.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import compiled, kernel, lane_kernel
from rbm.online.kernels.lanes import fma, larger, load, modulus, splat, splat_from, store
from rbm.online.kernels.memory import bare

__all__ = [
    "ROWS", "WIDTH", "in_lanes", "remainder", "residual_sizes", "sparse_product", "sparse_residual", "tall_product",
]  # fmt: skip

#: Columns of X in a register of lanes, in :func:`sparse_product`; rows of A in :func:`tall_product`.
WIDTH = 8
#: Rows of a tall matrix that are split together, so that both parts of 64 columns stay in cache.
ROWS = 128


@kernel
def in_lanes(x: Any, scale: Any, first: int, count: int, lanes: Any, largest: Any) -> None:
    """Write `count` columns of x / scale (k, m) from `first` on into lanes (8 k,), and their largest moduli (8,)."""
    x, scale, lanes, largest = bare((x, scale, lanes, largest))
    for start in range(0, len(x), 256):
        end = min(start + 256, len(x))
        for c in range(count):
            most = largest[c]
            for i in range(start, end):
                value = x[i, first + c] / scale[i]
                lanes[WIDTH * i + c] = value
                if abs(value) > most or value != value:  # NaN stays
                    most = abs(value)
            largest[c] = most


@compiled
def _row(matrix: Any, i: int, lanes: Any, grid: Any) -> Any:
    """Return row i of A X for the columns in lanes, as hi + lo."""
    indptr, indices, head, tail = matrix
    exact, of_head, of_tail = splat(0.0), splat(0.0), splat(0.0)
    for p in range(indptr[i], indptr[i + 1]):
        x, a = load(lanes, indices[p]), splat(head[p])
        leading = (x + grid) - grid
        exact = exact + a * leading
        of_head = of_head + a * (x - leading)
        of_tail = of_tail + splat(tail[p]) * x
    rest = of_head + of_tail
    total = exact + rest
    back = total - exact  # two_sum
    return total, (exact - (total - back)) + (rest - back)


@kernel
def sparse_product(matrix: Any, lanes: Any, shift: Any, first: int, count: int, hi: Any, lo: Any, room: Any) -> None:
    """Write hi + lo = A X (n, m) for the columns that :func:`in_lanes` has brought into lanes.

    matrix : indptr, indices, leading and other parts of A diag(scale); shift (8,) : what is added to a number and taken
    away, to round it to its grid; room (16,) : scratch
    """
    matrix, lanes, shift, hi, lo, room = bare((matrix, lanes, shift, hi, lo, room))
    grid = load(shift, 0)
    for i in range(len(matrix[0]) - 1):
        total, rest = _row(matrix, i, lanes, grid)
        store(room, 0, total)
        store(room, 1, rest)
        for c in range(count):
            hi[i, first + c], lo[i, first + c] = room[c], room[WIDTH + c]


@kernel
def sparse_residual(
    matrix: Any, lanes: Any, shift: Any, w: Any, units: Any, first: int, count: int, made: Any, largest: Any, room: Any
) -> None:
    """Write W - A X (n, m), in extended precision and then rounded, for columns in lanes, as :func:`sparse_product`.

    units (n,); largest (16,) : the largest |units w| and then |units (w - A x)| of each column
    """
    matrix, lanes, shift, w, units, made, largest, room = bare((matrix, lanes, shift, w, units, made, largest, room))
    grid = load(shift, 0)
    most, most_left, poison = splat(0.0), splat(0.0), splat(0.0)
    for i in range(len(matrix[0]) - 1):
        for c in range(count):
            room[c] = w[i, first + c]
        value, unit = load(room, 0), splat(units[i])
        total, rest = _row(matrix, i, lanes, grid)
        left = (value - total) - rest
        size, size_left = modulus(unit * value), modulus(unit * left)
        most, most_left = larger(size, most, size, most), larger(size_left, most_left, size_left, most_left)
        poison = poison + (left - left)  # NaN stays
        store(room, 0, left)
        for c in range(count):
            made[i, first + c] = room[c]
    store(largest, 0, most)
    store(largest, 1, most_left + poison)


@kernel
def residual_sizes(matrix: Any, lanes: Any, w: Any, units: Any, first: int, count: int, sums: Any, room: Any) -> None:
    """Write sums over the rows of |S (w - A y)|^2, |S w|^2, |S^-1 y|^2 and w y, of eight columns, into `sums`.

    lanes : `count` columns of y, by :func:`in_lanes`; w (n, m) : these from `first` on; units (n,) : the diagonal of S;
    sums (32,); room (8,) : scratch
    """
    matrix, lanes, w, units, sums, room = bare((matrix, lanes, w, units, sums, room))
    indptr, indices, data = matrix
    zero = splat(0.0)
    of_rest, of_w, of_y, product = zero, zero, zero, zero
    for i in range(len(indptr) - 1):
        made = zero
        for p in range(indptr[i], indptr[i + 1]):
            made = made + splat(data[p]) * load(lanes, indices[p])
        for c in range(count):
            room[c] = w[i, first + c]
        value, y, unit = load(room, 0), load(lanes, i), splat(units[i])
        rest, of = unit * (value - made), unit * value
        back = y / unit
        of_rest, of_w = fma(rest, rest, of_rest), fma(of, of, of_w)
        of_y, product = fma(back, back, of_y), fma(value, y, product)
    store(sums, 0, of_rest)
    store(sums, 1, of_w)
    store(sums, 2, of_y)
    store(sums, 3, product)


@compiled
def _split(values: Any, first: int, shift: Any, start: int, rows: int, leading: Any, rest: Any) -> None:
    """Write rows of A, split, into lanes: for eight rows all columns, then for the next eight.

    One register is left free between these: 64 columns are a page, and pages compete for the same places in cache.
    """
    count, grids = len(values), shift[start:]
    whole, apart = rows // WIDTH, count + 1
    for j in range(count):
        column = values[j, first + start :]
        for group in range(whole):
            value, grid = load(column, group), load(grids, group)
            head = (value + grid) - grid
            store(leading, group * apart + j, head)
            store(rest, group * apart + j, value - head)
        for i in range(WIDTH * whole, rows):
            one, to, at = column[i], grids[i], WIDTH * (whole * apart + j) + i - WIDTH * whole
            leading[at] = (one + to) - to
            rest[at] = one - leading[at]


@compiled
def _sixteen_rows(leading: Any, rest: Any, x: Any, first: int, second: int, k: int, at: int, out: Any) -> None:
    """Write A x for one column, eight rows from `first` and eight from `second` on, into out (32,): sums, then rests.

    Of each row the exact sum, and the sum of all else; of x, leading part, rest and whole, row by row from `at` on.
    """
    exact, other, tail = splat(0.0), splat(0.0), splat(0.0)
    exact_2, other_2, tail_2 = exact, other, tail
    for j in range(k):
        head, of_head, whole = splat_from(x, at + 3 * j), splat_from(x, at + 3 * j + 1), splat_from(x, at + 3 * j + 2)
        a = load(leading, first + j)
        exact, other = fma(a, head, exact), fma(a, of_head, other)
        tail = fma(load(rest, first + j), whole, tail)
        b = load(leading, second + j)
        exact_2, other_2 = fma(b, head, exact_2), fma(b, of_head, other_2)
        tail_2 = fma(load(rest, second + j), whole, tail_2)
    store(out, 0, exact)
    store(out, 1, exact_2)
    store(out, 2, other + tail)
    store(out, 3, other_2 + tail_2)


@lane_kernel
def tall_product(values: Any, first: int, shift: Any, x: Any, hi: Any, lo: Any, room: Any) -> None:
    """Add rows of A X, from `first` on, to hi + lo (m, rows), for A^T (k, n) and X (k, m); not renormalised.

    shift (rows,) : for each row, what is added to a number and taken away, to round it to its grid; x (3 m k,) : column
    by column leading part, rest and whole of each number; room : scratch (2 (k + 1) ROWS + 4 WIDTH,). Sums over k start
    anew for each A: with at most 64 columns they are short.
    """
    values, shift, x, hi, lo, room = bare((values, shift, x, hi, lo, room))
    m, n = hi.shape
    k = len(values)
    size, apart = ROWS * (k + 1), k + 1
    leading, rest, out = room[:size], room[size : 2 * size], room[2 * size :]
    for start in range(0, n, ROWS):
        rows = min(ROWS, n - start)
        _split(values, first, shift, start, rows, leading, rest)
        groups = -(-rows // WIDTH)
        for group in range(0, groups, 2):
            other, begin = min(group + 1, groups - 1), start + WIDTH * group
            here = min(2 * WIDTH, start + rows - begin)
            for c in range(m):
                _sixteen_rows(leading, rest, x, group * apart, other * apart, k, 3 * k * c, out)
                to_hi, to_lo = hi[c, begin:], lo[c, begin:]
                if here == 2 * WIDTH:
                    for d in range(2):
                        store(to_hi, d, load(to_hi, d) + load(out, d))
                        store(to_lo, d, load(to_lo, d) + load(out, 2 + d))
                    continue
                for i in range(here):
                    to_hi[i] += out[i]
                    to_lo[i] += out[2 * WIDTH + i]


@compiled
def _left(hi: Any, lo: Any, leading: Any, rest: Any) -> Any:
    """Return (hi + lo) - (leading + rest), rounded once, but for what is lost of the low parts."""
    total = leading + rest
    back = total - leading  # two_sum, here and below
    of_total = (leading - (total - back)) + (rest - back)
    left = hi - total
    back = left - hi
    return left + (((hi - (left - back)) - (total + back)) + (lo - of_total))


@lane_kernel
def remainder(hi: Any, lo: Any, first: int, leading: Any, rest: Any, made: Any) -> None:
    """Write rows of (hi + lo) - (leading + rest), from `first` on, formed in extended precision and rounded.

    hi, lo, made (m, n); leading, rest (m, rows), as :func:`tall_product` leaves them
    """
    hi, lo, leading, rest, made = bare((hi, lo, leading, rest, made))
    m, rows = leading.shape
    for c in range(m):
        x, y, a, b, to = hi[c, first:], lo[c, first:], leading[c], rest[c], made[c, first:]
        for group in range(rows // WIDTH):
            store(to, group, _left(load(x, group), load(y, group), load(a, group), load(b, group)))
        for i in range(rows - rows % WIDTH, rows):
            to[i] = _left(x[i], y[i], a[i], b[i])
