"""Reduced dual problems in time, in the file of their model."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from rbm.estimators import Orthonormal
from rbm.online.marching import Recursion
from rbm.reduced.model import ReducedModel
from rbm.reduced.outputs import ReducedLinear
from rbm.time.dual import ReducedDual, Start
from rbm.time.initial import ReducedInitial
from rbm.time.lost_digits import LostDigits

__all__ = ["read_dual", "write_dual"]

#: Arrays of a dual problem and their number of axes.
AXES = {"operators": 3, "mass": 3, "rhs": 2, "factor": 2, "norms": 1, "defects": 1, "correction": 2}
#: Those that are real, and those of parts that may be missing.
REAL = ("norms", "defects", "rest", "start_error")


class InTime(Protocol):
    """What is asked of the model that a dual problem belongs to (:class:`rbm.time.reduced.ReducedTimeModel`)."""

    @property
    def terms(self) -> ReducedModel:
        """The reduced matrices and outputs."""

    @property
    def recursion(self) -> Recursion:
        """The reduced recursion."""

    @property
    def initial(self) -> ReducedInitial:
        """The reduced initial value."""

    @property
    def decay(self) -> float:
        """A proved rate lambda of decay."""


def write_dual(name: str, dual: ReducedDual, prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Put the arrays of a dual problem into `arrays`, under the prefix, and return its entry of the header."""
    recursion, state = dual.recursion, dual.state
    parts: dict[str, Any] = {"operators": recursion.operators, "mass": recursion.mass, "rhs": recursion.rhs}
    parts |= {"factor": state.factor, "norms": state.norms, "defects": state.defects, "correction": dual.correction}
    entry = {
        "name": name,
        "orthogonality": float(state.orthogonality),
        "correction_error": dual.correction_error,
        "orthonormality": dual.orthonormality,
    }
    if dual.lost is not None:
        parts |= {"lost": dual.lost.factor, "rest": dual.lost.rest}
        entry["growth"] = dual.lost.growth
    if dual.start is not None:
        parts |= {"start": dual.start.masses, "start_error": dual.start.error}
    arrays |= {f"{prefix}/{key}": np.asarray(array) for key, array in parts.items()}
    return entry


def read_dual(entry: dict[str, Any], prefix: str, arrays: dict[str, np.ndarray], model: InTime) -> ReducedDual:
    """Return a dual problem from what :func:`write_dual` wrote.

    Raises KeyError for parts that are missing, ValueError for parts that do not fit each other or the model.
    """
    start = f"{prefix}/"
    found = {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}
    parts = {key: found[key] for key in AXES}
    bad = [key for key, axes in AXES.items() if parts[key].ndim != axes]
    numbers = {key: float(entry[key]) for key in ("orthogonality", "correction_error", "orthonormality")}
    bad += [key for key, number in numbers.items() if not 0 <= number < np.inf]
    bad += [key for key, array in found.items() if array.dtype.kind not in ("f" if key in REAL else "fc")]
    bad += [key for key, array in found.items() if not np.all(np.isfinite(array))]
    if bad:
        raise ValueError(f"{bad[0]!r} of the dual problem of {entry['name']!r} is not what it should be")
    _check(str(entry["name"]), parts, model)
    lost = None
    if "lost" in found:
        lost = LostDigits(found["lost"], found["rest"], float(entry["growth"]))
        width = parts["factor"].shape[1]
        fits = lost.factor.ndim == 2 and lost.factor.shape[1] == width and lost.rest.shape == (width,)
        if not (fits and np.all(lost.rest >= 0) and 1 <= lost.growth < 2):
            raise ValueError(f"the lost digits of the dual problem of {entry['name']!r} do not fit its factor")
    of = model.recursion
    recursion = Recursion(parts["operators"], parts["mass"], parts["rhs"], of.dt, of.theta)
    state = Orthonormal(parts["factor"], parts["norms"], parts["defects"], numbers["orthogonality"])
    errors = numbers["correction_error"], numbers["orthonormality"]
    begin = _start(found, parts, model) if "start" in found else None
    return ReducedDual(recursion, state, parts["correction"], *errors, lost, model.decay, begin)


def _check(name: str, parts: dict[str, np.ndarray], model: InTime) -> None:
    """Raise ValueError for arrays that do not fit each other, or the model."""
    output = model.terms.outputs.get(name)
    if not isinstance(output, ReducedLinear):
        raise ValueError(f"it has a dual problem of {name!r}, which is no linear output of it")
    count, qa, qm = len(output.coefficients), len(model.recursion.operators), len(model.recursion.mass)
    size = parts["correction"].shape[0]
    width, state = count + size * (qa + qm), model.terms.state("orthonormal")
    assert isinstance(state, Orthonormal)
    right = {
        "operators": (qa, size, size),
        "mass": (qm, size, size),
        "rhs": (count, size),
        "factor": (len(parts["factor"]), width),
        "norms": (width,),
        "defects": (width,),
        "correction": (size, len(state.factor)),
    }
    for key, shape in right.items():
        if parts[key].shape != shape:
            raise ValueError(f"{key!r} of the dual problem of {name!r} has the shape {parts[key].shape}, not {shape}")
    if np.any(parts["norms"] < 0) or np.any(parts["defects"] < 0):
        raise ValueError(f"the dual problem of {name!r} has negative norms or defects")
    columns = np.linalg.norm(parts["factor"], axis=0)
    if np.any(parts["norms"] > (columns + parts["defects"]) * (1 + 2.0**-20) + 1e-290):
        raise ValueError(f"the factor of the dual problem of {name!r} is not the one that its norms are of")


def _start(found: dict[str, np.ndarray], parts: dict[str, np.ndarray], model: InTime) -> Start:
    masses, error = found["start"], found["start_error"]
    shape = len(parts["mass"]), parts["correction"].shape[0], len(model.initial.triangle)
    if masses.shape != shape:
        raise ValueError(f"what its dual problems know of the initial value has the shape {masses.shape}, not {shape}")
    if error.shape != (len(masses),) or np.any(error < 0):
        raise ValueError(f"start_error of its dual problems has the shape {error.shape}, or negative numbers")
    return Start(masses, error)
