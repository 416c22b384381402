"""Error estimates of coefficients that are given, piece by piece, so that neither Ctrl-C nor a bad point loses the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lowrank.arrays import beside, namespace
from rbm.bounds import error_estimate
from rbm.devices import numbers_for, points_for
from rbm.errors import Interrupted, PointError
from rbm.estimate import Estimate
from rbm.estimators.squares import InterpolatedSquare
from rbm.online.batches import answer
from rbm.origin import check_origin
from rbm.query import Query
from rbm.solution import Solution, coefficients_of

__all__ = ["estimate"]


def estimate(query: Query, mus: Any, coefficients: Any, method: str | None, extrapolate: bool) -> Estimate:
    """See :meth:`rbm.ReducedModel.estimate`."""
    model = query.arrays
    points = points_for(model, mus)
    state = model.state(method)
    gamma = None if coefficients is None else _checked(query, points, coefficients)
    try:
        count = points.shape[0]

        def work(rows: Any) -> Solution:
            xp = namespace(points)
            wanted = model.parameters.check(xp.take(points, rows, axis=0), extrapolate)
            if gamma is None:
                return replace(query.answer(wanted, state, extrapolate, False), outputs={}, output_bounds={})
            numbers = xp.take(gamma, rows, axis=0)
            return Solution(numbers[:, :0], {}, _of_piece(query, wanted, numbers, state, extrapolate))

        made = answer(
            work,
            beside(np.arange(count), points),
            query.bytes_per_point,
            blank=lambda: replace(query.blank(True, False, state.method), outputs={}, output_bounds={}),
            remedy="",
        )
    except PointError as error:
        if error.solution is not None:
            error.solution = error.solution.estimate
        raise
    except Interrupted as stopped:
        result = stopped.result
        raise Interrupted(
            f"interrupted with {len(result) - len(result.failed)} of {len(result)} points estimated; the estimates are in `result` of this "
            "exception, where the bounds of the others are infinite",
            result.estimate,
        ) from stopped.__cause__
    assert made.estimate is not None
    return made.estimate


def _checked(query: Query, points: Any, coefficients: Any) -> Any:
    """gamma (M, N) where the model lives."""
    model = query.arrays
    check_origin(coefficients, model, lambda: query.origin)
    gamma = numbers_for(model, coefficients_of(coefficients))
    if gamma.shape != (points.shape[0], model.size):
        raise ValueError(
            f"coefficients must have shape ({points.shape[0]}, {model.size}), one row a parameter point, got {gamma.shape}"
        )
    xp = namespace(gamma)
    bad = int(xp.count_nonzero(~xp.isfinite(gamma)))
    if bad:
        raise ValueError(f"coefficients hold {bad} entries that are NaN or infinite")
    return gamma


def _of_piece(query: Query, points: Any, gamma: Any, state: Any, extrapolate: bool) -> Estimate:
    """The estimates at points (m, p) for gamma (m, N)."""
    model = query.arrays
    theta, phi, evaluated, distance = model.operator_coefficients(points), model.rhs_coefficients(points), gamma, None
    if isinstance(state, InterpolatedSquare):
        evaluated = query.residual(theta, phi, None, mus=points)[0]
        distance = state.distance(theta, gamma, evaluated)
    norm = query.residual(theta, phi, state, evaluated, mus=points)[1]
    assert norm is not None
    if distance is not None:
        norm = Estimate.from_norm(norm.value, norm.floor + distance)
    beta = model.stability(points, theta)
    made = error_estimate(norm, beta, gamma, points, model.parameters, model.interpolation_error, model.orthonormality)
    return query.seen(made, state, points, extrapolate)
