"""Sums and products in about twice the working precision, from double-precision operations only.

A number is held as an unevaluated sum hi + lo of two doubles. Products of matrices use one error-free split: with
A1 = A rounded to b bits on a common grid and B1 likewise, every entry of A1 B1 is a sum of integers below 2^53 times
one unit and therefore exact in any order of summation, BLAS and sparse products included:

    A B = A1 B1 (exact) + A1 (B - B1) + (A - A1) B,

where the last two terms are 2^-b smaller and need no care. With K terms per entry b = floor((53 - log2 K) / 2), at
least 20 for K < 4096, and the error is at most about K u 2^-b max|A| max|B| K, mostly u 2^-b of that: twenty bits below
double precision.

Cost: three products. Works for real and complex, dense and SciPy-sparse factors, on every platform (no long double).
Sources: Dekker, Numer. Math. 18 (1971) 224-242; Ozaki, Ogita, Oishi, Rump, Numer. Algorithms 59 (2012) 95-118.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.arithmetic.columns import column_blocks
from rbm.errors import ModelError

__all__ = [
    "UNIT", "Extended", "SplitMatrix", "add", "dot", "is_black_box", "longest_sum", "modulus", "on_grid", "product",
    "rounding", "rounding_sizes", "rounding_unit", "scale", "split_bits", "split_product", "two_product", "two_sum",
]  # fmt: skip

#: Relative error of the results here, per unit of max|A| max|B| K, for short sums; :func:`rounding_unit` is for any.
UNIT = 2.0**-70
#: Entries of this size have no grid: the shift that rounds to it would overflow.
LARGEST = 2.0**990
#: Splits a number into two of 26 bits.
SPLITTER = 134217729.0
#: Columns of a dense matrix that are multiplied together.
CHUNK = 64

Extended = tuple[np.ndarray, np.ndarray]  #: (hi, lo)


def two_sum(a: np.ndarray, b: np.ndarray) -> Extended:
    """Return s and e with s + e = a + b exactly, s the rounded sum (Knuth); real or complex."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def split_product(a: Any, b: Any, splitter: float = SPLITTER) -> tuple[Any, Any]:
    """Return p and e with p + e = a b exactly, for real a, b of any array module.

    The method is Dekker's, with Veltkamp's split.

    splitter : 2^s + 1, s half the bits of the mantissa, rounded up; the default is that of double precision
    """
    p = a * b
    a1 = a * splitter
    a1 = a1 - (a1 - a)
    b1 = b * splitter
    b1 = b1 - (b1 - b)
    a2, b2 = a - a1, b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def _two_product_wide(a: np.ndarray, b: np.ndarray) -> Extended:
    """Return the same for factors so large that their splits overflow where the product does not; slower."""
    p = a * b
    (a1, a2), (b1, b2) = _split_wide(a), _split_wide(b)
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def _is_wide(a: np.ndarray) -> bool:
    """Return True if an entry is too large to be split."""
    parts = (a.real, a.imag) if np.iscomplexobj(a) else (np.asarray(a),)
    return any(part.size > 0 and (part.max() > LARGEST or part.min() < -LARGEST) for part in parts)


def _split_wide(a: np.ndarray) -> Extended:
    """Return a as a sum of two numbers of 26 bits."""
    down = np.where(np.abs(a) > LARGEST, 2.0**-64, 1.0)
    small = a * down
    c = small * SPLITTER
    head = (c - (c - small)) / down
    return head, a - head


def two_product(a: np.ndarray, b: np.ndarray) -> Extended:
    """Return a b as hi + lo: exact for real factors, to u^2 for complex ones."""
    multiplied = _two_product_wide if _is_wide(a) or _is_wide(b) else split_product
    if not (np.iscomplexobj(a) or np.iscomplexobj(b)):
        return multiplied(np.asarray(a), np.asarray(b))
    ar, ai, br, bi = np.real(a), np.imag(a), np.real(b), np.imag(b)
    real = add(multiplied(ar, br), tuple(-x for x in multiplied(ai, bi)))  # type: ignore[arg-type]
    imag = add(multiplied(ar, bi), multiplied(ai, br))
    return real[0] + 1j * imag[0], real[1] + 1j * imag[1]


def add(x: Extended, y: Extended) -> Extended:
    """Return x + y, renormalised so that |lo| is at most an ulp of hi."""
    s, e = two_sum(x[0], y[0])
    return two_sum(s, e + (x[1] + y[1]))


def scale(factor: np.ndarray, x: Extended) -> Extended:
    """Return factor * x for a double (or an array of doubles that broadcasts)."""
    hi, lo = two_product(factor, x[0])
    return two_sum(hi, lo + factor * x[1])


def dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return sum_i conj(x_ij) y_ij for every column j, as if in twice the working precision and then rounded."""
    hi, lo = two_product(np.conj(x), y)
    error = lo.sum(axis=0)
    while hi.shape[0] > 1:  # pairwise, so that the loop is over log2 n levels
        half = hi.shape[0] // 2
        s, e = two_sum(hi[:half], hi[half : 2 * half])
        error = error + e.sum(axis=0)
        hi = np.concatenate([s, hi[2 * half :]]) if hi.shape[0] % 2 else s
    return (hi[0] if hi.shape[0] else np.zeros(hi.shape[1:])) + error


def split_bits(terms: int) -> int:
    """Return the bits b that both factors may keep so that a sum of `terms` products is exact.

    Complex products count twice.
    """
    return int((53 - math.ceil(math.log2(max(2 * terms, 2)))) // 2)


def on_grid(values: np.ndarray, largest: np.ndarray | float, bits: int) -> np.ndarray:
    """Return `values` rounded to multiples of 2^-bits times the power of two above `largest`.

    `largest` bounds real and imaginary parts.
    """
    _, exponent = np.frexp(largest)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at the size
        shift = np.ldexp(1.5, exponent - bits + 52)  # adding and subtracting it rounds to the grid
        if np.iscomplexobj(values):
            return ((values.real + shift) - shift) + 1j * ((values.imag + shift) - shift)
        return (values + shift) - shift


def modulus(values: np.ndarray) -> np.ndarray:
    """Return the larger of |re| and |im|."""
    return np.maximum(np.abs(values.real), np.abs(values.imag)) if np.iscomplexobj(values) else np.abs(values)


def rounding_unit(terms: int, bits: int, complex_valued: bool) -> float:
    """Return a proved error of a product per unit of 2 K max|A| max|x|.

    The tails, at most 2 2^-b of that, are summed with (terms + 4) u.

    UNIT where that is larger, as for real matrices of up to some sixty terms per row. Complex numbers: two sums of
    twice as many terms, 4 sqrt(2) times that.
    """
    return max(UNIT, (6 if complex_valued else 1) * (terms + 4) * 2.0 ** (-53 - bits))


def longest_sum(terms: int) -> int:
    """Return the length of the longest sum where `terms` numbers are summed in chunks.

    The chunks are added one after the other.
    """
    return min(terms, CHUNK) + -(-terms // CHUNK)


class SplitMatrix:
    """A matrix A (n, k), sparse or dense, with the leading part of A diag(d).

    It is made once and multiplied often by :func:`product`.

    inner_scale : d (k,), powers of two. A x = (A diag(d)) (x / d) without rounding; a scale that brings the unknowns
        x / d to a common size keeps the split as good for mixed units (Pa beside m) as for equal ones.

    Every row has a grid of its own.
    """

    def __init__(self, matrix: Any, inner_scale: np.ndarray | None = None) -> None:
        sparse = sp.issparse(matrix)
        self.matrix = matrix = sp.csr_array(matrix) if sparse else np.asarray(matrix)
        self.inner_scale = np.ones(matrix.shape[1]) if inner_scale is None else inner_scale
        counts = np.diff(matrix.indptr) if sparse else np.array([matrix.shape[1]])
        self.terms = int(counts.max(initial=1))
        self.bits = split_bits(self.terms)
        if sparse:
            balanced = matrix.copy()
            balanced.data = matrix.data * self.inner_scale[matrix.indices]
            rows = np.repeat(np.arange(matrix.shape[0]), counts)
            self.row_max = np.zeros(matrix.shape[0])
            np.maximum.at(self.row_max, rows, modulus(balanced.data))
            self.head, self.tail = balanced.copy(), balanced
            self.head.data = on_grid(balanced.data, self.row_max[rows], self.bits)
            self.tail.data = balanced.data - self.head.data
        else:
            balanced = matrix * self.inner_scale
            self.row_max = modulus(balanced).max(axis=1, initial=0.0)
            self.head = on_grid(balanced, self.row_max[:, None], self.bits)
            self.tail = balanced - self.head
        if not self.row_max.max(initial=0.0) < LARGEST:
            raise ModelError(
                f"entries up to {self.row_max.max():.3g}, in units of the product, are beyond the range of products in "
                "extended precision; choose other units"
            )
        self.shape, self.dtype = matrix.shape, matrix.dtype
        self.longest = (
            self.terms if sparse else longest_sum(self.terms)
        )  #: sum, after which others are added one by one

    def extended_product(self, x: np.ndarray | Extended) -> Extended:
        """Return A X as :func:`product` does."""
        x, correction = x if isinstance(x, tuple) else (x, None)
        blocks = list(column_blocks(max(self.shape), x.shape[1])) if sp.issparse(self.head) else []
        if len(blocks) < 2:
            return _product(self, x, correction)
        shape, dtype = (self.shape[0], x.shape[1]), np.result_type(self.dtype, x, float)
        hi, lo = np.empty(shape, dtype, "F"), np.empty(shape, dtype, "F")
        for some in blocks:
            hi[:, some], lo[:, some] = _product(self, x[:, some], None if correction is None else correction[:, some])
        return hi, lo

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        return self.matrix @ x

    def __abs__(self) -> Any:
        return abs(self.matrix)


def product(a: Any, x: np.ndarray | Extended) -> Extended:
    """Return A X (n, m) as hi + lo for X (k, m), given in double or as hi + lo.

    `a` is a SplitMatrix, an array or a sparse matrix. A ``LinearOperator`` shows no entries and is applied in its own
    precision. :func:`rounding` bounds the error.
    """
    if hasattr(a, "extended_product"):  # a SplitMatrix, or factors, which know their own
        return a.extended_product(x)
    if is_black_box(a):
        x, correction = x if isinstance(x, tuple) else (x, None)
        hi = np.asarray(a @ x)
        return two_sum(hi, np.asarray(a @ correction)) if correction is not None else (hi, np.zeros_like(hi))
    return SplitMatrix(a).extended_product(x)


def _product(split: SplitMatrix, x: np.ndarray, correction: np.ndarray | None) -> Extended:
    """Return the same for columns that are multiplied together."""
    y = x / split.inner_scale[:, None]
    head = on_grid(y, modulus(y).max(axis=0, initial=0.0), split.bits)
    m = y.shape[1]
    pair = np.concatenate([head, y - head], axis=1)
    if sp.issparse(split.head) or split.terms <= CHUNK:
        both = split.head @ pair  # one pass over the matrix, which may be large
        hi, lo = both[:, :m], both[:, m:] + split.tail @ y
    # in chunks: the sums of tails then round as shorter sums do; those of heads are exact in any order
    else:
        hi = lo = np.zeros((split.shape[0], m))
        for start in range(0, split.terms, CHUNK):
            rows = slice(start, start + CHUNK)
            both = split.head[:, rows] @ pair[rows]
            hi, lo = hi + both[:, :m], lo + (both[:, m:] + split.tail[:, rows] @ y[rows])
    if correction is not None:
        lo = lo + split.matrix @ correction
    return two_sum(hi, lo)


def rounding(a: Any, x: np.ndarray | Extended) -> np.ndarray:
    """Return a bound (n, m) of the error of every entry of :func:`product`.

    The bound is 2 unit K max_j |A_ij d_j| max_j |x_j / d_j| (:func:`rounding_unit`).

    For a ``LinearOperator`` it is a *sample*, no bound: 16 times |A y + A (x - y) - A x| for two random y, and at least
    u |A x|.
    """
    if hasattr(a, "extended_rounding"):
        return a.extended_rounding(x)
    x, correction = x if isinstance(x, tuple) else (x, None)
    u = np.finfo(float).eps / 2
    if is_black_box(a):
        rng = np.random.default_rng(0)
        whole = np.asarray(a @ x)
        sample = u * np.abs(whole)
        for _ in range(2):
            y = x * rng.uniform(0.25, 0.75, x.shape)
            sample = np.maximum(sample, 16 * np.abs(np.asarray(a @ y) + np.asarray(a @ (x - y)) - whole))
        return sample
    split = a if isinstance(a, SplitMatrix) else SplitMatrix(a)
    return split.row_max[:, None] * rounding_sizes(split, x, correction)


def rounding_sizes(split: SplitMatrix, x: np.ndarray, correction: np.ndarray | None = None) -> np.ndarray:
    """Return s (m,): row i and column j of :func:`product` are off by at most ``split.row_max[i]`` times s_j.

    So a norm of all of it is one of `row_max` times s_j, and the bounds (n, m) need not be formed.
    """
    scale_ = split.inner_scale[:, None]
    unit = rounding_unit(split.longest, split.bits, np.iscomplexobj(split.matrix) or np.iscomplexobj(x))
    size = unit * modulus(x / scale_).max(axis=0, initial=0.0)
    if correction is not None:
        size = size + np.finfo(float).eps / 2 * modulus(correction / scale_).max(axis=0, initial=0.0)
    return 2 * split.terms * size


def is_black_box(a: Any) -> bool:
    """Return True for an operator without entries, such as a LinearOperator."""
    return not (isinstance(a, SplitMatrix | np.ndarray) or sp.issparse(a) or hasattr(a, "extended_product"))
