"""A box of parameters cut into smaller ones, again and again: in which of them a point lies."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

__all__ = ["BoxTree"]


@dataclass(frozen=True, eq=False)
class BoxTree:
    """Cuts of a box, each at a value of one parameter, and the leaves, the boxes that are not cut.

    Cut number k sends a point to `below[k]` if its coordinate `axis[k]` is less than `cut[k]`, else to `above[k]`. A
    number of at least 0 there is that of another cut, a larger one; a leaf number j is written as -1 - j. So a point
    belongs to one leaf, also on a face, where it is the upper one, and outside of the box, where leaves go on.

    Without cuts there is one leaf, number 0.
    """

    axis: np.ndarray  #: (K,) of int
    cut: np.ndarray  #: (K,)
    below: np.ndarray  #: (K,) of int
    above: np.ndarray  #: (K,) of int

    @property
    def count(self) -> int:
        """The number of leaves."""
        return len(self.axis) + 1

    def locate(self, points: np.ndarray) -> np.ndarray:
        """Return the numbers (M,) of the leaves in which points (M, p) lie. Cost: a comparison for each cut on the way.

        A coordinate that is NaN is taken as a large one.
        """
        at = np.full(len(points), 0 if len(self.axis) else -1)
        rows = np.arange(len(points)) if len(self.axis) else np.zeros(0, dtype=int)
        while len(rows):
            k = at[rows]
            at[rows] = np.where(points[rows, self.axis[k]] < self.cut[k], self.below[k], self.above[k])
            rows = rows[at[rows] >= 0]
        return -1 - at

    def locate_one(self, point: Any) -> int:
        """Return the number of the leaf in which a point, a list of p numbers, lies."""
        at = 0 if len(self.axis) else -1
        while at >= 0:
            at = int(self.below[at] if point[self.axis[at]] < self.cut[at] else self.above[at])
        return -1 - at

    def boxes(self, bounds: np.ndarray) -> np.ndarray:
        """Return the leaves (L, p, 2) as lower and upper ends, of a box whose ends are `bounds` (p, 2)."""
        made = np.empty((self.count, *bounds.shape))
        waiting = [(0 if len(self.axis) else -1, np.array(bounds, dtype=float))]
        while waiting:
            at, box = waiting.pop()
            if at < 0:
                made[-1 - at] = box
                continue
            low, high = box.copy(), box.copy()
            low[self.axis[at], 1] = high[self.axis[at], 0] = self.cut[at]
            waiting += [(int(self.below[at]), low), (int(self.above[at]), high)]
        return made

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the cuts by name, for a file."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], bounds: np.ndarray) -> Self:
        """Make the tree from :meth:`arrays`; raise ValueError for what is no tree of cuts of the box `bounds` (p, 2).

        Every cut but the first, and every leaf, must be reached once, and a cut must lie inside the box that it cuts.
        """
        made = cls(*(np.asarray(arrays[f.name]) for f in fields(cls)))
        k = len(made.cut) if made.cut.ndim == 1 else -1
        whole = all(a.shape == (k,) and a.dtype.kind in "iu" for a in (made.axis, made.below, made.above))
        if not whole or made.cut.dtype.kind != "f" or not np.all(np.isfinite(made.cut)):
            raise ValueError("its cuts do not fit each other")
        ends = np.sort(np.concatenate([made.below, made.above]))
        if not np.array_equal(ends, [j for j in range(-k - 1, k) if j != 0] if k else []):
            raise ValueError("its cuts are no tree: a box is reached twice, or not at all")
        numbers = np.arange(k)
        if any(np.any((a >= 0) & (a <= numbers)) for a in (made.below, made.above)):
            raise ValueError("its cuts are no tree: one leads back")
        if k and not (made.axis.min() >= 0 and made.axis.max() < len(bounds)):
            raise ValueError("its cuts are about parameters that it does not have")
        boxes = made.boxes(bounds)
        if not np.all(boxes[:, made.axis, 0] < boxes[:, made.axis, 1]):
            raise ValueError("one of its cuts is outside of the box that it cuts")
        return made
