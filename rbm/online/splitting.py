"""Matrices in two parts whose products with split vectors have exact sums, for the evaluation near round-off.

A norm ||R c|| that is all cancellation is off by m u sum_j ||R_j|| |c_j| if R c is summed as it stands. Here
R = R' + R'' and c = c' + c'', the first parts of few digits, on grids: with powers of two s_j >= max_i |R_ij| and
unit > max_j s_j |c_j|,

    R'_ij is a multiple of 2^-a s_j, |R'_ij| <= s_j,      |R''_ij| <= 2^(-a - 1) s_j
    c'_j is a multiple of 2^-b unit / s_j, |c'_j| <= unit / s_j,      |c''_j| <= 2^(-b - 1) unit / s_j

All products R'_ij c'_j are then multiples of 2^(-a - b) unit, and no sum of them exceeds m unit: with
a + b + log2 m <= 53 they fit a number, and R' c' is exact however it is summed. What is left, R' c'' + R'' c, is
small, and its rounding errors are smaller by 2^-b or 2^-a once more. It costs three products instead of one.

The idea of extracting the leading digits is that of Rump, Ogita and Oishi, SIAM J. Sci. Comput. 31 (2008) 189-224.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF

__all__ = ["Split", "split_constant", "split_digits", "split_matrix"]

#: Binary digits of double precision.
DIGITS = 53
#: Exponents up to which powers of two, with some digits more, are normal numbers.
POWERS = 900


class Split(NamedTuple):
    """A real matrix R (k, m) in two parts."""

    head: np.ndarray  #: R' (k, m)
    tail: np.ndarray  #: R'' (k, m) = R - R', exactly
    scales: np.ndarray  #: s (m,)
    shifts: np.ndarray  #: 3 2^(52 - b) / s (m,): (c + x) - x is c', where x = unit / 2 times this


def split_digits(columns: int) -> tuple[int, int]:
    """Return a and b for so many columns: a + b digits are there, shared so that the two errors are alike."""
    digits = DIGITS - math.ceil(math.log2(max(columns, 1)))
    of_vector = min(math.ceil((digits + 1 + math.log2(max(columns, 1))) / 2), digits)
    return digits - of_vector, of_vector


def split_matrix(matrix: np.ndarray) -> Split:
    """Split a real matrix (k, m) in double precision."""
    columns = matrix.shape[1]
    a, b = split_digits(columns)
    largest = np.max(np.abs(matrix), axis=0, initial=0.0)
    _, exponents = np.frexp(np.where(largest > 0, largest, 0.5))
    if np.abs(exponents).max(initial=0) < POWERS:  # powers of two in range: products are exact, and faster than ldexp
        head = np.rint(matrix * np.ldexp(1.0, a - exponents)) * np.ldexp(1.0, exponents - a)
    else:
        head = np.ldexp(np.rint(np.ldexp(matrix, a - exponents)), exponents - a)
    with np.errstate(over="ignore"):  # infinite for tiny columns: the result is not finite, and not used
        shifts = np.ldexp(3.0, DIGITS - 1 - b - exponents)
    return Split(head, matrix - head, np.ldexp(1.0, exponents), shifts)


def split_constant(rows: int, columns: int, is_complex: bool) -> float:
    """Return g, proved: with the parts, ||R c|| is off by g sum_j ||R_j|| |c_j| and what is relative to the value.

    rows, columns : of R, whose complex numbers count as pairs of real ones in what follows

    The sum of 2 m products R' c'' + R'' c and what rounding does to c'' is off by (2 m + 8) u times the sum of the
    absolute terms, which is m 2^(-b - 1) unit + 2^(-a - 1) S, S = sum_j s_j |c_j|, in each of k rows, and unit <= 2 S.
    s_j <= 2 ||R_j||, and |re c| + |im c| <= sqrt(2) |c|: S <= 3 sum_j ||R_j|| |c_j|.
    """
    k, m = (2 * rows, 2 * columns) if is_complex else (rows, columns)
    a, b = split_digits(m)
    return 3 * math.sqrt(k) * (2 * m + 8) * ROUND_OFF * (m * 2.0**-b + 2.0 ** (-a - 1))
