"""What most families start from: a registry, a coercive model and a general one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import rbm
from benchmarks.random_models.case import Case, Term
from benchmarks.random_models.kit import Kit

__all__ = ["FAMILIES", "RANGE", "Family", "coercive", "family", "general", "rhs_of"]

Family = Callable[[np.random.Generator], Case]
FAMILIES: dict[str, Family] = {}

RANGE = {"mu": (0.5, 2.0)}


def family(function: Family) -> Family:
    """Register under its own name."""
    FAMILIES[function.__name__] = function
    return function


def rhs_of(kit: Kit) -> list[Term]:
    """One or two right-hand side terms."""
    terms: list[Term] = [(1.0, kit.functional()), (kit.phase(), kit.functional())]
    return terms[: int(kit.rng.integers(1, 3))]


def coercive(kit: Kit, *, equal: bool | None = None, rank: int | None = None) -> Case:
    """theta_q > 0 and semi-definite terms, min-theta.

    P = A(mu_ref) if `equal`, else a product that is one of the terms, or none.
    """
    rng, qa = kit.rng, int(kit.rng.integers(1, 4))
    coefficients = ["1 + mu**2", "mu", "exp(-mu)"][:qa]
    terms = [kit.positive(0.5, 2.0), *(kit.positive(rank=rank) for _ in range(qa - 1))]
    reference = float(rng.uniform(0.5, 2.0))
    product = kit.product
    if equal if equal is not None else rng.uniform() < 0.5:
        values = [1 + reference**2, reference, np.exp(-reference)][:qa]
        product = values[0] * terms[0]
        for v, a in zip(values[1:], terms[1:], strict=True):
            product = product + v * a
    return Case(
        [(c, kit.given(a)) for c, a in zip(coefficients, terms, strict=True)],
        rhs_of(kit),
        kit.given(product),
        RANGE,
        kit.vectors(int(rng.integers(1, 4)) if kit.n > 3 else 1),
        rbm.stability.MinTheta([reference]),
        kit.outputs(),
        projection="galerkin" if rng.uniform() < 0.7 else "least-squares",
        mus=np.array([[reference]]),
    )


def general(kit: Kit, size: float = 0.3) -> Case:
    """Terms that are not Hermitian, the true constant at every point, least squares or Galerkin."""
    rng = kit.rng
    terms: list[Term] = [(1.0, kit.given(kit.product)), (kit.phase(), kit.any(size)), ("mu", kit.positive(0.0, 1.0))]
    return Case(
        terms[: int(rng.integers(1, 4))],
        rhs_of(kit),
        kit.given(kit.product),
        RANGE,
        kit.vectors(int(rng.integers(1, max(2, min(kit.n, 4))))),
        None,
        kit.outputs(),
        projection="galerkin" if rng.uniform() < 0.5 else "least-squares",
    )
