"""Which unknowns Dirichlet conditions fix, and their values; vectors of the free unknowns are expanded to all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Number
from typing import Any

import numpy as np

from rbm.affine.entries import dense_entries
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient, Coefficients
from rbm.parameters.space import ParameterSpace

__all__ = ["Constraints", "bound_to"]


@dataclass(frozen=True, eq=False)
class Constraints:
    """Which unknowns are fixed, and their values g(mu) = sum_c c(mu) g_c; k terms, none where all are zero.

    A full-order and a reduced model, and its file, keep them, so that vectors can be shown with all unknowns.
    """

    free: np.ndarray  #: numbers of the unknowns that are solved for (m,), ascending
    fixed: np.ndarray  #: numbers of the others (d,), ascending
    sources: tuple[Coefficient, ...] = ()  #: coefficients c (k,)
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  #: g_c (k, d)
    parameters: ParameterSpace | None = None  #: of the formulas; a model puts its own here

    def __post_init__(self) -> None:
        n = len(self.free) + len(self.fixed)
        known = np.concatenate([self.free, self.fixed])
        if known.dtype.kind not in "iu" or not np.array_equal(np.sort(known), np.arange(n)):
            raise ModelError(f"free and fixed unknowns must together be the numbers 0 to {n - 1}, each once")
        if len(self.sources) and self.values.shape != (len(self.sources), len(self.fixed)):
            raise ModelError(
                f"values of fixed unknowns must have shape ({len(self.sources)}, {len(self.fixed)}), one row a term, "
                f"got {self.values.shape}"
            )

    @property
    def dimension(self) -> int:
        """The number of all unknowns n = m + d."""
        return len(self.free) + len(self.fixed)

    def fixed_values(self, mus: Any = None) -> np.ndarray:
        """Return the values g(mu) (M, d) at parameter points (M, p); (1, d) for values that are constant."""
        if not self.sources:
            return np.zeros((1, len(self.fixed)))
        if all(isinstance(s, Number) for s in self.sources):
            return np.array(self.sources)[None] @ self.values
        if self.parameters is None:
            raise ModelError(
                "values of fixed unknowns depend on the parameters: pass parameters= to rbm.constrain, or take the "
                "constraints of the model, model.constraints"
            )
        if mus is None:
            raise ModelError(
                f"values of fixed unknowns depend on the parameters: pass mus, (M, {len(self.parameters)}), as well"
            )
        return Coefficients(self.sources, self.parameters)(self.parameters.validate(mus, True)) @ self.values

    def expand(self, x: Any, mus: Any = None) -> np.ndarray:
        """Return vectors with all unknowns, (M, n) or (n,), from their free ones, x (M, m) or (m,).

        mus : the parameter points (M, p) of the vectors, where values depend on them
        """
        x = dense_entries("vectors of free unknowns", x)
        if x.ndim not in (1, 2) or x.shape[-1] != len(self.free):
            raise ModelError(f"vectors of free unknowns must have shape (M, {len(self.free)}), got {x.shape}")
        rows, g = np.atleast_2d(x), self.fixed_values(mus)
        if len(g) not in (1, len(rows)):
            raise ModelError(f"{len(rows)} vectors and {len(g)} parameter points; give one point for each vector")
        made = np.zeros((len(rows), self.dimension), dtype=np.result_type(rows, g))
        made[:, self.free], made[:, self.fixed] = rows, g
        return made[0] if x.ndim == 1 else made

    def restrict(self, x: Any) -> np.ndarray:
        """Return the free unknowns (M, m) or (m,) of vectors (M, n) or (n,)."""
        x = dense_entries("vectors", x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.dimension:
            raise ModelError(f"vectors must have shape (M, {self.dimension}), got {x.shape}")
        return x[..., self.free]


def bound_to(constraints: Any, parameters: ParameterSpace, dimension: int) -> Constraints | None:
    """Return the constraints of a model with its parameter space; None for None.

    Raises ModelError where they leave another number of unknowns than the model has.
    """
    if constraints is None:
        return None
    if not isinstance(constraints, Constraints):
        raise ModelError(
            f"constraints must be those of rbm.constrain, constrained.constraints, got a {type(constraints).__name__}"
        )
    if len(constraints.free) != dimension:
        raise ModelError(
            f"the constraints leave {len(constraints.free)} unknowns, the product has {dimension}; give the product of "
            "the same rbm.constrain"
        )
    return replace(constraints, parameters=parameters)
