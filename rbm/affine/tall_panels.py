"""Products of tall real matrices with a panel of a few columns, by compiled code and several threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrank.panels import Products, tall_slices
from rbm.affine.compiled_products import TALL
from rbm.online.threads import each

__all__ = ["TallPanels", "panels"]

#: Columns of a panel from which on compiled code is faster than a library.
SEVERAL = 2


class TallPanels(Products):
    """Products of float64 matrices with several thousand rows are compiled; others are those of NumPy.

    Which of the two it is depends on shapes and types alone, and sums over rows on these rows: bits do not depend on
    threads. Measured with nine columns (7081 rows, 64 columns beside them): 1.2 to 1.4 times as fast as OpenBLAS, whose
    blocks are made for more.
    """

    def adjoint(self, panel: Any, matrices: Sequence[Any]) -> list[Any]:
        """Return Y^T X (k, m) for each Y (n, k)."""
        if not _fit(panel, matrices):
            return super().adjoint(panel, matrices)
        from rbm.online.kernels.tall_panels import WIDTH, adjoint_sums

        x, *ys = _columns([panel, *matrices])
        slices = tall_slices(len(panel))
        places = {rows.start: k for k, rows in enumerate(slices)}
        parts = [np.empty((len(slices), len(y), len(x))) for y in ys]
        room = WIDTH * (max(map(len, ys)) + 1) * (len(x) + 2)

        def work(rows: slice) -> None:
            sums = np.empty(room)
            for part, y in zip(parts, ys, strict=True):
                if len(y):
                    adjoint_sums(y, x, rows.start, rows.stop, part[places[rows.start]], sums)

        self.each(work, slices)
        return [part.sum(axis=0) for part in parts]

    def without(self, panel: Any, matrices: Sequence[Any], factors: Sequence[Any]) -> Any:
        """Return X - sum Q H, in place of X where its columns are contiguous."""
        if not (_fit(panel, matrices) and _small(factors, matrices, panel)):
            return super().without(panel, matrices, factors)
        from rbm.online.kernels.tall_panels import DEPTH, subtract_products

        x, qs = np.require(panel, requirements=["F", "W"]), _columns(matrices)
        padded = [np.zeros((len(x.T), -(-len(h) // DEPTH) * DEPTH)) for h in factors]
        for to, h in zip(padded, factors, strict=True):
            to[:, : len(h)] = h.T

        def work(rows: slice) -> None:
            for q, h in zip(qs, padded, strict=True):
                if len(q):
                    subtract_products(q, h, x.T, rows.start, rows.stop)

        self.each(work, tall_slices(len(x)))
        return x


#: The same for all.
panels = TallPanels(each)


def _fit(panel: Any, matrices: Sequence[Any]) -> bool:
    """Return True if compiled code takes a panel and tall matrices, and pays; it looks at no bounds, NumPy does."""
    if not all(isinstance(a, np.ndarray) and a.dtype == float for a in (panel, *matrices)):
        return False
    alike = all(len(a) == len(panel) for a in matrices)
    return alike and bool(matrices) and len(panel) >= TALL and panel.shape[1] >= SEVERAL


def _small(factors: Sequence[Any], matrices: Sequence[Any], panel: Any) -> bool:
    """Return True if factors H (k, m) are those of matrices Q (n, k) and a panel (n, m), and real."""
    pairs = zip(factors, matrices, strict=True)
    return all(h.dtype == float and h.shape == (q.shape[1], panel.shape[1]) for h, q in pairs)


def _columns(matrices: Sequence[Any]) -> list[np.ndarray]:
    """Return matrices transposed, column by column in memory: copied once, not by each thread for each of its rows."""
    return [np.asfortranarray(y).T for y in matrices]
