"""Snapshots that arrive one by one, compressed on the fly: a trajectory is never held as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank import pod

__all__ = ["WINDOW", "SnapshotStream"]

#: Vectors that are held at most.
WINDOW = 256


class SnapshotStream:
    """The POD of vectors that arrive one after the other, in bounded memory.

    A window of at most `window` vectors is replaced, when it is full, by its first modes times their singular values,
    half a window of them at most, and none below rtol times the largest: they have the same Gram matrix but for what is
    left out. A trajectory that fits the window is not compressed at all.

    product : P (n, n); window : number of vectors; rtol : what is left out
    """

    def __init__(self, product: Any, window: int = WINDOW, rtol: float = 1e-10) -> None:
        self.product, self.window, self.rtol = product, window, rtol
        self.vectors: list[np.ndarray] = []
        self.count = 0  #: how many arrived

    def add(self, vector: np.ndarray) -> None:
        """Take one vector (n,)."""
        if len(self.vectors) >= self.window:
            found = pod(np.stack(self.vectors, axis=1), product=self.product, rtol=self.rtol)
            kept = found.modes * found.singular_values
            self.vectors = list(kept.T[: self.window // 2])
        self.vectors.append(vector)
        self.count += 1

    def modes(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the first `rank` modes (n, r), and all eigenvalues: squares of singular values over the count."""
        snapshots = np.stack(self.vectors, axis=1)
        if not np.any(snapshots):
            return np.zeros((len(snapshots), 0), snapshots.dtype), np.zeros(0)
        found = pod(snapshots, product=self.product)
        return found.modes[:, :rank], found.singular_values**2 / self.count
