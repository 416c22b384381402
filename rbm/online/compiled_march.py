"""A reduced recursion for the compiled kernel of trajectories: it packs the arrays in their order, and calls it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from rbm.arithmetic.precision import row_norms
from rbm.online.compiled import DOUBLE, hermitian_terms, real_view
from rbm.online.kernels import packed
from rbm.online.kernels.arguments import INDEFINITE, MarchAnswers
from rbm.online.kernels.march_tile import march_scratch_size
from rbm.online.kernels.time_march import march
from rbm.online.marching import Recursion

__all__ = ["CompiledMarch", "MarchAnswers"]


class CompiledMarch:
    """Marches a reduced recursion, and forms residual norms of all steps, for NumPy arrays in double precision.

    Recursions whose terms are Hermitian, with real coefficients, are solved by L D L^H; where that meets a pivot that
    is not positive, and for all others, LU with partial pivoting is used. S = M + dt theta A is factorised once a
    point. The increments are those of :func:`rbm.online.marching.march` up to rounding; there is no refinement, as a
    solve by factors leaves a residual of some N u |S| |d|, which is small where d is.

    recursion : the arrays must not change; factor, floor_weights : R (k, m) and w (m,), as for
        :func:`rbm.online.marching.step_norms`
    """

    def __init__(self, recursion: Recursion, factor: np.ndarray, floor_weights: np.ndarray) -> None:
        self.recursion, self.factor, self.floor_weights = recursion, factor, floor_weights
        #: (Qf, Qa, Qm, N)
        self.shape = len(recursion.rhs), len(recursion.operators), len(recursion.mass), recursion.rhs.shape[1]
        self.is_complex = any(a.dtype.kind == "c" for a in (*recursion[:3], factor))
        self._plans: dict[tuple[bool, np.dtype], tuple[tuple[Any, ...], tuple[Any, ...], int]] = {}

    @cached_property
    def hermitian(self) -> bool:
        """Whether all terms of A and of M are Hermitian."""
        return hermitian_terms(self.recursion.operators) and hermitian_terms(self.recursion.mass)

    def answer(
        self,
        coefficients: tuple[np.ndarray, np.ndarray, np.ndarray],
        control: np.ndarray,
        start: np.ndarray,
        outputs: tuple[np.ndarray, np.ndarray] | None = None,
        *,
        certify: bool = True,
        keep: bool = True,
        residuals: bool = False,
    ) -> MarchAnswers:
        """March M points.

        coefficients : theta (M, Qa), weights (M, Qm), phi (M, Qf)
        control : (M, K), or (1, K) for all; start : gamma^0 (M, N)
        outputs : functionals and magnitudes, both (M, outputs, N), or (1, outputs, N) for all points
        certify : also residual norms; keep : also gamma; residuals : with the norms also R c^k; without these the
            arrays of the answer have no rows

        Memory: the answer, and about 12 N^2 + 12 k N numbers for 8 points. Cost per point: 2/3 N^3 flops, and a step
        4 N^2 of the march and 4 k' N of the residual, k' the mean number of rows of a column of R, for real numbers.
        """
        theta, weights, phi = coefficients
        n = self.shape[3]
        functionals, magnitudes = (np.zeros((1, 0, n)), np.zeros((1, 0, n))) if outputs is None else outputs
        arrays = theta, weights, phi, start, control, functionals.reshape(len(functionals), -1)
        dtype = DOUBLE[self.is_complex or any(a.dtype.kind == "c" for a in arrays)]
        real = not (theta.dtype.kind == "c" and theta.imag.any())
        points = (*(real_view(a, dtype) for a in arrays), magnitudes.reshape(len(magnitudes), -1))
        wanted = control.shape[1], functionals.shape[1], dtype, certify, keep, residuals and certify
        made = self._blank(len(theta), *wanted)
        if certify:
            made.sizes[:, 0] = row_norms(start)
        direct = self.hermitian and real
        failures = self._call(direct, dtype, points, made)
        if not (direct and failures and np.any(bad := made.failed == INDEFINITE)):
            return made
        rows = np.flatnonzero(bad)
        some = tuple(a if len(a) == 1 else a[rows] for a in points)
        again = self._blank(len(rows), *wanted)
        self._call(False, dtype, some, again)
        for name in MarchAnswers._fields:
            target, source = getattr(made, name), getattr(again, name)
            if name in ("outputs", "roundings"):
                target[:, rows] = source
            elif len(target):
                target[rows] = source
        return made

    def _blank(
        self, count: int, steps: int, outputs: int, dtype: np.dtype, certify: bool, keep: bool, residuals: bool
    ) -> MarchAnswers:
        """Return an answer to be written."""
        rows = count if certify else 0
        return MarchAnswers(
            np.empty((count if keep else 0, steps + 1, self.shape[3]), dtype),
            np.empty((rows, steps)),
            np.empty((rows, steps)),
            np.empty((rows, steps + 1)),
            np.empty((outputs, count, steps + 1), dtype),
            np.empty((outputs, count, steps + 1)),
            np.empty(count, np.int8),
            np.empty((count if residuals else 0, steps, len(self.factor)), dtype),
        )

    def _call(self, direct: bool, dtype: np.dtype, points: tuple[np.ndarray, ...], made: MarchAnswers) -> int:
        """Call the kernel, and return the number of points that failed."""
        key = direct, dtype
        if key not in self._plans:
            packed_factor, size = packed.pack_time_factor(self.factor, self.floor_weights, self.shape, dtype)
            recursion = packed.pack_recursion(self.recursion, direct, dtype)
            self._plans[key] = tuple(recursion), tuple(packed_factor), size
        system, factor, entries = self._plans[key]
        count_out = points[5].shape[1] // (2 if dtype.kind == "c" else 1) // max(self.shape[3], 1)
        rows = -(-len(self.factor) // 2) * 2 if len(made.residuals) else 0
        room = np.empty(8 * march_scratch_size(self.shape, entries, count_out, rows), dtype)
        flat = tuple(_as_pairs(a) for a in made)
        return int(march(system, factor, points, flat, room))


def _as_pairs(array: np.ndarray) -> np.ndarray:
    """Return the same memory as real numbers, of a complex array (..., k) as (..., 2 k)."""
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array
