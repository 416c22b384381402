"""Anchors of dense models: constants and growths by dense linear algebra in the norms of P, with allowances."""

from __future__ import annotations

import time

import numpy as np
import scipy.linalg

from rbm.affine.system import AffineSystem
from rbm.stability import inf_sup_constants as constants
from rbm.stability.rotated_terms import Modes, RotatedTerms
from rbm.workers.crew import Crew

__all__ = ["DenseAnchors", "expected_seconds"]

#: A dense term costs so many products of matrices before the first anchor, and an anchor so many per term.
PRODUCTS_OF_TERM, PRODUCTS_OF_ANCHOR = 5.0, 2.5
#: The product of matrices that is timed to know what others take.
TIMED = 400


class DenseAnchors:
    """The terms in whitened units, L^{-1} A_q L^{-H}, P = L L^H, and what anchors need of them.

    Measured, not proved: rounding is allowed for by 1e-8 and 10 sqrt(n) u cond of P and of A(mu_k).
    """

    def __init__(self, system: AffineSystem) -> None:
        self.whitened, self.rounding = constants.whitened_terms(system)

    def measure(self, crew: Crew) -> None:
        """Compute nothing yet: the norms of dense terms belong to their rotation."""

    def rotated(self, theta: np.ndarray, first: int, at: str) -> RotatedTerms:
        """Rotate the terms to B_l that are orthogonal in the Frobenius norm, theta (M, Qa).

        Terms of an interpolated operator are nearly dependent: their differences are what matters, and these are what
        the rotation finds.
        """
        norms = np.array([constants.spectral_norm(a) for a in self.whitened]) * (1 + self.rounding)
        spread = theta - theta.mean(axis=0)
        moving = np.abs(spread).max(axis=0) > 0
        flat = np.stack([a.ravel() for a in self.whitened])[moving]
        flat = np.ldexp(1.0, -int(np.frexp(norms.max())[1])) * flat  # no square overflows
        gram = flat.conj() @ flat.T
        basis = scipy.linalg.eigh((gram + gram.conj().T) / 2)[1] if len(gram) else np.zeros((0, 0))
        modes = Modes.of(spread, moving, np.ones(len(gram)), basis)
        allowance = self.rounding * np.sqrt((norms[moving] ** 2).sum())

        def sizes(weights: np.ndarray) -> np.ndarray:
            made = [constants.spectral_norm(constants.combined(w, self.whitened)) for w in weights]
            return np.array(made) + allowance if made else np.zeros(0)

        return RotatedTerms.of(modes, sizes(modes.back), norms, sizes)

    def anchor(self, theta: np.ndarray, rotated: RotatedTerms, at: str) -> tuple[float, float, np.ndarray]:
        """Return beta, the growth J, and R with ||A(mu) v|| / ||v|| = ||R theta(mu)|| for the minimiser v."""
        matrix = constants.combined(theta, self.whitened)
        constant, minimiser = constants.smallest_singular(matrix, self.rounding)
        allowance = self.rounding * float(np.linalg.norm(matrix)) / constant if constant > 0 else np.inf
        if not allowance <= constants.TOLERABLE:
            raise constants.singular(at)
        images = np.stack([a @ minimiser for a in self.whitened], axis=1)
        return constant, self._growth(matrix, rotated) * (1 + allowance), np.linalg.qr(images)[1]

    def _growth(self, matrix: np.ndarray, rotated: RotatedTerms) -> float:
        """Return J, J^2 the largest eigenvalue of sum_l T_l^H T_l, T_l = matrix^{-1} B_l."""
        if not len(rotated.weights):
            return 0.0
        factor = scipy.linalg.lu_factor(matrix, check_finite=False)
        total = np.zeros_like(matrix)
        for weights in rotated.weights:
            t = scipy.linalg.lu_solve(factor, constants.combined(weights, self.whitened), check_finite=False)
            total = total + t.conj().T @ t
        return float(np.sqrt(constants.largest_eigenvalue(total)) * (1 + constants.SLACK))


def expected_seconds(system: AffineSystem) -> float:
    """Return about how long the terms and the first anchor of a dense model take, from a product of small matrices."""
    n, terms = system.dimension, system.operator_terms
    m = min(n, TIMED)
    x = np.ones((m, m), dtype=np.result_type(float, *(a.dtype for a in terms)))
    _ = x @ x
    began = time.perf_counter()
    _ = x @ x
    of_product = (time.perf_counter() - began) * (n / m) ** 3
    return len(terms) * (PRODUCTS_OF_TERM + PRODUCTS_OF_ANCHOR) * of_product
