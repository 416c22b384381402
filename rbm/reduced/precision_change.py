"""The change of a reduced model to single precision and back, with bounds that hold for what it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rbm.arithmetic.precision import converted, is_single
from rbm.errors import EstimatorUnusable, ModelError
from rbm.estimators import Estimator
from rbm.estimators.interpolated_square import InterpolatedSquare
from rbm.estimators.validation import answered, validation_points
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.online_query import Query

__all__ = ["converted_arrays", "interpolated_squares", "recalibrated"]


def converted_arrays(arrays: ReducedArrays, dtype: np.dtype) -> dict[str, Any]:
    """Return the reduced matrices and the estimators in another precision, by the names of their fields.

    See :meth:`rbm.ReducedModel.astype`.
    """
    states: dict[str, Estimator] = {}
    refused = dict(arrays.refused)
    for name, state in arrays.estimators.items():
        try:
            states[name] = state.astype(dtype)
        except (EstimatorUnusable, ModelError) as error:
            if name == arrays.method:
                raise
            refused[name] = str(error)
    operators = converted("the reduced operators", arrays.operators, dtype)
    rhs = converted("the reduced right-hand sides", arrays.rhs, dtype)
    # codes stand for the numbers before: those of the other precision are others
    record = arrays.record
    if record is not None and is_single(dtype):  # wider arrays hold the same numbers
        record = record.after(f"rounded to {dtype.name}")
    of_state = {"estimators": states, "refused": refused, "record": record}
    return {"operators": operators, "rhs": rhs, "coded_matrices": {}, **of_state}


def interpolated_squares(estimators: Mapping[str, Estimator]) -> dict[str, InterpolatedSquare]:
    """Return E3 and E4, as far as they are among the estimators."""
    return {name: state for name, state in estimators.items() if isinstance(state, InterpolatedSquare)}


def recalibrated(
    squares: Mapping[str, InterpolatedSquare], before: ReducedArrays, queries: Sequence[Query]
) -> dict[str, InterpolatedSquare]:
    """Return E3 and E4 of a converted model, with the change of the reduced solutions in their floors.

    The states know the reduced solutions of the model before the conversion only; how far those of the converted model
    are off is measured at validation points.

    queries : of the converted model and of the one before
    """
    mus = validation_points(before.parameters, np.zeros((0, len(before.parameters))))
    for query in queries:
        mus = answered(lambda points, query=query: query.solve(points, estimate=False), mus)  # type: ignore[misc]
    if not len(mus):
        raise EstimatorUnusable(
            f"what {queries[0].arrays.dtype} does to the estimator {next(iter(squares))!r} was seen nowhere: the model "
            f"has an answer at none of the validation points in {before.parameters}; keep the model in float64, or use "
            "the estimator 'orthonormal'"
        )
    theta, phi = before.operator_coefficients(mus), before.rhs_coefficients(mus)
    gamma, gamma_before = (query.solve(mus, estimate=False).coefficients for query in queries)
    known = interpolated_squares(before.estimators)
    return {name: state.recalibrated(known[name], theta, phi, gamma, gamma_before) for name, state in squares.items()}
