"""A linear system in affine form: A(mu), f(mu), the inner product P, and the residual with its norm."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

from lowrank import LowRankMatrix
from rbm.affine.compiled_products import split_matrix
from rbm.affine.entries import dense_entries, entries
from rbm.affine.fingerprints import digest
from rbm.affine.inner_product import RANGE, InnerProduct
from rbm.affine.low_rank_terms import SkewSizes, shows_no_entries, skew_sizes, updated
from rbm.affine.sums import SparseSum, TermStack
from rbm.affine.terms import Terms, operator_term, vector_term
from rbm.arithmetic import extended
from rbm.arithmetic.low_rank import SplitLowRank
from rbm.arithmetic.precision import exponents_of, scaled
from rbm.errors import ModelError
from rbm.online.chunks import slices
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.space import ParameterSpace
from rbm.solvers.choice import NAMED, read_solver
from rbm.solvers.factorization import Solve
from rbm.solvers.updated import UpdatedMatrix, bordered, woodbury
from rbm.solvers.user_code import Solver, UserOperator

__all__ = ["AffineSystem", "residual_norm"]

#: Vectors that are multiplied by all terms together; more of them, term by term, for the memory.
FEW = 4
#: The attributes of a system that do not depend on the parameters.
_MATRICES = frozenset(
    (
        "solver",
        "inner_product",
        "rhs_terms",
        "operator_terms",
        "split_terms",
        "_factors",
        "_matrices",
        "_sum",
        "stack",
        "_skews",
    )
)


class AffineSystem:
    """The linear system A(mu) u = f(mu) with A(mu) = sum_q theta_q(mu) A_q and f(mu) = sum_q phi_q(mu) f_q.

    Its solution u(mu) lies in C^n or R^n.

    What stability bounds, verification and the residual need of a model; :class:`rbm.FullOrderModel` adds to it what is
    claimed and asked for.

    operators : [(theta_q, A_q), ...], rhs : [(phi_q, f_q), ...], as the model takes them
    product : P (n, n), or an :class:`rbm.affine.inner_product.InnerProduct`, which systems may share
    parameters : the parameter space
    solver : what :func:`rbm.solvers.choice.read_solver` takes, in place of SuperLU and LAPACK; or None

    Raises ModelError for shapes that do not fit, NaN in a matrix, a product that is not Hermitian positive definite.
    """

    def __init__(
        self, operators: Terms, rhs: Terms, product: Any, parameters: ParameterSpace, solver: Solver | str | None
    ) -> None:
        self.parameters, self.solver = parameters, read_solver(solver)
        given = isinstance(product, InnerProduct)
        self.inner_product = product if given else InnerProduct(entries("the product", product), self.solver)
        n = self.inner_product.shape[0]
        self.operator_coefficients = Coefficients([c for c, _ in operators], parameters)
        self.rhs_coefficients = Coefficients([c for c, _ in rhs], parameters)
        terms = tuple(operator_term(f"operator term {q}", a, n) for q, (_, a) in enumerate(operators))
        vectors = [vector_term(f"right-hand side term {q}", f, n) for q, (_, f) in enumerate(rhs)]
        self.rhs_terms = np.stack(vectors, axis=1)
        if any(map(shows_no_entries, terms)) and type(self.solver) in (type(None), *NAMED.values()):
            raise ModelError(_without_solver(terms))
        self.set_operators(terms)
        self.inner_product.check()
        if not given and (measured := self.inner_product.measured):  # once for a model, not for those made from it
            warnings.warn(
                f'{measured}: bounds rest on that. solver="pardiso" and "superlu" prove it (docs/solvers.md)',
                UserWarning,
                stacklevel=_outside(),
            )

    def set_operators(self, terms: tuple[Any, ...]) -> None:
        """Take the checked terms A_q (n, n), and prepare their sums and products; for a system that is being made.

        Raises ModelError where all terms are low-rank matrices, whose sum is singular.
        """
        self.operator_terms = terms
        self._skews: tuple[SkewSizes, ...] | None = None
        self.split_terms = tuple(_split(a, self.inner_product.balance) for a in terms)
        #: which terms are low-rank factors, and which are not
        self._factors = [q for q, a in enumerate(terms) if isinstance(a, LowRankMatrix)]
        self._matrices = [q for q in range(len(terms)) if q not in self._factors]
        if not self._matrices:
            raise ModelError(
                "all operator terms are low-rank matrices, and so is their sum, which is singular; give the matrix "
                "that they are added to, or, if their ranks sum to the number of unknowns, one term .to_dense()"
            )
        matrices = [terms[q] for q in self._matrices]
        self._sum = SparseSum(matrices) if all(sp.issparse(a) for a in matrices) else None
        self.stack = TermStack(terms, self.split_terms, self.inner_product.balance)

    @property
    def dimension(self) -> int:
        """The number n of unknowns."""
        return self.inner_product.shape[0]

    @property
    def product(self) -> Any:
        """The inner product P (n, n)."""
        return self.inner_product.matrix

    @property
    def black_box(self) -> bool:
        """True if an operator term shows no entries (a LinearOperator)."""
        return any(isinstance(a, UserOperator) for a in self.split_terms)

    @property
    def low_rank_terms(self) -> list[int]:
        """The numbers of the operator terms that are low-rank factors."""
        return self._factors

    @property
    def skew_sizes(self) -> tuple[SkewSizes, ...]:
        """How far each operator term is from Hermitian, measured at the first use; not for a LinearOperator."""
        if self._skews is None:
            self._skews = tuple(skew_sizes(self.inner_product, a) for a in self.operator_terms)
        return self._skews

    def operators_fingerprint(self) -> str:
        """Return the SHA-256 of what inf-sup constants depend on: operators with coefficients, product, parameters."""
        return digest((self.operator_coefficients, self.operator_terms, self.product, self.parameters))

    def assemble(self, theta: np.ndarray) -> Any:
        """Return A = sum_q theta_q A_q for one set of coefficients theta (Qa,); a LinearOperator if a term is one.

        Where low-rank terms stand beside sparse ones it is a :class:`rbm.solvers.updated.UpdatedMatrix`.
        """
        terms = self.operator_terms
        if self.black_box:
            matrices = (s if isinstance(s, UserOperator) else s.matrix for s in self.split_terms)
            terms = tuple(aslinearoperator(a) for a in matrices)
        used = range(len(terms)) if self.black_box else self._matrices
        if self._sum is not None:
            total = self._sum.assemble(theta[used])
        else:
            total = theta[used[0]] * terms[used[0]]
            for q in used[1:]:
                total = total + theta[q] * terms[q]
        if self.black_box or not self._factors:
            return total
        return updated(total, theta[self._factors], tuple(terms[q] for q in self._factors))

    @property
    def has_symmetric_pattern(self) -> bool:
        """True if all terms are sparse, or low-rank factors beside sparse ones, whose common pattern is symmetric.

        Pivots may then be taken from the diagonal.
        """
        return self._sum is not None and self._sum.symmetric

    def factorize_assembled(self, matrix: Any) -> Solve:
        """Return the solve function of A(mu) (n, n) as :meth:`assemble` makes it, with pivots on the diagonal.

        Raises RuntimeError where a pivot is zero.
        """
        assert self._sum is not None
        if isinstance(matrix, UpdatedMatrix):
            return woodbury(self._sum.factorize(matrix.base), matrix)
        return self._sum.factorize(matrix)

    def factorize_bordered(self, matrix: UpdatedMatrix) -> Solve:
        """Return the solve function of A(mu), whose sparse part may be singular (:mod:`rbm.solvers.updated`)."""
        assert self._sum is not None
        return bordered(matrix, self._sum.order, self.inner_product.balance)

    def without_coefficients(self) -> AffineSystem:
        """Return the matrices alone, without functions of the parameters: what workers get who are told theta."""
        made = AffineSystem.__new__(AffineSystem)
        vars(made).update({name: value for name, value in vars(self).items() if name in _MATRICES})
        return made

    def prepare(self) -> None:
        """Compute now what all solves share; otherwise the first solve does. Another solver has its own order."""
        if self._sum is not None and self.solver is None:
            self._sum.prepare()

    def residual(self, theta: np.ndarray, phi: np.ndarray, x: extended.Extended) -> extended.Extended:
        """Return f(mu) - A(mu) x (n, M) for vectors x (n, M) given as hi + lo.

        It is formed in extended precision, then renormalised.
        """
        f = self.rhs_terms
        total = extended.two_product(f[:, :1], phi.T[:1])
        for q in range(1, f.shape[1]):
            total = extended.add(total, extended.two_product(f[:, q : q + 1], phi.T[q : q + 1]))
        if x[0].shape[1] > FEW:
            for q, term in enumerate(self.split_terms):
                total = extended.add(total, extended.scale(-theta.T[q : q + 1], extended.product(term, x)))
            return total
        images = extended.scale(-theta.T[self.stack.owner], self.stack.product(x))
        hi, lo = (np.array(part, dtype=np.result_type(part, images[0])) for part in total)
        for rows, part in zip(self.stack.rows, self.stack.parts, strict=True):
            hi[rows], lo[rows] = extended.add((hi[rows], lo[rows]), (images[0][part], images[1][part]))
        return hi, lo

    def residual_norm(
        self, mus: Any, coefficients: np.ndarray, basis: np.ndarray, *, extrapolate: bool = False
    ) -> np.ndarray:
        """Return ||f(mu) - A(mu) Z gamma||_{P^-1} (M,), right to a few u.

        gamma (M, N) are coefficients in the basis Z (n, N).

        This is the black box that E1 evaluates and that E3 and E4 need at a few parameter points only. Cost O(n) each.
        """
        mus = self.parameters.validate(mus, extrapolate)
        coefficients, basis = self.checked_vectors(mus, coefficients, basis)
        theta, phi = self.operator_coefficients(mus), self.rhs_coefficients(mus)
        parts = ((theta[i], phi[i], extended.product(basis, coefficients[i].T)) for i in slices(len(mus)))
        return np.concatenate([self.inner_product.dual_norm(self.residual(*part)) for part in parts])

    def checked_vectors(self, mus: np.ndarray, coefficients: Any, basis: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients (M, N) and basis (n, N) as arrays, checked against each other and against `mus`.

        Raises ModelError for shapes that do not fit.
        """
        coefficients, basis = dense_entries("coefficients", coefficients), dense_entries("basis", basis)
        n = self.dimension
        if basis.ndim != 2 or basis.shape[0] != n:
            raise ModelError(f"basis has shape {basis.shape}, expected ({n}, N): one basis vector a column")
        if coefficients.shape != (len(mus), basis.shape[1]):
            raise ModelError(
                f"coefficients have shape {coefficients.shape}, expected ({len(mus)}, {basis.shape[1]}): one row a "
                "parameter point"
            )
        return coefficients, basis


