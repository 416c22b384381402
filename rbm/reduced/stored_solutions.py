"""Solutions of a reduced model in few bits, and back, with bounds that hold for what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.estimate import Estimate
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.coded_basis import CodedBasis
from rbm.reduced.coded_coefficients import CodedCoefficients, Method, encoded
from rbm.reduced.origin import STORED, check_origin
from rbm.solution import Solution, coefficients_of

__all__ = ["coded", "decoded", "reconstructed"]

#: ||Z^H P Z - I|| of models in files of earlier versions, which do not say it; assumed there, proved in all others.
ASSUMED = 1e-8
#: By less than this two evaluations of one added error differ: a threshold to tell bases apart, nothing is forgiven.
MOVED = 1e-6


def reconstructed(basis: CodedBasis, given: Any, gamma: Any) -> Any:
    """Return S Q W^H gamma (M, n) for gamma (M, N), the coefficients of `given`.

    Raises ModelError for a Solution whose bounds lack what this basis changes: the model in full, or in more bits, has
    the same exact basis.
    """
    if not isinstance(given, Solution) or given.estimate is None:
        return basis.reconstruct(gamma)
    made = to_numpy(basis.error(gamma))
    known = given.estimate.quantization
    known = np.zeros_like(made) if known is None else to_numpy(known)
    # of the same basis both are upper bounds of one number, whatever the order of their sums; MOVED is what that moves
    if lacking := int(np.count_nonzero(made > (1 + MOVED) * known)):
        raise ModelError(
            f"the bounds of {lacking} of {len(made)} points do not cover what the basis in few bits changes, here up "
            f"to {made.max():.3g}: they are of a model in full, or in more bits. Solve with this model, or ask its "
            "estimate(mus, solution); if you mean the numbers all the same, pass solution.coefficients"
        )
    return basis.reconstruct(gamma)


def coded(model: ReducedArrays, origin: str, given: Any, bits: float, method: Method, rng: int) -> CodedCoefficients:
    """Return a Solution or coefficients (M, N) in few bits; see :meth:`rbm.ReducedModel.encode`."""
    check_origin(given, model, lambda: origin)
    gamma = np.asarray(to_numpy(coefficients_of(given)))
    if gamma.ndim != 2 or gamma.shape[1] != model.size or not len(gamma):
        raise ValueError(f"coefficients must have shape (M, {model.size}) with M >= 1, got {gamma.shape}")
    if gamma.dtype.kind not in "iufc":
        raise ValueError(f"coefficients must be numbers, got an array of {gamma.dtype}")
    gamma = gamma.astype(float) if gamma.dtype.kind in "iu" else gamma
    if bad := int(np.count_nonzero(~np.isfinite(gamma))):
        raise ValueError(f"coefficients hold {bad} entries that are NaN or infinite: leave out the rows that failed")
    known = isinstance(given, Solution) and given.estimate is not None
    return encoded(gamma, bits, method, origin, _bounds(given) if known else None, rng)


def _bounds(given: Solution) -> np.ndarray:
    """Return bounds (M,) of ||u - Z gamma||_P."""
    e = given.estimate
    assert e is not None
    value, floor = to_numpy(e.value), to_numpy(e.floor)
    # What a basis in few bits adds depends on the coefficients: it comes back when they are decoded. In coefficients
    # that were stored before, `quantization` is also their distance from the true ones, and stays.
    if e.quantization is not None and given.method != STORED:
        with np.errstate(invalid="ignore"):
            less = floor - to_numpy(e.quantization) * (1 - 8 * ROUND_OFF)
        floor = np.where(less >= 0, less, np.where(np.isfinite(floor), 0.0, np.inf))
    return np.asarray((value + floor) * (1 + 4 * ROUND_OFF))


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
    bound = stored.error_bounds
    if bound is None:
        return Solution(gamma, {}, origin=stored.origin, names=names, units=units)
    # ||Z (gamma - gamma')||_P <= (1 + eta)^{1/2} ||gamma - gamma'||_2
    error = (1 + max(model.orthonormality, ASSUMED)) ** 0.5 * (1 + 8 * ROUND_OFF) * stored.error
    if model.coded is not None:
        error = error + model.coded.error(gamma)
    # whether the bound is close to the error was known then, and is not now
    made = Estimate(bound, np.zeros_like(bound), np.zeros(len(bound), dtype=bool)).quantized(error)
    return Solution(gamma, {}, made, origin=stored.origin, names=names, units=units, method=STORED)
