"""The scale of a block for which quantised numbers are nearest to the given ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowrank.arrays import beside, namespace, to_numpy

__all__ = ["best_scales", "binary_exponents", "scaled"]

#: Scales tried first, in geometric progression, and then between the neighbours of the best one.
COARSE, FINE = 40, 9
#: Largest number of alternations of codes and scale.
ROUNDS = 12


def best_scales(
    w: Any,
    h: Any,
    start: Any,
    between: tuple[Any, Any],
    quantised: Callable[[Any], Any],
    stored: Callable[[Any], Any],
) -> Any:
    """Return scales s (k,) with a small sum_j h_j (w_j - s q(w_j / s))^2 in every block, no larger than with `start`.

    The loss of a block as a function of s has many local minima. From a progression of scales the best is taken, then
    the best between its neighbours, and then codes and scale are alternated: for fixed codes q the best scale is
    <w, q>_h / <q, q>_h, and for a fixed scale rounding gives the best codes, so that the loss only falls. Every
    candidate counts as it is stored.

    Parameters
    ----------
    w : (k, n), double precision
    h : weights (k, n), (1, n) or None
    start : (k,), as it can be stored
    between : lowest and highest scale (k,) of the progression, with start between them
    quantised : t (k, n) -> the levels nearest to t
    stored : scales (k,) -> scales as they can be stored, double precision

    Notes
    -----
    What is found is a local minimum, often the global one; nothing is proved of it but that `start` is no better.
    Cost: 50 to 60 quantisations.
    """
    xp = namespace(w)
    lowest, highest = between
    found = (start, _loss(w, h, start, quantised))
    span = xp.log(xp.where(start > 0, highest / xp.where(start > 0, lowest, 1.0), 1.0))
    place = xp.log(xp.where(start > 0, highest / xp.where(start > 0, start, 1.0), 1.0))  # in the progression
    for part in np.linspace(0, 1, COARSE).tolist():
        better, found = _better(w, h, found, stored(highest * xp.exp(-part * span)), quantised)
        place = xp.where(better, part * span, place)
    for part in np.linspace(-1, 1, FINE + 2)[1:-1].tolist():
        candidate = highest * xp.exp(-(place + part / (COARSE - 1) * span))
        _, found = _better(w, h, found, stored(candidate), quantised)
    for _ in range(ROUNDS):
        q = quantised(w / xp.where(found[0] > 0, found[0], 1.0)[:, None])
        weighted = q if h is None else q * h
        below = xp.sum(weighted * q, axis=1)
        best = xp.where(below > 0, xp.sum(weighted * w, axis=1) / xp.where(below > 0, below, 1.0), found[0])
        better, found = _better(w, h, found, stored(best), quantised)
        if not bool(xp.any(better)):
            break
    return found[0]


def binary_exponents(largest: Any) -> Any:
    """Return the binary exponents (k,) of numbers (k,), as NumPy integers; 0 for zeros."""
    return np.frexp(to_numpy(largest))[1]


def scaled(w: Any, exponents: np.ndarray) -> Any:
    """Return 2^exponents w, in two steps, as a power by itself may overflow."""
    half = exponents // 2
    first, second = (beside(np.ldexp(1.0, e), w) for e in (half, exponents - half))
    if w.ndim == 2:
        first, second = first[:, None], second[:, None]
    return w * first * second


def _better(w: Any, h: Any, found: tuple[Any, Any], scales: Any, quantised: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Return where these scales are better, and the better ones with their losses."""
    xp = namespace(w)
    loss = _loss(w, h, scales, quantised)
    better = (loss < found[1]) & (scales > 0)
    return better, (xp.where(better, scales, found[0]), xp.where(better, loss, found[1]))


def _loss(w: Any, h: Any, scales: Any, quantised: Callable[[Any], Any]) -> Any:
    xp = namespace(w)
    off = w - scales[:, None] * quantised(w / xp.where(scales > 0, scales, 1.0)[:, None])
    return xp.sum(off * off if h is None else h * off * off, axis=1)
