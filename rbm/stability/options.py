"""Checks of what users choose of a stability bound: one rule per option, whatever bound has it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from rbm.errors import StabilityError

__all__ = ["check_options", "is_number", "is_whole"]


@dataclass(frozen=True)
class _Rule:
    """When the value of an option is good, and how a message says so."""

    good: Callable[[Any], bool]
    wanted: str  #: after the word "must"


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number, True and False not included."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number, True and False not included."""
    number: Any = value  # whole numbers beyond the range of floats are compared as they are
    return isinstance(value, Real) and not isinstance(value, bool) and bool(-math.inf < number < math.inf)


def _least(least: int) -> _Rule:
    return _Rule(lambda value: is_whole(value) and value >= least, f"be a whole number of at least {least}")


_SHARE = _Rule(lambda value: is_number(value) and 0 < value < 1, "lie between 0 and 1")
#: The rule of each option, by its name; None stands for what is computed by default.
RULES: dict[str, _Rule] = {
    "tol": _SHARE,
    "ratio": _SHARE,
    "max_constraints": _least(1),
    "max_anchors": _least(1),
    "max_eigenvalues": _least(1),
    "stiffness": _least(0),
    "mass": _least(0),
    "batch": _least(1),
    "rng": _least(0),
    "progress": _Rule(lambda value: isinstance(value, bool | np.bool_), "be True or False"),
    "cache": _Rule(
        lambda value: value is None or isinstance(value, str | os.PathLike), "be the path of a folder, or None for none"
    ),
    "cut": _Rule(
        lambda value: value is None or is_number(value),
        "be a finite eigenvalue of K v = lambda M v, or None to have one chosen",
    ),
    "constant": _Rule(
        lambda value: value is None or (is_number(value) and value > 0),
        "be a positive number, or None to have it computed",
    ),
}


def check_options(given: Any, least: Mapping[str, int] | None = None) -> None:
    """Check the fields of a data class of options, such as :class:`rbm.stability.SCM`.

    least : smallest values of whole numbers where they differ from the common ones

    Raises StabilityError with option, bound, value and what the option must be. Fields without a rule are left to the
    bound.
    """
    rules = RULES | {name: _least(value) for name, value in (least or {}).items()}
    for field in fields(given):
        value, rule = getattr(given, field.name), rules.get(field.name)
        if rule is not None and not rule.good(value):
            raise StabilityError(
                f"{field.name} must {rule.wanted}, got {value!r} (an option of {type(given).__name__})"
            )
