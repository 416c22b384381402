"""What a model file in TOML says, checked: a frozen data class without matrices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any, get_args

import rbm.stability
from rbm.command_line.described_solver import named_solver
from rbm.command_line.toml_lines import Document, read_toml
from rbm.errors import ModelError, ParameterError
from rbm.full_order import Projection
from rbm.parameters.distributions import Distribution, distribution
from rbm.parameters.expressions import Expression
from rbm.parameters.space import ParameterSpace

__all__ = ["BOUNDS", "Description", "Entry", "read_description"]

VERSION = 1
#: The keys of each table; those of [parameters], [outputs] and [stability] are names.
TABLES = {
    "operators": ("file", "coefficient"),
    "rhs": ("file", "coefficient"),
    "training": ("points", "method", "rng"),
    "greedy": ("tol", "max_basis", "relative", "projection", "dual", "batch", "split"),
    "fixed": ("dofs", "values"),
}
KEYS = ("version", "parameters", "operators", "rhs", "product", "stability", "outputs", "solver", *list(TABLES)[2:])
NEEDED = ("version", "parameters", "operators", "rhs", "product", "stability")
#: Kinds of stability bounds, and the classes of rbm.stability whose fields are their options.
BOUNDS = {
    "min-theta": "MinTheta",
    "pencil": "Pencil",
    "scm": "SCM",
    "natural-norm": "NaturalNorm",
    "anchored": "Anchored",
}
CLAIMED = ("number", "expression")
METHODS = ("random", "grid", "sobol")


@dataclass(frozen=True)
class Entry:
    """A term: the name of its file, and its coefficient."""

    file: str
    coefficient: float | str
    path: tuple[str | int, ...]  #: where it stands in the document


@dataclass(frozen=True)
class Description:
    """All that a model file says; file names are as written, relative to its folder."""

    document: Document
    parameters: ParameterSpace
    scales: tuple[str, ...]  #: of each parameter, how the training points fill its range
    operators: tuple[Entry, ...]
    rhs: tuple[Entry, ...]
    product: str
    bound: str  #: kind of the stability bound
    options: Mapping[str, Any]
    outputs: Mapping[str, str]
    fixed: tuple[str, str | None] | None  #: files of numbers and values
    points: int
    method: str
    rng: int
    tol: float
    max_basis: int | None
    relative: bool
    projection: Projection
    dual: tuple[str, ...] | str  #: outputs that get a dual problem, or "all"
    batch: int = 1  #: the most snapshots a step
    split: bool = False  #: cut the box of parameters until each part meets tol with max_basis vectors
    solver: str | None = None  #: its name
    solver_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the model file."""
        return Path(self.document.file).parent


def read_description(path: Path) -> Description:
    """Read a model file.

    Raises FileNotFoundError, and ModelError with the line of the file for a key that is not known or is missing, a
    value of another type, a range, a formula with an unknown name, a bound that this version does not have.
    """
    document = read_toml(path)
    content = document.content
    _check_keys(document, content, KEYS, ())
    if missing := [key for key in NEEDED if key not in content]:
        document.refuse(f"{', '.join(missing)} is missing; rbm reduce --template prints an example")
    version = content["version"]
    if version != VERSION or isinstance(version, bool):
        document.refuse(f"version = {version!r}, this package reads version {VERSION}", "version")
    parameters, scales = _parameters(document)
    bound, options = _stability(document, parameters)
    outputs = _table(document, "outputs")
    for name in outputs:
        _text(document, outputs[name], "outputs", name)
        if name in parameters.names:
            document.refuse(f"output {name!r} has the name of a parameter; give it another one", "outputs", name)
    training, greedy = _known(document, "training"), _known(document, "greedy")
    fixed = _known(document, "fixed")
    if fixed and "dofs" not in fixed:
        document.refuse("[fixed] needs dofs, the file with the numbers of the fixed unknowns", "fixed")
    files = {key: _text(document, fixed[key], "fixed", key) for key in fixed}
    solver, solver_options = named_solver(document)
    return Description(
        document,
        parameters,
        scales,
        operators=_entries(document, "operators", parameters),
        rhs=_entries(document, "rhs", parameters),
        product=_text(document, content["product"], "product"),
        bound=bound,
        options=options,
        outputs=outputs,
        fixed=(files["dofs"], files.get("values")) if fixed else None,
        points=_whole(document, training.get("points", 500), 1, "training", "points"),
        method=_choice(document, training.get("method", _method(parameters)), METHODS, "training", "method"),
        rng=_whole(document, training.get("rng", 0), 0, "training", "rng"),
        tol=_number(document, greedy.get("tol", 0.0), "greedy", "tol"),
        max_basis=_whole(document, greedy["max_basis"], 1, "greedy", "max_basis") if "max_basis" in greedy else None,
        relative=_flag(document, greedy.get("relative", False), "greedy", "relative"),
        projection=_choice(
            document, greedy.get("projection", "galerkin"), get_args(Projection), "greedy", "projection"
        ),  # type: ignore[arg-type]
        dual=_dual(document, greedy.get("dual", []), tuple(outputs)),
        batch=_whole(document, greedy.get("batch", 1), 1, "greedy", "batch"),
        split=_flag(document, greedy.get("split", False), "greedy", "split"),
        solver=solver,
        solver_options=solver_options,
    )


