"""The parameter space of a stability bound that comes from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rbm.parameters.space import ParameterSpace

__all__ = ["stored_space"]


def stored_space(what: str, arrays: Mapping[str, Any]) -> ParameterSpace:
    """Return the parameter space among the entries of a bound; raise ValueError if it is missing or something else."""
    found = arrays.get("parameters")
    if not isinstance(found, ParameterSpace):
        raise ValueError(f"the arrays of its {what} do not fit each other: the parameter space is {found!r}")
    return found
