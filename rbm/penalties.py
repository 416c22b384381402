"""Unknowns that are held by their own equation: penalty entries such as 1e30, and identity rows of Dirichlet unknowns that were kept.

A penalty in the operators that the product does not carry makes ||A|| as large as itself, and rounding with it: error bounds stay true, and
say nothing. With the same entry in the product, or without the unknown, they are sharp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rbm import extended

if TYPE_CHECKING:
    from rbm.full_order import FullOrderModel

__all__ = ["held_unknowns", "penalty_hint"]

#: A diagonal entry, against that of the product, is out of line if it exceeds the median of all, or falls short of it, by this factor.
OUT_OF_LINE = 1e8
#: Unknowns that are named.
NAMED = 5


def penalty_hint(model: FullOrderModel) -> str | None:
    """What diagonal entries out of line with those of the product do to error bounds and what to do about it; None if there are none.

    Compared are sum_q |theta_q A_q,ii| / P_ii at the middle of the parameter ranges, over all unknowns i. Cost: O(n).
    """
    ratios = _ratios(model)
    middle = float(np.median(ratios))
    if not 0 < middle < np.inf:
        return None
    large = np.flatnonzero(ratios > OUT_OF_LINE * middle)
    if len(large):
        factor = float(ratios[large].max()) / middle
        return (
            f"{_unknowns(large)} {_have(large)} a diagonal entry in the operators that exceeds those of other unknowns by a factor of {factor:.1e}, "
            "measured by the product, as Dirichlet conditions by penalty do: error bounds lose as many digits. Eliminate these unknowns, or put the "
            "same entries into the product"
        )
    small = np.flatnonzero((ratios > 0) & (ratios < middle / OUT_OF_LINE))
    if len(small):
        factor = middle / float(ratios[small].min())
        return (
            f"{_unknowns(small)} {_have(small)} a diagonal entry in the operators that falls short of those of other unknowns by a factor of "
            f"{factor:.1e}, measured by the product: the stability constant is as small. Eliminate these unknowns, or put entries in proportion "
            "into operators and product"
        )
    return None


def held_unknowns(model: FullOrderModel) -> list[str]:
    """Sentences for :meth:`rbm.FullOrderModel.verify` about rows with nothing but a diagonal entry, and about penalties."""
    lines = []
    alone, terms = _identity_rows(model)
    if len(alone):
        line = f"{_unknowns(alone)} {_have(alone)} rows with a diagonal entry only: Dirichlet unknowns that were kept"
        several = alone[(terms[alone] > 1) & np.any(model.rhs_terms[alone] != 0, axis=1)]
        if len(several):
            line += (
                f"; {_unknowns(several)} in more than one operator term, with a right-hand side: their values depend on the parameters as f / "
                "sum_q theta_q does. Keep the entry in one term with coefficient 1, or eliminate the unknowns"
            )
        else:
            line += ", right as they are, or better eliminated"
        lines.append(line)
    hint = penalty_hint(model)
    if hint is not None:
        lines.append(f"caution: {hint}")
    return lines


def _ratios(model: FullOrderModel) -> np.ndarray:
    """sum_q |theta_q A_q,ii| / P_ii (n,) at the middle of the ranges; of the terms that show their entries."""
    theta = model.operator_coefficients(model.parameters.bounds.mean(axis=1)[None])[0]
    units, total = model.inner_product.balance, np.zeros(model.dimension)
    with np.errstate(over="ignore"):
        for value, term in zip(theta, model.operator_terms, strict=True):
            if not extended.is_black_box(term):
                total += np.abs(value * (np.asarray(term.diagonal()) * units) * units)
        return total / (np.abs(np.asarray(model.product.diagonal())) * units * units)


def _identity_rows(model: FullOrderModel) -> tuple[np.ndarray, np.ndarray]:
    """Unknowns whose rows hold a diagonal entry only, in all terms together; and in how many terms (n,) each has one."""
    off, terms = np.zeros(model.dimension, dtype=bool), np.zeros(model.dimension, dtype=int)
    for term in model.operator_terms:
        if extended.is_black_box(term):
            return np.zeros(0, dtype=int), terms
        diagonal = np.asarray(term.diagonal()) != 0
        row_counts = np.asarray((abs(term) > 0).sum(axis=1)).ravel()
        off |= row_counts > diagonal
        terms += diagonal
    alone = np.flatnonzero(~off & (terms > 0))
    return (alone if len(alone) < model.dimension else alone[:0]), terms


def _unknowns(which: np.ndarray) -> str:
    some = ", ".join(map(str, which[:NAMED])) + (", ..." if len(which) > NAMED else "")
    return f"unknown {some}" if len(which) == 1 else f"{len(which)} unknowns ({some})"


def _have(which: np.ndarray) -> str:
    return "has" if len(which) == 1 else "have"
