"""Solutions as fields on the user's mesh, in formats of meshio that keep values at points: .vtu, .vtk, .xdmf, ..."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from lowrank.optional import require
from lowrank.writing import write_atomically
from rbm.affine.constraints import Constraints
from rbm.affine.entries import dense_entries
from rbm.errors import FileFormatError, ModelError
from rbm.reduced.model import ReducedModel
from rbm.solution import Solution

__all__ = [
    "KEEPING",
    "checked_name",
    "field_data",
    "point_data",
    "quiet",
    "read_mesh",
    "three_coordinates",
    "unknowns_at_points",
    "write_fields",
]

#: Endings of formats in which meshio writes the values at points; in others it leaves them out without a word.
KEEPING = (".vtu", ".vtk", ".xdmf", ".ply", ".tec", ".dat", ".avs", ".med", ".h5m")


def checked_name(name: Any) -> str:
    """Return the name of a field; raise ModelError for one that some format, or a label of a figure, cannot hold."""
    if not isinstance(name, str) or not name.strip():
        raise ModelError(f"the name of a field must be a text, got {name!r}")
    if not all(c.isalnum() or c in "_-. " for c in name):
        raise ModelError(f"the name of a field is made of letters, digits, _, -, . and spaces, got {name!r}")
    return name


def point_data(
    model: ReducedModel, solution: Solution, points: int, *, unknowns: Any = None, name: str = "u"
) -> dict[str, np.ndarray]:
    """Return solutions as meshio's point data: the values (points,) at each point of a mesh, by name.

    Parameters
    ----------
    model : with its basis, and with its constraints if unknowns were eliminated (:func:`rbm.constrain`), whose values
        are then put in
    solution : one of that model, at M parameter points
    points : number of points of the mesh
    unknowns : numbers (points,) of the unknown at each point; by default point i has unknown i, which is true for
        elements with one unknown at each vertex and no other. For elements of higher order, or fields with several
        components, give those of the vertices, or of one component
    name : of the field: "u" at one parameter point, "u_0", "u_1", ... at several; "u_re" and "u_im" if it is complex

    Raises ModelError for a model without a basis, and numbers that do not fit; the message says what the model knows.

    Examples
    --------
    >>> import meshio  # doctest: +SKIP
    >>> mesh = meshio.read("rod.msh")  # doctest: +SKIP
    >>> mesh.point_data = point_data(model, model.solve([2.0]), len(mesh.points))  # doctest: +SKIP
    """
    return field_data(
        model.reconstruct(solution), model.constraints, solution.mus, points, unknowns=unknowns, name=name
    )


def field_data(
    u: np.ndarray,
    constraints: Constraints | None,
    mus: np.ndarray | None,
    points: int,
    *,
    unknowns: Any = None,
    name: str = "u",
) -> dict[str, np.ndarray]:
    """Return vectors u (M, n) as meshio's point data, as :func:`point_data` does.

    mus : the parameter points (M, p), or the one (1, p) of all vectors
    """
    numbers = unknowns_at_points(u.shape[1], constraints, points, unknowns)
    if constraints is not None:
        u = constraints.expand(u, mus)
    values = u if numbers is None else u[:, numbers]
    made: dict[str, np.ndarray] = {}
    for k, row in enumerate(values):
        label = name if len(values) == 1 else f"{name}_{k}"
        if np.iscomplexobj(row):
            made |= {f"{label}_re": row.real.copy(), f"{label}_im": row.imag.copy()}
        else:
            made[label] = row.copy()
    return made


def read_mesh(path: str | os.PathLike[str]) -> Any:
    """Return the meshio.Mesh of a file.

    Raises FileNotFoundError, and FileFormatError for what meshio cannot read; ImportError without meshio.
    """
    meshio = require("meshio", "meshio", "reading a mesh", "mesh")
    if not Path(path).exists():
        raise FileNotFoundError(f"there is no mesh file {os.fspath(path)}")
    try:
        with quiet():
            return meshio.read(path)
    except (Exception, SystemExit) as error:  # meshio's readers end in all kinds of exceptions, and in sys.exit
        raise FileFormatError(f"{os.fspath(path)} is not a mesh file that meshio can read") from error


def write_fields(
    path: str | os.PathLike[str],
    mesh: Any,
    fields: dict[str, np.ndarray],
    facts: Mapping[str, float] | None = None,
) -> None:
    """Write points and cells of a mesh with fields, whole or not at all; the ending of the name says the format.

    path : ends in one of `KEEPING`; meshio's other formats, .msh or .stl for instance, would lose the fields
    facts : numbers by name, error bounds for instance, that become field data of .vtu; other formats have no place for
        them

    Raises ModelError for another ending, names that :func:`checked_name` refuses, and cells that the format does not
    know; OSError.
    """
    meshio = require("meshio", "meshio", "writing a field", "mesh")
    target, points = Path(path), three_coordinates(mesh)
    if target.suffix.lower() not in KEEPING:
        raise ModelError(
            f"meshio cannot write {target.name} with values at points; take one of the endings {', '.join(KEEPING)}"
        )
    for name, values in fields.items():
        checked_name(name)
        if target.suffix.lower() == ".ply" and (values.ndim > 1 or " " in name):
            raise ModelError(f"{target.name}: .ply keeps no vectors, and no names with spaces; take .vtu, got {name!r}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with quiet():
                meshio.write(Path(folder) / target.name, meshio.Mesh(points, mesh.cells, point_data=fields))
            if facts and target.suffix.lower() == ".vtu":
                _add_facts(Path(folder) / target.name, facts)
        except (Exception, SystemExit) as error:
            raise ModelError(f"meshio cannot write {target.name} ({error}); take an ending such as .vtu") from error
        # some formats keep their numbers in a second file
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == target.name):
            write_atomically(target.parent / file.name, file.read_bytes())


def _add_facts(path: Path, facts: Mapping[str, float]) -> None:
    """Put numbers into a .vtu file as field data, which stands before the piece."""
    lines = [
        f'<DataArray type="Float64" Name={quoteattr(name)} NumberOfTuples="1" format="ascii">'
        f"{float(number)!r}</DataArray>"
        for name, number in facts.items()
    ]
    text, place = path.read_bytes(), b"<UnstructuredGrid>"
    start = text.index(place) + len(place)
    data = "\n".join(["", "<FieldData>", *lines, "</FieldData>"]).encode()
    path.write_bytes(text[:start] + data + text[start:])


def three_coordinates(mesh: Any) -> np.ndarray:
    """Return the points (n, 3) of a mesh, as ParaView's formats have three coordinates."""
    points = np.asarray(mesh.points, dtype=float)
    return np.pad(points, ((0, 0), (0, max(0, 3 - points.shape[1]))))


