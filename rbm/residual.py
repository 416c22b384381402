"""The residual as a known linear map, r(mu) = W c(mu), and an orthonormal basis of its range with a measured defect."""

from __future__ import annotations

import numpy as np

from lowrank import gram_schmidt
from rbm import extended
from rbm.columns import Columns
from rbm.full_order import FullOrderModel

__all__ = ["ResidualRange"]


class ResidualRange:
    """W ~ D R with D^H P^{-1} D = I, built up block by block as basis vectors arrive; offline only.

    W = [f_1..f_Qf, A_1 z_1..A_Qa z_1, A_1 z_2, ...] (n, m) is formed in extended precision. It is orthonormalised *as
    functionals*, in the inner product of P^{-1}: D holds functionals, not their Riesz representers P^{-1} D. A rounding
    error in a functional is damped by P^{-1}, one in a representer is amplified by P; on a mesh of width h that is a factor
    of order 1/h in the floor of the estimate (1D case with 199 unknowns: defect 4e-17 against 1e-14).

    Nothing about the quality of D R is assumed; it is measured, in extended precision:

    defects_j      = || W_j - D R_j ||_{P^-1}        offline rounding that no online evaluation removes
    orthogonality  = || D^H P^{-1} D - I ||_F        a relative error of every norm(R c)
    """

    def __init__(self, model: FullOrderModel) -> None:
        self.model = model
        n = model.dimension
        self._functionals = extended.SplitColumns(n)
        self._representers = Columns(n)
        self.factor = np.zeros((0, 0))  #: R (k, m)
        self.defects = np.zeros(0)  #: (m,)
        self.norms = np.zeros(0)  #: ||W_j||_{P^-1} (m,), from the columns of R and the defects, never too small
        self.gram = np.zeros((0, 0))  #: D^H P^{-1} D (k, k), right to a few u
        self._append(model.rhs_terms, np.zeros_like(model.rhs_terms), np.zeros(model.rhs_terms.shape))

    @property
    def functionals(self) -> np.ndarray:
        """D (n, k)."""
        return self._functionals.columns.array

    @property
    def representers(self) -> np.ndarray:
        """P^{-1} D (n, k)."""
        return self._representers.array

    @property
    def orthogonality(self) -> float:
        """|| D^H P^{-1} D - I ||_F."""
        return float(np.linalg.norm(self.gram - np.eye(len(self.gram))))

    def extend(self, vectors: np.ndarray) -> None:
        """Add the columns A_1 z .. A_Qa z for each new basis vector z, a column of `vectors` (n, k)."""
        stack = self.model.stack
        for j in range(vectors.shape[1]):
            z = vectors[:, j : j + 1]
            self._append(*(stack.side_by_side(part[:, 0]) for part in (*stack.product(z), stack.rounding(z))))

    def _append(self, hi: np.ndarray, lo: np.ndarray, rounding: np.ndarray) -> None:
        inner = self.model.inner_product
        new = gram_schmidt(
            hi,
            product=inner.factorized(),
            basis=self._functionals.columns.pieces,
            product_basis=self._representers.pieces,
        )
        k, m = self.factor.shape
        b = hi.shape[1]
        dtype = np.result_type(self.factor, new.coefficients)
        factor = np.zeros((k + new.basis.shape[1], m + b), dtype=dtype)
        factor[:k, :m] = self.factor
        factor[:, m:] = new.coefficients
        self.factor = factor
        self._functionals.append(new.basis)
        self._measure_orthogonality(new.basis, new.product_basis)
        approximation = self._functionals.product(factor[:, m:])
        defect = extended.add((hi, lo), (-approximation[0], -approximation[1]))
        defects = inner.rough_dual_norm(defect[0] + defect[1])
        # what the extended-precision products themselves may be off by: tiny, but for operators without entries
        rounding = rounding + self._functionals.rounding(factor[:, m:])
        defects = defects + inner.dual_norm_bound(rounding)
        self.defects = np.append(self.defects, defects)
        self.norms = np.append(self.norms, np.linalg.norm(new.coefficients, axis=0) + defects)

    def _measure_orthogonality(self, new: np.ndarray, representers: np.ndarray) -> None:
        """Extend P^{-1} D and D^H P^{-1} D by the last columns, given P^{-1} D of these in working precision: refined here."""
        if not new.shape[1]:
            return  # all that is new is zero, or depends on what there was
        representers = self.model.inner_product.riesz(new, start=representers)
        self._representers.append(representers)
        adjoint = representers.conj().T
        rows = np.concatenate([adjoint @ piece for piece in self._functionals.columns.pieces], axis=1)
        k = len(self.gram)
        gram = np.zeros((rows.shape[1], rows.shape[1]), dtype=np.result_type(self.gram, rows))
        gram[:k, :k] = self.gram
        gram[k:] = rows
        gram[:k, k:] = rows[:, :k].conj().T
        self.gram = gram
