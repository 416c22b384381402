"""Code vectors for samples: k-means by Lloyd's iteration, or by moving averages with the same fixed points."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

__all__ = ["KMeans", "kmeans", "kmeans_start"]

#: Distances held at a time.
CHUNK = 1 << 21
#: A code whose moving count is below this part of the mean weight of a code is dead.
DEAD = 1e-3


class KMeans(NamedTuple):
    """Result of :func:`kmeans`."""

    centres: np.ndarray  #: (K, d)
    labels: np.ndarray  #: (n,) of the nearest centre
    loss: float  #: sum_j w_j ||x_j - c||^2
    iterations: int
    losses: tuple[float, ...]  #: before each iteration


def kmeans(
    x: np.ndarray,
    w: np.ndarray,
    start: np.ndarray,
    *,
    method: Literal["kmeans", "ema"] = "kmeans",
    max_iter: int = 100,
    rtol: float = 1e-6,
    decay: float = 0.9,
) -> KMeans:
    """Return K centres with a small sum_j w_j min_k ||x_j - c_k||^2, from the given ones on.

    "kmeans": every centre becomes the weighted mean of the samples nearest to it, which lowers the loss, until no
    sample changes its centre or an iteration lowers the loss by no more than `rtol` of it. "ema": counts N_k and sums
    S_k follow those of the samples as N <- decay N + (1 - decay) n, and c = S / N; where this rests, N = n and c is the
    mean: a fixed point of Lloyd's iteration. It ends when neither samples nor centres change any more.

    Centres without samples are dead and are put on those samples that are farthest from their centres, one each.

    x : (n, d), w : (n,) > 0, start : (K, d), all in double precision. Cost of an iteration: 2 n K d flops.
    """
    middle = np.mean(x, axis=0)  # what all samples have in common would cost digits of the distances
    x, centres, losses = x - middle, start - middle, []
    labels, off = _assigned(x, centres)
    counts, sums = _moments(x, w, labels, len(centres))
    # moving averages start as if they had rested at these centres
    mean_counts = np.maximum(counts, DEAD * np.sum(w) / len(centres))
    mean_sums = mean_counts[:, None] * centres
    done = 0
    for done in range(1, max_iter + 1):  # noqa: B007  how many there were
        losses.append(float(w @ off))
        if method == "ema":
            mean_counts = decay * mean_counts + (1 - decay) * counts
            mean_sums = decay * mean_sums + (1 - decay) * sums
            dead = mean_counts < DEAD * np.sum(w) / len(centres)
            moved = mean_sums / np.maximum(mean_counts, np.finfo(float).tiny)[:, None]
        else:
            dead = counts == 0
            moved = np.where(dead[:, None], centres, sums / np.where(dead, 1.0, counts)[:, None])
        revived = _revive(x, off * w, moved, dead)
        if method == "ema" and len(revived):
            mean_counts[revived] = np.sum(w) / len(centres)
            mean_sums[revived] = mean_counts[revived, None] * moved[revived]
        still = np.max(np.abs(moved - centres), initial=0.0) <= 1e-12 * np.max(np.abs(centres), initial=0.0)
        before, centres = labels, moved
        labels, off = _assigned(x, centres)
        counts, sums = _moments(x, w, labels, len(centres))
        same = np.array_equal(before, labels) and not len(revived)
        gain = losses[-1] - float(w @ off)
        if (same or 0 <= gain <= rtol * losses[-1]) if method == "kmeans" else (same and still):
            break
    return KMeans(centres + middle, labels, float(w @ off), done, tuple(losses))


def kmeans_start(x: np.ndarray, w: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` of the samples, drawn one after the other by their weighted squared distance from those drawn.

    k-means++ (Arthur and Vassilvitskii, 2007), with 2 + log(count) trials for each, of which the best is kept. Where
    all samples have been drawn, or their copies, the first ones stand again.
    """
    given, x = x, x - np.mean(x, axis=0)
    trials = 2 + int(np.log(max(count, 1)))
    chosen = [int(rng.choice(len(x), p=w / np.sum(w)))]
    squares = np.sum(x * x, axis=1)
    off = _distances(x, squares, np.array(chosen))[:, 0]
    for _ in range(count - 1):
        total = np.cumsum(w * off)
        if not total[-1] > 0:
            chosen += [j % len(x) for j in range(count - len(chosen))]
            break
        tried = np.searchsorted(total, rng.random(trials) * total[-1], side="right").clip(0, len(x) - 1)
        after = np.minimum(off[:, None], _distances(x, squares, tried))
        best = int(np.argmin(w @ after))
        chosen.append(int(tried[best]))
        off = after[:, best]
    return given[chosen].copy()


def _distances(x: np.ndarray, squares: np.ndarray, js: np.ndarray) -> np.ndarray:
    """Return the squared distances (n, t) of all samples from some; zero, not round-off, of a sample from itself."""
    off = np.maximum(squares[:, None] - 2 * (x @ x[js].T) + squares[js], 0.0)
    off[js, np.arange(len(js))] = 0.0
    return off


def _assigned(x: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of every sample, the lowest of equal ones, and the squared distance."""
    halves = np.sum(centres * centres, axis=1) / 2
    labels, off = np.empty(len(x), dtype=np.intp), np.empty(len(x))
    step = max(1, CHUNK // len(centres))
    for first in range(0, len(x), step):
        part = slice(first, first + step)
        labels[part] = np.argmin(halves - x[part] @ centres.T, axis=1)
        off[part] = np.sum((x[part] - centres[labels[part]]) ** 2, axis=1)
    return labels, off


def _moments(x: np.ndarray, w: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and the weighted sums of the samples of every centre."""
    from scipy.sparse import csr_array

    member = csr_array((w, (labels, np.arange(len(x)))), shape=(count, len(x)))
    return np.bincount(labels, weights=w, minlength=count), member @ x


def _revive(x: np.ndarray, weighted: np.ndarray, centres: np.ndarray, dead: np.ndarray) -> np.ndarray:
    """Put dead centres on the samples with the largest share in the loss, in place; return which."""
    which = np.flatnonzero(dead)
    far = np.argsort(-weighted, kind="stable")[: len(which)]
    far = far[weighted[far] > 0]
    centres[which[: len(far)]] = x[far]
    return which[: len(far)]
