"""The min-theta stability bound: coercive models with positive coefficients and semi-definite terms."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from lowrank.arrays import all_true, beside, is_complex, namespace, real_part, to_numpy
from rbm.affine.inner_product import InnerProduct
from rbm.affine.system import AffineSystem
from rbm.affine.units import Units
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError, refused
from rbm.parameters.space import ParameterSpace
from rbm.solvers import definite
from rbm.stability.alternatives import for_any_model
from rbm.stability.cost import announce
from rbm.stability.options import check_options
from rbm.stability.positive import positive
from rbm.stability.stored_space import stored_space
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored, checked_arrays

__all__ = ["BoundMinTheta", "MinTheta"]

#: Up to this dimension the constant comes from a dense eigenvalue problem.
DENSE_LIMIT = 1000
#: A term is skew-Hermitian if its Hermitian part is at most this share of it, in balanced units; that part is charged.
SKEW = 1e-12
#: The constant is taken from || H - P || where that costs no more than this.
CLOSE = 1e-3


@dataclass(frozen=True)
class MinTheta:
    """The min-theta bound for a coercive model with positive coefficients and semi-definite terms.

    With the Hermitian parts H_q = (A_q + A_q^H) / 2: if theta_q(mu) > 0 and H_q is positive semi-definite for all q but
    those with H_q = 0 (skew-Hermitian terms, such as convection), whose theta_q may be any real number, then

        beta(mu) = c min_q theta_q(mu) / theta_q(mu_ref),
        c <= inf_v (H(mu_ref) v, v) / ||v||_P^2,  H = sum_q theta_q H_q.

    The minimum and H leave the skew terms out. So the bound serves models that are coercive without being symmetric.

    Parameters
    ----------
    reference : mu_ref (p,), best in the middle of the range
    constant : c; computed if not given. It is 1 if P = H(mu_ref), which makes the bound sharpest near mu_ref.

    What rounding hides is charged: a term is proved to be semi-definite only up to H_q >= -slack_q P
    (:func:`rbm.solvers.definite.semidefinite_slack`, 1e-16 to 1e-13 of its size over the smallest eigenvalue of P, in
    the units of :mod:`rbm.affine.units`), and sum_q |theta_q(mu)| slack_q is subtracted from beta(mu). A computed c is
    proved, too: it is lowered by the rounding of the factorisation that certifies it, and of the sum H(mu_ref). A c
    that is given is taken as it is.

    Binding it to a model checks the conditions and refuses (StabilityError) a term that is not semi-definite, and
    coefficients that are not positive there; online, a coefficient that is not positive, or a bound that is not, is an
    error that names the parameter. Cost offline: a factorisation for each term, for P and for the constant.
    Source: Patera and Rozza, Reduced Basis Approximation and A Posteriori Error Estimation, 2007.
    """

    reference: Sequence[float]
    constant: float | None = None

    def bind(self, system: AffineSystem) -> BoundMinTheta:
        """Check the conditions on the model's terms and compute what is needed online."""
        check_options(self)
        inner = system.inner_product
        terms = [_Term.of(q, term, inner) for q, term in enumerate(system.operator_terms)]
        skew = np.array([t.skew for t in terms])
        reference = self._reference(system.parameters)
        theta = system.operator_coefficients(reference)
        rounded = 1 + (len(terms) + 16) * ROUND_OFF  # of the sum that is subtracted online
        began = time.perf_counter()
        smallest = inner.units.smallest  # a factorisation and some solves, as a term costs
        announce(
            f"min-theta: the proofs of {len(terms)} operator terms",
            (time.perf_counter() - began) * (len(terms) + 2),
            "a bound that is given as a number or an expression takes none",
        )
        with np.errstate(over="ignore"):
            slack = np.array([np.ldexp(rounded * t.slack(q) / smallest, t.exponent) for q, t in enumerate(terms)])
        if not np.all(np.isfinite(slack)):
            q = int(np.argmin(np.isfinite(slack)))
            raise StabilityError(
                f"min-theta does not apply: operator term {q} is about 2^{terms[q].exponent} times the product, beyond "
                "the range of double precision; choose other units for it, or for the product"
            )
        if np.all(skew):
            raise StabilityError("min-theta needs a coercive model, but all operator terms are skew-Hermitian")
        given = np.where(skew, np.inf, 1.0)
        BoundMinTheta(given, 1.0, system.parameters)(reference, theta)  # positive and real at the reference
        scale = np.where(skew, np.inf, theta[0].real)
        constant = self.constant
        if constant is None:
            used = [(t, term) for t, term in zip(theta[0].real, terms, strict=True) if not term.skew]
            constant = _coercivity(used, inner.units)
        if not (isinstance(constant, Real) and np.isfinite(constant) and constant > 0):
            raise StabilityError(
                f"min-theta needs a coercive model, but its constant at the reference parameter is {constant}"
            )
        return BoundMinTheta(scale, float(constant), system.parameters, slack)

    def _reference(self, parameters: ParameterSpace) -> np.ndarray:
        """Return mu_ref (1, p), checked; it may lie outside the ranges, where the bound is true all the same."""
        given = self.reference
        if np.ma.is_masked(given):
            raise StabilityError(f"the reference of min-theta has masked entries: {given!r}")
        try:
            point = given if isinstance(given, Mapping) else np.atleast_1d(np.asarray(given, dtype=float))
        except (TypeError, ValueError):
            wanted = f"numbers, one for each of {', '.join(parameters.names)}"
            raise StabilityError(f"the reference of min-theta must be {wanted}, got {given!r}") from None
        reference = parameters.validate(point, extrapolate=True)
        if len(reference) != 1:
            raise StabilityError(f"the reference of min-theta must be one parameter point, got {len(reference)}")
        return reference


