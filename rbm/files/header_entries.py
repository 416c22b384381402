"""Coefficients and fixed unknowns as entries of a file's header."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.affine.constraints import Constraints
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.interpolated_family import CoefficientFamily, InterpolatedCoefficient
from rbm.parameters.space import ParameterSpace

__all__ = ["read_constraints", "read_sources", "write_constraints", "write_sources"]


def write_sources(coefficients: Coefficients, families: list[CoefficientFamily]) -> list[Any]:
    """Return coefficients in a form for the header.

    Numbers and texts stay as they are, complex numbers become pairs, and terms of a family hold its place in
    `families`, which is extended here.
    """

    for source in coefficients.sources:
        if callable(source):
            raise ModelError(
                f"the coefficient {getattr(source, '__name__', source)!r} is a Python callable, which a file cannot "
                "hold; "
                'write it as an expression string, for example "exp(1j*k)"'
            )

    def write(source: Any) -> Any:
        if isinstance(source, InterpolatedCoefficient):
            place = next((k for k, f in enumerate(families) if f is source.family), len(families))
            if place == len(families):
                families.append(source.family)
            return {"family": place, "term": source.term, "factor": write(source.factor)}
        return [source.real, source.imag] if isinstance(source, complex) else source

    return [write(s) for s in coefficients.sources]


def read_sources(sources: list[Any], parameters: ParameterSpace, families: list[CoefficientFamily]) -> Coefficients:
    """Return the coefficients that :func:`write_sources` has written."""

    def read(source: Any) -> Any:
        if isinstance(source, dict):
            return InterpolatedCoefficient(families[source["family"]], source["term"], read(source["factor"]))
        return complex(*source) if isinstance(source, list) else source

    return Coefficients([read(s) for s in sources], parameters)


def write_constraints(
    known: Constraints | None,
    parameters: ParameterSpace,
    arrays: dict[str, np.ndarray],
    families: list[CoefficientFamily],
) -> dict[str, Any]:
    """Return the header entry of the fixed unknowns, if the model knows them; their arrays go to `arrays`."""
    if known is None:
        return {}
    for name in ("free", "fixed", "values"):
        arrays[f"constraints/{name}"] = getattr(known, name)
    return {"constraints": write_sources(Coefficients(known.sources, parameters), families)}


def read_constraints(
    header: dict[str, Any],
    arrays: dict[str, np.ndarray],
    parameters: ParameterSpace,
    families: list[CoefficientFamily],
) -> Constraints | None:
    """Return the fixed unknowns that a header and its arrays hold; None if they hold none."""
    if "constraints" not in header:  # older files know none
        return None
    sources = read_sources(header["constraints"], parameters, families).sources
    free, fixed, values = (arrays[f"constraints/{name}"] for name in ("free", "fixed", "values"))
    return Constraints(free, fixed, sources, values, parameters)
