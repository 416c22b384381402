"""The min-theta stability bound: coercive models with positive coefficients and semi-definite terms."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from lowrank import LowRankMatrix
from lowrank.arrays import all_true, beside, is_complex, namespace, real_part, to_numpy
from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError, refused
from rbm.parameters.space import ParameterSpace
from rbm.stability.coercive_terms import SKEW, TermPart, coercivity
from rbm.stability.cost import announce
from rbm.stability.executors import Employer
from rbm.stability.low_rank_parts import LowRankPart
from rbm.stability.options import check_options
from rbm.stability.positive import positive
from rbm.stability.stored_space import stored_space
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored, checked_arrays
from rbm.workers.crew import Crew

__all__ = ["BoundMinTheta", "MinTheta"]


@dataclass(frozen=True)
class MinTheta(Employer):
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
    executor : its workers prove a term each (docs/scale.md), while the model is made; the bound is the same

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
    executor: Executor | None = field(default=None, compare=False, repr=False)

    def bind(self, system: AffineSystem) -> BoundMinTheta:
        """Check the conditions on the model's terms and compute what is needed online.

        Raises StabilityError where they do not hold, with the term and the reason.
        """
        check_options(self)
        inner = system.inner_product
        terms = [
            LowRankPart.of(a, inner, SKEW) if isinstance(a, LowRankMatrix) else TermPart.of(q, a, inner)
            for q, a in enumerate(system.operator_terms)
        ]
        skew = np.array([t.skew for t in terms])
        reference = self._reference(system.parameters)
        theta = system.operator_coefficients(reference)
        rounded = 1 + (len(terms) + 16) * ROUND_OFF  # of the sum that is subtracted online
        began = time.perf_counter()
        smallest = inner.units.smallest  # a factorisation and some solves, as a term costs
        with Crew(self.executor, terms) as crew:
            announce(
                f"min-theta: the proofs of {len(terms)} operator terms",
                (time.perf_counter() - began) * (-(-len(terms) // crew.count) + 2),
                "a bound that is given as a number or an expression takes none",
            )
            proved = list(crew.run(_slack, ((q,) for q in range(len(terms)))))
        with np.errstate(over="ignore"):
            each = zip(proved, terms, strict=True)
            slack = np.array([np.ldexp(rounded * s / smallest, t.exponent) for s, t in each])
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
            of_factors = np.array([isinstance(t, LowRankPart) and not t.skew for t in terms])
            lost = float(np.sum(theta[0].real[of_factors] * slack[of_factors]))
            constant = coercivity(used, inner) - lost * (1 + 8 * ROUND_OFF)
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


def _slack(terms: list[TermPart | LowRankPart], q: int) -> float:
    """Return how much term q may lack of being semi-definite: a task of a worker."""
    return terms[q].slack(q)


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
        """Return the numbers (1 + 3 Qa,) that compiled kernels need (:class:`rbm.online.forms.Finish`)."""
        left_out = np.where(np.isinf(self.reference), np.inf, 0.0)  # of the minimum: skew-Hermitian terms
        return np.concatenate([[self._lowered], 1 / self.reference, self._slack, left_out])

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
