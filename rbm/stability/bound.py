"""Lower bounds beta(mu) > 0 of the coercivity or inf-sup constant with respect to the inner product P."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

from lowrank.arrays import all_true, is_complex, namespace, numpy_dtype, real_part, to_numpy
from rbm.affine.system import AffineSystem
from rbm.affine.terms import is_coefficient
from rbm.errors import PointError, StabilityError, refused
from rbm.parameters.coefficients import Coefficient, Coefficients
from rbm.parameters.space import ParameterSpace
from rbm.stability.anchored import Anchored
from rbm.stability.inf_sup_constants import inf_sup
from rbm.stability.min_theta import MinTheta
from rbm.stability.natural_norm import NaturalNorm
from rbm.stability.pencil import Pencil
from rbm.stability.rounded_factors import bound_of_entries
from rbm.stability.successive_constraints import SCM
from rbm.storage.registry import register

__all__ = ["Anchored", "MinTheta", "StabilityBound", "Unbound", "bind", "check_term_count", "evaluated", "inf_sup"]


class StabilityBound(Protocol):
    """A lower bound beta(mu), evaluated online for a batch at a cost independent of the dimension of the full model.

    A user's own is any callable with an attribute `kind`, its name in files; registered with ``@rbm.register("stability
    bound")`` and with `arrays` and `from_arrays` (:class:`rbm.storage.registry.Saved`) it is written to files and read
    from them. With an attribute `checked = True` it says that its call raises where beta is not positive; of all others
    each answer is looked at.
    """

    kind: ClassVar[str]

    def __call__(self, mus: Any, theta: Any) -> Any:
        """Return beta (M,) from parameter points (M, p) and operator coefficients theta (M, Qa), where these live."""


class Unbound(Protocol):
    """What a user gives to a model, :class:`MinTheta` or :class:`NaturalNorm` for example.

    The model makes a :class:`StabilityBound` of it.
    """

    def bind(self, system: AffineSystem) -> StabilityBound:
        """Check the conditions on the system's terms and compute what is needed online."""


@register("stability bound")
@dataclass(frozen=True)
class CoefficientBound:
    """A bound beta given as a number, an expression or a vectorised callable."""

    kind: ClassVar[str] = "coefficient"
    checked: ClassVar[bool] = True

    coefficient: Coefficients

    def arrays(self) -> dict[str, Any]:
        """Return the coefficient, for a file."""
        return {"coefficient": self.coefficient}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> CoefficientBound:
        """Make the bound from what :meth:`arrays` returned. Raises ValueError for anything but one coefficient."""
        found = arrays.get("coefficient")
        if not (isinstance(found, Coefficients) and len(found) == 1):
            raise ValueError(f"its stability bound must be one coefficient, got {found!r}")
        return cls(found)

    def __call__(self, mus: Any, theta: Any) -> Any:
        """Return beta (M,); raise StabilityError where it is not a positive real number."""
        beta = self.coefficient(mus)[:, 0]
        real = real_part(beta)
        good = (real > 0) & (namespace(beta).imag(beta) == 0) if is_complex(beta) else real > 0
        if not all_true(good):
            name, remedy = repr(self.coefficient.sources[0]), "give a sharper lower bound or restrict the parameters"
            raise _not_positive(name, mus, beta, good, self.coefficient.parameters, remedy)
        return real


#: How each is written where a user gives its class or its name.
WRITTEN: dict[type, str] = {c: f"rbm.stability.{c.__name__}()" for c in (Anchored, Pencil, SCM, NaturalNorm)}
WRITTEN[MinTheta] = "rbm.stability.MinTheta(reference=[...])"
#: Those that need the entries of all terms.
OF_ENTRIES = (Anchored, Pencil, SCM, NaturalNorm)


