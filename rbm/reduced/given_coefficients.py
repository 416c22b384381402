"""Error estimates of given coefficients, piece by piece: neither Ctrl-C nor a bad point loses the others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lowrank.arrays import beside, namespace
from rbm.errors import Interrupted, PointError
from rbm.estimate import Estimate
from rbm.online.batches import answer
from rbm.reduced.online_query import Query
from rbm.reduced.origin import check_origin
from rbm.reduced.placement import numbers_for, points_for
from rbm.solution import Solution, coefficients_of

__all__ = ["estimate", "of_piece"]


def estimate(query: Query, mus: Any, coefficients: Any, method: str | None, extrapolate: bool) -> Estimate:
    """Return error estimates of given coefficients; see :meth:`rbm.ReducedModel.estimate`."""
    made_of_piece = getattr(query, "of_piece", None) or partial(of_piece, query)
    model = query.arrays
    points = points_for(model, mus)
    state = model.state(method)
    gamma = None if coefficients is None else _checked(query, points, coefficients)
    try:

        def blank() -> Solution:
            return replace(query.blank(True, False, state.method), outputs={}, output_bounds={})

        def work(rows: Any) -> Solution:
            xp = namespace(points)
            wanted = model.parameters.check(xp.take(points, rows, axis=0), extrapolate)
            if gamma is None:
                return replace(query.answer(wanted, state, extrapolate, False), outputs={}, output_bounds={})
            numbers = xp.take(gamma, rows, axis=0)
            return Solution(numbers[:, :0], {}, made_of_piece(wanted, numbers, state, extrapolate))

        rows = beside(np.arange(points.shape[0]), points)
        made = answer(work, rows, query.bytes_per_point, blank=blank, remedy="")
    except PointError as error:
        if error.solution is not None:
            error.solution = error.solution.estimate
        raise
    except Interrupted as stopped:
        result = stopped.result
        raise Interrupted(
            f"interrupted with {len(result) - len(result.failed)} of {len(result)} points estimated; the estimates are "
            "in `result` of this exception, where the bounds of the others are infinite",
            result.estimate,
        ) from stopped.__cause__
    assert made.estimate is not None
    return made.estimate


def _checked(query: Query, points: Any, coefficients: Any) -> Any:
    """Return gamma (M, N) where the model lives."""
    model = query.arrays
    check_origin(coefficients, model, lambda: query.origin)
    gamma = numbers_for(model, coefficients_of(coefficients))
    if gamma.shape != (points.shape[0], model.size):
        wanted = f"({points.shape[0]}, {model.size}), one row a parameter point"
        raise ValueError(f"coefficients must have shape {wanted}, got {gamma.shape}")
    xp = namespace(gamma)
    bad = int(xp.count_nonzero(~xp.isfinite(gamma)))
    if bad:
        raise ValueError(f"coefficients hold {bad} entries that are NaN or infinite")
    return gamma


def of_piece(query: Query, points: Any, gamma: Any, state: Any, extrapolate: bool) -> Estimate:
    """Return the estimates at points (m, p) for gamma (m, N)."""
    model = query.arrays
    theta, phi, evaluated, distance = model.operator_coefficients(points), model.rhs_coefficients(points), gamma, None
    if state.own_solution:
        evaluated = query.residual(theta, phi, None, mus=points)[0]
        distance = state.distance(theta, gamma, evaluated)
    norm = query.residual(theta, phi, state, evaluated, mus=points)[1]
    assert norm is not None
    if distance is not None:
        norm = Estimate.from_norm(norm.value, norm.floor + distance)
    return query.stored(query.error(norm, query.beta(points, theta), gamma, points, state, extrapolate), gamma)
