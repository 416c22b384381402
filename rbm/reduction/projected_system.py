"""The projection of a full-order model onto a growing basis, Galerkin or least squares; offline only.

With it comes the range of the residual, which is a known linear map: r(mu) = W c(mu).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lowrank import POD, gram_schmidt
from rbm.affine.entries import dense_entries
from rbm.affine.functional_range import FunctionalRange
from rbm.affine.system import AffineSystem
from rbm.affine.tall_panels import panels
from rbm.arithmetic import extended
from rbm.arithmetic.columns import Columns, Store
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError, refused
from rbm.estimate import Estimate
from rbm.full_order import FullOrderModel, Projection, check_projection
from rbm.online.chunks import pieces, slices
from rbm.online.forms import Form
from rbm.online.threads import each

__all__ = ["Reduction", "ResidualRange", "formed", "solved", "together"]

#: Columns of the residual's range that are orthonormalised together, and bytes that they may take.
TOGETHER, LARGEST = 64, 1 << 27
#: Columns of it that vectors are multiplied with at a time.
APART = 16


class ResidualRange(FunctionalRange):
    """The residual's terms W (n, m) and their orthonormal basis D: W ~ D R.

    W = [f_1..f_Qf, A_1 z_1..A_Qa z_1, A_1 z_2, ...] is formed in extended precision as basis vectors arrive.
    """

    def __init__(self, system: AffineSystem, store: Store | None = None) -> None:
        super().__init__(system.inner_product, store)
        self._stack = system.stack
        self.append(system.rhs_terms, np.zeros_like(system.rhs_terms), np.zeros(system.rhs_terms.shape))

    def extend(self, vectors: np.ndarray, images: extended.Extended | None = None) -> None:
        """Add the columns A_1 z .. A_Qa z for each new basis vector z, a column of `vectors` (n, k).

        images : the products of all terms with them, stacked, as hi + lo, if they are at hand

        Those of all k vectors are orthonormalised together, as many as make 64 columns, or 128 MB: Riesz solves have
        that many right-hand sides. So what rounding does to them depends on k, and on nothing else but the vectors.
        """
        stack = self._stack
        for some in slices(vectors.shape[1], together(len(vectors), stack.terms)):
            z = np.ascontiguousarray(vectors[:, some])
            hi, lo = stack.product(z) if images is None else (part[:, some] for part in images)
            self.append(
                stack.side_by_side(hi),
                stack.side_by_side(lo),
                stack.rounding_norms(z, self.inner_product.balance).ravel(),
            )

    def seen_by(self, basis: np.ndarray) -> tuple[np.ndarray, float]:
        """Return B = Z*^H D (N*, k) for vectors Z* (n, N*), and a proved bound of the Frobenius norm of its error.

        It is formed in extended precision and rounded once, some columns of D at a time. Cost: 6 n N* k flops.
        """
        adjoint = extended.SplitMatrix(basis.conj().T, 1 / self.inner_product.balance)
        made, errors = [np.zeros((basis.shape[1], 0))], [0.0]
        for piece in self._functionals.columns.pieces:
            for some in slices(piece.shape[1], APART):
                columns = np.asarray(piece[:, some])
                product, off = formed(adjoint, columns)
                made.append(product)
                errors.append(off)
        return np.concatenate(made, axis=1), float(np.linalg.norm(errors)) * (1 + 2.0**-20)


def formed(adjoint: extended.SplitMatrix, images: np.ndarray | extended.Extended) -> tuple[np.ndarray, float]:
    """Return a product in extended precision, rounded once, and the Frobenius norm of what it may be off by."""
    hi, lo = extended.product(adjoint, images)
    made = hi + lo
    off = extended.rounding(adjoint, images) + ROUND_OFF * np.abs(made)
    return made, float(np.linalg.norm(off)) * (1 + 2.0**-20)


class Reduction:
    """The reduced system for a growing basis Z (n, N) and, when asked for, the residual range.

    Parameters
    ----------
    model : the full-order model
    basis : (n, N) vectors to start from; orthonormalised in P unless they are orthonormal to 1e-10 already
    projection : "galerkin" or "least-squares"; by default the model's own
    sizes : numbers of vectors after which a step of :meth:`extend_many` ended, as in the history of a greedy: given the
        same basis in the same steps, all that is made of it is the same, bit for bit. By default each is a step
    store : where tall matrices are kept (:class:`rbm.storage.workspace.Workspace`); memory by default

    Galerkin: Z^H A(mu) Z gamma = Z^H f(mu). Least squares: gamma minimises ||f(mu) - A(mu) Z gamma||_{P^-1}, which in
    the orthonormal basis D of the residual's range (W = D R) is the small problem min ||R c(mu)||_2: the columns of R
    *are* the reduced system, at no extra cost. It is stable whenever the full model is: ||r|| is at most sigma_max(mu)
    times the best approximation error, and never grows with N.

    :meth:`extend` adds one vector, :meth:`extend_many` several; all reduced quantities grow, nothing is recomputed.

    Raises ModelError for a basis of the wrong shape, or with vectors that depend on others.
    """

    def __init__(
        self,
        model: FullOrderModel,
        basis: np.ndarray | None = None,
        projection: Projection | None = None,
        *,
        sizes: Sequence[int] = (),
        store: Store | None = None,
    ) -> None:
        self.model = model
        self.projection = check_projection(projection or model.projection)
        # Z, P Z and, stacked, A_q Z
        self._store = store
        self._whole: np.ndarray | None = None
        self._deviation: tuple[int, float] | None = None  # of so many vectors
        self._basis, self._product_basis = Columns(model.dimension, store), Columns(model.dimension, store)
        self._images = Columns(len(model.stack.owner), store)
        qa, qf = len(model.operator_terms), model.rhs_terms.shape[1]
        self._operators = np.zeros((qa, 0, 0))
        self._rhs = np.zeros((qf, 0))
        self._range: ResidualRange | None = None
        #: how many vectors came together, one after the other: what rounding did to the range depends on that
        self._steps: list[int] = []
        if basis is not None:
            columns = _orthonormal(model, basis)
            for some in _steps(columns.shape[1], sizes):
                self._append(columns[:, some])

    @property
    def size(self) -> int:
        """The number of basis vectors N."""
        return self._basis.width

    @property
    def basis(self) -> np.ndarray:
        """The basis Z (n, N), as one array in memory."""
        if self._whole is None or self._whole.shape[1] != self.size:
            self._whole = self._basis.array
        return self._whole

    @property
    def orthonormality(self) -> float:
        """A bound of ||Z^H P Z - I||_F, measured for interpolated models, whose error bounds need it; else 0."""
        return 0.0 if self.model.interpolation_error is None else self.deviation

    @property
    def deviation(self) -> float:
        """A proved bound of ||Z^H P Z - I||_F (:meth:`rbm.affine.inner_product.InnerProduct.orthonormality`)."""
        if self._deviation is None or self._deviation[0] != self.size:
            self._deviation = self.size, self.model.inner_product.orthonormality(self.basis)
        return self._deviation[1]

    @property
    def operators(self) -> np.ndarray:
        """The reduced operators: Z^H A_q Z (Qa, N, N), or R's columns of A_q Z (Qa, k, N), with Z = (z_1..z_N)."""
        if self.projection == "galerkin":
            return self._operators
        factor, qf = self.residual_range.factor, self._rhs.shape[0]
        columns = factor[:, qf:].reshape(len(factor), self.size, len(self._operators))
        return np.ascontiguousarray(columns.transpose(2, 0, 1))

    @property
    def rhs(self) -> np.ndarray:
        """The reduced right-hand sides: Z^H f_q (Qf, N), or R's columns of f_q (Qf, k)."""
        if self.projection == "galerkin":
            return self._rhs
        return np.ascontiguousarray(self.residual_range.factor[:, : self._rhs.shape[0]].T)

    @property
    def residual_range(self) -> ResidualRange:
        """The residual range, made on first use and kept up to date from then on."""
        if self._range is None:
            made, basis, start = ResidualRange(self.model, self._store), self.basis, 0
            for count in self._steps:
                made.extend(basis[:, start : start + count])
                start += count
            self._range = made
        return self._range

    def extend(self, snapshot: np.ndarray) -> bool:
        """Append a snapshot (n,), orthonormalised against the basis; return False if its remainder is round-off."""
        return bool(self.extend_many(dense_entries("snapshot", snapshot)[:, None]))

    def extend_many(self, snapshots: np.ndarray) -> list[int]:
        """Append snapshots (n, k), orthonormalised against the basis and among themselves, as one step.

        Return the numbers of those that were kept, in the order of the vectors that they gave: left out are those whose
        remainders are round-off. Riesz solves of the residual's range have the columns of all of them as right-hand
        sides. Where it fails or is interrupted, nothing has changed.
        """
        z, pz = self._basis.pieces, self._product_basis.pieces
        snapshots = dense_entries("snapshots", snapshots)
        new = gram_schmidt(snapshots, product=self.model.product, basis=z, product_basis=pz, products=panels)
        if len(new.kept):
            self._append(new.basis)
        return new.kept.tolist()

    def _append(self, vectors: np.ndarray) -> None:
        """Append P-orthonormal vectors (n, k) as one step."""
        grown = self._basis, self._product_basis, self._images
        before, widths = dict(vars(self)), [columns.width for columns in grown]
        of_range = None if self._range is None else self._range.mark()
        try:
            count, stack, images = vectors.shape[1], self.model.stack, None
            if count <= together(len(vectors), stack.terms):  # as many as the residual's range takes together
                images = stack.product(np.ascontiguousarray(vectors))
            for k in range(count):
                z = np.ascontiguousarray(vectors[:, k])[:, None]  # same layout, same bits, wherever it is from
                self._append_one(z, stack.product(z)[0] if images is None else images[0][:, k : k + 1])
            self._steps = [*self._steps, count]
            if self._range is not None:
                self._range.extend(vectors, images)
        except BaseException:
            vars(self).update(before)
            for columns, width in zip(grown, widths, strict=True):
                columns.cut(width)
            if self._range is not None and of_range is not None:
                self._range.back_to(of_range)
            raise

    def _append_one(self, z: np.ndarray, image: np.ndarray) -> None:
        """Append one vector (n, 1), with its products with all terms, stacked."""
        n, stack = self.size, self.model.stack
        dtype = np.result_type(self._operators, z, *[t.dtype for t in self.model.operator_terms])
        operators = np.zeros((len(self._operators), n + 1, n + 1), dtype=dtype)
        operators[:, :n, :n] = self._operators
        adjoint = stack.side_by_side(image[:, 0]).conj().T
        products = [np.zeros((len(operators), 0)), *(adjoint @ b for b in self._basis.pieces)]
        operators[:, :n, n] = np.concatenate(products, 1).conj()
        self._images.append(image)
        for q, (rows, part) in enumerate(zip(stack.rows, stack.parts, strict=True)):
            operators[q, n] = np.concatenate([z[rows, 0].conj() @ piece[part] for piece in self._images.pieces])
        self._operators = operators
        self._rhs = np.concatenate([self._rhs, (z.conj().T @ self.model.rhs_terms).T], axis=1)
        self._basis.append(z)
        self._product_basis.append(np.asarray(self.model.product @ z))

    def combination(self, gamma: np.ndarray) -> np.ndarray:
        """Return Z gamma (n,) for reduced coefficients gamma (N,)."""
        total, start = np.zeros(self.model.dimension), 0
        for piece in self._basis.pieces:
            total = total + piece @ gamma[start : start + piece.shape[1]]
            start += piece.shape[1]
        return total

    @property
    def store(self) -> Store | None:
        """Where tall matrices are kept; None for memory."""
        return self._store

    def residual_terms(self) -> np.ndarray:
        """Return the residual's terms W (n, m) in double precision.

        Columns are ordered as in :func:`rbm.online.reference.residual_coefficients`.
        """
        images = [self.model.stack.side_by_side(image) for image in self._images.array.T]
        return np.concatenate([self.model.rhs_terms, *images], axis=1)

    def solve(self, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return theta (M, Qa), phi (M, Qf) and gamma (M, N) at parameter points (M, p).

        Raises ModelError, with the rows, where the reduced system is singular.
        """
        theta, phi = self.model.operator_coefficients(mus), self.model.rhs_coefficients(mus)
        return theta, phi, solved(self.operators, self.rhs, theta, phi)[0]


def solved(
    operators: np.ndarray, rhs: np.ndarray, theta: np.ndarray, phi: np.ndarray, form: Form | None = None
) -> tuple[np.ndarray, Estimate | None]:
    """Return gamma (M, N) and, with `form`, the residual norm, for a reduced system that is being built.

    Raises ModelError where the system is singular.
    """
    from rbm.online.compiled import CompiledModel  # loads Numba

    compiled = CompiledModel(operators, rhs)
    gamma = np.empty((len(theta), operators.shape[2]), compiled.dtype(theta, phi, form))
    value, floor, resolved = np.empty(len(theta)), np.empty(len(theta)), np.empty(len(theta), dtype=bool)

    def singular(i: int, where: str) -> str:
        return f"the reduced system ({where}) is singular; check the stability bound of the model with verify()"

    def work(rows: slice) -> None:
        made = compiled.answer(theta[rows], phi[rows], form)
        if made.failed is not None:
            bad = np.zeros(len(theta), dtype=bool)
            bad[rows] = made.failed > 0
            raise refused(ModelError, bad, singular)
        gamma[rows], value[rows], floor[rows], resolved[rows] = made[:4]

    each(work, pieces(len(theta), 8 * (theta.shape[1] + phi.shape[1] + 2 * gamma.shape[1] + 16)))
    return gamma, None if form is None else Estimate(value, floor, resolved)


def together(n: int, terms: int) -> int:
    """Return how many vectors (n,) at most are multiplied by all Qa terms, and orthonormalised, together."""
    return max(1, min(TOGETHER, LARGEST // (8 * n)) // terms)


def _steps(count: int, sizes: Sequence[int]) -> list[slice]:
    """Return which of `count` vectors came together, in steps that ended at `sizes`; each alone where that is open."""
    ends = sorted({size for size in sizes if 0 < size < count} | {count}) if sizes else range(1, count + 1)
    return [slice(a, b) for a, b in pairwise([0, *ends]) if a < b]


def _vectors(basis: Any) -> np.ndarray:
    """Return Z as an array, from an array, a sparse matrix, or a POD."""
    if isinstance(basis, POD):
        basis = basis.modes
    for attribute, what in (("reduced_model", "basis"), ("U", "U")):
        if hasattr(basis, attribute):
            got = f"got a {type(basis).__name__}; write .{what}"
            raise ModelError(f"basis must be an array (n, N), one basis vector a column, {got}")
    return dense_entries("basis", basis)


def _orthonormal(model: FullOrderModel, basis: np.ndarray) -> np.ndarray:
    basis = _vectors(basis)
    if basis.ndim != 2 or basis.shape[0] != model.dimension:
        transposed = "; transpose it" if model.dimension in basis.shape else ""
        hint = "; write basis[:, None]" if basis.ndim == 1 else transposed
        expected = f"({model.dimension}, N): one basis vector a column"
        raise ModelError(f"basis has shape {basis.shape}, expected {expected}{hint}")
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
            f"{len(lost)} basis vectors depend on the others up to round-off, numbers {some}; lowrank.pod gives "
            "independent ones"
        )
    return new.basis
