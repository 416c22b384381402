"""Estimates of extreme eigenvalues in the norms of P, dense or by Lanczos iterations; proofs are made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.affine.inner_product import InnerProduct
from rbm.errors import StabilityError
from rbm.solvers.definite import dense

__all__ = ["DENSE_LIMIT", "ESTIMATE", "Apply", "both_solves", "extreme", "not_solved"]

Apply = Callable[[np.ndarray], np.ndarray]

#: Up to this dimension eigenvalues are those of dense matrices.
DENSE_LIMIT = 400
#: Relative accuracy of eigenvalues by Lanczos iterations; what is claimed of them is proved by other means.
ESTIMATE = 1e-3


def both_solves(matrix: Any, dtype: Any, at: str) -> tuple[Apply, Apply]:
    """Return the functions that solve with A and with A^H, for one vector or more."""
    try:
        if sp.issparse(matrix):
            lu = spla.splu(sp.csc_array(matrix, dtype=dtype))
            return lambda x: lu.solve(x.astype(dtype)), lambda x: lu.solve(x.astype(dtype), "H")
        factors = scipy.linalg.lu_factor(matrix.astype(dtype), check_finite=False)
        if not np.all(np.diag(factors[0]) != 0):
            raise RuntimeError("a pivot is zero")
    except RuntimeError as error:
        raise StabilityError(
            f"A(mu) is singular at {at} ({error}): no stability bound is positive there; leave a neighbourhood of this "
            "parameter out"
        ) from error
    return lambda x: scipy.linalg.lu_solve(factors, x), lambda x: scipy.linalg.lu_solve(factors, x, trans=2)


def extreme(
    apply: Apply, metric: tuple[Apply, Apply] | None, inner: InnerProduct, dtype: Any, *, largest: bool
) -> tuple[float, np.ndarray]:
    """Return the largest or smallest eigenvalue of X w = s M w, M = P by default, and its vector; estimates."""
    n = inner.shape[0]
    multiply, divide = metric or ((lambda x: inner.matrix @ x), inner.factorized())
    if n <= DENSE_LIMIT:
        identity = np.eye(n, dtype=dtype)
        x, m = apply(identity), dense(inner.matrix) if metric is None else multiply(identity)
        units = 1 / np.sqrt(m.diagonal().real)
        x, m = (units[:, None] * (a + a.conj().T) / 2 * units for a in (x, m))
        try:
            values, vectors = scipy.linalg.eigh(x, m)
        except (np.linalg.LinAlgError, ValueError) as error:
            raise not_solved(error) from error
        k = -1 if largest else 0
        return float(values[k]), units * vectors[:, k]

    def column(function: Apply) -> Any:
        def one(x: np.ndarray) -> np.ndarray:
            return function(np.asarray(x, dtype=dtype).reshape(n, 1)).reshape(x.shape)

        return spla.LinearOperator((n, n), matvec=one, dtype=dtype)

    start = np.random.default_rng(0).standard_normal(n).astype(dtype)
    mass = inner.matrix.astype(dtype) if metric is None else column(multiply)
    try:
        values, vectors = spla.eigsh(
            column(apply), 1, mass, which="LA" if largest else "SA", v0=start, tol=ESTIMATE, Minv=column(divide), ncv=24
        )
    except spla.ArpackNoConvergence as error:
        if len(error.eigenvalues):
            values, vectors = error.eigenvalues, error.eigenvectors
        else:
            raise StabilityError(f"an eigensolver of the natural norm did not converge: {error}") from error
    except (spla.ArpackError, ValueError) as error:
        raise not_solved(error) from error
    return float(values[0].real), vectors[:, 0]


def not_solved(error: Exception) -> StabilityError:
    """Return the error about an eigensolver that failed."""
    return StabilityError(
        f"an eigenvalue problem of the natural norm could not be solved ({error}): A(mu) is nearly singular at an "
        "anchor, or terms and product are of very different sizes; leave those parameters out, or choose other units"
    )
