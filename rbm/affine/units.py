"""Units in which definiteness against the product P is decided.

Balanced ones as a rule; whitened ones where P is ill-conditioned. And the smallest eigenvalue of P in balanced units,
estimated, then proved.

A statement H >= s P about Hermitian H is one about T^H H T and T^H P T for any regular T. Rounding is relative to the
size of these; what it hides, over the smallest eigenvalue of T^H P T, is what the statement loses.

balanced   T = S = diag(balance), exact; loses u cond(S P S)
whitened   T = X, the computed inverse of the Cholesky factor of P: X^H P X = I + G and X^H H X are formed in extended
           precision, their errors are bounded; loses u whatever cond(P) up to about 1e16 is, for 8 n^3 flops per
           matrix. For n <= 400.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.solvers.definite import Prove, definiteness_error, dense, eigenvalue_from_inverse
from rbm.solvers.factorization import Solve

__all__ = ["PROOF_LIMIT", "Units", "balanced_by", "bent_down", "smallest_eigenvalue", "units_of"]

#: Up to this dimension a product too ill-conditioned for the usual proof is proved definite by its inverse.
DENSE_LIMIT = 400
#: Beyond this dimension definiteness is a matter of the user's solver: proved by it, or measured with it.
PROOF_LIMIT = 5000
#: Steps of the search for a direction in which a product is negative.
STEPS = 40

#: Condition number, in balanced units, from which a product of few unknowns is whitened.
ILL_CONDITIONED = 1e6


def balanced_by(balance: np.ndarray, matrix: Any) -> Any:
    """Return S A S (n, n), S = diag(balance) of powers of two: sparse or dense, as A is, and without rounding."""
    if not sp.issparse(matrix):
        return balance[:, None] * matrix * balance
    made: Any = sp.csr_array(matrix, dtype=np.result_type(matrix.dtype, float), copy=True)
    made.sum_duplicates()
    made.data = np.repeat(balance, np.diff(made.indptr)) * made.data * balance[made.indices]
    return made


@dataclass(frozen=True)
class Units:
    """The transform T, and what is known of T^H P T."""

    product: Any  #: T^H P T up to product_error; the identity where it is whitened
    product_error: float  #: a bound of the norm of what `product` is off by
    smallest: float  #: a proved lower bound of the smallest eigenvalue of T^H P T
    largest: float  #: a proved upper bound of the largest
    transform: np.ndarray | None = None  #: S^{-1} X; None for balanced units

    def take(self, balanced: Any) -> tuple[Any, float]:
        """Return T^H H T from S H S, and a bound of the norm of its error (0 in balanced units).

        It is exactly Hermitian if H is.
        """
        if self.transform is None:
            return balanced, 0.0
        return _congruent(dense(balanced), self.transform)

    def size(self, balanced: Any) -> Any:
        """Return |T|^T |S H S| |T|, which bounds the entries of T^H E T for every E with |E| <= |S H S|."""
        if self.transform is None:
            return abs(balanced)
        return np.abs(self.transform).T @ (abs(balanced) @ np.abs(self.transform))


class ScaledProduct(Protocol):
    """What this file asks of an inner product P (:class:`rbm.affine.inner_product.InnerProduct`), S = diag(balance)."""

    balance: np.ndarray
    matrix: Any

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


def units_of(inner_product: ScaledProduct) -> Units:
    """Return whitened units for an ill-conditioned product of at most 400 unknowns, balanced ones for all others."""
    smallest, largest = inner_product.smallest_eigenvalue, inner_product.largest_eigenvalue
    balanced = Units(inner_product.balanced, 0.0, smallest, largest)
    n = len(inner_product.balance)
    if n > DENSE_LIMIT or largest <= ILL_CONDITIONED * smallest:
        return balanced
    product = dense(inner_product.balanced)
    try:
        inverse = scipy.linalg.solve_triangular(scipy.linalg.cholesky(product), np.eye(n))
    except np.linalg.LinAlgError:
        return balanced
    white, error = _congruent(product, inverse)
    deviation = float(np.linalg.norm(white - np.eye(n))) * (1 + 2.0**-20) + error
    if not deviation < 0.5:
        return balanced
    return Units(np.eye(n), deviation, 1 - deviation, 1 + deviation, inverse)


def _congruent(matrix: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, float]:
    """Return X^H H X, formed in extended precision, and a bound of the Frobenius norm of its error.

    The rows of X may have very different sizes, and so have those of H: powers of two bring them to a common one.
    """
    size = np.abs(transform).max(axis=1)
    scale = np.ldexp(1.0, np.frexp(np.where(size > 0, size, 1.0))[1])
    split = extended.SplitMatrix(matrix, scale)
    image, off = extended.product(split, transform), extended.rounding(split, transform)
    adjoint = extended.SplitMatrix(transform.conj().T, 1 / scale)
    hi, lo = extended.product(adjoint, image)
    off = extended.rounding(adjoint, image) + np.abs(transform.T) @ off
    made = hi + lo
    return (made + made.conj().T) / 2, float(np.linalg.norm(off + 2 * ROUND_OFF * np.abs(made))) * (1 + 2.0**-20)


def smallest_eigenvalue(product: ScaledProduct, prove: Prove | None, measured: bool) -> float:
    """Return a proved lower bound of lambda_min(S P S), S = diag(balance), about nine tenths of it.

    A few Lanczos steps with the inverse estimate it; an elimination of S P S - shift I that succeeds proves it, up to
    its own rounding (:func:`rbm.solvers.definite.definiteness_error`), which is subtracted. Products too
    ill-conditioned for that, of at most 400 unknowns, are proved by their inverse in extended precision. `prove` is
    the elimination of the user's solver, if it is to be taken for ours. Where `measured` the estimate itself is taken,
    halved: with a solver that proves nothing and more than 5000 unknowns, where a factorisation of ours may not fit.

    Raises ModelError for a product that is not positive definite, or is so ill-conditioned that neither proves it.
    Cost: two factorisations and some twenty solves.
    """
    n, largest = len(product.balance), product.largest_eigenvalue
    estimate = _estimate(product, "LM" if measured else "LA")  # a negative one is seen where no pivots are
    if measured:
        if estimate > 100 * n * ROUND_OFF * largest:
            return estimate / 2
        raise _not_proved(product, estimate)
    balanced = product.balanced
    identity = sp.eye_array(n) if sp.issparse(balanced) else np.eye(n)
    for share in (0.9, 0.5):
        shift = share * estimate
        error = definiteness_error(balanced - shift * identity, prove) if shift > 0 else None
        if error is not None and error + 4 * ROUND_OFF <= shift / 2:  # the shifted diagonal, below two, was rounded
            return shift - error - 4 * ROUND_OFF
    if n <= DENSE_LIMIT and (proved := eigenvalue_from_inverse(dense(balanced))) > 0:
        return proved
    raise _not_proved(product, estimate)


def bent_down(product: ScaledProduct) -> bool:
    """Return True if x^H P x < 0 for some x, found by Lanczos steps: P is not positive definite. False shows nothing.

    It is for products that no factorisation is made of. Cost: STEPS products, three vectors.
    """
    matrix, n = product.balanced, len(product.balance)
    x = np.random.default_rng(0).standard_normal(n).astype(product.matrix.dtype)
    x, before, beta = x / np.linalg.norm(x), np.zeros_like(x), 0.0
    along: list[float] = []
    beside: list[float] = []
    for _ in range(min(STEPS, n)):
        y = np.asarray(matrix @ x) - beta * before
        along.append(float(np.vdot(x, y).real))
        y = y - along[-1] * x
        beta = float(np.linalg.norm(y))
        beside.append(beta)
        if not beta > n * ROUND_OFF * product.largest_eigenvalue:
            break
        x, before = y / beta, x
    smallest = scipy.linalg.eigvalsh_tridiagonal(
        np.array(along), np.array(beside[:-1]), select="i", select_range=(0, 0)
    )
    # Ritz values leave the range of the eigenvalues by rounding only (Paige)
    return bool(smallest[0] < -100 * n * ROUND_OFF * product.largest_eigenvalue)


def _not_proved(product: ScaledProduct, estimate: float) -> ModelError:
    if len(product.balance) <= DENSE_LIMIT:
        estimate = float(np.linalg.eigvalsh(dense(product.balanced))[0])
    return ModelError(
        "the product is not positive definite to working precision: its eigenvalues, in units of its diagonal, go "
        f"from about {estimate:.1e} to {product.largest_eigenvalue:.1e}, and no bound would be true"
        + product.defect("choose another inner product, or eliminate unknowns that (nearly) depend on each other")
    )


def _estimate(product: ScaledProduct, which: str = "LA") -> float:
    """Estimate the smallest eigenvalue from the inverse, to a few percent; with "LM" that of smallest size.

    It is off by more if cond(P) u is not small.
    """
    solve, s, n = product.factorized(), product.balance[:, None], len(product.balance)
    dtype = product.matrix.dtype

    def inverse(x: np.ndarray) -> np.ndarray:
        return (solve(np.asarray(x, dtype=dtype).reshape(n, -1) / s) / s).reshape(x.shape)

    if n <= 40:
        whole = inverse(np.eye(n))
        largest = float(np.linalg.eigvalsh((whole + whole.conj().T) / 2)[-1]) if np.all(np.isfinite(whole)) else 0.0
    else:
        operator = spla.LinearOperator((n, n), matvec=inverse, dtype=dtype)
        start = np.random.default_rng(0).standard_normal(n).astype(dtype)
        try:
            values = spla.eigsh(operator, k=1, which=which, v0=start, tol=1e-2, return_eigenvectors=False)
        except spla.ArpackError as error:
            raise ModelError(
                f"the condition of the product could not be measured ({error}); check that it is positive definite"
            ) from error
        largest = float(values[0].real)
    if not largest > 0:
        raise ModelError("the product is not positive definite to working precision" + product.defect())
    return 1 / largest