#: What a file holds of a bound.
STORED = {
    "reference": Stored("q", positive=True, finite=False),
    "constant": Stored("", positive=True),
    "slack": Stored("q", least=0, optional=True),
}


@register("stability bound")
@dataclass(frozen=True)
class BoundMinTheta:
    """:class:`MinTheta` bound to a model: c min_q theta_q(mu) / reference_q - sum_q slack_q |theta_q(mu)|."""

    kind: ClassVar[str] = "min-theta"
    checked: ClassVar[bool] = True

    reference: np.ndarray  #: theta(mu_ref) (Qa,), infinite for skew-Hermitian terms, which the minimum leaves out
    constant: float  #: c
    parameters: ParameterSpace
    slack: np.ndarray | None = None  #: (Qa,) H_q >= -slack_q P; None for zeros (files older than this)

    def arrays(self) -> dict[str, Any]:
        """Return the state by name, for a file."""
        made = {"reference": self.reference, "constant": self.constant, "parameters": self.parameters}
        return made if self.slack is None else {**made, "slack": self.slack}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> BoundMinTheta:
        """Make the bound from what :meth:`arrays` returned. Raises ValueError for arrays that do not fit."""
        known = checked_arrays("min-theta bound", arrays, STORED)
        space = stored_space("min-theta bound", arrays)
        if not np.any(np.isfinite(known["reference"])):
            raise ValueError("the arrays of its min-theta bound do not fit each other: 'reference' is infinite")
        return cls(known["reference"], known["constant"], space, known.get("slack"))

    @property
    def term_count(self) -> int:
        """The number of operator terms that it is for, Qa."""
        return len(self.reference)

    def simple(self) -> np.ndarray:
        """Return the numbers (1 + 2 Qa,) that compiled kernels need (:class:`rbm.online.forms.Finish`).

        They are empty if there are skew-Hermitian terms.
        """
        if np.any(np.isinf(self.reference)):
            return np.zeros(0)
        return np.concatenate([[self._lowered], 1 / self.reference, self._slack])

    @property
    def _lowered(self) -> float:
        """The constant c, lowered by the rounding of the formula."""
        return self.constant * (1 - 8 * ROUND_OFF)

    @property
    def _slack(self) -> np.ndarray:
        return np.zeros(len(self.reference)) if self.slack is None else self.slack

    def __call__(self, mus: Any, theta: Any) -> Any:
        """Return beta (M,) at the points."""
        if isinstance(theta, np.ndarray) and theta.dtype.kind == "f" and np.all(np.isfinite(self.reference)):
            with np.errstate(over="ignore", invalid="ignore"):
                beta = self._lowered * np.minimum.reduce(theta / self.reference, axis=1) - np.abs(theta) @ self._slack
            if np.count_nonzero((beta > 0) & (beta < np.inf)) == len(beta):
                return beta
        xp, skew = namespace(theta), np.isinf(self.reference)
        real, good = _positive(theta, beside(skew, theta))
        if not all_true(good):
            mus, theta, good = to_numpy(mus), to_numpy(theta), to_numpy(good)

            def message(i: int, where: str) -> str:
                q = int(np.argmin(good[i]))
                needs = "real coefficients" if skew[q] else "positive coefficients"
                return (
                    f"min-theta needs {needs}, but theta_{q} = {theta[i, q]} at {self.parameters.describe(mus[i])} "
                    f"({where}); give another stability bound or restrict the parameters"
                )

            raise refused(StabilityError, ~good.all(axis=1), message)
        with np.errstate(over="ignore", invalid="ignore"):
            ratios = xp.where(beside(skew, real), xp.inf, real / beside(self.reference, real))
            beta = float(self._lowered) * xp.min(ratios, axis=1) - xp.abs(real) @ beside(self._slack, real)
        return positive(
            beta,
            lambda i, value, where: (
                f"the min-theta bound is {value:.3g} at {self.parameters.describe(to_numpy(mus)[i])} ({where}): the "
                "terms are known to be semi-definite up to rounding only, which costs "
                f"{np.abs(to_numpy(real)[i]) @ self._slack:.3g} for coefficients this large; restrict the parameters, "
                "choose an inner product that is better conditioned, or other units"
            ),
        )


