"""The command ``rbm explore``: a window with sliders for a saved model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rbm.command_line.only_array import add_unknowns, unknowns_of
from rbm.errors import ParameterError
from rbm.show.explore import Explorer
from rbm.show.explore.window import open_window
from rbm.show.mesh_fields import read_mesh, unknowns_at_points
from rbm.time.files import load
from rbm.time.reduced import ReducedTimeModel

__all__ = ["add_explore"]


def add_explore(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    command = commands.add_parser(
        "explore",
        description="Open a window with a slider for each parameter of a saved model, its outputs with their error "
        "bounds, and the response curve of one of them with its certified band. With --field the solution is drawn on "
        "a mesh. Without a display, rbm export MODEL --html FILE writes a page for the browser.",
    )
    command.add_argument("model", type=Path, metavar="MODEL")
    command.add_argument("--field", type=Path, metavar="MESH", help="draw the field on this mesh, as meshio reads it")
    add_unknowns(command)
    command.add_argument("--output", metavar="NAME", help="the output that is shown first")
    command.add_argument("--over", metavar="PARAMETER", help="the parameter, or t, that the curve is over first")
    command.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> None:
    if options.unknowns is not None and options.field is None:
        raise ParameterError("--unknowns is for a mesh, give --field MESH as well")
    explorer = _explorer(load(options.model), options)
    explorer.output = _choice("--output", options.output, explorer.outputs, explorer.output)
    explorer.over = _choice("--over", options.over, explorer.names, explorer.over)
    if options.over is not None and explorer.fixed(explorer.over):
        raise ParameterError(f"--over {options.over!r} has one value only, there is no curve over it")
    open_window(explorer, str(options.model))


def _explorer(model: Any, options: argparse.Namespace) -> Explorer:
    """Return the explorer of a model, with the field if there is a mesh; options are named where that does not fit."""
    if options.field is None:
        return Explorer(model)
    mesh, numbers = read_mesh(options.field), unknowns_of(options)
    terms = model.terms if isinstance(model, ReducedTimeModel) else model
    if terms.unknowns is not None:
        numbers = unknowns_at_points(terms.unknowns, terms.constraints, len(mesh.points), numbers)
    return Explorer(model, mesh, unknowns=numbers)


def _choice(option: str, given: str | None, known: tuple[str, ...], default: int) -> int:
    if given is None:
        return default
    if given not in known:
        raise ParameterError(f"{option} {given!r} is not there; there are {', '.join(known)}")
    return known.index(given)
