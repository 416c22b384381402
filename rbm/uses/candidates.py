"""Evaluates candidates of a fit, keeps the best with its bound, and knows when the search may end.

M candidates of p parameters, each asked at the m experiments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from rbm.errors import ModelError, PointError
from rbm.parameters.space import ParameterSpace
from rbm.reduced.gradient import solution_slopes
from rbm.reduced.interface import Reduced
from rbm.solution import Solution
from rbm.uses.measurements import Measurements

__all__ = ["Candidates", "End"]


class End(BaseException):
    """The search may end; `args` says why. No Exception: an optimiser of the user may catch those and go on."""


@dataclass
class Candidates:
    """Evaluates candidates x in [0, 1]^p, keeps the best, and knows when to stop."""

    reduced: Reduced
    measured: Measurements
    free: np.ndarray  #: (p,) columns of the parameters that are looked for
    fixed: np.ndarray  #: (m, parameters): known values; the free columns are overwritten
    target: float | None
    limit: int
    method: str | None
    evaluations: int = 0
    calls: int = 0
    best: tuple[float, np.ndarray, float] | None = None  #: misfit, x, error
    run_best: tuple[float, np.ndarray] | None = None
    reasons: list[str] = field(default_factory=list)
    last: tuple[np.ndarray, np.ndarray] | None = None  #: x and residuals (m, k) of the last single candidate

    @property
    def space(self) -> ParameterSpace:
        """The ranges of all parameters."""
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
        """Return misfits (M,) of candidates (M, p), or a number for one (p,). Raises End when the search is over."""
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
        residuals = self.measured.residuals(solution)
        self.last = (points[0].copy(), residuals[0]) if given.ndim == 1 else None
        misfits = self.measured.misfits(residuals)
        self.evaluations += len(points)
        i = int(np.argmin(misfits))
        self._look(float(misfits[i]), points[i])
        if self.evaluations >= self.limit:
            raise End("evaluations")
        return misfits if given.ndim == 2 else float(misfits[0])

    @cached_property
    def differentiable(self) -> bool:
        """Whether :meth:`slope` is there: where coefficients have derivatives, and outputs."""
        try:
            self._slopes(self.space.bounds.mean(axis=1)[None])
        except ModelError:
            return False
        return True

    def _slopes(self, mus: np.ndarray) -> np.ndarray:
        """Return the derivatives (m, k, parameters) of what is measured, at points (m, parameters)."""
        if self.measured.field is not None:
            return self.measured.field.image @ solution_slopes(self.reduced, mus).transpose(0, 2, 1)
        values = self.reduced.gradient(mus, self.measured.names, estimate=False).values
        return np.stack([values[name] for name in self.measured.names], axis=1)

    def slope(self, x: np.ndarray) -> np.ndarray:
        """Return the derivative (p,) of the misfit J by x (p,): - sum_i Re(conj(r_i) ds_i/dx / noise_i) / (count J).

        NaN where the model has no answer. It counts as one evaluation more.
        """
        x = np.asarray(x, dtype=float)
        if self.last is None or not np.array_equal(self.last[0], x):
            self(x)
        assert self.last is not None
        residuals = self.last[1]
        self.evaluations, self.calls = self.evaluations + 1, self.calls + 1
        misfit = float(self.measured.misfits(residuals[None])[0])
        if not 0 < misfit < np.inf:
            return np.full(x.shape, 0.0 if misfit == 0 else np.nan)
        try:
            slopes = self.residual_slopes(x)
        except PointError:
            return np.full(x.shape, np.nan)
        made: np.ndarray = (residuals.conj().ravel() @ slopes).real / (self.measured.count * misfit)
        return made

    def residual_slopes(self, x: np.ndarray) -> np.ndarray:
        """Return the derivatives (m k, p) of the residuals by x (p,)."""
        mus = self.mus(x[None])
        low, high = self.space.bounds[self.free].T
        scale = mus[0, self.free] * np.log(high / low) if self.space.scale == "log" else high - low
        turned = (x + 1) % 2 < 1  # reflected at the ends
        turned &= x != 1  # an optimum at that end has the slope from inside, as at the other end
        scale = scale * np.where(turned, -1.0, 1.0)
        slopes = self._slopes(mus)[:, :, self.free] * scale
        return -(self.measured.weights[:, :, None] * slopes).reshape(-1, len(x))

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
            raise End("certified")
        if self.target is not None and found <= self.target:
            raise End("target")
