"""A lower bound of a linear program that no solver has to be trusted for.

The program: minimise theta . y over all y with lower <= y <= upper and C y >= alpha. For *any* lambda >= 0,

    theta . y  =  lambda . C y + (theta - C^T lambda) . y  >=  lambda . alpha + sum_q min(r_q lower_q, r_q upper_q),

r = theta - C^T lambda (weak duality). So a solver only proposes lambda, clipped at zero; neither its tolerance nor its
failure enters. What remains is the rounding of this formula, which is subtracted.

In a stability bound theta . y is a Rayleigh quotient of A(mu): y_q those of its terms, C_j the coefficients at points
where the constant is known, and alpha_j these constants. Source of the idea: Neumaier and Shcherbina, Math. Program. 99
(2004) 283-296.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from lowrank.arrays import beside, namespace
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.online.chunks import tiles

__all__ = ["Proposal", "SafeDual"]

#: More than all products below the range of normal numbers can lose, per product.
UNDERFLOW = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class Proposal:
    """What a solver of the program returned for one theta: multipliers, clipped at zero, and its minimiser."""

    multipliers: np.ndarray  #: lambda (J,) >= 0
    minimiser: np.ndarray  #: y (Q,)


@dataclass(frozen=True, eq=False)
class SafeDual:
    """The data of the program: a box, and J inequalities C y >= alpha."""

    lower: np.ndarray  #: (Q,)
    upper: np.ndarray  #: (Q,)
    rows: np.ndarray  #: C (J, Q)
    levels: np.ndarray  #: alpha (J,)

    def extended(self, row: np.ndarray, level: float) -> SafeDual:
        """Return the same with one more inequality row . y >= level."""
        return SafeDual(
            self.lower, self.upper, np.concatenate([self.rows, row[None]]), np.append(self.levels, float(level))
        )

    @cached_property
    def sizes(self) -> np.ndarray:
        """The largest |y_q| in the box, (Q,)."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    def value(self, theta: Any, multipliers: Any) -> Any:
        """Return proved lower bounds (M,) of the program.

        theta : (M, Q), real
        multipliers : lambda (M, J), one row per point, or (J,); negative ones count as zero

        The floor (2 J + Q + 8) u [sum_j lambda_j |alpha_j| + sum_q (|theta_q| + sum_j lambda_j |C_jq|) max |y_q|] is
        subtracted. Cost: O(J Q) per point.
        """
        xp = namespace(theta)
        lower, upper, rows, levels, sizes = (
            beside(a, theta) for a in (self.lower, self.upper, self.rows, self.levels, self.sizes)
        )
        given = xp.clip(xp.asarray(multipliers), 0.0, None)
        r = theta - given @ rows
        bound = given @ levels + xp.sum(xp.minimum(r * lower, r * upper), axis=-1)
        size = given @ xp.abs(levels) + (xp.abs(theta) + given @ xp.abs(rows)) @ sizes
        return bound - (self.rounding * size + self.underflow)

    @property
    def rounding(self) -> float:
        """What the rounding of :meth:`value` is at most, relative to its terms."""
        return (2 * len(self.levels) + len(self.lower) + 8) * ROUND_OFF * (1 + 2.0**-20)

    @cached_property
    def underflow(self) -> float:
        """What it may lose below the range of normal numbers, absolutely."""
        return UNDERFLOW * (len(self.levels) + 2) * (len(self.lower) + 1) * (1 + float(self.sizes.sum()))

    def scaled(self, theta: Any, aggregates: tuple[Any, Any]) -> Any:
        """Return the best bounds (M,) from multiples s lambda_k, s >= 0, of K stored multipliers.

        aggregates : (G, a) of :meth:`aggregates`, (K, Q) and (K,)

        As a function of s, s a_k + sum_q min over y_q of (theta - s g_k)_q y_q is concave and piecewise linear: its
        best s is 0 or one of the ratios theta_q / g_kq, and all are tried. Cost: O(K Q^2) per point, no solver.
        """
        parts = [
            self._scaled(theta[rows, ...], *aggregates)
            for rows in tiles(theta.shape[0], 48 * max(len(aggregates[1]), 1), theta)
        ]
        return parts[0] if len(parts) == 1 else namespace(theta).concat(parts)

    def _scaled(self, theta: Any, rows: Any, levels: Any) -> Any:
        xp, count = namespace(theta), len(self.lower)
        g, a, sizes = (beside(x, theta) for x in (rows, levels, self.sizes))
        rounding = (count + 8) * ROUND_OFF * (1 + 2.0**-20)
        # of s a_k and of r_q = theta_q - s g_kq: what is relative to s goes into the level, once for all
        a = a - rounding * (1 + 2.0**-20) * (xp.abs(a) + xp.abs(g) @ sizes)
        best = xp.full(theta.shape[:1], -xp.inf, dtype=theta.dtype)
        for i in range(count + 1):
            s = self._ratio(theta[:, i], g[:, i]) if i < count else xp.zeros((theta.shape[0], 1), dtype=theta.dtype)
            total = s * a
            for q in range(count):
                r = theta[:, q, None] - s * g[:, q]
                total = total + xp.minimum(r * float(self.lower[q]), r * float(self.upper[q]))
            best = xp.maximum(best, xp.max(total, axis=1))
        return best - (rounding * (xp.abs(theta) @ sizes) + self.underflow)

    @staticmethod
    def _ratio(theta: Any, g: Any) -> Any:
        """Return s = theta / g (M, K) where positive and of a moderate size, 0 elsewhere: any s >= 0 is safe."""
        xp = namespace(theta)
        good = (theta[:, None] * g > 0) & (xp.abs(theta)[:, None] < 1e100 * xp.abs(g))
        return xp.where(good, theta[:, None] / xp.where(g != 0, g, 1.0), 0.0)

    def aggregates(self, multipliers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return G = lambda C (K, Q) and a (K,) with G_k . y >= a_k for all y that the program admits.

        multipliers : (K, J); negative ones count as zero

        Each is one inequality made of many. G is rounded; what that may cost is taken off a.
        """
        given = np.clip(multipliers, 0.0, None)
        g = given @ self.rows
        size = given @ np.abs(self.levels) + given @ np.abs(self.rows) @ self.sizes
        rounding = (len(self.levels) + len(self.lower) + 8) * ROUND_OFF * (1 + 2.0**-20)
        return g, given @ self.levels - (rounding * size + self.underflow)

    def propose(self, theta: np.ndarray) -> Proposal:
        """Ask SciPy's simplex solver (HiGHS) for multipliers at one theta (Q,).

        Raises StabilityError where it fails. The multipliers are clipped; what they prove is :meth:`value`. Cost: about
        a millisecond.
        """
        from scipy.optimize import linprog  # not with `import rbm`: it takes a third of a second

        size, levels = float(np.abs(theta).max(initial=0.0)) or 1.0, self.levels
        # the solver's tolerances are absolute: rows of size one
        norms = np.abs(self.rows) @ self.sizes
        norms = np.where(norms > 0, norms, 1.0)
        y = np.where(self.sizes > 0, self.sizes, 1.0)
        made = linprog(
            theta * y / size,
            A_ub=-(self.rows * y) / norms[:, None] if len(levels) else None,
            b_ub=-levels / norms if len(levels) else None,
            bounds=np.column_stack([self.lower / y, self.upper / y]),
            method="highs-ds",
        )
        if made.status != 0:
            meant = {1: "was not solved", 2: "is infeasible", 3: "is unbounded"}.get(made.status, "failed")
            raise StabilityError(
                f"the linear program of the stability bound {meant} ({made.message}); choose other units for the "
                "terms, or leave out training points at which the model is nearly singular"
            )
        multipliers = -made.ineqlin.marginals * size / norms if len(levels) else np.zeros(0)
        return Proposal(np.clip(multipliers, 0.0, None), made.x * y)

    def matrices(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def fits(self) -> bool:
        """Say whether the arrays fit each other, are finite, and the box is one."""
        count = self.lower.shape
        return (
            self.lower.ndim == 1
            and self.upper.shape == count
            and self.rows.shape == (*self.levels.shape, *count)
            and all(np.all(np.isfinite(a)) for a in self.matrices().values())
            and bool(np.all(self.lower <= self.upper))
        )
