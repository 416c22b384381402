"""The minimum of an output of a reduced model, by its derivatives, with an interval for the full model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rbm.errors import Interrupted, ModelError, ParameterError
from rbm.parameters.space import ParameterSpace
from rbm.reduced.interface import Reduced
from rbm.reduced.output_rows import check_single

__all__ = ["Descent", "Minimum", "minimize"]

#: Points that are tried at once for each parameter, where a search has more starts than one.
TRIED = 64
#: What is said of a search that ended for this reason, and how SciPy calls it.
UNRESOLVED, HALTED = "what the slope leaves to gain in the box is less than the error bound", 99
#: What L-BFGS-B is asked for, of a function of size one and parameters in [0, 1].
DEFAULTS = {"ftol": 1e-10, "gtol": 1e-7, "maxiter": 200}


@dataclass(frozen=True)
class Descent:
    """One start of the search."""

    start: np.ndarray  #: (p,)
    mu: np.ndarray  #: (p,) the best point that it evaluated
    value: float
    evaluations: int
    message: str  #: what the optimiser said


@dataclass(frozen=True)
class Minimum:
    """The least value that was found, and what is known of it; docs/gradients.md says what is proved."""

    output: str
    names: tuple[str, ...]  #: (p,) of all parameters
    mu: np.ndarray  #: (p,) the best point
    value: float  #: of the reduced model there
    error: float  #: the value of the full model there is within it
    interval: tuple[float, float]  #: holds the least value that the full model has at the points visited
    gradient: np.ndarray  #: (p,) there
    gradient_bounds: np.ndarray | None  #: (p,); None where the model has no bounds of derivatives
    descents: tuple[Descent, ...]
    evaluations: int  #: points at which the reduced model was asked

    @property
    def parameters(self) -> dict[str, float]:
        """The best point, by name."""
        return dict(zip(self.names, self.mu.tolist(), strict=True))

    def __repr__(self) -> str:
        at = ", ".join(f"{name} = {x:.4g}" for name, x in self.parameters.items())
        low, high = self.interval
        return f"Minimum({self.output} in [{low:.8g}, {high:.8g}] at {at}; {self.evaluations} evaluations)"


class _Limit(Exception):
    """The model was asked as often as it may be."""


@dataclass
class _Search:
    """Values and slopes of an output in x in [0, 1]^p, and all points that were visited."""

    reduced: Reduced
    output: str
    space: ParameterSpace  #: where the minimum is looked for
    method: str | None
    limit: int
    mus: list[np.ndarray] = field(default_factory=list)  #: (k, p) each
    values: list[np.ndarray] = field(default_factory=list)
    bounds: list[np.ndarray] = field(default_factory=list)
    last: tuple[np.ndarray, np.ndarray] | None = None  #: x and slope of the last call
    count: int = 0
    size: float = 0.0  #: of the values, to which the optimiser's tolerances refer

    def points(self, x: np.ndarray) -> np.ndarray:
        """Return parameter points (k, p) of x (k, p)."""
        low, high = self.space.bounds.T
        if self.space.scale == "log":
            made = np.exp(np.log(low) + x * (np.log(high) - np.log(low)))
        else:
            made = low + x * (high - low)
        return np.minimum(np.maximum(made, low), high)

    def inverse(self, mus: np.ndarray) -> np.ndarray:
        """Return x (k, p) of points (k, p)."""
        low, high = self.space.bounds.T
        if self.space.scale == "log":
            low, high, mus = np.log(low), np.log(high), np.log(mus)
        return (mus - low) / np.where(high > low, high - low, 1.0)

    def ask(self, mus: np.ndarray) -> np.ndarray:
        """Return the values (k,) at points (k, p), and keep them with their bounds."""
        solution = self.reduced.solve(mus, method=self.method, coefficients=False)
        value, bound = np.asarray(solution.outputs[self.output]), np.asarray(solution.output_bounds[self.output])
        if value.dtype.kind == "c":
            raise ModelError(
                f"output {self.output!r} is complex, and complex numbers have no least one; minimise a real output, a "
                "quadratic one (its square, for instance) or one whose terms are real"
            )
        self.mus.append(mus)
        self.values.append(value)
        self.bounds.append(bound)
        self.count += len(mus)
        return value

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return value and slope (p,) at x (p,), over the size of the values."""
        if self.count >= self.limit:
            raise _Limit
        mus = self.points(x[None])
        value = float(self.ask(mus)[0])
        slope = self.reduced.gradient(mus, self.output, estimate=False).values[self.output][0]
        low, high = self.space.bounds.T
        scale = mus[0] * np.log(high / low) if self.space.scale == "log" else high - low
        self.size = self.size or abs(value) or float(np.max(np.abs(slope * scale))) or 1.0
        self.last = x.copy(), slope * scale / self.size
        return value / self.size, self.last[1]

    def left(self, x: np.ndarray) -> float:
        """Return by how much the linear function with the slope at x falls on its way to a corner of the box."""
        if self.last is None or not np.array_equal(self.last[0], x):  # the point accepted is not the last one
            return np.inf
        slope = self.last[1]
        return float(np.sum(np.maximum(slope * x, slope * (x - 1))))


