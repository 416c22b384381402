"""What the compiled kernels need beyond the reduced system: the stability bound, the outputs, places for answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import is_complex
from rbm.online.forms import Finish, speaks_for
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.compliant import ReducedCompliant
from rbm.reduced.output_rows import parts_of
from rbm.solution import Solution

__all__ = ["NONE", "finish_of", "place_of_coefficients", "places"]

NONE = np.zeros(0)


def finish_of(arrays: ReducedArrays) -> Finish | None:
    """Return the stability bound and the outputs for the compiled kernels; None if these do not know their kinds."""
    parts = [part for output in arrays.outputs.values() for part in parts_of(output)]
    outputs = [_simple(part, None, "value", "bound", "certified") for part in parts]
    if arrays.interpolation_error is not None or any(o is None for o in outputs):
        return None
    known = [o for o in outputs if o is not None]
    functionals, magnitudes = (np.array([o[k] for o in known]).reshape(len(known), arrays.size) for k in (0, 1))
    if functionals.dtype.kind == "c" and not (is_complex(arrays.operators) or is_complex(arrays.rhs)):
        return None
    energies = tuple(o.energy() if isinstance(o, ReducedCompliant) else None for o in parts)
    stability, norms = _simple(arrays.stability, NONE, "__call__"), np.array([o[2] for o in known])
    return Finish(stability, functionals, magnitudes, norms, energies)


def places(room: Solution | None) -> Any:
    """Return the arrays of a solution as places for the kernel's answers; None if there is nothing to write to."""
    if room is None or room.estimate is None:
        return None
    columns = [next(iter(d.values()))[:, None] if len(d) == 1 else None for d in (room.outputs, room.output_bounds)]
    known = room.estimate
    return room.coefficients, known.value, known.floor, known.resolved, *columns


def place_of_coefficients(room: Solution | None) -> Any:
    """Return the array of gamma of a solution as the only place for the kernel's answers; None without one."""
    return None if room is None else (room.coefficients, *[None] * 5)


def _simple(what: Any, otherwise: Any, *values: str) -> Any:
    """Return what the compiled kernels know of a stability bound or an output: by its method `simple`, if any."""
    return what.simple() if speaks_for(what, "simple", *values) else otherwise
