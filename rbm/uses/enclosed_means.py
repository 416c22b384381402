"""Means with weights that are known up to factors: the smallest and the largest value that they may have.

With values h_j in [low_j, high_j] and weights in [a_j, b_j], a_j >= 0, a mean m = sum p_j h_j / sum p_j satisfies
m <= t exactly if sum_j p_j (h_j - t) <= 0. The left side is largest for high_j, and for p_j = b_j where high_j > t and
a_j elsewhere: so *any* t at which that sum is not positive is an upper bound, however it was found. The least one is
the largest mean itself.
"""

from __future__ import annotations

import math

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF

__all__ = ["enclosed_mean", "enclosed_sum"]

#: Relative errors of exp, and of the product with a weight, in units of u.
OF_EXP = 24
#: What is below the range of normal numbers.
TINY = 1e-300
#: What a product of numbers of about one or less may lose below the range of all numbers, with that of its factors.
LOST = 4 * 5e-324


def _factors(least: np.ndarray, most: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a, b (M,) with a <= w exp(l - shift) <= b for all l between `least` and `most`, and the shift."""
    shift = float(np.max(most))
    ends = []
    with np.errstate(under="ignore"):
        for logs, sign in ((least, -1.0), (most, 1.0)):
            off = 4 * ROUND_OFF * np.where(np.isfinite(logs), np.abs(logs) + abs(shift), 0.0)
            ends.append(np.exp(logs - shift + sign * off) * weights * (1 + sign * OF_EXP * ROUND_OFF))
    return np.maximum(ends[0] - TINY, 0.0), ends[1] + TINY, shift


def _scaled(given: np.ndarray) -> tuple[np.ndarray, int]:
    """Return 2^-e given, of which the largest modulus is from 1/2 to 1, and e; only subnormal results are rounded."""
    power = int(np.frexp(np.max(np.abs(given)))[1])
    # in two steps, as 2^-e itself may be beyond the range
    return np.ldexp(np.ldexp(given, -(power // 2)), -(power - power // 2)), power


def enclosed_mean(
    low: np.ndarray, high: np.ndarray, least: np.ndarray, most: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Return an interval of sum w_j L_j h_j / sum w_j L_j for all h_j in [low_j, high_j], log L_j in [least_j, most_j].

    low, high, least, most, weights : (M,); weights >= 0, one of them positive. Rounding is included. A likelihood of
    which nothing is known (`most` infinite) may be larger than all others. Cost: a sort and a few sums of M terms.
    """
    used = weights > 0
    if np.any(np.isinf(most[used])):
        return float(low[used].min()), float(high[used].max())
    a, b, _ = _factors(least[used], most[used], _scaled(weights[used])[0])
    return -_largest(-low[used], a, b), _largest(high[used], a, b)


def _largest(values: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Return an upper bound of the means of values (M,) with weights in [a, b], b of about one at most.

    The values are taken in units of a power of two, so that products do not vanish; what they may lose is added.
    """
    h, power = _scaled(values)
    end = float(h.max())
    order = np.argsort(-h, kind="stable")
    p, q, x = b[order], a[order], h[order]
    over = np.cumsum(p) + (np.sum(q) - np.cumsum(q))
    sums = np.cumsum(p * x) + (np.sum(q * x) - np.cumsum(q * x))
    with np.errstate(invalid="ignore", divide="ignore"):
        t = float(np.nanmax(np.where(over > 0, sums / over, -np.inf)))
    step = 4 * ROUND_OFF * max(abs(t), abs(end), TINY) if np.isfinite(t) else np.inf
    while t + step < end:
        terms = np.where(h > t + step, b, a) * (h - (t + step))
        if math.fsum(terms) + 4 * ROUND_OFF * math.fsum(np.abs(terms)) + len(h) * LOST <= 0:
            made = math.ldexp(t + step, power)
            return made if math.ldexp(made, -power) == t + step else math.nextafter(made, math.inf)
        step *= 2
    return float(values.max())


def enclosed_sum(least: np.ndarray, most: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return an interval of log(sum w_j L_j / sum w_j), with the same meaning."""
    used = weights > 0
    least, most, weights = least[used], most[used], _scaled(weights[used])[0]
    if np.any(np.isinf(most)):
        return -math.inf, math.inf
    a, b, shift = _factors(least, most, weights)
    whole = math.fsum(weights)
    ends = []
    for p, sign in ((a, -1.0), (b, 1.0)):
        total = math.fsum(p) / whole
        value = (math.log(total) if total > 0 else -math.inf) + shift
        ends.append(value + sign * 8 * ROUND_OFF * (abs(value) + abs(shift) + 1) if math.isfinite(value) else value)
    return ends[0], ends[1]
