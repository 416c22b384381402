"""Compiled products in extended precision with large matrices are those of rbm.arithmetic, and so are their bounds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

import rbm
from lowrank import gram_schmidt
from problems import thermal_block
from rbm.affine import compiled_products
from rbm.affine.compiled_products import TallColumns, residual, residual_sizes, split_matrix
from rbm.affine.tall_panels import panels
from rbm.arithmetic import extended
from rbm.arithmetic.split_columns import SplitColumns


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take compiled code for matrices of any size."""
    for name, value in (("LARGE", 1), ("SEVERAL", 1), ("TALL", 1)):
        monkeypatch.setattr(compiled_products, name, value)


def sparse(rng: np.random.Generator, n: int, k: int) -> sp.csr_array:
    made = sp.random_array((n, k), density=min(1.0, 9 / k), format="csr", rng=rng, data_sampler=rng.standard_normal)
    made.data *= 10.0 ** rng.integers(-6, 6, made.nnz)
    return made


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("m", [1, 7, 8, 9, 20])
@pytest.mark.parametrize("order", ["C", "F"])
def test_sparse_products_have_the_same_bits(m: int, order: str) -> None:
    rng = np.random.default_rng(m)
    matrix, scale = sparse(rng, 301, 203), 2.0 ** rng.integers(-20, 20, 203)
    x = np.asarray(rng.standard_normal((203, m)) * scale[:, None], order=order)
    x[:, m // 2] = 0
    compiled, plain = split_matrix(matrix, scale), extended.SplitMatrix(matrix, scale)
    assert type(compiled) is not type(plain)
    for a, b in zip(extended.product(compiled, x), extended.product(plain, x), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(extended.rounding(compiled, x), extended.rounding(plain, x))


@pytest.mark.usefixtures("always")
def test_a_column_with_nan_is_nan_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    matrix, x = sparse(rng, 50, 50), rng.standard_normal((50, 4))
    x[3, 1] = np.nan
    compiled, plain = (extended.product(a, x)[0] for a in (split_matrix(matrix), extended.SplitMatrix(matrix)))
    np.testing.assert_array_equal(np.isnan(compiled), np.isnan(plain))
    assert np.any(np.isnan(compiled[:, 1]))
    assert not np.any(np.isnan(compiled[:, 2]))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("kind", [complex, "correction"])
def test_what_is_not_compiled_is_done_as_before(kind: object) -> None:
    rng = np.random.default_rng(1)
    matrix, x = sparse(rng, 40, 40), rng.standard_normal((40, 5))
    given = (x, x * 1e-18) if kind == "correction" else x * (1 + 2j)
    for a, b in zip(
        extended.product(split_matrix(matrix), given),
        extended.product(extended.SplitMatrix(matrix), given),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def columns(kind: type, pieces: list[np.ndarray]) -> SplitColumns:
    made = kind(len(pieces[0]))
    for piece in pieces:
        made.append(piece)
    return made


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("n", [1, 5, 8, 513, 2053])
@pytest.mark.parametrize("m", [1, 2, 5])
def test_tall_products_are_right_to_their_bound(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    pieces = [rng.standard_normal((n, width)) * 10.0 ** rng.integers(-9, 9, (n, 1)) for width in (3, 64, 10)]
    x = rng.standard_normal((77, m)) * 10.0 ** rng.integers(-3, 3, (77, 1))
    x[5], x[40] = 0, 1e-200
    compiled, plain = columns(TallColumns, pieces), columns(SplitColumns, pieces)
    hi, lo = compiled.product(x)
    a, b = plain.product(x)
    bound = compiled.rounding(x)
    assert np.all(np.abs((hi - a) + (lo - b)) <= 2 * bound)
    whole = np.concatenate(pieces, axis=1)
    for i in {0, n // 2, n - 1}:
        exact = [sum(Fraction(s) * Fraction(t) for s, t in zip(whole[i], x[:, j], strict=True)) for j in range(m)]
        off = [abs(Fraction(hi[i, j]) + Fraction(lo[i, j]) - exact[j]) for j in range(m)]
        assert all(off[j] <= bound[i, j] for j in range(m))
    tail = np.abs(hi) * 2.0**-54 * rng.standard_normal((n, m))
    left = compiled.remainder(hi, tail, x)
    np.testing.assert_allclose(left, plain.remainder(hi, tail, x), rtol=1e-12, atol=float(4 * bound.max()))
    assert np.all(np.abs(left - (tail - lo)) <= 2 * bound + 2.0**-52 * np.abs(tail - lo))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("n", [5, 2053])
@pytest.mark.parametrize("multiple", [1.0, 1.37, -0.7])
def test_a_remainder_is_rounded_as_numpy_does(n: int, multiple: float) -> None:
    """Bit for bit, given the sums, also where neither they nor what they are taken from is close to the other."""
    rng = np.random.default_rng(n)
    made = columns(TallColumns, [rng.standard_normal((n, 3)), rng.standard_normal((n, 64))])
    x = rng.standard_normal((67, 5)) * 10.0 ** rng.integers(-3, 3, (67, 1))
    hi = multiple * made.product(x)[0]
    lo, expected = hi * 2.0**-54 * rng.standard_normal((n, 5)), np.empty((n, 5))
    for rows, *sums in made.products(x):
        leading, rest = extended.two_sum(*sums)
        expected[rows] = sum(extended.add((hi[rows], lo[rows]), (-leading, -rest)))
    np.testing.assert_array_equal(made.remainder(hi, lo, x), expected)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("m", [1, 8, 11])
def test_sizes_are_never_too_small_and_sharp(m: int) -> None:
    rng = np.random.default_rng(m)
    n = 400
    matrix = sp.csr_array(sparse(rng, n, n) + 1e3 * sp.eye_array(n))
    units, y = 2.0 ** rng.integers(-8, 8, n), rng.standard_normal((n, m))
    w = matrix @ y + rng.standard_normal((n, m))
    found = residual_sizes(matrix, units, w, y)
    wide = [a.astype(np.longdouble) for a in (units[:, None], w, y)]
    for size, exact in (
        (found.residual, np.linalg.norm((w - matrix @ y) * units[:, None], axis=0)),
        (found.functional, np.sqrt(((wide[1] * wide[0]) ** 2).sum(axis=0))),
        (found.vector, np.sqrt(((wide[2] / wide[0]) ** 2).sum(axis=0))),
    ):
        np.testing.assert_allclose(size, exact.astype(float), rtol=1e-12)
    assert np.all(found.functional >= np.sqrt(((wide[1] * wide[0]) ** 2).sum(axis=0)))
    assert np.all(found.vector >= np.sqrt(((wide[2] / wide[0]) ** 2).sum(axis=0)))
    room = (n + 2) * 2.0**-53 * np.abs(w * y).sum(axis=0)
    assert np.all(np.abs(found.product - np.abs((wide[1] * wide[2]).sum(axis=0))) <= room)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("m", [1, 8, 11])
def test_residuals_and_sizes_are_those_of_numpy(m: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(m)
    matrix, scale = sparse(rng, 120, 120), 2.0 ** rng.integers(-5, 5, 120)
    split, x = split_matrix(matrix, scale), np.asfortranarray(rng.standard_normal((120, m)))
    w = matrix @ x
    w[:, 0] = 0
    left = np.full((120, m), np.nan, order="F")
    sizes = residual(split, w, x, left)
    monkeypatch.setattr(compiled_products, "LARGE", 1 << 60)
    other = np.empty((120, m), order="F")
    for a, b in zip((left, *sizes), (other, *residual(split, w, x, other)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("size", [0.0, 1e-200, 1e200])
def test_sizes_beyond_the_range_of_squares_are_those_of_numpy(size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    matrix, units = sparse(rng, 30, 30), np.ones(30)
    w, y = size * rng.standard_normal((30, 2)), size * rng.standard_normal((30, 2))
    with np.errstate(over="ignore", invalid="ignore"):  # their products are not in range
        found = residual_sizes(matrix, units, w, y)
        monkeypatch.setattr(compiled_products, "LARGE", 1 << 60)
        for a, b in zip(found, residual_sizes(matrix, units, w, y), strict=True):
            np.testing.assert_array_equal(a, b)
    assert np.all(np.isfinite(found.residual))


def test_a_greedy_with_compiled_products_certifies_as_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    model = thermal_block((2, 2), 16)
    training = model.parameters.sample(60, rng=0)
    plain = rbm.greedy(model, training, max_basis=6)
    for name, value in (("LARGE", 1), ("SEVERAL", 1), ("TALL", 1)):
        monkeypatch.setattr(compiled_products, name, value)
    model = thermal_block((2, 2), 16)
    made = rbm.greedy(model, training, max_basis=6)
    np.testing.assert_array_equal(made.parameters, plain.parameters)
    np.testing.assert_allclose([s.bound for s in made.history], [s.bound for s in plain.history], rtol=1e-10)
    a, b = (r.reduced_model.solve(training) for r in (made, plain))
    assert all(s.floor <= 2 * t.floor for s, t in zip(made.history, plain.history, strict=True))
    np.testing.assert_allclose(a.bound, b.bound, rtol=1e-8)


@pytest.mark.parametrize("kind", [TallColumns, SplitColumns])
def test_threads_change_no_bit(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    n = 2 * 16384 + 100
    made = columns(kind, [rng.standard_normal((n, 20)), rng.standard_normal((n, 50))])
    x, product = rng.standard_normal((70, 9)), sp.diags_array(1 + rng.random(n))
    w = made.product(x)[0] + 1e-9 * rng.standard_normal((n, 9))
    found = []
    for count in ("1", "3"):
        monkeypatch.setenv("RBM_NUM_THREADS", count)
        new = gram_schmidt(w, product=product, products=panels)
        more = gram_schmidt(w**2, product=product, basis=new.basis, product_basis=new.product_basis, products=panels)
        found.append([made.remainder(w, 0 * w, x), *new, *more])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    off = more.basis.T @ (product @ np.concatenate([new.basis, more.basis], axis=1))
    np.testing.assert_allclose(off, np.eye(9, 18, 9), atol=1e-14)
