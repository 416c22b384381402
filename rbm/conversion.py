"""A reduced model in single precision, and back: smaller and faster, with bounds that hold for what it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rbm.errors import EstimatorUnusable, ModelError
from rbm.estimators import Estimator
from rbm.estimators.squares import InterpolatedSquare
from rbm.estimators.validation import answered, validation_points
from rbm.precision import converted
from rbm.query import Query
from rbm.reduced_arrays import ReducedArrays

__all__ = ["converted_arrays", "interpolated_squares", "recalibrated"]


def converted_arrays(arrays: ReducedArrays, dtype: np.dtype) -> dict[str, Any]:
    """The reduced matrices and the estimators in another precision, by the names of their fields; see :meth:`rbm.ReducedModel.astype`."""
    states: dict[str, Estimator] = {}
    refused = dict(arrays.refused)
    for name, state in arrays.estimators.items():
        try:
            states[name] = state.astype(dtype)
        except (EstimatorUnusable, ModelError) as error:
            if name == arrays.method:
                raise
            refused[name] = str(error)
    return {
        "operators": converted("the reduced operators", arrays.operators, dtype),
        "rhs": converted("the reduced right-hand sides", arrays.rhs, dtype),
        "estimators": states,
        "refused": refused,
    }


def interpolated_squares(estimators: Mapping[str, Estimator]) -> dict[str, InterpolatedSquare]:
    """E3 and E4, those of them that are among the estimators."""
    return {name: state for name, state in estimators.items() if isinstance(state, InterpolatedSquare)}


def recalibrated(
    squares: Mapping[str, InterpolatedSquare], before: ReducedArrays, queries: Sequence[Query]
) -> dict[str, InterpolatedSquare]:
    """E3 and E4 of a converted model, which know the reduced solutions of the one before it only.

    What the others are off by is measured at validation points. queries : of the converted model and of the one before
    """
    mus = validation_points(before.parameters, np.zeros((0, len(before.parameters))))
    for query in queries:
        mus = answered(lambda points, query=query: query.solve(points, estimate=False), mus)  # type: ignore[misc]
    if not len(mus):
        raise EstimatorUnusable(
            f"what {queries[0].arrays.dtype} does to the estimator {next(iter(squares))!r} was seen nowhere: the model has an answer at none of the validation points "
            f"in {before.parameters}; keep the model in float64, or use the estimator 'orthonormal'"
        )
    theta, phi = before.operator_coefficients(mus), before.rhs_coefficients(mus)
    gamma, gamma_before = (query.solve(mus, estimate=False).coefficients for query in queries)
    known = interpolated_squares(before.estimators)
    return {name: state.recalibrated(known[name], theta, phi, gamma, gamma_before) for name, state in squares.items()}
