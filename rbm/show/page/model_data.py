"""What a page holds of a reduced model: numbers, formulas and names, as one dictionary."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.arithmetic.precision import is_single
from rbm.errors import ModelError, PointError
from rbm.estimators import Orthonormal
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.model import ReducedModel
from rbm.show.page.bound_data import bound_data
from rbm.show.page.encoded import Families, encoded
from rbm.show.page.floors import estimator_data
from rbm.show.page.output_data import output_data
from rbm.stability.evidence import KINDS
from rbm.time.reduced import ReducedTimeModel

__all__ = ["LARGEST", "page_data"]

#: The most basis vectors of a page.
LARGEST = 50


def page_data(reduced: ReducedModel, title: str) -> dict[str, Any]:
    """Return the data of a page, ready for JSON. Raises ModelError for a model that no page can hold."""
    state = _checked(reduced)
    families = Families(reduced.parameters.names)
    is_complex = _is_complex(reduced, state)
    outputs, left_out = [], []
    for name, output in reduced.outputs.items():
        made = output_data(output, families)
        if made is None:
            left_out.append({"name": name, "kind": output.kind})
        else:
            outputs.append({"name": name, "unit": reduced.output_units.get(name, ""), **made})
    errors = reduced.interpolation_error
    return {
        "title": title,
        "size": reduced.size,
        "unknowns": reduced.unknowns,
        "projection": reduced.projection,
        "measured": reduced.measured,
        "evidence": _evidence(reduced),
        "complex": is_complex,
        "scale": reduced.parameters.scale,
        "parameters": [
            {"name": name, "low": low, "high": high, "unit": reduced.parameters.units.get(name, "")}
            for name, (low, high) in zip(reduced.parameters.names, reduced.parameters.bounds.tolist(), strict=True)
        ],
        "operator_coefficients": families.coefficients(reduced.operator_coefficients),
        "rhs_coefficients": families.coefficients(reduced.rhs_coefficients),
        "operators": encoded(reduced.operators),
        "rhs": encoded(reduced.rhs),
        "estimator": estimator_data(state, is_complex),
        "stability": bound_data(reduced.stability, families),
        "interpolation": None
        if errors is None
        else {"coefficients": families.coefficients(errors), "growth": (1 + reduced.orthonormality) ** 0.5},
        "outputs": outputs,
        "left_out": left_out,
        "families": families.stored(),
    }


def _evidence(reduced: ReducedModel) -> str:
    """Return how far the stability bound can be trusted, "" where a file does not say it."""
    known = reduced.record.evidence if reduced.record else ""
    return known or KINDS.get(str(getattr(type(reduced.stability), "kind", "")), "")


def _checked(reduced: Any) -> Orthonormal:
    """Return the estimator of the page, or raise ModelError with what is in the way."""
    if isinstance(reduced, ReducedTimeModel):
        raise ModelError("a page is for models without time, and this is a reduced model in time; rbm query answers it")
    if not isinstance(reduced, ReducedModel):
        ways = ": make a page of each of its leaves" if hasattr(reduced, "leaves") else ""
        raise ModelError(f"a page is made of an rbm.ReducedModel, got {type(reduced).__name__}{ways}")
    if reduced.size > LARGEST:
        raise ModelError(
            f"a page holds at most {LARGEST} basis vectors, this model has {reduced.size}; reduced.truncate({LARGEST}) "
            "is the same model with fewer, and its bounds hold as well"
        )
    if is_single(reduced.dtype):
        raise ModelError(
            'a page computes in double precision, this model is in float32; give reduced.astype("float64")'
        )
    state = reduced.estimators.get(Orthonormal.kind)
    if not isinstance(state, Orthonormal):
        there = ", ".join(reduced.estimators) or "none"
        raise ModelError(
            f'a page needs the estimator "orthonormal" (E_onb); this model has {there}. '
            'Ask for it when the model is made: estimators=("orthonormal",)'
        )
    if is_single(state.factor.dtype):
        raise ModelError(
            'a page computes in double precision, this estimator is in float32; give reduced.astype("float64")'
        )
    return state


def _is_complex(reduced: ReducedModel, state: Orthonormal) -> bool:
    """Return whether the page computes with complex numbers; the types of formulas do not depend on the point."""
    arrays = (reduced.operators, reduced.rhs, state.factor)
    families = (reduced.operator_coefficients, reduced.rhs_coefficients)
    return any(a.dtype.kind == "c" for a in arrays) or any(map(_complex_valued, families))


def _complex_valued(coefficients: Coefficients) -> bool:
    low, high = coefficients.parameters.bounds.T
    for mu in (low / 2 + high / 2, low, high):
        try:
            return bool(np.iscomplexobj(coefficients(mu[None])))
        except PointError:  # a formula that fails just here
            continue
    return True
