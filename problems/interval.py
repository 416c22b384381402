"""Linear elements on an interval; Kronecker products of two make bilinear elements on a rectangle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["Interval", "on_rectangle"]


@dataclass(frozen=True)
class Interval:
    """The interval (0, length), cut into `cells` linear elements of equal length h; all its cells + 1 nodes count.

    >>> Interval(2, 1.0).load(0.0, 0.5)
    array([0.25, 0.25, 0.  ])
    """

    cells: int
    length: float

    @property
    def h(self) -> float:
        """The length of an element."""
        return self.length / self.cells

    @property
    def nodes(self) -> np.ndarray:
        """The nodes x_i = i h (cells + 1,)."""
        return np.linspace(0, self.length, self.cells + 1)

    @property
    def stiffness(self) -> Any:
        """The integrals of phi_i' phi_j'."""
        return self._tridiagonal(-1.0, 2.0, -1.0, (1.0, 1.0)) / self.h

    @property
    def mass(self) -> Any:
        """The integrals of phi_i phi_j."""
        return self._tridiagonal(1.0, 4.0, 1.0, (2.0, 2.0)) * (self.h / 6)

    @property
    def transport(self) -> Any:
        """The integrals of phi_i phi_j', row i."""
        return self._tridiagonal(-0.5, 0.0, 0.5, (-0.5, 0.5))

    def _tridiagonal(self, below: float, middle: float, above: float, ends: tuple[float, float]) -> Any:
        one = np.ones(self.cells)
        diagonal = np.full(self.cells + 1, middle)
        diagonal[[0, -1]] = ends
        return sp.diags_array([below * one, diagonal, above * one], offsets=[-1, 0, 1], format="csr")

    def load(self, low: float, high: float) -> np.ndarray:
        """Return the integrals of phi_i over (low, high) (cells + 1,), wherever its ends lie between the nodes."""

        def up_to(x: float) -> np.ndarray:
            s = np.clip((x - self.nodes) / self.h, -1.0, 1.0)  # a hat is zero beyond its two elements
            return self.h * np.where(s < 0, (1 + s) ** 2, 2 - (1 - s) ** 2) / 2

        return up_to(high) - up_to(low)

    def end(self, which: int) -> np.ndarray:
        """Return the value at an end as a vector (cells + 1,): 0 for x = 0, -1 for x = length."""
        made = np.zeros(self.cells + 1)
        made[which] = 1.0
        return made


def on_rectangle(along: Any, across: Any) -> Any:
    """Return the product of two matrices, or vectors, on a rectangle: node i + j (cells + 1) is (x_i, y_j)."""
    return np.kron(across, along) if isinstance(along, np.ndarray) else sp.csr_array(sp.kron(across, along))
