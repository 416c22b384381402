"""An orthonormal basis of given functionals in the dual norm, with a measured defect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lowrank import gram_schmidt
from rbm.affine.compiled_products import TallColumns
from rbm.affine.inner_product import InnerProduct
from rbm.affine.representers import represented
from rbm.affine.tall_panels import panels
from rbm.arithmetic import extended
from rbm.arithmetic.columns import Columns, Store, sizes_in_units
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

    def __init__(self, inner_product: InnerProduct, store: Store | None = None) -> None:
        self.inner_product = inner_product
        n = inner_product.shape[0]
        self._functionals = TallColumns(n, store)
        self._representers = Columns(n, store)
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

        Its sums are formed in extended precision, 64 columns with 64 at a time. Cost: 6 n k^2 flops.
        """
        inverse = 1 / self.inner_product.balance
        made = np.zeros(self.gram.shape, np.result_type(float, *self._functionals.columns.pieces))
        off = np.zeros(made.shape)
        for rows, representers in _placed(self._representers.pieces):
            adjoint = extended.SplitMatrix(representers.conj().T, inverse)
            for columns, functionals in _placed(self._functionals.columns.pieces):
                hi, lo = extended.product(adjoint, functionals)
                made[rows, columns] = hi + lo
                off[rows, columns] = extended.rounding(adjoint, functionals) + ROUND_OFF * np.abs(hi + lo)
        return made, float(np.linalg.norm(off)) * (1 + 2.0**-20) + self._of_distances()

    @property
    def orthogonality(self) -> float:
        """A bound of the defect || D^H P^{-1} D - I ||_F."""
        return float(np.linalg.norm(self.gram - np.eye(len(self.gram)))) + self.gram_error

    def append(self, hi: np.ndarray, lo: np.ndarray, rounding: np.ndarray) -> None:
        """Add functionals given as hi + lo (n, b).

        rounding : what every entry may be off by (n, b), or a norm of that for each functional, in balanced units:
            ||S e||_2 (b,), S = diag(balance)

        Raises ModelError if they are beyond 1e298. Cost: two solves with P for each in Gram-Schmidt, and two more, of
        all together.
        """
        inner = self.inner_product
        basis, known = self._functionals.columns.pieces, self._representers.pieces
        new = gram_schmidt(hi, product=inner.factorized(), basis=basis, product_basis=known, products=panels)
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
        rest = self._functionals.remainder(hi, lo, factor[:, m:])
        found = represented(inner, new.basis, new.product_basis, rest)
        # what the extended-precision products themselves may be off by: tiny, but for operators without entries
        of_entries = rounding if rounding.ndim == 1 else sizes_in_units(rounding, inner.balance)
        of_product = self._functionals.rounding_sizes(factor[:, m:])
        of_product = of_product * column_norm_bounds((self._functionals.row_max * inner.balance)[:, None])
        defects = found.norms + (of_entries + of_product) / np.sqrt(inner.smallest_eigenvalue)
        self.defects = np.append(self.defects, defects)
        self.norms = np.append(self.norms, column_norm_bounds(new.coefficients) + defects)
        if new.basis.shape[1]:  # else all that is new is zero, or depends on what there was
            self._measure_orthogonality(new.basis, found.representers, found.distances)

    def mark(self) -> dict[str, Any]:
        """Return the state, for :meth:`back_to`: small arrays, and one number a row."""
        return {**vars(self), "row_max": self._functionals.row_max.copy(), "width": self._functionals.terms}

    def back_to(self, mark: dict[str, Any]) -> None:
        """Forget what was appended since :meth:`mark`, whole or in part."""
        mark = dict(mark)
        row_max, width = mark.pop("row_max"), mark.pop("width")
        vars(self).update(mark)
        self._functionals.cut(width, row_max)
        self._representers.cut(width)

    def approximation(self, factor: np.ndarray) -> tuple[extended.Extended, np.ndarray]:
        """Return D R (n, b) as hi + lo for columns of R (k, b), and what its entries may be off by (n, b)."""
        return self._functionals.product(factor), self._functionals.rounding(factor)

    def _measure_orthogonality(self, new: np.ndarray, representers: np.ndarray, distances: np.ndarray) -> None:
        """Extend P^{-1} D and D^H P^{-1} D by the last columns, whose representers are known as well as can be."""
        self._representers.append(representers)
        units = self.inner_product.balance
        self._sizes = np.append(self._sizes, sizes_in_units(new, units))
        self._duals = np.append(self._duals, sizes_in_units(representers, 1 / units))
        self._distances = np.append(self._distances, distances)
        products = panels.adjoint(representers, self._functionals.columns.pieces)
        rows = np.concatenate(products).conj().T
        k = len(self.gram)
        gram = np.zeros((rows.shape[1], rows.shape[1]), dtype=np.result_type(self.gram, rows))
        gram[:k, :k], gram[k:], gram[:k, k:] = self.gram, rows, rows[:, :k].conj().T
        self.gram = gram


def _placed(pieces: list[np.ndarray]) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield pieces that stand side by side, with the columns that they are."""
    start = 0
    for piece in pieces:
        yield slice(start, start + piece.shape[1]), piece
        start += piece.shape[1]