def quiet() -> contextlib.ExitStack:
    """Return a context in which meshio prints nothing; what it would say is in the error that is raised."""
    stack = contextlib.ExitStack()
    stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
    stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
    return stack


def unknowns_at_points(m: int, constraints: Constraints | None, points: int, given: Any) -> np.ndarray | None:
    """Return the number (points,) of the unknown at each point of a mesh; None where point i has unknown i.

    m : number of the unknowns that are solved for; with the constraints there are as many more as are fixed
    given : those numbers, or None

    Raises ModelError for numbers that do not fit, and for a mesh of other size without them; the message says what the
    model knows, and what to give, in Python and on the command line.
    """
    n = m if constraints is None else constraints.dimension
    if given is not None:
        return _numbers(given, points, n)
    if n != points:
        raise ModelError(f"the mesh has {points} points, the model {_unknowns(constraints, n, points)}")
    return None


def _numbers(given: Any, points: int, n: int) -> np.ndarray:
    """Return the numbers of the unknowns at the points, checked."""
    array = dense_entries("unknowns", given).ravel()
    if len(array) != points:
        raise ModelError(f"{len(array)} numbers of unknowns are given, for the {points} points of the mesh")
    whole = np.rint(array.real).astype(np.int64)
    wrong = array[(whole != array) | (whole < 0) | (whole >= n)]
    if len(wrong):
        hint = "; they are counted from 0, subtract 1" if array.max() == n and array.min() >= 1 else ""
        raise ModelError(f"numbers of unknowns must be whole numbers from 0 to {n - 1}, got {wrong[0]:g}{hint}")
    return whole


def _unknowns(known: Constraints | None, n: int, points: int) -> str:
    """Return what the model has, and what to do, as the end of a message."""
    said = f"{n} unknowns" + ("" if known is None else f", {len(known.fixed)} of them fixed")
    if known is None and n < points:
        return (
            f"{said}. If {points - n} were eliminated, the file does not know which: make the model with "
            "rbm.constrain, or with [fixed] in a model file"
        )
    if n > points:
        return f"{said}. Give the number of the unknown at each point (unknowns=, or --unknowns FILE)"
    return f"{said}: it is for another mesh"