def residual_norm(
    system: AffineSystem, basis: np.ndarray, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ||f - A Z gamma||_{P^-1} (M,) from the residual vector, and a floor (M,) of its error.

    The vector is formed in extended precision.

    basis : Z (n, N); theta (M, Qa), phi (M, Qf), gamma (M, N)

    The residual is linear in (phi, gamma): where f or gamma are very small or large they are brought to size one, by
    powers of two.

    phi counts with the size of what it multiplies: a coefficient of 1e160 that undoes the units of f leaves nothing to
    be scaled.
    """
    sizes = exponents_of(system.rhs_terms * system.inner_product.balance[:, None])
    shifts = np.append(sizes, np.zeros(gamma.shape[1], dtype=sizes.dtype))
    both = np.abs(np.concatenate([phi, gamma], axis=1))
    lowest = np.iinfo(np.int32).min
    exponents = np.where(both > 0, np.frexp(both)[1] + shifts, lowest).max(axis=1, initial=lowest)
    exponents = np.where(exponents == lowest, 0, exponents)
    if np.all(np.abs(exponents) <= RANGE):
        return _residual_norm_in_range(system, basis, theta, phi, gamma)
    phi, gamma = scaled(phi.T, -exponents).T, scaled(gamma.T, -exponents).T
    value, floor = _residual_norm_in_range(system, basis, theta, phi, gamma)
    return scaled(value, exponents), scaled(floor, exponents) + np.finfo(float).tiny * (floor > 0)


def _residual_norm_in_range(
    system: AffineSystem, basis: np.ndarray, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    u = np.finfo(float).eps / 2
    z = extended.product(basis, gamma.T)
    # products below the range of normal numbers lose up to that number each
    moving = np.any(phi[:, np.any(system.rhs_terms, axis=0)], axis=1) | np.any(gamma, axis=1)
    small = 8 * np.finfo(float).tiny * (phi.shape[1] + gamma.shape[1] + 1) * moving
    of_z = extended.rounding(basis, gamma.T) + small
    value, error = system.inner_product.dual_norm_with_error(system.residual(theta, phi, z))
    # the sums in `residual` are right to about u^2 times their largest term
    rounding = 8 * u**2 * (np.abs(system.rhs_terms) @ np.abs(phi.T)) + small
    for q, term in enumerate(system.split_terms):
        amplified = 0.0 if isinstance(term, UserOperator) else abs(term) @ of_z
        rounding = rounding + np.abs(theta.T[q]) * (2 * extended.rounding(term, z) + amplified + small) + small
    return value, 8 * u * value + error + system.inner_product.dual_norm_bound(rounding)


def _outside() -> int:
    """Return how many calls above the caller the code is that made a model, of any class of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "rbm":
        frame, level = frame.f_back, level + 1
    return level


def _split(term: Any, balance: np.ndarray) -> Any:
    """Return a term made ready for products in extended precision; a LinearOperator has none but its own."""
    if shows_no_entries(term):
        return UserOperator(term)
    return SplitLowRank(term, balance) if isinstance(term, LowRankMatrix) else split_matrix(term, balance)


def _without_solver(terms: tuple[Any, ...]) -> str:
    """Return what to say where a term shows no entries and no solver was given."""
    q, term = next((q, a) for q, a in enumerate(terms) if shows_no_entries(a))
    dense = ", or the matrix itself, .to_dense()" if hasattr(term, "to_dense") else ""
    return (
        f"operator term {q} is a LinearOperator ({type(term).__name__}), which shows no entries: give solver=, a "
        f"function (matrix, rhs (n, k)) -> (n, k){dense}"
    )
