"""A reduced model in single precision, and back: smaller and faster, with bounds that hold for what it computes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rbm.errors import EstimatorUnusable, ModelError, refused
from rbm.estimators import Estimator
from rbm.estimators.squares import InterpolatedSquare
from rbm.estimators.validation import answered, validation_points
from rbm.precision import converted, is_single, precision, rounded

if TYPE_CHECKING:
    from rbm.parameters import ParameterSpace
    from rbm.reduced import ReducedModel

__all__ = ["convert", "rounded_coefficients"]


def convert(model: ReducedModel, dtype: Any) -> ReducedModel:
    """The model with its matrices in another precision; see :meth:`rbm.ReducedModel.astype`."""
    wanted = precision(dtype)
    if is_single(model.dtype) == is_single(wanted):
        return model
    states: dict[str, Estimator] = {}
    refused = dict(model.refused)
    for name, state in model.estimators.items():
        try:
            states[name] = state.astype(wanted)
        except (EstimatorUnusable, ModelError) as error:
            if name == model.method:
                raise
            refused[name] = str(error)
    made = replace(
        model,
        operators=converted("the reduced operators", model.operators, wanted),
        rhs=converted("the reduced right-hand sides", model.rhs, wanted),
        estimators=states,
        refused=refused,
    )
    return _recalibrated(made, model)


def _recalibrated(made: ReducedModel, model: ReducedModel) -> ReducedModel:
    """E3 and E4 know reduced solutions of `model` only; what those of `made` are off by is measured at validation points."""
    squares = {name: state for name, state in made.estimators.items() if isinstance(state, InterpolatedSquare)}
    if not squares:
        return made
    mus = validation_points(model.parameters, np.zeros((0, len(model.parameters))))
    for m in (made, model):
        mus = answered(lambda points, m=m: m.solve(points, estimate=False), mus)  # type: ignore[misc]
    if not len(mus):
        raise EstimatorUnusable(
            f"what {made.dtype} does to the estimator {next(iter(squares))!r} was seen nowhere: the model has an answer at none of the validation points "
            f"in {model.parameters}; keep the model in float64, or use the estimator 'orthonormal'"
        )
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    gamma, before = (m.solve(mus, estimate=False).coefficients for m in (made, model))
    for name, state in squares.items():
        was = model.estimators[name]
        assert isinstance(was, InterpolatedSquare)
        squares[name] = state.recalibrated(was, theta, phi, gamma, before)
    return replace(made, estimators={**made.estimators, **squares})


def rounded_coefficients(
    values: np.ndarray, dtype: np.dtype, mus: np.ndarray, parameters: ParameterSpace
) -> np.ndarray:
    """theta or phi (M, Q) in the precision of a model. Raises ModelError, naming the parameter, for a number beyond its range."""
    made = rounded(values, dtype)
    if made is not values and not np.all(np.isfinite(made)):
        beyond = ~np.isfinite(made)

        def message(i: int, where: str) -> str:
            q = int(np.argmax(beyond[i]))
            return (
                f"coefficient {q} is {values[i, q]:.3g} at {parameters.describe(mus[i])} ({where}), beyond the range of {made.dtype}; "
                "scale the model (its units), or keep it in float64"
            )

        raise refused(ModelError, beyond.any(axis=1), message)
    return made
