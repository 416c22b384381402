"""Affine terms of a mapped domain: merged where their coefficients are one but for a number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from problems.geometry.formulas import Formula
from rbm.errors import ModelError
from rbm.parameters.expressions import MAX_LENGTH

__all__ = ["MappedTerm", "merged_terms"]


@dataclass(frozen=True, eq=False)
class MappedTerm:
    """A term c(mu) A of one block and one direction, before terms are merged.

    coefficient : c, in normal form
    matrix : A (n, n), sparse, or a vector (n,)
    semidefinite : whether A is Hermitian and positive semi-definite, as those of diffusion and masses are
    block : where it comes from
    """

    coefficient: Formula
    matrix: Any
    semidefinite: bool
    block: str


def merged_terms(terms: Iterable[MappedTerm]) -> list[tuple[str | float, Any]]:
    """Return pairs (coefficient, matrix) for :class:`rbm.FullOrderModel`, one for coefficients that are equal.

    c_1 A_1 + c_2 A_2 = c_1 (A_1 + r A_2) where c_2 = r c_1 for all parameters, a rational number r. It is decided
    exactly, by normal forms of the formulas (:mod:`problems.geometry.formulas`): terms that are merged are equal, and
    so is the sum, but for the rounding of r and of one addition an entry. A negative r is merged only where neither
    matrix is semi-definite, so that those that are stay so, as min-theta bounds need it. Terms that are zero for all
    parameters are left out. Coefficients that are numbers come out as 1.0.

    Raises ModelError if no term is left, for terms of different shapes, and for coefficients of more than 1000
    characters.
    """
    groups: list[tuple[Formula, Any, bool]] = []
    for term in terms:
        if not term.coefficient:
            continue
        number, coefficient = term.coefficient.primitive()
        for k, (known, matrix, definite) in enumerate(groups):
            ratio = coefficient.ratio(known)
            if ratio is None:
                continue
            factor = float(number * ratio)
            if factor < 0 and (definite or term.semidefinite):
                continue
            if matrix.shape != term.matrix.shape:
                raise ModelError(f"terms have different shapes, {matrix.shape} and {term.matrix.shape}")
            groups[k] = (known, matrix + factor * term.matrix, definite and term.semidefinite)
            break
        else:
            if number < 0 and term.semidefinite:
                number, coefficient = -number, -coefficient
            groups.append((coefficient, float(number) * term.matrix, term.semidefinite))
    if not groups:
        raise ModelError("no term is left: all coefficients are zero for all parameters")
    return [(_written(c), matrix) for c, matrix, _ in groups]


def _written(coefficient: Formula) -> str | float:
    """Return the coefficient of a model. Raises ModelError for one that is too long to be an expression."""
    text = coefficient.text()
    if len(text) > MAX_LENGTH:
        raise ModelError(
            f"a coefficient of a mapped block has {len(text)} characters, multiplied out; {MAX_LENGTH} are allowed: "
            f"{text[:60]}...; choose shorter formulas for its vertices"
        )
    return 1.0 if coefficient.constant == 1 else text
