"""Quantities of interest: linear and quadratic functionals of the solution, with bounds of their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from lowrank.arrays import beside, namespace, real_part
from rbm import extended
from rbm.coefficients import Coefficients
from rbm.errors import ModelError
from rbm.parameters import ParameterSpace
from rbm.precision import widened
from rbm.riesz import factorize_positive_definite
from rbm.terms import matrix_entries, operator_term, vector_term

if TYPE_CHECKING:
    from rbm.riesz import InnerProduct

__all__ = ["Output", "ReducedLinear", "ReducedOutput", "ReducedQuadratic", "read_outputs", "reduce_output"]

#: Up to this dimension the norm of a quadratic form comes from a dense eigenvalue problem.
DENSE_LIMIT = 1500


@dataclass(frozen=True)
class Output:
    """sum_q psi_q l_q^T u, a linear output, or sum_q psi_q u^H Q_q u, a quadratic one, of the full-order model."""

    coefficients: Coefficients  #: psi
    terms: tuple[Any, ...]  #: l_q (n,) or Q_q (n, n)

    @property
    def quadratic(self) -> bool:
        """True if the terms are matrices."""
        return self.terms[0].ndim == 2

    def __call__(self, mus: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Values (M,) for full-order vectors u (M, n)."""
        shape = (len(mus), self.terms[0].shape[0])
        if np.shape(u) != shape:
            raise ModelError(
                f"an output needs full-order vectors of shape {shape}, one row a parameter point, got {np.shape(u)}"
            )
        psi = self.coefficients(mus)
        if not self.quadratic:
            return np.sum((psi @ np.stack(self.terms)) * u, axis=1)
        return sum(psi[:, q] * np.sum(u.conj() * (m @ u.T).T, axis=1).real for q, m in enumerate(self.terms))


def read_outputs(outputs: Any, parameters: ParameterSpace, n: int) -> dict[str, Output]:
    """The outputs of a model as the user gives them: {name: array} or {name: [(coefficient, array), ...]}."""
    if outputs is not None and not isinstance(outputs, Mapping):
        raise ModelError(f"outputs must be a dictionary {{name: vector}}, got {type(outputs).__name__}")
    known = {}
    for name, given in (outputs or {}).items():
        if name in parameters.names:
            raise ModelError(f"output {name!r} has the name of a parameter; give it another one")
        pairs = given if isinstance(given, list) and given and isinstance(given[0], tuple) else [(1.0, given)]
        arrays = [_term(f"output {name!r}", a, n) for _, a in pairs]
        if len({a.ndim for a in arrays}) > 1:
            raise ModelError(f"output {name!r} mixes vectors (linear) and matrices (quadratic); make two outputs of it")
        known[name] = Output(Coefficients([c for c, _ in pairs], parameters), tuple(arrays))
    return known


def _term(name: str, given: Any, n: int) -> Any:
    """A vector (n,), or a Hermitian matrix (n, n)."""
    if not (getattr(given, "ndim", 1) == 2 and 1 not in given.shape):
        return vector_term(name, given, n)
    matrix = operator_term(name, matrix_entries(name, given), n)
    if abs(matrix - matrix.conj().T).max() > 1e-12 * abs(matrix).max():
        raise ModelError(f"{name} has a matrix that is not Hermitian; a quadratic output is u^H Q u with Q = Q^H")
    return matrix


@dataclass(frozen=True)
class ReducedLinear:
    """s(mu) = sum_q psi_q(mu) l_q^T Z gamma, |s(mu) - s_N(mu)| <= ||l(mu)||_{P'} bound(mu).

    Held and summed in double precision, also for a model in single precision: it is one product with (Ql, N) numbers.
    """

    kind: ClassVar[str] = "linear"

    coefficients: Coefficients  #: psi
    vectors: np.ndarray  #: l_q^T Z (Ql, N)
    dual: np.ndarray  #: (Ql, Ql) with ||l(mu)||_{P'} = norm(dual @ psi)

    def value(self, mus: Any, gamma: Any) -> Any:
        """(M,)."""
        if self._constant is not None:
            return widened(gamma) @ beside(self._constant[0], gamma)
        vectors = self.coefficients(mus) @ beside(self.vectors, gamma)
        return namespace(gamma).sum(vectors * widened(gamma), axis=1)

    @cached_property
    def _constant(self) -> tuple[np.ndarray, np.ndarray, float] | None:
        """l^T Z (N,), the terms of its rounding (N,) and ||l||_{P'}, if they are the same at every point."""
        psi = self.coefficients.constant
        if psi is None:
            return None
        return psi @ self.vectors, np.abs(psi) @ np.abs(self.vectors), float(np.linalg.norm(self.dual @ psi))

    def simple(self) -> tuple[np.ndarray, np.ndarray, float] | None:
        """For the compiled kernels (:class:`rbm.online.forms.Finish`), if psi is constant: functional (N,), magnitudes (N,), norm."""
        if self._constant is None:
            return None
        functional, sizes, norm = self._constant
        constant = 2 * (len(functional) + len(self.vectors) + 2) * float(np.finfo(float).eps) / 2
        return functional, constant * sizes, (1 + 1e-12) * norm

    def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
        """(M,) from the error bound (M,) of the solution; the rounding of the output sum itself is included."""
        xp, u = namespace(gamma), float(np.finfo(float).eps) / 2
        constant = 2 * (gamma.shape[1] + len(self.vectors) + 2) * u
        if self._constant is not None:
            _, sizes, norm = self._constant
            return ((1 + 1e-12) * norm) * error + widened(xp.abs(gamma)) @ beside(constant * sizes, gamma)
        psi = self.coefficients(mus)
        sizes = xp.abs(psi) @ beside(np.abs(self.vectors), gamma)
        size = xp.sum(sizes * widened(xp.abs(gamma)), axis=1)
        norm = xp.linalg.vector_norm(psi @ beside(self.dual.T, gamma), axis=1)
        return (1 + 1e-12) * norm * error + constant * size

    def truncate(self, size: int) -> ReducedLinear:
        """For the first `size` basis vectors."""
        return replace(self, vectors=self.vectors[:, :size])