def minimize(
    reduced: Reduced,
    output: str,
    *,
    ranges: Mapping[str, Any] | None = None,
    starts: Any = 1,
    rng: int = 0,
    max_evaluations: int = 10_000,
    options: Mapping[str, Any] | None = None,
    method: str | None = None,
) -> Minimum:
    """Return the least value of a real output that L-BFGS-B finds with the derivatives of the reduced model.

    ranges : {parameter: (low, high), or one value}, inside those of the model, where to look; others keep theirs
    starts : how many: the middle, and the best of 64 p points that are tried at once; or points (s, p). Where the slope
        in the middle leaves nothing to gain at all, those points are tried, too: it may be a maximum
    options : of scipy.optimize.minimize(method="L-BFGS-B")
    method : the estimator of the bounds

    A search also ends where the slope g leaves nothing to gain that the reduced model could tell: g^T (x - y) is at
    most the error bound for all y in the box.

    Proved is the interval for the points that were visited, and that the minimum over all parameters is at most its
    upper end; that there is no lower value elsewhere is not (docs/gradients.md).

    Raises ModelError for an output that is unknown, complex or without derivative; ParameterError for ranges and starts
    outside those of the model; Interrupted at Ctrl-C, with the Minimum so far in `result`.

    Source: of the search: Byrd, Lu, Nocedal, Zhu, SIAM J. Sci. Comput. 16 (1995) 1190-1208.

    Examples
    --------
    >>> import numpy as np, rbm
    >>> k = np.diag([1.0, 2.0, 3.0])
    >>> model = rbm.FullOrderModel([(1.0, k), ("mu", np.eye(3))], [(1.0, np.ones(3))], k, {"mu": (0.1, 10.0)}, 1.0,
    ...     outputs={"cost": [(1.0, np.ones(3)), (0.05, 1.0), ("mu", 0.05)]})
    >>> reduced = rbm.greedy(model, model.parameters.sample(20), tol=1e-9).reduced_model
    >>> found = minimize(reduced, "cost")
    >>> round(found.value, 6), round(float(found.mu[0]), 3)
    (0.728865, 5.873)
    """
    search = _checked(reduced, output, ranges, method, max_evaluations)
    if not (options is None or isinstance(options, Mapping)):
        raise ModelError(f"options must be a dictionary, got {type(options).__name__}")
    made = {**DEFAULTS, **(options or {})}
    descents: list[Descent] = []
    cause: KeyboardInterrupt | None = None
    try:
        for x0 in _starts(search, starts, rng):
            descents.append(_descend(search, x0, made))
        if _stuck(search, starts, descents):  # in the middle of a symmetric range the slope is 0, at a maximum as well
            descents.append(_descend(search, _tried(search, 1, rng)[0], made))
    except KeyboardInterrupt as interrupt:
        if not search.bounds:
            raise
        cause = interrupt
    result = _found(search, descents)
    if cause is None:
        return result
    raise Interrupted(
        f"minimize was interrupted after {search.count} evaluations; the least value so far, {result.value:.6g}, is in "
        "`result` of this exception",
        result,
    ) from cause


def _found(search: _Search, descents: list[Descent]) -> Minimum:
    """Return what all points visited say."""
    output = search.output
    mus, values, bounds = (np.concatenate(a[: len(search.bounds)]) for a in (search.mus, search.values, search.bounds))
    best = int(np.argmin(values))
    at, slopes = mus[best], None
    try:
        found, slopes = search.reduced.gradient(at[None], output)
    except ModelError:  # no bounds of derivatives: they are not needed for those of the value
        found = search.reduced.gradient(at[None], output, estimate=False).values
    return Minimum(
        output, search.space.names, at, float(values[best]), float(bounds[best]),
        (float(np.nextafter(np.min(values - bounds), -np.inf)), float(np.nextafter(np.min(values + bounds), np.inf))),
        found[output][0],
        None if slopes is None else slopes[output][0], tuple(descents), search.count,
    )  # fmt: skip


