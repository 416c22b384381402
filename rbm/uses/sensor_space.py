"""What sensors can see of a reduced space: the functionals, their representers, and a certified inf-sup constant.

W = C^H holds k functionals, C u is what is read. W = D R + E with D^H P^{-1} D = I + Omega, ||E_j||_{P'} <= defects_j
(:class:`rbm.affine.functional_range.FunctionalRange`); U = P^{-1} span(W) is the space of updates, and G = D^H Z is the
cross Gramian of Z and P^{-1} D. For z = Z c of norm one and a functional W a, a = R^{-1} d, d = D^H z / ||D^H z||,

    beta = min_z ||Pi_U z||_P >= (sigma_min(G) / (1 + eta)^{1/2} - e) / ((1 + omega)^{1/2} + e),

e = ||defects|| / sigma_min(R), eta >= ||Z^H P Z - I||_F, omega >= ||Omega||_F. Singular values are taken at their
proved ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.functional_range import FunctionalRange
from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic import extended
from rbm.arithmetic.columns import sizes_in_units
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.reduced.model import ReducedModel
from rbm.uses.singular_values import singular_value_bounds

__all__ = ["SensorSpace", "cross_gramian", "dense_functionals", "inner_product_of", "sensor_space"]

#: A step of R that is smaller than this share of its column is rounding.
STEP = 1e-12


@dataclass(frozen=True)
class SensorSpace:
    """k sensors beside a reduced space of N vectors, n unknowns; all numbers that bounds need, rounded upwards."""

    representers: np.ndarray  #: V (n, k), P^{-1} D
    factor: np.ndarray  #: R (k, k), regular; a triangle but for columns that were postponed
    cross: np.ndarray  #: G (k, N)
    stability: float  #: beta, a lower bound
    smallest: float  #: a lower bound of sigma_min of P^{-1/2} W: ||y||_{K^-1} <= ||y|| / smallest, K = W^H P^{-1} W
    largest: float  #: an upper bound of its sigma_max
    eta: float
    omega: float
    cross_error: float  #: ||G - D^H Z||_F
    defects: float  #: ||E a||_{P'} <= defects ||a||
    distances: np.ndarray  #: (k,) ||V_j - P^{-1} D_j||_P
    sizes: np.ndarray  #: (N + k,): entries of Z and V of relative size u are, in the P-norm, u sizes at most


def inner_product_of(reduced: ReducedModel, product: Any = None) -> InnerProduct:
    """Return the inner product of a model that holds its basis, and P or the one given.

    Raises ModelError without a basis or P.
    """
    if not isinstance(reduced, ReducedModel):
        several = ", with a basis for each of its boxes: take one of its leaves" if hasattr(reduced, "leaves") else ""
        raise ModelError(f"a reduced model is needed, got a {type(reduced).__name__}{several}; rbm.greedy makes one")
    if reduced.basis is None:
        why = "holds its basis in few bits" if reduced.coded is not None else "does not hold its basis"
        raise ModelError(f"a state has all unknowns, and this model {why}; save it with basis=True")
    given = reduced.product if product is None else product
    if given is None:
        raise ModelError("the model does not hold its product; give product=, the one that it was made with")
    inner = InnerProduct(given)
    if inner.shape[0] != reduced.basis.shape[0]:
        raise ModelError(f"product has shape {inner.shape}, the basis {reduced.basis.shape[0]} unknowns")
    return inner


def dense_functionals(matrix: Any) -> np.ndarray:
    """Return W = C^H (n, k) of sensors C (k, n)."""
    return np.asarray((matrix.toarray() if sp.issparse(matrix) else np.asarray(matrix)).conj().T)


def cross_gramian(functionals: np.ndarray, basis: np.ndarray, inner: InnerProduct) -> tuple[np.ndarray, float]:
    """Return D^H Z (k, N), and a bound of the Frobenius norm of its error."""
    split = extended.SplitMatrix(functionals.conj().T, inner.balance)
    hi, lo = extended.product(split, basis)
    off = extended.rounding(split, basis) + ROUND_OFF * np.abs(hi + lo)
    return hi + lo, float(np.linalg.norm(off)) * (1 + 2.0**-20)


def sensor_space(basis: np.ndarray, matrix: Any, inner: InnerProduct) -> SensorSpace:
    """Return what is known of sensors C (k, n) beside a basis Z (n, N).

    Raises ModelError for fewer sensors than basis vectors, for sensors that depend on each other, and where beta cannot
    be shown to be positive; it names what is wrong.
    """
    k, size = matrix.shape[0], basis.shape[1]
    if k < size:
        raise ModelError(
            f"{k} sensors cannot tell {size} basis vectors apart: give at least {size}, or a smaller space, "
            f"reduced.truncate({k})"
        )
    functionals = dense_functionals(matrix)
    span = FunctionalRange(inner)
    span.append(functionals, np.zeros_like(functionals), np.zeros(functionals.shape))
    if len(span.factor) < k:
        which = _dependent(
            np.asarray(np.linalg.qr(span.factor, mode="r"))
        )  # of a triangle: R itself has postponed columns
        raise ModelError(
            f"sensor {which} depends on those before it, up to round-off: it reads nothing new. "
            "Leave it out; of sensors that read the same take the mean"
        )
    cross, cross_error = cross_gramian(span.functionals, basis, inner)
    eta, (gram, off) = inner.orthonormality(basis), span.sharp_gram()
    omega = (float(np.linalg.norm(gram - np.eye(k))) + off) * (1 + (k * k + 8) * ROUND_OFF)
    defects = float(np.linalg.norm(span.defects)) * (1 + (k + 8) * ROUND_OFF)
    least, most = singular_value_bounds(span.factor)
    up = 1 + 16 * ROUND_OFF
    smallest = (max(1 - omega, 0.0) ** 0.5 * least / up - defects) / up
    lost = defects / least * up if least > 0 else np.inf
    seen = singular_value_bounds(cross)[0] - cross_error
    stability = (seen / up / (1 + eta) ** 0.5 - lost) / ((1 + omega) ** 0.5 + lost) / up
    if not (smallest > 0 and stability > 0):
        values = np.linalg.svd(cross, compute_uv=False)
        raise ModelError(
            f"these {k} sensors do not tell {size} basis vectors apart: the inf-sup constant, about {values[-1]:.2g}, "
            "cannot be shown to be positive. Add sensors (rbm.place_sensors), or take a smaller space, reduced.truncate"
        )
    representers, distances = inner.riesz_with_error(span.functionals)
    unit = np.sqrt(inner.largest_eigenvalue) * up
    sizes = unit * np.concatenate([sizes_in_units(a, 1 / inner.balance) for a in (basis, representers)])
    return SensorSpace(
        representers, span.factor, cross, float(stability), float(smallest),
        float(((1 + omega) ** 0.5 * most + defects) * up), eta, omega, cross_error, defects, distances, sizes,
    )  # fmt: skip


def _dependent(factor: np.ndarray) -> int:
    """Return the number of the first column that has no step of its own in a triangle R, but for rounding."""
    sizes = np.linalg.norm(factor, axis=0)
    for j in range(len(factor)):
        if not np.abs(factor[j, j]) > STEP * sizes[j]:
            return j
    return len(factor)
