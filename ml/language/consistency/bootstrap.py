"""Intervals by resampling: of a mean over questions, of a paired difference, and of the area under a ROC curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "auroc", "auroc_interval", "mean_interval"]

#: Resamples, where nothing else is said: the ends of an interval then are within 1 % of its width.
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its interval."""

    value: float
    low: float
    high: float
    count: int  #: what was resampled: questions, or sets

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def mean_interval(
    values: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    rng: int | np.random.Generator = 0,
) -> Interval:
    """Return the mean of values (n,) with its bootstrap interval; of differences it is the paired one.

    Quantiles of the means of resamples. As resamples of n values spread too little, by sqrt((n - 1) / n), and quantiles
    of a normal are too narrow for a mean of few values, the quantiles are those at which a normal interval would be as
    wide as Student's. NaN are left out. With one value, or none, the ends are NaN.

    level : share of intervals that should hold the true mean

    Raises ValueError for a level outside 0 .. 1, resamples < 1 and a value that is infinite.

    Source: bootstrap percentiles with expanded levels (Hesterberg 2015).

    >>> mean_interval(np.array([0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]))
    Interval(value=0.75, low=0.375, high=1.0, count=8)
    """
    values = _known(values)
    tail, n = _tail(level, resamples, len(values)), len(values)
    if n < 2:
        return Interval(float(values.mean()) if n else np.nan, np.nan, np.nan, n)
    draws = np.random.default_rng(rng).integers(n, size=(resamples, n))
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1 - tail])
    return Interval(float(values.mean()), float(low), float(high), n)


def _known(values: np.ndarray) -> np.ndarray:
    """Return the values that are not NaN. Raises ValueError for one that is infinite."""
    found = np.asarray(values, dtype=float)
    found = found[~np.isnan(found)]
    if np.any(np.isinf(found)):
        raise ValueError(f"{int(np.isinf(found).sum())} of {len(found)} values are infinite: leave them out")
    return found


def _tail(level: float, resamples: int, n: int) -> float:
    from scipy.special import ndtr, stdtrit

    if not 0 < level < 1:
        raise ValueError(f"a level is a share between 0 and 1, got {level}")
    if resamples < 1:
        raise ValueError(f"at least one resample is needed, got {resamples}")
    if n < 2:
        return (1 - level) / 2
    return float(ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2)))


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the share of pairs in which the score of a positive is above that of a negative; ties count half.

    NaN are left out. Raises ValueError where one kind has no score, and for a score that is infinite.
    """
    from scipy.stats import rankdata

    positive, negative = _known(positive), _known(negative)
    p, n = len(positive), len(negative)
    if not p or not n:
        raise ValueError(f"an area needs both kinds, got {p} positive and {n} negative scores")
    ranks = rankdata(np.concatenate([positive, negative]))
    return float((ranks[:p].sum() - p * (p + 1) / 2) / (p * n))


def auroc_interval(
    positive: np.ndarray,
    negative: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    rng: int | np.random.Generator = 0,
) -> Interval:
    """Return the area under the ROC curve with its bootstrap interval, both kinds resampled by themselves.

    NaN are left out, and are not in `.count`. Raises ValueError as `auroc` and `mean_interval` do.
    """
    positive, negative = _known(positive), _known(negative)
    value, generator = auroc(positive, negative), np.random.default_rng(rng)
    above = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    p, n = above.shape
    first = generator.multinomial(p, np.full(p, 1 / p), size=resamples)
    second = generator.multinomial(n, np.full(n, 1 / n), size=resamples)
    areas = np.einsum("rp,pn,rn->r", first, above, second, optimize=True) / (p * n)
    tail = _tail(level, resamples, min(p, n))
    low, high = np.quantile(areas, [tail, 1 - tail])
    return Interval(value, float(low), float(high), p + n)
