"""The quantisers of a unit normal, by integration: Lloyd-Max levels, and the best step of uniform ones."""

from __future__ import annotations

import functools
import math
from typing import Any, Literal

import numpy as np

from lowrank.packing import MAX_BITS

__all__ = ["MAX_GAUSSIAN_BITS", "Levels", "gaussian_losses", "lloyd_max", "optimal_clip", "uniform_loss"]

Levels = Literal["uniform", "gaussian"]
#: More levels than 2^12 gain nothing over uniform ones that a table of them would be worth.
MAX_GAUSSIAN_BITS = 12
#: From so many bits on, the sum over the cells is replaced by its limit, which is nearer than the sum's rounding.
MANY = 11


def gaussian_losses(hi: int = MAX_BITS, levels: Levels = "uniform") -> np.ndarray:
    """Return the mean square errors (hi + 1,) that b bits leave of a unit normal, for b = 0 to `hi`.

    T(0) = 1, T(1) = NaN (no such quantiser here), and T(b) for the best scale: of the 2^b - 1 uniform levels -m s ..
    m s, or of the 2^b levels of :func:`lloyd_max`. It is 4^-b only in its rate: 0.190 at 2 bits, not 0.0625.

    hi : at most 24; at most 12 for Gaussian levels

    Raises ValueError for more. By integration, to about 1e-9 of itself.

    Source: Max, IRE Trans. Inf. Theory 6 (1960) 7-12; Lloyd, IEEE Trans. Inf. Theory 28 (1982) 129-137.

    Examples
    --------
    >>> gaussian_losses(4).round(4)
    array([1.    ,    nan, 0.1902, 0.0469, 0.0129])
    """
    most = MAX_BITS if levels == "uniform" else MAX_GAUSSIAN_BITS
    if not 0 <= hi <= most:
        raise ValueError(f"hi must be 0 .. {most} for {levels} levels, got {hi}")
    losses = [1.0, math.nan]
    for bits in range(2, hi + 1):
        losses.append(uniform_loss(bits, optimal_clip(bits)) if levels == "uniform" else lloyd_max(bits)[1])
    return np.array(losses[: hi + 1])


@functools.cache
def optimal_clip(bits: int) -> float:
    """Return the largest level m s of the uniform quantiser in so many bits that is best for a unit normal.

    >>> round(optimal_clip(2), 3), round(optimal_clip(4), 3)
    (1.224, 2.474)
    """
    from scipy.optimize import minimize_scalar

    return float(minimize_scalar(lambda c: uniform_loss(bits, c), bounds=(0.5, 9), options={"xatol": 1e-9}).x)


def uniform_loss(bits: int, clip: float) -> float:
    """Return E (x - q(x))^2 of a unit normal x, with the levels -m s .. m s, m = 2^(bits - 1) - 1, m s = clip.

    The sum over the cells [a, b] around a level l of

        (1 + l^2) (F(b) - F(a)) + a f(a) - b f(b) - 2 l (f(a) - f(b)),

    f the density and F the distribution function. With many levels each whole cell leaves s^2 / 12 on average: the
    difference is s^2 clip f(clip) of the loss, below 1e-9 from 11 bits on.
    """
    from scipy.special import ndtr

    m = 2 ** (bits - 1) - 1
    step = clip / m
    if bits >= MANY:
        inside, beyond = 1 - 2 * ndtr(-clip), float(ndtr(-clip))
        return float(step**2 / 12 * inside + 2 * ((1 + clip**2) * beyond - clip * _density(clip)))
    level = step * np.arange(m + 1)
    below, above = np.maximum(level - step / 2, 0), np.append(level[:-1] + step / 2, math.inf)
    mass = ndtr(-below) - ndtr(-above)
    edge = np.append(above[:-1] * _density(above[:-1]), 0.0)
    moment = _density(below) - _density(above)
    return float(2 * np.sum((1 + level**2) * mass + below * _density(below) - edge - 2 * level * moment))


@functools.cache
def _lloyd_max(bits: int) -> tuple[np.ndarray, float]:
    """Return the positive half of the levels, by Newton's method for "every level is the mean of its cell"."""
    from scipy.linalg import solve_banded
    from scipy.special import ndtr, ndtri

    half = 2 ** (bits - 1)
    y = math.sqrt(3.0) * ndtri(0.5 + (np.arange(half) + 0.5) / (2 * half))  # levels as dense as f^(1/3): Bennett
    for _ in range(60):
        a = np.append(0.0, (y[1:] + y[:-1]) / 2)
        fa, mass = _density(a), ndtr(-a) - np.append(ndtr(-a[1:]), 0.0)
        fb, b = np.append(fa[1:], 0.0), np.append(a[1:], 0.0)  # beyond the last level f = 0, and b f(b) = 0
        mean = (fa - fb) / mass
        left, right = fa * (mean - a) / mass / 2, fb * (b - mean) / mass / 2
        left[0] = 0.0  # the first cell begins at 0, whatever its level
        band = np.zeros((3, half))
        band[0, 1:], band[1], band[2, :-1] = -right[:-1], 1 - left - right, -left[1:]
        change = solve_banded((1, 1), band, y - mean)
        y = y - change
        if np.max(np.abs(change)) <= 1e-13:
            break
    # at the fixed point E (x - q)^2 = 1 - E q^2
    return y, float(1 - 2 * np.sum(mass * mean**2))


def lloyd_max(bits: int) -> tuple[np.ndarray, float]:
    """Return the 2^bits levels (ascending) that are best for a unit normal, and the mean square error they leave.

    Each level is the mean of its cell, and each border of cells the middle of two levels; for a normal these conditions
    have one solution, found by Newton's method. Source: J. Max, Quantizing for minimum distortion, 1960.

    bits : 2 to 12. Raises ValueError for others. Kept after the first call.

    Examples
    --------
    >>> levels, loss = lloyd_max(2)
    >>> levels.round(4), round(loss, 4)
    (array([-1.5104, -0.4528,  0.4528,  1.5104]), 0.1175)
    """
    if not 2 <= bits <= MAX_GAUSSIAN_BITS:
        raise ValueError(f"Gaussian levels have 2 .. {MAX_GAUSSIAN_BITS} bits, got {bits}")
    positive, loss = _lloyd_max(int(bits))
    return np.concatenate([-positive[::-1], positive]), loss


def _density(x: Any) -> Any:
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
