"""Eigenpairs of a pencil on a reduced basis, with what their residuals say of the full pencil's eigenvalues.

B v = t P v, v = Z c. With the residual's range W = D R of the reduced model (A_q z_n is column Qf + n Qa + q of it) all
is known from small arrays:

    ||(B - t P) Z c||_{P'} <= ||R c_w|| + floor,   c_w the weights of B - t P times c,
    v^H (B - t P) v = (P v, (B - t P) v)_{P'} = (R c_P)^H R c_w up to floors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from rbm.arithmetic.precision import ROUND_OFF, widened
from rbm.errors import ModelError
from rbm.estimators import Orthonormal
from rbm.online.reference import residual_coefficients
from rbm.reduced.model import ReducedModel
from rbm.uses.pencil_path import PencilPath

__all__ = ["RitzPairs", "ritz_pairs"]

#: Room for the rounding of the few operations that combine proved bounds.
ROUNDED_UP = 1 + 2.0**-40


@dataclass(frozen=True)
class RitzPairs:
    """Reduced eigenpairs (t_j, Z c_j), with P-norms of about one, in increasing order of t."""

    values: np.ndarray  #: t (N,)
    coefficients: np.ndarray  #: c (N, N), one row each
    residuals: (
        np.ndarray
    )  #: (N,) r_j >= ||(B - t_j P) Z c_j||_{P'} / sigma, sigma the least singular value of P^1/2 Z C
    centres: np.ndarray  #: (N,) |t_j - v^H B v / v^H P v| is at most this


def ritz_pairs(reduced: ReducedModel, path: PencilPath) -> RitzPairs:
    """Return all eigenpairs of the pencil on the reduced basis.

    Galerkin on the span of Z, also for a least-squares model: Z^H B Z = (R_P)^H R_B, as Z^H D = (R_P)^H with the
    columns R_P, R_B of R that belong to P Z and B Z. Whatever rounding does to c and t, residuals are those of the
    numbers that came out. Raises ModelError for a model without the estimator "orthonormal". Cost: N^3 + 4 N^2 k flops.
    """
    if reduced.size == 0:
        raise ModelError("the reduced model has no basis vector, hence no eigenpair")
    state = reduced.state("orthonormal")
    if not isinstance(state, Orthonormal):
        raise ModelError("poles need the estimator 'orthonormal' as it comes with this package")
    factor, rhs_terms = widened(state.factor), reduced.rhs_coefficients(np.asarray([[path.range[0]]])).shape[1]
    columns = factor[:, rhs_terms:].reshape(len(factor), reduced.size, len(path.alphas))
    of_product, of_matrix = columns @ path.product, columns @ path.matrix
    image = of_product.conj().T @ of_matrix
    try:
        values, vectors = scipy.linalg.eigh((image + image.conj().T) / 2)
    except (np.linalg.LinAlgError, ValueError) as error:
        raise ModelError(f"the eigenpairs of the reduced model could not be computed: {error}") from error
    c = vectors.T
    loss = _orthonormality(c) + reduced.orthonormality * (1 + _orthonormality(c))
    if not loss < 0.5:
        raise ModelError(f"the basis of the reduced model is not orthonormal, it is off by {loss:.1e}; make it anew")
    size, sigma = np.sqrt(1 + loss), np.sqrt(1 - loss)  # the P-norm of Z c is between them

    weights = path.matrix - values[:, None] * path.product  # of B - t_j P (N, Qa)
    phi = np.zeros((len(c), rhs_terms))
    found = state.evaluate(weights.astype(c.dtype), phi.astype(c.dtype), c)
    # the combination is s (B - t P) + d P + sum_q w_q E_q: s = 1 and d = 0 up to rounding
    s, d = weights @ path.kappas, weights @ path.alphas + values * (weights @ path.kappas)
    units = (8 + 2 * len(path.alphas)) * ROUND_OFF
    terms = np.abs(weights) @ (path.errors + units * np.abs(path.alphas))
    terms = terms + units * np.abs(values) * (np.abs(weights) @ np.abs(path.kappas)) + np.abs(d)
    share = np.abs(s) - units * (np.abs(weights) @ np.abs(path.kappas))
    if not np.all(share > 0.5):
        raise ModelError(
            "the terms of the pencil and its product do not fit each other; give the model it was made from"
        )
    residuals = ROUNDED_UP * (found.bound + terms * size) / (share * sigma)

    # (P v)^H P^-1 (B - t P) v from the plain sums and their own floors
    of_rest = residual_coefficients(weights.astype(c.dtype), phi.astype(c.dtype), c)
    of_p = residual_coefficients(np.broadcast_to(path.product, weights.shape).astype(c.dtype), phi.astype(c.dtype), c)
    rest, rest_floor = _plain(state, factor, of_rest)
    image_p, image_floor = _plain(state, factor, of_p)
    inner = np.abs((image_p.conj() * rest).sum(axis=1))
    norms = np.linalg.norm(image_p, axis=1), np.linalg.norm(rest, axis=1)
    product_terms = (
        float(np.abs(path.product) @ (path.errors + units * np.abs(path.alphas)))
        + abs(float(np.real(path.product @ path.alphas)) - 1)
        + abs(complex(path.product @ path.kappas)) * float(np.abs(values).max(initial=0.0))
    )
    image_floor = image_floor + product_terms * size
    off = inner + (state.relative(c.dtype) + (len(factor) + 8) * ROUND_OFF * 4) * norms[0] * norms[1]
    off = off + image_floor * norms[1] * (1 + state.relative(c.dtype)) + size * rest_floor
    centres = ROUNDED_UP * (off / sigma**2 + terms * (size / sigma) ** 2) / share
    return RitzPairs(values, c, residuals, centres)


def _plain(state: Orthonormal, factor: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return R c (M, k), and bounds (M,) of ||W c - D R c||_{P'}, rounding of the sums included."""
    made = c @ factor.T
    value = np.linalg.norm(made, axis=1)
    wide = np.dtype(complex if c.dtype.kind == "c" else float)
    return made, np.abs(c) @ state.floor_weights(wide) + state.relative(wide) * value + state.floor_constant(wide)


def _orthonormality(c: np.ndarray) -> float:
    """Return a bound of ||C C^H - I||_F for rows C (N, N), rounding included."""
    gram = c @ c.conj().T
    return float(np.linalg.norm(gram - np.eye(len(c)))) + 4 * len(c) ** 1.5 * (len(c) + 2) * ROUND_OFF
