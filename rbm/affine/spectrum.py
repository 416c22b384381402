"""The smallest eigenvalue of an inner product in balanced units, S P S: estimated, then proved."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.solvers.definite import definiteness_error, eigenvalue_from_inverse
from rbm.solvers.factorization import Solve

__all__ = ["DENSE_LIMIT", "ScaledProduct", "smallest_eigenvalue"]

#: Up to this dimension a product too ill-conditioned for the usual proof is proved definite by its inverse.
DENSE_LIMIT = 400
#: Beyond this dimension a user's solver is trusted: the smallest eigenvalue is then measured with it, not proved.
PROOF_LIMIT = 5000


class ScaledProduct(Protocol):
    """What this file asks of an inner product P (:class:`rbm.affine.inner_product.InnerProduct`), S = diag(balance)."""

    balance: np.ndarray
    matrix: Any

    @property
    def shape(self) -> tuple[int, int]:
        """The dimensions (n, n)."""

    @property
    def balanced(self) -> Any:
        """The matrix S P S (n, n)."""

    @property
    def largest_eigenvalue(self) -> float:
        """A proved upper bound of the largest eigenvalue of S P S."""

    @property
    def smallest_eigenvalue(self) -> float:
        """A proved lower bound of the smallest eigenvalue of S P S."""

    def factorized(self) -> Solve:
        """The solve with P in working precision."""

    def defect(self, otherwise: str = ...) -> str:
        """Return what makes P indefinite, as the end of a message."""


def smallest_eigenvalue(product: ScaledProduct, own_solver: bool) -> float:
    """Return a proved lower bound of lambda_min(S P S), S = diag(balance), about nine tenths of it.

    A few Lanczos steps with the inverse estimate it; an elimination of S P S - shift I that succeeds proves it, up to
    its own rounding (:func:`rbm.solvers.definite.definiteness_error`), which is subtracted. Products too
    ill-conditioned for that, of at most 400 unknowns, are proved by their inverse in extended precision. With a solver
    of the user and more than 5000 unknowns, where a factorisation of ours may not fit, the estimate itself is taken,
    halved: a measurement.

    Raises ModelError for a product that is not positive definite, or is so ill-conditioned that neither proves it.
    Cost: two factorisations and some twenty solves.
    """
    estimate, n, largest = _estimate(product), product.shape[0], product.largest_eigenvalue
    if not own_solver and n > PROOF_LIMIT:
        if estimate > 100 * n * ROUND_OFF * largest:
            return estimate / 2
        raise _not_proved(product, estimate)
    balanced = product.balanced
    identity = sp.eye_array(n) if sp.issparse(balanced) else np.eye(n)
    for share in (0.9, 0.5):
        shift = share * estimate
        error = definiteness_error(balanced - shift * identity) if shift > 0 else None
        if error is not None and error + 4 * ROUND_OFF <= shift / 2:  # the shifted diagonal, below two, was rounded
            return shift - error - 4 * ROUND_OFF
    if n <= DENSE_LIMIT:
        dense = balanced.toarray() if sp.issparse(balanced) else balanced
        if (proved := eigenvalue_from_inverse(dense)) > 0:
            return proved
    raise _not_proved(product, estimate)


def _not_proved(product: ScaledProduct, estimate: float) -> ModelError:
    if product.shape[0] <= DENSE_LIMIT:
        dense = product.balanced.toarray() if sp.issparse(product.balanced) else product.balanced
        estimate = float(np.linalg.eigvalsh(dense)[0])
    return ModelError(
        "the product is not positive definite to working precision: its eigenvalues, in units of its diagonal, go "
        f"from about {estimate:.1e} to {product.largest_eigenvalue:.1e}, and no bound would be true"
        + product.defect("choose another inner product, or eliminate unknowns that (nearly) depend on each other")
    )


def _estimate(product: ScaledProduct) -> float:
    """Estimate the smallest eigenvalue from the inverse, to a few percent.

    It is off by more if cond(P) u is not small.
    """
    solve, s, n = product.factorized(), product.balance[:, None], product.shape[0]
    dtype = product.matrix.dtype

    def inverse(x: np.ndarray) -> np.ndarray:
        return (solve(np.asarray(x, dtype=dtype).reshape(n, -1) / s) / s).reshape(x.shape)

    if n <= 40:
        dense = inverse(np.eye(n))
        largest = float(np.linalg.eigvalsh((dense + dense.conj().T) / 2)[-1]) if np.all(np.isfinite(dense)) else 0.0
    else:
        operator = spla.LinearOperator((n, n), matvec=inverse, dtype=dtype)
        start = np.random.default_rng(0).standard_normal(n).astype(dtype)
        try:
            values = spla.eigsh(operator, k=1, which="LA", v0=start, tol=1e-2, return_eigenvectors=False)
        except spla.ArpackError as error:
            raise ModelError(
                f"the condition of the product could not be measured ({error}); check that it is positive definite"
            ) from error
        largest = float(values[0].real)
    if not largest > 0:
        raise ModelError("the product is not positive definite to working precision" + product.defect())
    return 1 / largest
