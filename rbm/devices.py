"""Where a reduced model lives: NumPy arrays on the host, or arrays of another module on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from lowrank.arrays import beside, namespace, to_numpy
from lowrank.devices import mover
from rbm.errors import ModelError, ParameterError

if TYPE_CHECKING:
    from rbm.reduced import ReducedModel

__all__ = ["beside_model", "host_model", "numbers_for", "placed", "points_for"]


def placed(model: ReducedModel, target: Any, device: Any = None) -> ReducedModel:
    """The model on `target`; see :meth:`rbm.ReducedModel.to`."""
    move = mover(target, device)
    if move is to_numpy and isinstance(model.operators, np.ndarray):
        return model
    return _moved(model, move)


def host_model(model: ReducedModel) -> ReducedModel:
    """The model in NumPy arrays; the model itself if it is."""
    return placed(model, "numpy")


def beside_model(made: ReducedModel, model: ReducedModel) -> ReducedModel:
    """The NumPy model `made` where `model` lives."""
    if isinstance(model.operators, np.ndarray):
        return made
    return _moved(made, lambda array: beside(array, model.operators))


def _moved(model: ReducedModel, move: Callable[[Any], Any]) -> ReducedModel:
    states, refused = {}, dict(model.refused)
    for name, state in model.estimators.items():
        if state.portable:
            states[name] = state.placed(move)
            continue
        reason = "it needs the full model, which stays on the CPU: use the model that was moved"
        if name == model.method:
            raise ModelError(
                f"the default estimator {name!r} cannot be moved: {reason[3:]}, or make it with another estimator first, "
                f"estimators=('orthonormal', {name!r})"
            )
        refused[name] = reason
    made = replace(
        model,
        operators=move(model.operators),
        rhs=move(model.rhs),
        basis=None if model.basis is None else move(model.basis),
        estimators=states,
        refused=refused,
    )
    made._online.origin = model._online.origin  # known here, so that no query copies arrays from a device to find it
    return made


def points_for(model: ReducedModel, mus: Any) -> Any:
    """Parameter points (M, p) where the model lives: NumPy's are moved, others must be there.

    Raises ParameterError for a wrong shape or type, and for points that live elsewhere.
    """
    points = model.parameters.points(mus)
    if type(points) is type(model.operators):
        return points
    if not isinstance(points, np.ndarray):
        raise ParameterError(_elsewhere("mus", points, model))
    return beside(points, model.operators)


def numbers_for(model: ReducedModel, coefficients: Any) -> Any:
    """Coefficients as an array where the model lives. Raises ValueError for an array that lives elsewhere."""
    if type(coefficients) is type(model.operators):
        return coefficients
    if array_api_compat.is_array_api_obj(coefficients) and not isinstance(coefficients, np.ndarray):
        raise ValueError(_elsewhere("coefficients", coefficients, model))
    return beside(np.asarray(coefficients), model.operators)


def _elsewhere(name: str, array: Any, model: ReducedModel) -> str:
    has, wants = (namespace(a).__name__.rpartition(".")[2] for a in (array, model.operators))
    return f"{name} is an array of {has}, the model lives on {wants}: move one of them, the model by its method to()"
