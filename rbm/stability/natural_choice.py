"""Chooses the anchors of the natural-norm bound, and the points at which their constants are computed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.stability.natural_anchor import Anchor, Terms, norm_of, range_at
from rbm.stability.natural_bound import AnchorProgram, BoundNaturalNorm
from rbm.stability.safe_dual import SafeDual
from rbm.weak_greedy import Worst
from rbm.workers.crew import Crew

__all__ = ["AnchorChoice", "done"]

#: At most so many vertices are kept for each anchor.
VERTICES = 20
#: A constraint is added to an anchor that promises this much more than the ratio that is asked for; else an anchor.
PROMISING = 1.1


def done(bound: BoundNaturalNorm | None) -> int:
    """Return the number of anchors and constraints of a bound, if there is one."""
    return 0 if bound is None else sum(len(a.program.levels) - 1 for a in bound.anchors)


class AnchorChoice:
    """Anchors and constraints that are being chosen from M training points.

    A surrogate for :func:`rbm.weak_greedy.weak_greedy`: worst where bound / (upper bound of the truth) is smallest. Its
    size is the number of anchors and constraints.

    crew : whose workers compute norms of the terms, and the ranges of the quotients of an anchor
    """

    def __init__(
        self,
        system: AffineSystem,
        mus: np.ndarray,
        ratio: float,
        limits: tuple[int, int],
        known: BoundNaturalNorm | None,
        announce: Callable[[float], None],
        crew: Crew,
    ) -> None:
        self.system, self.mus, self.ratio, self.limits = system, mus, ratio, limits
        self.theta = system.operator_coefficients(mus)
        self.terms = crew.what = Terms(system)
        self.announce, self.crew = announce, crew
        self.terms.norms = np.array(list(crew.run(norm_of, ((q,) for q in range(len(self.terms.matrices))))))
        parts = np.concatenate([self.theta.real, self.theta.imag], axis=1)
        positions = np.flatnonzero(np.any(parts != 0, axis=0))
        if not len(positions):
            raise StabilityError("all coefficients of the operator are zero on the training points")
        self.bound = known or BoundNaturalNorm((), positions, system.parameters)
        self.upper = np.full(len(mus), np.inf)
        self.anchors = [Anchor(self.terms, a.theta, "an anchor of the cache") for a in self.bound.anchors]
        for anchor in self.anchors:
            self._seen(anchor.minimiser)
        self.c = self.bound.coefficients(self.theta)
        self.tried: set[tuple[int, int]] = set()  #: anchors and points of constraints, proved or not

    @property
    def size(self) -> int:
        """Number of anchors and constraints."""
        return done(self.bound)

    def _seen(self, v: np.ndarray) -> None:
        """Account for ||A(mu) v||_{P'} / ||v||_P >= beta(mu) at all training points."""
        self.upper = np.minimum(self.upper, np.linalg.norm(self.theta @ self.terms.factor(v).T, axis=1))

    def evaluate(self) -> Worst:
        """Find the smallest ratio, which counts with a minus sign; the middle comes first."""
        if not self.anchors:
            return Worst(int(np.argmin(np.linalg.norm(self.c - self.c.mean(axis=0), axis=1))), 0.0)
        solved = np.zeros(len(self.mus), dtype=bool)
        chosen = np.argmax(self.bound.promises(self.c), axis=1)
        lower = self.bound.constant(self.theta)
        while True:
            ratios = lower / np.maximum(self.upper, np.finfo(float).tiny)
            point = int(np.argmin(ratios))
            if solved[point] or ratios[point] >= self.ratio:
                return Worst(point, -float(ratios[point]))
            # a walk that ended too early: the solver says where the next ones may start
            k, solved[point] = int(chosen[point]), True
            anchor = self.bound.anchors[k]
            self._replace(k, anchor.started(self.c[point] * anchor.scales))
            here = chosen == k
            lower[here] = self.bound.constant(self.theta[here])

    def _replace(self, k: int, anchor: AnchorProgram) -> None:
        anchors = list(self.bound.anchors)
        anchors[k] = anchor
        self.bound = replace(self.bound, anchors=tuple(anchors))

    def extend(self, point: int) -> bool:
        """Add a constraint to the most promising anchor or, if none promises enough, an anchor; False at the limits."""
        if self.anchors:
            promises = self.bound.promises(self.c[point : point + 1])[0]
            k, needed = int(np.argmax(promises)), self.ratio * self.upper[point]
            constraints = self.size - len(self.anchors)
            if promises[k] >= PROMISING * needed and (k, point) not in self.tried and constraints < self.limits[1]:
                self.tried.add((k, point))
                if self._constrain(k, point, needed):
                    return True
        if len(self.anchors) >= self.limits[0]:
            return False
        self._add(point)
        return True

    def _constrain(self, k: int, point: int, needed: float) -> bool:
        """Compute the constant of anchor k at a point; True if it was proved to be of use there."""
        known = self.bound.anchors[k]
        level, _, y = self.anchors[k].constant_at(self.theta[point])
        known = replace(
            known, quotients=np.concatenate([known.quotients, (y[self.bound.positions] / known.scales)[None]])
        )
        useful = level is not None and known.constant * level >= needed
        if useful:
            assert level is not None
            c = self.c[point] * known.scales
            known = known.constrained(c, level).started(c)
        self._replace(k, known)
        return useful

    def _add(self, point: int) -> None:
        """Make an anchor of a training point."""
        began = time.perf_counter()
        at = self.system.parameters.describe(self.mus[point])
        anchor = Anchor(self.terms, self.theta[point], at)
        if not self.anchors:  # an eigenvalue problem and a count: there are two of each per coordinate
            rounds = -(-len(self.bound.positions) // self.crew.count)
            self.announce((time.perf_counter() - began) * (1 + 3 * rounds))
        self.terms.last = anchor
        tasks = ((anchor.theta, anchor.shown, int(r)) for r in self.bound.positions)
        ranges = list(self.crew.run(range_at, tasks))
        self.terms.last = None  # a circle of references, which would keep its factors
        lower, upper = np.array([r[0] for r in ranges]), np.array([r[1] for r in ranges])
        scales = np.ldexp(1.0, np.frexp(np.maximum(np.abs(lower), np.abs(upper)))[1])
        losses = np.concatenate([anchor.reach, anchor.reach])
        losses[self.bound.positions] = 0.0
        c = self.c[point] * scales
        exponent = -int(np.frexp(np.abs(c).max())[1])
        row, slack = np.ldexp(c, exponent), anchor.defect + 8 * ROUND_OFF
        levels = np.ldexp(np.array([1 - slack, -1 - slack]), exponent)
        program = SafeDual(lower / scales, upper / scales, np.stack([row, -row]), levels)
        quotients = np.array([y[self.bound.positions] for r in ranges for y in r[2]]) / scales
        own = anchor.quotients(anchor.minimiser)[self.bound.positions] / scales
        none = np.zeros((0, len(row)), dtype=np.int64)
        made = AnchorProgram(
            float(anchor.constant),
            self.theta[point],
            scales,
            losses,
            program,
            np.concatenate([quotients, own[None]]),
            none,
        ).started(c)
        self.anchors.append(anchor)
        self.bound = replace(self.bound, anchors=(*self.bound.anchors, made))
        self._seen(anchor.minimiser)

    def finished(self) -> BoundNaturalNorm:
        """Return the bound with the anchors that are chosen somewhere, and their most useful vertices."""
        chosen, kept = np.argmax(self.bound.promises(self.c), axis=1), []
        for k, anchor in enumerate(self.bound.anchors):
            here = chosen == k
            if np.any(here):
                walk = anchor.walk.spread(self.c[here] * anchor.scales, VERTICES)
                kept.append(replace(anchor, active=walk.active))
        return replace(self.bound, anchors=tuple(kept))
