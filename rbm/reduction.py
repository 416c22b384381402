"""The projection of a full-order model onto a growing basis, Galerkin or least squares; offline only."""

from __future__ import annotations

import numpy as np

from lowrank import gram_schmidt
from lowrank.arrays import as_matrix
from rbm.errors import ModelError, refused
from rbm.estimate import Estimate
from rbm.full_order import FullOrderModel, Projection, check_projection
from rbm.online.batches import each, pieces
from rbm.online.forms import Form
from rbm.residual import ResidualRange

__all__ = ["Reduction", "solved"]


class Reduction:
    """Everything reduced that depends on the basis Z (n, N): the reduced system and, when asked for, the residual range.

    Parameters
    ----------
    model : the full-order model
    basis : (n, N) vectors to start from; orthonormalised in P unless they are orthonormal to 1e-10 already
    projection : "galerkin" or "least-squares"; by default the model's own

    Galerkin: Z^H A(mu) Z gamma = Z^H f(mu). Least squares: gamma minimises ||f(mu) - A(mu) Z gamma||_{P^-1}, which in the
    orthonormal basis D of the residual's range (W = D R) is the small problem min ||R c(mu)||_2: the columns of R *are* the
    reduced system, at no further cost. It is stable whenever the full model is: ||r|| is at most sigma_max(mu) times the best
    approximation error, and never grows with N.

    :meth:`extend` adds one vector; all reduced quantities grow, nothing is recomputed.
    """

    def __init__(
        self, model: FullOrderModel, basis: np.ndarray | None = None, projection: Projection | None = None
    ) -> None:
        self.model = model
        self.projection = check_projection(projection or model.projection)
        self.basis = np.zeros((model.dimension, 0))
        qa, qf = len(model.operator_terms), model.rhs_terms.shape[1]
        self.images: list[np.ndarray] = [np.zeros((model.dimension, 0)) for _ in range(qa)]  # A_q Z
        self._operators = np.zeros((qa, 0, 0))
        self._rhs = np.zeros((qf, 0))
        self._range: ResidualRange | None = None
        if basis is not None:
            for column in _orthonormal(model, basis).T:
                self._append(column)

    @property
    def size(self) -> int:
        """Number of basis vectors N."""
        return self.basis.shape[1]

    @property
    def operators(self) -> np.ndarray:
        """Reduced operators: Z^H A_q Z (Qa, N, N), or R's columns of A_q Z (Qa, k, N), with Z = (z_1..z_N)."""
        if self.projection == "galerkin":
            return self._operators
        factor, qf = self.residual_range.factor, self._rhs.shape[0]
        return np.ascontiguousarray(factor[:, qf:].reshape(len(factor), self.size, len(self.images)).transpose(2, 0, 1))

    @property
    def rhs(self) -> np.ndarray:
        """Reduced right-hand sides: Z^H f_q (Qf, N), or R's columns of f_q (Qf, k)."""
        if self.projection == "galerkin":
            return self._rhs
        return np.ascontiguousarray(self.residual_range.factor[:, : self._rhs.shape[0]].T)

    @property
    def residual_range(self) -> ResidualRange:
        """The residual range, made on first use and kept up to date from then on."""
        if self._range is None:
            self._range = ResidualRange(self.model)
            self._range.extend(self.basis)
        return self._range

    def extend(self, snapshot: np.ndarray) -> bool:
        """Orthonormalise a snapshot (n,) against the basis and append it; False if its remainder is round-off."""
        new = gram_schmidt(snapshot[:, None], product=self.model.product, basis=self.basis)
        if not len(new.kept):
            return False
        self._append(new.basis[:, 0])
        return True

    def _append(self, vector: np.ndarray) -> None:
        z = np.ascontiguousarray(vector)[:, None]  # same layout, same bits, wherever the vector comes from
        n = self.size
        dtype = np.result_type(self._operators, z, *[t.dtype for t in self.model.operator_terms])
        operators = np.zeros((len(self.images), n + 1, n + 1), dtype=dtype)
        operators[:, :n, :n] = self._operators
        for q, term in enumerate(self.model.operator_terms):
            image = np.asarray(term @ z)
            operators[q, :n, n] = (self.basis.conj().T @ image)[:, 0]
            operators[q, n, :n] = (z.conj().T @ self.images[q])[0]
            operators[q, n, n] = (z.conj().T @ image)[0, 0]
            self.images[q] = np.concatenate([self.images[q], image], axis=1)
        self._operators = operators
        self._rhs = np.concatenate([self._rhs, (z.conj().T @ self.model.rhs_terms).T], axis=1)
        self.basis = np.concatenate([self.basis, z], axis=1)
        if self._range is not None:
            self._range.extend(z)

    def residual_terms(self) -> np.ndarray:
        """W (n, m) in double precision, columns ordered as :func:`rbm.online.reference.residual_coefficients`."""
        images = np.stack(self.images, axis=2).reshape(self.model.dimension, -1)
        return np.concatenate([self.model.rhs_terms, images], axis=1)

    def solve(self, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """theta (M, Qa), phi (M, Qf) and gamma (M, N) at parameter points (M, p)."""
        theta, phi = self.model.operator_coefficients(mus), self.model.rhs_coefficients(mus)
        return theta, phi, solved(self.operators, self.rhs, theta, phi)[0]


def solved(
    operators: np.ndarray, rhs: np.ndarray, theta: np.ndarray, phi: np.ndarray, form: Form | None = None
) -> tuple[np.ndarray, Estimate | None]:
    """gamma (M, N) and, with `form`, the residual norm, for a reduced system that is being built. ModelError where it is singular."""
    from rbm.online.compiled import CompiledModel  # loads Numba

    compiled = CompiledModel(operators, rhs)
    gamma = np.empty((len(theta), operators.shape[2]), compiled.dtype(theta, phi, form))
    value, floor, resolved = np.empty(len(theta)), np.empty(len(theta)), np.empty(len(theta), dtype=bool)

    def work(rows: slice) -> None:
        made = compiled.answer(theta[rows], phi[rows], form)
        if made.failed is not None:
            bad = np.zeros(len(theta), dtype=bool)
            bad[rows] = made.failed > 0
            raise refused(
                ModelError,
                bad,
                lambda i, where: (
                    f"the reduced system ({where}) is singular; check the stability bound of the model with verify()"
                ),
            )
        gamma[rows], value[rows], floor[rows], resolved[rows] = made[:4]

    each(work, pieces(len(theta), 8 * (theta.shape[1] + phi.shape[1] + 2 * gamma.shape[1] + 16)))
    return gamma, None if form is None else Estimate(value, floor, resolved)


def _orthonormal(model: FullOrderModel, basis: np.ndarray) -> np.ndarray:
    basis = np.asarray(basis)
    if basis.ndim != 2 or basis.shape[0] != model.dimension:
        hint = (
            "; write basis[:, None]" if basis.ndim == 1 else "; transpose it" if model.dimension in basis.shape else ""
        )
        raise ModelError(
            f"basis has shape {basis.shape}, expected ({model.dimension}, N): one basis vector a column{hint}"
        )
    basis = np.asarray(as_matrix("basis", basis))
    if basis.shape[1] > basis.shape[0]:
        raise ModelError(f"basis has {basis.shape[1]} vectors for {basis.shape[0]} unknowns: one basis vector a column")
    gram = basis.conj().T @ np.asarray(model.product @ basis)
    if np.abs(gram - np.eye(len(gram))).max(initial=0.0) <= 1e-10:
        return basis
    new = gram_schmidt(basis, product=model.product)
    if len(new.kept) < basis.shape[1]:
        lost = sorted(set(range(basis.shape[1])) - set(new.kept.tolist()))
        some = ", ".join(map(str, lost[:8])) + (", ..." if len(lost) > 8 else "")
        raise ModelError(
            f"{len(lost)} basis vectors depend on the others up to round-off, numbers {some}; lowrank.pod gives independent ones"
        )
    return new.basis
