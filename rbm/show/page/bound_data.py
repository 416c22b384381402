"""Stability bounds as a page holds them: one function per kind that rbm/show/page/stability.js evaluates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.show.page.encoded import Families, encoded
from rbm.stability.anchored_bound import BoundAnchored
from rbm.stability.bound import CoefficientBound
from rbm.stability.inf_sup_constants import SLACK
from rbm.stability.min_theta import BoundMinTheta
from rbm.stability.natural_bound import BoundNaturalNorm
from rbm.stability.pencil import BoundPencil
from rbm.stability.safe_dual import SafeDual
from rbm.stability.successive_constraints import BoundSCM
from rbm.stability.vertex_walk import ALLOWED, LEAST, VertexWalk, steps_for

__all__ = ["bound_data"]


def bound_data(bound: Any, families: Families) -> dict[str, Any]:
    """Return what the page needs of a stability bound. Raises ModelError, with its name, for one it cannot evaluate."""
    write = WRITERS.get(type(bound))
    if write is None:
        raise ModelError(
            f"a page cannot evaluate the stability bound {type(bound).__name__}; it knows numbers, formulas and the "
            "bounds of rbm.stability"
        )
    return {"kind": bound.kind, **write(bound, families)}


def _coefficient(bound: CoefficientBound, families: Families) -> dict[str, Any]:
    return {"coefficient": families.coefficients(bound.coefficient)}


def _min_theta(bound: BoundMinTheta, families: Families) -> dict[str, Any]:
    """The constant is lowered by what the formula rounds: a division, a product, the sum and the difference."""
    skew = np.isinf(bound.reference)
    slack = np.zeros(len(skew)) if bound.slack is None else bound.slack
    return {
        "reference": encoded(np.where(skew, 1.0, bound.reference)),
        "skew": skew.tolist(),
        "constant": bound.constant * (1 - 8 * ROUND_OFF),
        "slack": encoded(slack),
    }


def _pencil(bound: BoundPencil, families: Families) -> dict[str, Any]:
    """What is lost for each |theta_q|: errors of the terms, and (16 + 2 Qa) u of |alpha_q| + |kappa_q| max |t|."""
    largest = max(np.abs(bound.eigenvalues).max(initial=0.0), np.abs(bound.rest).max())
    terms = 16 + 2 * len(bound.errors)
    losses = bound.errors + terms * ROUND_OFF * (np.abs(bound.alphas) + np.abs(bound.kappas) * largest)
    arrays = {name: encoded(getattr(bound, name)) for name in ("alphas", "kappas", "eigenvalues", "radii")}
    return {**arrays, "losses": encoded(losses), "rest": bound.rest.tolist()}


def _anchored(bound: BoundAnchored, families: Families) -> dict[str, Any]:
    names = ("anchors", "constants", "growths", "norms", "transform", "remainder")
    return {**{name: encoded(getattr(bound, name)) for name in names}, "slack": SLACK}


def _program(program: SafeDual, walk: VertexWalk) -> dict[str, Any]:
    """The linear program with its vertices, and the limits of a walk."""
    one = np.eye(len(program.lower))
    arrays = {
        **program.matrices(),
        "normals": np.concatenate([program.rows, one, -one]),
        "right": np.concatenate([program.levels, program.lower, -program.upper]),
        "edges": walk.edges,
        "points": walk.points,
    }
    return {
        **{name: encoded(array) for name, array in arrays.items()},
        "active": walk.active.tolist(),
        "rounding": program.rounding,
        "underflow": program.underflow,
        "steps": steps_for(len(program.lower)),
        "allowed": ALLOWED,
        "least": LEAST,
    }


def _scm(bound: BoundSCM, families: Families) -> dict[str, Any]:
    known = bound.constraints
    rounded = 1 + (2 * len(known.losses) + 8) * ROUND_OFF  # of the sum that is subtracted
    return {
        "positions": known.positions.tolist(),
        "scales": encoded(known.scales),
        "losses": encoded(known.losses * rounded),
        "program": _program(known.program, bound.walk),
    }


def _natural_norm(bound: BoundNaturalNorm, families: Families) -> dict[str, Any]:
    anchors = [
        {
            "constant": float(anchor.constant),
            "program": _program(anchor.program, anchor.walk),
            "scales": encoded(anchor.scales),
            "losses": encoded(anchor.losses * (1 + 4 * (len(anchor.theta) + 2) * ROUND_OFF)),
            "quotients": encoded(anchor.quotients * anchor.scales * anchor.constant),
        }
        for anchor in bound.anchors
    ]
    return {"anchors": anchors, "positions": bound.positions.tolist()}


WRITERS: dict[type, Callable[[Any, Families], dict[str, Any]]] = {
    CoefficientBound: _coefficient,
    BoundMinTheta: _min_theta,
    BoundPencil: _pencil,
    BoundAnchored: _anchored,
    BoundSCM: _scm,
    BoundNaturalNorm: _natural_norm,
}
