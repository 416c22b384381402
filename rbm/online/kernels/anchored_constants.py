"""The stability constants that anchors give at many points; :meth:`BoundAnchored.best` is the definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online.kernels.compiler import compiled, kernel
from rbm.online.kernels.lanes import (
    alike,
    equal,
    fma,
    item,
    larger,
    load,
    modulus,
    put,
    root,
    splat,
    splat_from,
    square,
    store,
)
from rbm.online.kernels.memory import bare
from rbm.online.kernels.residuals import gather
from rbm.online.kernels.tile import aligned, cut

__all__ = ["anchored_constants", "anchored_scratch_size"]


def anchored_scratch_size(terms: int) -> int:
    """Return how many numbers of the type of theta, real or complex, `room` must hold."""
    return (2 * terms + 4) * 8


@compiled
def from_anchor(bound: Any, k: int, known: int, theta: Any, delta: Any, slack: float) -> Any:
    """Return the constants from anchor k alone; `delta` (Qa,) gets theta - theta(mu_k)."""
    anchors, rotated, norms, constants, growths = bound
    qa, nought = len(norms), splat(0.0)
    constant = splat_from(constants, k)
    plain = nought
    for q in range(qa):
        d = load(theta, q) - splat_from(anchors, k * qa + q)
        store(delta, q, d)
        plain = fma(splat_from(norms, q), modulus(d), plain)
    squares = rest = nought
    zero = alike(nought, splat_from(rotated, 0))
    for row in range(qa):
        y = zero
        for q in range(qa):
            y = fma(load(delta, q), splat_from(rotated, row * qa + q), y)
        if row < known:
            squares = squares + square(y)
        else:
            rest = rest + modulus(y)
    plain = plain / constant
    natural = splat_from(growths, k) * root(squares) + rest / constant
    least = larger(plain, natural, natural, plain)
    least = equal(natural, natural, least, natural)  # what is no number is not left out
    return constant * (splat(1.0) - splat(1.0 + slack) * least)


@kernel
def anchored_constants(theta: Any, bound: Any, known: int, slack: float, beta: Any, room: Any) -> None:
    """Write max_k constant_k (1 - (1 + slack) min(plain_k, natural_k)) to beta (M,).

    theta : (M, Qa), or (M, 2 Qa) for the pairs of complex numbers
    bound : anchors (K * Qa,), rotated terms (Qa * Qa,), norms (Qa,), constants (K,), growths (K,); anchors are of the
        type of theta, and rotated terms complex if theta is
    known : the number L of rotated terms that the growths are about; the others enter by their moduli
    room : scratch memory, :func:`anchored_scratch_size` numbers of the type of theta
    """
    theta, bound, beta, room = bare((theta, bound, beta, room))
    numbers = aligned(room, beta)
    lanes, count = 64 // numbers.itemsize, len(theta)
    theta_numbers, at = cut(numbers, 0, theta.shape[1])
    delta_numbers, at = cut(numbers, at, theta.shape[1])
    out, at = cut(numbers, at, 1)
    here, delta = theta_numbers.viewed(room.dtype), delta_numbers.viewed(room.dtype)
    for first in range(0, count, lanes):
        gather(theta, first, lanes, theta_numbers)
        best = splat(-np.inf)
        for k in range(len(bound[3])):
            value = from_anchor(bound, k, known, here, delta, slack)
            best = equal(value, value, larger(value, best, value, best), value)
        store(out, 0, best)
        for lane in range(min(lanes, count - first)):
            put(beta, first + lane, item(out, lane))
