"""Fields on the user's mesh at several times, as a series that ParaView plays."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from lowrank.optional import require
from lowrank.writing import write_atomically
from rbm.errors import ModelError
from rbm.show.mesh_fields import quiet, three_coordinates, write_fields

__all__ = ["SERIES", "write_series"]

#: How the names of series end.
SERIES = (".pvd", ".xdmf")


def write_series(
    path: str | os.PathLike[str],
    mesh: Any,
    steps: Any,
    times: Any,
    fields: Iterable[dict[str, np.ndarray]],
    facts: Sequence[Mapping[str, float]] | None = None,
) -> None:
    """Write fields on a mesh at several times; the last file is written when all others are there.

    Each file is written whole or not at all. Steps of an older series of that name are replaced one after another.

    path : heat.pvd, which lists heat_0003.vtu and the like beside it, numbered by `steps`; or heat.xdmf, one file,
        whose numbers are text
    steps, times : (T,)
    fields : meshio's point data at each time, taken one after another
    facts : numbers by name at each time, error bounds for instance: field data of each .vtu, or an Information of each
        grid in .xdmf

    Raises ModelError for another ending, and cells that meshio cannot write; OSError.
    """
    target = Path(path)
    if target.suffix.lower() not in SERIES:
        raise ModelError(f"{target.name}: a series ends in {' or '.join(SERIES)}")
    with tempfile.TemporaryDirectory() as folder:
        make = _pvd if target.suffix.lower() == ".pvd" else _xdmf
        known = [{}] * len(times) if facts is None else facts
        make(Path(folder) / target.name, mesh, steps, times, fields, known)
        for file in sorted(Path(folder).iterdir(), key=lambda file: file.name == target.name):
            write_atomically(target.parent / file.name, file.read_bytes())


def _pvd(path: Path, mesh: Any, steps: Any, times: Any, fields: Iterable[dict[str, np.ndarray]], facts: Any) -> None:
    width = max(4, len(str(max(steps))))
    lines = ['<?xml version="1.0"?>', '<VTKFile type="Collection" version="0.1">', "  <Collection>"]
    for k, t, at, known in zip(steps, times, fields, facts, strict=True):
        name = f"{path.stem}_{k:0{width}d}.vtu"
        write_fields(path.parent / name, mesh, at, known)
        lines.append(f'    <DataSet timestep="{float(t)!r}" part="0" file={quoteattr(name)}/>')
    lines += ["  </Collection>", "</VTKFile>", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _xdmf(path: Path, mesh: Any, steps: Any, times: Any, fields: Iterable[dict[str, np.ndarray]], facts: Any) -> None:
    meshio = require("meshio", "meshio", "writing a series", "mesh")
    made = list(zip(times, fields, strict=True))
    try:
        # numbers as text: meshio puts those of its other formats into the folder that it runs in
        with quiet(), meshio.xdmf.TimeSeriesWriter(path, data_format="XML") as writer:
            cells = [(block.type, np.array(block.data)) for block in mesh.cells]
            writer.write_points_cells(three_coordinates(mesh), cells)
            for t, at in made:
                writer.write_data(float(t), point_data=at)
        if any(facts):
            _inform(path, facts)
    except (Exception, SystemExit) as error:
        raise ModelError(f"meshio cannot write {path.name} ({error}); take the ending .pvd") from error


def _inform(path: Path, facts: Sequence[Mapping[str, float]]) -> None:
    """Put numbers into the grid of each time, as XDMF's Information, which readers may pass over."""
    tree = ElementTree.parse(path)
    grids = [grid for grid in tree.iter("Grid") if grid.find("Time") is not None]
    for grid, known in zip(grids, facts, strict=True):
        for name, number in known.items():
            ElementTree.SubElement(grid, "Information", {"Name": name, "Value": repr(float(number))})
    tree.write(path)
