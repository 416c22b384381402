"""Chooses the anchors of the perturbation bound, and keeps what was computed for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from rbm.affine.system import AffineSystem
from rbm.stability.anchored_bound import BoundAnchored
from rbm.stability.dense_anchors import DenseAnchors, expected_seconds
from rbm.stability.executors import Step
from rbm.stability.rotated_terms import RotatedTerms
from rbm.stability.sparse_anchors import SparseAnchors
from rbm.weak_greedy import Worst
from rbm.workers.crew import Crew

__all__ = ["AnchoredChoice", "KeptAnchors"]

#: A proved or measured constant beta, the growth J, and R with ||A(mu) v|| = ||R theta(mu)|| ||v|| for the minimiser v.
Made = tuple[float, float, np.ndarray]


@dataclass(frozen=True)
class KeptAnchors:
    """All that is known of K anchors; with it a run goes on as if it had not been interrupted."""

    rotated: RotatedTerms
    anchors: np.ndarray  #: theta(mu_k) (K, Qa)
    constants: np.ndarray  #: (K,)
    growths: np.ndarray  #: (K,)
    factors: np.ndarray  #: R_k (K, Qa, Qa): beta(mu) <= ||R_k theta(mu)||

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {**self.rotated.arrays(), **{name: getattr(self, name) for name in self._own()}}

    @staticmethod
    def _own() -> tuple[str, ...]:
        return "anchors", "constants", "growths", "factors"

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], system: AffineSystem) -> KeptAnchors:
        """Make it from arrays by name. Raises ValueError for arrays that do not fit each other or the system."""
        given = dict(arrays)
        own = {name: given.pop(name) for name in cls._own()}
        made = cls(RotatedTerms(**given), **own)
        k, q = len(made.constants), len(system.operator_terms)
        BoundAnchored.from_arrays(made.bound(k, system).arrays())
        rotated = made.rotated
        if not (
            k
            and made.anchors.shape == (k, q)
            and made.factors.shape == (k, q, q)
            and rotated.weights.shape == rotated.transform.shape
            and rotated.loss.shape == ()
            and all(np.all(np.isfinite(a)) for a in (made.factors, rotated.weights, rotated.loss))
        ):
            raise ValueError("the arrays of the anchors do not fit each other or the model")
        return made

    def bound(self, count: int, system: AffineSystem) -> BoundAnchored:
        """Return the bound of the first `count` anchors."""
        known = self.anchors[:count], self.constants[:count], self.growths[:count]
        return BoundAnchored(
            *known, self.rotated.norms, self.rotated.transform, self.rotated.remainder, system.parameters
        )

    def extended(self, theta: np.ndarray, constant: float, growth: float, factor: np.ndarray) -> KeptAnchors:
        """Return the same with one more anchor; factor (at most Qa, Qa)."""
        square = np.zeros((1, len(theta), len(theta)), dtype=factor.dtype)
        square[0, : len(factor)] = factor
        return replace(
            self,
            anchors=np.concatenate([self.anchors, theta[None]]),
            constants=np.append(self.constants, constant),
            growths=np.append(self.growths, growth),
            factors=np.concatenate([self.factors, square]),
        )

    def first(self, count: int) -> KeptAnchors:
        """Return the first `count` anchors only."""
        return replace(self, **{name: getattr(self, name)[:count] for name in self._own()})


class AnchoredChoice:
    """Anchors that are being chosen from M training points.

    A surrogate for :func:`rbm.weak_greedy.weak_greedy`: worst where bound / (upper bound of the truth) is smallest.
    Which anchors come depends on the training points only, so those of an earlier run are taken as they come.

    known : anchors of an earlier run
    crew : whose workers compute the anchors of a step, and norms of sparse terms
    step : how many anchors an extension may add
    announce : called before a long computation with what it is and the seconds that it takes
    """

    def __init__(
        self,
        system: AffineSystem,
        mus: np.ndarray,
        ratio: float,
        known: KeptAnchors | None,
        announce: Callable[[str, float], None],
        crew: Crew,
        step: Step,
    ) -> None:
        self.system, self.mus, self.ratio, self.announce = system, mus, ratio, announce
        self.crew, self.step = crew, step
        self.theta = system.operator_coefficients(mus)
        self.known = known  #: computed anchors, of which `size` are in use
        self.size = 0  #: number of anchors
        self.upper = np.full(len(mus), np.inf)
        self._workshop: DenseAnchors | SparseAnchors | None = None

    @property
    def bound(self) -> BoundAnchored:
        """The bound from the anchors so far; at least one."""
        assert self.known is not None
        return self.known.bound(self.size, self.system)

    def evaluate(self) -> Worst:
        """Find the smallest ratio, which counts with a minus sign."""
        if not self.size:  # the middle comes first
            away = np.abs(self.theta - self.theta.mean(axis=0))
            return Worst(int(np.argmin(np.linalg.norm(away / (away.max(initial=0.0) or 1.0), axis=1))), 0.0)
        ratios = self._ratios()
        point = int(np.argmin(ratios))
        return Worst(point, -float(ratios[point]))

    def _ratios(self) -> np.ndarray:
        return self.bound.best(self.theta) / self.upper

    def extend(self, point: int) -> bool:
        """Add one more anchor, and others in the same step, and what their minimisers say of the truth elsewhere."""
        points, have = self._together(point), 0
        if self.known is not None:  # those that an earlier run computed in the same order
            kept = self.known.anchors[self.size :]
            same = [np.array_equal(theta, self.theta[k]) for theta, k in zip(kept, points, strict=False)]
            have = (*same, False).index(False)
        if have < len(points):
            self._compute(points[have:], self.size + have)
        assert self.known is not None
        for _ in points:
            self._seen(self.known.factors[self.size])
            self.size += 1
        return True

    def _seen(self, factor: np.ndarray) -> None:
        self.upper = np.minimum(self.upper, np.linalg.norm(self.theta @ factor.T, axis=1))

    def _together(self, point: int) -> list[int]:
        """Return the worst point and others, at which anchors are made together.

        The next is where the bound would be worst if the anchors before had constants as large as their upper bounds,
        and growths that are in the same proportion to them as those so far; while it is less than `ratio` there.
        """
        chosen, count = [point], self.step.room(self.size)
        if count == 1 or not self.size:
            return chosen
        supposed = copy(self)
        known = self.known.first(self.size)  # type: ignore[union-attr]
        growth = float(np.median(known.growths * known.constants))
        while len(chosen) < count:
            k, nothing = chosen[-1], known.factors[0]
            constant = float(self.upper[k])
            supposed.known = known = known.extended(self.theta[k], constant, growth / constant, nothing)
            supposed.size += 1
            worst = supposed.evaluate()
            if -worst.value >= self.ratio or worst.point in chosen:
                break
            chosen.append(worst.point)
        return chosen

    def _compute(self, points: list[int], first: int) -> None:
        """Compute the anchors from number `first` on; the first that is computed says how long all will take."""
        at, fresh = [self.system.parameters.describe(self.mus[k]) for k in points], self._workshop is None
        if self._workshop is None:
            self._workshop = self.crew.what = self._prepared()
            self._workshop.measure(self.crew)
        known, theta = self.known, self.theta[points]
        if known is None:
            rotated, count = self._workshop.rotated(self.theta, points[0], at[0]), theta.shape[1]
            none, squares = np.zeros(0), np.zeros((0, count, count))
            known = KeptAnchors(rotated, np.zeros((0, count)), none, none, squares)
        began, made = time.perf_counter(), known.first(first)
        for t, found in zip(theta, self._anchors(theta, known.rotated, at), strict=True):
            made = made.extended(t, *found)
        self.known = made
        if fresh:
            seconds, count = (time.perf_counter() - began) / len(points), first + len(points)
            upper = np.minimum.reduce([np.linalg.norm(self.theta @ f.T, axis=1) for f in made.factors[first:]])
            bound = made.bound(count, self.system).best(self.theta)
            served = float(np.mean(bound >= self.ratio * np.minimum(self.upper, upper)))
            # each serves about as many points as those so far; where they overlap, twice as many are needed
            left = count * (1 - served) / max(served, 1 / len(self.theta))
            self.announce(f"{left:.0f} to {2 * left:.0f} more anchors (a guess)", 2 * left * seconds)

    def _anchors(self, theta: np.ndarray, rotated: RotatedTerms, at: list[str]) -> list[Made]:
        """Return what is known of anchors with coefficients theta (k, Qa), by workers where there are several."""
        assert self._workshop is not None
        if len(at) == 1:
            return [self._workshop.anchor(theta[0], rotated, at[0])]
        return list(self.crew.run(_anchor, ((t, rotated, where) for t, where in zip(theta, at, strict=True))))

    def _prepared(self) -> DenseAnchors | SparseAnchors:
        system = self.system
        if all(sp.issparse(a) for a in (system.product, *system.operator_terms)):
            return SparseAnchors(system)
        self.announce("the dense terms and the first anchor", expected_seconds(system))
        return DenseAnchors(system)


def _anchor(workshop: DenseAnchors | SparseAnchors, theta: np.ndarray, rotated: RotatedTerms, at: str) -> Made:
    """Return what is known of one anchor: a task of a worker."""
    return workshop.anchor(theta, rotated, at)
