"""Chooses the points at which the successive constraint method computes the coercivity constant."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.arrays import beside, is_complex, namespace
from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.parameters.space import ParameterSpace
from rbm.solvers.definite import definiteness_error
from rbm.stability.hermitian_parts import (
    DENSE_LIMIT,
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

__all__ = ["ConstraintChoice", "Constraints", "expected_seconds"]

#: Solves with P per end of a range, and per constant; both are proved by a factorisation each.
SOLVES_OF_RANGE, SOLVES_OF_CONSTANT = 80, 25
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


class ConstraintChoice:
    """Constraints that are being chosen from M training points.

    A surrogate for :func:`rbm.weak_greedy.weak_greedy`: worst where 1 - lower / upper is largest. The lower bound of
    each point never falls, and the upper one never rises, when a constraint is added. The linear program is solved
    where the gap is largest, and walks from the vertex that was found there do for all other points.

    ranges : (k, 2), those of the first k Hermitian parts, where an earlier run computed them
    after_range : called with all ranges so far after each one
    """

    def __init__(
        self,
        system: AffineSystem,
        mus: np.ndarray,
        known: Constraints | None,
        announce: Callable[[int], None],
        ranges: np.ndarray | None = None,
        after_range: Callable[[np.ndarray], object] = lambda ends: None,
    ) -> None:
        self.system, self.mus = system, mus
        self.theta = system.operator_coefficients(mus)
        self.parts, losses = hermitian_parts(system, self.theta.dtype.kind == "c")
        if not self.parts:
            raise StabilityError("SCM needs a coercive model, but the Hermitian parts of all operator terms are zero")
        if known is None:
            announce(len(self.parts))
            ends = [] if ranges is None or len(ranges) > len(self.parts) else list(ranges)
            for part in self.parts[len(ends) :]:
                ends.append(np.array(range_of(part, system.inner_product)))
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
        # a multiple of this constraint alone
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
        """Compute and prove the constant at one more training point; False if it is there already."""
        mu, known, c = self.mus[point], self.constraints, self.c[point]
        if np.any(np.all(known.points == mu, axis=1)):
            return False
        at, inner = self.system.parameters.describe(mu), self.system.inner_product
        exponents = np.array([p.exponent for p in self.parts])
        # the coefficients of the parts without the scales of the program, all powers of two
        matrix, error = combined_part(np.ldexp(c / known.scales, exponents), self.parts)
        estimate, vector = minimiser(matrix, inner, at)
        level = shown_minimum(matrix, error, estimate, estimate, inner) if estimate > 0 else None
        if level is None or not level > 0:
            raise StabilityError(not_coercive(at, inner, estimate))
        norm = float((vector.conj() @ (inner.units.product @ vector)).real)
        quotients = np.array([(vector.conj() @ (p.matrix @ vector)).real / norm for p in self.parts])
        self.constraints = known.extended(c, level, mu, np.ldexp(quotients, exponents) / known.scales)
        self._seen(self.size - 1)
        return True

    def vertices(self, most: int) -> VertexWalk:
        """Return the program with up to `most` vertices from which walks start."""
        program = self.constraints.program
        found = self.proposals or [program.propose(self.c[0])]
        return VertexWalk.from_proposals(program, found).spread(self.c, most)
