"""Parameters fitted to measurements through a reduced model, with the interval of the full model's misfit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, cast

import numpy as np

from rbm.errors import Interrupted, ModelError, ParameterError, PointError
from rbm.parameters.space import ParameterSpace
from rbm.reduced.interface import Reduced
from rbm.solution import Solution
from rbm.uses.candidates import Candidates, End
from rbm.uses.measurements import Measurements, read_measurements
from rbm.uses.searches import Search, search_of
from rbm.uses.sensitivity import Sensitivity, differences, sensitivity_of, stencil, unknown_sensitivity

__all__ = ["Calibration", "Run", "calibrate"]

Stopped = Literal["certified", "target", "converged", "evaluations", "interrupted"]

#: Points that are tried at once for each parameter, before the search starts from the best of them.
TRIED = 64


@dataclass(frozen=True)
class Run:
    """One start of the search."""

    start: np.ndarray  #: (p,) where it began
    mu: np.ndarray  #: (p,) the best point that it evaluated
    misfit: float
    message: str  #: what the optimiser said


@dataclass(frozen=True)
class Calibration:
    """The parameters that fit the measurements best, of all that were evaluated, and what is known of them.

    The meaning of all fields is in docs/calibration.md.
    """

    names: tuple[str, ...]  #: (p,) of the parameters that were looked for
    mu: np.ndarray  #: (p,)
    misfit: float  #: J, of the reduced model
    error: float  #: e: the misfit of the full model is within it
    solution: Solution  #: of the reduced model, at the m experiments
    residuals: np.ndarray  #: (m, k) data minus answers, in units of the noise
    stopped: Stopped
    runs: tuple[Run, ...]
    evaluations: int
    calls: int
    singular_values: np.ndarray  #: (p,) of the sensitivity, largest first
    directions: np.ndarray  #: (p, p) columns, in units of the ranges
    spread: np.ndarray  #: (p,) standard deviations, in the units of the parameters
    undetermined: tuple[str, ...]

    @property
    def parameters(self) -> dict[str, float]:
        """The best point, by name."""
        return dict(zip(self.names, self.mu.tolist(), strict=True))

    @property
    def interval(self) -> tuple[float, float]:
        """The interval that holds the misfit of the full model at this point."""
        return max(self.misfit - self.error, 0.0), self.misfit + self.error

    def __repr__(self) -> str:
        found = ", ".join(
            f"{name} = {x:.4g}{f' +- {s:.1g}' if np.isfinite(s) else ' (open)'}"
            for name, x, s in zip(self.names, self.mu, self.spread, strict=True)
        )
        lines = [f"Calibration({found}; misfit in [{self.interval[0]:.3g}, {self.interval[1]:.3g}], {self.stopped})"]
        return "\n  not determined: ".join([*lines, *self.undetermined])


def calibrate(
    reduced: Reduced,
    data: Any,
    *,
    sensors: Any = None,
    noise: Any = None,
    known: Mapping[str, Any] | None = None,
    optimizer: Any = "Nelder-Mead",
    options: Mapping[str, Any] | None = None,
    starts: Any = 4,
    rng: int = 0,
    target: float | None = None,
    max_evaluations: int = 200_000,
    method: str | None = None,
) -> Calibration:
    """Return the parameters that fit measurements best, the interval of their misfit, and what the data leave open.

    The misfit is J = (sum_i |(y_i - s_i(mu)) / noise_i|^2 / count)^{1/2}. All arguments, the stopping rule, what is
    proved and what is measured: docs/calibration.md.

    Raises ModelError for data, sensors, noise, known parameters or an optimiser that do not fit; ParameterError for
    starts and known values out of range; Interrupted, with the Calibration so far in `result`.

    Cost: one answer of the reduced model for each candidate and experiment, one error bound for each candidate that is
    better than all before.

    Examples
    --------
    >>> import numpy as np, rbm
    >>> k = np.diag([1.0, 2.0, 3.0])
    >>> model = rbm.FullOrderModel([(1.0, k), ("mu", np.eye(3))], [(1.0, np.ones(3))], k, {"mu": (0.1, 10.0)}, 1.0,
    ...     outputs={"sum": np.ones(3)})
    >>> reduced = rbm.greedy(model, model.parameters.sample(20), tol=1e-9).reduced_model
    >>> found = calibrate(reduced, {"sum": 1 / 3 + 1 / 4 + 1 / 5}, noise=1e-3)
    >>> round(float(found.mu[0]), 3), found.undetermined
    (2.0, ())
    """
    if not isinstance(reduced, Reduced):
        raise ModelError(
            f"calibrate asks a reduced model, got a {type(reduced).__name__}; rbm.greedy(model, training) makes one, "
            "its reduced_model"
        )
    if not isinstance(reduced.operators, np.ndarray):
        reduced = reduced.to("numpy")  # one candidate after the other is no work for a device
    space = reduced.parameters
    free, fixed = _known(space, known)
    measured = read_measurements(reduced, data, sensors, noise, len(fixed))
    if not (isinstance(max_evaluations, int | np.integer) and max_evaluations >= 1):
        raise ModelError(f"max_evaluations must be a whole number of at least 1, got {max_evaluations!r}")
    if target is not None and not (isinstance(target, Real) and np.isfinite(target) and target >= 0):
        raise ModelError(f"target must be a misfit, a number of at least 0, got {target!r}")
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise ModelError(f"rng must be a seed, a whole number of at least 0, got {rng!r}")
    search, from_points = search_of(optimizer, options, rng)
    reduced.state(method)  # an estimator that is not there, before the search
    candidates = Candidates(reduced, measured, free, fixed, target, int(max_evaluations), method)
    names = tuple(space.names[j] for j in free)
    runs: list[Run] = []
    cause: KeyboardInterrupt | None = None
    try:
        stopped = _searched(candidates, search, lambda: _starts(candidates, starts, rng, names, from_points), runs)
    except KeyboardInterrupt as interrupt:
        stopped, cause = "interrupted", interrupt
        if candidates.best is None:
            raise
    except Exception as error:
        _note_the_best(error, candidates, names)
        raise
    try:
        result = _finished(candidates, names, runs, stopped)
    except KeyboardInterrupt as interrupt:  # also a second one
        cause = interrupt
        result = _finished(candidates, names, runs, "interrupted", look_around=False)
    if cause is None:
        return result
    raise Interrupted(
        f"calibration interrupted after {candidates.evaluations} evaluations, with a misfit of {result.misfit:.3g}; "
        "the best so far is in `result` of this exception",
        result,
    ) from cause


def _note_the_best(error: Exception, candidates: Candidates, names: tuple[str, ...]) -> None:
    """Add the best point so far to an error of the optimiser, so that it is not lost."""
    if candidates.best is not None:
        misfit, x, _ = candidates.best
        mu = candidates.mus(x[None])[0, candidates.free].tolist()
        found = ", ".join(f"{name!r}: [{value!r}]" for name, value in zip(names, mu, strict=True))
        error.add_note(
            f"rbm.calibrate had evaluated {candidates.evaluations} candidates; the best has the misfit {misfit:.3g}. "
            f"starts={{{found}}} goes on from there"
        )


def _searched(candidates: Candidates, search: Search, starts: Callable[[], np.ndarray], runs: list[Run]) -> Stopped:
    """Search from all starts, write down the run of each, and return why it ended."""
    free = candidates.free
    try:
        for x0 in starts():
            candidates.run_best, message = None, ""
            try:
                message = search(candidates, x0)
            finally:
                if candidates.run_best is not None:
                    found = candidates.mus(candidates.run_best[1][None])[0, free]
                    first = candidates.mus(x0[None])[0, free]
                    runs.append(Run(first, found, candidates.run_best[0], message))
    except End as end:
        return cast("Stopped", end.args[0])
    return "converged"


def _known(space: ParameterSpace, known: Mapping[str, Any] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns that are looked for (p,), and the values of all others (m, parameters)."""
    if not (known is None or isinstance(known, Mapping)):
        raise ModelError(f"known must be a dictionary {{parameter: value}}, got {type(known).__name__}")
    given = {}
    for name, value in (known or {}).items():
        if name not in space.names:
            raise ModelError(f"known names {name!r}, which is no parameter; they are {', '.join(space.names)}")
        values = np.atleast_1d(np.asarray(value))
        if np.ma.is_masked(value) or values.dtype.kind not in "biuf":
            raise ModelError(f"the known values of {name} must be real numbers, none of them masked, got {value!r:.60}")
        if values.ndim != 1 or not len(values):
            raise ModelError(f"the known values of {name} must be a number or (m,), got shape {values.shape}")
        given[name] = values.astype(float)
    # a range of one value is known, too
    free = [j for j, (low, high) in enumerate(space.bounds) if space.names[j] not in given and low < high]
    if not free:
        raise ModelError("all parameters are known: nothing is left to look for")
    counts = {len(v) for v in given.values()} - {1}
    if len(counts) > 1:
        raise ModelError(f"known values of {', '.join(map(str, sorted(counts)))} experiments do not fit each other")
    rows = counts.pop() if counts else 1
    middle = space.bounds.mean(axis=1)
    points = np.tile(middle, (rows, 1))
    for name, values in given.items():
        points[:, space.names.index(name)] = values
    points = space.validate(points)  # values out of range
    return np.array(free), points


