"""Products in extended precision with matrices of full length, sparse and tall; used offline.

The sums are those of :mod:`rbm.arithmetic.extended` and :mod:`rbm.arithmetic.split_columns`: leading parts exactly,
others in the same order. What is saved is memory: NumPy writes and reads some ten arrays of full length for a product,
here one pass over the matrix serves eight columns, or all columns serve a block of rows while they are in cache.
"""

from __future__ import annotations

from typing import Any

from rbm.online.kernels.compiler import compiled, kernel
from rbm.online.kernels.lanes import fma, larger, load, load_from, modulus, splat, store
from rbm.online.kernels.memory import bare

__all__ = [
    "ROWS", "WIDTH", "in_lanes", "remainder", "residual_sizes", "sparse_product", "sparse_residual", "tall_product",
]  # fmt: skip

#: Columns of X in a register of lanes, in :func:`sparse_product`; rows of A in :func:`tall_product`.
WIDTH = 8
#: Rows of a tall matrix that are split together, so that both parts of 64 columns stay in cache.
ROWS = 512


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
def _split(values: Any, shift: Any, start: int, rows: int, leading: Any, rest: Any) -> None:
    """Write rows of A (n, k), split, into lanes: for eight rows all columns, then for the next eight."""
    count = values.shape[1]
    whole = rows // WIDTH
    for j in range(count):
        column = values[start:, j]
        for group in range(whole):
            value, grid = load_from(column, WIDTH * group), load_from(shift, start + WIDTH * group)
            head = (value + grid) - grid
            store(leading, group * count + j, head)
            store(rest, group * count + j, value - head)
        for i in range(WIDTH * whole, rows):
            one, to, at = column[i], shift[start + i], WIDTH * (whole * count + j) + i - WIDTH * whole
            leading[at] = (one + to) - to
            rest[at] = one - leading[at]


@compiled
def _three_columns(leading: Any, rest: Any, x: Any, group: int, k: int, at: int, out: Any) -> None:
    """Write eight rows of A X for three columns into out (48,): of each the exact sum, and the sum of all else.

    Sums with leading parts come first, and those with the rest after them: all nine together are more than registers.
    """
    exact, other = splat(0.0), splat(0.0)
    exact_2, other_2, exact_3, other_3 = exact, exact, exact, exact
    for j in range(k):
        a, here = load(leading, group * k + j), at + 6 * j
        exact, other = fma(a, splat(x[here]), exact), fma(a, splat(x[here + 1]), other)
        exact_2, other_2 = fma(a, splat(x[here + 2]), exact_2), fma(a, splat(x[here + 3]), other_2)
        exact_3, other_3 = fma(a, splat(x[here + 4]), exact_3), fma(a, splat(x[here + 5]), other_3)
    store(out, 0, exact)
    store(out, 2, exact_2)
    store(out, 4, exact_3)
    tail, tail_2, tail_3 = splat(0.0), splat(0.0), splat(0.0)
    for j in range(k):
        b, here = load(rest, group * k + j), at + 6 * k + 3 * j
        tail = fma(b, splat(x[here]), tail)
        tail_2 = fma(b, splat(x[here + 1]), tail_2)
        tail_3 = fma(b, splat(x[here + 2]), tail_3)
    store(out, 1, other + tail)
    store(out, 3, other_2 + tail_2)
    store(out, 5, other_3 + tail_3)


@kernel
def tall_product(values: Any, shift: Any, x: Any, hi: Any, lo: Any, room: Any) -> None:
    """Add A X to hi + lo (m, n), for A (n, k) and X (k, m), m a multiple of three; not renormalised.

    shift (n,) : for each row, what is added to a number and taken away, to round it to its grid; x (3 m k,) : for three
    columns at a time leading part and rest of each, six numbers a row, then the whole of each, three numbers a row;
    room : scratch (2 k ROWS + 6 WIDTH,). Sums over k start anew for each A: with at most 64 columns they are short.
    """
    n, k = values.shape
    leading, rest, out = room[: ROWS * k], room[ROWS * k : 2 * ROWS * k], room[2 * ROWS * k :]
    for start in range(0, n, ROWS):
        rows = min(ROWS, n - start)
        _split(values, shift, start, rows, leading, rest)
        for group in range(-(-rows // WIDTH)):
            first = start + WIDTH * group
            here = min(WIDTH, start + rows - first)
            for c in range(0, len(hi), 3):
                _three_columns(leading, rest, x, group, k, 3 * k * c, out)
                for d in range(3):
                    if here == WIDTH:
                        at = first // WIDTH
                        store(hi[c + d], at, load(hi[c + d], at) + load(out, 2 * d))
                        store(lo[c + d], at, load(lo[c + d], at) + load(out, 2 * d + 1))
                        continue
                    for i in range(here):
                        hi[c + d, first + i] += out[2 * WIDTH * d + i]
                        lo[c + d, first + i] += out[2 * WIDTH * d + WIDTH + i]


@kernel
def remainder(hi: Any, lo: Any, leading: Any, rest: Any, made: Any) -> None:
    """Write (hi + lo) - (leading + rest), formed in extended precision and rounded, into `made` (n, m).

    hi, lo (n, m); leading, rest (m, n), as :func:`tall_product` leaves them
    """
    hi, lo, leading, rest, made = bare((hi, lo, leading, rest, made))
    n, m = made.shape
    for c in range(m):
        for i in range(n):
            a, b = leading[c, i], rest[c, i]
            total = a + b
            back = total - a
            of_total = (a - (total - back)) + (b - back)
            x, y = hi[i, c], -total
            left = x + y
            back = left - x
            low = ((x - (left - back)) + (y - back)) + (lo[i, c] - of_total)
            made[i, c] = left + low
