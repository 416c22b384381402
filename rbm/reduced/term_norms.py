"""Norms of operator terms from P to P', which error bounds of derivatives need; offline, and kept in files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank import LowRankMatrix
from rbm.affine.inner_product import InnerProduct
from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF, scaled, widened
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.form_norms import form_norm
from rbm.solvers.definite import hermitian_part, norm_bound
from rbm.stability.bound import StabilityBound
from rbm.stability.min_theta import BoundMinTheta

__all__ = ["TermNorms", "in_energy", "term_norms", "term_norms_of"]

#: Up to so many unknowns the norms are computed with every reduced model, in some hundredths of a second a term.
SMALL = 400
#: Up to this dimension largest eigenvalues come from a dense problem.
DENSE = 200
#: A - A^H is round-off up to this many u of A.
EQUAL = 64.0


@dataclass(frozen=True)
class TermNorms:
    """Proved upper bounds for each operator term, infinite where nothing is known."""

    norms: np.ndarray  #: ||A_q|| (Qa,) from P to P'
    skew: np.ndarray  #: ||A_q - A_q^H|| (Qa,) from P to P'

    def __post_init__(self) -> None:
        for name in ("norms", "skew"):
            array = np.asarray(getattr(self, name), dtype=float)
            if array.ndim != 1 or array.shape != np.shape(self.norms) or not np.all(array >= 0):
                raise ValueError(f"{name} of the operator terms must be numbers (Qa,) of at least 0")
            object.__setattr__(self, name, array)


def in_energy(stability: StabilityBound, norms: TermNorms) -> np.ndarray:
    """Return which terms (Qa,) are bounded by A(mu) itself, theta_q A_q <= A(mu): those of a min-theta bound."""
    if type(stability) is not BoundMinTheta:
        return np.zeros(len(norms.norms), dtype=bool)
    return np.isfinite(stability.reference) & np.isfinite(norms.skew)


def term_norms(system: AffineSystem, stability: StabilityBound, *, small: int | None = SMALL) -> TermNorms:
    """Return what is known of the terms of a system.

    small : more unknowns than this get no norms where these cost eigenvalues and factorisations; None for no limit.
        What a min-theta bound makes unnecessary is computed for few unknowns only.

    Cost: some 20 solves with P and three factorisations for each term and its skew part.
    """
    count = len(system.operator_terms)
    with np.errstate(over="ignore", invalid="ignore"):
        return _known(system, stability, small, TermNorms(np.full(count, np.inf), np.full(count, np.inf)))


def term_norms_of(reduced: Any, system: AffineSystem) -> TermNorms:
    """Return all norms of the terms of `system`, the full model of a reduced one; raise ModelError for another's."""
    mine, theirs = reduced.operator_coefficients.sources, system.operator_coefficients.sources
    n = reduced.unknowns
    if [repr(a) for a in mine] != [repr(b) for b in theirs] or n not in (None, system.dimension):
        raise ModelError(
            f"the full model has {system.dimension} unknowns and {len(theirs)} operator terms, whose coefficients are "
            f"not those of this reduced model ({n or 'unknown'} unknowns, {len(mine)} terms); give the model that it "
            "was made from"
        )
    if not _projects(reduced, system):
        raise ModelError(
            "the terms of the full model, projected on the basis, are not those of this reduced model; give the model "
            "that it was made from"
        )
    return term_norms(system, reduced.stability, small=None)


def _projects(reduced: Any, system: AffineSystem) -> bool:
    """Return whether Z^H A_q Z and Z^H P Z are what the reduced model holds, to 1e-3: False tells another model."""
    z = reduced.basis
    if not isinstance(z, np.ndarray) or reduced.projection != "galerkin" or z.shape[0] != system.dimension:
        return True  # nothing to compare
    z = widened(z)
    with np.errstate(over="ignore", invalid="ignore"):
        for a, held in zip(
            (*system.operator_terms, system.inner_product.matrix),
            (*widened(reduced.operators), np.eye(reduced.size)),
            strict=True,
        ):
            image = a @ z
            off = np.linalg.norm(z.conj().T @ image - held)
            if off > 1e-3 * (np.linalg.norm(z) * np.linalg.norm(image) + np.linalg.norm(held)):
                return False
    return True


def _known(system: AffineSystem, stability: StabilityBound, small: int | None, known: TermNorms) -> TermNorms:
    inner, terms = system.inner_product, system.operator_terms
    if system.black_box:
        return known
    if type(stability) is BoundMinTheta:
        for q, (term, sizes) in enumerate(zip(terms, system.skew_sizes, strict=True)):
            # where A - A^H is no round-off its proved bound is a crude one, and ||A|| a better number
            near = isinstance(term, LowRankMatrix) or sizes.is_rounding(EQUAL)
            known.skew[q] = (1 + 8 * ROUND_OFF) * sizes.norm / inner.smallest_eigenvalue if near else np.inf
    # of few unknowns also what a min-theta bound makes unnecessary: it may be sharper
    left = np.full(len(terms), system.dimension <= SMALL) | ~in_energy(stability, known)
    if not _differentiable(system.operator_coefficients):
        left[:] = False  # no derivative needs them
    if small is None or system.dimension <= small:
        for q in np.flatnonzero(left).tolist():
            known.norms[q] = _norm(inner, terms[q])
    return known


def _differentiable(coefficients: Coefficients) -> bool:
    """Return whether all coefficients have derivatives, and one of them is not constant."""
    try:
        coefficients.check_derivatives()
    except ModelError:
        return False
    return coefficients.constant is None


def _norm(inner: InnerProduct, term: Any) -> float:
    """Return a proved upper bound of ||A|| from P to P': of the Hermitian part and of the skew one."""
    if isinstance(term, LowRankMatrix):
        sides = [inner.dual_norm_upper(np.asarray(a, dtype=np.result_type(a, float))) for a in (term.U, term.V)]
        return float(np.sum(np.abs(term.s) * sides[0] * sides[1]) * (1 + 1e-12))
    half = term / 2 - term.conj().T / 2
    parts = [hermitian_part(term), half * -1j if abs(half).max() > 0 else None]
    total = 0.0
    for part in parts:
        if part is None:
            continue
        if np.iscomplexobj(part) and not abs(part.imag).max() > 0:
            part = part.real
        made = sp.csr_array(part) if sp.issparse(part) else part
        form, exponent = inner.in_units_scaled(hermitian_part(made))
        total += float(scaled(np.array(form_norm(form, inner.units, DENSE)), exponent))
    if parts[1] is not None:  # both parts were rounded
        total += 4 * ROUND_OFF * norm_bound(inner.in_units(term)) / inner.smallest_eigenvalue
    return total * (1 + 8 * ROUND_OFF) if np.isfinite(total) else np.inf
