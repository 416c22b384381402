"""Residual norms near round-off: matrices in two parts, sums that are exact, and points gathered from a batch."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from helpers.oracle import exact_combination_norm

from rbm.online import reference
from rbm.online.compiled import CompiledModel
from rbm.online.forms import NormForm
from rbm.online.splitting import ROUND_OFF, split_constant, split_digits, split_matrix

N, QA = 6, 2
M = 1 + QA * N


def random(rng: np.random.Generator, shape: tuple[int, ...], complex_valued: bool) -> np.ndarray:
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if complex_valued else values


def annihilating(rng: np.random.Generator, rows: int, c: np.ndarray, spread: float) -> np.ndarray:
    """Rows that nearly annihilate c, with columns of sizes between 10^-spread and 1."""
    factor = random(rng, (rows, c.size), c.dtype.kind == "c") * 10.0 ** rng.uniform(-spread, 0, c.size)
    large = np.argmax(np.abs(c))
    factor[:, large] -= (factor @ c) / c[large]
    return factor


def model(complex_valued: bool) -> CompiledModel:
    zeros = np.zeros((QA, N, N), complex if complex_valued else float)
    return CompiledModel(zeros, zeros[:1, 0])


@pytest.mark.parametrize("columns", [1, 2, 13, 271, 5000])
def test_digits_leave_room_for_the_sum(columns: int) -> None:
    a, b = split_digits(columns)
    assert a + b + int(np.ceil(np.log2(columns))) == 53
    assert a >= 10
    assert b >= 24


@pytest.mark.parametrize("columns", [1, 3, 40])
@pytest.mark.parametrize("even", [False, True])
def test_first_parts_have_exact_sums(columns: int, even: bool) -> None:
    """R = R' + R'' exactly, and R' c' without a rounding error in any order, compared with fractions.

    Even ones, where no product is small, need all the digits that a sum has.
    """
    rng = np.random.default_rng(columns)
    matrix, c = rng.uniform(0.9, 1.0, (5, columns)), rng.uniform(0.9, 1.0, columns)
    if not even:
        matrix = rng.standard_normal((5, columns)) * 10.0 ** rng.uniform(-20, 20, columns)
        matrix[:, columns // 2] = 0.0
        c = rng.standard_normal(columns) * 10.0 ** rng.uniform(-9, 0, columns)
    split, (a, _) = split_matrix(matrix), split_digits(columns)
    assert np.array_equal(split.head + split.tail, matrix)
    assert np.all(np.abs(split.head) <= split.scales)
    assert np.all(np.abs(split.tail) <= 2.0 ** (-a - 1) * split.scales)
    assert np.all(
        split.scales[np.any(matrix != 0, axis=0)] <= 2 * np.max(np.abs(matrix), axis=0)[np.any(matrix, axis=0)]
    )
    most = np.max(split.scales * np.abs(c))
    shift = 2.0 ** np.floor(np.log2(most)) * split.shifts
    first = (c + shift) - shift
    assert np.all(np.abs(c - first) <= 2.0 ** -split_digits(columns)[1] * most / split.scales)
    for row in split.head:
        exact = sum((Fraction(r) * Fraction(x) for r, x in zip(row, first, strict=True)), Fraction(0))
        for order in (np.arange(columns), rng.permutation(columns)):
            total = 0.0
            for j in order:
                total += row[j] * first[j]
            assert Fraction(total) == exact


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("rows", [1, 5, M])
@pytest.mark.parametrize("spread", [0.0, 12.0])
def test_the_error_is_within_its_bound(complex_valued: bool, rows: int, spread: float) -> None:
    """Every point of a batch has a factor of its own that cancels at it; the others fill its tile."""
    rng = np.random.default_rng(rows)
    dtype = np.dtype(complex if complex_valued else float)
    theta, phi = (random(rng, (9, k), complex_valued) for k in (QA, 1))
    gamma = random(rng, (9, N), complex_valued) * 10.0 ** rng.uniform(-spread, 0, (9, N))
    c = reference.residual_coefficients(theta, phi, gamma)
    better = 0
    for point in range(9):
        factor = annihilating(rng, rows, c[point], spread)
        form = NormForm(factor, np.full(M, 1e3), np.full(M, 1e-25), 0.0, 0.0)
        exact = exact_combination_norm(factor, theta, phi, gamma)
        size = np.abs(c) @ np.linalg.norm(factor, axis=0)
        bound = (rows + 6) * ROUND_OFF * exact + split_constant(rows, M, complex_valued) * size
        got = model(complex_valued).answer(theta.astype(dtype), phi.astype(dtype), form, gamma)
        assert np.all(np.abs(got.value - exact) <= bound)
        plain = model(complex_valued).answer(theta, phi, dataclasses.replace(form, refined=None), gamma)
        better += np.abs(plain.value - exact)[point] > bound[point]
    assert better >= 7  # plain sums are not within it


@pytest.mark.parametrize("complex_valued", [False, True])
def test_points_that_are_gathered_do_not_depend_on_each_other(complex_valued: bool) -> None:
    """Some of 61 points are looked at again, from tiles of any mixture; each has its own value, bit for bit."""
    rng = np.random.default_rng(4)
    theta, phi = (random(rng, (61, k), complex_valued) for k in (QA, 1))
    gamma = random(rng, (61, N), complex_valued)
    c = reference.residual_coefficients(theta, phi, gamma)
    factor = annihilating(rng, M, c[0], 0.0)
    weak = rng.permutation(61)[:23]
    theta[weak], phi[weak], gamma[weak] = theta[0], phi[0], gamma[0]
    gamma[weak] *= 1 + 1e-13 * rng.uniform(-1, 1, (23, N))
    form = NormForm(factor, np.full(M, 1e-12), np.full(M, 1e-25), 0.0, 0.0)
    compiled = model(complex_valued)
    whole = compiled.answer(theta, phi, form, gamma)
    assert np.flatnonzero(whole.floor < 1e-20).tolist() == sorted({*weak, 0})
    exact = exact_combination_norm(factor, theta, phi, gamma)
    size = np.abs(c).max() * np.linalg.norm(factor, axis=0).sum()
    limit = (M + 6) * ROUND_OFF * exact + split_constant(M, M, complex_valued) * size
    assert np.all(np.abs(whole.value - exact)[weak] <= limit[weak])
    for _ in range(4):
        order = rng.permutation(61)[: rng.integers(2, 61)]
        some = compiled.answer(theta[order], phi[order], form, gamma[order])
        for name in ("value", "floor", "resolved"):
            np.testing.assert_array_equal(getattr(some, name), getattr(whole, name)[order])


def test_numbers_that_cannot_be_split_keep_their_first_value() -> None:
    """Near the end of the range the leading digits cannot be taken; what was there stays, with its own floor."""
    theta, phi, gamma = np.ones((9, QA)), np.ones((9, 1)), np.ones((9, N))
    theta *= 1e150
    gamma *= 1e156
    factor = 1e-200 * np.eye(M)
    form = NormForm(factor, np.full(M, 1e-200), np.full(M, 1e-300), 0.0, 0.0)
    got = model(False).answer(theta, phi, form, gamma)
    plain = model(False).answer(theta, phi, dataclasses.replace(form, refined=None), gamma)
    assert np.all(np.isfinite(got.value))
    assert np.all(got.value < 100 * got.floor)
    np.testing.assert_array_equal(got.value, plain.value)
    np.testing.assert_array_equal(got.floor, plain.floor)
