"""Proofs of inf-sup and natural-norm constants without a dense matrix: the signs of pivots of block matrices.

In the norms of P, for square A and A_k (n, n), sparse or dense, real or complex:

    beta(A) > t       <=>   [[P, A / t], [A^H / t, P]]                        has n negative eigenvalues
    Re (A w, A_k w)_{P^-1} > s ||A_k w||^2_{P^-1} for all w
                      <=>   [[P, 0, X], [0, -P, Y], [X^H, Y^H, 0]]            has 2 n negative eigenvalues,
                            X = c (A - s A_k) + A_k / c,  Y = c (A - s A_k) - A_k / c,  any c > 0,

since the Schur complements of the blocks of P are P - A^H P^{-1} A / t^2 and
-X^H P^{-1} X + Y^H P^{-1} Y = -4 Herm[(A - s A_k)^H P^{-1} A_k].

Counted by :func:`rbm.solvers.inertia.inertia` the number is right up to a shift e I of the block matrix in balanced
units. With h = e / lambda_min(S P S) < 1 what a count proves is

    beta(A) >= t (1 - h),
    Re (A w, A_k w) >= (s - loss) ||A_k w||^2,   loss = h / (1 - h^2) (c^2 G^2 + c^-2) + h / (4 beta(A_k)^2),

for G >= ||(A - s A_k) w|| / ||A_k w||: P - e I >= (1 - h) P and P + e I <= (1 + h) P make the Schur complement of the
shifted matrix one with norms that are off by these factors. c = G^{-1/4} balances G against the growth of the pivots.

The joint growth J = ||[T_1 .. T_L]||, T_l = A_k^{-1} B_l, is the least number with ||sum_l T_l v_l||_P^2 <= J^2
sum_l ||v_l||_P^2, so ||sum_l x_l T_l||_P <= J ||x||_2 for all numbers x_l. Since J^2 is the largest eigenvalue of
sum_l T_l P^{-1} T_l^H against P^{-1},

    J < g             <=>   sum_l B_l P^{-1} B_l^H < g^2 A_k P^{-1} A_k^H
                      <=>   [[I (x) P, 0, c B^H], [0, -P, c g A_k^H], [c B, c g A_k, 0]] has n negative eigenvalues,
                            B = [B_1 .. B_L], any c > 0.

With e I <= h P, the count proves that [[(1 + h) I (x) P, 0, c B^H], [0, -(1 - h) P, c g A_k^H], [c B, c g A_k, h P]]
has at most n. The second block alone has n, so the Schur complement of both blocks of P is not negative:

    sum_l ||B_l^H z||_{P^-1}^2 <= (1 + h) (g^2 / (1 - h) ||A_k^H z||_{P^-1}^2 + h / c^2 ||z||_P^2)   for all z,

and beta(A_k) ||z||_P <= ||A_k^H z||_{P^-1}. Hence for c = 1 / (g beta), beta <= beta(A_k) proved,

    J^2 <= g^2 (1 + h) (1 / (1 - h) + h).

Unknown i of all blocks together, in a fill-reducing order of the sum of all patterns, keeps the fill-in that of one
block. A row that was exchanged makes a count void: t or s is then lowered a little and counted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic.precision import ROUND_OFF
from rbm.solvers.definite import norm_bound
from rbm.solvers.factorization import symmetric_lu
from rbm.solvers.inertia import inertia

__all__ = ["Certifier"]

#: By how much less than the estimate a constant is claimed, one after the other until one is proved.
MARGINS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5)
#: What rounding may take of an inf-sup constant before one is tried that is farther from the estimate.
LOSS = 0.02
#: Up to this order a matrix is eliminated with pivots, too, where without them nothing, or a shift of more than this
#: share of P, came out: as near a singular A_k.
PIVOTED, ROUGH = 2000, 1e-3


class Certifier:
    """Proves constants of matrices with the pattern of a system's terms, against its product P.

    inner : the inner product P
    terms : the operator terms (n, n), which give the pattern and so the order of elimination
    accuracy : relative accuracy of the estimates that will be given; less than it is not tried as a margin
    """

    def __init__(self, inner: InnerProduct, terms: tuple[Any, ...], accuracy: float = 1e-7) -> None:
        self.inner, self.margins = inner, [m for m in MARGINS if m >= accuracy]
        self.product = inner.balanced
        self.smallest, self.largest = inner.smallest_eigenvalue, inner.largest_eigenvalue
        self.sparse = sp.issparse(self.product) and all(sp.issparse(a) for a in terms)
        if not self.sparse:
            self.product = self.product.toarray() if sp.issparse(self.product) else self.product
        self._order = _fill_reducing(self.product, terms) if self.sparse else None

    def in_units(self, matrix: Any) -> Any:
        """Return S A S, dense if the product or a term is."""
        made = self.inner.in_units(matrix)
        return made.toarray() if sp.issparse(made) and not self.sparse else made

    def inf_sup(self, matrix: Any, estimate: float) -> float:
        """Return a proved lower bound of beta(A), close to an estimate that is not trusted; 0 if none is proved.

        matrix : A (n, n). Cost: a factorisation of order 2 n, one more for each margin that fails.
        """
        a = self.in_units(matrix)
        for margin in self.margins:
            t = estimate * (1 - margin)
            if not t > 0 or not np.isfinite(t):
                return 0.0
            scaled = a / t
            shift = self._shift([[self.product, scaled], [scaled.conj().T, self.product]], 1, norm_bound(scaled))
            if shift is not None and shift < max(0.5 * margin, LOSS):
                return t * (1 - shift) * (1 - 8 * ROUND_OFF)
        return 0.0

    def norm(self, matrix: Any, estimate: float) -> float:
        """Return a proved upper bound of ||A|| from P to P', close to an estimate that is not trusted.

        [[t P, A], [A^H, t P]] is positive definite for t > ||A||. At most ||S A S||_2 / lambda_min(S P S).
        """
        a = self.in_units(matrix)
        crude = norm_bound(a) / self.smallest
        for more in (1e-2, 0.1, 1.0, 3.0):
            t = estimate * (1 + more)
            if not 0 < t < crude:
                break
            scaled = a / t
            shift = self._shift([[self.product, scaled], [scaled.conj().T, self.product]], 0, norm_bound(scaled))
            if shift is not None and shift < 0.5:
                return t * (1 + shift) * (1 + 8 * ROUND_OFF)
        return crude

    def natural(
        self, matrix: Any, anchor: Any, constant: float, near: tuple[float, float], estimate: float, allowed: float
    ) -> float | None:
        """Return a proved s with Re (A w, A_k w) >= s ||A_k w||^2 for all w, close to an estimate that is not trusted.

        None if none is proved within what is allowed.

        matrix : A (n, n); anchor : A_k (n, n); constant : a proved lower bound of beta(A_k)
        near : (d, r) with ||(A - d A_k) w|| <= r ||A_k w||
        allowed : the largest distance from the estimate that is tried
        Cost: a factorisation of order 3 n, one more for each margin that fails.
        """
        a, k = self.in_units(matrix), self.in_units(anchor)
        for margin in self.margins:
            distance = margin * max(abs(estimate), allowed)
            if distance > allowed:
                return None
            s = estimate - distance
            reach = abs(near[0] - s) + near[1]
            c = float(2.0 ** -np.round(np.log2(max(reach, 1e-3)) / 4))
            # A_k has the constant one in these units: w and A_k w are of one size
            b, unit = (a - s * k) * (c / constant), k / (c * constant)
            x, y = b + unit, b - unit
            none = sp.csr_array(k.shape) if self.sparse else np.zeros(k.shape)
            blocks = [[self.product, none, x], [none, -self.product, y], [x.conj().T, y.conj().T, none]]
            rounding = norm_bound(abs(a) * (c / constant)) + norm_bound(abs(k) * ((abs(s) * c + 1 / c) / constant))
            h = self._shift(blocks, 2, rounding)
            if h is None or not h < 0.5:
                continue
            loss = h / (1 - h**2) * (c**2 * reach**2 + c**-2) + h / 4
            if loss <= max(2 * distance, 0.25 * allowed):
                return float(s - loss * (1 + 8 * ROUND_OFF) - 8 * ROUND_OFF * abs(s))
        return None

    def growth(self, terms: Sequence[Any], anchor: Any, constant: float, estimate: float) -> float | None:
        """Return a proved J' >= J = ||[T_1 .. T_L]||_P, T_l = A_k^{-1} B_l, close to an estimate that is not trusted.

        None if none is proved.

        terms : B_l (n, n), L of them; anchor : A_k (n, n); constant : a proved lower bound of beta(A_k), positive
        Cost: a factorisation of order (L + 2) n, one more for each margin that fails.
        """
        k, size = self.in_units(anchor), [self.in_units(b) for b in terms]
        none = sp.csr_array(k.shape) if self.sparse else np.zeros(k.shape)
        count, least = len(size), np.inf
        for margin in self.margins:
            g = estimate * (1 + margin)
            c = 1 / (constant * g) if 0 < g < np.inf else np.inf
            if not 0 < c < np.inf:
                return None
            scaled, a = [c * b for b in size], k / constant  # c g A_k
            blocks = [[self.product if i == j else none for j in range(count)] for i in range(count)]
            blocks = [[*row, none, b.conj().T] for row, b in zip(blocks, scaled, strict=True)]
            blocks.append([*([none] * count), -self.product, a.conj().T])
            blocks.append([*scaled, a, none])
            h = self._shift(blocks, 1, sum(norm_bound(b) for b in scaled) + norm_bound(a))
            if h is None or not h < 0.5:
                continue
            least = min(least, g * float(np.sqrt((1 + h) * (1 / (1 - h) + h))) * (1 + 16 * ROUND_OFF))
            if h <= max(margin, 1e-2):
                break
        return least if least < np.inf else None

    def _shift(self, blocks: list[list[Any]], negative: int, size: float) -> float | None:
        """Return h if the block matrix has `negative` n negative pivots, for a shift of h P of each block; else None.

        size : a bound of the norm of the blocks that were rounded when they were formed
        """
        n = self.product.shape[0]
        if self.sparse:
            assert self._order is not None
            count = len(blocks)
            order = (self._order[:, None] + n * np.arange(count)).ravel()
            whole = sp.csc_array(sp.block_array(blocks, format="csc"))
            found = inertia(whole, order)
            if len(order) <= PIVOTED and (found is None or found.error > ROUGH * self.smallest):
                found = inertia(whole.toarray())
        else:
            found = inertia(np.block(blocks))
        if found is None or found.negative != negative * n:
            return None
        return (found.error + 8 * ROUND_OFF * (size + self.largest)) / self.smallest


def _fill_reducing(product: Any, terms: tuple[Any, ...]) -> np.ndarray:
    """Return an order of elimination for matrices with all patterns together."""
    pattern = abs(sp.csr_array(product))
    for term in terms:
        some = abs(sp.csr_array(term))
        some.data = np.ones_like(some.data)
        pattern = pattern + some + some.T
    pattern = pattern + sp.diags_array(np.asarray(pattern.sum(axis=1)).ravel() + 1.0)  # dominant: it factorises
    return np.argsort(symmetric_lu(pattern.astype(float)).perm_c)
