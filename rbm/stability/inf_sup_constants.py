"""Inf-sup constants at full order, by dense linear algebra in the norms of P."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from rbm.affine.system import AffineSystem
from rbm.errors import StabilityError
from rbm.stability.interrupts import values_so_far
from rbm.stability.singular_values import smallest_singular

__all__ = ["TOLERABLE", "combined", "inf_sup", "whitened_terms"]

DENSE_LIMIT = 6000
#: Largest relative rounding error of a constant that is tolerated (and allowed for).
TOLERABLE = 1e-3


def inf_sup(system: AffineSystem, mus: Any, *, progress: bool = False) -> np.ndarray:
    """Return the inf-sup constant (M,) at each point, by a dense decomposition.

    It is beta(mu) = sigma_min(L^{-1} A(mu) L^{-H}), P = L L^H.

    Lowered by 1e-8 of itself and by what rounding may have added (0 where A(mu) is singular to working precision).

    Raises StabilityError for a model without entries or with more than 6000 unknowns; Interrupted on Ctrl-C, whose
    `result` (M,) is NaN where there is none yet. Cost: (8/3 + 4/3 Qa) n^3 flops per point.
    (0.4 s for 1026 complex unknowns on two cores); for references and figures, not online.
    """
    mus = system.parameters.validate(mus, extrapolate=True)
    whitened, rounding = whitened_terms(system)
    theta = system.operator_coefficients(mus)
    return values_so_far(
        lambda t: smallest_singular(combined(t, whitened), rounding)[0], theta, "inf-sup constants", progress=progress
    )


def whitened_terms(system: AffineSystem) -> tuple[list[np.ndarray], float]:
    """Return the dense L^{-1} A_q L^{-H} (n, n), and their relative rounding error.

    Singular values of their combinations are those from P to P'.
    """
    if system.black_box:
        raise StabilityError("inf-sup constants need the entries of all operator terms; one is a LinearOperator")
    if system.dimension > DENSE_LIMIT:
        raise StabilityError(
            f"inf-sup constants are computed by dense linear algebra, for at most {DENSE_LIMIT} unknowns; this model "
            f"has {system.dimension}: give the bound as a number, an expression, or MinTheta"
        )
    product = system.product.toarray() if sp.issparse(system.product) else system.product
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
        half = scipy.linalg.solve_triangular(factor, a.toarray() if sp.issparse(a) else a, lower=True)
        return scipy.linalg.solve_triangular(factor, half.conj().T, lower=True).conj().T

    return [whiten(a) for a in system.operator_terms], float(rounding)


def combined(theta: np.ndarray, terms: list[np.ndarray]) -> np.ndarray:
    """Return the sum of theta_q times the matrices, A(mu) for one parameter point."""
    return sum(t * a for t, a in zip(theta, terms, strict=True))
