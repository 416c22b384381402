"""The mass terms of a time-dependent model, and what is proved of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank import LowRankMatrix
from rbm.affine.inner_product import InnerProduct
from rbm.affine.terms import operator_term, term_pairs
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError, refused
from rbm.full_order import FullOrderModel
from rbm.parameters.coefficients import Coefficients
from rbm.solvers.choice import prover
from rbm.solvers.definite import hermitian_part, semidefinite_slack

__all__ = ["Mass", "check_definite", "comparison", "positive_weights", "read_mass"]

#: Largest |M - M^H| in balanced units that is taken for rounding.
ASYMMETRY = 1e-10


@dataclass(frozen=True)
class Mass:
    """The mass M(mu) = sum_q m_q(mu) M_q, M_q Hermitian positive semi-definite, m_q > 0.

    Proved: sum_q M_q is positive definite, and M(mu) >= (min_q m_q - slack (max_q m_q - min_q m_q)) sum_q M_q.
    """

    coefficients: Coefficients  #: m
    terms: tuple[Any, ...]  #: M_q (n, n)
    split: tuple[Any, ...]  #: M_q for products in extended precision
    whole: InnerProduct  #: sum_q M_q
    slack: float  #: 0 for a single term

    def weights(self, mus: np.ndarray) -> np.ndarray:
        """Return m (M, Qm); raise ModelError, naming the point, where one is not a positive number."""
        made = positive_weights(self.coefficients, mus)
        check_definite(self.coefficients, mus, made, self.slack)
        return made


def positive_weights(coefficients: Coefficients, mus: np.ndarray) -> np.ndarray:
    """Return mass coefficients (M, Qm), real; raise ModelError where one is not a positive number."""
    values = coefficients(mus)
    good = np.all((np.real(values) > 0) & (np.imag(values) == 0), axis=1)
    if not np.all(good):

        def message(i: int, where: str) -> str:
            at = coefficients.parameters.describe(mus[i])
            return f"the mass coefficients are {values[i]} at {at} ({where}); they must be positive numbers"

        raise refused(ModelError, ~good, message)
    return np.real(values)


def check_definite(coefficients: Coefficients, mus: np.ndarray, weights: np.ndarray, slack: float) -> None:
    """Raise ModelError, naming the point, where M(mu) is not proved positive definite, from weights (M, Qm)."""
    lost = ~(comparison(weights, slack) > 0)
    if np.any(lost):

        def message(i: int, where: str) -> str:
            at = coefficients.parameters.describe(mus[i])
            return (
                f"the mass with coefficients {weights[i]} at {at} ({where}) is not proved positive definite: its terms "
                f"are semi-definite up to {slack:.1e} of their sum only, and the coefficients differ by more"
            )

        raise refused(ModelError, lost, message)


def comparison(weights: np.ndarray, slack: float) -> np.ndarray:
    """Return c (M,) with M(mu) >= c sum_q M_q, from weights (M, Qm)."""
    least, most = weights.min(axis=1), weights.max(axis=1)
    return (least - slack * (most - least)) * (1 - 8 * ROUND_OFF)


def read_mass(given: Any, spatial: FullOrderModel) -> Mass:
    """Return the mass that a user gives as a matrix (n, n) or as [(coefficient, matrix), ...].

    Raises ModelError for a mass that is singular, not Hermitian, not positive, of another size, or without entries.
    """
    if isinstance(given, list | tuple) and not given:
        raise ModelError("mass is empty: give M (n, n), or [(coefficient, M_q), ...]")
    if not isinstance(given, list | tuple) or (given and np.isscalar(given[0])) or isinstance(given[0], list):
        given = [(1.0, given)]
    pairs, n = term_pairs("mass", given), spatial.dimension
    coefficients = Coefficients([c for c, _ in pairs], spatial.parameters)
    terms = []
    for q, (_, matrix) in enumerate(pairs):
        name = "the mass" if len(pairs) == 1 else f"mass term {q}"
        term = operator_term(name, matrix, n)
        if isinstance(term, LowRankMatrix) or not hasattr(term, "diagonal"):
            raise ModelError(f"{name} is a {type(term).__name__}; give a sparse or dense matrix")
        terms.append(_hermitian(name, term, spatial.inner_product))
    whole = terms[0]
    for term in terms[1:]:
        whole = whole + term
    try:
        # a solver that proves what it factorises; others are for A(mu) and P
        proving = prover(spatial.solver, whole) is not None
        made = InnerProduct(whole, spatial.solver if proving else None)
        made.check()
        slack = 0.0 if len(terms) == 1 else _slack(terms, made)
    except ModelError as error:
        raise ModelError(
            f"the mass is not positive definite, which the bounds in time need: {str(error).replace('product', 'mass')}"
        ) from error
    split = tuple(extended.SplitMatrix(term, made.balance) for term in terms)
    return Mass(coefficients, tuple(terms), split, made, slack)


def _hermitian(name: str, matrix: Any, product: InnerProduct) -> Any:
    difference = abs(product.in_units(matrix - matrix.conj().T)).max()
    size = abs(product.in_units(matrix)).max()
    if not difference <= ASYMMETRY * size:
        raise ModelError(f"{name} is not Hermitian: |M - M^H| is up to {difference / size:.1e} of |M|")
    return hermitian_part(matrix) if difference > 0 else matrix


def _slack(terms: list[Any], whole: InnerProduct) -> float:
    """Return s with M_q >= -s sum_q M_q for all terms; raise ModelError for one that is not semi-definite."""
    total = 0.0
    for q, term in enumerate(terms):
        found = semidefinite_slack(whole.in_units(term), whole.prove)
        if found is None:
            raise ModelError(f"mass term {q} is not positive semi-definite")
        total += found
    return total / whole.smallest_eigenvalue
