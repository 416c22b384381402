"""An orthonormal basis of given functionals in the dual norm, with a measured defect."""

from __future__ import annotations

import numpy as np

from lowrank import gram_schmidt
from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic import extended
from rbm.arithmetic.columns import Columns
from rbm.arithmetic.precision import ROUND_OFF, column_norm_bounds
from rbm.errors import ModelError

__all__ = ["FunctionalRange"]


class FunctionalRange:
    """Factors functionals W (n, m), which arrive block by block, as W ~ D R with D^H P^{-1} D = I.

    It is used offline only.

    W is orthonormalised *as functionals*, in the inner product of P^{-1}: D holds functionals, not their Riesz
    representers P^{-1} D. A rounding error in a functional is damped by P^{-1}, one in a representer is amplified by P;
    on a mesh of width h that is a factor of order 1/h in the floor of an estimate (1D case with 199 unknowns: defect
    4e-17 against 1e-14).

    Nothing about the quality of D R is assumed. Two numbers bound it, measured in extended precision, with what the
    measurement itself may be off by added to them (:class:`rbm.affine.inner_product.InnerProduct`):

    defects_j      >= || W_j - D R_j ||_{P^-1}       offline rounding that no online evaluation removes
    orthogonality  >= || D^H P^{-1} D - I ||_F       a relative error of every norm(R c)

    so that | ||W c||_{P^-1} - ||R c||_2 | <= sum_j defects_j |c_j| + orthogonality ||R c||_2 for every c.
    """

    def __init__(self, inner_product: InnerProduct) -> None:
        self.inner_product = inner_product
        n = inner_product.shape[0]
        self._functionals = extended.SplitColumns(n)
        self._representers = Columns(n)
        self.factor = np.zeros((0, 0))  #: R (k, m)
        self.defects = np.zeros(0)  #: (m,)
        self.norms = np.zeros(0)  #: ||W_j||_{P^-1} (m,), from the columns of R and the defects, never too small
        self.gram = np.zeros((0, 0))  #: D^H P^{-1} D (k, k) up to gram_error
        # of each column of D and of P^{-1} D: norms in balanced units, and how far it is from the Riesz representer
        self._sizes, self._duals, self._distances = np.zeros(0), np.zeros(0), np.zeros(0)

    @property
    def functionals(self) -> np.ndarray:
        """The orthonormal functionals D (n, k)."""
        return self._functionals.columns.array

    @property
    def representers(self) -> np.ndarray:
        """Their Riesz representers P^{-1} D (n, k)."""
        return self._representers.array

    @property
    def gram_error(self) -> float:
        """Return a proved bound of the Frobenius norm of the error of `gram`.

        Its entries are sums of n products, off by n u ||S D_i||_2 ||S^-1 V_j||_2 at most (S = diag(balance)), of
        functionals with V_j, which is not quite P^{-1} D_j: ||D^H P^{-1} (D - P V)||_F <= ||D||
        (sum_j ||D_j - P V_j||_{P^-1}^2)^{1/2}.
        """
        unit = (4 if self.gram.dtype.kind == "c" else 1) * ROUND_OFF
        of_sums = (self.inner_product.shape[0] + 2) * unit * np.linalg.norm(self._sizes) * np.linalg.norm(self._duals)
        return float(of_sums) + self._of_distances()

    def _of_distances(self) -> float:
        norm = float(np.abs(self.gram).sum(axis=0).max(initial=1.0))  # of D, squared: about one
        return 2 * norm * float(np.linalg.norm(self._distances))

    def sharp_gram(self) -> tuple[np.ndarray, float]:
        """Return D^H P^{-1} D (k, k) and a proved bound of the Frobenius norm of its error, a few u.

        Its sums are formed in extended precision. Cost: 6 n k^2 flops.
        """
        units = self.inner_product.balance
        adjoint = extended.SplitMatrix(self.representers.conj().T, 1 / units)
        hi, lo = extended.product(adjoint, self.functionals)
        off = extended.rounding(adjoint, self.functionals) + ROUND_OFF * np.abs(hi + lo)
        return hi + lo, float(np.linalg.norm(off)) * (1 + 2.0**-20) + self._of_distances()

    @property
    def orthogonality(self) -> float:
        """A bound of the defect || D^H P^{-1} D - I ||_F."""
        return float(np.linalg.norm(self.gram - np.eye(len(self.gram)))) + self.gram_error

    def append(self, hi: np.ndarray, lo: np.ndarray, rounding: np.ndarray) -> None:
        """Add functionals given as hi + lo (n, b), every entry known to within `rounding` (n, b).

        Raises ModelError if they are beyond 1e298.
        """
        inner = self.inner_product
        basis, representers = self._functionals.columns.pieces, self._representers.pieces
        new = gram_schmidt(hi, product=inner.factorized(), basis=basis, product_basis=representers)
        largest = np.abs(new.coefficients).max(initial=0.0)
        if not largest < extended.LARGEST:
            raise ModelError(
                f"functionals of norm {largest:.3g} in the dual of the product are beyond the range of products in "
                "extended precision; choose other units for the product or for the operators"
            )
        k, m = self.factor.shape
        factor = np.zeros((k + new.basis.shape[1], m + hi.shape[1]), np.result_type(self.factor, new.coefficients))
        factor[:k, :m], factor[:, m:] = self.factor, new.coefficients
        self.factor = factor
        self._functionals.append(new.basis)
        self._measure_orthogonality(new.basis, new.product_basis)
        approximation, off = self.approximation(factor[:, m:])
        defect = extended.add((hi, lo), (-approximation[0], -approximation[1]))
        defects = inner.dual_norm_upper(defect[0] + defect[1])
        # what the extended-precision products themselves may be off by: tiny, but for operators without entries
        defects = defects + inner.dual_norm_bound(rounding + off)
        self.defects = np.append(self.defects, defects)
        self.norms = np.append(self.norms, column_norm_bounds(new.coefficients) + defects)

    def approximation(self, factor: np.ndarray) -> tuple[extended.Extended, np.ndarray]:
        """Return D R (n, b) as hi + lo for columns of R (k, b), and what its entries may be off by (n, b)."""
        return self._functionals.product(factor), self._functionals.rounding(factor)

    def _measure_orthogonality(self, new: np.ndarray, representers: np.ndarray) -> None:
        """Extend P^{-1} D and D^H P^{-1} D by the last columns.

        P^{-1} D of these is given in working precision and refined here.
        """
        if not new.shape[1]:
            return  # all that is new is zero, or depends on what there was
        representers, distances = self.inner_product.riesz_with_error(new, start=representers)
        self._representers.append(representers)
        units = self.inner_product.balance[:, None]
        self._sizes = np.append(self._sizes, column_norm_bounds(new * units))
        self._duals = np.append(self._duals, column_norm_bounds(representers / units))
        self._distances = np.append(self._distances, distances)
        adjoint = representers.conj().T
        rows = np.concatenate([adjoint @ piece for piece in self._functionals.columns.pieces], axis=1)
        k = len(self.gram)
        gram = np.zeros((rows.shape[1], rows.shape[1]), dtype=np.result_type(self.gram, rows))
        gram[:k, :k], gram[k:], gram[:k, k:] = self.gram, rows, rows[:, :k].conj().T
        self.gram = gram