def _starts(candidates: Candidates, starts: Any, rng: int, names: tuple[str, ...], from_points: bool) -> np.ndarray:
    """Return where the searches begin (s, p): given points, or the best of some that are tried at once."""
    p = len(names)
    low, high = candidates.space.bounds[candidates.free].T
    ranges = {n: (float(a), float(b)) for n, a, b in zip(names, low, high, strict=True)}
    space = ParameterSpace(ranges, candidates.space.scale)
    if isinstance(starts, bool) or not isinstance(starts, int | np.integer):
        return candidates.inverse(space.validate(starts))
    if starts < 1:
        raise ModelError(f"starts must be a number of at least 1, or points (s, {p}), got {starts!r}")
    x = candidates.inverse(space.sample(max(TRIED * p, int(starts)), rng=rng))
    misfits = candidates(x)
    if not np.any(np.isfinite(misfits)):
        raise ParameterError(
            f"none of {len(x)} points has a misfit; the first reason: {next(iter(candidates.reasons), 'not known')}"
        )
    return x[np.argsort(misfits, kind="stable")[: int(starts) if from_points else 1]]


def _finished(
    candidates: Candidates, names: tuple[str, ...], runs: list[Run], stopped: Stopped, look_around: bool = True
) -> Calibration:
    """Return the result for the best candidate, with its sensitivity if there is time to look around."""
    if candidates.best is None:
        raise ParameterError(f"no point had a misfit; the first reason: {next(iter(candidates.reasons), 'not known')}")
    _, x, error = candidates.best
    x = np.abs((x + 1) % 2 - 1)
    measured, free = candidates.measured, candidates.free
    solution = candidates.solve(x[None], True)
    residuals = measured.residuals(solution)
    misfit = float(measured.misfits(residuals)[0])
    mu = candidates.mus(x[None])[0, free]
    if look_around:
        found = sensitivity_of(
            _slopes(candidates, x), names, _noise(measured, misfit, error, len(names)), _log(candidates)
        )
    else:
        found = unknown_sensitivity(len(names), "interrupted before")
    return Calibration(
        names, mu, misfit, error, solution, residuals[0], stopped, tuple(runs), candidates.evaluations,
        candidates.calls, found.singular_values, found.directions, _in_units(found, mu, candidates), found.undetermined,
    )  # fmt: skip


