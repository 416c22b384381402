"""Points of the parameter space whose coefficients are unlike those at given points: where the model does something that no other point saw."""

from __future__ import annotations

import weakref

import numpy as np

from rbm.coefficients import Coefficients
from rbm.errors import PointError
from rbm.estimators.validation import SEED, validation_points

__all__ = ["outlying_points"]

#: Points at which the coefficients are looked at: a feature that fills a part 1e-4 of the space is met with probability 1 - exp(-6.5).
COUNT = 2**16
#: Coefficients that are held at a time (16 MiB).
PIECE = 2**18
#: Points that are returned.
OUTLIERS = 64
#: Points that are looked at again, each against those chosen before.
CANDIDATES = 2048
#: Magnitudes below this part of the largest count as this.
SMALLEST = 1e-16


#: What was found, as long as the coefficients live: a greedy asks at every step.
_FOUND: weakref.WeakKeyDictionary[Coefficients, tuple[weakref.ref[Coefficients], np.ndarray]] = (
    weakref.WeakKeyDictionary()
)


def outlying_points(theta: Coefficients, phi: Coefficients) -> np.ndarray:
    """Up to 64 points (k, p) of the parameter space whose coefficients are farthest from those at the validation points.

    A narrow feature of a coefficient, a peak or a gap that all validation points miss, stands out in the coefficients alone, which cost nothing
    of full order: they are evaluated at 65 536 points of a Sobol sequence, and of these the ones are taken, one after the other, that
    are farthest from the validation points and from those taken before. Distances are in units of each coefficient's range and of the range of
    its logarithm, so that features of small values count as well. Points without finite coefficients are left out. The same points for
    the same coefficients. Cost: 65 536 coefficients and 5e7 distances, 0.1 s, once for each pair of coefficients; 50 MiB.
    """
    known = _FOUND.get(theta)
    if known is not None and known[0]() is phi:
        return known[1]
    with np.errstate(all="ignore"):
        points = _outliers(theta, phi)
    _FOUND[theta] = weakref.ref(phi), points
    return points


def _outliers(theta: Coefficients, phi: Coefficients) -> np.ndarray:
    space = theta.parameters
    points, values = _finite(theta, phi, space.sample(COUNT, "sobol", rng=SEED + 1))
    near = _finite(theta, phi, validation_points(space, np.zeros((0, len(space)))))[1]
    features, beside = _features(values, near)
    if not features.shape[1]:
        return points[:0]
    distance = _nearest(features, beside)
    order = np.argsort(-distance, kind="stable")[:CANDIDATES]
    features, distance, chosen = features[order], distance[order], []
    for _ in range(OUTLIERS):
        best = int(np.argmax(distance))
        if not distance[best] > 0:
            break
        chosen.append(order[best])
        distance = np.minimum(distance, np.sum((features - features[best]) ** 2, axis=1))
    return points[chosen]


def _finite(theta: Coefficients, phi: Coefficients, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points (k, p) at which all coefficients are finite, and these (k, Qa + Qf)."""
    mus = mus[np.all(np.isfinite(mus), axis=1)]
    step = max(1, PIECE // (len(theta) + len(phi)))
    values = np.concatenate(
        [
            np.concatenate([_answers(f, mus[start : start + step]) for f in (theta, phi)], axis=1)
            for start in range(0, max(1, len(mus)), step)
        ]
    )
    finite = np.all(np.isfinite(values), axis=1)
    return mus[finite], values[finite]


def _answers(coefficients: Coefficients, mus: np.ndarray) -> np.ndarray:
    """Coefficients (M, Q), NaN in the rows that an error names; in all rows, if it names none."""
    good, none = np.arange(len(mus)), np.full((len(mus), len(coefficients)), np.nan)
    while len(good):
        try:
            found = np.asarray(coefficients(mus[good]))
        except PointError as error:
            if error.rows is None:
                return none
            good = np.delete(good, error.rows)
            continue
        made = none.astype(found.dtype)
        made[good] = found
        return made
    return none


def _features(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary parts and logarithms of magnitudes, each from 0 to 1 on `values`, without those that are constant."""
    made: list[tuple[np.ndarray, np.ndarray]] = []
    for mine, theirs in zip(values.T, known.T, strict=True):
        size = np.abs(mine).max(initial=0.0)
        if not size > 0:
            continue
        mine, theirs = mine / size, theirs / size
        pairs = [
            (mine.real, theirs.real),
            (np.log(np.maximum(np.abs(mine), SMALLEST)), np.log(np.maximum(np.abs(theirs), SMALLEST))),
        ]
        if np.iscomplexobj(mine):
            pairs.append((mine.imag, theirs.imag))
        for a, b in pairs:
            low, high = a.min(), a.max()
            if high > low:
                made.append(((a - low) / (high - low) - 0.5, (b - low) / (high - low) - 0.5))
    if not made:
        return np.zeros((len(values), 0)), np.zeros((len(known), 0))
    return tuple(np.stack(x, axis=1).astype(np.float32) for x in zip(*made, strict=True))  # type: ignore[return-value]


def _nearest(features: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Square of the distance of each row (M, F) to the nearest row of `known` (K, F)."""
    if not len(known):
        return np.full(len(features), np.inf)
    # one product gives |b|^2 - 2 a b for all pairs
    right = np.concatenate([-2 * known, np.sum(known**2, axis=1, keepdims=True)], axis=1).T.copy()
    left = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    step = max(1, PIECE // len(known))
    parts = [np.min(left[start : start + step] @ right, axis=1) for start in range(0, len(left), step)]
    found = np.concatenate(parts) + np.sum(features**2, axis=1)
    return np.maximum(found, 0)
