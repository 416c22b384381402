"""Lower bounds beta(mu) > 0 of the coercivity or inf-sup constant with respect to the inner product P."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from lowrank.arrays import all_true, beside, is_complex, namespace, real_part, to_numpy
from rbm.anchored import Anchored, BoundAnchored, inf_sup
from rbm.coefficients import Coefficient, Coefficients
from rbm.errors import StabilityError, refused
from rbm.parameters import ParameterSpace
from rbm.riesz import factorize_positive_definite, is_positive_semidefinite

if TYPE_CHECKING:
    from rbm.full_order import FullOrderModel

__all__ = ["Anchored", "MinTheta", "StabilityBound", "Unbound", "bind", "inf_sup"]


class StabilityBound(Protocol):
    """beta(mu), evaluated online for a batch at a cost independent of the dimension of the full model."""

    def __call__(self, mus: Any, theta: Any) -> Any:
        """beta (M,) from the parameter points (M, p) and the operator coefficients theta (M, Qa), where these live."""


class Unbound(Protocol):
    """What a user gives to a model: :class:`MinTheta`, :class:`Anchored`; made a :class:`StabilityBound` by the model."""

    def bind(self, model: FullOrderModel) -> StabilityBound:
        """Check the conditions on the model's terms and compute what is needed online."""


@dataclass(frozen=True)
class MinTheta:
    """The min-theta bound for a coercive model with positive coefficients and semi-definite terms.

    If all theta_q(mu) > 0 and all A_q are Hermitian positive semi-definite then

        beta(mu) = c min_q theta_q(mu) / theta_q(mu_ref),   c <= inf_v (A(mu_ref) v, v) / ||v||_P^2.

    Parameters
    ----------
    reference : mu_ref (p,), best in the middle of the range
    constant : c; computed if not given. It is 1 if P = A(mu_ref), which makes the bound sharpest near mu_ref.

    Binding it to a model checks the conditions and refuses (StabilityError) a term that is not Hermitian or not
    semi-definite, and coefficients that are not positive there; online, a coefficient that is not positive is an error
    that names the parameter. Source: Patera and Rozza, Reduced Basis Approximation and A Posteriori Error Estimation, 2007.
    """

    reference: Sequence[float]
    constant: float | None = None

    def bind(self, model: FullOrderModel) -> BoundMinTheta:
        """Check the conditions on the model's terms and compute what is needed online."""
        for q, term in enumerate(model.operator_terms):
            if not (sp.issparse(term) or isinstance(term, np.ndarray)):
                raise StabilityError(
                    f"min-theta needs the entries of operator term {q}, which is a {type(term).__name__}; "
                    "give the bound as a number or an expression instead"
                )
            size = abs(term).max()
            if abs(term - term.conj().T).max() > 1e-12 * size:
                raise StabilityError(f"min-theta does not apply: operator term {q} is not Hermitian")
            if not is_positive_semidefinite(term):
                raise StabilityError(
                    f"min-theta does not apply: operator term {q} is not positive semi-definite; "
                    "move its sign into the coefficient or give another lower bound"
                )
        reference = model.parameters.validate(np.atleast_1d(np.asarray(self.reference, dtype=float)), extrapolate=True)
        theta = model.operator_coefficients(reference)
        bound = BoundMinTheta(np.ones(theta.shape[1]), 1.0, model.parameters)
        bound(reference, theta)  # positive and real at the reference
        constant = self.constant
        if constant is None:
            constant = _coercivity(model.assemble(theta[0].real), model.inner_product.matrix)
        if not (np.isfinite(constant) and constant > 0):
            raise StabilityError(
                f"min-theta needs a coercive model, but its constant at the reference parameter is {constant}"
            )
        return BoundMinTheta(theta[0].real.copy(), float(constant), model.parameters)


