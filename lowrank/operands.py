"""What is multiplied with: dense arrays, sparse matrices, linear operators and low-rank matrices, alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from lowrank.arrays import as_matrix, beside, namespace, numpy_dtype, plain, real_part
from lowrank.dense import norm, times
from lowrank.matrix import LowRankMatrix
from lowrank.operators import as_sparse, by_columns

__all__ = ["checked", "draw", "first_product", "is_array", "sample", "tamed", "total_norm"]


def checked(matrix: Any) -> Any:
    """The matrix if it can be multiplied with: an array (entries are looked at in the first product), or an operator."""
    if isinstance(matrix, LowRankMatrix):
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


def tamed(a: Any) -> tuple[Any, float]:
    """An array whose squares neither overflow nor vanish, by a power of two, and the factor that gives the original back.

    Raises ValueError for NaN and infinite entries. Operators come back as they are.
    """
    if not is_array(a):
        return a, 1.0
    with np.errstate(over="ignore"):
        size = norm(a)
    info = namespace(a).finfo(a.dtype)
    if size == 0 or float(info.smallest_normal) ** 0.3 < size < float(info.max) ** 0.3:
        return a, 1.0
    as_matrix("matrix", a)  # says which entry is not finite
    largest = float(namespace(a).max(namespace(a).abs(a)))
    scale = float(np.ldexp(1.0, int(np.frexp(largest)[1]) - 1))
    return a / scale, scale


def total_norm(a: Any) -> float | None:
    """||A||_F if all entries are there to be summed, None for operators."""
    return norm(a) if is_array(a) else norm(a.data) if hasattr(a, "nnz") else None


def is_array(a: Any) -> bool:
    """True for dense arrays, False for sparse matrices and operators."""
    return isinstance(a, np.ndarray) or is_array_api_obj(a)


def sample(a: Any) -> Any:
    """An empty array of the module and type that products with `a` will have."""
    if is_array(a):
        return a[:0, :0]
    if isinstance(a, LowRankMatrix):
        return a.U[:0, :0]
    if hasattr(a, "nnz"):  # sparse, of SciPy or of CuPy
        return a.data[:0].reshape(0, 1)
    return np.zeros((0, 0), dtype=np.result_type(a.dtype or np.float64, np.float32))


def draw(a: Any, width: int, test_matrix: Any, rng: int | np.random.Generator) -> Any:
    """The random block W (n, width), Gaussian, drawn on the host so that every device gets the same numbers."""
    like = sample(a)
    real = real_part(like).dtype
    if test_matrix is not None:
        test_matrix = plain("the test matrix", test_matrix)
        if test_matrix.ndim != 2 or test_matrix.shape[0] != a.shape[1]:
            raise ValueError(f"the test matrix must have shape ({a.shape[1]}, l), got {tuple(test_matrix.shape)}")
        return namespace(like).astype(beside(test_matrix, like), like.dtype)
    block = np.random.default_rng(rng).standard_normal((a.shape[1], width))
    return namespace(like).astype(beside(block, like), real)


def first_product(a: Any, omega: Any) -> Any:
    """A W; a NaN or infinity in A is in it too and is looked for only then."""
    with np.errstate(invalid="ignore", over="ignore"):
        y = times(a, omega)
    xp = namespace(y)
    if y.shape[1] and not bool(xp.all(xp.isfinite(y))):
        if is_array(a):
            as_matrix("matrix", a)
        raise ValueError("products with the matrix are NaN or infinite; check its entries and its scale")
    return y
