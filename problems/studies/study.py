"""The data of a study: what it computes with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rbm
from rbm import FullOrderModel

__all__ = ["SELECTING", "Study"]

#: Estimators that select parameters; their points change with the basis, so they are prepared anew for every N.
SELECTING = ("sampled", "interpolated")


@dataclass(frozen=True)
class Study:
    """A model, its training and test parameters, and the estimators that are compared on it."""

    title: str
    model: Callable[[bool], FullOrderModel]  #: from whether progress is shown
    training: int  #: training parameters
    tests: int  #: test parameters
    max_basis: int
    tol: float
    estimators: tuple[str, ...]
    sizes: Callable[[int], Sequence[int]]  #: basis sizes N to compare the estimators at, given the final one
    figures: Callable[[Any, rbm.ReducedModel], dict[str, Any]]  #: of solutions, by name
    remark: str = ""  #: said before the model is made, if that takes long
    relative: bool = False  #: tol is relative to the norm of the solution
    sampled_up_to: int = 1000  #: largest N for which E3 and E4, whose offline cost grows like N^2, are prepared
