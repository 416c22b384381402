"""The guard of E3 and E4: points of the parameter space that the training set did not choose, and exact residual norms there."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from rbm.errors import PointError
from rbm.estimators.orthonormal import Orthonormal
from rbm.online.reference import residual_coefficients
from rbm.parameters import ParameterSpace
from rbm.reduction import Reduction

__all__ = ["Validation", "answered", "distinct", "validation_points"]

#: Validation points that fill the box, at least; more where more parameters were selected (:data:`PER_SELECTED`). Deviations in a part v of the box
#: are met but with probability exp(-v COUNT), so that at most 1 / (e COUNT) = 4.5e-5 of all points are expected to deviate unseen, whatever v is.
COUNT = 8192
#: The square of the norm is linear in X(mu): what is off at all is off at most points, if there are more of them than dimensions.
PER_SELECTED = 4
#: Most corners of the box that are taken, all of them with up to six parameters.
CORNERS = 64
#: Which points: the same ones always, and not those of ``ParameterSpace.sample(count, rng=0)``, from which training sets are made.
SEED = 1212_0970


class Validation(NamedTuple):
    """Reduced solutions at validation points and their residual norms."""

    parameters: np.ndarray  #: (K, p)
    gamma: np.ndarray  #: (K, N)
    c: np.ndarray  #: (K, m)
    norm: np.ndarray  #: (K,)
    combination: np.ndarray = np.zeros((0, 0))  #: lambda (rho, K) of the estimator that is looked at

    @classmethod
    def at(cls, reduction: Reduction, mus: np.ndarray) -> Validation:
        """At the points (K, p) at which the model can be evaluated, norms by E_onb.

        Points without an answer (a coefficient that is infinite in a corner, a singular reduced system, numbers beyond the range of doubles)
        are left out: queries have none there, either. Cost: K reduced solutions and O(m^2) each; nothing of full order.
        """
        exact = Orthonormal.prepare(reduction.model, reduction.basis, mus, reduction=reduction)
        with np.errstate(all="ignore"):
            mus = answered(reduction.solve, mus)
            if not len(mus):
                return cls(mus, np.zeros((0, reduction.size)), np.zeros((0, len(exact.norms))), np.zeros(0))
            theta, phi, gamma = reduction.solve(mus)
            c, estimate = residual_coefficients(theta, phi, gamma), exact.evaluate(theta, phi, gamma)
        known = np.isfinite(estimate.bound) & np.all(np.isfinite(c), axis=1)
        return cls(mus[known], gamma[known], c[known], estimate.value[known])

    def joined(self, other: Validation) -> Validation:
        """The points of both, before lambda is known."""
        return Validation(*(np.concatenate([a, b]) for a, b in zip(self[:4], other[:4], strict=True)))

    def sharpened(self, reduction: Reduction, rows: np.ndarray) -> Validation:
        """Norms by E1 in some rows: right to a few u, where those of E_onb carry the rounding of its factor. Cost O(n) each."""
        if not len(rows):
            return self
        norm = self.norm.copy()
        norm[rows] = reduction.model.residual_norm(
            self.parameters[rows], self.gamma[rows], reduction.basis, extrapolate=True
        )
        return self._replace(norm=norm)


def distinct(training: np.ndarray, limit: int) -> np.ndarray:
    """The different rows of training points (M, p), in the order in which they first appear; of more than `limit` a random choice."""
    first = np.sort(np.unique(training + 0.0, axis=0, return_index=True)[1])  # + 0.0: -0 is 0
    if len(first) > limit:
        first = np.sort(np.random.default_rng(SEED).choice(first, limit, replace=False))
    return training[first]


def validation_points(space: ParameterSpace, selected: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Points (K, p) of the box to look at, none of them a copy of a selected one (rho, p).

    max(8192, 4 rho) points of a scrambled Sobol sequence on the scale of the space; half as many that are near the ends of the ranges in
    some coordinates, at an end in others; the corners (64 at most), the centre, the points halfway between selected ones; and `others` (k, p),
    such as training points that were not selected. The same points for the same arguments.
    """
    rng = np.random.default_rng(SEED)
    count = max(COUNT, PER_SELECTED * len(selected))
    low, high = space.bounds.T
    with np.errstate(over="ignore", invalid="ignore"):  # of ranges as wide as all numbers
        filling = space.sample(count, "sobol", rng=SEED)
        filling = filling[np.all(np.isfinite(filling), axis=1)]
    # t^8 comes within 1e-3 of the range's end for half of all t: coefficients such as 1 / mu change there
    unit, kind = rng.random((count // 2, len(space))), rng.integers(0, 5, (count // 2, len(space)))
    unit = np.choose(kind, [unit, unit**8, 1 - unit**8, np.zeros_like(unit), np.ones_like(unit)])
    ends = low * (high / low) ** unit if space.scale == "log" else low * (1 - unit) + high * unit
    sides = np.array(
        list(product((0.0, 1.0), repeat=len(space))) if len(space) <= 6 else rng.integers(0, 2, (CORNERS, len(space)))
    )
    corners = np.where(sides > 0, high, low)
    pairs = (np.concatenate([low[None], rows, high[None]]) / 2 for rows in (selected, np.sort(selected, axis=0)))
    between = [rows[1:] + rows[:-1] for rows in pairs]
    centre = (low / 2 + high / 2)[None]
    found = np.clip(np.concatenate([filling, ends, corners, centre, *between]), low, high)
    found = np.unique((found if others is None else np.concatenate([found, others])) + 0.0, axis=0)
    copies = {row.tobytes() for row in selected + 0.0}
    return found[[row.tobytes() not in copies for row in found]]


def answered(evaluate: Callable[[np.ndarray], Any], mus: np.ndarray) -> np.ndarray:
    """The points (k, p) at which `evaluate` has an answer: it says which rows failed, or they are tried one by one."""
    while len(mus):
        try:
            evaluate(mus)
            return mus
        except PointError as error:
            if error.rows is None:
                return mus[[_succeeds(evaluate, mu) for mu in mus]]
            mus = np.delete(mus, error.rows, axis=0)
    return mus


def _succeeds(evaluate: Callable[[np.ndarray], Any], mu: np.ndarray) -> bool:
    try:
        evaluate(mu[None])
    except PointError:
        return False
    return True
