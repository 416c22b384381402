"""Derivatives of the outputs of a reduced model by its parameters, with certified bounds, for a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbm.errors import ModelError, PointError, moved, refused
from rbm.estimators import Orthonormal
from rbm.online.chunks import tiles
from rbm.online.threads import each
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.online_query import Query
from rbm.reduced.output_gradients import AtSlopes, check_differentiable, output_gradient
from rbm.reduced.sensitivities import SlopeResidual, growth, reduced_slopes

__all__ = ["Gradient", "gradient", "solution_slopes"]


@dataclass(frozen=True)
class Gradient:
    """Derivatives of outputs at M points of p parameters: ``values, bounds = reduced.gradient(mus)``.

    |ds/dmu_j - values[name][:, j]| <= bounds[name][:, j] for the full model; docs/gradients.md has the proofs.
    """

    values: Mapping[str, np.ndarray]  #: {output: (M, p)}, (M, k, p) for an array-valued output
    bounds: Mapping[str, np.ndarray] | None  #: the same; None where they were not asked for
    mus: np.ndarray  #: (M, p)
    names: tuple[str, ...] = ()  #: (p,) of the parameters

    def __iter__(self) -> Iterator[Any]:
        """Yield values and bounds."""
        return iter((self.values, self.bounds))

    def __len__(self) -> int:
        return len(self.mus)

    def __repr__(self) -> str:
        outputs = ", ".join(self.values) or "no output"
        largest = ""
        if self.bounds:
            made = {name: float(np.max(b, initial=0.0)) for name, b in self.bounds.items()}
            largest = ", bounds up to " + ", ".join(f"{b:.3g}" for b in made.values())
        return f"Gradient({len(self)} points, d({outputs})/d({', '.join(self.names)}){largest})"


def gradient(
    query: Query, mus: Any, outputs: Sequence[str] | str | None, extrapolate: bool, estimate: bool
) -> Gradient:
    """Return derivatives and their bounds; see :meth:`rbm.ReducedModel.gradient`.

    query : of a model in NumPy's arrays
    """
    arrays = query.arrays
    names = _checked(arrays, outputs, estimate)
    points = arrays.parameters.check(np.array(arrays.parameters.points(mus)), extrapolate)
    count, p = points.shape
    norm = query.slope_residual if estimate else None
    parts: dict[str, dict[int, Any]] = {name: {} for name in names}

    def work(rows: slice) -> None:
        try:
            at = _at(query, points[rows], norm)
            for name in names:
                value, bound = output_gradient(arrays.outputs[name], at)
                _check(arrays, name, value, bound, points[rows])
                parts[name][rows.start] = value, bound
        except PointError as error:
            raise moved(error, rows.start, count) from error

    size = 16 if arrays.operators.dtype.kind == "c" else 8
    each(work, tiles(count, size * _entries(arrays, norm, p)))

    def together(part: int) -> dict[str, np.ndarray]:
        return {name: np.concatenate([made[k][part] for k in sorted(made)]) for name, made in parts.items()}

    return Gradient(together(0), together(1) if estimate else None, points, arrays.parameters.names)


def solution_slopes(reduced: Any, mus: np.ndarray) -> np.ndarray:
    """Return the derivatives (M, p, N) of the coefficients of reduced solutions, at points (M, p) that are checked.

    reduced : a model in NumPy's arrays. Raises as :meth:`rbm.ReducedModel.gradient`.
    """
    return _at(reduced._online, mus, None).slopes.of_gamma


def _checked(arrays: ReducedArrays, outputs: Sequence[str] | str | None, estimate: bool) -> tuple[str, ...]:
    """Return the names of the outputs; raise ModelError for what has no derivative, or no bound of it."""
    known = ", ".join(map(repr, arrays.outputs)) or "none"
    if not (outputs is None or isinstance(outputs, str | Iterable)):
        raise ModelError(f"outputs must be a name or names, got {outputs!r:.60}; the model has {known}")
    names = tuple(arrays.outputs) if outputs is None else (outputs,) if isinstance(outputs, str) else tuple(outputs)
    for name in names:
        if not isinstance(name, str) or name not in arrays.outputs:
            raise ModelError(f"gradient names the output {name!r}, which the model does not have; it has {known}")
    if not names:
        why = f"outputs = {outputs!r} names none" if arrays.outputs else "there are none"
        raise ModelError(
            f"gradient is about outputs, and {why}: "
            + (f"the model has {known}" if arrays.outputs else "give the full model outputs={name: vector}")
        )
    for coefficients in (arrays.operator_coefficients, arrays.rhs_coefficients):
        coefficients.check_derivatives()
    for name in names:
        check_differentiable(name, arrays.outputs[name])
    if not estimate:
        return names
    if arrays.interpolation_error is not None:
        raise ModelError(
            "this model stands for another one (interpolation_error), and how far the derivatives of both are apart is "
            "not known: no bound holds; gradient(mus, estimate=False) gives the derivatives of the model as it is"
        )
    if not isinstance(arrays.estimators.get(Orthonormal.kind), Orthonormal):
        raise ModelError(
            "bounds of derivatives need the estimator 'orthonormal', which gives the norm of any combination of the "
            f"residual's terms; this model has {', '.join(arrays.estimators) or 'none'}. Make it with "
            "estimators=(..., 'orthonormal'), or take the derivatives alone, gradient(mus, estimate=False)"
        )
    return names


def _at(query: Query, mus: np.ndarray, norm: SlopeResidual | None) -> AtSlopes:
    """Return reduced solutions, their derivatives and the residuals of both at points (m, p)."""
    arrays = query.arrays
    theta, phi = arrays.operator_coefficients(mus), arrays.rhs_coefficients(mus)
    of_theta, of_phi = (
        c.derivative(mus).transpose(0, 2, 1) for c in (arrays.operator_coefficients, arrays.rhs_coefficients)
    )
    gamma, estimate = query.residual(theta, phi, None if norm is None else norm.state, mus=mus)
    slopes = reduced_slopes(arrays.operators, arrays.rhs, theta, phi, of_theta, of_phi, gamma)
    if norm is None or estimate is None:
        return AtSlopes(mus, slopes)
    beta = query.beta(mus, theta)
    tau = growth(arrays.stability, arrays.term_norms, theta, of_theta, beta)
    return AtSlopes(mus, slopes, beta, estimate.bound, norm.bounds(slopes, norm.coordinates(slopes)), tau)


def _entries(arrays: ReducedArrays, norm: SlopeResidual | None, p: int) -> int:
    """Return how many numbers the largest intermediate arrays of one point hold, about."""
    qa, rows, n = arrays.operators.shape
    k = 0 if norm is None else len(norm.state.factor)
    return (rows + k) * (n + qa + 3 * p) // 3


def _check(arrays: ReducedArrays, name: str, value: np.ndarray, bound: np.ndarray | None, mus: np.ndarray) -> None:
    """Raise ModelError, naming output and parameter, for numbers beyond the range of double precision."""
    rows = [np.isfinite(a).reshape(len(a), -1).all(axis=1) for a in (value, bound) if a is not None]
    finite = np.all(rows, axis=0)
    if not finite.all():
        raise refused(
            ModelError,
            ~finite,
            lambda i, where: (
                f"the derivative of output {name!r}, or its bound, is beyond the range of double precision at "
                f"{arrays.parameters.describe(mus[i])} ({where}): {value[i]}; scale the model"
            ),
        )
