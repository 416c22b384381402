"""Chooses the anchors of the perturbation bound, and keeps what was computed for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from rbm.affine.system import AffineSystem
from rbm.stability.anchored_bound import BoundAnchored
from rbm.stability.dense_anchors import DenseAnchors, expected_seconds
from rbm.stability.rotated_terms import RotatedTerms
from rbm.stability.sparse_anchors import SparseAnchors
from rbm.weak_greedy import Worst

__all__ = ["AnchoredChoice", "KeptAnchors"]


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
    announce : called before a long computation with what it is and the seconds that it takes
    """

    def __init__(
        self,
        system: AffineSystem,
        mus: np.ndarray,
        ratio: float,
        known: KeptAnchors | None,
        announce: Callable[[str, float], None],
    ) -> None:
        self.system, self.mus, self.ratio, self.announce = system, mus, ratio, announce
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
        """Add one more anchor, and what its minimiser says of the truth elsewhere."""
        theta, known = self.theta[point], self.known
        if known is None or self.size == len(known.anchors) or not np.array_equal(known.anchors[self.size], theta):
            self._compute(point)
        assert self.known is not None
        self.upper = np.minimum(self.upper, np.linalg.norm(self.theta @ self.known.factors[self.size].T, axis=1))
        self.size += 1
        return True

    def _compute(self, point: int) -> None:
        """Compute the anchor that comes next; the first one that is computed says how long all will take."""
        at, fresh = self.system.parameters.describe(self.mus[point]), self._workshop is None
        if self._workshop is None:
            self._workshop = self._prepared()
        known, theta = self.known, self.theta[point]
        if known is None:
            rotated, count = self._workshop.rotated(self.theta, point, at), len(theta)
            none, squares = np.zeros(0), np.zeros((0, count, count))
            known = KeptAnchors(rotated, np.zeros((0, count)), none, none, squares)
        began = time.perf_counter()
        made = known.first(self.size).extended(theta, *self._workshop.anchor(theta, known.rotated, at))
        self.known = made
        if fresh:
            seconds, bound = time.perf_counter() - began, made.bound(self.size + 1, self.system)
            upper = np.minimum(self.upper, np.linalg.norm(self.theta @ made.factors[-1].T, axis=1))
            served = float(np.mean(bound.best(self.theta) >= self.ratio * upper))
            # each serves about as many points as those so far; where they overlap, twice as many are needed
            left = (self.size + 1) * (1 - served) / max(served, 1 / len(self.theta))
            self.announce(f"{left:.0f} to {2 * left:.0f} more anchors (a guess)", 2 * left * seconds)

    def _prepared(self) -> DenseAnchors | SparseAnchors:
        system = self.system
        if all(sp.issparse(a) for a in (system.product, *system.operator_terms)):
            return SparseAnchors(system)
        self.announce("the dense terms and the first anchor", expected_seconds(system))
        return DenseAnchors(system)
