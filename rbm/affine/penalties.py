"""Finds unknowns that are held by their own equation, by penalties or by identity rows.

Penalties are entries such as 1e30; identity rows belong to Dirichlet unknowns that were kept.

A penalty in the operators that the product does not carry makes ||A|| as large as itself, and rounding with it: error
bounds stay true, and say nothing. With the same entry in the product, or without the unknown, they are sharp.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from rbm.affine.low_rank_terms import diagonal, rows_beside_diagonal, shows_no_entries
from rbm.affine.system import AffineSystem

__all__ = ["held_unknowns", "penalty_hint"]

#: A diagonal entry, against that of the product, is out of line if it exceeds the median of all, or falls short of it,
#: by this factor.
OUT_OF_LINE = 1e8
#: Unknowns that are named.
NAMED = 5
#: Points tried for one where the coefficients have values.
TRIED = 8


def penalty_hint(system: AffineSystem, mus: np.ndarray) -> str | None:
    """Return what diagonal entries out of line do to error bounds, and what to do about it; None if there are none.

    Entries of the operators are out of line with those of the product.

    mus : (M, p) points of which one is looked at: the nearest to the middle of the parameter ranges where the
        coefficients have values

    Compared are sum_q |theta_q A_q,ii| / P_ii over all unknowns i. A hint raises no error. Cost: O(n).
    """
    ratios = _ratios(system, mus)
    if ratios is None:
        return None
    middle = float(np.median(ratios))
    if not 0 < middle < np.inf:
        return None
    out = np.flatnonzero(ratios > OUT_OF_LINE * middle)
    if len(out):
        factor, verb = float(ratios[out].max()) / middle, "exceeds"
        effect = ", as Dirichlet conditions by penalty do: error bounds lose as many digits"
        remedy = "put the same entries into the product"
    else:
        out = np.flatnonzero((ratios > 0) & (ratios < middle / OUT_OF_LINE))
        if not len(out):
            return None
        factor, verb = middle / float(ratios[out].min()), "falls short of"
        effect, remedy = ": the stability constant is as small", "put entries in proportion into operators and product"
    return (
        f"{_unknowns(out)} {_have(out)} a diagonal entry in the operators that {verb} those of other unknowns by a "
        f"factor of {factor:.1e}, measured by the product{effect}. Eliminate these unknowns, or {remedy}"
    )


def held_unknowns(system: AffineSystem, mus: np.ndarray) -> list[str]:
    """Return sentences about rows with nothing but a diagonal entry, and about penalties.

    They are for :meth:`rbm.FullOrderModel.verify`, from points (M, p).
    """
    lines = []
    alone = _identity_rows(system)
    if len(alone):
        line = f"{_unknowns(alone)} {_have(alone)} rows with a diagonal entry only: Dirichlet unknowns that were kept"
        moving = alone[_moves(system, mus, alone)]
        if len(moving):
            line += (
                f"; {_unknowns(moving)} with a right-hand side, and with coefficients in the operators that depend on "
                "the parameters: their values depend on the parameters as sum_q phi_q f_q / sum_q theta_q A_q does. "
                "Keep the entry in one term with coefficient 1, or eliminate the unknowns"
            )
        else:
            line += ", right as they are, or better eliminated"
        lines.append(line)
    hint = penalty_hint(system, mus)
    if hint is not None:
        lines.append(f"caution: {hint}")
    return lines


def _ratios(system: AffineSystem, mus: np.ndarray) -> np.ndarray | None:
    """Return sum_q |theta_q A_q,ii| / P_ii (n,) at one of the points; None if no point tried has an answer.

    The sum is over the terms that show their entries.
    """
    theta = _coefficients_near_middle(system, mus)
    if theta is None:
        return None
    units, total = system.inner_product.balance, np.zeros(system.dimension)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for value, term in zip(theta, system.operator_terms, strict=True):
            if not shows_no_entries(term):
                total += np.abs(value * (diagonal(term) * units) * units)
        return total / (np.abs(np.asarray(system.product.diagonal())) * units * units)


def _coefficients_near_middle(system: AffineSystem, mus: np.ndarray) -> np.ndarray | None:
    """Return theta (Qa,) at the point nearest to the middle of the ranges where it has values.

    None if the nearest few have none.
    """
    low, high = system.parameters.bounds.T
    width = np.where(high > low, high / 2 - low / 2, 1.0)
    with np.errstate(over="ignore"):
        away = np.abs((mus / 2 - low / 4 - high / 4) / width).max(axis=1)
    for i in np.argsort(away, kind="stable")[:TRIED]:
        with suppress(Exception):  # coefficients are the user's
            return system.operator_coefficients(mus[i : i + 1])[0]
    return None


def _moves(system: AffineSystem, mus: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """Return (k,), true for unknowns with rows of their own whose equations and values depend on the parameters.

    They do so as far as the points (M, p) show.

    A right-hand side alone that depends on them, u = g(mu), is what was asked for.
    """
    theta, phi = system.operator_coefficients(mus), system.rhs_coefficients(mus)
    with suppress(Exception):  # more points, at which coefficients may be undefined: the user did not ask for them
        more = system.parameters.sample(3)
        of_operator, of_rhs = system.operator_coefficients(more), system.rhs_coefficients(more)
        theta, phi = np.concatenate([theta, of_operator]), np.concatenate([phi, of_rhs])
    entries = np.stack([diagonal(a)[alone] for a in system.operator_terms], axis=1)
    with np.errstate(all="ignore"):
        entry, load = entries @ theta.T, system.rhs_terms[alone] @ phi.T
        return _varies(entry) & _varies(load / entry)


def _varies(values: np.ndarray) -> np.ndarray:
    """Return (k,), true for rows of (k, M) whose entries are not all the same, up to rounding."""
    return np.any(np.abs(values - values[:, :1]) > 1e-10 * np.abs(values).max(axis=1, keepdims=True), axis=1)


def _identity_rows(system: AffineSystem) -> np.ndarray:
    """Return the unknowns whose rows hold a diagonal entry only, in all terms together."""
    off, held = np.zeros(system.dimension, dtype=bool), np.zeros(system.dimension, dtype=bool)
    for term in system.operator_terms:
        if shows_no_entries(term):
            return np.zeros(0, dtype=int)
        off |= rows_beside_diagonal(term)
        held |= diagonal(term) != 0
    alone = np.flatnonzero(~off & held)
    return alone if len(alone) < system.dimension else alone[:0]


def _unknowns(which: np.ndarray) -> str:
    some = ", ".join(map(str, which[:NAMED])) + (", ..." if len(which) > NAMED else "")
    return f"unknown {some}" if len(which) == 1 else f"{len(which)} unknowns ({some})"


def _have(which: np.ndarray) -> str:
    return "has" if len(which) == 1 else "have"