def _positive(values: Any, skew: Any) -> tuple[Any, Any]:
    """Return real parts, and which of the values are positive real numbers, or real ones where `skew`; NaN is not."""
    real = real_part(values)
    good = (real > 0) | (skew & (real == real))
    return real, good & (namespace(values).imag(values) == 0) if is_complex(values) else good


@dataclass(frozen=True)
class _Term:
    """The Hermitian part H of an operator term, scaled to unit size, as it is and in the units of the product."""

    original: Any  #: H
    part: Any  #: 2^-exponent T^H H T
    error: float  #: a bound of the norm of what `part` is off by: H was rounded, and perhaps transformed
    exponent: int
    skew: bool  #: H is nothing but rounding
    balance: np.ndarray | None  #: of the product; None in whitened units

    @classmethod
    def of(cls, q: int, term: Any, inner: InnerProduct) -> _Term:
        """Make it from a term as the user gave it. Raises StabilityError if the term shows no entries."""
        if not (sp.issparse(term) or isinstance(term, np.ndarray)):
            raise StabilityError(
                f"min-theta needs the entries of operator term {q}, which is a {type(term).__name__}; "
                "give the bound as a number or an expression instead"
            )
        units = inner.units
        whole, exponent = inner.in_units_scaled(term)
        scaled_part = definite.hermitian_part(whole)
        part, error = units.take(scaled_part)
        if abs(scaled_part - whole).max() > 0:
            error += 2 * ROUND_OFF * definite.norm_bound(units.size(scaled_part))
        skew = definite.norm_bound(scaled_part) <= SKEW * definite.norm_bound(whole)
        balance = None if units.transform is not None else inner.balance
        return cls(definite.hermitian_part(term), part, error, exponent, skew, balance)

    def slack(self, q: int) -> float:
        """Return a proved s >= 0 with 2^-exponent H >= -s I in these units.

        Raises StabilityError if rounding is no excuse for it.
        """
        size = definite.norm_bound(self.part)
        if self.skew:
            return size + self.error
        slack = definite.semidefinite_slack(self.part)
        if slack is not None and slack > 0 and self.balance is not None:
            # row sums may be small in the units in which the term was assembled
            dominance = float(np.ldexp(definite.dominance_slack(self.original, self.balance), -self.exponent))
            slack = dominance if dominance < slack else slack
        if slack is None:
            negative = definite.semidefinite_slack(-self.part) is not None
            remedy = "move its sign into the coefficient" if negative else "take it apart into semi-definite terms"
            raise StabilityError(
                f"min-theta does not apply: the Hermitian part of operator term {q} is not positive semi-definite; "
                f"{remedy}, or give another lower bound: {for_any_model(self.original)}, or a number or expression "
                "that is known"
            )
        return slack + self.error