def _checked(reduced: Any, output: Any, ranges: Any, method: str | None, limit: Any) -> _Search:
    if not isinstance(reduced, Reduced):
        raise ModelError(f"minimize asks a reduced model, got a {type(reduced).__name__}; rbm.greedy makes one")
    if not isinstance(reduced.operators, np.ndarray):
        reduced = reduced.to("numpy")
    if not isinstance(output, str) or output not in reduced.outputs:
        known = ", ".join(map(repr, reduced.outputs)) or "none"
        raise ModelError(f"minimize names the output {output!r}, which the model does not have; it has {known}")
    if isinstance(limit, bool) or not (isinstance(limit, int | np.integer) and limit >= 1):
        raise ModelError(f"max_evaluations must be a whole number of at least 1, got {limit!r}")
    check_single(reduced.outputs, output, "minimize")
    reduced.state(method)
    space = reduced.parameters
    if ranges is None:
        return _Search(reduced, output, space, method, int(limit))
    if not isinstance(ranges, Mapping):
        raise ModelError(f"ranges must be a dictionary {{parameter: (low, high)}}, got {type(ranges).__name__}")
    bounds = {name: (float(a), float(b)) for name, (a, b) in zip(space.names, space.bounds, strict=True)}
    for name, given in ranges.items():
        if name not in bounds:
            raise ModelError(f"ranges name {name!r}, which is no parameter; they are {', '.join(space.names)}")
        try:
            ends = np.asarray(given, dtype=float)
        except (TypeError, ValueError):
            ends = np.zeros(0)
        if ends.shape not in ((), (1,), (2,)):
            raise ModelError(f"the range of {name} must be (low, high) or one value, got {given!r:.60}")
        low, high = float(ends.ravel()[0]), float(ends.ravel()[-1])
        least, most = bounds[name]
        if not (least <= low <= high <= most):
            raise ParameterError(
                f"the range of {name} is [{low:g}, {high:g}], which is not inside that of the model, [{least:g}, "
                f"{most:g}]: outside it no bound was checked"
            )
        bounds[name] = low, high
    return _Search(reduced, output, ParameterSpace(bounds, space.scale), method, int(limit))


def _starts(search: _Search, starts: Any, rng: int) -> np.ndarray:
    """Return where the searches begin, x (s, p)."""
    space, p = search.space, len(search.space)
    if isinstance(starts, bool) or not isinstance(starts, int | np.integer):
        return search.inverse(space.validate(starts))
    if starts < 1:
        raise ModelError(f"starts must be a number of at least 1, or points (s, {p}), got {starts!r}")
    middle = np.full((1, p), 0.5)
    return middle if starts == 1 else np.concatenate([middle, _tried(search, int(starts) - 1, rng)])


def _stuck(search: _Search, starts: Any, descents: list[Descent]) -> bool:
    """Return whether the only start, in the middle, ended where it began, and points beside may be asked."""
    only = not isinstance(starts, bool) and isinstance(starts, int | np.integer) and starts == 1
    varies = bool(np.any(search.space.bounds[:, 0] < search.space.bounds[:, 1]))
    return only and varies and descents[0].evaluations == 1 < search.limit


def _tried(search: _Search, count: int, rng: int) -> np.ndarray:
    """Return the best x (count, p) of points that are tried at once, of not more than may be asked."""
    left = search.limit - search.count
    if count > left:
        raise ModelError(f"starts = {count + 1} needs more than max_evaluations = {search.limit}")
    points = search.space.sample(min(max(TRIED * len(search.space), count), left), rng=rng)
    return search.inverse(points[np.argsort(search.ask(points), kind="stable")[:count]])


def _descend(search: _Search, x0: np.ndarray, options: dict[str, Any]) -> Descent:
    """Search from one start."""
    from scipy.optimize import minimize as scipy_minimize  # here: it takes longer to import than this package

    first, kept = search.count, len(search.values)

    def resolved(x: np.ndarray) -> None:
        if search.left(x) <= float(search.bounds[-1][0]) / search.size:
            raise StopIteration

    try:
        found = scipy_minimize(
            search, x0, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * len(x0), options=options, callback=resolved
        )
        message = UNRESOLVED if found.status == HALTED else str(found.message)
    except _Limit:
        message = f"stopped after max_evaluations = {search.limit}"
    values = np.concatenate([np.array([np.inf]), *search.values[kept:]])[1:]
    start = search.points(x0[None])[0]
    if not len(values):
        return Descent(start, start, float("nan"), 0, message)
    best = int(np.argmin(values))
    return Descent(start, np.concatenate(search.mus[kept:])[best], float(values[best]), search.count - first, message)
