"""What chunks as tokens are compared with: bins for every number, and principal components with allocated bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank import allocate_bits, quantize
from lowrank.budget import Options, choose
from ml.chunks.splitting import checked_actions

__all__ = ["PodBits", "PodTables", "bin_error", "pod_tables", "relative_error"]

#: Most bits of a component.
MOST_BITS = 10
#: Iterations of Lloyd's for the levels of one component.
ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class PodBits:
    """Principal components of chunks, each rounded to one of the 2^b levels that were found for it."""

    mean: np.ndarray  #: (d,)
    basis: np.ndarray  #: (d, r), orthonormal, without the components that got no bits
    levels: tuple[np.ndarray, ...]  #: of each component, ascending
    bits: tuple[int, ...]  #: of each component

    def reconstruct(self, x: Any) -> np.ndarray:
        """Return chunks (n, d) as their codes give them back."""
        c = (np.asarray(x) - self.mean) @ self.basis
        for i, levels in enumerate(self.levels):
            c[:, i] = _nearest(c[:, i], levels)
        return self.mean + c @ self.basis.T


@dataclass(frozen=True, eq=False)
class PodTables:
    """Principal components of chunks, with the levels and the errors of each in 0, 1, 2, .. bits."""

    mean: np.ndarray  #: (d,)
    basis: np.ndarray  #: (d, r)
    levels: list[list[np.ndarray]]  #: of component i in b bits
    losses: np.ndarray  #: (r, MOST_BITS + 1), sums of squares
    uniform: bool

    def allocated(self, budget: int) -> PodBits:
        """Return the components with the bits that leave the least error within a budget per chunk."""
        r = len(self.losses)
        if self.uniform:
            bits = allocate_bits(self.losses, sizes=[1] * r, budget=budget, method="exact").bits
        else:
            bits = tuple(choose([Options(np.arange(MOST_BITS + 1), row) for row in self.losses], budget))
        kept = [i for i in range(r) if bits[i]]
        levels = tuple(self.levels[i][bits[i]] for i in kept)
        return PodBits(self.mean, self.basis[:, kept], levels, tuple(bits[i] for i in kept))


def pod_tables(x: Any, components: int, *, uniform: bool = False) -> PodTables:
    """Return the principal components of chunks (n, d), with what bits they may get.

    Parameters
    ----------
    x : chunks (n, d)
    components : how many at most; as many as there will be bits is enough
    uniform : levels -m s .. m s of :func:`lowrank.quantize`, s searched for each component, and
        :func:`lowrank.allocate_bits` on the errors measured with them (0 or 2 bits and more). Otherwise what one number
        at a time can do at best here: levels by Lloyd's iteration, 1 bit allowed, the allocation exact
    """
    x = checked_actions("x", x)
    mean = np.mean(x, axis=0)
    basis = np.linalg.svd(x - mean, full_matrices=False)[2][:components].T
    c = (x - mean) @ basis
    levels = [_uniform_levels(row) if uniform else _lloyd_levels(row) for row in c.T]
    losses = np.array([[_loss(row, one) for one in table] for row, table in zip(c.T, levels, strict=True)])
    return PodTables(mean, basis, levels, losses, uniform)


def bin_error(x: Any, bits: int, low: Any, high: Any) -> float:
    """Return the relative error of chunks (n, H, D), every number in the middle of one of 2^b bins between two limits.

    low, high : limits of each number of an action (D,)
    """
    x = np.asarray(x)
    width = (np.asarray(high) - low) / 2**bits
    middle = low + width * (np.clip(np.floor((x - low) / width), 0, 2**bits - 1) + 0.5)
    return relative_error(x, middle)


def relative_error(x: np.ndarray, y: np.ndarray) -> float:
    """Return ||x - y|| / ||x|| in the Frobenius norm."""
    return float(np.linalg.norm(x - y) / np.linalg.norm(x))


def _uniform_levels(row: np.ndarray) -> list[np.ndarray]:
    found = [np.zeros(1), np.zeros(1)]
    for bits in range(2, MOST_BITS + 1):
        scale = float(quantize(row[None], bits, gamma="search").scales[0])
        m = 2 ** (bits - 1) - 1
        found.append(scale * np.arange(-m, m + 1))
    return found


def _lloyd_levels(row: np.ndarray) -> list[np.ndarray]:
    """Levels for 0, 1, .. bits by Lloyd's iteration from quantiles on; sums over sorted entries."""
    ordered = np.sort(row)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    found = [np.zeros(1)]
    for bits in range(1, MOST_BITS + 1):
        levels = np.quantile(ordered, (np.arange(2**bits) + 0.5) / 2**bits)
        for _ in range(ITERATIONS):
            cuts = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
            ends = np.concatenate([[0], cuts, [len(ordered)]])
            counts = np.diff(ends)
            means = np.diff(sums[ends]) / np.maximum(counts, 1)
            levels = np.sort(np.where(counts > 0, means, levels))
        found.append(levels)
    return found


def _nearest(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return levels[np.searchsorted((levels[1:] + levels[:-1]) / 2, values)]


def _loss(values: np.ndarray, levels: np.ndarray) -> float:
    return float(np.sum((values - _nearest(values, levels)) ** 2))
