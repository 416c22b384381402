"""How a weight is rounded, but for its bits: what rounding, measuring and training have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Levels", "Scales", "Scheme"]

Levels = Literal["uniform", "gaussian"]
Scales = Literal["float16", "float32"]


@dataclass(frozen=True)
class Scheme:
    """The options of :func:`lowrank.quantize` that all weights of a module share.

    :func:`ml.quantize_module` takes them one by one. Sensitivities say something about it only where both are the same:

    >>> Scheme(group=32)
    Scheme(gamma='search', group=32, levels='uniform', scales='float16')
    """

    gamma: float | Literal["search"] = "search"  #: s = gamma max |w| / m, or the best scale that is found
    group: int | None = None  #: numbers of one scale, a divisor of the rows' lengths; None for whole rows
    levels: Levels = "uniform"
    scales: Scales = "float16"  #: type of the scales
