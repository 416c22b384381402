"""What every stability bound checks before it returns: beta(mu) is positive and finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lowrank.arrays import all_true, namespace, to_numpy
from rbm.errors import StabilityError, refused

__all__ = ["positive"]


def positive(beta: Any, message: Callable[[int, Any, str], str]) -> Any:
    """Return beta (M,), real, where all of it is positive and finite: an infinite one would make error bounds of zero.

    message : (row i, beta_i, the words for its place in the batch) -> what is wrong and what to do

    Raises StabilityError, which names the rows.
    """
    good = (beta > 0) & namespace(beta).isfinite(beta)
    if not all_true(good):
        values = to_numpy(beta)
        raise refused(StabilityError, ~to_numpy(good), lambda i, where: message(i, values[i], where))
    return beta
