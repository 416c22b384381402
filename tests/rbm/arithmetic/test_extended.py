"""Sums and products in about twice the working precision, against 300 bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from flint import acb, acb_mat, ctx
from hypothesis import given
from hypothesis import strategies as st

from rbm.arithmetic import extended
from rbm.arithmetic.split_columns import SplitColumns

U = 2.0**-53
#: No overflow and no underflow in a product or its error term.
FLOATS = st.floats(min_value=-1e100, max_value=1e100, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-100)


@pytest.fixture(autouse=True)
def _bits():
    ctx.prec = 300
    yield
    ctx.prec = 53


def exact(matrix) -> acb_mat:
    dense = matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)
    return acb_mat([[acb(float(z.real), float(z.imag)) for z in row] for row in dense])


def error(reference: acb_mat, hi: np.ndarray, lo: np.ndarray) -> np.ndarray:
    """|reference - hi - lo| entry by entry."""
    rest = reference - exact(hi) - exact(lo)
    return np.array([[float(abs(rest[i, j]).mid()) for j in range(hi.shape[1])] for i in range(hi.shape[0])])


def random(kind: str, n: int, k: int, *, graded: bool, cplx: bool, seed: int = 0):
    """Entries of one size, or graded over 15 decades by row and 11 by column."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n, k)) + (1j * rng.standard_normal((n, k)) if cplx else 0)
    if graded:
        matrix = matrix * np.logspace(0, -15, n)[:, None] * np.logspace(3, -8, k)
    return sp.csr_array(matrix * (rng.random((n, k)) < 0.3)) if kind == "sparse" else matrix


def product_bound(a, x: np.ndarray) -> np.ndarray:
    """2 u 2^-b K max_j |A_ij| max_j |x_j|, the error that is documented: for every row of A and column of X."""
    terms = int(np.diff(a.indptr).max()) if sp.issparse(a) else a.shape[1]
    largest = abs(a.toarray() if sp.issparse(a) else a).max(axis=1)
    return 2 * U * 2.0 ** -extended.split_bits(terms) * terms * largest[:, None] * abs(x).max(axis=0)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("complex_matrix", [False, True])
@pytest.mark.parametrize("complex_vectors", [False, True])
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("pair", [False, True])
def test_product_is_right_to_twenty_bits_beyond_double(kind, complex_matrix, complex_vectors, graded, pair):
    a = random(kind, 30, 45, graded=graded, cplx=complex_matrix)
    x = random("dense", 45, 3, graded=graded, cplx=complex_vectors, seed=1)
    lo = x * U * random("dense", 45, 3, graded=False, cplx=False, seed=2)
    reference = exact(a) * (exact(x) + exact(lo)) if pair else exact(a) * exact(x)
    vectors = (x, lo) if pair else x
    for factor in (a, extended.SplitMatrix(a)):
        result = extended.product(factor, vectors)
        deviation = error(reference, *result)
        assert np.all(deviation <= product_bound(a, x))
        assert np.all(deviation <= extended.rounding(factor, vectors))
        assert np.all(abs(result[1]) <= 2 * U * abs(result[0]) + 1e-300)  # renormalised
    assert np.all(extended.rounding(a, x) <= 16 * extended.UNIT * a.shape[1] * abs(a).max() * abs(x).max(axis=0))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_bound_of_the_rounding_error_counts_large_low_parts(kind):
    a, x = random(kind, 30, 45, graded=True, cplx=True), random("dense", 45, 3, graded=False, cplx=True, seed=1)
    deviation = error(exact(a) * (exact(x) + exact(x / 8)), *extended.product(a, (x, x / 8)))
    assert np.all(deviation <= extended.rounding(a, (x, x / 8)))
    assert np.any(deviation > extended.rounding(a, x))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_an_inner_scale_keeps_the_precision_where_unknowns_have_different_units(kind):
    units = 2.0 ** np.tile([0, 30, -20], 15)
    a, x = random(kind, 30, 45, graded=False, cplx=True), random("dense", 45, 3, graded=False, cplx=True, seed=1)
    mixed = sp.csr_array(a @ sp.diags_array(1 / units)) if kind == "sparse" else a / units
    split = extended.SplitMatrix(mixed, units)
    result = extended.product(split, x * units[:, None])
    deviation = error(exact(mixed) * exact(x * units[:, None]), *result)
    assert np.all(deviation <= product_bound(a, x))
    assert np.all(deviation <= extended.rounding(split, x * units[:, None]))
    assert np.array_equal(split @ np.ones(45), mixed @ np.ones(45))


@pytest.mark.parametrize("terms", [1, 2, 3, 60, 1000, 4095, 4096, 100_000])
def test_sums_of_split_products_are_exact_in_any_order(terms):
    bits = extended.split_bits(terms)
    assert 2 * terms * 2 ** (2 * bits) <= 2**53
    assert bits >= 20 or terms >= 4096


