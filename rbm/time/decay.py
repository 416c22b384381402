"""How fast a solution decays at least: a proved lower bound of (P v, v) / (W v, v), W the sum of all mass terms."""

from __future__ import annotations

import numpy as np
import scipy.sparse.linalg as spla

from rbm.affine.inner_product import InnerProduct
from rbm.solvers.definite import definiteness_error, dense, hermitian_part

__all__ = ["decay_rate"]

#: Up to this dimension the smallest eigenvalue is computed from dense matrices.
DENSE_LIMIT = 200
#: Shares of the computed eigenvalue for which a proof is tried.
SHARES = (0.999, 0.99, 0.9, 0.5)


def decay_rate(product: InnerProduct, mass: InnerProduct) -> float:
    """Return lambda >= 0 with P >= lambda W, proved; 0 where no proof succeeds.

    The smallest eigenvalue is computed (Lanczos, with solves of P); that P - t W is positive definite for t just below
    it is shown by its elimination: P - t W + e I >= 0 in the balanced units of W, with the error e of the elimination,
    gives P >= (t - e / lambda_min(W)) W. Zero, too, for more than 5000 unknowns and a solver that proves nothing.

    Cost: one factorisation, some twenty solves with P.
    """
    n = product.shape[0]
    if not product.proved:
        return 0.0
    whole, other = hermitian_part(mass.in_units(product.matrix)), mass.balanced
    estimate = _estimate(product, mass) if n > DENSE_LIMIT else _smallest(dense(whole), dense(other))
    for share in SHARES:
        t = share * estimate
        error = definiteness_error(hermitian_part(whole - t * other), product.prove) if t > 0 else None
        if error is not None:
            # entries of P - t W were rounded once
            largest = float(abs(whole).sum(axis=1).max()) + t * float(abs(other).sum(axis=1).max())
            error += 4 * float(np.finfo(float).eps) * largest
            return max((t - error / mass.smallest_eigenvalue) * (1 - 1e-12), 0.0)
    return 0.0


def _smallest(whole: np.ndarray, other: np.ndarray) -> float:
    import scipy.linalg

    return float(scipy.linalg.eigh(whole, other, subset_by_index=[0, 0], eigvals_only=True)[0])


def _estimate(product: InnerProduct, mass: InnerProduct) -> float:
    """Return 1 / the largest eigenvalue of W v = nu P v."""
    solve, n = product.factorized(), product.shape[0]
    kind = np.result_type(product.matrix.dtype, mass.matrix.dtype)
    inverse = spla.LinearOperator((n, n), matvec=lambda v: solve(v.reshape(n, 1))[:, 0], dtype=kind)
    start = np.random.default_rng(0).standard_normal(n).astype(kind)
    try:
        found = spla.eigsh(mass.matrix, k=1, M=product.matrix, Minv=inverse, which="LA", v0=start, tol=1e-6)[0]
    except spla.ArpackNoConvergence:
        return 0.0
    return float(1 / found[0]) if found[0] > 0 else 0.0