def _slopes(candidates: Candidates, x: np.ndarray) -> np.ndarray:
    """Return the derivatives (m k, p) of the residuals by x (p,), or differences where there are none."""
    if candidates.differentiable:
        with suppress(PointError):  # at a kink
            return candidates.residual_slopes(x)
    points, distances = stencil(x)
    return differences(candidates.measured.residuals(candidates.solve(points, False)), distances)


def _log(candidates: Candidates) -> bool:
    return candidates.space.scale == "log"


def _noise(measured: Measurements, misfit: float, error: float, count: int) -> float:
    """Return the standard deviation of a residual: one where the noise was given, else what the optimum leaves."""
    if measured.given_noise:
        return 1.0
    freedom = max(measured.count - count, 1)
    size = float(np.sqrt(np.mean(np.abs(measured.data * measured.weights) ** 2)))
    return max(misfit * float(np.sqrt(measured.count / freedom)), error, 1e-8 * size, float(np.finfo(float).tiny))


def _in_units(found: Sensitivity, mu: np.ndarray, candidates: Candidates) -> np.ndarray:
    """Return standard deviations (p,) in the units of the parameters, from shares of the ranges."""
    low, high = candidates.space.bounds[candidates.free].T
    scale = mu * np.log(high / low) if _log(candidates) else high - low
    return found.spread * scale