@dataclass(frozen=True)
class BoundMinTheta:
    """:class:`MinTheta` bound to a model: c min_q theta_q(mu) / reference_q."""

    reference: np.ndarray  #: theta(mu_ref) (Qa,)
    constant: float  #: c
    parameters: ParameterSpace

    def simple(self) -> np.ndarray:
        """For the compiled kernels (:class:`rbm.online.forms.Finish`)."""
        return np.concatenate([[self.constant], 1 / self.reference])

    def __call__(self, mus: Any, theta: Any) -> Any:
        """beta (M,)."""
        if isinstance(theta, np.ndarray) and theta.dtype.kind == "f":
            beta = self.constant * np.minimum.reduce(theta / self.reference, axis=1)
            if np.count_nonzero(beta > 0) == len(beta):
                return beta
        real, good = _positive(theta)
        if not all_true(good):
            mus, theta, good = to_numpy(mus), to_numpy(theta), to_numpy(good)

            def message(i: int, where: str) -> str:
                q = int(np.argmin(good[i]))
                return (
                    f"min-theta needs positive coefficients, but theta_{q} = {theta[i, q]} at {self.parameters.describe(mus[i])} "
                    f"({where}); give another stability bound or restrict the parameters"
                )

            raise refused(StabilityError, ~good.all(axis=1), message)
        return float(self.constant) * namespace(real).min(real / beside(self.reference, real), axis=1)


def _positive(values: Any) -> tuple[Any, Any]:
    """Real parts, and which of the values are positive real numbers; NaN is not."""
    real = real_part(values)
    return real, (real > 0) & (namespace(values).imag(values) == 0) if is_complex(values) else real > 0


@dataclass(frozen=True)
class CoefficientBound:
    """beta given as a number, an expression or a vectorised callable."""

    coefficient: Coefficients

    def __call__(self, mus: Any, theta: Any) -> Any:
        """beta (M,); raises StabilityError where it is not a positive real number."""
        beta = self.coefficient(mus)[:, 0]
        real, good = _positive(beta)
        if not all_true(good):
            mus, beta, bad = to_numpy(mus), to_numpy(beta), ~good
            name, describe = repr(self.coefficient.sources[0]), self.coefficient.parameters.describe
            raise refused(
                StabilityError,
                bad,
                lambda i, where: (
                    f"the stability bound {name} is {beta[i]} at {describe(mus[i])} ({where}); an error bound needs beta > 0: "
                    "give a sharper lower bound or restrict the parameters"
                ),
            )
        return real


def bind(stability: Coefficient | Unbound | StabilityBound, model: FullOrderModel) -> StabilityBound:
    """The stability argument of a full-order model as a function (mus, theta) -> beta."""
    if isinstance(stability, type):
        raise StabilityError(
            f"stability is the class {stability.__name__}; give an instance, for example MinTheta(reference=[...])"
        )
    if hasattr(stability, "bind"):
        return stability.bind(model)
    if isinstance(stability, BoundMinTheta | CoefficientBound | BoundAnchored):
        return stability
    return CoefficientBound(Coefficients([stability], model.parameters))  # type: ignore[list-item]


def _coercivity(matrix: Any, product: Any) -> float:
    """A lower bound c of the smallest lambda in A x = lambda P x, both Hermitian; exactly 1 if A and P are the same matrix.

    An eigenvalue estimate, which may be too large, is lowered until a factorisation shows A - c P to be positive definite.
    """
    if abs(matrix - product).max() == 0:
        return 1.0
    if matrix.shape[0] <= 1000:
        a, p = (x.toarray() if sp.issparse(x) else x for x in (matrix, product))
        estimate, margin = scipy.linalg.eigh(a, p, eigvals_only=True, subset_by_index=[0, 0])[0], 1e-9
    else:
        start = np.random.default_rng(0).standard_normal(matrix.shape[0])
        options = {"sigma": 0, "which": "LM", "v0": start, "return_eigenvectors": False, "tol": 1e-3}
        estimate, margin = spla.eigsh(sp.csc_array(matrix), k=1, M=sp.csc_array(product), **options)[0], 1e-3
    while margin < 1:
        constant = float(estimate) * (1 - margin)
        if constant > 0 and factorize_positive_definite(matrix - constant * product) is not None:
            return constant
        margin *= 10
    raise StabilityError(
        f"min-theta needs a coercive model, but the smallest eigenvalue of A(mu_ref) against the product is about {estimate:.3g}"
    )
