"""Outputs of a batch by compiled code, for arrays of NumPy; :mod:`rbm.reduced.outputs` has their definition."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rbm.online.compiled import pairs_of
from rbm.online.kernels import packed
from rbm.online.kernels.output_sums import forms_scratch_size, linear_outputs, linear_scratch_size, quadratic_forms

__all__ = ["PackedForms", "PackedFunctional", "pack_forms", "pack_functional"]

REAL, COMPLEX = np.dtype(float), np.dtype(complex)
NO_NUMBERS = np.zeros(0)


class PackedFunctional(NamedTuple):
    """A linear output in the order in which the kernel reads it, all real or all complex."""

    vectors: np.ndarray  #: (Q * N,)
    sizes: np.ndarray  #: (Q * N,)
    dual: np.ndarray  #: (k * Q,)
    defects: np.ndarray  #: (Q,)

    def values(self, psi: np.ndarray, gamma: np.ndarray) -> np.ndarray:
        """Return sum_q psi_q sum_i l_qi gamma_i (M,)."""
        made = np.empty((len(psi), 1), self.vectors.dtype)
        self._call(psi, gamma, made, NO_NUMBERS, NO_NUMBERS)
        return made[:, 0]

    def sizes_and_norms(self, psi: np.ndarray, gamma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sum_q |psi_q| sum_i sizes_qi |gamma_i| and ||dual psi||_2 + sum_q |psi_q| defects_q, both (M,)."""
        made, norms = np.empty(len(psi)), np.empty(len(psi))
        self._call(psi, gamma, np.empty((0, 1), self.vectors.dtype), made, norms)
        return made, norms

    def _call(self, psi: np.ndarray, gamma: np.ndarray, values: Any, sizes: Any, norms: Any) -> None:
        dtype = self.vectors.dtype
        rows = [pairs_of(np.ascontiguousarray(a, dtype)) for a in (psi, gamma)]
        shape = len(self.defects), len(self.dual) // len(self.defects), gamma.shape[1]
        room = np.empty(linear_scratch_size(*shape), dtype)
        linear_outputs(*rows, tuple(self), (values.view(float), sizes, norms), room)


def pack_functional(
    vectors: np.ndarray, sizes: np.ndarray, dual: np.ndarray, defects: np.ndarray, is_complex: bool
) -> PackedFunctional:
    """Pack l (Q, N), sizes (Q, N), dual (k, Q) and defects (Q,), for numbers that are complex or not."""
    dtype = COMPLEX if is_complex else REAL
    return PackedFunctional(vectors.astype(dtype).ravel(), sizes.ravel(), dual.astype(dtype).ravel(), defects)


class PackedForms(NamedTuple):
    """Quadratic forms in the order in which the kernel reads them."""

    triangles: np.ndarray  #: (Q, entries)
    first: np.ndarray  #: (2, blocks)
    columns: int
    dtype: np.dtype  #: of the coefficients that they are about

    def values(self, gamma: np.ndarray) -> np.ndarray:
        """Return Re gamma^H Q_q gamma (M, Q) of the rows of gamma (M, N)."""
        made = np.empty((len(gamma), len(self.triangles)))
        self._call(gamma, made, NO_NUMBERS)
        return made

    def norms(self, gamma: np.ndarray) -> np.ndarray:
        """Return ||gamma||_2 (M,)."""
        made = np.empty(len(gamma))
        self._call(gamma, np.empty((0, 1)), made)
        return made

    def _call(self, gamma: np.ndarray, forms: np.ndarray, norms: np.ndarray) -> None:
        rows, room = (
            pairs_of(np.ascontiguousarray(gamma, self.dtype)),
            np.empty(forms_scratch_size(self.columns)),
        )
        quadratic_forms(rows, self.triangles, self.first, self.columns, (forms, norms), room)


def pack_forms(matrices: np.ndarray, is_complex: bool) -> PackedForms:
    """Pack the Hermitian parts of matrices (Q, N, N), which is all that counts, for gamma that is complex or not."""
    hermitian = matrices / 2 + matrices.conj().transpose(0, 2, 1) / 2
    return PackedForms(*packed.pack_forms(hermitian, is_complex), COMPLEX if is_complex else REAL)
