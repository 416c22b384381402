"""The sweep of a training set: where the bound of a reduced basis under way is largest, and which points to add next.

Training sets of any size are swept in blocks, whose arrays alone are in memory; the blocks may go to workers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rbm.arithmetic.precision import row_norms
from rbm.errors import PointError, moved
from rbm.estimate import Estimate
from rbm.estimators import Estimator
from rbm.full_order import FullOrderModel
from rbm.online.chunks import slices, tiles
from rbm.online.forms import speaks_for
from rbm.online.reference import residual_coefficients
from rbm.parameters.space import ParameterSpace
from rbm.reduced.error_bound import error_estimate, relative_estimate
from rbm.reduction.projected_system import Reduction, solved
from rbm.stability.bound import evaluated
from rbm.workers.crew import Crew

__all__ = ["Swept", "TrainingSet", "far_apart", "spread_out", "vectors_to_come"]

#: Points of a block. Coefficients of a training set of at most one block are kept from sweep to sweep.
BLOCK = 1 << 17
#: Points of a large training set that further points of a batch are chosen from.
CHOICE = 4096
#: A further point of a batch has an error that is new, after what the points before it will remove, of at least this
#: share of the largest bound.
NEW = 0.1


@dataclass(frozen=True)
class Surrogate:
    """What a sweep needs of a reduction under way: small arrays, which travel to workers."""

    operators: np.ndarray
    rhs: np.ndarray
    state: Estimator
    orthonormality: float
    relative: bool


@dataclass(frozen=True)
class Swept:
    """What a sweep found, at the worst point and at those that further points may be chosen from."""

    rows: np.ndarray  #: (t,) in the training set, in order; the worst is among them
    bound: np.ndarray  #: (t,) of the error, relative if so asked
    floor: np.ndarray  #: (t,)
    absolute: np.ndarray  #: (t,) bounds of ||u - Z gamma||_P, u the solution of the affine model
    gamma: np.ndarray  #: (t, N)
    resolved: int  #: number of all points whose estimate is resolved

    @property
    def worst(self) -> int:
        """The place of the worst point in these arrays."""
        return int(np.argmax(self.bound))

    def at(self, row: int) -> int:
        """Return the place of a training point in these arrays."""
        return int(np.searchsorted(self.rows, row))


class TrainingSet:
    """Training points mus (M, p), with their stability bounds, and with their coefficients if they are few."""

    def __init__(self, model: FullOrderModel, points: np.ndarray) -> None:
        self.model, self.points = model, points
        self.blocks = slices(len(points), BLOCK)
        kept: list[tuple[np.ndarray, np.ndarray]] = []
        beta = []
        for rows in self.blocks:
            theta, phi = coefficients(model, points[rows])
            try:
                beta.append(evaluated(model.stability, points[rows], theta, model.parameters))
            except PointError as error:
                raise moved(error, rows.start, len(points)) from None
            if len(self.blocks) == 1:
                kept.append((theta, phi))
        self.beta = np.concatenate(beta)
        self._kept = kept[0] if kept else None

    def coefficients(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return theta and phi of some points."""
        if self._kept is not None:
            return self._kept[0][rows], self._kept[1][rows]
        return coefficients(self.model, self.points[rows])

    def at_rest(self) -> bool:
        """Return True if the right-hand side is zero at all points."""
        terms = self.model.rhs_terms
        return not any(
            np.any(terms @ self.coefficients(slice(b.start + few.start, b.start + few.stop))[1].T)
            for b in self.blocks
            for few in slices(b.stop - b.start)
        )

    def largest(self, factor: np.ndarray, model: FullOrderModel) -> float:
        """Return the largest ||R phi(mu)||_2 / beta(mu), with phi of a model on the same points."""
        found = 0.0
        for rows in self.blocks:
            phi = self.coefficients(rows)[1] if model is self.model else model.rhs_coefficients(self.points[rows])
            found = max(found, float((row_norms(phi @ factor.T) / self.beta[rows]).max()))
        return found

    def sweep(self, reduction: Reduction, estimator: type[Estimator], relative: bool, crew: Crew) -> Swept:
        """Estimate the error at all M points; the blocks of a large set go to the workers of the crew."""
        state = estimator.prepare(reduction, self.points)
        surrogate = Surrogate(reduction.operators, reduction.rhs, state, reduction.orthonormality, relative)
        step = -(-len(self.points) // CHOICE)
        if self._kept is not None:
            return _swept(self.model, surrogate, self.points, *self._kept, self.beta, 0, step)
        tasks = ((surrogate, self.points[b], self.beta[b], b.start, step) for b in self.blocks)
        parts: list[Swept] = []
        try:
            parts.extend(crew.run(_block, tasks, 2 * crew.count))
        except PointError as error:
            raise moved(error, self.blocks[len(parts)].start, len(self.points)) from error.__cause__
        return _joined(parts)


def coefficients(model: FullOrderModel, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return theta (M, Qa) and phi (M, Qf)."""
    return model.operator_coefficients(points), model.rhs_coefficients(points)


def _block(
    model: FullOrderModel, surrogate: Surrogate, points: np.ndarray, beta: np.ndarray, first: int, step: int
) -> Swept:
    """Sweep one block of a large training set, which begins at row `first`, perhaps in a worker."""
    return _swept(model, surrogate, points, *coefficients(model, points), beta, first, step)


def _swept(
    model: FullOrderModel,
    surrogate: Surrogate,
    points: np.ndarray,
    theta: np.ndarray,
    phi: np.ndarray,
    beta: np.ndarray,
    first: int,
    step: int,
) -> Swept:
    """Estimate the error at points (m, p); keep the worst, and those whose rows are multiples of `step`."""
    error, absolute, gamma = _estimates(model, surrogate, points, theta, phi, beta)
    bound = error.bound
    rows = np.union1d(np.arange(-first % step, len(points), step), [int(np.argmax(bound))])
    kept = bound[rows], error.floor[rows], absolute[rows], gamma[rows]
    return Swept(rows + first, *kept, int(error.resolved.sum()))


def _estimates(
    model: FullOrderModel,
    surrogate: Surrogate,
    points: np.ndarray,
    theta: np.ndarray,
    phi: np.ndarray,
    beta: np.ndarray,
) -> tuple[Estimate, np.ndarray, np.ndarray]:
    """Return errors, relative if so asked, absolute bounds (m,) for the affine model, and gamma (m, N)."""
    operators, rhs, state = surrogate.operators, surrogate.rhs, surrogate.state
    is_complex = any(a.dtype.kind == "c" for a in (operators, rhs, theta, phi))
    known = speaks_for(state, "form", "evaluate")
    form = state.form(np.dtype(complex if is_complex else float)) if known else None
    gamma, norm = solved(operators, rhs, theta, phi, form)
    if norm is None:
        terms = phi.shape[1] + theta.shape[1] * operators.shape[2]
        pieces = list(tiles(len(points), 64 * terms))
        arrays = ([part[rows] for rows in pieces] for part in (theta, phi, gamma))
        norm = Estimate.concatenate(list(map(state.evaluate, *arrays)))
    interpolation = model.interpolation_error, surrogate.orthonormality
    error = error_estimate(norm, beta, gamma, points, model.parameters, *interpolation)
    # where the right-hand side is zero, so are u and u_N: nothing to select, whatever floor an estimate has
    present = np.any(model.rhs_terms, axis=0)
    at_rest = ~np.any(phi[:, present], axis=1)
    if model.interpolation_error is None and np.any(at_rest):
        value, floor = (np.where(at_rest, 0.0, part) for part in (error.value, error.floor))
        error = Estimate(value, floor, error.resolved & ~at_rest)
    shown = relative_estimate(error, gamma) if surrogate.relative and gamma.shape[1] else error
    return shown, norm.bound / beta, gamma


def _joined(parts: Sequence[Swept]) -> Swept:
    """Return what was found in all blocks: of the worst points of blocks only the worst of all is new."""
    names = ("rows", "bound", "floor", "absolute", "gamma")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Swept(**arrays, resolved=sum(part.resolved for part in parts))


def far_apart(reduction: Reduction, training: TrainingSet, swept: Swept, count: int, tol: float) -> list[int]:
    """Return at most `count` training points, the worst first, each with an error that those before leave.

    The residual of the point mu_i is r_i = W c_i, with coordinates R c_i in the orthonormal basis of the residual's
    range. What points that are chosen leave of it, in directions that their own residuals do not have, is its share

        s_i = ||(I - Q Q^H) R c_i||_2 / ||R c_i||_2,   Q an orthonormal basis of the R c_j chosen;

    the next point is where s_i times the bound is largest, if that is at least a tenth of the largest bound, and above
    `tol`. Where errors are as parallel as residuals are, as for P = A at some parameter, one solution removes both.
    With an empty basis, where residuals are f(mu), which tells nothing of errors, points are :func:`spread_out`.
    Measured against the worst points and against distances of parameters: docs/scale.md. Cost: 2 k m flops a point and
    4 k more for each that is chosen, for at most 4096 of the points of a large training set.
    """
    chosen = [swept.worst]
    if count > 1 and not reduction.size:
        chosen = spread_out(training.model.parameters, training.points[swept.rows], swept.bound, count, tol)
    elif count > 1:
        theta, phi = coefficients(training.model, training.points[swept.rows])
        rest = residual_coefficients(theta, phi, swept.gamma) @ reduction.residual_range.factor.T
        sizes = row_norms(rest)
        scale = np.divide(swept.bound, sizes, out=np.zeros_like(sizes), where=sizes > 0)
        least = max(tol, NEW * swept.bound[swept.worst])
        while len(chosen) < count:
            direction = rest[chosen[-1]]
            size = np.linalg.norm(direction)
            if not size > 0:
                break
            for _ in range(2):  # twice is enough
                rest = rest - (rest @ (direction.conj() / size))[:, None] * (direction / size)
            new = scale * row_norms(rest)
            best = int(np.argmax(new))
            if not new[best] > least:
                break
            chosen.append(best)
    return [int(swept.rows[i]) for i in chosen]


def spread_out(parameters: ParameterSpace, points: np.ndarray, bounds: np.ndarray, count: int, tol: float) -> list[int]:
    """Return at most `count` of the points (M, p): the worst, and others where bounds are large and far from it.

    The next is where the bound times the distance from the nearest one chosen is largest, with parameters scaled to
    [0, 1], their logarithms where the space is logarithmic, of those whose bound is above `tol` and a tenth of the
    largest.
    """
    worst = int(np.argmax(bounds))
    chosen, log = [worst], parameters.scale == "log"
    ends, x = (np.log(a) if log else a for a in (parameters.bounds, points))
    x = (x - ends[:, 0]) / np.where(ends[:, 1] > ends[:, 0], ends[:, 1] - ends[:, 0], 1.0)
    weights = np.where(bounds > max(tol, NEW * bounds[worst]), bounds, 0.0)
    distance = np.full(len(x), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, np.linalg.norm(x - x[chosen[-1]], axis=1))
        best = int(np.argmax(weights * distance))
        if not weights[best] * distance[best] > 0:
            break
        chosen.append(best)
    return chosen


def vectors_to_come(sizes: Sequence[int], bounds: Sequence[float], tol: float) -> int | None:
    """Return how many more vectors the tolerance will take if bounds fall as they did in the last step; None: unknown.

    The last batch of a run is no larger than this, so that the basis is not.
    """
    if len(sizes) < 2 or sizes[-1] <= sizes[-2] or not 0 < bounds[-1] < bounds[-2] or not tol > 0:
        return None
    rate = math.log(bounds[-2] / bounds[-1]) / (sizes[-1] - sizes[-2])
    return max(1, math.ceil(math.log(bounds[-1] / tol) / rate))
