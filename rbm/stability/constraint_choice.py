"""Chooses the points at which the successive constraint method computes the coercivity constant."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from lowrank.arrays import beside, is_complex, namespace
from rbm.affine.inner_product import InnerProduct
from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.parameters.space import ParameterSpace
from rbm.solvers.definite import definiteness_error
from rbm.stability.executors import Step
from rbm.stability.hermitian_parts import (
    DENSE_LIMIT,
    HermitianPart,
    combined_part,
    hermitian_parts,
    minimiser,
    not_coercive,
    range_of,
    shown_minimum,
)
from rbm.stability.safe_dual import Proposal, SafeDual
from rbm.stability.vertex_walk import VertexWalk
from rbm.storage.stored_arrays import Stored, checked_arrays
from rbm.weak_greedy import Worst
from rbm.workers.crew import Crew

__all__ = ["ConstraintChoice", "Constraints", "expected_seconds"]

#: Solves with P per end of a range, and per constant; both are proved by a factorisation each.
SOLVES_OF_RANGE, SOLVES_OF_CONSTANT = 80, 25
#: A constant that is supposed is this share smaller than its upper bound.
SUPPOSED = 1e-6
#: A further point of a step has at least this share of the gap at the worst point.
NEW = 0.1
#: Floating-point operations per second of dense eigensolvers, about.
DENSE_SPEED = 2e9


#: What a file holds of constraints.
STORED = {
    "positions": Stored("q", "i", least=0),
    "scales": Stored("q", positive=True),
    "losses": Stored("t", least=0),
    "lower": Stored("q"),
    "upper": Stored("q"),
    "rows": Stored("jq"),
    "levels": Stored("j"),
    "points": Stored("jp"),
    "quotients": Stored("jq"),
}


@dataclass(frozen=True, eq=False)
class Constraints:
    """What is known of the Rayleigh quotients y of Q Hermitian parts: their box, and J inequalities.

    The coefficients of the parts are c = scales * (Re theta, Im theta)[positions], so that |y| <= 1.
    """

    positions: np.ndarray  #: (Q,) of each part in (Re theta, Im theta)
    scales: np.ndarray  #: (Q,) powers of two
    losses: np.ndarray  #: (2 Qa,) what |Re theta_q| and |Im theta_q| of all other parts cost
    lower: np.ndarray  #: (Q,) the box
    upper: np.ndarray  #: (Q,)
    rows: np.ndarray  #: (J, Q)
    levels: np.ndarray  #: (J,)
    points: np.ndarray  #: (J, p) the parameter points of the inequalities
    quotients: np.ndarray  #: y (J, Q) of the minimisers there: an upper bound of the constant is min_j c . y_j

    @property
    def program(self) -> SafeDual:
        """The linear program whose value is the bound."""
        return SafeDual(self.lower, self.upper, self.rows, self.levels)

    def coefficients(self, theta: Any) -> Any:
        """Return c (M, Q) from theta (M, Qa), where these live."""
        xp, count = namespace(theta), len(self.losses) // 2
        if is_complex(theta):
            both = xp.concat([xp.real(theta), xp.imag(theta)], axis=1)
        elif len(self.positions) and int(self.positions.max()) >= count:
            both = xp.concat([theta, xp.zeros_like(theta)], axis=1)
        else:
            both = theta
        return xp.take(both, beside(self.positions, both), axis=1) * beside(self.scales, both)

    def loss(self, theta: Any) -> Any:
        """Return what the parts that are not in the program may take off the bound, (M,) or 0, rounded up."""
        if not self.losses.any():
            return 0.0
        xp, count = namespace(theta), len(self.losses) // 2
        losses = beside(self.losses * (1 + (4 * count + 8) * ROUND_OFF), theta)
        if not is_complex(theta):
            return xp.abs(theta) @ losses[:count]
        return xp.abs(xp.real(theta)) @ losses[:count] + xp.abs(xp.imag(theta)) @ losses[count:]

    def extended(self, c: np.ndarray, level: float, point: np.ndarray, quotients: np.ndarray) -> Constraints:
        """Return the same with one more inequality c . y >= level, divided by a power of two, which is exact."""
        exponent = -int(np.frexp(np.abs(c).max())[1])
        return replace(
            self,
            rows=np.concatenate([self.rows, np.ldexp(c, exponent)[None]]),
            levels=np.append(self.levels, np.ldexp(level, exponent)),
            points=np.concatenate([self.points, point[None]]),
            quotients=np.concatenate([self.quotients, quotients[None]]),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], space: ParameterSpace) -> Constraints:
        """Make them from their fields by name, of a file. Raises ValueError for arrays that do not fit each other."""
        known = checked_arrays("constraints", arrays, STORED, {"p": len(space)})
        made = cls(**{name: known[name] for name in STORED})
        good = len(made.positions) and len(made.losses) % 2 == 0 and np.all(made.positions < len(made.losses))
        if not (good and made.program.fits()):
            raise ValueError("the arrays of its constraints do not fit each other")
        return made


def expected_seconds(system: AffineSystem, parts: int, constraints: int) -> float:
    """Return about how long it takes to compute ranges of so many parts and so many constants, from one of each."""
    inner, n = system.inner_product, system.dimension
    if n <= DENSE_LIMIT or not sp.issparse(inner.matrix):
        return (2 * parts + constraints) * 4 * float(n) ** 3 / DENSE_SPEED
    solve = inner.factorized()
    began = time.perf_counter()
    solve(np.ones((n, 1)))
    of_solve = time.perf_counter() - began
    definiteness_error(inner.units.product)
    of_proof = time.perf_counter() - began - of_solve
    return 2 * parts * (SOLVES_OF_RANGE * of_solve + of_proof) + constraints * (
        SOLVES_OF_CONSTANT * of_solve + 2 * of_proof
    )


class Parts(NamedTuple):
    """What workers get once: Hermitian parts, and the inner product in whose units they are."""

    inner: InnerProduct
    parts: list[HermitianPart]


def _range(what: Parts, k: int) -> np.ndarray:
    """Return the range (2,) of the quotients of part number k."""
    return np.array(range_of(what.parts[k], what.inner))


def _constant(what: Parts, weights: np.ndarray, at: str) -> tuple[float, np.ndarray]:
    """Return the proved coercivity constant of sum_p weights_p H_p, and the quotients (Q,) of its minimiser.

    Raises StabilityError, which names the parameter `at`, where none is positive.
    """
    inner = what.inner
    matrix, error = combined_part(weights, what.parts)
    estimate, vector = minimiser(matrix, inner, at)
    level = shown_minimum(matrix, error, estimate, estimate, inner) if estimate > 0 else None
    if level is None or not level > 0:
        raise StabilityError(not_coercive(at, inner, estimate))
    norm = float((vector.conj() @ (inner.units.product @ vector)).real)
    return level, np.array([(vector.conj() @ (p.matrix @ vector)).real / norm for p in what.parts])


class ConstraintChoice:
    """Constraints that are being chosen from M training points.

    A surrogate for :func:`rbm.weak_greedy.weak_greedy`: worst where 1 - lower / upper is largest. The lower bound of
    each point never falls, and the upper one never rises, when a constraint is added. The linear program is solved
    where the gap is largest, and walks from the vertex that was found there do for all other points.

    crew : whose workers compute ranges and constants
    step : of the constants of one extension, and of the tolerance that their choice knows
    ranges : (k, 2), those of the first k Hermitian parts, where an earlier run computed them
    after_range : called with all ranges so far after each one
    """

    def __init__(
        self,
        system: AffineSystem,
        mus: np.ndarray,
        known: Constraints | None,
        announce: Callable[[int], None],
        crew: Crew,
        step: Step,
        ranges: np.ndarray | None = None,
        after_range: Callable[[np.ndarray], object] = lambda ends: None,
    ) -> None:
        self.system, self.mus, self.crew, self.step = system, mus, crew, step
        self.theta = system.operator_coefficients(mus)
        self.parts, losses = hermitian_parts(system, self.theta.dtype.kind == "c")
        if not self.parts:
            raise StabilityError("SCM needs a coercive model, but the Hermitian parts of all operator terms are zero")
        crew.what = Parts(system.inner_product, self.parts)
        if known is None:
            announce(len(self.parts))
            ends = [] if ranges is None or len(ranges) > len(self.parts) else list(ranges)
            for found in crew.run(_range, ((k,) for k in range(len(ends), len(self.parts)))):
                ends.append(found)
                after_range(np.stack(ends))
            known = self._box(losses, *np.stack(ends).T)
        self.constraints = known
        self.c = known.coefficients(self.theta)
        if not np.all(np.isfinite(self.c)):
            raise StabilityError("coefficients times the sizes of their terms are beyond the range of double precision")
        self.lower, self.upper = np.full(len(mus), -np.inf), np.full(len(mus), np.inf)
        self.proposals: list[Proposal] = []  #: of the program as it was evaluated last
        for j in range(self.size):
            self._seen(j)

    @property
    def size(self) -> int:
        """Number of constraints."""
        return len(self.constraints.levels)

    def _box(self, losses: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> Constraints:
        """Return the box, and no inequalities yet."""
        count = len(self.system.operator_terms)
        exponents = np.frexp(np.maximum(np.abs(lower), np.abs(upper)))[1]
        total = exponents + np.array([p.exponent for p in self.parts])
        if np.any(np.abs(total) > 1000):
            raise StabilityError("operator terms and product are of very different sizes; choose other units for them")
        positions = np.array([p.term + count * p.imaginary for p in self.parts], dtype=np.int64)
        q, none = len(self.parts), np.zeros(0)
        return Constraints(
            positions,
            np.ldexp(1.0, total),
            losses,
            np.ldexp(lower, -exponents),
            np.ldexp(upper, -exponents),
            np.zeros((0, q)),
            none,
            np.zeros((0, self.mus.shape[1])),
            np.zeros((0, q)),
        )

    def _seen(self, j: int) -> None:
        """Account for constraint number j at all training points."""
        self.upper = np.minimum(self.upper, self.c @ self.constraints.quotients[j])
        self._raise(j)

    def _raise(self, j: int) -> None:
        """Raise the lower bounds to what a multiple of constraint number j alone gives."""
        program = self.constraints.program
        better = program.scaled(self.c, program.aggregates(np.eye(self.size)[j : j + 1]))
        self.lower = np.maximum(self.lower, better - self.constraints.loss(self.theta))

    @property
    def gaps(self) -> np.ndarray:
        """Upper bounds (M,) of 1 - lower / upper; infinite where the model is not coercive."""
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.where(self.upper > 0, 1 - self.lower / self.upper, np.inf)

    def evaluate(self) -> Worst:
        """Find the largest gap; the middle comes first."""
        if not self.size:
            return Worst(int(np.argmin(np.linalg.norm(self.c - self.c.mean(axis=0), axis=1))), 1.0)
        program, solved = self.constraints.program, np.zeros(len(self.mus), dtype=bool)
        self.proposals = []
        while True:
            gaps = self.gaps
            point = int(np.argmax(gaps))
            if solved[point] or gaps[point] == np.inf:
                return Worst(point, float(gaps[point]))
            self.proposals.append(program.propose(self.c[point]))
            solved[point] = True
            walk = VertexWalk.from_proposals(program, self.proposals[-1:])
            # walks from here serve all points; where one ends too early, the solver is asked in its turn
            found = np.maximum(walk.bound(self.c), program.value(self.c, self.proposals[-1].multipliers))
            self.lower = np.maximum(self.lower, found - self.constraints.loss(self.theta))

    def extend(self, point: int) -> bool:
        """Compute and prove constants at one more training point, and at others; False if it is there already."""
        if self._is_there(point):
            return False
        points, before = self._together(point), self.constraints
        exponents = np.array([p.exponent for p in self.parts])
        # the coefficients of the parts without the scales of the program, all powers of two
        weights = np.ldexp(self.c[points] / before.scales, exponents)
        tasks = ((w, self.system.parameters.describe(self.mus[k])) for w, k in zip(weights, points, strict=True))
        found = list(self.crew.run(_constant, tasks))
        for k, (level, quotients) in zip(points, found, strict=True):
            y = np.ldexp(quotients, exponents) / before.scales
            self.constraints = self.constraints.extended(self.c[k], level, self.mus[k], y)
            self._seen(self.size - 1)
        return True

    def _is_there(self, point: int) -> bool:
        return bool(np.any(np.all(self.constraints.points == self.mus[point], axis=1)))

    def _together(self, point: int) -> list[int]:
        """Return the worst point and others, at which constants are computed together.

        The next is where the gap would be largest if the constants at those before were as large as their upper bounds,
        while it is above the tolerance and a tenth of the gap at the worst: what these constants cannot do is done in
        the same step.
        """
        chosen, count = [point], self.step.room(self.size)
        gap = self.gaps[point] if self.size else np.inf
        if count == 1 or not np.isfinite(gap):
            return chosen
        supposed = copy(self)
        while len(chosen) < count:
            k, none = chosen[-1], np.zeros(len(self.parts))
            # a little less, so that rounding leaves the linear program a solution: the minimisers so far are one
            level = (1 - SUPPOSED) * self.upper[k]
            supposed.constraints = supposed.constraints.extended(self.c[k], level, self.mus[k], none)
            supposed._raise(supposed.size - 1)
            try:
                worst = supposed.evaluate()
            except StabilityError:  # rounding left that program no solution: only a choice depends on it
                break
            if not worst.value > max(self.step.tol, NEW * gap) or supposed._is_there(worst.point):
                break
            chosen.append(worst.point)
        return chosen

    def vertices(self, most: int) -> VertexWalk:
        """Return the program with up to `most` vertices from which walks start."""
        program = self.constraints.program
        found = self.proposals or [program.propose(self.c[0])]
        return VertexWalk.from_proposals(program, found).spread(self.c, most)
