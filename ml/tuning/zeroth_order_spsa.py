"""Minimisation of a noisy or gradient-free function of a few parameters, many points at a time (SPSA)."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lowrank.progress import progress_bar

__all__ = ["spsa"]

#: Decay of the moments of the gradient and of its square, and what is added to the root of the latter.
FIRST, SECOND, TINY = 0.9, 0.99, 1e-12
#: Share of the last steps whose mean is a candidate for the result.
TAIL = 0.1


def spsa(
    f: Callable[..., Any],
    x0: Any,
    bounds: Any = None,
    *,
    args: tuple[Any, ...] = (),
    steps: int = 400,
    directions: int = 16,
    rate: float = 0.05,
    eps: float = 1e-2,
    moments: bool = True,
    batched: bool = True,
    rng: int | np.random.Generator = 0,
    callback: Callable[..., Any] | None = None,
    progress: bool = False,
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    constraints: Any = (),
) -> Any:
    """Minimise f by differences along random directions; f gets all points of a step at once and needs no gradient.

    In units y of the parameters (x = lo + y (hi - lo) where both bounds are finite, else x = y), with n directions z_k
    of random signs,

        g = sum_k (f(y + eps_s z_k) - f(y - eps_s z_k)) / (2 eps_s) z_k / n,    y <- y - rate_s (a step along g)

    where rate_s falls linearly to zero and eps_s from eps to eps / 10. With `moments` the step is that of Adam (Kingma
    and Ba, 2015): rate_s bounds about how far a parameter goes in a step, whatever the scale of f; otherwise it is
    rate_s g (Spall, 1992). y is projected on the box; nearer than eps_s to a bound, differences are taken around the
    point that is eps_s away from it, so that f is only asked inside the bounds.

    Parameters
    ----------
    f : ((2 n, d), *args) -> (2 n,); with batched=False (d,) -> one number
    x0 : (d,) start
    bounds : None, pairs (lo, hi), None or infinite where there is none, (d, 2), or scipy.optimize.Bounds
    steps, directions : 2 n steps evaluations, and three more at the end
    rate, eps : in units y; eps should make f change by more than its noise
    rng : of the signs
    callback : called after each step as those of scipy.optimize are: with the keyword intermediate_result (x and fun,
        the mean of the points of the step) where it has an argument of that name, else with x. StopIteration, or a true
        result, ends the run
    jac, hess, hessp : what scipy.optimize.minimize hands over; not used. constraints : must be empty

    Returns
    -------
    scipy.optimize.OptimizeResult: x (d,), fun, losses (steps,) (means of the points of each step), nit, nfev, success,
    message. x is the best of three: the last y, the mean of the last tenth of them, the best point that was evaluated.

    Raises
    ------
    ValueError
        f of another shape or not finite, with the point; x0 outside of the bounds or not finite; bounds that cross;
        numbers out of range; constraints.

    Examples
    --------
    >>> import numpy as np
    >>> found = spsa(lambda x: np.sum((x - [0.2, 0.7]) ** 2, axis=1), [0.5, 0.5], [(0, 1), (0, 1)])
    >>> bool(np.all(abs(found.x - [0.2, 0.7]) < 1e-3)), found.nfev
    (True, 12803)
    >>> from scipy.optimize import minimize
    >>> options = {"batched": False, "directions": 1}
    >>> bool(minimize(lambda x: (x[0] - 3) ** 2, [2.0], method=spsa, options=options).fun < 1e-6)
    True
    """
    from scipy.optimize import OptimizeResult

    box = _Box(np.asarray(x0, dtype=np.float64), bounds)
    _check(steps, directions, rate, eps, constraints)
    if np.any(2 * eps > box.high - box.low):
        raise ValueError(f"eps must be at most half of the box, 0.5, got {eps!r}")
    values = _Values(f, args, batched, box)
    generator = np.random.default_rng(rng)
    y = box.to_unit(box.x0)
    adam, best, least = _Moments(y), y, math.inf
    path: list[np.ndarray] = []
    losses: list[float] = []
    message = "all steps are done"
    for step in progress_bar(range(steps), "spsa", enabled=progress):
        left = 1 - step / steps
        width, length = eps * (0.1 + 0.9 * left), rate * left
        z = generator.integers(0, 2, (directions, len(y))) * 2.0 - 1
        middle = box.inside(y, width)
        points = np.concatenate([middle + width * z, middle - width * z])
        found = values(points)
        if (k := int(np.argmin(found))) >= 0 and found[k] < least:
            best, least = points[k], float(found[k])
        g = ((found[:directions] - found[directions:]) / (2 * width)) @ z / directions
        y = box.project(y - length * (adam(g) if moments else g))
        path.append(y)
        losses.append(float(found.mean()))
        if _told(callback, OptimizeResult(x=box.from_unit(y), fun=losses[-1], nit=step + 1, nfev=values.count)):
            message = f"the callback ended it after step {step}"
            break
    tail = box.project(np.mean(path[-max(1, math.ceil(TAIL * len(path))) :], axis=0))
    candidates = np.array([y, tail, best])
    found = values(candidates)
    k = int(np.argmin(found))
    return OptimizeResult(
        x=box.from_unit(candidates[k]), fun=float(found[k]), losses=np.array(losses), nit=len(path), nfev=values.count,
        success=True, status=0, message=message,
    )  # fmt: skip


class _Moments:
    """Means of the gradient and of its square, corrected for their start at zero."""

    def __init__(self, like: np.ndarray) -> None:
        self.first, self.second, self.steps = np.zeros_like(like), np.zeros_like(like), 0

    def __call__(self, g: np.ndarray) -> np.ndarray:
        """Return the direction of the step."""
        self.steps += 1
        self.first = FIRST * self.first + (1 - FIRST) * g
        self.second = SECOND * self.second + (1 - SECOND) * g**2
        scale = np.sqrt(self.second / (1 - SECOND**self.steps)) + TINY
        return np.asarray(self.first / (1 - FIRST**self.steps) / scale)


class _Box:
    """Bounds, and parameters in units of them."""

    def __init__(self, x0: np.ndarray, bounds: Any) -> None:
        if x0.ndim != 1 or not len(x0) or not np.all(np.isfinite(x0)):
            raise ValueError(f"x0 must be finite numbers (d,), got shape {x0.shape}: {x0}")
        self.x0 = x0
        self.lo, self.hi = _limits(bounds, len(x0))
        if np.any(np.isnan(self.lo) | np.isnan(self.hi)):
            raise ValueError(f"bounds must not be NaN, got {self.lo} and {self.hi}")
        if np.any(self.lo >= self.hi):
            k = int(np.argmax(self.lo >= self.hi))
            raise ValueError(
                f"bounds of parameter {k} are {self.lo[k]} and {self.hi[k]}: the first must be below the other"
            )
        if np.any(outside := (x0 < self.lo) | (x0 > self.hi)):
            k = int(np.argmax(outside))
            raise ValueError(f"x0[{k}] = {x0[k]} is outside of its bounds {self.lo[k]} .. {self.hi[k]}")
        both = np.isfinite(self.lo) & np.isfinite(self.hi)
        self.origin = np.where(both, self.lo, 0.0)
        self.scale = np.where(both, self.hi, 1.0) - self.origin
        self.low, self.high = (self.lo - self.origin) / self.scale, (self.hi - self.origin) / self.scale

    def to_unit(self, x: np.ndarray) -> np.ndarray:
        return (x - self.origin) / self.scale

    def from_unit(self, y: np.ndarray) -> np.ndarray:
        """Return x, inside the bounds whatever rounding does."""
        return np.minimum(np.maximum(self.origin + y * self.scale, self.lo), self.hi)

    def project(self, y: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(y, self.low), self.high)

    def inside(self, y: np.ndarray, width: float) -> np.ndarray:
        """Return the nearest point that is `width` away from every bound, so that both points of a direction "
        "are inside."""
        return np.minimum(np.maximum(y, self.low + width), self.high - width)


