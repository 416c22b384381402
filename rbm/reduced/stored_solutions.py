"""Solutions of a reduced model in few bits, and back, with bounds that hold for what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.estimate import Estimate
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.coded_coefficients import CodedCoefficients, Method, encoded
from rbm.reduced.origin import check_origin
from rbm.solution import Solution, coefficients_of

__all__ = ["coded", "decoded"]


def coded(model: ReducedArrays, origin: str, given: Any, bits: float, method: Method, rng: int) -> CodedCoefficients:
    """Return a Solution or coefficients (M, N) in few bits; see :meth:`rbm.ReducedModel.encode`."""
    check_origin(given, model, lambda: origin)
    gamma = np.asarray(to_numpy(coefficients_of(given)))
    if gamma.ndim != 2 or gamma.shape[1] != model.size or not len(gamma):
        raise ValueError(f"coefficients must have shape (M, {model.size}) with M >= 1, got {gamma.shape}")
    if gamma.dtype.kind not in "fc" or not np.all(np.isfinite(gamma)):
        raise ValueError(f"coefficients must be finite numbers, got {gamma.dtype} with NaN or infinite entries")
    bounds = None
    if isinstance(given, Solution) and given.estimate is not None:
        e = given.estimate
        floor = to_numpy(e.floor)
        if e.quantization is not None:  # what a basis in few bits adds depends on the coefficients: it comes back later
            floor = floor - to_numpy(e.quantization) * (1 - 8 * ROUND_OFF)
        wide = (to_numpy(e.value) + np.maximum(floor, 0.0)) * (1 + 2.0**-20)
        with np.errstate(over="ignore"):
            bounds = np.nextafter(wide.astype(np.float32), np.float32(np.inf))
    return encoded(gamma, bits, method, origin, bounds, rng)


def decoded(model: ReducedArrays, origin: str, stored: CodedCoefficients) -> Solution:
    """Return what was stored; see :meth:`rbm.ReducedModel.decode`."""
    if not isinstance(stored, CodedCoefficients):
        raise TypeError(f"decode takes what encode returned, got {type(stored).__name__}")
    gamma = stored.coefficients()
    known = Solution(gamma, {}, origin=stored.origin)
    if gamma.shape[1] != model.size:
        raise ModelError(f"these are coefficients of {gamma.shape[1]} basis vectors, the model has {model.size}")
    check_origin(known, model, lambda: origin)
    names, units = model.parameters.names, {**model.parameters.units, **model.output_units}
    if stored.bounds is None:
        return Solution(gamma, {}, origin=stored.origin, names=names, units=units)
    error = (1 + model.orthonormality) ** 0.5 * (1 + 8 * ROUND_OFF) * stored.error
    if model.coded is not None:
        error = error + model.coded.error(gamma)
    bound = stored.bounds.astype(float)
    made = Estimate.from_norm(bound, np.zeros_like(bound)).quantized(error)
    return Solution(gamma, {}, made, origin=stored.origin, names=names, units=units, method="stored")
