"""The command ``rbm export``: a solution as a field on the user's mesh."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rbm.command_line.only_array import only_array
from rbm.command_line.points import from_values
from rbm.errors import PointError
from rbm.files.model_file import load
from rbm.show.mesh_fields import point_data, read_mesh, write_fields

__all__ = ["add_export"]


def add_export(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    command = commands.add_parser(
        "export",
        help="a solution as a field on a mesh, for ParaView",
        description="Solve a saved model at one parameter point and write the solution as a field on a mesh, in any "
        "format that meshio writes. Fixed unknowns are put in where the model file knows them.",
    )
    command.add_argument("model", type=Path, metavar="MODEL")
    command.add_argument("--mesh", type=Path, required=True, metavar="FILE", help="the mesh, as meshio reads it")
    command.add_argument(
        "--mu",
        nargs="+",
        action="extend",
        required=True,
        metavar="VALUE",
        help="one parameter point: values in the model's order, or NAME=VALUE in any",
    )
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="for instance field.vtu")
    command.add_argument(
        "--unknowns",
        type=Path,
        metavar="FILE",
        help="numbers of the unknown at each point of the mesh, from 0 (default: point i has unknown i)",
    )
    command.add_argument("--name", default="u", help="name of the field (default: u)")
    command.add_argument("--extrapolate", action="store_true", help="allow parameters outside the parameter space")
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    model = load(options.model)
    point = from_values(options.mu, model.parameters.names)
    mesh = read_mesh(options.mesh)
    numbers = None if options.unknowns is None else only_array(options.unknowns, "--unknowns")
    try:
        solution = model.solve(point.mus, extrapolate=options.extrapolate)
    except PointError as error:
        raise type(error)(point.in_words(str(error))) from None
    fields = point_data(model, solution, len(mesh.points), unknowns=numbers, name=options.name)
    write_fields(options.output, mesh, fields)
    bound = f"error bound {solution.bound[0]:.3e} in the P-norm"
    print(f"{', '.join(fields)} at {model.parameters.describe(point.mus[0])}, {bound}, written to {options.output}")
