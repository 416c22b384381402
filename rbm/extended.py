"""Sums and products in about twice the working precision, from double-precision operations only.

A number is held as an unevaluated sum hi + lo of two doubles. Products of matrices use one error-free split: with A1 = A
rounded to b bits on a common grid and B1 likewise, every entry of A1 B1 is a sum of integers below 2^53 times one unit
and therefore exact in any order of summation, BLAS and sparse products included:

    A B = A1 B1 (exact) + A1 (B - B1) + (A - A1) B,

where the last two terms are 2^-b smaller and need no care. With K terms per entry b = floor((53 - log2 K) / 2), at
least 20 for K < 4096, and the error is about u 2^-b max|A| max|B| K: twenty bits or more below double precision.
Cost: three products. Works for real and complex, dense and SciPy-sparse factors, on every platform (no long double).
Sources: Dekker, Numer. Math. 18 (1971) 224-242; Ozaki, Ogita, Oishi, Rump, Numer. Algorithms 59 (2012) 95-118.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["UNIT", "Extended", "SplitMatrix", "add", "dot", "multiply", "product", "scale", "split_bits"]

#: Relative error of the results here, per unit of max|A| max|B| K, taken on the safe side of u 2^-20.
UNIT = 2.0**-70

Extended = tuple[np.ndarray, np.ndarray]  #: (hi, lo)


def two_sum(a: np.ndarray, b: np.ndarray) -> Extended:
    """s + e = a + b exactly, s the rounded sum (Knuth). Real or complex."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _two_product_real(a: np.ndarray, b: np.ndarray) -> Extended:
    """p + e = a b exactly for real a, b (Dekker, with Veltkamp's split)."""
    p = a * b
    a1 = a * 134217729.0
    a1 = a1 - (a1 - a)
    b1 = b * 134217729.0
    b1 = b1 - (b1 - b)
    a2, b2 = a - a1, b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def two_product(a: np.ndarray, b: np.ndarray) -> Extended:
    """a b as hi + lo: exact for real factors, to u^2 for complex ones."""
    if not (np.iscomplexobj(a) or np.iscomplexobj(b)):
        return _two_product_real(np.asarray(a), np.asarray(b))
    ar, ai, br, bi = np.real(a), np.imag(a), np.real(b), np.imag(b)
    real = add(_two_product_real(ar, br), tuple(-x for x in _two_product_real(ai, bi)))  # type: ignore[arg-type]
    imag = add(_two_product_real(ar, bi), _two_product_real(ai, br))
    return real[0] + 1j * imag[0], real[1] + 1j * imag[1]


def add(x: Extended, y: Extended) -> Extended:
    """x + y, renormalised so that |lo| is at most an ulp of hi."""
    s, e = two_sum(x[0], y[0])
    return two_sum(s, e + (x[1] + y[1]))


def scale(factor: np.ndarray, x: Extended) -> Extended:
    """factor * x for a double (or an array of doubles that broadcasts)."""
    hi, lo = two_product(factor, x[0])
    return two_sum(hi, lo + factor * x[1])


def multiply(x: Extended, y: Extended) -> Extended:
    """x y entry by entry."""
    hi, lo = two_product(x[0], y[0])
    return two_sum(hi, lo + (x[0] * y[1] + x[1] * y[0]))


def dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """sum_i conj(x_ij) y_ij for every column j, as if in twice the working precision and then rounded."""
    hi, lo = two_product(np.conj(x), y)
    error = lo.sum(axis=0)
    while hi.shape[0] > 1:  # pairwise, so that the loop is over log2 n levels
        half = hi.shape[0] // 2
        s, e = two_sum(hi[:half], hi[half : 2 * half])
        error = error + e.sum(axis=0)
        hi = np.concatenate([s, hi[2 * half :]]) if hi.shape[0] % 2 else s
    return (hi[0] if hi.shape[0] else np.zeros(hi.shape[1:])) + error


def split_bits(terms: int) -> int:
    """Bits b that both factors may keep so that a sum of `terms` (twice that for complex) products is exact."""
    return int((53 - math.ceil(math.log2(max(2 * terms, 2)))) // 2)


def _on_grid(values: np.ndarray, largest: np.ndarray | float, bits: int) -> np.ndarray:
    """`values` rounded to multiples of 2^-bits times the power of two above `largest` (which bounds re and im)."""
    _, exponent = np.frexp(largest)
    shift = np.ldexp(1.5, exponent - bits + 52)  # adding and subtracting it rounds to the grid
    if np.iscomplexobj(values):
        return ((values.real + shift) - shift) + 1j * ((values.imag + shift) - shift)
    return (values + shift) - shift


def _modulus(values: np.ndarray) -> np.ndarray:
    """Larger of |re| and |im|."""
    return np.maximum(np.abs(values.real), np.abs(values.imag)) if np.iscomplexobj(values) else np.abs(values)


class SplitMatrix:
    """A matrix A (n, k), sparse or dense, with its leading part A1; made once, multiplied often by :func:`product`.

    The grid is per row for a sparse matrix (stiffness and mass rows differ in size), one for all of a dense one.
    """

    def __init__(self, matrix: Any, largest: float | None = None, terms: int | None = None) -> None:
        self.sparse = sp.issparse(matrix)
        if self.sparse:
            matrix = sp.csr_array(matrix)
            counts = np.diff(matrix.indptr)
            self.terms = int(counts.max(initial=1))
            largest_in_row = np.zeros(matrix.shape[0])
            rows = np.repeat(np.arange(matrix.shape[0]), counts)
            np.maximum.at(largest_in_row, rows, _modulus(matrix.data))
            self.bits = split_bits(self.terms)
            head = matrix.copy()
            head.data = _on_grid(matrix.data, largest_in_row[rows], self.bits)
            tail = matrix.copy()
            tail.data = matrix.data - head.data
        else:
            matrix = np.asarray(matrix)
            self.terms = max(matrix.shape[1], 1) if terms is None else terms
            self.bits = split_bits(self.terms)
            head = _on_grid(matrix, float(_modulus(matrix).max(initial=0.0)) if largest is None else largest, self.bits)
            tail = matrix - head
        self.matrix, self.head, self.tail = matrix, head, tail
        self.shape, self.dtype = matrix.shape, matrix.dtype

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        return self.matrix @ x

    def __abs__(self) -> Any:
        return abs(self.matrix)


def product(a: Any, x: np.ndarray | Extended) -> Extended:
    """A X (n, m) as hi + lo for X (k, m), given in double or as hi + lo. `a`: SplitMatrix, array or sparse matrix.

    A ``LinearOperator`` shows no entries; then hi = A X in double and lo = A(X1) + A(X - X1) - A X with X1 the leading
    half of X, a *sample* of the operator's own rounding error and no more.
    """
    x, correction = x if isinstance(x, tuple) else (x, None)
    if not (isinstance(a, SplitMatrix | np.ndarray) or sp.issparse(a)):
        head = _on_grid(x, _modulus(x).max(axis=0, initial=0.0), 26)
        hi = a @ x
        lo = (a @ head - hi) + a @ (x - head)
        return (hi, lo) if correction is None else (hi, lo + a @ correction)
    split = a if isinstance(a, SplitMatrix) else SplitMatrix(a)
    head = _on_grid(x, _modulus(x).max(axis=0, initial=0.0), split.bits)
    hi = split.head @ head
    lo = split.head @ (x - head) + split.tail @ x
    if correction is not None:
        lo = lo + split.matrix @ correction
    return two_sum(hi, lo)
