"""Bounds of norms of columns are never below them, by exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from rbm.arithmetic.precision import column_norm_bounds


def square(column: np.ndarray) -> Fraction:
    return sum((Fraction(float(x)) ** 2 for part in (column.real, column.imag) for x in part), Fraction(0))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_they_are_not_below_and_not_far_above(dtype: type, order: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((60, 5)) * 10.0 ** rng.uniform(-12, 12, (60, 5))
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.standard_normal((60, 5))
    values[:, 3] = 0
    matrix = np.array(values, dtype, order=order)
    found = column_norm_bounds(matrix)
    assert found.dtype == float
    for bound, column in zip(found, matrix.T, strict=True):
        exact = square(column)
        assert exact <= Fraction(float(bound)) ** 2 <= exact * Fraction(1 + 1e-13)


@pytest.mark.parametrize("size", [5e-324, 1e-320, 3e-310, 1e-200, 1e200, 1e307])
def test_numbers_of_any_size(size: float) -> None:
    for count in (1, 2, 3, 7, 50):
        column = np.full((count, 1), size)
        bound = Fraction(float(column_norm_bounds(column)[0]))
        assert bound**2 >= square(column[:, 0])
        assert bound <= (1 + Fraction(1, 10**9)) * Fraction(size) * count + Fraction(1, 2**1070)


def test_what_is_not_finite_stays() -> None:
    found = column_norm_bounds(np.array([[np.inf, np.nan, 0.0], [1.0, 1.0, 0.0]]))
    assert np.isinf(found[0])
    assert np.isnan(found[1])
    assert found[2] == 0
