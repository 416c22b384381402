"""Gram-Schmidt in a weighted inner product: orthonormal to a few eps, whatever the condition number of the vectors."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.other_arrays import xp

from lowrank import gram_schmidt
from lowrank.arrays import to_numpy

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
PRODUCTS = ["identity", "sparse", "dense", "callable"]


def random(dtype: type, *shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    real = rng.standard_normal(shape)
    return (real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real).astype(dtype)


def with_condition(dtype: type, n: int, m: int, condition: float) -> np.ndarray:
    """(n, m) with singular values logarithmically spaced from 1 to 1 / condition."""
    wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    left, right = np.linalg.qr(random(wide, n, m))[0], np.linalg.qr(random(wide, m, m, seed=1))[0]
    return ((left * np.logspace(0, -np.log10(condition), m)) @ right).astype(dtype)


def inner_product(kind: str, dtype: type, n: int):
    """The same well-conditioned Hermitian P, tridiagonal and complex if the vectors are, in four disguises."""
    off = np.full(n - 1, -1 + (0.5j if np.dtype(dtype).kind == "c" else 0)).astype(dtype)
    matrix = sp.diags_array([off.conj(), np.full(n, 3.0, dtype=dtype), off], offsets=[-1, 0, 1], format="csr")
    return {"identity": None, "sparse": matrix, "dense": matrix.toarray(), "callable": lambda x: matrix @ x}[kind]


def apply(product, x: np.ndarray) -> np.ndarray:
    return x if product is None else product(x) if callable(product) else product @ x


def stiffness(n: int) -> sp.csr_array:
    return sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1], format="csr") * (
        n + 1
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("columns", [1, 5, 40, 70])
def test_basis_is_orthonormal_and_reproduces_the_vectors_up_to_condition_one_over_eps(dtype, kind, columns):
    eps, n = np.finfo(dtype).eps, 120
    product = inner_product(kind, dtype, n)
    for condition in (1.0, eps**-0.5, 1 / eps) if columns > 1 else (1.0,):
        vectors = with_condition(dtype, n, columns, condition)
        q = gram_schmidt(vectors, product=product)
        r = len(q.kept)
        assert q.basis.shape == (n, r)
        assert q.basis.dtype == q.coefficients.dtype == dtype
        assert r == columns or condition == 1 / eps
        gram = q.basis.conj().T @ apply(product, q.basis)
        assert abs(gram - np.eye(r)).max() <= 20 * eps
        # a rejected remainder is at most 16 u = 8 eps of the vector, in the norm of P and hence within 1 / min P_ii of
        # it
        error = np.linalg.norm(q.basis @ q.coefficients - vectors, axis=0) / np.linalg.norm(vectors, axis=0)
        assert error.max() <= 30 * eps
        assert abs(q.product_basis - apply(product, q.basis)).max() <= 8 * eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_coefficients_are_the_cholesky_factor_of_the_gram_matrix(dtype):
    vectors, product = random(dtype, 90, 45), inner_product("sparse", dtype, 90)
    q = gram_schmidt(vectors, product=product)
    factor = np.linalg.cholesky((vectors.conj().T @ (product @ vectors)).astype(np.complex128)).conj().T
    assert np.array_equal(q.kept, np.arange(45))
    assert np.array_equal(np.tril(q.coefficients, -1), np.zeros((45, 45)))
    assert abs(q.coefficients - factor).max() <= 200 * np.finfo(dtype).eps * abs(factor).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", PRODUCTS)
def test_extending_a_given_basis_equals_orthonormalising_all_at_once(dtype, kind):
    eps, vectors = np.finfo(dtype).eps, random(dtype, 80, 12)
    product = inner_product(kind, dtype, 80)
    whole, first = gram_schmidt(vectors, product=product), gram_schmidt(vectors[:, :5], product=product)
    second = gram_schmidt(
        vectors[:, 5:],
        product=product,
        basis=first.basis,
        product_basis=first.product_basis if kind == "sparse" else None,
    )
    both = np.hstack([first.basis, second.basis])
    assert abs(both - whole.basis).max() <= 50 * eps
    assert abs(both.conj().T @ apply(product, both) - np.eye(12)).max() <= 20 * eps
    assert second.coefficients.shape == (12, 7)
    assert abs(both @ second.coefficients - vectors[:, 5:]).max() <= 30 * eps * abs(vectors).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_vectors_that_depend_on_others_are_rejected_and_still_reproduced(dtype):
    eps, vectors = np.finfo(dtype).eps, random(dtype, 60, 10)
    vectors[:, 3] = vectors[:, 0]
    vectors[:, 5] = 2 * vectors[:, 1] - vectors[:, 2] / 4
    vectors[:, 8] = 0
    q = gram_schmidt(vectors)
    assert np.array_equal(q.kept, [0, 1, 2, 4, 6, 7, 9])
    assert abs(q.basis @ q.coefficients - vectors).max() <= 50 * eps * abs(vectors).max()
    assert len(gram_schmidt(vectors, basis=q.basis).kept) == 0


def test_orthogonality_does_not_fade_as_the_basis_grows_by_dependent_blocks():
    """Blocks whose remainders are a thousand times the round-off.

    What a pass leaves is of the size of the remainder itself.
    """
    n, eps, rng = 400, np.finfo(float).eps, np.random.default_rng(0)
    pieces = [gram_schmidt(rng.standard_normal((n, 9))).basis]
    for _ in range(30):
        before = np.concatenate(pieces, axis=1)
        block = before @ rng.standard_normal((before.shape[1], 9)) + 1e3 * eps * rng.standard_normal((n, 9))
        pieces.append(gram_schmidt(block, basis=pieces, product_basis=pieces).basis)
    whole = np.concatenate(pieces, axis=1)
    assert whole.shape[1] == 279
    assert abs(whole.T @ whole - np.eye(279)).max() <= 20 * eps


def test_what_a_basis_lacks_in_orthogonality_does_not_grow():
    """Each vector has more of the last one in it than it has of its own.

    With that it has what the last one has of the first.
    """
    n, lack, rng = 100, 1e-12, np.random.default_rng(0)
    fresh = np.linalg.qr(rng.standard_normal((n, 40)))[0]
    basis = fresh[:, :2] + lack * fresh[:, 1::-1] * [0, 1]
    for j in range(2, 40):
        vector = 1.5 * basis[:, -1:] + fresh[:, j : j + 1]
        basis = np.hstack([basis, gram_schmidt(vector, basis=basis).basis])
    assert abs(basis.T @ basis - np.eye(40)).max() <= 2 * lack


def test_passes_are_as_many_as_are_needed():
    """One pass for vectors that are nearly orthonormal, two for others.

    Among the latter is one that depends on the others of its panel.
    """
    n, applied = 300, []

    def product(x: np.ndarray) -> np.ndarray:
        applied.append(x.shape[1])
        return x

    basis = gram_schmidt(random(np.float64, n, 20)).basis
    rest = gram_schmidt(random(np.float64, n, 9, seed=1), basis=basis).basis
    gram_schmidt(rest * (1 + 1e-3 * random(np.float64, n, 9)), product=product, basis=basis, product_basis=basis)
    assert applied == [9]
    applied.clear()
    vectors = rest + 100 * basis[:, :9]
    vectors[:, 8] = vectors[:, :8].sum(axis=1) + 1e-10 * rest[:, 8]
    q = gram_schmidt(vectors, product=product, basis=basis, product_basis=basis)
    assert applied == [9, 9]
    both = np.hstack([basis, q.basis])
    assert abs(both.T @ both - np.eye(29)).max() <= 20 * np.finfo(float).eps
    assert abs(both @ q.coefficients - vectors).max() <= 20 * np.finfo(float).eps * abs(vectors).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_basis_in_pieces_is_a_basis(dtype):
    eps, vectors = np.finfo(dtype).eps, random(dtype, 80, 12)
    product = inner_product("sparse", dtype, 80)
    whole = gram_schmidt(vectors[:, :7], product=product)
    expected = gram_schmidt(vectors[:, 7:], product=product, basis=whole.basis)
    pieces = [whole.basis[:, :3], whole.basis[:, 3:]]
    for product_basis in (None, [whole.product_basis[:, :3], whole.product_basis[:, 3:]]):
        q = gram_schmidt(vectors[:, 7:], product=product, basis=pieces, product_basis=product_basis)
        assert abs(q.basis - expected.basis).max() <= 20 * eps
        assert q.coefficients.shape == (12, 5)
        assert abs(np.hstack([whole.basis, q.basis]) @ q.coefficients - vectors[:, 7:]).max() <= 20 * eps * 5
    with pytest.raises(ValueError, match=r"basis has shape \(7, 3\), vectors have shape \(80, 5\)"):
        gram_schmidt(vectors[:, 7:], basis=[pieces[0], pieces[1][:7, :3]])


def test_a_space_that_is_full_takes_no_more():
    """A product that is not accurate leaves more of a vector than round-off at first.

    The vector is given up in the next pass.
    """
    hilbert = 1 / (np.arange(1, 7)[:, None] + np.arange(6))
    inverse = np.linalg.inv(hilbert)
    vectors = random(np.float64, 6, 12)
    q = gram_schmidt(vectors, product=lambda x: np.linalg.solve(hilbert, x) / inverse.max())
    assert len(q.kept) <= 6
    assert abs(q.basis @ q.coefficients - vectors).max() <= 1e-8 * abs(vectors).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_more_vectors_are_kept_than_the_space_has_dimensions(dtype):
    vectors = random(dtype, 30, 100)
    q = gram_schmidt(vectors)
    assert np.array_equal(q.kept, np.arange(30))
    assert abs(q.basis.conj().T @ q.basis - np.eye(30)).max() <= 20 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_errors_of_a_vector_are_rejected_even_where_the_product_amplifies_them(dtype):
    eps, n = np.finfo(dtype).eps, 200
    product = stiffness(n).astype(np.finfo(dtype).dtype)
    smooth = np.sin(np.pi * np.arange(1, n + 1) / (n + 1))
    noise = np.random.default_rng(0).uniform(-1, 1, n)
    rounded, signal = (np.stack([smooth, smooth * (1 + f * eps * noise)], axis=1).astype(dtype) for f in (1, 200))
    assert np.array_equal(gram_schmidt(rounded, product=product).kept, [0])
    assert np.array_equal(gram_schmidt(signal, product=product).kept, [0, 1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1 / 64, 1 / 4, 2.0])
def test_rtol_rejects_remainders_relative_to_the_norm_of_the_vector(dtype, size):
    vectors = np.array([[1, 1], [0, size]], dtype=dtype)
    sine = size / np.hypot(1, size)
    assert np.array_equal(gram_schmidt(vectors, rtol=sine * 0.99).kept, [0, 1])
    assert np.array_equal(gram_schmidt(vectors, rtol=sine * 1.01).kept, [0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_power_of_two_scales_the_coefficients_and_nothing_else(dtype):
    vectors, exponent = random(dtype, 40, 8), np.finfo(dtype).maxexp - 10  # squares of such numbers over- and underflow
    reference = gram_schmidt(vectors)
    for factor in (np.ldexp(dtype(1).real, exponent), np.ldexp(dtype(1).real, -exponent)):
        scaled = gram_schmidt(vectors * factor)
        assert np.array_equal(scaled.basis, reference.basis)
        assert np.array_equal(scaled.coefficients, reference.coefficients * factor)


def test_zero_empty_and_one_by_one_matrices_are_ordinary():
    for shape in ((3, 2), (3, 0), (0, 2)):
        q = gram_schmidt(np.zeros(shape))
        assert q.basis.shape == (shape[0], 0)
        assert q.coefficients.shape == (0, shape[1])
    q = gram_schmidt(np.array([[-2.0]]))
    assert q.basis * q.coefficients == [[-2.0]]
    assert np.array_equal(gram_schmidt([[3, 0], [0, 4]]).coefficients, [[3.0, 0.0], [0.0, 4.0]])


def test_complex_products_and_bases_make_real_vectors_complex():
    product = inner_product("sparse", np.complex128, 6)
    q = gram_schmidt(random(np.float64, 6, 2), product=product)
    assert q.basis.dtype == q.coefficients.dtype == np.complex128
    assert abs(q.basis.conj().T @ (product @ q.basis) - np.eye(2)).max() <= 20 * np.finfo(float).eps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vectors": np.ones(3)}, r"vectors must be a matrix of shape \(n, m\), got an array of shape \(3,\)"),
        ({"vectors": np.array([[1, np.nan], [np.inf, 0]])}, r"vectors has 2 entries .* the first at index \(0, 1\)"),
        ({"vectors": np.eye(2), "basis": np.eye(3)}, r"basis has shape \(3, 3\), vectors have shape \(2, 2\)"),
        ({"vectors": np.eye(2), "basis": np.ones(2)}, r"basis has shape \(2,\), vectors have shape \(2, 2\)"),
        ({"vectors": np.eye(2), "product": np.diag([1.0, -3.0])}, r"not positive definite: vector 1 .* v\^H P v = -3"),
        ({"vectors": np.eye(40), "product": np.diag([*[1.0] * 39, -3.0])}, r"vector 39 .* v\^H P v = -3"),
        ({"vectors": np.eye(2), "product": np.diag([0.0, 1.0])}, r"not positive definite: vector 0 .* v\^H P v = 0"),
        ({"vectors": np.eye(2), "product": np.array([[1.0, 2.0], [2.0, 1.0]])}, "product is not positive definite"),
        ({"vectors": np.eye(2), "product": np.eye(3)}, r"product has shape \(3, 3\)"),
        ({"vectors": np.eye(2), "product": lambda x: x[:1]}, r"product\(X\) has shape \(1, 0\), X has \(2, 0\)"),
        (
            {"vectors": np.eye(5)[:, :1], "basis": np.eye(5)[:, 2:3], "product_basis": np.eye(9)[:, 2:3]},
            r"product_basis has shapes \[\(9, 1\)\], basis has \[\(5, 1\)\]",
        ),
        (
            {"vectors": np.eye(5)[:, :1], "basis": np.eye(5)[:, 2:], "product_basis": [np.eye(5)[:, 2:]] * 2},
            r"product_basis has shapes \[\(5, 3\), \(5, 3\)\], basis has \[\(5, 3\)\]",
        ),
        ({"vectors": np.eye(2), "basis": np.array([[np.nan], [0.0]])}, "basis has 1 entries that are NaN"),
        ({"vectors": np.eye(2), "rtol": np.nan}, "rtol must be .* got nan"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gram_schmidt(**arguments)


def test_text_is_not_a_matrix():
    with pytest.raises(TypeError, match="vectors must hold numbers, got dtype <U1"):
        gram_schmidt(np.array([["a"]]))


@pytest.mark.parametrize("columns", [5, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_another_module_stay_in_it(dtype, columns):
    eps = np.finfo(dtype).eps
    vectors, dense = random(dtype, 100, columns), inner_product("dense", dtype, 100)
    for product in (None, xp.asarray(dense), lambda x: xp.asarray(dense) @ x):
        q = gram_schmidt(xp.asarray(vectors), product=product)
        assert {type(a) for a in (q.basis, q.coefficients, q.product_basis)} == {type(xp.asarray(vectors))}
        assert q.basis.dtype == q.coefficients.dtype == xp.asarray(vectors).dtype
        expected = gram_schmidt(vectors, product=None if product is None else dense)
        assert abs(to_numpy(q.basis) - expected.basis).max() <= 50 * eps
        extended = gram_schmidt(xp.asarray(random(dtype, 100, columns, seed=2)), product=product, basis=q.basis[:, :4])
        assert type(extended.basis) is type(q.basis)