def _coercivity(weighted: list[tuple[float, _Term]], units: Units) -> float:
    """Return a proved lower bound c of the smallest lambda in H x = lambda P x, H = sum_q weight_q H_q.

    H >= t P - ||H - t P|| if H is close to a multiple of P; else an eigenvalue estimate, which may be too large, is
    lowered until an elimination shows H - c P to be positive definite. Both are lowered by what rounding may hide, over
    the smallest eigenvalue of P.
    """
    total, size, error = 0.0 * weighted[0][1].part, 0.0 * abs(weighted[0][1].part), 0.0
    for given, term in weighted:
        weight = float(np.ldexp(given, term.exponent))
        total, size = total + weight * term.part, size + abs(weight) * abs(term.part)
        error += abs(weight) * term.error
    if not np.isfinite(definite.norm_bound(size)):
        raise StabilityError(
            "min-theta: A(mu_ref) is beyond the range of double precision in units of the product; choose other units"
        )
    # of this sum, and of H - c P below
    rounding = error + (2 * len(weighted) + 8) * ROUND_OFF * definite.norm_bound(size)
    of_product = units.product_error + 4 * ROUND_OFF * units.largest
    multiple = float(total.diagonal().real.sum() / units.product.diagonal().real.sum())
    away = definite.norm_bound(total - multiple * units.product) + rounding + multiple * of_product
    close = multiple - away / units.smallest
    if close >= (1 - CLOSE) * multiple > 0:
        return close * (1 - 8 * ROUND_OFF)
    estimate, margin = _estimate(total, units.product)
    while margin < 1:
        constant = estimate * (1 - margin)
        left = definite.definiteness_error(total - constant * units.product) if constant > 0 else None
        if left is not None:
            proved = constant - (left + rounding + constant * of_product) / units.smallest
            if proved > 0:
                return proved * (1 - 8 * ROUND_OFF)
        margin *= 10
    raise StabilityError(
        "min-theta needs a coercive model, but the smallest eigenvalue of the Hermitian part of A(mu_ref) against the "
        f"product is about {estimate:.3g}, and cannot be proved to be positive in double precision"
    )


def _estimate(matrix: Any, product: Any) -> tuple[float, float]:
    """Return the smallest eigenvalue, and the relative margin to start with."""
    if matrix.shape[0] <= DENSE_LIMIT:
        a, p = definite.dense(matrix), definite.dense(product)
        try:
            return float(scipy.linalg.eigh(a, p, eigvals_only=True, subset_by_index=[0, 0])[0]), 1e-9
        except np.linalg.LinAlgError as error:
            raise StabilityError(f"min-theta could not compute its constant: {error}; give it as constant=") from error
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    options = {"sigma": 0, "which": "LM", "v0": start, "return_eigenvectors": False, "tol": 1e-3}
    try:
        values = spla.eigsh(sp.csc_array(matrix), k=1, M=sp.csc_array(product), **options)
    except (spla.ArpackError, RuntimeError) as error:
        raise StabilityError(f"min-theta could not compute its constant: {error}; give it as constant=") from error
    return float(values[0]), 1e-3
