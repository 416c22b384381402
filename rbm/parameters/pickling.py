"""Checks that full-order models can be sent to other processes by pickle.

They travel without factorisations; functions that cannot travel are named.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import partial
from types import FunctionType
from typing import Any

from rbm.errors import ModelError
from rbm.parameters.differentiable import Differentiable

__all__ = ["check_coefficients", "check_travel"]

#: Modules that copy functions by their instructions, or share them, and need no names.
BY_VALUE = ("copy", "cloudpickle", "dill", "joblib.externals.cloudpickle", "ray.cloudpickle", "pyspark.cloudpickle")


def check_travel(families: Iterable[Any], solver: Any, terms: Iterable[Any]) -> None:
    """Raise ModelError, naming it, for a function that pickle could not send.

    That is a lambda or a function inside another, also in functools.partial.

    families : coefficients with their `sources`; others are passed over. terms : of the operator, of which the
        functions of a LinearOperator count

    The standard module pickle sends functions by name. Those who send them whole, cloudpickle (joblib, dask) and dill,
    are let through, and so is copy.
    """
    found = [("coefficient", source) for family in families for source in getattr(family, "sources", ())]
    found.append(("solver", solver))
    # those of the user, in a rbm.solvers.user_code.UserOperator
    operators = [term.operator for term in terms if hasattr(term, "operator")]
    found += [("function of a LinearOperator", part) for operator in operators for part in vars(operator).values()]
    _check(found)


def _check(given: Iterable[tuple[str, Any]]) -> None:
    """Raise ModelError for the first function, alone or in a functools.partial, that pickle would not find by its name.

    Nothing is raised if a caller sends functions whole.
    """
    functions = ((what, function) for what, part in given for function in _inside(part))
    wrong = next(((what, function) for what, function in functions if _by_name(function) is not function), None)
    if wrong is not None and not _functions_travel():
        raise ModelError(
            f"the {wrong[0]} {wrong[1].__qualname__} cannot be pickled: another process could not find it by its name. "
            "Define it with def at the top of a module, write coefficients as expressions, 'exp(-mu)', or send the "
            "model with joblib or cloudpickle"
        )


def check_coefficients(sources: Iterable[Any]) -> None:
    """Raise ModelError for coefficients that pickle cannot send, as :func:`check_travel` does."""
    _check(("coefficient", source) for source in sources)


def _inside(given: Any) -> Iterator[FunctionType]:
    """Return the function itself, or those that a functools.partial or a Differentiable is made of."""
    if isinstance(given, FunctionType):
        yield given
    elif isinstance(given, partial):
        for part in (given.func, *given.args, *given.keywords.values()):
            yield from _inside(part)
    elif isinstance(given, Differentiable):
        for part in (given.function, given.derivative):
            yield from _inside(part)


def _by_name(function: FunctionType) -> Any:
    """Return what another process would find under the name of the function."""
    found: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split("."):
        found = getattr(found, part, None)
    return found


def _functions_travel() -> bool:
    """Return True if one of the callers copies functions by value."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if any(name == module or name.startswith(f"{module}.") for module in BY_VALUE):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
