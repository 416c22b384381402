"""Validation points of E3 and E4, and exact residual norms there; they do not depend on the training set."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from rbm.errors import PointError
from rbm.estimators.orthonormal import Orthonormal
from rbm.online.reference import residual_coefficients
from rbm.parameters.space import ParameterSpace
from rbm.reduction.projected_system import Reduction

__all__ = ["Validation", "answered", "distinct", "validation_points"]

#: Least number of validation points that fill the box; there are more where more parameters were selected
#: (:data:`PER_SELECTED`). Deviations in a part v of the box are missed with probability exp(-v COUNT), so that at most
#: 1 / (e COUNT) = 4.5e-5 of all points are expected to deviate unseen, whatever v is.
COUNT = 8192
#: Validation points per selected parameter. The square of the norm is linear in X(mu): if it is off anywhere, it is off
#: at most points, as soon as there are more of them than dimensions.
PER_SELECTED = 4
#: Largest number of corners of the box that are taken: all of them for up to six parameters.
CORNERS = 64
#: Seed of the points: always the same ones, and not those of ``ParameterSpace.sample(count, rng=0)``, from which
#: training sets are made.
SEED = 1212_0970


class Validation(NamedTuple):
    """Reduced solutions at validation points and their residual norms."""

    parameters: np.ndarray  #: (K, p)
    gamma: np.ndarray  #: (K, N)
    c: np.ndarray  #: (K, m)
    norm: np.ndarray  #: (K,)
    combination: np.ndarray = np.zeros((0, 0))  #: lambda (rho, K) of the estimator that is checked

    @classmethod
    def at(cls, reduction: Reduction, mus: np.ndarray) -> Validation:
        """Solve at those of the points (K, p) at which the model can be evaluated; norms come from E_onb.

        Points without an answer (a coefficient that is infinite in a corner, a singular reduced system, numbers beyond
        the range of doubles) are left out: queries have none there, either. Cost: K reduced solutions and O(m^2) each;
        nothing of full order.
        """
        exact = Orthonormal.prepare(reduction, mus)
        with np.errstate(all="ignore"):
            mus = answered(reduction.solve, mus)
            if not len(mus):
                return cls(mus, np.zeros((0, reduction.size)), np.zeros((0, len(exact.norms))), np.zeros(0))
            theta, phi, gamma = reduction.solve(mus)
            c, estimate = residual_coefficients(theta, phi, gamma), exact.evaluate(theta, phi, gamma)
        known = np.isfinite(estimate.bound) & np.all(np.isfinite(c), axis=1)
        return cls(mus[known], gamma[known], c[known], estimate.value[known])

    def joined(self, other: Validation) -> Validation:
        """Return the points of both, before lambda is known."""
        return Validation(*(np.concatenate([a, b]) for a, b in zip(self[:4], other[:4], strict=True)))

    def sharpened(self, reduction: Reduction, rows: np.ndarray) -> Validation:
        """Return the points with norms by E1 in some rows.

        These are right to a few u, while those of E_onb carry the rounding of its factor. Cost O(n) for each row.
        """
        if not len(rows):
            return self
        norm = self.norm.copy()
        parameters, gamma = self.parameters[rows], self.gamma[rows]
        norm[rows] = reduction.model.residual_norm(parameters, gamma, reduction.basis, extrapolate=True)
        return self._replace(norm=norm)


def distinct(training: np.ndarray, limit: int) -> np.ndarray:
    """Return the different rows of training points (M, p), in the order in which they first appear.

    Of more than `limit` rows a random choice is returned.
    """
    first = np.sort(np.unique(training + 0.0, axis=0, return_index=True)[1])  # + 0.0: -0 is 0
    if len(first) > limit:
        first = np.sort(np.random.default_rng(SEED).choice(first, limit, replace=False))
    return training[first]


def validation_points(space: ParameterSpace, selected: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Return validation points (K, p) of the box, none of them a copy of a selected one (rho, p).

    They are max(8192, 4 rho) points of a scrambled Sobol sequence on the scale of the space; half as many that are near
    the ends of the ranges in some coordinates, at an end in others; the corners (64 at most), the centre, the points
    halfway between selected ones; and `others` (k, p), such as training points that were not selected. The same points
    for the same arguments.
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
    few = len(space) <= 6
    sides = list(product((0.0, 1.0), repeat=len(space))) if few else rng.integers(0, 2, (CORNERS, len(space)))
    corners = np.where(np.array(sides) > 0, high, low)
    pairs = (np.concatenate([low[None], rows, high[None]]) / 2 for rows in (selected, np.sort(selected, axis=0)))
    between = [rows[1:] + rows[:-1] for rows in pairs]
    centre = (low / 2 + high / 2)[None]
    found = np.clip(np.concatenate([filling, ends, corners, centre, *between]), low, high)
    found = np.unique((found if others is None else np.concatenate([found, others])) + 0.0, axis=0)
    copies = {row.tobytes() for row in selected + 0.0}
    return found[[row.tobytes() not in copies for row in found]]


def answered(evaluate: Callable[[np.ndarray], Any], mus: np.ndarray) -> np.ndarray:
    """Return the points (k, p) at which `evaluate` has an answer.

    Its error says which rows failed; if it does not, they are tried one by one.
    """
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
