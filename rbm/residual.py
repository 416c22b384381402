"""The residual as a known linear map, r(mu) = W c(mu), and an orthonormal basis of its range with a measured defect."""

from __future__ import annotations

import numpy as np

from lowrank import gram_schmidt
from rbm import extended
from rbm.full_order import FullOrderModel

__all__ = ["ResidualRange"]


class Columns:
    """A matrix (n, k) that grows by columns; room is doubled, so that growing costs one copy of the final matrix or two."""

    def __init__(self, n: int) -> None:
        self._buffer, self._used = np.zeros((n, 16), order="F"), 0

    @property
    def array(self) -> np.ndarray:
        """The columns so far, a view."""
        return self._buffer[:, : self._used]

    def append(self, columns: np.ndarray) -> None:
        """Add columns (n, j)."""
        used = self._used + columns.shape[1]
        if used > self._buffer.shape[1] or np.result_type(columns, self._buffer) != self._buffer.dtype:
            larger = np.zeros(
                (len(columns), max(used, 2 * self._buffer.shape[1])), np.result_type(columns, self._buffer), "F"
            )
            larger[:, : self._used] = self.array
            self._buffer = larger
        self._buffer[:, self._used : used] = columns
        self._used = used


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
        self._functionals = Columns(n)
        self._representers = Columns(n)
        self.factor = np.zeros((0, 0))  #: R (k, m)
        self.defects = np.zeros(0)  #: (m,)
        self.gram = np.zeros((0, 0))  #: D^H P^{-1} D (k, k), right to a few u
        self._append(model.rhs_terms, np.zeros_like(model.rhs_terms), np.zeros(model.rhs_terms.shape))

    @property
    def functionals(self) -> np.ndarray:
        """D (n, k)."""
        return self._functionals.array

    @property
    def representers(self) -> np.ndarray:
        """P^{-1} D (n, k)."""
        return self._representers.array

    @property
    def norms(self) -> np.ndarray:
        """||W_j||_{P^-1} (m,), from the columns of R and the defects, never too small."""
        return np.linalg.norm(self.factor, axis=0) + self.defects

    @property
    def orthogonality(self) -> float:
        """|| D^H P^{-1} D - I ||_F."""
        return float(np.linalg.norm(self.gram - np.eye(len(self.gram))))

    def extend(self, vectors: np.ndarray) -> None:
        """Add the columns A_1 z .. A_Qa z for each new basis vector z, a column of `vectors` (n, k)."""
        for j in range(vectors.shape[1]):
            z = vectors[:, j : j + 1]
            columns = [(*extended.product(term, z), extended.rounding(term, z)) for term in self.model.split_terms]
            self._append(*(np.concatenate([c[k] for c in columns], axis=1) for k in range(3)))

    def _append(self, hi: np.ndarray, lo: np.ndarray, rounding: np.ndarray) -> None:
        inner = self.model.inner_product
        new = gram_schmidt(hi, product=inner.factorized(), basis=self.functionals, product_basis=self.representers)
        k, m = self.factor.shape
        b = hi.shape[1]
        dtype = np.result_type(self.factor, new.coefficients)
        factor = np.zeros((k + new.basis.shape[1], m + b), dtype=dtype)
        factor[:k, :m] = self.factor
        factor[:, m:] = new.coefficients
        self.factor = factor
        self._functionals.append(new.basis)
        self._representers.append(new.product_basis)
        self._measure_orthogonality(new.basis.shape[1])
        split = extended.SplitMatrix(self.functionals)
        approximation = extended.product(split, factor[:, m:])
        defect = extended.add((hi, lo), (-approximation[0], -approximation[1]))
        defects = inner.rough_dual_norm(defect[0] + defect[1])
        # what the extended-precision products themselves may be off by: tiny, but for operators without entries
        defects = defects + inner.dual_norm_bound(rounding + extended.rounding(split, factor[:, m:]))
        self.defects = np.append(self.defects, defects)

    def _measure_orthogonality(self, new: int) -> None:
        """Extend D^H P^{-1} D by the last `new` columns, their representers solved for afresh and refined."""
        d = self.functionals
        k = d.shape[1] - new
        columns = d.conj().T @ self.model.inner_product.riesz(d[:, k:])
        gram = np.zeros((k + new, k + new), dtype=np.result_type(self.gram, columns))
        gram[:k, :k] = self.gram
        gram[:, k:] = columns
        gram[k:, :k] = columns[:k].conj().T
        self.gram = gram
