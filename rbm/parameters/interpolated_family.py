"""Coefficients of an interpolated model, A(mu) ~ sum_m lambda_m(mu) A(mu_m).

The weights lambda come from the values of functions at a few points.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from lowrank.arrays import namespace
from lowrank.dense import solve_triangular
from rbm.errors import ModelError
from rbm.parameters.expressions import Expression
from rbm.storage.registry import register

__all__ = ["InterpolatedCoefficient", "InterpolatedFamily"]


@register("coefficient family")
@dataclass(frozen=True, eq=False)
class InterpolatedFamily:
    """The weights lambda(mu) = C^{-1} B^{-1} g(mu) of an interpolation, m of them.

    g are the values of a scalar family at its m interpolation points.

    functions : (m,) formulas of g_p(mu) in the parameter names, for example "exp(1j*k*0.73)"
    lower, upper : B (m, m) unit lower triangular, C (m, m) upper triangular (:class:`eim.EmpiricalInterpolation`)

    Solved with, never inverted: the weights may each be off by cond(C) u, but together they interpolate to round-off.

    Raises ModelError for matrices of another shape, entries that are not finite, and a singular C.

    Examples
    --------
    >>> family = InterpolatedFamily.polynomial("k", [1.0, 2.0, 4.0])
    >>> family.compiled(("k",))(np.array([[2.0], [3.0]]))
    array([[-0.        ,  1.        ,  0.        ],
           [-0.33333333,  1.        ,  0.33333333]])
    >>> operators = list(zip(family.terms("beta"), [np.eye(2), 2 * np.eye(2), 4 * np.eye(2)]))  # A(k, beta) = beta k I
    """

    kind: ClassVar[str] = "interpolated"

    functions: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray

    def __post_init__(self) -> None:
        m = len(self.functions)
        for name in ("lower", "upper"):
            array = np.asarray(getattr(self, name))
            if array.shape != (m, m) or not np.all(np.isfinite(array)):
                raise ModelError(
                    f"{name} must be a finite matrix of shape ({m}, {m}), one row a function, got {array.shape}"
                )
            object.__setattr__(self, name, array)
        if not (np.all(np.diag(self.upper) != 0)):
            raise ModelError("the triangular matrix C of an interpolated family is singular")

    def compiled(self, names: tuple[str, ...]) -> Callable[[Any], Any]:
        """Return the function mus (M, p) -> lambda (M, m) for parameters with these names.

        It is evaluated where `mus` lives.
        """
        expressions = [Expression(text, names) for text in self.functions]

        def evaluate(mus: Any) -> Any:
            xp = namespace(mus)
            values = xp.stack([e(mus) for e in expressions])
            finite = xp.all(xp.isfinite(values), axis=0)
            values = xp.where(finite, values, xp.zeros_like(values))
            weights = solve_triangular(self.lower, values, lower=True, unit=True)
            lambdas = solve_triangular(self.upper, weights, lower=False)
            # the caller names coefficient and parameter
            return xp.where(finite, lambdas, xp.full_like(lambdas, xp.nan)).T

        return evaluate

    def derivative(self, mus: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """Return the derivatives (M, m, p) of the weights: C^{-1} B^{-1} g'(mu), g' by the rules of formulas."""
        slopes = np.stack([Expression(text, names).derivative(mus) for text in self.functions])
        right = slopes.reshape(len(self), -1)
        finite = np.all(np.isfinite(right), axis=0)
        weights = solve_triangular(self.lower, np.where(finite, right, 0.0), lower=True, unit=True)
        made = np.where(finite, solve_triangular(self.upper, weights, lower=False), np.nan)
        return made.reshape(len(self), *mus.shape).transpose(1, 0, 2)

    def __len__(self) -> int:
        return len(self.functions)

    def arrays(self) -> dict[str, Any]:
        """Return the formulas and the two matrices by name, for a file."""
        return {"functions": self.functions, "lower": self.lower, "upper": self.upper}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> InterpolatedFamily:
        """Make the family from what :meth:`arrays` returned."""
        return cls(tuple(arrays["functions"]), arrays["lower"], arrays["upper"])

    @classmethod
    def polynomial(cls, name: str, nodes: Sequence[float]) -> InterpolatedFamily:
        """Return Lagrange polynomials in the parameter `name`, for nodes k_m (:func:`eim.lagrange`).

        They are lambda_m = prod_{l != m} (k - k_l) / (k_m - k_l).

        Raises ModelError for nodes that are equal or not finite.
        """
        values = [float(k) for k in nodes]
        if not values or len(set(values)) < len(values) or not np.all(np.isfinite(values)):
            raise ModelError(f"the nodes of an interpolation must be finite and differ from each other, got {values}")
        functions = []
        for m, at in enumerate(values):
            factors = [f"({name} - ({k!r}))/({at - k!r})" for i, k in enumerate(values) if i != m]
            functions.append("*".join(factors) or "1")
        return cls(tuple(functions), np.eye(len(values)), np.eye(len(values)))

    def terms(self, factor: float | complex | str = 1.0) -> list[InterpolatedCoefficient]:
        """Return the m coefficients lambda_m(mu) * factor."""
        return [InterpolatedCoefficient(self, k, factor) for k in range(len(self.functions))]

    def __repr__(self) -> str:
        # the digest stands for the content, also in the fingerprint of a model
        content = repr((self.functions, self.lower.tolist(), self.upper.tolist())).encode()
        return f"InterpolatedFamily({len(self.functions)} terms, {hashlib.sha256(content).hexdigest()[:16]})"


class CoefficientFamily(Protocol):
    """Coefficients that are evaluated together: :class:`InterpolatedFamily`, or a user's own class."""

    kind: ClassVar[str]

    def __len__(self) -> int:
        """Return the number m of its coefficients."""

    def compiled(self, names: tuple[str, ...]) -> Callable[[Any], Any]:
        """Return the function mus (M, p) -> lambda (M, m) for parameters with these names."""

    def arrays(self) -> dict[str, Any]:
        """Return all that it is made of, for a file."""


@dataclass(frozen=True, eq=False)
class InterpolatedCoefficient:
    """The coefficient factor(mu) * lambda_term(mu), the factor a number or a formula."""

    family: CoefficientFamily
    term: int
    factor: float | complex | str = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.term < len(self.family):
            raise ModelError(f"term {self.term} of an interpolated family of {len(self.family)} terms")

    def __repr__(self) -> str:
        return f"({self.factor}) * lambda_{self.term} of {self.family!r}"
