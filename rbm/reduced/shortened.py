"""Fewer basis vectors, and fewer rows for the factor of E_onb.

Directions that hardly matter are left out of the factor, and the bound covers them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rbm.arithmetic import extended
from rbm.arithmetic.precision import column_norm_bounds, widened
from rbm.errors import ModelError
from rbm.estimators.orthonormal import Orthonormal
from rbm.estimators.residual_factor import SAFETY
from rbm.online.reference import residual_coefficients
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.online_query import Query

__all__ = ["compressed_fields", "truncated_fields"]

#: Number of sample points when none are given.
SAMPLE = 512


def truncated_fields(arrays: ReducedArrays, size: int) -> dict[str, Any]:
    """Return what is different for the first `size` basis vectors; see :meth:`rbm.ReducedModel.truncate`."""
    columns = arrays.rhs.shape[0] + size * arrays.operators.shape[0]
    states = {name: state.truncate(size, columns) for name, state in arrays.estimators.items()}
    lost = f"not available after truncate({size}): project the truncated basis instead"
    operators, rows = arrays.operators[:, :, :size], size
    if arrays.projection == "least-squares":
        used = np.any(operators != 0, axis=(0, 2)) | np.any(arrays.rhs != 0, axis=0)
        rows = int(np.flatnonzero(used).max()) + 1
    return {
        "operators": operators[:, :rows],
        "rhs": arrays.rhs[:, :rows],
        "outputs": {k: o.truncate(size) for k, o in arrays.outputs.items()},
        "estimators": {name: state for name, state in states.items() if state is not None},
        "refused": {**arrays.refused, **{name: lost for name, state in states.items() if state is None}},
        "basis": None if arrays.basis is None else arrays.basis[:, :size],
        "coded": None if arrays.coded is None else arrays.coded.truncate(size),
        "coded_matrices": {},
        "selected": None if arrays.selected is None else arrays.selected[:size],
        "record": None if arrays.record is None else arrays.record.shortened(size),
    }


def compressed_fields(
    arrays: ReducedArrays, query: Query, rtol: float = 0.01, tol: float | None = None, training: Any = None
) -> dict[str, Any]:
    """Return what is different with a shorter factor of E_onb; see :meth:`rbm.ReducedModel.compress`.

    query : solves the reduced system of `arrays`
    """
    state = arrays.estimators.get(Orthonormal.kind)
    if not isinstance(state, Orthonormal):
        raise ModelError(
            "compress shortens the factor of the estimator 'orthonormal', which this model lacks; it has "
            f"{', '.join(arrays.estimators) or 'none'}"
        )
    for name, number in (("rtol", rtol), ("tol", 0.0 if tol is None else tol)):
        if not (isinstance(number, int | float | np.number) and np.isfinite(number) and number >= 0):
            raise ModelError(f"{name} must be a number >= 0, got {number!r}")
    parameters = arrays.parameters
    mus = parameters.sample(SAMPLE, "sobol", rng=0) if training is None else parameters.validate(training)
    theta, phi = arrays.operator_coefficients(mus), arrays.rhs_coefficients(mus)
    gamma = query.solve(mus, estimate=False).coefficients
    allowed = rtol * float(np.median(state.evaluate(theta, phi, gamma).value)) if tol is None else float(tol)
    sizes = np.abs(residual_coefficients(theta, phi, widened(gamma)))
    made, record = _shortened(state, sizes, allowed), arrays.record
    if record is not None and len(made.factor) < len(state.factor):
        record = record.after("compressed")
    return {"estimators": {**arrays.estimators, made.method: made}, "record": record}


def _shortened(state: Orthonormal, sizes: np.ndarray, allowed: float) -> Orthonormal:
    """Return the state with the fewest rows whose floor grows by at most `allowed` at all sizes |c| (M, m)."""
    factor = widened(state.factor)
    full = state.full_rows or len(factor)
    typical = np.sqrt(np.mean(sizes**2, axis=0))
    typical = np.where(typical > 0, typical, typical[typical > 0].min(initial=1.0))
    directions = np.linalg.svd(factor * typical, full_matrices=False)[0]
    # ||R_j - U_k U_k^H R_j|| for every k = 0..r at once: what the directions left out hold of every column
    parts = np.abs(directions.conj().T @ factor) ** 2
    tails = np.sqrt(np.concatenate([np.cumsum(parts[::-1], axis=0)[::-1], np.zeros((1, parts.shape[1]))]))
    growth = (sizes @ tails.T).max(axis=0)
    rows = max(1, int(np.argmax(growth <= 0.99 * allowed)))  # the last growth is 0
    if rows < len(factor):
        made = _projected(state, directions[:, :rows]).astype(np.finfo(state.factor.dtype).dtype)
        measured = float((sizes @ (SAFETY * (made.defects - state.defects))).max())
        if measured <= allowed:
            return replace(made, full_rows=full, growth=state.growth + measured)
    return replace(state, full_rows=full)


def _projected(state: Orthonormal, directions: np.ndarray) -> Orthonormal:
    """Return the state with R' = U^H R, made upper trapezoidal, for U (k0, k).

    What this leaves out is measured, and so is how far U is from orthonormal.
    """
    factor = widened(state.factor)
    rotation, triangle = np.linalg.qr(directions.conj().T @ factor)
    basis = directions @ rotation
    hi, lo = extended.product(basis, triangle)
    left_out = extended.add((factor, np.zeros_like(factor)), (-hi, -lo))
    distance = column_norm_bounds(left_out[0] + left_out[1]) + column_norm_bounds(extended.rounding(basis, triangle))
    hi, lo = extended.product(basis.conj().T, basis)
    rounding = extended.rounding(basis.conj().T, basis)
    skew = float(np.linalg.norm(hi - np.eye(len(hi)) + lo)) + float(np.linalg.norm(rounding))
    # | ||U R' c|| - ||R' c|| | <= ||U^H U - I|| ||R' c||; both share the safety margin of `moved`
    return state.moved(triangle, distance, skew)
