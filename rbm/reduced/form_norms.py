"""Norms of quadratic forms, from P to P', proved."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.affine.units import Units
from rbm.arithmetic.precision import ROUND_OFF
from rbm.solvers.definite import definiteness_error, hermitian_part, norm_bound
from rbm.solvers.factorization import factorize_positive_definite

__all__ = ["form_norm"]

#: Up to this dimension the norm of a quadratic form comes from a dense eigenvalue problem.
DENSE_LIMIT = 1500


def form_norm(form: Any, units: Units, dense_limit: int = DENSE_LIMIT) -> float:
    """Return a proved upper bound t of max |lambda|, Q x = lambda P x, with Q in balanced units.

    Eliminations show that t P - Q and t P + Q are definite. They do so up to their rounding
    (:func:`rbm.solvers.definite.definiteness_error`), which over the smallest eigenvalue of P is added to t, in the
    units of :mod:`rbm.affine.units`. Where that gives less, t is the largest row sum of Q over that eigenvalue.
    """
    q, error = units.take(form)
    p, size = units.product, norm_bound(q) + error
    if size == 0:
        return 0.0
    simple = size / units.smallest
    try:
        estimate = _largest_quotient(q, p, dense_limit)
    except (np.linalg.LinAlgError, spla.ArpackError, RuntimeError):
        return simple
    for margin in 10.0 ** np.arange(-9, 1):
        t = estimate * (1 + margin)
        errors = [definiteness_error(hermitian_part(t * p + sign * q)) for sign in (1, -1)]
        known = [e for e in errors if e is not None]
        if len(known) == 2:
            rounding = max(known) + error + t * units.product_error + 8 * ROUND_OFF * (t * units.largest + size)
            return min(t + rounding / units.smallest, simple)
    return simple


def _largest_quotient(form: Any, product: Any, dense_limit: int) -> float:
    """Return an estimate of max |lambda|, Q x = lambda P x."""
    n = form.shape[0]
    if n <= dense_limit:
        a, b = (np.asarray(x.toarray() if sp.issparse(x) else x) for x in (form, product))
        return float(np.abs(scipy.linalg.eigh(a, b, eigvals_only=True)).max())
    solve = factorize_positive_definite(product)
    assert solve is not None
    inverse = spla.LinearOperator((n, n), matvec=lambda x: solve(x.reshape(n, 1)).ravel(), dtype=form.dtype)
    start = np.random.default_rng(0).standard_normal(n).astype(form.dtype)
    values = spla.eigsh(form, k=1, M=product, Minv=inverse, which="LM", v0=start, tol=1e-4, return_eigenvectors=False)
    return float(abs(values[0]))
