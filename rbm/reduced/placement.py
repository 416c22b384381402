"""The place of a reduced model's arrays: the host, as NumPy arrays, or a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import array_api_compat
import numpy as np

from lowrank.arrays import beside, namespace, to_numpy
from lowrank.devices import mover
from rbm.errors import ModelError, ParameterError
from rbm.reduced.arrays import ReducedArrays

__all__ = ["beside_model", "numbers_for", "placed", "points_for"]

#: ReducedArrays, or a class made from it.
Arrays = TypeVar("Arrays", bound=ReducedArrays)


def placed(model: Arrays, target: Any, device: Any = None) -> Arrays:
    """Return the model on `target`; see :meth:`rbm.ReducedModel.to`."""
    move = mover(target, device)
    if move is to_numpy and isinstance(model.operators, np.ndarray):
        return model
    return _moved(model, move)


def beside_model(made: Arrays, array: Any) -> Arrays:
    """Return the NumPy model `made` where `array` lives."""
    if isinstance(array, np.ndarray):
        return made
    return _moved(made, lambda a: beside(a, array))


def _moved(model: Arrays, move: Callable[[Any], Any]) -> Arrays:
    states, refused = {}, dict(model.refused)
    for name, state in model.estimators.items():
        if state.portable:
            states[name] = state.placed(move)
            continue
        reason = "it needs the full model, which stays on the CPU: use the model that was moved"
        if name == model.method:
            raise ModelError(
                f"the default estimator {name!r} cannot be moved: {reason[3:]}, or make it with another estimator "
                f"first, estimators=('orthonormal', {name!r})"
            )
        refused[name] = reason
    operators, rhs = move(model.operators), move(model.rhs)
    basis = None if model.basis is None else move(model.basis)
    coded = None if model.coded is None else model.coded.placed(move)
    outputs = {name: o.placed(move) if hasattr(o, "placed") else o for name, o in model.outputs.items()}
    return replace(
        model,
        operators=operators,
        rhs=rhs,
        basis=basis,
        coded=coded,
        estimators=states,
        refused=refused,
        outputs=outputs,
    )


def points_for(model: ReducedArrays, mus: Any) -> Any:
    """Return parameter points (M, p) where the model lives: NumPy's are moved, others must be there.

    Raises ParameterError for a wrong shape or type, and for points that live elsewhere.
    """
    points = model.parameters.points(mus)
    if type(points) is type(model.operators):
        return points
    if not isinstance(points, np.ndarray):
        raise ParameterError(_elsewhere("mus", points, model))
    return beside(points, model.operators)


def numbers_for(model: ReducedArrays, coefficients: Any) -> Any:
    """Return coefficients as an array where the model lives; ValueError for an array that lives elsewhere."""
    if type(coefficients) is type(model.operators):
        return coefficients
    if array_api_compat.is_array_api_obj(coefficients) and not isinstance(coefficients, np.ndarray):
        raise ValueError(_elsewhere("coefficients", coefficients, model))
    return beside(np.asarray(coefficients), model.operators)


def _elsewhere(name: str, array: Any, model: ReducedArrays) -> str:
    has, wants = (namespace(a).__name__.rpartition(".")[2] for a in (array, model.operators))
    return f"{name} is an array of {has}, the model lives on {wants}: move one of them, the model by its method to()"
