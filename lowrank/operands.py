"""Matrices of any kind as operands of products: checked, scaled to the range of numbers, measured.

A kind is a dense array, a sparse matrix, a linear operator or a low-rank matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from lowrank.arrays import WORKING, all_true, as_matrix, beside, namespace, numpy_dtype, plain, real_part, to_numpy
from lowrank.dense import adjoint_times, column_norms, norm, times
from lowrank.matrix import LowRankMatrix
from lowrank.operators import as_sparse, by_columns

__all__ = ["checked", "draw", "first_product", "is_array", "sample", "scaled_back", "scaled_to_range", "total_norm"]


def checked(matrix: Any) -> Any:
    """Return the matrix, ready to be multiplied with.

    Entries of an array are looked at in the first product only.
    """
    if isinstance(matrix, LowRankMatrix):
        return matrix
    if type(matrix) is np.ndarray and matrix.ndim == 2 and matrix.dtype in WORKING:
        return matrix
    if not hasattr(matrix, "nnz") and not hasattr(matrix, "matvec"):
        matrix = plain("the matrix", matrix)
    if len(matrix.shape) != 2:
        raise ValueError(f"the matrix must have shape (m, n), got {tuple(matrix.shape)}")
    if is_array(matrix):
        matrix = as_matrix("the matrix", matrix, check_finite=False)
    elif hasattr(matrix, "nnz"):
        matrix = as_sparse("the sparse matrix", matrix).tocsr()
        if not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
    else:
        matrix = by_columns(matrix)
    kind = numpy_dtype(sample(matrix))
    if kind not in (np.float32, np.float64, np.complex64, np.complex128):
        raise TypeError(f"the matrix must have single or double precision, real or complex, entries, got {kind}")
    return matrix


def scaled_to_range(a: Any) -> tuple[Any, float]:
    """Return the matrix divided by a power of two such that squares neither overflow nor vanish, and that power.

    Of linear operators, whose entries are not there, one product with a random vector tells the size. Raises ValueError
    for NaN and infinite entries of arrays, and for low-rank matrices beyond the range of numbers.
    """
    if isinstance(a, LowRankMatrix):
        return _scaled_factors(a)
    if not is_array(a) and not hasattr(a, "nnz"):
        return _scaled_operator(a)
    entries = a if is_array(a) else a.data
    with np.errstate(over="ignore"):
        size = norm(entries)
    if size == 0 or _harmless(size, entries):
        return a, 1.0
    if entries is a:
        as_matrix("matrix", a)  # says which entry is not finite
    scale = _power_of_two(float(namespace(entries).max(namespace(entries).abs(entries))))
    if entries is a:
        return a / scale, scale
    scaled = a.copy()
    scaled.data = entries / scale  # the quotient of a sparse matrix is its product with 1 / scale, which may overflow
    return scaled, scale


def scaled_back(s: Any, scale: float) -> Any:
    """Return the singular values `s` of a matrix that was divided by `scale`, times `scale`.

    Raises ValueError if they overflow.
    """
    with np.errstate(over="ignore"):
        s = s * scale
    if not all_true(namespace(s).isfinite(s)):
        raise ValueError("the singular values overflow; scale the matrix")
    return s


def _harmless(size: float, like: Any) -> bool:
    """Return whether squares of numbers of that size, and of their round-off, are normal numbers."""
    info = namespace(like).finfo(like.dtype)
    return bool(float(info.smallest_normal) ** 0.3 < size < float(info.max) ** 0.3)


def _power_of_two(size: float) -> float:
    return float(np.ldexp(1.0, int(np.frexp(size)[1]) - 1))


def _scaled_factors(a: LowRankMatrix) -> tuple[LowRankMatrix, float]:
    """Return U diag(s) V^H with columns of length about 1 and |s| of at most about 1, and the power of two."""
    if not a.rank or 0 in a.shape:
        return a, 1.0
    parts = [np.frexp(to_numpy(x).astype(float)) for x in (column_norms(a.U), a.s, column_norms(a.V))]
    if not all(np.all(np.isfinite(x)) for x, _ in parts):
        raise ValueError("the factors of the matrix are NaN, infinite or of norms that overflow; scale them")
    values, exponents = np.prod([x for x, _ in parts], axis=0), np.sum([e for _, e in parts], axis=0)
    top = int(np.max(exponents, where=values != 0, initial=-(2**20)))
    if not np.any(values) or all(_harmless(np.ldexp(1.0, int(e)), a.U) for _, es in parts for e in [*es, top]):
        return a, 1.0
    u, v = (_columns_by_powers(x, e) for x, e in ((a.U, parts[0][1]), (a.V, parts[2][1])))
    s = beside(np.ldexp(parts[1][0], np.where(values != 0, exponents - top, 0)), a.s)
    if top > np.log2(float(namespace(a.U).finfo(a.U.dtype).max)) + 1:
        raise ValueError("the entries of the matrix overflow; scale it")
    return LowRankMatrix(u, namespace(a.s).astype(s, a.s.dtype), v, a.is_svd), float(np.ldexp(1.0, top))


def _columns_by_powers(x: Any, exponents: np.ndarray) -> Any:
    """Return columns divided by powers of two, in two steps, as one power may be beyond the range."""
    half = exponents // 2
    for e in (half, exponents - half):
        x = x / namespace(x).astype(beside(np.ldexp(1.0, e), x), real_part(x[:0, :0]).dtype)
    return x


def _scaled_operator(a: Any) -> tuple[Any, float]:
    """Return a scaled linear operator and the power of two.

    Half of the factor goes to what the operator is applied to, half to the product.
    """
    m, n = a.shape
    if not m * n:
        return a, 1.0
    probe, size = draw(a, 1, None, 0) / n**0.5, np.inf
    for shrunk in (0, 60):  # a product that overflows may be finite for a shorter vector
        with np.errstate(over="ignore", invalid="ignore"):
            size = norm(times(a, probe * 2.0**-shrunk))
        if np.isfinite(size):
            break
    if not np.isfinite(size) or size == 0 or (not shrunk and _harmless(size, sample(a))):
        return a, 1.0  # the first product says what is wrong
    exponent = min(int(np.frexp(size)[1]) - 1 + shrunk, int(np.frexp(float(np.finfo(sample(a).dtype).max))[1]) - 1)
    first, second = (float(np.ldexp(1.0, e)) for e in (exponent // 2, exponent - exponent // 2))

    def forward(x: Any) -> Any:
        return times(a, x / first) / second

    def backward(y: Any) -> Any:
        return adjoint_times(a, y / first) / second

    def one(apply: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: apply(x.reshape(-1, 1)).reshape(-1)

    from scipy.sparse.linalg import LinearOperator

    products = {"matvec": one(forward), "rmatvec": one(backward), "matmat": forward, "rmatmat": backward}
    return LinearOperator(a.shape, dtype=sample(a).dtype, **products), float(np.ldexp(1.0, exponent))


def total_norm(a: Any) -> float | None:
    """Return ||A||_F, None for operators, whose entries cannot be summed."""
    return norm(a) if is_array(a) else norm(a.data) if hasattr(a, "nnz") else None


def is_array(a: Any) -> bool:
    """Return whether it is a dense array, and not a sparse matrix or an operator."""
    return isinstance(a, np.ndarray) or is_array_api_obj(a)


def sample(a: Any) -> Any:
    """Return an empty array of the module and type that products with `a` will have."""
    if is_array(a):
        return a[:0, :0]
    if isinstance(a, LowRankMatrix):
        return a.U[:0, :0]
    if hasattr(a, "nnz"):  # sparse, of SciPy or of CuPy
        return a.data[:0].reshape(0, 1)
    return np.zeros((0, 0), dtype=np.result_type(a.dtype or np.float64, np.float32))


def draw(a: Any, width: int, test_matrix: Any, rng: int | np.random.Generator) -> Any:
    """Return the Gaussian random block W (n, width), drawn on the host so that all devices get the same numbers."""
    like = sample(a)
    if test_matrix is not None:
        test_matrix = plain("the test matrix", test_matrix)
        if test_matrix.ndim != 2 or test_matrix.shape[0] != a.shape[1]:
            raise ValueError(f"the test matrix must have shape ({a.shape[1]}, l), got {tuple(test_matrix.shape)}")
        return namespace(like).astype(beside(test_matrix, like), like.dtype)
    block = np.random.default_rng(rng).standard_normal((a.shape[1], width))
    return namespace(like).astype(beside(block, like), real_part(like).dtype)


def first_product(a: Any, omega: Any) -> Any:
    """Return A W. Raises ValueError if it is not finite, as A is not then."""
    with np.errstate(invalid="ignore", over="ignore"):
        y = times(a, omega)
    xp = namespace(y)
    if y.shape[1] and not bool(xp.all(xp.isfinite(y))):
        if is_array(a):
            as_matrix("matrix", a)
        raise ValueError("products with the matrix are NaN or infinite; check its entries and its scale")
    return y
