"""Loops over points that keep their answers on Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lowrank.progress import progress_bar
from rbm.errors import Interrupted

__all__ = ["values_so_far"]


def values_so_far(
    function: Callable[[np.ndarray], float], rows: np.ndarray, text: str, *, progress: bool = False
) -> np.ndarray:
    """Return function(row) for each row (M,).

    Raises Interrupted on Ctrl-C, whose `result` (M,) is NaN where there is no value yet.

    text : what the values are, in the plural, for the progress bar and the message
    """
    values = np.full(len(rows), np.nan)
    try:
        for i, row in enumerate(progress_bar(rows, text, enabled=progress)):
            values[i] = function(row)
    except KeyboardInterrupt as interrupt:
        done = int(np.count_nonzero(~np.isnan(values)))
        raise Interrupted(
            f"interrupted with {done} of {len(rows)} {text} done; they are in `result` of this exception, where all "
            "others are NaN",
            values,
        ) from interrupt
    return values
