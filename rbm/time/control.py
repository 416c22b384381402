"""Controls: the number g_k of each step, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.affine.constraints import Constraints
from rbm.errors import ModelError

__all__ = ["IMPULSE", "checked_control", "impulse"]

#: The name of the control 1, 0, 0, ...
IMPULSE = "impulse"


def impulse(steps: int) -> np.ndarray:
    """Return the control (K,) that is one in the first step and zero after it."""
    made = np.zeros(steps)
    made[0] = 1.0
    return made


def checked_control(
    given: Any, steps: int, points: int | None = None, constraints: Constraints | None = None
) -> np.ndarray:
    """Return a control as an array (K,), or (M, K) for `points` = M, in double precision.

    given : "impulse", (K,) for all points or (M, K) for each
    constraints : of the model; fixed values that are not zero are in its right-hand side, which the control scales

    Raises ModelError for another length, for numbers that are not finite, with the step, and for any but ones where
    fixed values are not zero.
    """
    if isinstance(given, str):
        if given != IMPULSE:
            raise ModelError(f'the control must be an array ({steps},), (M, {steps}) or "impulse", got {given!r}')
        given = impulse(steps)
    array = np.asarray(given)
    if array.dtype.kind not in "biufc":
        raise ModelError(f"the control must hold numbers, got an array of {array.dtype}")
    array = array.astype(complex if array.dtype.kind == "c" else float)
    right = array.shape == (steps,) or (points is not None and array.shape in ((points, steps), (1, steps)))
    if not right:
        many = "" if points is None else f" for all points, or ({points}, {steps}) for each"
        raise ModelError(f"the control has the shape {array.shape}; give one number a step, ({steps},){many}")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        place = bad[0]
        at = f"step {place[-1] + 1}" + (f" of point {place[0]}" if array.ndim == 2 else "")
        raise ModelError(f"the control is {array[tuple(place)]} in {at}; it must be finite")
    if constraints is not None and constraints.sources and np.any(array != 1):
        place = np.argwhere(array != 1)[0]
        raise ModelError(
            f"the control is {array[tuple(place)]} in step {place[-1] + 1}, and this model has fixed values that are "
            "not zero: a control scales the whole right-hand side, and what fixed values bring to it, too. Leave the "
            "control at ones, or solve for u less a function with these fixed values"
        )
    return array if points is None else np.broadcast_to(array, (points, steps))
