"""A model as a user would give it, with all that is done to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp

import rbm
from benchmarks.exact import Setting, whitened
from rbm.parameters.coefficients import Coefficients

__all__ = ["Case", "Term", "dense", "pairs", "sharp_constant"]

Term = tuple[Any, Any]


@dataclass
class Case:
    """A model as a user would give it, a basis, and what is done with them."""

    operators: list[Term]
    rhs: list[Term]
    product: Any
    ranges: dict[str, tuple[float, float]]
    basis: np.ndarray | None  #: None: the solutions at `snapshots`, or a greedy basis
    stability: Any = None  #: None: the true constant at every point, lowered by 1e-9
    outputs: dict[str, Any] = field(default_factory=dict)
    projection: str = "galerkin"
    kind: bool = False  #: a refusal counts as a failure
    interpolation_error: tuple[Any, Any] | None = None
    #: what the interpolated model leaves out: [(coefficient, matrix)], [(coefficient, vector)]
    left_out: tuple[list[Term], list[Term]] = ((), ())  # type: ignore[assignment]
    steps: tuple[str, ...] = ()  #: of "float32", "compress", "truncate"
    given: bool = False  #: bounds for coefficients gamma of any kind instead of the reduced solution
    snapshots: np.ndarray | None = None  #: (N, p)
    mus: np.ndarray | None = None  #: (k, p) points that are to be among those tried

    def points(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, p): given points, ends of the ranges, random ones, near the ends or not."""
        low, high = np.array(list(self.ranges.values())).T
        free = rng.uniform(0, 1, (count, len(low)))
        free = np.where(rng.uniform(size=free.shape) < 0.1, free**8, free)
        mus = np.clip(low + free * (high - low), low, high)
        mus[:2] = low, high
        if self.mus is not None:
            mus[2 : 2 + len(self.mus)] = self.mus
        return mus

    def space(self) -> rbm.ParameterSpace:
        """The parameter space."""
        return rbm.ParameterSpace(self.ranges)

    def setting(self) -> Setting:
        """The same as dense arrays of doubles."""
        outputs = {name: [dense(a) for _, a in pairs(given)] for name, given in self.outputs.items()}
        rhs = np.stack([dense(f) for _, f in self.rhs], axis=1)
        return Setting([dense(a) for _, a in self.operators], rhs, dense(self.product), outputs)

    def model(self) -> rbm.FullOrderModel:
        """The full-order model."""
        stability = sharp_constant(self) if self.stability is None else self.stability
        return rbm.FullOrderModel(
            self.operators,
            self.rhs,
            self.product,
            self.space(),
            stability,
            self.outputs,
            projection=self.projection,  # type: ignore[arg-type]
            interpolation_error=self.interpolation_error,
        )


def pairs(given: Any) -> list[Term]:
    """An output as [(psi_q, array), ...]."""
    return given if isinstance(given, list) and isinstance(given[0], tuple) else [(1.0, given)]


def dense(a: Any) -> np.ndarray:
    """Any container as an array of doubles."""
    a = a.toarray() if sp.issparse(a) else np.asarray(a)
    return np.asarray(a, dtype=complex if np.iscomplexobj(a) else float)


def sharp_constant(case: Case) -> Callable[[np.ndarray], np.ndarray]:
    """mus -> the true inf-sup constant, lowered by 1e-9 and by what rounding may have added to it.

    It is 1 if P is not positive definite.
    """
    try:
        terms = np.stack([t.astype(complex) for t in whitened(case.setting())])
    except ArithmeticError:
        return lambda mus: np.ones(len(mus))
    theta_of = Coefficients([c for c, _ in case.operators], case.space())
    n, sizes = terms.shape[1], np.linalg.norm(terms, axis=(1, 2))

    def constant(mus: np.ndarray) -> np.ndarray:
        theta = theta_of(mus)
        scale = np.abs(theta) @ sizes
        scale = np.where(scale > 0, scale, 1.0)
        matrices = np.tensordot(theta / scale[:, None], terms, axes=1)
        smallest = np.linalg.svd(matrices, compute_uv=False)[:, -1]
        return scale * (smallest * (1 - 1e-9) - 100 * n * 2.0**-53)

    return constant
