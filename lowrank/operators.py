"""Linear operators, sparse matrices and inner products, made ready to be multiplied with blocks of vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowrank.arrays import all_true, namespace, plain, working_dtype

__all__ = ["as_product", "as_sparse", "by_columns"]


def by_columns(operator: Any) -> Any:
    """Return the operator in a form that takes blocks of vectors, whatever its `matvec` was written for.

    SciPy hands it columns (n, 1), which x -> w * x for instance turns into a matrix, and x -> fft(x) into nothing. A
    `matmat` of its own is given blocks. Matrices in the guise of operators, and operators that are none of SciPy's,
    come back as they are.
    """
    from scipy.sparse.linalg import LinearOperator, aslinearoperator

    if not isinstance(operator, LinearOperator) or type(operator) is type(aslinearoperator(np.zeros((1, 1)))):
        return operator
    (m, n), dtype = operator.shape, operator.dtype

    def forward(x: Any) -> Any:
        return operator.matvec(np.reshape(x, -1))

    def backward(y: Any) -> Any:
        try:
            return operator.rmatvec(np.reshape(y, -1))
        except NotImplementedError:
            raise TypeError(
                f"the {m} x {n} linear operator has no rmatvec, y -> A^H y, which is needed: pass rmatvec= to "
                "LinearOperator"
            ) from None

    products = {"matvec": forward, "rmatvec": backward, "matmat": operator.matmat, "rmatmat": operator.rmatmat}
    if not _takes_blocks(operator, LinearOperator):
        products |= {"matmat": _one_by_one(forward, m, dtype), "rmatmat": _one_by_one(backward, n, dtype)}
    return LinearOperator(operator.shape, dtype=dtype, **products)


def _one_by_one(apply: Callable[[Any], Any], size: int, dtype: Any) -> Callable[[Any], Any]:
    def block(x: Any) -> Any:
        columns = [apply(x[:, j]) for j in range(x.shape[1])]
        return np.stack(columns, axis=1) if columns else np.zeros((size, 0), dtype=np.result_type(dtype, x.dtype))

    return block


def _takes_blocks(operator: Any, base: type) -> bool:
    """Return whether the operator has code of its own for blocks of vectors."""
    kind = type(operator)
    for name in ("matmat", "rmatmat"):
        own = f"_CustomLinearOperator__{name}_impl"  # where LinearOperator(shape, matmat=...) keeps what it was given
        if hasattr(operator, own):
            if getattr(operator, own) is None:
                return False
        elif not kind.__module__.startswith("scipy.") and getattr(kind, f"_{name}") is getattr(base, f"_{name}"):
            return False
    # sums, products, adjoints: if their parts do
    return all(_takes_blocks(part, base) for part in getattr(operator, "args", ()) if isinstance(part, base))


def as_sparse(name: str, matrix: Any, *, check_finite: bool = True) -> Any:
    """Return a sparse matrix whose entries are finite numbers of :func:`lowrank.arrays.working_dtype`.

    Raises TypeError for entries that are no numbers, ValueError for NaN and infinity.
    """
    dtype = working_dtype(name, np.dtype(matrix.dtype))
    if matrix.dtype != dtype:
        matrix = matrix.astype(dtype)
    if not check_finite:
        return matrix
    data = matrix.tocsr().data  # of other formats it has room for entries that are none
    if not all_true(namespace(data).isfinite(data)):
        raise ValueError(f"{name} has entries that are NaN or infinite; remove or recompute them")
    return matrix


def as_product(name: str, product: Any) -> Any:
    """Return an inner product that can be applied to blocks of vectors: None, a callable, or anything with ``@``.

    Arrays and sparse matrices are made ready as by :func:`lowrank.arrays.plain`, linear operators as by
    :func:`by_columns`; NaN is left to whoever looks at the entries.
    """
    if product is None or (callable(product) and not hasattr(product, "shape")):
        return product
    if hasattr(product, "nnz"):
        return as_sparse(name, product, check_finite=False)
    if hasattr(product, "matvec"):
        return by_columns(product)
    if isinstance(product, np.ndarray | list | tuple) or hasattr(product, "to_numpy"):
        return plain(name, product)
    return product
