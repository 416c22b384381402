"""One anchor of the natural-norm bound: its constant, ranges of quotients, and constants at other points, proved."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from lowrank.orthogonal import gram_schmidt
from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.solvers.definite import dense, norm_bound
from rbm.stability import eigen_estimates
from rbm.stability.certificates import Certifier
from rbm.stability.eigen_estimates import both_solves, extreme, not_solved
from rbm.stability.inf_sup_constants import singular

__all__ = ["Anchor", "Shown", "Terms", "norm_of", "range_at"]

#: A range may be larger than needed by this share of its size, a constant smaller by this share of one.
ROOM = 0.05


class Terms:
    """The operator terms of a system, their certifier and their norms from P to P'."""

    def __init__(self, system: AffineSystem) -> None:
        self.system, self.inner = system, system.inner_product
        self.matrices = system.operator_terms
        # nearer to an estimate by iterations the block matrices are too nearly singular for a count to prove anything
        accuracy = 1e-7 if system.dimension <= eigen_estimates.DENSE_LIMIT else 10 * eigen_estimates.ESTIMATE
        self.certifier = Certifier(self.inner, self.matrices, accuracy)
        self.last: Anchor | None = None  #: the anchor of which ranges are computed, with its factors

    @cached_property
    def norms(self) -> np.ndarray:
        """Proved upper bounds (Qa,) of the norms of the terms; whoever has workers sets them."""
        return np.array([self.norm(a) for a in self.matrices])

    def __getstate__(self) -> dict[str, Any]:
        """Return what workers need: the matrices, without functions of the parameters, and without factors."""
        return {**vars(self), "system": self.system.without_coefficients(), "last": None}

    def norm(self, matrix: Any) -> float:
        """Return a proved upper bound of the norm of a matrix with the pattern of the terms, from P to P'."""
        exponent = int(np.frexp(norm_bound(self.inner.in_units(matrix)))[1])
        matrix = matrix * np.ldexp(1.0, -exponent)  # no square over- or underflows
        solve, adjoint = self.inner.factorized(), matrix.conj().T

        def square(x: np.ndarray) -> np.ndarray:
            return adjoint @ solve(matrix @ x)

        dtype = np.result_type(matrix.dtype, self.inner.matrix.dtype, float)
        try:
            value, _ = extreme(square, None, self.inner, dtype, largest=True)
        except StabilityError:  # of a matrix that is zero, for one: then the sums of rows and columns are the bound
            value = np.inf
        return float(np.ldexp(self.certifier.norm(matrix, float(np.sqrt(max(value, 0.0)))), exponent))

    def factor(self, v: np.ndarray) -> np.ndarray:
        """Return R (at most Qa, Qa) with ||A(mu) v||_{P'} / ||v||_P = ||R theta(mu)||, an upper bound of beta(mu).

        It is right up to rounding, also where the images A_q v cancel, which their Gram matrix loses.
        """
        images = np.stack([a @ v for a in self.matrices], axis=1)
        coefficients = gram_schmidt(self.inner.riesz(images), product=self.inner.matrix).coefficients
        return coefficients / self.inner.norm(v[:, None])[0]

    def rounding(self, theta: np.ndarray) -> float:
        """Bound the norm, from P to P', of what the assembled A is off by."""
        sizes = sum(abs(t) * norm_bound(self.inner.in_units(a)) for t, a in zip(theta, self.matrices, strict=True))
        return float((len(theta) + 4) * ROUND_OFF * sizes / self.inner.smallest_eigenvalue)


class Shown(NamedTuple):
    """What was proved of an anchor: with it a worker makes the anchor again, by one factorisation."""

    constant: float
    reach: np.ndarray  #: (Qa,) ||A_q w|| <= reach_q ||A_k w||
    defect: float  #: |theta_k . y - 1| is at most this


