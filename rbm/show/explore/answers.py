"""Answers of a reduced model, steady or in time, at many points, as columns with bounds; points that fail say why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from rbm.errors import PointError
from rbm.show.placement import checked_reduced
from rbm.time.reduced import ReducedTimeModel
from rbm.time.solution import TimeSolution

__all__ = ["TIME", "Answers", "InTime", "Steady", "source_of"]

#: The name of the time among the coordinates of a model in time.
TIME = "t"
#: Time steps that a curve shows at most.
STEPS = 400


@dataclass(frozen=True, eq=False)
class Answers:
    """Outputs with bounds at K points; NaN, infinity and a reason where there is no answer."""

    values: Mapping[str, np.ndarray]  #: {column: (K,)}, of an output with several rows one column each
    bounds: Mapping[str, np.ndarray]  #: (K,) for the columns that have bounds
    error: np.ndarray  #: bound of the solution (K,)
    resolved: np.ndarray  #: (K,)
    reasons: tuple[str, ...]  #: K sentences, empty for points with an answer


class Steady:
    """What an :class:`rbm.ReducedModel` or an :class:`rbm.PartitionedModel` answers."""

    norm = "P"

    def __init__(self, reduced: Any) -> None:
        self.reduced = reduced
        space = reduced.parameters
        self.names: tuple[str, ...] = space.names
        self.ranges: np.ndarray = space.bounds
        self.log = space.scale == "log"
        self.units: Mapping[str, str] = {**space.units, **reduced.output_units}

    def answers(self, points: np.ndarray) -> Answers:
        """Return the answers at points (K, p), which lie in the ranges."""
        try:
            solution = self.reduced.solve(points, on_error="mark", coefficients=False)
        except PointError as error:  # the call as a whole is wrong, or all points fail
            return _nothing(len(points), " ".join(str(error).split()))
        reasons = [""] * len(points)
        kinds = solution.kinds if len(solution.kinds) == len(solution.failed) else np.zeros(len(solution.failed), int)
        for row, kind in zip(solution.failed, kinds, strict=True):
            reasons[row] = solution.reasons[kind]
        values = {n: c for name, a in solution.outputs.items() for n, c in _columns(name, to_numpy(a))}
        bounds = {n: c for name, a in solution.output_bounds.items() for n, c in _columns(name, to_numpy(a))}
        resolved = to_numpy(solution.estimate.resolved)
        return Answers(values, bounds, to_numpy(solution.bound), resolved, tuple(reasons))

    def grid(self, j: int) -> np.ndarray | None:
        """Return the points of a curve over coordinate j, None where any will do."""

    def snapped(self, j: int, value: float) -> float:
        """Return the value of coordinate j at which there is an answer: any."""
        return value

    def stride(self, j: int) -> float:
        """Return the distance between the values of coordinate j that have an answer: 0, all have."""
        return 0.0

    def vectors(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the full vector (1, m) at a point (p,), and its parameters (1, p)."""
        solution = self.reduced.solve(point[None])
        return to_numpy(self.reduced.reconstruct(solution)), point[None]


class InTime:
    """What a :class:`rbm.ReducedTimeModel` answers under its own control: the time is one more coordinate, the last."""

    norm = "M"

    def __init__(self, reduced: ReducedTimeModel) -> None:
        self.reduced = reduced
        space = reduced.parameters
        self.names = (*space.names, TIME if TIME not in space.names else "time")
        self.ranges = np.concatenate([space.bounds, [[0.0, float(reduced.times[-1])]]])
        self.log = space.scale == "log"
        self.units: Mapping[str, str] = {**space.units, **reduced.terms.output_units}
        self._kept: tuple[bytes, TimeSolution] | None = None

    def step(self, time: float) -> int:
        """Return the number of the time step that is nearest."""
        return int(np.clip(round(time / self.reduced.dt), 0, self.reduced.steps))

    def snapped(self, j: int, value: float) -> float:
        """Return the value of coordinate j at which there is an answer: of the time, that of the nearest step."""
        return float(self.reduced.times[self.step(value)]) if j == len(self.names) - 1 else value

    def stride(self, j: int) -> float:
        """Return the distance between the values of coordinate j that have an answer: of the time, dt."""
        return float(self.reduced.dt) if j == len(self.names) - 1 else 0.0

    def answers(self, points: np.ndarray) -> Answers:
        """Return the answers at points (K, p + 1), whose last coordinate is the time."""
        mus, back = np.unique(points[:, :-1], axis=0, return_inverse=True)
        back = back.ravel()
        steps = np.array([self.step(t) for t in points[:, -1]])
        reasons = [""] * len(mus)
        left = np.arange(len(mus))
        solution = None
        while len(left):
            try:
                solution = self._solved(mus[left])
                break
            except PointError as error:
                wrong = np.arange(len(left)) if error.rows is None else np.asarray(error.rows)
                for row in left[wrong]:
                    reasons[row] = " ".join(str(error).split())
                left = np.delete(left, wrong)
        if solution is None:
            return _nothing(len(points), reasons[0])
        row_of = np.full(len(mus), -1)
        row_of[left] = np.arange(len(left))
        rows, good = row_of[back], row_of[back] >= 0

        def at(array: np.ndarray, missing: Any) -> np.ndarray:
            return np.where(good, array[rows, steps], missing)

        values = {name: at(a, np.nan) for name, a in solution.outputs.items()}
        bounds = {name: at(a, np.inf) for name, a in solution.output_bounds.items()}
        assert solution.estimate_l2 is not None
        resolved = at(solution.estimate_l2.resolved, False)
        return Answers(values, bounds, at(solution.bound_l2, np.inf), resolved, tuple(reasons[k] for k in back))

    def grid(self, j: int) -> np.ndarray | None:
        """Return the points of a curve over coordinate j: the time steps over time, some of them if there are many."""
        times = self.reduced.times
        return times[:: -(-len(times) // STEPS)] if j == len(self.names) - 1 else None

    def vectors(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the full vector (1, m) at a point (p + 1,), and its parameters (1, p)."""
        solution = self._solved(point[None, :-1])
        assert solution.coefficients is not None
        return self.reduced.reconstruct(solution.coefficients[:, self.step(point[-1])]), point[None, :-1]

    def _solved(self, mus: np.ndarray) -> TimeSolution:
        """Return the trajectories, those of a single point kept: a slider of the time does not march again."""
        if len(mus) > 1:
            return self.reduced.solve(mus, coefficients=False)
        if self._kept is None or self._kept[0] != mus.tobytes():
            self._kept = mus.tobytes(), self.reduced.solve(mus)
        return self._kept[1]


def source_of(reduced: Any) -> Steady | InTime:
    """Return what asks a reduced model, in time or not; raise ModelError for anything else."""
    checked_reduced(reduced)
    return InTime(reduced) if isinstance(reduced, ReducedTimeModel) else Steady(reduced)


def _columns(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if values.ndim == 1:
        return [(name, values)]
    return [(f"{name}[{i}]", values[:, i]) for i in range(values.shape[1])]


def _nothing(count: int, reason: str) -> Answers:
    return Answers({}, {}, np.full(count, np.inf), np.zeros(count, dtype=bool), (reason,) * count)
