"""The Hermitian parts of low-rank operator terms for the min-theta bound: what of them is below zero, and by how much.

With A = U diag(s) V^H, in the balanced units of the product (S = diag(balance)) and columns of one size,

    S (A + A^H) S / 2 = W K W^H,   W = [S U, S V] (n, 2 r),   K = [[0, D], [D, 0]] / 2,  D = diag(s).

With W = Q R + E the small matrix M = R K R^H decides. E and d >= ||Q^H Q - I|| are measured, so that nothing is assumed
of the factorisation: if M + m I is positive semi-definite,

    W K W^H >= -(m (1 + d) + 2 ||E|| ||K|| ||Q R|| + ||E||^2 ||K||) I.

Where U and V are the same numbers and s >= 0 that is W D W^H >= 0 exactly, and nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from lowrank import LowRankMatrix
from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic.precision import ROUND_OFF, exponents_of, scaled
from rbm.errors import ModelError, StabilityError
from rbm.solvers.definite import hermitian_part, norm_bound, semidefinite_slack
from rbm.solvers.inertia import inertia
from rbm.solvers.updated import UpdatedMatrix

__all__ = ["LowRankPart", "coercivity_with_low_rank"]

UP = 1 + 2.0**-20


@dataclass(frozen=True)
class LowRankPart:
    """The Hermitian part of one low-rank term: the small matrix M, and what W K W^H may differ by from Q M Q^H."""

    term: LowRankMatrix
    small: np.ndarray  #: 2^-exponent M (2 r, 2 r), Hermitian
    whole: float  #: a bound of 2^-exponent ||S A S||
    orthonormality: float  #: d
    error: float  #: in units of 2^exponent
    exponent: int
    exact: bool  #: U and V are the same numbers and s >= 0: the term is positive semi-definite, whatever its rounding
    skew: bool  #: the Hermitian part is nothing but rounding
    ratio: float  #: the smallest eigenvalue of P in the units of the other terms over that in balanced ones

    @classmethod
    def of(cls, term: LowRankMatrix, inner: InnerProduct, skew_share: float) -> LowRankPart:
        """Make it from checked factors; O(n r^2)."""
        units, factors, sizes = inner.balance[:, None], [], []
        alive = term.s != 0  # a term that is zero has no size
        for a in (term.U, term.V):
            own = exponents_of(a)
            whole_units = units * scaled(a, -own)  # of size one first: nothing falls below the range of numbers
            e = exponents_of(whole_units)
            factors.append(scaled(whole_units, -e))
            sizes.append(own + e)
            alive = alive & np.any(a, axis=0)
        largest, shift = np.frexp(np.where(alive, term.s, 0.0))
        exponents = shift + sizes[0] + sizes[1]
        exponent = int(exponents[largest != 0].max(initial=-(10**6)))
        exponent = 0 if exponent == -(10**6) else exponent
        d = np.ldexp(largest, exponents - exponent) / 2
        r, w = len(d), np.concatenate(factors, axis=1)
        q, upper = np.linalg.qr(w)
        unit = (4 if np.iscomplexobj(w) else 1) * ROUND_OFF
        norms = [float(np.linalg.norm(a)) * UP for a in (q, upper)]
        off = float(np.linalg.norm(w - q @ upper)) * UP + (4 * r + 8) * unit * norms[0] * norms[1]
        gram = float(np.linalg.norm(q.conj().T @ q - np.eye(q.shape[1]))) * UP + 2 * (len(w) + 8) * unit * norms[0] ** 2
        left, right = upper[:, :r] * d, upper[:, r:]
        half = left @ right.conj().T
        size = float(np.abs(d).max()) * norms[1] ** 2
        of_small = (8 * r + 16) * unit * size
        error = (1 + gram) * of_small + off * float(np.abs(d).max()) * (2 * (1 + gram) * norms[1] + off) * UP
        small = half + half.conj().T
        whole = 2 * norm_bound(half) * (1 + gram) + error
        same = np.array_equal(term.U, term.V)
        skew = norm_bound(small) <= skew_share * whole
        ratio = inner.units.smallest / inner.smallest_eigenvalue * (1 + 8 * ROUND_OFF)
        exact = same and bool(np.all(term.s >= 0))
        return cls(term, hermitian_part(small), whole, gram, error, exponent, exact, skew, max(ratio, 0.0))

    @property
    def original(self) -> LowRankMatrix:
        """The term, for messages."""
        return self.term

    def slack(self, q: int) -> float:
        """Return a proved s >= 0: the Hermitian part is at least -2^exponent s / (smallest eigenvalue of P) times P.

        Raises StabilityError if rounding is no excuse for it.
        """
        if self.exact:
            return 0.0
        if self.skew:
            found: float | None = norm_bound(self.small)
        else:
            found = semidefinite_slack(self.small)
        if found is None:
            raise StabilityError(
                f"min-theta does not apply: the Hermitian part of operator term {q}, a low-rank matrix, is not "
                "positive semi-definite; give it as U diag(s) U^H with s >= 0, move its sign into the coefficient, or "
                "give the bound as a number or an expression that is known"
            )
        return (found * (1 + self.orthonormality) + self.error) * self.ratio * (1 + 16 * ROUND_OFF)


def coercivity_with_low_rank(
    total: sp.csr_array, parts: list[tuple[float, LowRankPart]], inner: InnerProduct, rounding: float
) -> float:
    """Return a proved lower bound c of the coercivity of H + sum_k w_k A_k against P, A_k = U_k diag(s_k) U_k^H >= 0.

    For an H that is not coercive without the low-rank terms. With Y = S [U_k (w_k s_k)^{1/2}] and H in balanced units,
    [[H - c P, Y], [Y^H, -I]] has as many negative eigenvalues as Y has columns, if and only if H + Y Y^H >= c P
    (Haynsworth). Counted up to a shift e (:func:`rbm.solvers.inertia.inertia`), with e < 1, that proves

        H + Y Y^H >= c P - (e + e / (1 - e) ||Y||^2) I.

    total : H (n, n), sparse, in balanced units; rounding : a bound of what it is off by, in norm

    Raises StabilityError if none is proved. Cost: a few factorisations of order n + r.
    """
    product = sp.csr_array(inner.balanced)
    y = np.concatenate(
        # roots first: the product of weight and s may be below the range of numbers, or beyond it
        [inner.balance[:, None] * (p.term.U * (np.sqrt(weight) * np.sqrt(p.term.s))) for weight, p in parts if p.exact],
        axis=1,
    )
    size = float(np.linalg.norm(y)) ** 2 * UP
    estimate = _estimate(total, y, product)
    for margin in (1e-3, 1e-2, 0.1, 0.5, 0.9):
        c = estimate * (1 - margin)
        if not 0 < c < np.inf:
            break
        border = sp.csr_array(y)
        whole = sp.csc_array(
            sp.block_array([[sp.csr_array(total - c * product), border], [border.conj().T, -sp.eye_array(y.shape[1])]])
        )
        found = inertia(whole)
        if found is None or found.negative != y.shape[1] or not found.error < 0.5:
            continue
        e = found.error
        off = e + e / (1 - e) * size + 16 * ROUND_OFF * size + rounding + 4 * ROUND_OFF * c * norm_bound(product)
        proved = c - off * UP / inner.smallest_eigenvalue
        if proved > 0:
            return proved * (1 - 8 * ROUND_OFF)
    raise StabilityError(
        "min-theta needs a coercive model, but the smallest eigenvalue of the Hermitian part of A(mu_ref) against the "
        f"product, low-rank terms included, is about {estimate:.3g}, and cannot be proved to be positive in double "
        "precision"
    )


def _estimate(total: sp.csr_array, y: np.ndarray, product: sp.csr_array) -> float:
    """Return an estimate of the smallest eigenvalue of H + Y Y^H against P, which nobody trusts."""
    n, matrix = total.shape[0], UpdatedMatrix(total, y, y)
    if n <= 40:
        from scipy.linalg import eigh

        return float(eigh(matrix.to_dense(), product.toarray(), eigvals_only=True)[0])
    try:
        solve = matrix.factorized()
        inverse = spla.LinearOperator((n, n), matvec=lambda x: solve(x.reshape(n, 1))[:, 0], dtype=matrix.dtype)
        whole = spla.LinearOperator((n, n), matvec=lambda x: (matrix @ x.reshape(n, 1))[:, 0], dtype=matrix.dtype)
        start = np.random.default_rng(0).standard_normal(n)
        return float(
            spla.eigsh(whole, 1, product, sigma=0, OPinv=inverse, v0=start, return_eigenvectors=False, tol=1e-3)[0]
        )
    except (spla.ArpackError, RuntimeError, ModelError):
        return float("nan")
