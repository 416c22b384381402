"""Outputs as a page holds them: one function per kind that rbm/show/page/outputs.js evaluates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF, underflow_of_sums
from rbm.reduced.compliant import ReducedCompliant
from rbm.reduced.outputs import ReducedLinear, ReducedQuadratic
from rbm.show.page.encoded import Families, encoded
from rbm.show.page.floors import energy_unit, linear_rounding, quadratic_unit

__all__ = ["output_data"]


def output_data(output: Any, families: Families) -> dict[str, Any] | None:
    """Return what the page needs of an output, None for a kind that it does not know."""
    write = WRITERS.get(type(output))
    return None if write is None else {"kind": output.kind, **write(output, families)}


def _linear(output: ReducedLinear, families: Families) -> dict[str, Any]:
    defects = np.zeros(len(output.vectors)) if output.defects is None else output.defects
    return {
        "coefficients": families.coefficients(output.coefficients),
        "vectors": encoded(output.vectors),
        "dual": encoded(output.dual),
        "defects": encoded(defects),
        "rounding": encoded(linear_rounding(output.vectors, output.rounding)),
        "underflow": underflow_of_sums(defects),
        "offset": _offset(output, families),
    }


def _offset(output: ReducedLinear, families: Families) -> dict[str, Any] | None:
    """A sum of k products is right to 3 (k + 4) u of them, the sum with the rest of the output included."""
    if output.offset is None or output.offset_coefficients is None:
        return None
    count = len(output.offset)
    return {
        "coefficients": families.coefficients(output.offset_coefficients),
        "numbers": encoded(output.offset),
        "rounding": encoded(3 * (count + 4) * ROUND_OFF * np.abs(output.offset)),
        "constant": 4 * count * float(np.finfo(float).tiny),
    }


def _compliant(output: ReducedCompliant, families: Families) -> dict[str, Any]:
    unit = energy_unit(output.size, len(output.operators) + len(output.rhs))
    return {
        **_linear(output, families),
        "operators": encoded(output.operators),
        "absolute": encoded(np.abs(output.operators)),
        "operator_errors": encoded(output.operator_errors),
        "rhs": encoded(output.rhs),
        "rhs_errors": encoded(unit * np.abs(output.rhs) + (1 + 2.0**-20) * output.rhs_errors),
        "skew": encoded(output.skew),
        "mismatch": encoded(output.mismatch),
        "growth": (1 + float(output.orthonormality)) ** 0.5,
        "rounding_unit": unit,
        "constant": output.coefficients.constant is not None,
        "real": bool(output.real),
    }


def _quadratic(output: ReducedQuadratic, families: Families) -> dict[str, Any]:
    rounding = np.zeros(len(output.norms)) if output.rounding is None else output.rounding
    return {
        "coefficients": families.coefficients(output.coefficients),
        "matrices": encoded(output.matrices),
        "norms": encoded(output.norms),
        "rounding": encoded(rounding),
        "growth": (1 + float(output.orthonormality)) ** 0.5,
        "rounding_unit": quadratic_unit(output.size, len(output.norms)),
    }


WRITERS: dict[type, Callable[[Any, Families], dict[str, Any]]] = {
    ReducedLinear: _linear,
    ReducedCompliant: _compliant,
    ReducedQuadratic: _quadratic,
}
