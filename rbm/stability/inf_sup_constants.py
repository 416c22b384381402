"""Inf-sup constants at full order, by dense linear algebra in the norms of P.

Singular values have allowances for rounding: the smallest are bounded from below, the largest from above.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from lowrank.progress import progress_bar
from rbm.affine.system import AffineSystem
from rbm.errors import Interrupted, StabilityError, WorkersLost
from rbm.solvers.definite import dense
from rbm.workers.crew import Crew

__all__ = [
    "combined",
    "inf_sup",
    "largest_eigenvalue",
    "singular",
    "smallest_singular",
    "spectral_norm",
    "whitened_terms",
]

DENSE_LIMIT = 6000
#: Largest relative rounding error of a constant that is tolerated (and allowed for).
TOLERABLE = 1e-3
#: Computed constants are lowered and computed norms raised by this share, for the rounding of dense linear algebra.
SLACK = 1e-8


class _Whitened(NamedTuple):
    """The terms L^{-1} A_q L^{-H} (n, n), and their relative rounding error: what workers get once."""

    terms: list[np.ndarray]
    rounding: float


def inf_sup(system: AffineSystem, mus: Any, *, progress: bool = False, executor: Executor | None = None) -> np.ndarray:
    """Return the inf-sup constant (M,) at each point, by a dense decomposition.

    It is beta(mu) = sigma_min(L^{-1} A(mu) L^{-H}), P = L L^H.

    Lowered by 1e-8 of itself and by what rounding may have added (0 where A(mu) is singular to working precision).

    executor : a constant each is computed by its workers (docs/scale.md), which get the whitened terms once; the
        constants are the same

    Raises StabilityError for a model without entries or with more than 6000 unknowns; Interrupted on Ctrl-C, whose
    `result` (M,) is NaN where there is none yet, and WorkersLost, whose `solution` is the same. Cost: (8/3 + 4/3 Qa)
    n^3 flops per point (0.4 s for 1026 complex unknowns on two cores); for references and figures, not online.
    """
    mus = system.parameters.validate(mus, extrapolate=True)
    theta = system.operator_coefficients(mus)
    values = np.full(len(mus), np.nan)
    with Crew(executor, None) as crew:
        crew.what = _Whitened(*whitened_terms(system))
        work = crew.run(_smallest, ((t,) for t in theta))
        try:
            for i, value in enumerate(progress_bar(work, "inf-sup constants", enabled=progress, total=len(mus))):
                values[i] = value
        except (KeyboardInterrupt, WorkersLost) as error:
            for i, value in work.finished():
                values[i] = value
            if isinstance(error, WorkersLost):
                error.solution = values
                raise
            done = int(np.count_nonzero(~np.isnan(values)))
            raise Interrupted(
                f"interrupted with {done} of {len(mus)} inf-sup constants done; they are in `result` of this "
                "exception, where all others are NaN",
                values,
            ) from error
    return values


def _smallest(what: _Whitened, theta: np.ndarray) -> float:
    """Return the constant at one point, from coefficients (Qa,)."""
    return smallest_singular(combined(theta, what.terms), what.rounding)[0]


def whitened_terms(system: AffineSystem) -> tuple[list[np.ndarray], float]:
    """Return the dense L^{-1} A_q L^{-H} (n, n), and their relative rounding error.

    Singular values of their combinations are those from P to P'.
    """
    if system.black_box:
        raise StabilityError("inf-sup constants need the entries of all operator terms; one is a LinearOperator")
    if system.dimension > DENSE_LIMIT:
        raise StabilityError(
            f"inf-sup constants are computed by dense linear algebra, for at most {DENSE_LIMIT} unknowns; this model "
            f"has {system.dimension}: rbm.stability.NaturalNorm() is for any size, Pencil and SCM for special cases"
        )
    product = dense(system.product)
    units = system.inner_product.balance
    spectrum = np.linalg.eigvalsh(units[:, None] * product * units)
    rounding = 10 * np.sqrt(len(product)) * np.finfo(float).eps / 2 * spectrum[-1] / spectrum[0]
    if not 0 < rounding <= TOLERABLE:
        raise StabilityError(
            "inf-sup constants cannot be computed: the product, scaled to a unit diagonal, has eigenvalues from "
            f"{spectrum[0]:.1e} to {spectrum[-1]:.1e} and is not positive definite, or too ill-conditioned; choose "
            "another inner product"
        )
    factor = scipy.linalg.cholesky(product, lower=True)

    def whiten(a: Any) -> np.ndarray:
        half = scipy.linalg.solve_triangular(factor, dense(a), lower=True)
        return scipy.linalg.solve_triangular(factor, half.conj().T, lower=True).conj().T

    return [whiten(a) for a in system.operator_terms], float(rounding)


def singular(at: str) -> StabilityError:
    """Return the error about a parameter `at` where the constant is zero to working precision."""
    return StabilityError(
        f"A(mu) is singular to working precision at {at}: no stability bound is positive there; leave a neighbourhood "
        "of this parameter out"
    )


def combined(theta: np.ndarray, terms: list[np.ndarray]) -> np.ndarray:
    """Return the sum of theta_q times the matrices, A(mu) for one parameter point."""
    return sum(t * a for t, a in zip(theta, terms, strict=True))


def smallest_singular(matrix: np.ndarray, rounding: float) -> tuple[float, np.ndarray]:
    """Bound the smallest singular value of a matrix (n, n) from below, and return its right singular vector (n,).

    rounding : the entries are known to this times the Frobenius norm. The bound is 0 where the matrix may be singular.
    """
    n, u = len(matrix), np.finfo(float).eps / 2
    size = float(np.linalg.norm(matrix))
    square, vectors = _smallest_eigenpair(matrix.conj().T @ matrix)
    if square > 1e-6 * size**2 / n:
        value = float(np.sqrt(square - 10 * np.sqrt(n) * u * size**2))
    else:  # squaring would have lost it
        _, values, rows = np.linalg.svd(matrix)
        value, vectors = float(values[-1]) - 10 * np.sqrt(n) * u * size, rows[-1].conj()
    return max(value * (1 - SLACK) - rounding * size, 0.0), vectors


def spectral_norm(matrix: np.ndarray) -> float:
    """Bound the spectral norm from above, by at most 1e-8 of itself."""
    exponent = int(np.frexp(np.abs(matrix).max(initial=0.0))[1])
    unit = matrix * 2.0 ** -(exponent // 2) * 2.0 ** -(exponent - exponent // 2)  # else its square may be zero
    square = largest_eigenvalue(unit.conj().T @ unit)
    return float(np.ldexp(np.sqrt(square if square > 0 else 0.0) * (1 + SLACK), exponent))


def largest_eigenvalue(matrix: np.ndarray) -> float:
    """Compute the largest eigenvalue of a Hermitian matrix (n, n)."""
    n = len(matrix)
    try:
        return float(scipy.linalg.eigvalsh(matrix, subset_by_index=[n - 1, n - 1], check_finite=False)[0])
    except np.linalg.LinAlgError:
        return float(np.linalg.eigvalsh(matrix)[-1])


def _smallest_eigenpair(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    try:
        values, vectors = scipy.linalg.eigh(matrix, subset_by_index=[0, 0], check_finite=False)
    except np.linalg.LinAlgError:  # LAPACK's search for single eigenvalues fails for some matrices with many equal ones
        values, vectors = np.linalg.eigh(matrix)
    return float(values[0]), vectors[:, 0]
