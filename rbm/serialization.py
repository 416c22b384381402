"""Full-order models on their way to other processes: without factorisations, and with a word about functions that cannot travel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any

from rbm.coefficients import Coefficients
from rbm.errors import ModelError
from rbm.user_code import UserOperator

if TYPE_CHECKING:
    from rbm.full_order import FullOrderModel

__all__ = ["state"]

#: Modules that copy functions by their instructions, or share them, and need no names.
BY_VALUE = frozenset(("cloudpickle", "dill", "copy"))


def state(model: FullOrderModel) -> dict[str, Any]:
    """The attributes of a model, for pickle and copy.

    Raises ModelError, naming it, for a lambda or a function inside another one: the standard module pickle sends functions by name.
    Those who send them whole, cloudpickle (joblib, dask) and dill, are let through, and so is copy.
    """
    if not _functions_travel():
        for what, function in _functions(model):
            if _by_name(function) is not function:
                raise ModelError(
                    f"the {what} {function.__qualname__} cannot be pickled: another process could not find it by its name. Define it with def "
                    "at the top of a module, write coefficients as expressions, 'exp(-mu)', or send the model with joblib or cloudpickle"
                )
    return dict(vars(model))


def _functions(model: FullOrderModel) -> Iterator[tuple[str, FunctionType]]:
    """The functions of the user that a model holds."""
    families = [model.operator_coefficients, model.rhs_coefficients, *(o.coefficients for o in model.outputs.values())]
    if model.interpolation_error is not None:
        families.append(model.interpolation_error)
    bound = getattr(model.stability, "coefficient", None)
    families += [bound] if isinstance(bound, Coefficients) else []
    for family in families:
        yield from (("coefficient", source) for source in family.sources if isinstance(source, FunctionType))
    if isinstance(model.solver, FunctionType):
        yield "solver", model.solver
    for term in model.split_terms:
        if isinstance(term, UserOperator):
            parts = vars(term.operator).values()
            yield from (("function of a LinearOperator", part) for part in parts if isinstance(part, FunctionType))


def _by_name(function: FunctionType) -> Any:
    """What another process would find under the name of the function."""
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found


def _functions_travel() -> bool:
    """True if one of the callers copies functions by value."""
    frame = sys._getframe(1)
    while frame is not None:
        if BY_VALUE & set(frame.f_globals.get("__name__", "").split(".")):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
