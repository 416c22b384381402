"""Training points of one parameter that are dense where they must be: between snapshots, and near resonances."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.errors import ModelError, ParameterError, StabilityError
from rbm.files.greedy_result import GreedyResult
from rbm.full_order import FullOrderModel
from rbm.greedy import greedy
from rbm.reduced.model import ReducedModel
from rbm.uses.pencil_path import is_damped, path_of, points_of_line
from rbm.uses.ritz_pairs import ritz_pairs

__all__ = ["away_from_poles", "refined_greedy", "training_between"]

#: Points that are tried between two neighbours, and distances 2^-1 .. 2^-16 of the spacing around a reduced resonance.
TRIED, GRADED = 8, 16
#: Where beta is a smaller share of its largest value, a point is too near a pole to be trained on.
LEAST = 1e-3


def away_from_poles(model: Any, mus: Any, least: float = LEAST) -> np.ndarray:
    """Return those of the points (M, 1) at which beta is at least `least` of its largest value among them.

    mus : (M, 1) points
    model : a full or a reduced model. At a pole without damping no tolerance can be met: beta is 0 there.

    Raises what the stability bound of the model raises, but StabilityError at single points: they are left out.
    """
    points = model.parameters.validate(np.asarray(mus, dtype=float).reshape(-1, len(model.parameters)))
    beta = np.zeros(len(points))
    try:
        beta[:] = model.stability(points, model.operator_coefficients(points))
    except StabilityError as error:
        if error.rows is None:
            raise
        good = np.ones(len(points), dtype=bool)
        good[error.rows] = False
        if np.any(good):
            beta[good] = model.stability(points[good], model.operator_coefficients(points[good]))
    return np.asarray(points[beta >= max(least * beta.max(initial=0.0), np.finfo(float).tiny)])


def training_between(
    reduced: ReducedModel, mus: Any, tol: float, *, relative: bool = False, least: float = LEAST
) -> np.ndarray:
    """Return the training points (M', 1), with one more between two neighbours where the bound there exceeds `tol`.

    Tried are 8 points between neighbours, and 32 around each resonance of the reduced model, nearer and nearer to it,
    since a peak may be narrower than all spacings; the worst one between two neighbours is taken. The same points come
    back where no bound is larger than `tol`.

    mus : (M, 1) or (M,), training points so far
    relative : `tol` is about bound / ||u_N||_P, as in :func:`rbm.greedy`
    least : points where beta is a smaller share of its largest value are left out (:func:`away_from_poles`)

    What it finds is measured, not proved: the bound is certified at points. Cost: one batch of some 10 M points.

    Raises ModelError for several parameters, ParameterError for a negative tol and fewer than two points.
    """
    space = reduced.parameters
    if len(space) != 1:
        raise ModelError(f"training_between refines the range of one parameter, and the model has {len(space)}")
    if isinstance(tol, bool) or not isinstance(tol, int | float | np.number) or not tol >= 0:
        raise ParameterError(f"tol must be a number >= 0, got {tol!r}")
    points = points_of_line(space, mus)
    if len(points) < 2:
        raise ParameterError(f"training_between needs two training points or more, got {len(points)}")
    shares = np.arange(1, TRIED + 1) / (TRIED + 1)
    tried = (points[:-1, None] + np.diff(points)[:, None] * shares).ravel()
    tried = np.concatenate([tried, _graded(reduced, points)])
    tried = np.setdiff1d(tried[(tried > points[0]) & (tried < points[-1])], points)
    tried = away_from_poles(reduced, np.concatenate([points, tried]), least)[:, 0]
    tried = np.setdiff1d(tried, points)
    if not len(tried):
        return points[:, None]
    solution = reduced.solve(tried[:, None], on_error="mark")
    bound = np.asarray(solution.bound)
    if relative:
        bound = bound / np.linalg.norm(np.asarray(solution.coefficients), axis=1)
    cell = np.searchsorted(points, tried)
    worst = np.zeros(len(points) + 1)
    size = np.where(np.isfinite(bound), bound, 0.0)
    np.maximum.at(worst, cell, size)
    taken = tried[(size > tol) & (size == worst[cell])]
    return np.unique(np.concatenate([points, taken]))[:, None]


def refined_greedy(
    model: FullOrderModel, training: Any, tol: float, *, rounds: int = 40, least: float = LEAST, **options: Any
) -> tuple[GreedyResult, np.ndarray]:
    """Return the result of greedy runs whose training set is refined between them, and that set (M, 1).

    Each run goes on from the basis before, until :func:`training_between` finds no bound above `tol`, or `rounds` runs
    were made. Starts from a few points; sees peaks between them that a uniform set of many may miss.

    training : (M, 1) or (M,), two points or more
    options : of :func:`rbm.greedy`, but `resume`

    Raises as :func:`rbm.greedy`, ModelError for several parameters.
    """
    if "resume" in options:
        raise ModelError("refined_greedy resumes by itself: leave resume= out, or use rbm.greedy and training_between")
    if not isinstance(model, FullOrderModel):
        raise ModelError(f"refined_greedy needs the full-order model, got a {type(model).__name__}")
    mus, result = away_from_poles(model, training, least), None
    for _ in range(rounds):
        result = greedy(model, mus, tol=tol, resume=result, **options)
        grown = training_between(
            result.reduced_model, mus, tol, relative=bool(options.get("relative", False)), least=least
        )
        if len(grown) == len(mus) or result.stopped != "tolerance":
            break
        mus = grown
    if result is None:
        raise ModelError(f"rounds must be at least 1, got {rounds!r}")
    return result, mus


def _graded(reduced: ReducedModel, points: np.ndarray) -> np.ndarray:
    """Return points nearer and nearer to each eigenvalue of the reduced pencil, none if it is no known pencil."""
    range_ = float(points[0]), float(points[-1])
    try:
        path, _ = path_of(reduced, range_, None, 0, 1, is_damped(reduced, range_))
        values = ritz_pairs(reduced, path).values
    except ModelError:
        return np.zeros(0)
    low, high = path.ends
    values = values[(values > low) & (values < high)]
    if not len(values):
        return np.zeros(0)
    at = path.parameters(np.stack([values, values], axis=1)).mean(axis=1)
    cell = np.clip(np.searchsorted(points, at), 1, len(points) - 1)
    steps = (points[cell] - points[cell - 1])[:, None] * 2.0 ** -np.arange(1, GRADED + 1)
    return np.concatenate([(at[:, None] + steps).ravel(), (at[:, None] - steps).ravel(), at])
