"""Reads and writes boundary element matrices: found by all that determines them, checked when they are read."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import warnings
from pathlib import Path

import numpy as np

from problems.acoustics.assembly_rules import rules
from problems.acoustics.bempp import BEMPP
from problems.acoustics.surfaces import SurfaceMesh
from rbm.errors import FileFormatError, ModelError
from rbm.storage.archive import read_archive, write_archive
from rbm.storage.cache import cache_folder

__all__ = ["Cache", "Matrices", "cached_file", "folder", "mesh_digest", "read_matrices", "supports", "write_matrices"]

#: In the name of a file, with all else that its content depends on; changes when the content would.
LAYOUT = 3
KIND = "boundary operators"

Cache = bool | str | os.PathLike[str]
#: single layers and transposed, tested double layers (n, sum of the parts' vertices), hypersingular operator (n, n)
Matrices = tuple[np.ndarray, np.ndarray, np.ndarray]


def folder(cache: Cache) -> Path | None:
    """The folder that a `cache` argument means; None for False."""
    if isinstance(cache, bool):
        try:
            return cache_folder() if cache else None
        except FileNotFoundError as error:  # no home directory
            warnings.warn(f"assembled matrices are not cached: {error}", stacklevel=3)
            return None
    if not isinstance(cache, str | os.PathLike):
        raise ModelError(f"cache must be True, False or a folder, got {cache!r}")
    return Path(cache)


def mesh_digest(mesh: SurfaceMesh) -> str:
    """The SHA-256 of a mesh: of every bit of its vertices, of the triangles as they run, and of the parts.

    Rounded coordinates would not do: the distance between two small bodies may be a rounding error of the whole.
    """
    digest = hashlib.sha256(f"{mesh.vertices.shape} {mesh.triangles.shape} {mesh.n_parts}".encode())
    # no negative zeros
    for array, kind in ((mesh.vertices + 0.0, "<f8"), (mesh.triangles, "<i8"), (mesh.parts, "<i8")):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def cached_file(where: Path, mesh: SurfaceMesh, wavenumber: float, quadrature: int) -> Path:
    """The file of the matrices of a mesh at one wavenumber.

    Its name depends on all that their entries depend on.
    """
    return where / f"helmholtz-{_key(mesh, wavenumber, quadrature)[:40]}.npz"


def read_matrices(where: Path | None, mesh: SurfaceMesh, wavenumber: float, quadrature: int) -> Matrices | None:
    """The stored matrices, or None if there are none.

    A file that is damaged or holds other matrices gives None, too, with a warning: it will be written anew.
    """
    if where is None or not (path := cached_file(where, mesh, wavenumber, quadrature)).exists():
        return None
    try:
        if not path.is_file():
            raise FileFormatError(f"{path} is no file")
        header, arrays = read_archive(path, KIND)
        found = arrays["single"], arrays["tested"], arrays["hypersingular"]
        if header.get("key") != _key(mesh, wavenumber, quadrature):
            raise FileFormatError(
                f"{path} holds the matrices of another mesh, wavenumber or quadrature: it was renamed"
            )
        n, columns = mesh.vertices.shape[1], sum(len(s) for s in supports(mesh))
        for name, array, shape in zip(arrays, found, ((n, columns), (n, columns), (n, n)), strict=False):
            if array.shape != shape or array.dtype != np.complex128 or not np.all(np.isfinite(array)):
                raise FileFormatError(f"{path} holds {name} of shape {array.shape}, {array.dtype}, or not finite")
    except Exception as error:  # whatever another program or a full disk has left there: the matrices can be made again
        reason = error or type(error).__name__
        warnings.warn(f"cached matrices are not used and will be assembled again: {reason}", stacklevel=4)
        return None
    return found


def write_matrices(
    where: Path | None, mesh: SurfaceMesh, wavenumber: float, quadrature: int, matrices: Matrices
) -> None:
    """Store matrices; warns, and raises nothing, where the folder cannot be written to."""
    if where is None:
        return
    header = {"kind": KIND, "wavenumber": wavenumber, "key": _key(mesh, wavenumber, quadrature)}
    try:
        where.mkdir(parents=True, exist_ok=True)
        path = cached_file(where, mesh, wavenumber, quadrature)
        if path.exists() and not path.is_file():  # a pipe would wait for a reader
            raise OSError(f"{path} is there, and no file")
        write_archive(path, header, dict(zip(("single", "tested", "hypersingular"), matrices, strict=True)))
    except OSError as error:
        warnings.warn(f"assembled matrices could not be cached: {error}", stacklevel=4)


def supports(mesh: SurfaceMesh) -> list[np.ndarray]:
    """The vertices of each part: columns off them are zero, and not stored."""
    return [np.unique(mesh.triangles[:, mesh.parts == j]) for j in range(1, mesh.n_parts + 1)]


def _key(mesh: SurfaceMesh, wavenumber: float, quadrature: int) -> str:
    try:
        version = importlib.metadata.version("bempp-cl")
    except importlib.metadata.PackageNotFoundError:
        version = BEMPP
    content = (
        f"layout {LAYOUT}, bempp-cl {version}, Galerkin, continuous piecewise linear, double precision, {rules()}, "
        f"order {int(quadrature)}, k {float(wavenumber).hex()}, {mesh_digest(mesh)}"
    )
    return hashlib.sha256(content.encode()).hexdigest()
