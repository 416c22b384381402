"""Stability bounds that need entries, for few unknowns: low-rank terms are made dense, and the rounding charged.

The bound is one of the matrices A~_q = fl(U diag(s) V^H), formed in extended precision and rounded once. With
|A_q - A~_q| <= E_q, entry by entry, and S = diag(balance) of the product,

    beta(mu) >= beta~(mu) - sum_q |theta_q(mu)| l_q,    l_q = ||S E_q S||_2 / lambda_min(S P S),

for inf-sup and coercivity constants alike: ||A_q - A~_q|| <= l_q from P to P'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lowrank.arrays import beside, namespace, to_numpy
from rbm.affine.low_rank_terms import shows_no_entries
from rbm.affine.system import AffineSystem
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError
from rbm.parameters.space import ParameterSpace
from rbm.solvers.definite import dense, norm_bound
from rbm.stability.positive import positive
from rbm.stability.stored_space import stored_space
from rbm.storage.registry import find, register
from rbm.storage.stored_arrays import Stored, checked_arrays

__all__ = ["DENSE_LIMIT", "BoundRoundedFactors", "bound_of_entries"]

#: Up to this number of unknowns factors are made dense.
DENSE_LIMIT = 1000
NESTED = "bound/"


def bound_of_entries(stability: Any, system: AffineSystem) -> BoundRoundedFactors:
    """Return a bound that needs entries, of a system some of whose terms are low-rank factors.

    Raises StabilityError for more than 1000 unknowns, and what the bound raises. Cost: n^2 r flops for each such term,
    and what the bound costs for dense matrices.
    """
    name, n, q = type(stability).__name__, system.dimension, system.low_rank_terms[0]
    if n > DENSE_LIMIT:
        raise StabilityError(
            f"{name} needs the entries of operator term {q}, a low-rank matrix held as factors, which is made dense "
            f"for at most {DENSE_LIMIT} unknowns; this model has {n}: rbm.stability.MinTheta(reference=[...]) takes "
            "factors, for semi-definite terms with positive coefficients, and so does a number or an expression that "
            "is known"
        )
    if (hidden := next((i for i, a in enumerate(system.operator_terms) if shows_no_entries(a)), None)) is not None:
        raise StabilityError(
            f"{name} needs the entries of operator term {hidden}, which is a "
            f"{type(system.operator_terms[hidden]).__name__}; give the bound as a number or an expression instead"
        )
    inner, losses = system.inner_product, np.zeros(len(system.operator_terms))
    terms = []
    for i, term in enumerate(system.operator_terms):
        if i not in system.low_rank_terms:
            terms.append(dense(term))
            continue
        split = system.split_terms[i]
        hi, lo = extended.product(split, np.eye(n))
        made = hi + lo
        off = extended.rounding(split, np.eye(n)) + 2 * ROUND_OFF * np.abs(made)
        losses[i] = norm_bound(inner.in_units(off)) / inner.smallest_eigenvalue * (1 + 16 * ROUND_OFF)
        terms.append(made)
    view: AffineSystem = object.__new__(AffineSystem)
    vars(view).update(vars(system))
    view.set_operators(tuple(terms))
    return BoundRoundedFactors(stability.bind(view), losses, system.parameters)


@register("stability bound")
@dataclass(frozen=True)
class BoundRoundedFactors:
    """A bound of rounded entries, less what the rounding may take: bound(mu, theta) - sum_q losses_q |theta_q|."""

    kind: ClassVar[str] = "rounded factors"
    checked: ClassVar[bool] = True

    bound: Any  #: of the rounded matrices
    losses: np.ndarray  #: (Qa,)
    parameters: ParameterSpace

    def arrays(self) -> dict[str, Any]:
        """Return the state by name, for a file; that of the inner bound under "bound/"."""
        inner = {NESTED + name: value for name, value in self.bound.arrays().items()}
        return {"losses": self.losses, "of": (self.bound.kind,), "parameters": self.parameters, **inner}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make the bound from what :meth:`arrays` returned. Raises ValueError for arrays that do not fit."""
        known = checked_arrays("bound of rounded factors", arrays, {"losses": Stored("q", least=0, filled=True)})
        inner = {n.removeprefix(NESTED): a for n, a in arrays.items() if n.startswith(NESTED)}
        of = arrays.get("of")
        if not (isinstance(of, tuple | list) and len(of) == 1 and of[0] != cls.kind):
            raise ValueError(f"the arrays of its bound of rounded factors do not fit each other: 'of' is {of!r:.60}")
        bound = find("stability bound", str(of[0])).from_arrays(inner)
        made = cls(bound, known["losses"], stored_space("bound of rounded factors", arrays))
        if getattr(bound, "term_count", made.term_count) != made.term_count:
            raise ValueError("the arrays of its bound of rounded factors do not fit each other: other numbers of terms")
        return made

    @property
    def term_count(self) -> int:
        """The number of operator terms that it is for, Qa."""
        return len(self.losses)

    def __call__(self, mus: Any, theta: Any) -> Any:
        """Return beta (M,) at the points; raise StabilityError where it is not positive."""
        size = namespace(theta).abs(theta) @ beside(self.losses, theta)
        beta = self.bound(mus, theta) - size * (1 + (len(self.losses) + 4) * ROUND_OFF)
        return positive(
            beta * (1 - 2 * ROUND_OFF),
            lambda i, value, where: (
                f"the stability bound is {value:.3g} at {self.parameters.describe(to_numpy(mus)[i])} ({where}): the "
                f"rounding of low-rank terms takes {float(to_numpy(size)[i]):.3g}; restrict the parameters, or choose "
                "a product that is better conditioned"
            ),
        )
