"""The solver that a model file names, ``solver = "pardiso"`` or the table [solver] with its options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from rbm.command_line.toml_lines import Document
from rbm.errors import ModelError
from rbm.solvers.choice import NAMED

__all__ = ["made_solver", "named_solver"]

#: Options that no text file can hold: communicators.
OBJECTS = ("comm",)
#: Options that are arrays: names of files in the document.
ARRAYS = ("near_null_space",)


def named_solver(document: Document) -> tuple[str | None, dict[str, Any]]:
    """Return the name of the solver, None for the default one, and its options, checked by the fields of its class.

    Raises ModelError, with the line of the file, for a name or an option that there is none of.
    """
    given = document.content.get("solver")
    if given is None:
        return None, {}
    names = ", ".join(f'"{name}"' for name in NAMED)
    if isinstance(given, str):
        given = {"name": given}
        path: tuple[str, ...] = ("solver",)
    elif isinstance(given, dict):
        path = ("solver", "name")
        if "name" not in given:
            document.refuse(f"the table [solver] needs a name: {names}", "solver")
    else:
        document.refuse(
            f"solver must be one of {names}, or a table [solver] with a name and options, got {given!r}", "solver"
        )
    name, options = given["name"], {key: value for key, value in given.items() if key != "name"}
    if not isinstance(name, str) or name not in NAMED:
        document.refuse(f"solver {name!r} is not known; names are {names}", *path)
    fields = {f.name: f for f in dataclasses.fields(NAMED[name]) if f.name not in OBJECTS}  # type: ignore[arg-type]
    for key, value in options.items():
        if key not in fields:
            known = ", ".join(fields) or "none"
            document.refuse(f'unknown option {key!r}; options of the solver "{name}" are: {known}', "solver", key)
        wanted, said = (str, "the name of a file") if key in ARRAYS else _kind(fields[key].default)
        if not isinstance(value, wanted) or isinstance(value, bool):
            document.refuse(f"{key} must be {said}, got {value!r}", "solver", key)
    if not any(key in ARRAYS for key in options):
        _make(document, name, options)  # values that mean nothing are refused before any matrix is read
    return name, options


def made_solver(
    document: Document,
    name: str | None,
    options: Mapping[str, Any],
    array: Callable[..., Any],
    free: np.ndarray | None,
    unknowns: int,
) -> Any:
    """Return the solver for a model, None for the default one.

    array : (name of a file, *path in the document) -> what it holds
    free : numbers of the unknowns that are not fixed, if some are; arrays with a row for each unknown lose the others
    unknowns : how many there are, fixed ones included
    """
    if name is None:
        return None
    made = dict(options)
    for key in ARRAYS:
        if key in made:
            values = np.asarray(array(made[key], "solver", key))
            values = values[:, None] if values.ndim == 1 else values
            rows = len(values) if values.ndim == 2 and values.shape[1] else 0
            if free is not None and rows not in (len(free), unknowns):
                rows = 0
            if not rows or (free is None and rows != unknowns):
                kept = "" if free is None or len(free) == unknowns else f", or {len(free)} without those that are fixed"
                document.refuse(
                    f"{made[key]} has shape {np.shape(values)}, expected ({unknowns}, k): a row for each unknown{kept}",
                    "solver",
                    key,
                )
            made[key] = values if free is None or rows == len(free) else values[free]
    return _make(document, name, made)


def _make(document: Document, name: str, options: Mapping[str, Any]) -> Any:
    try:
        return NAMED[name](**options)
    except ModelError as error:
        document.refuse(str(error), "solver")


def _kind(default: Any) -> tuple[Any, str]:
    """Return the type of an option and its words, from its default."""
    if isinstance(default, str):
        return str, "a text in quotation marks"
    if isinstance(default, int):
        return int, "a whole number"
    return Real, "a number"
