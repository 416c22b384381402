"""Where a reduced model lives: NumPy arrays on the host, or arrays of another module on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from lowrank.arrays import beside, namespace, to_numpy
from lowrank.optional import require
from rbm.errors import ModelError, ParameterError

if TYPE_CHECKING:
    from rbm.reduced import ReducedModel

__all__ = ["beside_model", "host_model", "mover", "numbers_for", "placed", "points_for"]


def mover(target: Any, device: Any = None) -> Callable[[Any], Any]:
    """The function that takes an array of any module to `target`: "numpy", "cupy" or an array module; on `device`, if it is given.

    Raises ImportError without CuPy, RuntimeError without a GPU, ValueError for another target.
    """
    if target == "numpy" or target is np:
        return to_numpy
    xp = _cupy() if target == "cupy" else target
    if not hasattr(xp, "asarray"):
        raise ValueError(f'a model lives on "numpy" or "cupy" (or on an array module, for tests), got {target!r}')
    where = {} if device is None else {"device": device}
    return lambda array: xp.asarray(to_numpy(array), **where)


def _cupy() -> Any:
    """CuPy as the array API standard wants it, after a look whether there is a device."""
    purpose = "a model on a GPU (here with CUDA 12; for CUDA 13 the extra is gpu-cuda13, the package cupy-cuda13x)"
    cupy = require("cupy", "cupy-cuda12x", purpose, "gpu-cuda12")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f'CuPy finds no GPU ({error}); to("numpy") is the model on the CPU') from error
    if not count:
        raise RuntimeError('CuPy finds no GPU; to("numpy") is the model on the CPU')
    return require("array_api_compat.cupy", "array-api-compat", purpose)


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
