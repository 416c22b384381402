"""Kernels that are compiled anew, and whether they were translated or compiled by Numba's own pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rbm.online.kernels.compiler import kernel


def translations(made: Any) -> int:
    """Return how many compiled forms of a kernel were translated."""
    return sum("rbm_translated" in form.metadata["pipeline_times"] for form in made.overloads.values())


def fresh(function: Callable[..., Any]) -> Any:
    """Return a kernel that is not read from the disk."""
    made = kernel(function)
    made._cache.disable()
    return made
