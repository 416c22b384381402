"""Parameters fitted to measurements through a reduced model, with the interval of the full model's misfit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, Literal

import numpy as np

from rbm.errors import Interrupted, ModelError, ParameterError
from rbm.parameters.space import ParameterSpace
from rbm.reduced.model import ReducedModel
from rbm.solution import Solution
from rbm.uses.measurements import Measurements, read_measurements
from rbm.uses.searches import search_of
from rbm.uses.sensitivity import Sensitivity, sensitivity_of, stencil

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


class _End(BaseException):
    """The search may end; `args` says why. No Exception: an optimiser of the user may catch those and go on."""


@dataclass
class _Candidates:
    """Evaluates candidates x in [0, 1]^p, keeps the best, and knows when to stop."""

    reduced: ReducedModel
    measured: Measurements
    free: np.ndarray  #: (p,) columns of the parameters that are looked for
    fixed: np.ndarray  #: (m, parameters): known values; NaN in the free columns
    target: float | None
    limit: int
    method: str | None
    evaluations: int = 0
    calls: int = 0
    best: tuple[float, np.ndarray, float] | None = None  #: misfit, x, error
    run_best: tuple[float, np.ndarray] | None = None
    reasons: list[str] = field(default_factory=list)

    @property
    def space(self) -> ParameterSpace:
        return self.reduced.parameters

    def mus(self, x: np.ndarray) -> np.ndarray:
        """Return parameter points (M m, parameters) of candidates (M, p), reflected at the ends of the ranges."""
        inside = np.abs((x + 1) % 2 - 1)
        low, high = self.space.bounds[self.free].T
        if self.space.scale == "log":
            values = np.exp(np.log(low) + inside * (np.log(high) - np.log(low)))
        else:
            values = low + inside * (high - low)
        points = np.tile(self.fixed, (len(x), 1))
        # exp(log(high)) may be the next number
        points[:, self.free] = np.repeat(np.minimum(np.maximum(values, low), high), len(self.fixed), axis=0)
        return points

    def inverse(self, mus: np.ndarray) -> np.ndarray:
        """Return x (s, p) of points (s, p)."""
        low, high = self.space.bounds[self.free].T
        if self.space.scale == "log":
            low, high, mus = np.log(low), np.log(high), np.log(mus)
        return (mus - low) / np.where(high > low, high - low, 1.0)

    def solve(self, x: np.ndarray, estimate: bool) -> Solution:
        """Return the answers for candidates (M, p), those that fail marked."""
        self.calls += 1
        keep = self.measured.field is not None or estimate
        return self.reduced.solve(
            self.mus(x), estimate, method=self.method if estimate else None, on_error="mark", coefficients=keep
        )

    def __call__(self, x: Any) -> Any:
        """Return misfits (M,) of candidates (M, p), or a number for one (p,). Raises _End when the search is over."""
        given = np.asarray(x, dtype=float)
        points = given[None] if given.ndim == 1 else given
        if points.ndim != 2 or points.shape[1] != len(self.free):
            raise ModelError(
                f"the optimiser asks for points of shape {given.shape}, expected (p,) or (M, p) with p = "
                f"{len(self.free)}"
            )
        if not np.all(np.isfinite(points)):
            raise ModelError(f"the optimiser asks for a point that is NaN or infinite: {given.ravel()[:8]}")
        solution = self.solve(points, False)
        self.reasons += [r for r in solution.reasons if r not in self.reasons]
        misfits = self.measured.misfits(self.measured.residuals(solution))
        self.evaluations += len(points)
        i = int(np.argmin(misfits))
        self._look(float(misfits[i]), points[i])
        if self.evaluations >= self.limit:
            raise _End("evaluations")
        return misfits if given.ndim == 2 else float(misfits[0])

    def _look(self, misfit: float, x: np.ndarray) -> None:
        if self.run_best is None or misfit < self.run_best[0]:
            self.run_best = misfit, x.copy()
        if not misfit < (np.inf if self.best is None else self.best[0]):
            return
        solution = self.solve(x[None], True)
        self.reasons += [r for r in solution.reasons if r not in self.reasons]
        residuals = self.measured.residuals(solution)
        found = float(self.measured.misfits(residuals)[0])
        error = self.measured.error(solution, residuals[0])
        if not (np.isfinite(found) and np.isfinite(error)):
            if not solution.reasons:
                self.reasons.append(f"the misfit {found:.3g} or its bound {error:.3g} is not finite")
            return  # a point without a bound is not taken
        self.best = misfit, x.copy(), error
        if found <= error:
            raise _End("certified")
        if self.target is not None and found <= self.target:
            raise _End("target")


def calibrate(
    reduced: ReducedModel,
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
    if not isinstance(reduced, ReducedModel):
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
    search, from_points = search_of(optimizer, options, rng)
    reduced.state(method)  # an estimator that is not there, before the search
    candidates = _Candidates(reduced, measured, free, fixed, target, int(max_evaluations), method)
    names = tuple(space.names[j] for j in free)
    runs: list[Run] = []
    stopped: Stopped = "converged"
    try:
        for x0 in _starts(candidates, starts, rng, names, from_points):
            candidates.run_best, message = None, ""
            try:
                message = search(candidates, x0)
            finally:
                if candidates.run_best is not None:
                    found = candidates.mus(candidates.run_best[1][None])[0, free]
                    first = candidates.mus(x0[None])[0, free]
                    runs.append(Run(first, found, candidates.run_best[0], message))
    except _End as end:
        stopped = end.args[0]
    except KeyboardInterrupt as interrupt:
        if candidates.best is None:
            raise
        result = _finished(candidates, names, runs, "interrupted")
        raise Interrupted(
            f"calibration interrupted after {candidates.evaluations} evaluations, with a misfit of "
            f"{result.misfit:.3g}; the best so far is in `result` of this exception",
            result,
        ) from interrupt
    return _finished(candidates, names, runs, stopped)


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


def _starts(candidates: _Candidates, starts: Any, rng: int, names: tuple[str, ...], from_points: bool) -> np.ndarray:
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


def _finished(candidates: _Candidates, names: tuple[str, ...], runs: list[Run], stopped: Stopped) -> Calibration:
    """Return the result for the best candidate, with its sensitivity."""
    if candidates.best is None:
        raise ParameterError(f"no point had a misfit; the first reason: {next(iter(candidates.reasons), 'not known')}")
    _, x, error = candidates.best
    x = np.abs((x + 1) % 2 - 1)
    measured, free = candidates.measured, candidates.free
    solution = candidates.solve(x[None], True)
    residuals = measured.residuals(solution)
    misfit = float(measured.misfits(residuals)[0])
    points, distances = stencil(x)
    beside = measured.residuals(candidates.solve(points, False))
    found = sensitivity_of(beside, distances, names, _noise(measured, misfit, error, len(names)), _log(candidates))
    mu = candidates.mus(x[None])[0, free]
    return Calibration(
        names, mu, misfit, error, solution, residuals[0], stopped, tuple(runs), candidates.evaluations,
        candidates.calls, found.singular_values, found.directions, _in_units(found, mu, candidates), found.undetermined,
    )  # fmt: skip


def _log(candidates: _Candidates) -> bool:
    return candidates.space.scale == "log"


def _noise(measured: Measurements, misfit: float, error: float, count: int) -> float:
    """Return the standard deviation of a residual: one where the noise was given, else what the optimum leaves."""
    if measured.given_noise:
        return 1.0
    freedom = max(measured.count - count, 1)
    size = float(np.sqrt(np.mean(np.abs(measured.data * measured.weights) ** 2)))
    return max(misfit * float(np.sqrt(measured.count / freedom)), error, 1e-8 * size, float(np.finfo(float).tiny))


def _in_units(found: Sensitivity, mu: np.ndarray, candidates: _Candidates) -> np.ndarray:
    """Return standard deviations (p,) in the units of the parameters, from shares of the ranges."""
    low, high = candidates.space.bounds[candidates.free].T
    scale = mu * np.log(high / low) if _log(candidates) else high - low
    return found.spread * scale