@pytest.mark.parametrize("cplx", [False, True])
@pytest.mark.parametrize("terms", [1, 100, 5000])
def test_product_of_long_rows_is_not_lost_in_the_sum(terms, cplx):
    a, x = (
        random("dense", 2, terms, graded=False, cplx=cplx),
        random("dense", terms, 1, graded=False, cplx=cplx, seed=1),
    )
    if cplx:  # the larger part sets the grid, whichever it is
        a, x = a.real / 1e4 + 1j * a.imag, x.real + 1j * x.imag / 1e4
    assert np.all(error(exact(a) * exact(x), *extended.product(a, x)) <= product_bound(a, x))


def test_a_linear_operator_is_applied_in_its_own_precision_and_its_rounding_error_is_sampled():
    a, x = random("dense", 20, 30, graded=False, cplx=True), random("dense", 30, 2, graded=False, cplx=True, seed=1)
    x_lo, operator = x / 1024, spla.aslinearoperator(a)
    assert [extended.is_black_box(m) for m in (operator, a, sp.csr_array(a), extended.SplitMatrix(a))] == [
        True,
        *[False] * 3,
    ]
    hi, lo = extended.product(operator, x)
    assert np.array_equal(hi, operator @ x)
    assert not lo.any()
    with_lo = error(exact(a) * (exact(x) + exact(x_lo)), *extended.product(operator, (x, x_lo)))
    assert np.all(with_lo <= 50 * U * (abs(a) @ abs(x)))
    sample = extended.rounding(operator, x)
    assert np.all(sample >= U * abs(hi))
    assert np.all(sample <= 1000 * U * (abs(a) @ abs(x)))
    assert np.all(error(exact(a) * exact(x), hi, lo) <= sample.max(axis=0))


@pytest.mark.parametrize("cplx", [False, True])
@pytest.mark.parametrize("growth", [1.0, 1e3, 1e-3])
def test_a_matrix_that_grows_by_columns_is_multiplied_as_well_as_a_whole_one(cplx, growth):
    rng, n = np.random.default_rng(0), 12
    split, blocks = SplitColumns(n), []
    for j in range(15):  # entries that grow or shrink, by rows, so that grids change
        block = random("dense", n, 9, graded=False, cplx=cplx and j > 3, seed=j) * growth ** (j * rng.random((n, 1)))
        split.append(block)
        blocks.append(block)
        if j in (0, 1, 4, 14):
            a, x = np.concatenate(blocks, axis=1), random("dense", 9 * (j + 1), 2, graded=False, cplx=cplx, seed=99)
            deviation = error(exact(a) * exact(x), *split.product(x))
            assert np.all(deviation <= split.rounding(x))
            whole = extended.rounding(a, x)
            assert np.all((whole <= split.rounding(x)) & (split.rounding(x) <= 3 * whole))
            assert np.array_equal(split.columns.array, a)


def test_a_row_that_outgrows_the_others_has_a_grid_of_its_own():
    split, ones = SplitColumns(4), np.full((4, 1), 1.5)
    split.append(ones)
    split.append(ones)
    split.append(ones * [[1.0], [1.0], [4.0], [1e6]])
    assert np.array_equal(split.row_max, [1.5, 1.5, 6.0, 1.5e6])
    hi, lo = split.product(np.array([[1.0], [2.0], [1 / 3]]))
    assert np.array_equal((hi + lo)[:, 0], 4.5 + np.array([1.5, 1.5, 6.0, 1.5e6]) * (1 / 3))


def test_split_matrix_behaves_as_the_matrix():
    for a in (random("dense", 5, 4, graded=True, cplx=True), random("sparse", 5, 4, graded=True, cplx=False)):
        split = extended.SplitMatrix(a)
        assert (split.shape, split.dtype) == (a.shape, a.dtype)
        assert np.array_equal(split @ np.ones(4), a @ np.ones(4))
        assert abs(abs(split) - abs(a)).max() == 0
        assert abs(split.head + split.tail - a).max() == 0


def test_zero_and_empty_products_are_ordinary():
    for a in (np.zeros((3, 2)), sp.csr_array((3, 2)), np.zeros((0, 2)), sp.csr_array((0, 2)), np.zeros((3, 0))):
        hi, lo = extended.product(a, np.zeros((a.shape[1], 4)))
        assert hi.shape == lo.shape == (a.shape[0], 4)
        assert not hi.any()
        assert not lo.any()
    assert np.array_equal(extended.dot(np.zeros((0, 3)), np.zeros((0, 3))), np.zeros(3))