def evaluated(bound: StabilityBound, mus: Any, theta: Any, parameters: ParameterSpace) -> Any:
    """Return beta (M,) of a bound, checked if the bound is not one of ours, which check what they return themselves.

    Raises StabilityError for another shape or type, and, naming the parameter, where beta is not a positive number.
    """
    beta = bound(mus, theta)
    if vars(type(bound)).get("checked"):  # a subclass of a user says so for itself
        return beta
    name, count = type(bound).__name__, theta.shape[0]
    if getattr(beta, "shape", None) != (count,) or is_complex(beta) or numpy_dtype(beta).kind != "f":
        what = f"an array {tuple(beta.shape)} of {beta.dtype}" if hasattr(beta, "shape") else type(beta).__name__
        raise StabilityError(
            f"the stability bound {name} must return real numbers of shape ({count},), one per parameter point, got "
            f"{what}"
        )
    xp = namespace(beta)
    good = (beta > 0) & xp.isfinite(beta)
    if not all_true(good):
        raise _not_positive(name, mus, beta, good, parameters, "correct its formula or restrict the parameters")
    return beta


def check_term_count(bound: StabilityBound, count: int) -> None:
    """Raise StabilityError for a bound of a model with another number of operator terms, Qa.

    Known of bounds that say it, by an attribute `term_count`.
    """
    known = getattr(bound, "term_count", count)
    if known != count:
        raise StabilityError(
            f"the stability bound {type(bound).__name__} is for {known} operator terms, this model has {count}: it was "
            "made for another model; bind one to this model"
        )


def _not_positive(name: str, mus: Any, beta: Any, good: Any, parameters: ParameterSpace, remedy: str) -> PointError:
    """Return the error about the points where a bound is not `good`, with what to do about it."""
    mus, beta = to_numpy(mus), to_numpy(beta)

    def message(i: int, where: str) -> str:
        at = f"{parameters.describe(mus[i])} ({where})"
        return f"the stability bound {name} is {beta[i]} at {at}; an error bound needs beta > 0: {remedy}"

    return refused(StabilityError, ~to_numpy(good), message)


def _meant(text: str) -> str | None:
    """Return the bound whose name a text is; None for others."""
    plain = "".join(c for c in text.lower() if c.isalpha()).removeprefix("rbm").removeprefix("stability")
    return {c.__name__.lower(): written for c, written in WRITTEN.items()}.get(plain)


def bind(stability: Coefficient | Unbound | StabilityBound, system: AffineSystem) -> StabilityBound:
    """Return the stability argument of a full-order model as a function (mus, theta) -> beta (M,).

    Raises StabilityError for a class in place of an instance, a text that is no formula, a number that is not positive,
    and a bound that was made for another model.
    """
    if isinstance(stability, type):
        instance = WRITTEN.get(stability, f"{stability.__name__}(...)")
        raise StabilityError(f"stability is the class {stability.__name__}; give an instance, {instance}")
    if isinstance(stability, str) and (name := _meant(stability)):
        raise StabilityError(
            f"stability is the text {stability!r}, read as an expression in the parameter names; give {name}"
        )
    if hasattr(stability, "bind"):
        if system.low_rank_terms and isinstance(stability, OF_ENTRIES):
            return bound_of_entries(stability, system)
        return stability.bind(system)
    if callable(stability) and isinstance(getattr(type(stability), "kind", None), str):
        check_term_count(cast(StabilityBound, stability), len(system.operator_terms))
        return cast(StabilityBound, stability)  # a bound that is made already, ours or the user's own
    if not is_coefficient(stability):
        raise StabilityError(
            f"stability is a {type(stability).__name__}; give a number, an expression in the parameter names, a "
            "vectorised callable, or one of " + ", ".join(WRITTEN.values())
        )
    bound = CoefficientBound(Coefficients([cast(Coefficient, stability)], system.parameters))
    value = bound.coefficient.sources[0]
    if isinstance(value, float | complex) and not (value.imag == 0 and 0 < value.real < math.inf):
        raise StabilityError(
            f"the stability bound is {value:g}; an error bound needs a real number beta > 0, a lower bound of the "
            "coercivity or inf-sup constant with respect to the product: rbm.stability.MinTheta(reference=[...]) for "
            "positive semi-definite terms with positive coefficients, rbm.stability.SCM() for other coercive models, "
            "rbm.stability.Pencil() for a(mu) K + b(mu) M and rbm.stability.NaturalNorm() for all others compute one"
        )
    return bound
