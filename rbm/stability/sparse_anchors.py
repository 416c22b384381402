"""Anchors of sparse models: constants, norms and growths proved by the signs of pivots of sparse block matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg

from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.stability.eigen_estimates import extreme
from rbm.stability.inf_sup_constants import TOLERABLE, singular
from rbm.stability.natural_anchor import Anchor, Terms, norm_of
from rbm.stability.rotated_terms import Modes, RotatedTerms
from rbm.workers.crew import Crew

__all__ = ["SparseAnchors"]

#: So many smooth random vectors tell the terms apart.
SAMPLES = 8


class SparseAnchors:
    """The terms of a sparse model, their norms, and what anchors need of them, all of it proved."""

    def __init__(self, system: AffineSystem) -> None:
        self.terms = Terms(system)
        self._last: tuple[np.ndarray, Anchor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what workers need, without factors."""
        return {**vars(self), "_last": None}

    def measure(self, crew: Crew) -> None:
        """Let workers compute the norms of the terms."""
        self.terms.norms = np.array(list(crew.run(_norm, ((q,) for q in range(len(self.terms.matrices))))))

    def _anchor(self, theta: np.ndarray, at: str) -> Anchor:
        known = self._last  # threads share it
        if known is None or not np.array_equal(known[0], theta):
            self._last = known = theta, Anchor(self.terms, theta, at)
        return known[1]

    def rotated(self, theta: np.ndarray, first: int, at: str) -> RotatedTerms:
        """Rotate the terms as is best at the first anchor, number `first` of the points theta (M, Qa).

        Two rotations are tried, of terms of the size that A_k^{-1} A_q has on smooth random vectors: one makes the
        images of these orthogonal, one the coefficients x_l. The smaller J ||x||_2, on average, is taken. Any rotation
        makes a true bound.
        """
        anchor, norms = self._anchor(theta[first], at), self.terms.norms
        spread = theta - theta.mean(axis=0)
        moving = (np.abs(spread).max(axis=0) > 0) & (norms > 0)
        units = np.ldexp(1.0, np.frexp(norms[moving])[1])  # no square over- or underflows
        gram = self._gram(anchor, np.flatnonzero(moving), units)
        squares = gram.diagonal().real
        more = np.ldexp(1.0, np.frexp(np.where(squares > 0, squares, 1.0))[1] // 2)
        units, gram = units * more, gram / np.outer(more, more)
        moved = spread[:, moving] * units
        made = []
        for hermitian in (gram, moved.T @ moved.conj()):
            basis = scipy.linalg.eigh(hermitian)[1] if len(hermitian) else np.zeros((0, 0))
            modes = Modes.of(spread, moving, units, basis)
            # squares of norms, which rounding may make negative: sizes decide which terms lead, no bound rests on them
            sizes = np.sqrt(np.abs((basis.conj().T @ gram @ basis).diagonal()))
            rough = RotatedTerms.of(modes, sizes, norms, lambda rows: np.zeros(len(rows)))
            x = np.linalg.norm(spread @ rough.transform.T, axis=1)
            joint = self.estimate(anchor, [self.terms.system.assemble(w) for w in rough.weights])
            made.append((joint * float(x.mean()), modes, sizes))
        _, modes, sizes = min(made, key=lambda m: m[0])
        return RotatedTerms.of(modes, sizes, norms, self._norms, self._rounding)

    def _gram(self, anchor: Anchor, moving: np.ndarray, units: np.ndarray) -> np.ndarray:
        """Return the products (m, m) in P, summed, of what A_k^{-1} A_q / unit_q makes of smooth random vectors."""
        inner = self.terms.inner
        x = np.random.default_rng(0).standard_normal((inner.shape[0], SAMPLES))
        x = inner.factorized()(x / inner.balance[:, None])
        images = [
            anchor.solve((self.terms.matrices[q] * (1 / unit)) @ x) for q, unit in zip(moving, units, strict=True)
        ]
        if not images:
            return np.zeros((0, 0))
        flat, product = np.stack([y.ravel() for y in images]), np.stack([(inner.matrix @ y).ravel() for y in images])
        gram = flat.conj() @ product.T
        return (gram + gram.conj().T) / 2

    def _norms(self, weights: np.ndarray) -> np.ndarray:
        """Return proved upper bounds (k,) of ||sum_q w_q A_q||, w (k, Qa), but for the rounding of the sum."""
        return np.array([self.terms.norm(self.terms.system.assemble(w)) + self.terms.rounding(w) for w in weights])

    def _rounding(self, weights: np.ndarray) -> float:
        """Bound the norm of what [B_1 .. B_L] is off by when the sums are formed."""
        return float(np.linalg.norm([self.terms.rounding(w) for w in weights])) * (1 + 64 * ROUND_OFF)

    def estimate(self, anchor: Anchor, terms: list[Any]) -> float:
        """Estimate J = ||[A_k^{-1} B_1 .. A_k^{-1} B_L]||_P."""
        if not terms:
            return 0.0
        product, riesz = self.terms.inner.matrix, self.terms.inner.factorized()
        adjoints = [b.conj().T for b in terms]

        def square(x: np.ndarray) -> np.ndarray:  # P A^-1 (sum_l B_l P^-1 B_l^H) A^-H P
            y = anchor.solve_adjoint(product @ x)
            return product @ anchor.solve(sum(b @ riesz(a @ y) for a, b in zip(adjoints, terms, strict=True)))

        dtype = np.result_type(anchor.dtype, *(b.dtype for b in terms))
        value, _ = extreme(square, None, self.terms.inner, dtype, largest=True)
        return float(np.sqrt(max(value, 0.0)))

    def anchor(self, theta: np.ndarray, rotated: RotatedTerms, at: str) -> tuple[float, float, np.ndarray]:
        """Return a proved beta, the growth J, and R with ||A(mu) v|| / ||v|| = ||R theta(mu)|| for the minimiser v.

        The assembled A_k + E, ||E|| <= d beta(A_k + E), has the constant beta and growth J of which
        beta(A_k) >= (1 - d) beta and ||[A_k^{-1} B_l]|| <= J / (1 - d). J knows the loss of the rotation, too.
        """
        self.terms.norms = rotated.norms  # which a worker would compute once more
        anchor = self._anchor(theta, at)
        if not anchor.defect <= TOLERABLE:
            raise singular(at)
        terms = [self.terms.system.assemble(w) for w in rotated.weights]
        estimate = self.estimate(anchor, terms)
        growth: float | None = 0.0
        if terms and estimate > 0:
            growth = self.terms.certifier.growth(terms, anchor.matrix, anchor.constant, estimate)
        if growth is None or not estimate > 0:
            growth = float(np.linalg.norm(self._norms(rotated.weights))) / anchor.constant * (1 + 64 * ROUND_OFF)
        certain = 1 - anchor.defect - 8 * ROUND_OFF
        joint = (growth + float(rotated.loss) / anchor.constant) / certain * (1 + 8 * ROUND_OFF)
        return anchor.constant * certain, joint, self.terms.factor(anchor.minimiser)


def _norm(anchors: SparseAnchors, q: int) -> float:
    """Return a proved upper bound of ||A_q||: a task of a worker."""
    return norm_of(anchors.terms, q)
