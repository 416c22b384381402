"""The forms that are integrated over pieces of a reference mesh, by scikit-fem."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require

__all__ = ["Assembly"]


@lru_cache(maxsize=1)
def _forms() -> SimpleNamespace:
    """Return the forms, made once: scikit-fem is imported here."""
    skfem = require("skfem", "scikit-fem", "mapped_blocks")

    def along_both(u, v, w):  # type: ignore[no-untyped-def]
        return (w.x0 * u.grad[0] + w.y0 * u.grad[1]) * (w.x0 * v.grad[0] + w.y0 * v.grad[1])

    def along(u, v, w):  # type: ignore[no-untyped-def]
        return (w.x0 * u.grad[0] + w.y0 * u.grad[1]) * v

    return SimpleNamespace(
        along_both=skfem.BilinearForm(along_both),
        along=skfem.BilinearForm(along),
        mass=skfem.BilinearForm(lambda u, v, _: u * v),
        load=skfem.LinearForm(lambda v, _: 1.0 * v),
    )


class Assembly:
    """Matrices and vectors of the pieces of a reference mesh; a basis is made once for each piece.

    mesh, element : of scikit-fem; number : (E,) the piece of each element
    """

    def __init__(self, mesh: Any, element: Any, number: np.ndarray) -> None:
        self.mesh, self.element, self.number = mesh, element, number
        self._bases: dict[int, Any] = {}

    def _basis(self, piece: int) -> Any:
        if piece not in self._bases:
            skfem = require("skfem", "scikit-fem", "mapped_blocks")
            elements = np.flatnonzero(self.number == piece)
            self._bases[piece] = skfem.Basis(self.mesh, self.element, elements=elements)
        return self._bases[piece]

    def along_both(self, piece: int, t: np.ndarray) -> sp.csr_array:
        """Return the matrix of int (t . grad u) (t . grad v) dX, for a vector t (2,)."""
        return sp.csr_array(_forms().along_both.assemble(self._basis(piece), x0=t[0], y0=t[1]))

    def along(self, piece: int, t: np.ndarray) -> sp.csr_array:
        """Return the matrix of int (t . grad u) v dX."""
        return sp.csr_array(_forms().along.assemble(self._basis(piece), x0=t[0], y0=t[1]))

    def mass(self, piece: int) -> sp.csr_array:
        """Return the matrix of int u v dX."""
        return sp.csr_array(_forms().mass.assemble(self._basis(piece)))

    def load(self, piece: int) -> np.ndarray:
        """Return the vector of int v dX."""
        return np.asarray(_forms().load.assemble(self._basis(piece)))

    def on_facets(self, facets: np.ndarray) -> tuple[Callable[[], sp.csr_array], Callable[[], np.ndarray]]:
        """Return what assembles int u v dS and int v dS over facets."""
        skfem = require("skfem", "scikit-fem", "mapped_blocks")
        basis = skfem.FacetBasis(self.mesh, self.element, facets=facets)
        return (
            lambda: sp.csr_array(_forms().mass.assemble(basis)),
            lambda: np.asarray(_forms().load.assemble(basis)),
        )