class _Values:
    """Values of f at points in units, checked and counted."""

    def __init__(self, f: Callable[..., Any], args: tuple[Any, ...], batched: bool, box: _Box) -> None:
        self.f, self.args, self.batched, self.box, self.count = f, args, batched, box, 0

    def __call__(self, y: np.ndarray) -> np.ndarray:
        x = self.box.from_unit(y)
        self.count += len(x)
        if self.batched:
            found = np.asarray(self.f(x, *self.args), dtype=np.float64)
            if found.shape != (len(x),):
                raise ValueError(
                    f"f must give ({len(x)},) numbers for points {x.shape}, got shape {found.shape}; for an f of "
                    "one point "
                    "pass batched=False"
                )
        else:
            found = np.array([float(np.squeeze(self.f(row, *self.args))) for row in x])
        if not np.all(np.isfinite(found)):
            k = int(np.argmin(np.isfinite(found)))
            raise ValueError(
                f"f is {found[k]} at x = {x[k].tolist()}: set bounds that leave such points out, or a smaller eps"
            )
        return found


def _limits(bounds: Any, d: int) -> tuple[np.ndarray, np.ndarray]:
    if bounds is None:
        return np.full(d, -np.inf), np.full(d, np.inf)
    if hasattr(bounds, "lb"):
        lo, hi = (np.broadcast_to(np.asarray(b, dtype=np.float64), (d,)) for b in (bounds.lb, bounds.ub))
        return lo, hi
    pairs: Sequence[Any] = list(bounds)
    if len(pairs) != d or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"bounds must be {d} pairs (lo, hi), got {len(pairs)} entries")
    lo = np.array([-np.inf if a is None else a for a, _ in pairs], dtype=np.float64)
    hi = np.array([np.inf if b is None else b for _, b in pairs], dtype=np.float64)
    return lo, hi


def _check(steps: int, directions: int, rate: float, eps: float, constraints: Any) -> None:
    for name, count in (("steps", steps), ("directions", directions)):
        if not isinstance(count, int | np.integer) or count < 1:
            raise ValueError(f"{name} must be a positive integer, got {count!r}")
    for name, value in (("rate", rate), ("eps", eps)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
    if constraints is not None and np.size(constraints):
        raise ValueError("spsa takes bounds, no constraints: add a penalty to f")


def _told(callback: Callable[..., Any] | None, state: Any) -> bool:
    """Call the callback in the way it wants; return whether it ends the run."""
    if callback is None:
        return False
    try:
        by_name = "intermediate_result" in inspect.signature(callback).parameters
    except (TypeError, ValueError):  # some functions of compiled code have no signature
        by_name = False
    try:
        return bool(callback(intermediate_result=state) if by_name else callback(np.copy(state.x)))
    except StopIteration:
        return True
