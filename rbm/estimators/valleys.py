"""Points where the residual is nearly zero, as it is near snapshots.

There the deviations of E3 and E4 show that rounding hides elsewhere.
"""

from __future__ import annotations

import numpy as np

from rbm.estimators.validation import SEED, Validation
from rbm.reduction.projected_system import Reduction

__all__ = ["valley_points"]

#: Number of points from which the search starts, those of the smallest relative residuals.
STARTS = 8
#: Number of random steps from each point in a round; the next round starts at the best one.
STEPS = 8
#: Number of rounds; each has steps half as long, down to 1e-6 of the box. Steps a fourth as long lost the way in two
#: parameters: 10 of 1200 bounds near snapshots were below.
ROUNDS = 20


def valley_points(reduction: Reduction, known: Validation) -> np.ndarray:
    """Return points (k, p) on 8 ways downhill in ||r(mu)|| / s(mu), which start at the smallest `known` ones.

    The square of the norm v^2 = lambda . V deviates by about the same amount everywhere, and v^2 is small enough to
    show it only where the residual nearly vanishes, in parts of 1e-4 of the space that no set of points meets by
    chance. The search takes random steps that shrink, all of reduced order: 1280 residual norms by E_onb. The best
    points of each round are returned, so that all sizes of the residual between occur. The same arguments give the same
    points.
    """
    if not len(known.norm):
        return known.parameters
    rng, space, norms = np.random.default_rng(SEED), reduction.model.parameters, reduction.residual_range.norms
    low, high = space.bounds.T
    width, radius, found = np.where(high > low, high / 2 - low / 2, 1.0), 0.25, []
    start = np.argsort(_relative(known, norms), kind="stable")[:STARTS]
    at, value = known.parameters[start], _relative(known, norms)[start]
    for _ in range(ROUNDS):
        steps = 2 * radius * rng.uniform(-1, 1, (STEPS, *at.shape)) * (high / 2 - low / 2)
        tried = Validation.at(reduction, np.clip(at + steps, low, high).reshape(-1, len(space)))
        sizes = _relative(tried, norms)
        way = np.argmin(np.max(np.abs(tried.parameters[:, None] / 2 - at / 2) / width, axis=2), axis=1)
        for j in range(len(at)):
            mine = np.flatnonzero(way == j)
            if len(mine) and np.min(sizes[mine]) < value[j]:
                best = mine[np.argmin(sizes[mine])]
                at[j], value[j] = tried.parameters[best], sizes[best]
        found.append(at.copy())
        radius /= 2
    return np.unique(np.concatenate(found), axis=0)


def _relative(known: Validation, norms: np.ndarray) -> np.ndarray:
    """Return ||r|| / s (K,), s = sum_j ||W_j|| |c_j|; infinite where s vanishes."""
    sizes = np.abs(known.c) @ norms
    return np.where(sizes > 0, known.norm / np.where(sizes > 0, sizes, 1.0), np.inf)