def _method(parameters: ParameterSpace) -> str:
    return "grid" if len(parameters) == 1 else "sobol"


def _dual(document: Document, given: Any, outputs: tuple[str, ...]) -> tuple[str, ...] | str:
    """Return the names of the outputs that get a dual problem, or "all"."""
    if given == "all":
        return given
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        document.refuse(f'dual must be "all", or a list of names of outputs, got {given!r}', "greedy", "dual")
    for name in given:
        if name not in outputs:
            known = ", ".join(outputs) or "none"
            document.refuse(f"dual names the output {name!r}, which [outputs] does not have: {known}", "greedy", "dual")
    return tuple(given)


def _parameters(document: Document) -> tuple[ParameterSpace, tuple[str, ...]]:
    """Return the parameter space, and the scale of each parameter."""
    given = _table(document, "parameters")
    ranges: dict[str, tuple[float, float]] = {}
    scales: list[Any] = []
    distributions: dict[str, Distribution] = {}
    for name, value in given.items():
        if isinstance(value, dict):
            _check_keys(document, value, ("range", "scale", "distribution"), ("parameters", name))
            if "range" not in value and "distribution" not in value:
                document.refuse(f"{name} needs a range = [low, high], or a distribution", "parameters", name)
        scale: Any = value.get("scale", "linear") if isinstance(value, dict) else "linear"
        try:
            if isinstance(value, dict) and "distribution" in value:
                distributions[name] = _distribution(document, name, value["distribution"])
            limits: Any = value.get("range") if isinstance(value, dict) else value
            limits = list(distributions[name].support) if limits is None else limits
            if not isinstance(limits, list):
                document.refuse(f"the range of {name} must be [low, high], got {limits!r}", "parameters", name)
            known = {name: distributions[name]} if name in distributions else None
            one = ParameterSpace({name: limits}, scale, distributions=known)
        except ParameterError as error:
            document.refuse(str(error), "parameters", name)
        ranges[name] = (float(one.bounds[0, 0]), float(one.bounds[0, 1]))
        scales.append(scale)
    common: Any = scales[0] if len(set(scales)) == 1 else "linear"
    try:
        return ParameterSpace(ranges, scale=common, distributions=distributions), tuple(scales)
    except ParameterError as error:
        document.refuse(str(error), "parameters")


def _distribution(document: Document, name: str, given: Any) -> Distribution:
    """Return the distribution {name = "beta", a = 2, b = 5, loc = 0.1, scale = 9.9} of a parameter."""
    if not isinstance(given, dict) or "name" not in given:
        example = '{name = "beta", a = 2, b = 5, loc = 0.1, scale = 9.9}, a name and numbers as in scipy.stats'
        document.refuse(f"the distribution of {name} must be {example}, got {given!r}", "parameters", name)
    return distribution(name, given)


def _entries(document: Document, key: str, parameters: ParameterSpace) -> tuple[Entry, ...]:
    """Return the terms of the operator or the right-hand side."""
    given = document.content[key]
    if not isinstance(given, list) or not given or not all(isinstance(term, dict) for term in given):
        document.refuse(f"{key} must be tables [[{key}]], one a term, with file and coefficient", key)
    made = []
    for k, term in enumerate(given):
        _check_keys(document, term, TABLES[key], (key, k))
        if missing := [name for name in TABLES[key] if name not in term]:
            document.refuse(f"this term has no {' and no '.join(missing)}", key, k)
        coefficient = _coefficient(document, term["coefficient"], parameters, key, k, "coefficient")
        made.append(Entry(_text(document, term["file"], key, k, "file"), coefficient, (key, k)))
    return tuple(made)