@dataclass(frozen=True)
class ReducedQuadratic:
    """s(mu) = sum_q psi_q(mu) z^H Q_q z with z = Z gamma, P-orthonormal Z.

    With e = u - z: u^H Q u - z^H Q z = 2 Re e^H Q z + e^H Q e, hence the bound sum_q |psi_q| ||Q_q|| (2 ||z||_P + bound) bound,
    ||Q||: the norm from P to P'. Held and summed in double precision, also for a model in single precision.
    """

    kind: ClassVar[str] = "quadratic"

    coefficients: Coefficients  #: psi
    matrices: np.ndarray  #: Z^H Q_q Z (Ql, N, N)
    norms: np.ndarray  #: ||Q_q|| (Ql,)

    def value(self, mus: Any, gamma: Any) -> Any:
        """(M,), real if psi is."""
        xp, gamma = namespace(gamma), widened(gamma)
        conjugate = xp.conj(gamma)
        forms = [real_part(xp.sum(conjugate * (gamma @ beside(q.T, gamma)), axis=1)) for q in self.matrices]
        return xp.sum(self.coefficients(mus) * xp.stack(forms, axis=1), axis=1)

    def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
        """(M,) from the error bound (M,) of the solution; the rounding of the output sum itself is included."""
        xp = namespace(gamma)
        # Z is P-orthonormal to 1e-10
        size = xp.linalg.vector_norm(widened(gamma), axis=1) * (1 + 1e-10 * (gamma.shape[1] + 1))
        weight = xp.abs(self.coefficients(mus)) @ beside(self.norms, gamma)
        u = float(np.finfo(float).eps) / 2
        n = gamma.shape[1]
        return weight * ((2 * size + error) * error * (1 + 1e-9) + 16 * (n + 2) ** 1.5 * u * size**2)

    def truncate(self, size: int) -> ReducedQuadratic:
        """For the first `size` basis vectors."""
        return replace(self, matrices=self.matrices[:, :size, :size])


ReducedOutput = ReducedLinear | ReducedQuadratic


def reduce_output(product: InnerProduct, basis: np.ndarray, output: Output) -> ReducedOutput:
    """The output on the span of a P-orthonormal basis Z (n, N)."""
    if output.quadratic:
        matrices = np.stack([_form(q, basis) for q in output.terms])
        return ReducedQuadratic(output.coefficients, matrices, np.array([_form_norm(q, product) for q in output.terms]))
    vectors = np.stack(output.terms, axis=1)
    # |l^T v| = |(conj l)^H v| <= ||conj l||_{P^-1} ||v||_P: the functional v -> l^T v has the representer P^{-1} conj(l)
    functionals = vectors.conj()
    gram = functionals.conj().T @ product.riesz(functionals)
    # ||conj l(mu)||^2 = psi^T G conj(psi). Terms may nearly cancel; G, scaled to a unit diagonal, is right to some u, and that is added
    # to its eigenvalues, so that the norm is never too small (and at most 1e-7 of the terms too large)
    scale = np.sqrt(np.diag(gram).real)
    unit = gram / np.outer(np.where(scale > 0, scale, 1), np.where(scale > 0, scale, 1))
    values, modes = scipy.linalg.eigh((unit + unit.conj().T) / 2)
    slack = 32 * np.finfo(float).eps * len(values)
    dual = np.sqrt(np.where(values > 0, values, 0.0) + slack)[:, None] * (modes.T * scale)
    hi, lo = extended.product(vectors.T, basis)
    return ReducedLinear(output.coefficients, hi + lo, dual)


def _form(form: Any, basis: np.ndarray) -> np.ndarray:
    """Z^H Q Z, formed in extended precision: the sums over n leave no rounding beyond the last bit."""
    hi, lo = extended.product(basis.conj().T, extended.product(form, basis))
    return hi + lo


def _form_norm(form: Any, product: InnerProduct) -> float:
    """An upper bound t of max |lambda|, Q x = lambda P x: factorisations show t P - Q and t P + Q to be positive definite."""
    p: Any = product.matrix
    n = form.shape[0]
    if abs(form).max() == 0:
        return 0.0
    if n <= DENSE_LIMIT:
        a, b = (np.asarray(x.toarray() if sp.issparse(x) else x) for x in (form, p))
        estimate = float(np.abs(scipy.linalg.eigh(a, b, eigvals_only=True)).max())
    else:
        solve = product.factorized()
        inverse = spla.LinearOperator((n, n), matvec=lambda x: solve(x.reshape(n, 1)).ravel(), dtype=form.dtype)
        start = np.random.default_rng(0).standard_normal(n).astype(form.dtype)
        values = spla.eigsh(form, k=1, M=p, Minv=inverse, which="LM", v0=start, tol=1e-4, return_eigenvectors=False)
        estimate = float(abs(values[0]))
    for margin in 10.0 ** np.arange(-9, 1):
        t = estimate * (1 + margin)
        if all(factorize_positive_definite(t * p + sign * form) is not None for sign in (1, -1)):
            return t
    raise ModelError("the norm of a quadratic output could not be bounded: is the product positive definite?")
