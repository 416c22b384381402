"""Studies and further commands of the command ``rbm``, which installed packages register as entry points.

A study, group ``rbm.studies``, is a function (name, out, tol): it writes its results to the folder `out`, and takes its
own tolerance where tol is None. It has those further options of ``rbm study`` for which it takes an argument by name:
`rng` and `training`, whole numbers, `size`, a whole number or a name; `say`, a function of the lines that it prints,
and `progress`, for --quiet and --json. The latter prints the file summary.json of the folder `out`, or else the
dictionary that it returns. A command, group ``rbm.commands``, is a function of
the list of arguments after its name, which returns the exit status, or None for 0; the first line of its docstring is
what ``rbm --help`` says of it. In the pyproject.toml of a package
of yours:

    [project.entry-points."rbm.studies"]
    beam = "my_package.studies:run"
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import json
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from rbm.errors import ParameterError

__all__ = ["COMMANDS", "STUDIES", "add_study", "described", "load", "registered", "run_command"]

STUDIES, COMMANDS = "rbm.studies", "rbm.commands"

NOT_INSTALLED = (
    "no study is registered: studies are found by entry points of installed packages (rbm.studies); "
    "install this one with `pip install .`, or anew with `pip install --editable .` in a checkout"
)


def add_study(commands: Any) -> None:
    """Register the command ``rbm study`` with the subparsers of argparse."""
    study = commands.add_parser("study")
    names = ", ".join(registered(STUDIES)) or "none is registered"
    study.add_argument("name", metavar="NAME", help=f"a study of an installed package: {names}")
    study.add_argument("--out", type=Path, help="folder for the results (default: out/NAME)")
    study.add_argument("--tol", type=float, help="stop the greedy at this error bound (default: the study's own)")
    study.add_argument("--rng", type=int, metavar="SEED", help="of training and test points (default: 0)")
    study.add_argument("--training", type=int, metavar="M", help="number of training points (default: the study's own)")
    about = "a number, the refinement or number of elements of the full model, or a name such as whole; of each study"
    study.add_argument("--size", type=_size, metavar="K", help=about)
    study.add_argument("--json", action="store_true", help="print summary.json, and all else on standard error")
    study.add_argument("--quiet", action="store_true", help="print no report, and show no progress")
    study.set_defaults(run=_run_study)


def _run_study(options: argparse.Namespace) -> None:
    found = registered(STUDIES)
    if not found:
        raise ParameterError(NOT_INSTALLED)
    if options.name not in found:
        raise ParameterError(
            f"there is no study {options.name!r}; there are {', '.join(found)} (a new entry point needs `pip install` "
            "once more)"
        )
    study = load(found[options.name])
    chosen = _chosen(study, options)
    out = options.out or Path("out") / options.name
    made = study(options.name, out, options.tol, **chosen)
    if options.json:
        written = out / "summary.json"
        if not written.is_file() and not isinstance(made, dict):
            raise ParameterError(f"the study {options.name!r} has written no summary.json for --json to print")
        print(written.read_text(encoding="utf-8").rstrip() if written.is_file() else json.dumps(made, indent=1))


#: Arguments of studies that are passed as they were given.
NUMBERS = ("rng", "training", "size")


def _chosen(study: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments by name of a study; raise ParameterError for options that it does not have."""
    known = inspect.signature(study).parameters
    takes = {name for name, kind in known.items() if kind.kind in (kind.KEYWORD_ONLY, kind.POSITIONAL_OR_KEYWORD)}
    has = [f"--{name}" for name in NUMBERS if name in takes] + (["--json", "--quiet"] if "say" in takes else [])
    asked = [f"--{name}" for name in NUMBERS if getattr(options, name) is not None]
    asked += [f"--{name}" for name in ("json", "quiet") if getattr(options, name)]
    if lacks := [name for name in asked if name not in has]:
        raise ParameterError(
            f"the study {options.name!r} has no {', '.join(lacks)}; it has {', '.join(['--out', '--tol', *has])}"
        )
    chosen: dict[str, Any] = {name: getattr(options, name) for name in NUMBERS if f"--{name}" in asked}
    if options.quiet:
        chosen["say"] = _silent
        chosen |= {"progress": False} if "progress" in takes else {}
    elif options.json:
        chosen["say"] = _to_standard_error
    return chosen


def _size(text: str) -> int | str:
    """Return the number that a text is, or the text, which may be the name of a size."""
    try:
        return int(text)
    except ValueError:
        return text


def _silent(text: str) -> None:
    """Say nothing of what a study reports."""


def _to_standard_error(text: str) -> None:
    print(text, file=sys.stderr)


def run_command(name: str, arguments: Sequence[str]) -> int | None:
    """Run a registered command and return its exit status."""
    status: int | None = load(registered(COMMANDS)[name])(list(arguments))
    return status


def described(entry: EntryPoint) -> str:
    """Return what a command is for: the first line of its docstring, which is read and not run, or whose it is."""
    try:
        spec = _found(entry.module)
        tree = ast.parse(Path(str(None if spec is None else spec.origin)).read_bytes())
    except (ImportError, OSError, SyntaxError, ValueError):  # an incomplete package; `rbm NAME` says so
        tree = ast.Module([], [])
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == entry.attr and (text := ast.get_docstring(node)):
            first = text.splitlines()[0].rstrip(".")
            return f"{first[0].lower()}{first[1:]}".replace("%", "%%")  # for argparse
    return f"a command of {'another package' if entry.dist is None else entry.dist.name}"


def registered(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group, by name; nothing is imported."""
    return {entry.name: entry for entry in sorted(entry_points(group=group), key=lambda entry: entry.name)}


def load(entry: EntryPoint) -> Any:
    """Import and return the object that an entry point names.

    Raises ImportError where its module is not found, with the file of another module of that name if one is in the way.
    """
    spec = _found(entry.module)
    if spec is None:
        raise ImportError(_not_found(entry))
    try:
        return entry.load()
    except AttributeError:
        raise ImportError(_not_found(entry)) from None


def _found(module: str) -> ModuleSpec | None:
    """Return where a module would be imported from; its packages are searched, not run."""
    name, *inner = module.split(".")
    spec = importlib.util.find_spec(name)
    for part in inner:
        name += f".{part}"
        inside = None if spec is None else spec.submodule_search_locations
        spec = None if inside is None else PathFinder.find_spec(name, list(inside))
    return spec


def _not_found(entry: EntryPoint) -> str:
    package = entry.module.partition(".")[0]
    owner = "a package" if entry.dist is None else entry.dist.name
    said = f"{entry.name!r} of {owner} is {entry.value}, which is not found: "
    spec = importlib.util.find_spec(package)
    if spec is None:
        return f"{said}there is no package {package!r}; install what registers it again"
    file = spec.origin or next(iter(spec.submodule_search_locations or ()), "?")
    return (
        f"{said}the module {package!r} that Python finds first, {file}, is another one or incomplete; rename it, "
        "or run `rbm` where Python does not find it (from another folder, without PYTHONPATH)"
    )
