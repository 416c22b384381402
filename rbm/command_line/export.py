"""The command ``rbm export``: a solution as a field on the user's mesh, a series of them, or the model as a page."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rbm.command_line.in_time import add_time_options, chosen_steps, read_control, refuse_time_options
from rbm.command_line.only_array import add_unknowns, unknowns_of
from rbm.command_line.points import from_values
from rbm.errors import ModelError, ParameterError, PointError
from rbm.show.digits import rounded_up
from rbm.show.field_series import SERIES, write_series
from rbm.show.mesh_fields import checked_name, field_data, point_data, read_mesh, write_fields
from rbm.show.page import write_page
from rbm.time.files import load
from rbm.time.reduced import ReducedTimeModel

__all__ = ["add_export"]


def add_export(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    command = commands.add_parser(
        "export",
        description="Solve a saved model at one parameter point and write a solution as a field on a mesh, in a format "
        "that keeps values at points: .vtu, .vtk, .xdmf, .ply and others. Fixed unknowns are put in where the model "
        "file knows them. Several times of a model in time make a series, .pvd (with a .vtu for each) or .xdmf. With "
        "--html: write the model as one file that solves, bounds and plots in the browser, and needs nothing else.",
    )
    command.add_argument("model", type=Path, metavar="MODEL")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a page, such as page.html; without all below")
    command.add_argument("--title", help="of the page (default: the name of the model's file)")
    command.add_argument("--force", action="store_true", help="replace a page that exists")
    command.add_argument("--mesh", type=Path, metavar="FILE", help="the mesh, as meshio reads it")
    command.add_argument(
        "--mu",
        nargs="+",
        action="extend",
        metavar="VALUE",
        help="one parameter point: values in the model's order, or NAME=VALUE in any",
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="for instance field.vtu")
    add_unknowns(command)
    command.add_argument("--name", default="u", help="name of the field (default: u)")
    command.add_argument("--extrapolate", action="store_true", help="allow parameters outside the parameter space")
    add_time_options(command)
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    if options.html is not None:
        _export_page(options)
        return
    for name in ("title", "force"):
        if getattr(options, name):
            raise ParameterError(f"--{name} is for pages: rbm export MODEL --html FILE")
    missing = [name for name in ("mesh", "mu", "output") if getattr(options, name) is None]
    if missing:
        raise ParameterError(
            f"a field needs {', '.join(f'--{name}' for name in missing)}; for a page of the model give --html FILE"
        )
    if options.output.resolve() == options.mesh.resolve():
        raise ParameterError(f"{options.output} is the mesh itself: choose another file for the field")
    checked_name(options.name)
    model = load(options.model)
    if isinstance(model, ReducedTimeModel):
        _export_in_time(model, options)
        return
    refuse_time_options(options)
    point = from_values(options.mu, model.parameters.names)
    mesh = read_mesh(options.mesh)
    numbers = unknowns_of(options)
    try:
        solution = model.solve(point.mus, extrapolate=options.extrapolate)
    except PointError as error:
        raise type(error)(point.in_words(str(error))) from None
    fields = point_data(model, solution, len(mesh.points), unknowns=numbers, name=options.name)
    write_fields(options.output, mesh, fields, {f"{options.name}_error_bound_P_norm": float(solution.bound[0])})
    bound = f"error bound {rounded_up(float(solution.bound[0]))} in the P-norm"
    print(f"{', '.join(fields)} at {model.parameters.describe(point.mus[0])}, {bound}, written to {options.output}")


def _export_page(options: argparse.Namespace) -> None:
    of_fields = ("mesh", "mu", "output", "unknowns", "control", "times", "extrapolate")
    given = [name for name in of_fields if getattr(options, name, None)]
    if given or options.name != "u":
        raise ParameterError(f"--{given[0] if given else 'name'} is for fields, a page (--html) has all parameters")
    if options.html.resolve() == options.model.resolve():
        raise ParameterError(f"{options.html} is the model itself: choose another file for the page")
    if options.html.is_dir():
        raise ParameterError(
            f"{options.html} is a folder: give the name of a file, such as {options.html / 'page.html'}"
        )
    if options.html.exists() and not options.force:
        raise ParameterError(f"{options.html} exists; choose another file, or replace it with --force")
    model: Any = load(options.model)
    path = write_page(model, options.html, title=options.title or options.model.stem)
    kept = f"{model.size} basis vectors, {len(model.outputs)} outputs"
    print(f"{path}: {path.stat().st_size} bytes, {kept}; open it in a browser")


def _export_in_time(model: ReducedTimeModel, options: argparse.Namespace) -> None:
    if model.basis is None:
        raise ModelError(f"{options.model} does not hold its basis; save it with basis=True for full vectors")
    steps, ending = chosen_steps(options.times, model.times), options.output.suffix.lower()
    several = len(steps) > 1
    if several and ending not in SERIES:
        raise ParameterError(f"{options.output}: {len(steps)} times make a series, which ends in {' or '.join(SERIES)}")
    point, control = from_values(options.mu, model.parameters.names), read_control(options.control, model.steps, 1)
    mesh = read_mesh(options.mesh)
    numbers = unknowns_of(options)
    try:
        solution = model.solve(point.mus, control, extrapolate=options.extrapolate)
    except PointError as error:
        raise type(error)(point.in_words(str(error))) from None
    assert solution.coefficients is not None
    trajectory, names = solution.coefficients[0], {}

    def fields() -> Iterator[dict[str, np.ndarray]]:
        for k in steps:
            u, constraints = model.reconstruct(trajectory[k : k + 1]), model.terms.constraints
            made = field_data(u, constraints, solution.mus, len(mesh.points), unknowns=numbers, name=options.name)
            names.update(dict.fromkeys(made))
            yield made

    facts = [{f"{options.name}_error_bound_M_norm": float(solution.bound_l2[0, k])} for k in steps]
    if several or ending == ".pvd":
        write_series(options.output, mesh, steps, model.times[steps], fields(), facts)
    else:
        write_fields(options.output, mesh, next(fields()), facts[0])
    first, last = (f"{model.times[k]:.10g}" for k in (steps[0], steps[-1]))
    when = f"{len(steps)} times from {first} to {last}" if several else f"t = {last}"
    bound = f"error bound {rounded_up(float(solution.bound_l2[0, steps].max()))} in the norm of the mass"
    at = model.parameters.describe(point.mus[0])
    print(f"{', '.join(names)} at {at}, {when}, {bound}, written to {options.output}")