def _stability(document: Document, parameters: ParameterSpace) -> tuple[str, dict[str, Any]]:
    """Return the kind of the stability bound, and its options, checked by the fields of its class."""
    given = dict(_table(document, "stability"))
    kinds = (*CLAIMED, *BOUNDS)
    kind = _choice(document, given.pop("kind", None), kinds, "stability", "kind")
    if kind in CLAIMED:
        _check_keys(document, given, ("value",), ("stability",))
        if "value" not in given:
            document.refuse(f'the bound "{kind}" needs a value', "stability")
        value = _coefficient(document, given["value"], parameters, "stability", "value")
        if isinstance(value, str) != (kind == "expression"):
            document.refuse(f'the value of the bound "{kind}" is {value!r}', "stability", "value")
        return kind, {"value": value}
    cls = getattr(rbm.stability, BOUNDS[kind], None)
    if cls is None:
        document.refuse(f'this version of rbm-toolkit has no bound "{kind}"', "stability", "kind")
    fields = {each.name: each for each in dataclasses.fields(cls) if each.init}
    _check_keys(document, given, tuple(fields), ("stability",))
    for name, each in fields.items():
        if name in given:
            _check_type(document, given[name], each.default, name)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            document.refuse(f'the bound "{kind}" needs {name}', "stability")
    return kind, given


def _check_type(document: Document, value: Any, default: Any, name: str) -> None:
    """Raise ModelError if an option is of another type than its default."""
    wanted: Any = None
    if isinstance(default, bool):
        wanted = (bool, "true or false")
    elif isinstance(default, int):
        wanted = (int, "a whole number")
    elif isinstance(default, float):
        wanted = (Real, "a number")
    if wanted and (not isinstance(value, wanted[0]) or (isinstance(value, bool) and wanted[0] is not bool)):
        document.refuse(f"{name} must be {wanted[1]}, got {value!r}", "stability", name)


def _check_keys(
    document: Document, given: Mapping[str, Any], known: tuple[str, ...], path: tuple[str | int, ...]
) -> None:
    for name in given:
        if name not in known:
            document.refuse(f"unknown key {name!r}; known here are {', '.join(known)}", *path, name)


def _table(document: Document, key: str) -> dict[str, Any]:
    """Return a table of the document, which may be left out."""
    given = document.content.get(key, {})
    if not isinstance(given, dict):
        document.refuse(f"{key} must be a table [{key}], got {given!r}", key)
    if key in NEEDED and not given:
        document.refuse(f"the table [{key}] is empty", key)
    return given


def _known(document: Document, key: str) -> dict[str, Any]:
    given = _table(document, key)
    _check_keys(document, given, TABLES[key], (key,))
    return given


def _coefficient(document: Document, given: Any, parameters: ParameterSpace, *path: str | int) -> float | str:
    if isinstance(given, str):
        try:
            Expression(given, parameters.names)
        except ModelError as error:
            document.refuse(str(error), *path)
        return given
    return _number(document, given, *path, signed=True, what="a number or a formula in quotation marks")


def _number(document: Document, given: Any, *path: str | int, signed: bool = False, what: str = "a number") -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < float("inf"):
        document.refuse(f"{path[-1]} must be {what}, got {given!r}", *path)
    if given < 0 and not signed:
        document.refuse(f"{path[-1]} must be a number >= 0, got {given!r}", *path)
    return float(given)


def _whole(document: Document, given: Any, least: int, *path: str | int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        document.refuse(f"{path[-1]} must be a whole number of at least {least}, got {given!r}", *path)
    return given


def _flag(document: Document, given: Any, *path: str | int) -> bool:
    if not isinstance(given, bool):
        document.refuse(f"{path[-1]} must be true or false, got {given!r}", *path)
    return given


def _text(document: Document, given: Any, *path: str | int) -> str:
    if not isinstance(given, str) or not given.strip():
        document.refuse(f"{path[-1]} must be the name of a file in quotation marks, got {given!r}", *path)
    return given


def _choice(document: Document, given: Any, known: tuple[str, ...], *path: str | int) -> str:
    if given not in known:
        said = "is missing" if given is None else f"must be one of the following, got {given!r}"
        document.refuse(f"{path[-1]} {said}: {', '.join(known)}", *path)
    return str(given)