@pytest.mark.parametrize("cplx", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 100, 257])
def test_dot_is_rounded_once_even_where_all_digits_cancel(n, cplx):
    x = random("dense", n, 2, graded=True, cplx=cplx)
    y = random("dense", n, 2, graded=False, cplx=cplx, seed=1)
    if n > 2:
        y[-1] = -np.sum(x[:-1].conj() * y[:-1], axis=0) / x[-1].conj()
    result, size = extended.dot(x, y), np.sum(abs(x) * abs(y), axis=0)
    reference = exact(x.conj().T) * exact(y)
    for j in range(2):
        deviation = float(abs(reference[j, j] - acb(float(result[j].real), float(result[j].imag))).mid())
        assert deviation <= 2 * U * abs(result[j]) + 2 * n * U**2 * size[j]
    assert n < 3 or np.all(abs(result) < 1e-12 * size)


@given(FLOATS, FLOATS)
def test_sum_and_product_of_two_numbers_are_exact(a, b):
    for split, value in (
        (extended.two_sum(np.float64(a), np.float64(b)), Fraction(a) + Fraction(b)),
        (extended.two_product(np.float64(a), np.float64(b)), Fraction(a) * Fraction(b)),
    ):
        assert Fraction(float(split[0])) + Fraction(float(split[1])) == value


@pytest.mark.parametrize("cplx", [False, True])
def test_arithmetic_of_pairs_is_right_to_the_square_of_the_round_off(cplx):
    hi = [random("dense", 40, 40, graded=True, cplx=cplx, seed=s) for s in (0, 1)]
    lo = [h * U * random("dense", 40, 40, graded=False, cplx=False, seed=s) for s, h in zip((2, 3), hi, strict=True)]
    x, y, factor = (hi[0], lo[0]), (hi[1], lo[1]), random("dense", 40, 40, graded=False, cplx=cplx, seed=4)

    def entries(f, *arrays: np.ndarray) -> acb_mat:
        return acb_mat(
            [[f(*z) for z in zip(*row, strict=True)] for row in zip(*(exact(a).tolist() for a in arrays), strict=True)]
        )

    size = abs(hi[0])
    assert np.all(
        error(entries(lambda a, b, c, d: a + b + c + d, *x, *y), *extended.add(x, y)) <= 8 * U**2 * (size + abs(hi[1]))
    )
    scaled = entries(lambda a, b, f: (a + b) * f, *x, factor)
    assert np.all(error(scaled, *extended.scale(factor, x)) <= 16 * U**2 * size * abs(factor))


def test_cancellation_of_pairs_leaves_their_low_parts():
    hi = np.array([1.0, 1e10, -3.0])
    assert np.array_equal(extended.add((hi, hi * U / 8), (-hi, hi * 0))[0], hi * U / 8)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("cplx", [False, True])
@pytest.mark.parametrize("terms", [40, 400, 3000])
def test_long_rows_of_equal_entries_stay_within_the_rounding_that_is_stated(kind, cplx, terms):
    """Mean values, integrals: the rounding of a sum of equal tails is biased, K u and not K^{1/2} u of it."""
    rng = np.random.default_rng(terms)
    for _ in range(40):
        a, x = rng.uniform(0.5, 1), rng.uniform(0.5, 1)
        a, x = (a * np.exp(1j), x * np.exp(2j)) if cplx else (a, x)
        row = np.full((1, terms), a)
        split, vector = extended.SplitMatrix(sp.csr_array(row) if kind == "sparse" else row), np.full((terms, 1), x)
        hi, lo = extended.product(split, vector)
        parts = [
            (Fraction(float(z.real)), Fraction(float(z.imag)))
            for z in (complex(a), complex(x), complex(hi[0, 0]), complex(lo[0, 0]))
        ]
        (ar, ai), (xr, xi), (hr, hj), (lr, li) = parts
        off = complex(float(terms * (ar * xr - ai * xi) - hr - lr), float(terms * (ar * xi + ai * xr) - hj - li))
        assert abs(off) <= extended.rounding(split, vector)[0, 0]


@pytest.mark.parametrize("factors", [(1.3e301, 0.7e-301), (-1.7e308, 3e-308), (2.6e300, 1.0 / 3), (0.3e-290, 1.1e307)])
@pytest.mark.parametrize("cplx", [False, True])
def test_large_factors_of_products_in_range_are_no_overflow(factors, cplx):
    a, b = (np.array([[x, 1.0 / 7]]) * (1 + 0.5j if cplx else 1) for x in factors)
    hi, lo = extended.two_product(a, b)
    for k in range(2):
        error = exact(a)[0, k] * exact(b)[0, k] - acb(complex(hi[0, k])) - acb(complex(lo[0, k]))
        assert abs(complex(error)) <= 2.0**-100 * abs(hi[0, k])
