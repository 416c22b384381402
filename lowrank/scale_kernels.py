"""Losses of many scales of uniform levels, compiled: the numbers of :mod:`lowrank.scale_search` to the last bit."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

__all__ = ["CompiledLosses", "compiled_losses"]

#: Numbers whose scales are searched without a kernel before one is compiled: about as long as compiling takes.
BEFORE_COMPILING = 5_000_000
#: NumPy adds so many numbers at a time in eight sums, and halves what is longer.
LEAF = 128
#: Where a sum of terms >= 0 is above the limit by this share, it is above it in every order of up to 10^9 terms.
SPARE = 1 + 1e-6


class CompiledLosses(NamedTuple):
    """Blocks of numbers, double precision; see :class:`lowrank.scale_search.PlainLosses` for what is computed."""

    w: np.ndarray  #: (k, n)
    h: np.ndarray  #: (k, n), (1, n), or (0, n) where all weights are one
    top: float  #: largest level

    def losses(self, scales: np.ndarray, limit: np.ndarray) -> np.ndarray:
        """Return the losses (k,) where they are below the limit (k,), else any number that is not."""
        found = np.empty(len(self.w))
        given = (np.ascontiguousarray(scales), self.top, np.ascontiguousarray(limit))
        _kernels()[0](self.w, self.h, *given, *_leaves(self.w.shape[1]), found)
        return found

    def fitted(self, scales: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Return the best scales (k,) for the codes of these; where a block is not active, the scale as it is."""
        found = np.array(scales, dtype=np.float64)
        given = (np.ascontiguousarray(scales), self.top, np.ascontiguousarray(active))
        _kernels()[1](self.w, self.h, *given, *_leaves(self.w.shape[1]), found)
        return found


class _Work:
    """How many numbers have been searched without a kernel in this process."""

    plain = 0


def compiled_losses(w: Any, h: Any, top: float) -> CompiledLosses | None:
    """Return compiled losses for NumPy arrays in double precision; None for others, and where little is to be done.

    Compiling takes one to three seconds and pays off from some millions of numbers on, all calls together. Which way is
    taken changes no bit.
    """
    if type(w) is not np.ndarray or w.dtype != np.float64 or not (h is None or type(h) is np.ndarray):
        return None
    if _Work.plain < BEFORE_COMPILING:
        _Work.plain += w.size
        return None
    weights = np.zeros((0, w.shape[1])) if h is None else h
    return CompiledLosses(np.ascontiguousarray(w), np.ascontiguousarray(weights, dtype=np.float64), float(top))


@functools.lru_cache(maxsize=64)
def _leaves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how NumPy adds n contiguous numbers: pairwise, pieces of up to 128 at a time.

    Where pieces begin (and n), and how often, after each piece, the last two sums are added.
    """
    starts: list[int] = []
    sums: list[int] = []

    def split(first: int, count: int) -> None:
        if count <= LEAF:
            starts.append(first)
            sums.append(0)
            return
        half = count // 2
        half -= half % 8
        split(first, half)
        split(first + half, count - half)
        sums[-1] += 1

    split(0, n)
    return np.array([*starts, n]), np.array(sums)


@functools.cache
def _pieces() -> tuple[Any, Any, Any, Any]:
    """Return what is done with a piece: its sum in NumPy's order, the nearest level, the terms of its loss."""
    import numba

    as_written = numba.njit(error_model="numpy", nogil=True)

    @as_written
    def total(x: Any, n: int) -> float:
        if n < 8:
            r = -0.0
            for i in range(n):
                r += x[i]
            return r
        a, b, c, d, e, f, g, h = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
        for i in range(8, n - n % 8, 8):
            a, b, c, d = a + x[i], b + x[i + 1], c + x[i + 2], d + x[i + 3]
            e, f, g, h = e + x[i + 4], f + x[i + 5], g + x[i + 6], h + x[i + 7]
        r = ((a + b) + (c + d)) + ((e + f) + (g + h))
        for i in range(n - n % 8, n):
            r += x[i]
        return r

    @as_written
    def level(t: float, top: float) -> float:
        q = np.rint(t)
        q = q if q < top else top
        return q if q > -top else -top

    @as_written
    def terms(w: Any, s: float, t: float, top: float, out: Any) -> None:
        for i in range(len(w)):
            off = w[i] - s * level(w[i] / t, top)
            out[i] = off * off

    @as_written
    def weighted_terms(w: Any, h: Any, s: float, t: float, top: float, out: Any) -> None:
        for i in range(len(w)):
            off = w[i] - s * level(w[i] / t, top)
            out[i] = (h[i] * off) * off

    return total, level, terms, weighted_terms


@functools.cache
def _kernels() -> tuple[Any, Any]:
    """Return the compiled losses and fits of all blocks."""
    import numba

    total, level, terms, weighted_terms = _pieces()
    as_written = numba.njit(error_model="numpy", nogil=True)

    @as_written
    def losses(w: Any, h: Any, scales: Any, top: float, limit: Any, starts: Any, sums: Any, found: Any) -> None:
        out, stack = np.empty(LEAF), np.empty(64)
        for k in range(len(w)):
            s, enough, so_far, depth = scales[k], limit[k] * SPARE, 0.0, 0
            t = s if s > 0 else 1.0
            found[k] = np.inf
            for j in range(len(sums) if limit[k] > 0 else 0):
                a, b = starts[j], starts[j + 1]
                if len(h):
                    weighted_terms(w[k, a:b], h[min(k, len(h) - 1), a:b], s, t, top, out)
                else:
                    terms(w[k, a:b], s, t, top, out)
                stack[depth] = total(out, b - a)
                so_far += stack[depth]
                if so_far > enough:
                    break
                depth += 1
                for _ in range(sums[j]):
                    depth -= 1
                    stack[depth - 1] += stack[depth]
                if j == len(sums) - 1:
                    found[k] = stack[0]

    @as_written
    def fitted(w: Any, h: Any, scales: Any, top: float, active: Any, starts: Any, sums: Any, found: Any) -> None:
        one, two, above, below = np.empty(LEAF), np.empty(LEAF), np.empty(64), np.empty(64)
        for k in range(len(w)):
            if not active[k]:
                continue
            depth, t = 0, scales[k] if scales[k] > 0 else 1.0
            for j in range(len(sums)):
                a, b = starts[j], starts[j + 1]
                for i in range(b - a):
                    q = level(w[k, a + i] / t, top)
                    weighted = q * h[min(k, len(h) - 1), a + i] if len(h) else q
                    one[i], two[i] = weighted * w[k, a + i], weighted * q
                above[depth], below[depth] = total(one, b - a), total(two, b - a)
                depth += 1
                for _ in range(sums[j]):
                    depth -= 1
                    above[depth - 1] += above[depth]
                    below[depth - 1] += below[depth]
            if below[0] > 0:
                found[k] = above[0] / below[0]

    return losses, fitted
