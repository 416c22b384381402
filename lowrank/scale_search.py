"""The scale of a block for which quantised numbers are nearest to the given ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import beside, namespace, to_numpy
from lowrank.scale_kernels import compiled_losses

__all__ = ["PlainLosses", "best_scales", "binary_exponents", "powers", "scaled", "times"]

#: Scales tried first, in geometric progression, and then between the neighbours of the best one.
COARSE, FINE = 40, 9
#: Largest number of alternations of codes and scale.
ROUNDS = 12


class PlainLosses(NamedTuple):
    """Blocks of numbers and what their scales leave of them: the definition, for all array modules and levels."""

    w: Any  #: (k, n), double precision
    h: Any  #: weights (k, n), (1, n) or None
    quantised: Callable[[Any], Any]  #: t (k, n) -> the levels nearest to t

    def losses(self, scales: Any, limit: Any) -> Any:
        """Return sum_j h_j (w_j - s q(w_j / s))^2 of all blocks (k,). Those above the limit need not be right."""
        xp = namespace(self.w)
        off = self.w - scales[:, None] * self.quantised(self.w / xp.where(scales > 0, scales, 1.0)[:, None])
        return xp.sum(off * off if self.h is None else self.h * off * off, axis=1)

    def fitted(self, scales: Any, active: Any) -> Any:
        """Return the best scales (k,) for the codes of these, <w, q>_h / <q, q>_h. Only active blocks need be right."""
        xp = namespace(self.w)
        q = self.quantised(self.w / xp.where(scales > 0, scales, 1.0)[:, None])
        weighted = q if self.h is None else q * self.h
        below = xp.sum(weighted * q, axis=1)
        return xp.where(below > 0, xp.sum(weighted * self.w, axis=1) / xp.where(below > 0, below, 1.0), scales)


def best_scales(
    w: Any,
    h: Any,
    start: Any,
    between: tuple[Any, Any],
    quantised: Callable[[Any], Any],
    stored: Callable[[Any], Any],
    top: float | None = None,
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
    top : the levels are the integers from -top to top; None for others

    Notes
    -----
    What is found is a local minimum, often the global one; nothing is proved of it but that `start` is no better.

    Cost: 50 to 60 quantisations, each a division, a rounding and four or five more operations a number. In plain array
    operations each of these reads and writes memory: 4 to 7 ns a number and candidate. For uniform levels of NumPy
    arrays, where there is much to do, :mod:`lowrank.scale_kernels` does all of them at once on 128 numbers, adds in the
    same order, and stops where the sum is above the best loss so far: the same scales to the last bit, in a quarter of
    the time or less.
    """
    xp = namespace(w)
    lowest, highest = between
    plain = PlainLosses(w, h, quantised)
    losses = plain if top is None else compiled_losses(w, h, top) or plain
    found = (start, losses.losses(start, xp.full_like(start, np.inf)))
    span = xp.log(xp.where(start > 0, highest / xp.where(start > 0, lowest, 1.0), 1.0))
    place = xp.log(xp.where(start > 0, highest / xp.where(start > 0, start, 1.0), 1.0))  # in the progression
    for part in np.linspace(0, 1, COARSE).tolist():
        better, found = _better(losses, found, stored(highest * xp.exp(-part * span)), found[1])
        place = xp.where(better, part * span, place)
    for part in np.linspace(-1, 1, FINE + 2)[1:-1].tolist():
        candidate = highest * xp.exp(-(place + part / (COARSE - 1) * span))
        _, found = _better(losses, found, stored(candidate), found[1])
    better = found[1] > 0
    for _ in range(ROUNDS):  # a block that is no better comes to the same scale again
        candidate = stored(losses.fitted(found[0], better))
        better, found = _better(losses, found, candidate, xp.where(better, found[1], 0.0))
        if not bool(xp.any(better)):
            break
    return found[0]


def binary_exponents(largest: Any) -> Any:
    """Return the binary exponents (k,) of numbers (k,), as NumPy integers; 0 for zeros."""
    return np.frexp(to_numpy(largest))[1]


def scaled(w: Any, exponents: np.ndarray) -> Any:
    """Return 2^exponents w, in two steps, as a power by itself may overflow."""
    return times(w, powers(exponents, w))


def powers(exponents: np.ndarray, w: Any) -> tuple[Any, Any]:
    """Return two factors (k,) whose product is 2^exponents, beside w."""
    half = exponents // 2
    return beside(np.ldexp(1.0, half), w), beside(np.ldexp(1.0, exponents - half), w)


def times(w: Any, factors: tuple[Any, Any]) -> Any:
    """Return w (k,) or (k, n) times the first and then the second factor (k,)."""
    first, second = factors
    if w.ndim == 2:
        first, second = first[:, None], second[:, None]
    return w * first * second


def _better(losses: Any, found: tuple[Any, Any], scales: Any, limit: Any) -> tuple[Any, Any]:
    """Return where these scales are better, and the better ones with their losses."""
    xp = namespace(scales)
    loss = losses.losses(scales, limit)
    better = (loss < limit) & (scales > 0)
    return better, (xp.where(better, scales, found[0]), xp.where(better, loss, found[1]))