class Anchor:
    """A(mu_k), with a proved lower bound of its inf-sup constant.

    In the quotients y_r(w) = Re (B_r w, A_k w)_{P^-1} / ||A_k w||^2_{P^-1}, B_r = A_q or i A_q, the natural-norm
    constant at mu is min_w c(mu) . y(w), c = (Re theta, Im theta): a linear program bounds it.

    shown : what is proved of it already; it then has no minimiser
    """

    minimiser: np.ndarray  #: (n,) of ||A_k w|| / ||w||

    def __init__(self, terms: Terms, theta: np.ndarray, at: str, shown: Shown | None = None) -> None:
        self.terms, self.theta = terms, theta
        system = terms.system
        self.matrix = system.assemble(theta)
        self.dtype = np.result_type(self.matrix.dtype, terms.inner.matrix.dtype, float)
        self._units = terms.inner.balance
        self._solves = both_solves(terms.inner.in_units(self.matrix), self.dtype, at)
        self._riesz = terms.inner.factorized()
        self.shown = self._proved(at) if shown is None else shown

    def _proved(self, at: str) -> Shown:
        """Prove the constant; raise StabilityError, which names the parameter `at`, where A is singular."""
        terms, product = self.terms, self.terms.inner.matrix

        def inverse_square(x: np.ndarray) -> np.ndarray:  # P A^-1 P A^-H P
            return product @ self.solve(product @ self.solve_adjoint(product @ x))

        value, v = extreme(inverse_square, None, terms.inner, self.dtype, largest=True)
        constant = terms.certifier.inf_sup(self.matrix, 1 / np.sqrt(value)) if value > 0 else 0.0
        if not constant > 0:
            raise singular(at)
        # v maximises ||A^-H P v||: the minimiser of ||A w|| / ||w|| is A^-1 P A^-H P v
        self.minimiser = self.solve(product @ self.solve_adjoint(product @ v))
        return Shown(constant, terms.norms / constant, terms.rounding(self.theta) / constant)

    @property
    def constant(self) -> float:
        """A proved lower bound of the inf-sup constant."""
        return self.shown.constant

    @property
    def reach(self) -> np.ndarray:
        """(Qa,) ||A_q w|| <= reach_q ||A_k w||."""
        return self.shown.reach

    @property
    def defect(self) -> float:
        """|theta_k . y - 1| is at most this."""
        return self.shown.defect

    def solve(self, x: np.ndarray) -> np.ndarray:
        """Return A_k^{-1} x, (n,) or (n, k), by factors of S A_k S: they do not depend on the units of the unknowns."""
        units = self._units if x.ndim == 1 else self._units[:, None]
        return units * self._solves[0](units * x)

    def solve_adjoint(self, x: np.ndarray) -> np.ndarray:
        """Return A_k^{-H} x in the same way."""
        units = self._units if x.ndim == 1 else self._units[:, None]
        return units * self._solves[1](units * x)

    @cached_property
    def _dense(self) -> tuple[np.ndarray, np.ndarray] | None:
        """L and A_k^{-1} L, P = L L^H, for small models."""
        if self.terms.system.dimension > eigen_estimates.DENSE_LIMIT:
            return None
        lower = scipy.linalg.cholesky(dense(self.terms.inner.matrix), lower=True)
        return lower, self.solve(lower)

    def quotients(self, w: np.ndarray) -> np.ndarray:
        """Return y(w) (2 Qa,): those of A_q, then those of i A_q."""
        image = self._riesz((self.matrix @ w)[:, None])[:, 0]
        size = float((image.conj() @ (self.matrix @ w)).real)
        made = np.array([image.conj() @ (a @ w) for a in self.terms.matrices]) / size
        return np.concatenate([made.real, -made.imag])

    def least(self, matrix: Any) -> tuple[float, np.ndarray]:
        """Return an estimate of min_w Re (B w, A_k w) / ||A_k w||^2, and the minimiser w (n,)."""
        dtype = np.result_type(self.dtype, matrix.dtype)
        if self._dense is not None:
            return self._least_dense(matrix)
        a, b = self.matrix, matrix
        a_adjoint, b_adjoint = a.conj().T, b.conj().T
        riesz, product, solve, solve_adjoint = self._riesz, self.terms.inner.matrix, self.solve, self.solve_adjoint

        def apply(x: np.ndarray) -> np.ndarray:
            return (a_adjoint @ riesz(b @ x) + b_adjoint @ riesz(a @ x)) / 2

        def metric(x: np.ndarray) -> np.ndarray:
            return a_adjoint @ riesz(a @ x)

        def inverse_metric(x: np.ndarray) -> np.ndarray:
            return solve(product @ solve_adjoint(x))

        return extreme(apply, (metric, inverse_metric), self.terms.inner, dtype, largest=False)

    def _least_dense(self, matrix: Any) -> tuple[float, np.ndarray]:
        """Return the same from Herm(L^{-1} B A_k^{-1} L), P = L L^H: the condition of A_k enters once, not squared."""
        assert self._dense is not None
        lower, right = self._dense
        ratio = scipy.linalg.solve_triangular(lower, matrix @ right, lower=True)
        try:
            values, vectors = scipy.linalg.eigh((ratio + ratio.conj().T) / 2, subset_by_index=[0, 0])
        except (np.linalg.LinAlgError, ValueError) as error:
            raise not_solved(error) from error
        return float(values[0]), right @ vectors[:, 0]

    def range_of(self, r: int) -> tuple[float, float, list[np.ndarray]]:
        """Return proved ends of the range of y_r, r < 2 Qa, and the quotients (2 Qa,) at both ends."""
        q = r % len(self.reach)
        if self.reach[q] == 0:  # a term that is zero
            return 0.0, 0.0, []
        matrix = self.terms.matrices[q] if r < len(self.reach) else 1j * self.terms.matrices[q]
        ends, seen = [], []
        for sign in (1.0, -1.0):
            estimate, w = self.least(sign * matrix)
            seen.append(self.quotients(w))
            shown = self.terms.certifier.natural(
                sign * matrix,
                self.matrix,
                self.constant,
                (0.0, self.reach[q]),
                estimate,
                ROOM * max(abs(estimate), 0.2),
            )
            ends.append(sign * max(-self.reach[q], shown if shown is not None else -np.inf))
        return ends[0], ends[1], seen

    def constant_at(self, theta: np.ndarray) -> tuple[float | None, float, np.ndarray]:
        """Return the proved natural-norm constant at other coefficients (None: not proved), its estimate, and y."""
        matrix = self.terms.system.assemble(theta)
        estimate, w = self.least(matrix)
        apart = float(np.abs(theta - self.theta) @ self.reach)
        shown = None
        if estimate > 0:
            shown = self.terms.certifier.natural(
                matrix, self.matrix, self.constant, (1.0, apart), estimate, min(ROOM, 0.1 * estimate)
            )
        if shown is not None:
            shown -= self.terms.rounding(theta) / self.constant + self.defect
        return shown, estimate, self.quotients(w)


def norm_of(terms: Terms, q: int) -> float:
    """Return a proved upper bound of ||A_q||: a task of a worker."""
    return terms.norm(terms.matrices[q])


def range_at(terms: Terms, theta: np.ndarray, shown: Shown, r: int) -> tuple[float, float, list[np.ndarray]]:
    """Return :meth:`Anchor.range_of` of the anchor with coefficients theta (Qa,), which a worker keeps."""
    anchor = terms.last
    if anchor is None or not np.array_equal(anchor.theta, theta):
        terms.last = anchor = Anchor(terms, theta, "an anchor", shown)
    return anchor.range_of(r)
