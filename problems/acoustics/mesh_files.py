"""Surface meshes from files of other programs."""

from __future__ import annotations

import os
import warnings

import numpy as np

from lowrank.optional import require
from problems.acoustics.surfaces import SurfaceMesh
from rbm.errors import ModelError

__all__ = ["read_surface"]

#: Cells that bound nothing: a surface is the same with and without them.
BELOW = ("vertex", "line")
#: Cells of a body: what is taken of a file that has them are its triangles, which usually are the surface.
BODIES = ("tetra", "hexahedron", "wedge", "pyramid", "polyhedron")
#: Keys of part numbers: gmsh's physical groups, medit's references, and what some other formats call them.
TAGS = ("gmsh:physical", "medit:ref", "cell_tags")


def read_surface(path: str | os.PathLike[str]) -> SurfaceMesh:
    """Read a surface mesh from any file that meshio reads (.msh, .stl, .obj, .vtk, ...).

    Its triangles are the surface, its physical groups the parts.

    Physical (gmsh) or reference (medit) numbers are renumbered 1..d in increasing order; without them there is one
    part. Nodes that no triangle uses are dropped, and so are points and lines, which have no area. Quadrilaterals are
    cut along their shorter diagonals into triangles of the same part, with a warning that says how many; so does one
    of cells of bodies (tetrahedra, ...), which are left out.

    Raises FileNotFoundError, ModelError for a file that meshio cannot read, that has cells of higher order or of
    other kinds (named, with their number), that has neither triangles nor quadrilaterals, or as :class:`SurfaceMesh`.
    """
    meshio = require("meshio", "meshio", "reading a mesh file", "bem")
    name = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"mesh file {name} does not exist")
    try:
        mesh = meshio.read(path)
    except (Exception, SystemExit) as error:  # meshio's readers end in all kinds of exceptions, and in sys.exit
        raise ModelError(f"{name} is not a mesh file that meshio can read ({type(error).__name__}: {error})") from None
    blocks = [(cells.type, np.asarray(cells.data), k) for k, cells in enumerate(mesh.cells) if len(cells.data)]
    _refuse_other_cells(name, blocks)
    points = np.asarray(mesh.points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ModelError(
            f"{name} has points of shape {points.shape}, expected (n, 3): a surface in space has three coordinates"
        )
    key = next((k for k in TAGS if k in mesh.cell_data), None)
    triangles, numbers = [], []
    for kind, cells, k in blocks:
        if kind not in ("triangle", "quad"):
            continue
        of_block = np.ones(len(cells), dtype=int) if key is None else np.ravel(mesh.cell_data[key][k])
        if kind == "quad":
            cells, of_block = _cut(points, cells), np.repeat(of_block, 2)
        triangles.append(cells)
        numbers.append(of_block)
    used, together = np.unique(np.concatenate(triangles).T, return_inverse=True)
    parts = np.unique(np.concatenate(numbers), return_inverse=True)[1] + 1
    return SurfaceMesh(points[used].T, together.reshape(3, -1), parts)


def _refuse_other_cells(name: str, blocks: list[tuple[str, np.ndarray, int]]) -> None:
    """Refuse cells that may be a part of the surface, and a file without triangles.

    Warns of quadrilaterals, which are cut, and of bodies, which are left out.
    """
    counts: dict[str, int] = {}
    for kind, cells, _ in blocks:
        counts[kind] = counts.get(kind, 0) + len(cells)
    bodies = {kind: n for kind, n in counts.items() if kind.startswith(BODIES)}
    others = [k for k in counts if k not in bodies and k not in ("triangle", "quad") and not k.startswith(BELOW)]
    if others:
        raise ModelError(
            f"{name} holds {_listed({k: counts[k] for k in others})}, which are not read: export a surface of first "
            "order, made of triangles (gmsh: -order 1)"
        )
    if not ("triangle" in counts or "quad" in counts):
        raise ModelError(
            f"{name} holds no triangles, only {_listed(counts) or 'nothing'}: export a triangulated surface of first "
            "order"
        )
    if "quad" in counts:
        warnings.warn(
            f"{name} holds {counts['quad']} quadrilaterals: each is cut into two triangles along its shorter diagonal",
            stacklevel=3,
        )
    if bodies:
        warnings.warn(
            f"{name} holds {_listed(bodies)}, which are left out: the obstacle is what its triangles and "
            "quadrilaterals enclose",
            stacklevel=3,
        )


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))


def _cut(points: np.ndarray, quadrilaterals: np.ndarray) -> np.ndarray:
    """The two triangles (2 m, 3) of each quadrilateral (m, 4), one after the other, in the same sense."""
    a, b, c, d = quadrilaterals.T
    first = np.linalg.norm(points[a] - points[c], axis=1) <= np.linalg.norm(points[b] - points[d], axis=1)
    one = np.where(first, [a, b, c], [a, b, d])
    two = np.where(first, [a, c, d], [b, c, d])
    return np.stack([one, two]).transpose(2, 0, 1).reshape(-1, 3)
