"""Boundary integral operators of the Helmholtz equation on a surface mesh: assembled by bempp-cl, cached on disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg

from lowrank.optional import require
from lowrank.progress import progress_bar
from problems.surfaces import SurfaceMesh
from rbm.archive import read_archive, write_archive
from rbm.cache import cache_folder
from rbm.errors import FileFormatError, ModelError

__all__ = ["BoundaryOperators", "assemble", "cache_folder", "half_order_gram", "mass", "stiffness"]

#: In the name of a cached file, with all that its content depends on; changes when the content would.
LAYOUT = 2
DISCRETISATION = "bempp-cl 0.4, Galerkin, continuous piecewise linear"
#: Digits of coordinates and wavenumbers that count: the last bits depend on the machine that computed them, the matrices hardly on these.
DIGITS = 12
KIND = "boundary operators"
MIN_ELEMENTS_PER_WAVELENGTH = 6.0

Cache = bool | str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class BoundaryOperators:
    """The operators of one wavenumber k, Galerkin matrices with continuous piecewise linear functions, unknowns at the vertices.

    With G(x, y) = exp(ik|x-y|) / (4 pi |x-y|), n the unit normal out of the obstacle, phi_i the hat functions:

    double_layer      K_il   = int int phi_i(x) d/dn_y G phi_l(y)         (n, n)
    hypersingular     W_il   = -int int phi_i(x) d/dn_x d/dn_y G phi_l(y) (n, n)
    single_layers     V_j,il = int int_{part j} phi_i(x) G phi_l(y)       d times (n, n), zero columns off the part
    adjoint_layers    K'_j   the same with d/dn_x G                       d times (n, n)
    """

    wavenumber: float
    double_layer: np.ndarray
    hypersingular: np.ndarray
    single_layers: tuple[np.ndarray, ...]
    adjoint_layers: tuple[np.ndarray, ...]

    def __repr__(self) -> str:
        return f"BoundaryOperators(k = {self.wavenumber:g}, {len(self.double_layer)} unknowns, {len(self.single_layers)} parts)"


def assemble(
    mesh: SurfaceMesh,
    wavenumbers: float | np.ndarray | list[float],
    *,
    quadrature: int = 4,
    cache: Cache = True,
    progress: bool = True,
) -> list[BoundaryOperators]:
    """The operators at each of the given wavenumbers, from the cache where they are there.

    Parameters
    ----------
    mesh : the surface
    wavenumbers : k > 0, one or several
    quadrature : order of the regular and the singular rules; 4 leaves 1e-5..5e-5, far below the mesh error
    cache : True: the user's cache folder (:func:`cache_folder`); a folder; False: neither read nor write. A file is found by the
        SHA-256 of the mesh (:func:`mesh_digest`), the wavenumber and the order, and holds 3 n^2 complex numbers and a little more
    progress : show a bar: the first call of a process compiles for three quarters of a minute, then about 15 s for 1026 unknowns and each k

    Assembly takes one Numba thread, and leaves the number of them as it was (:func:`one_thread`).

    Raises
    ------
    ModelError
        a wavenumber that is not a positive number.
    ImportError
        bempp-cl is missing and something is not in the cache; with the line that installs it.

    Warns if there are fewer than six elements per wavelength.
    """
    ks = np.atleast_1d(np.asarray(wavenumbers, dtype=float))
    if ks.ndim != 1 or not len(ks) or not np.all(np.isfinite(ks) & (ks > 0)):
        raise ModelError(f"the wavenumber must be a positive number, got {wavenumbers!r}")
    warn_if_coarse(mesh, float(ks.max()))
    where = folder(cache)
    found: dict[float, BoundaryOperators] = {}
    for k in ks.tolist():
        stored = _read(where, mesh, k, quadrature)
        if stored is not None:
            found[k] = stored
    missing = [k for k in dict.fromkeys(ks.tolist()) if k not in found]
    if missing:
        assembler = _Assembler(mesh, quadrature)
        with (
            progress_bar(
                None, "boundary operators", enabled=progress, total=len(missing) * (1 + 2 * mesh.n_parts)
            ) as bar,
            warnings.catch_warnings(),
            one_thread(),
        ):
            from numba.core.errors import NumbaPerformanceWarning

            warnings.simplefilter("ignore", NumbaPerformanceWarning)  # of bempp's kernels, at every compilation
            for k in missing:
                found[k] = assembler(k, bar)
                _write(where, mesh, found[k], quadrature)
    return [found[k] for k in ks.tolist()]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A single Numba thread inside, the number of before after it.

    The hypersingular kernel of bempp-cl allocates in its parallel loop. Where Numba finds an older TBB, which it prefers to all other
    threading layers, every such call then takes longer than the one before it (66 unknowns, TBB 2021.8, two threads: 0.6 s the second,
    30 s the tenth matrix, 26 MB more each), and Numba's choice of a layer is for the whole process. One thread takes 0.4 s on any layer.
    """
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def warn_if_coarse(mesh: SurfaceMesh, wavenumber: float) -> None:
    """Warn if the mesh has fewer than six elements per wavelength."""
    count = mesh.elements_per_wavelength(wavenumber)
    if count < MIN_ELEMENTS_PER_WAVELENGTH:
        warnings.warn(
            f"the mesh has {count:.1f} elements per wavelength at wavenumber {wavenumber:g}, fewer than six: the discretisation error "
            "(which no reduced basis bound covers) will be large; refine the mesh or lower the wavenumber",
            UserWarning,
            stacklevel=3,
        )


def folder(cache: Cache) -> Path | None:
    """The folder that a `cache` argument means; None for False."""
    if isinstance(cache, bool):
        try:
            return cache_folder() if cache else None
        except FileNotFoundError as error:  # no home directory
            warnings.warn(f"assembled matrices are not cached: {error}", UserWarning, stacklevel=3)
            return None
    if not isinstance(cache, str | os.PathLike):
        raise ModelError(f"cache must be True, False or a folder, got {cache!r}")
    return Path(cache)


def mass(mesh: SurfaceMesh, part: int | None = None) -> np.ndarray:
    """M_il = int phi_i phi_l over the surface, or over one part (n, n), dense; exact on flat triangles."""
    weight = mesh.areas / 12 if part is None else np.where(mesh.parts == part, mesh.areas / 12, 0.0)
    return _add_up(mesh, weight * (1 + np.eye(3))[:, :, None])


def stiffness(mesh: SurfaceMesh) -> np.ndarray:
    """S_il = int grad phi_i . grad phi_l (surface gradients) (n, n), dense: (e_i . e_l) / (4 area), e the opposite edges."""
    edges = np.stack(mesh.opposite_edges)
    return _add_up(mesh, np.einsum("aks,bks->abs", edges, edges) / (4 * mesh.areas))


def half_order_gram(mesh: SurfaceMesh, wavenumber: float) -> np.ndarray:
    """P (n, n), real, positive definite: the inner product of H^{1/2}, M Q (1 + Lambda / k^2)^{1/2} Q^T M.

    S Q = M Q Lambda, Q^T M Q = I: the square root of 1 - Laplace-Beltrami / k^2. In this norm the singular values of the
    Burton-Miller operator stay between bounds that do not depend on the mesh. Cost: one dense eigendecomposition.
    """
    m, s = mass(mesh), stiffness(mesh)
    values, vectors = scipy.linalg.eigh(s, m)
    half = m @ (vectors * (1 + np.where(values > 0, values, 0.0) / wavenumber**2) ** 0.25)
    return half @ half.T


def _add_up(mesh: SurfaceMesh, local: np.ndarray) -> np.ndarray:
    """Sum local matrices (3, 3, t) into (n, n)."""
    n = mesh.vertices.shape[1]
    rows, columns = np.repeat(mesh.triangles, 3, axis=0), np.tile(mesh.triangles, (3, 1))
    total = np.bincount((rows * n + columns).ravel(), local.reshape(9, -1).ravel(), minlength=n * n).reshape(n, n)
    return (total + total.T) / 2


class _Assembler:
    """bempp-cl on one mesh: kernels are compiled once a process, spaces made once a mesh."""

    def __init__(self, mesh: SurfaceMesh, quadrature: int) -> None:
        self.api = api = _bempp()
        self.mesh = mesh
        grid = api.Grid(mesh.vertices.copy(), mesh.triangles.astype(np.uint32), mesh.parts.astype(np.uint32))
        self.space = api.function_space(grid, "P", 1)
        self.parts = [
            api.function_space(grid, "P", 1, segments=[j], include_boundary_dofs=True, truncate_at_segment_edge=True)
            for j in range(1, mesh.n_parts + 1)
        ]
        self.parameters = api.utils.DefaultParameters()
        self.parameters.quadrature.regular = self.parameters.quadrature.singular = quadrature
        # unknowns of bempp are numbered in an order of its own
        self.vertex = np.empty(self.space.global_dof_count, dtype=int)
        self.vertex[self.space.local2global] = mesh.triangles.T
        self.columns = []
        for part in self.parts:
            vertex = np.empty(part.global_dof_count, dtype=int)
            vertex[part.local2global[part.support]] = mesh.triangles.T[part.support]
            self.columns.append(vertex)

    def __call__(self, k: float, bar: Any) -> BoundaryOperators:
        from bempp_cl.api.operators.boundary import helmholtz

        n = self.space.global_dof_count
        space, zero = self.space, np.zeros((n, n), dtype=complex)
        everywhere = self.vertex

        def matrix(operator: Any, domain: Any, test: Any, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
            form = operator(domain, space, test, k, parameters=self.parameters, device_interface="numba")
            result = zero.copy()
            result[np.ix_(rows, columns)] = form.weak_form().to_dense()
            bar.update()
            return result

        single, adjoint = [], []
        for part, columns in zip(self.parts, self.columns, strict=True):
            single.append(matrix(helmholtz.single_layer, part, space, columns, everywhere))
            # the kernel of K' is that of K with the points exchanged: K'_j is the transpose of K tested on part j
            adjoint.append(matrix(helmholtz.double_layer, space, part, everywhere, columns).T)
        hypersingular = matrix(helmholtz.hypersingular, space, space, everywhere, everywhere)
        return BoundaryOperators(k, np.add.reduce(adjoint).T, hypersingular, tuple(single), tuple(adjoint))


def _bempp() -> Any:
    """bempp_cl.api, quietly, with its Numba backend whatever else is installed."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it prints that gmsh was not found
        warnings.simplefilter("ignore")
        api = require("bempp_cl.api", "bempp-cl", "assembling boundary operators", extra="bem")
        _without_parallel_loops()
    logging.getLogger("bempp").setLevel(logging.WARNING)
    api.DEFAULT_DEVICE_INTERFACE = "numba"
    return api


def _without_parallel_loops() -> None:
    """The kernels of bempp-cl that this process has yet to compile are compiled for one thread: 43 CPU seconds in place of 66."""
    import bempp_cl.core.numba_kernels  # noqa: F401
    from numba.core.dispatcher import Dispatcher

    for name, module in list(sys.modules.items()):
        if name.startswith("bempp_cl."):
            for item in vars(module).values():
                if isinstance(item, Dispatcher):
                    item.targetoptions.pop("parallel", None)


def mesh_digest(mesh: SurfaceMesh) -> str:
    """SHA-256 of a mesh: place and size of its vertices to twelve digits of its extent, triangles as they run, parts.

    The unit of the digits, a power of ten, is part of it: a mesh and the same in other units are two meshes.
    """
    extent = np.ptp(mesh.vertices, axis=1).max()
    exponent = int(np.ceil(np.log10(extent) - 1e-9)) - DIGITS
    digits = np.rint(mesh.vertices / float(f"1e{exponent}")) + 0.0  # no negative zeros
    digest = hashlib.sha256(f"{mesh.vertices.shape} {mesh.triangles.shape} {mesh.n_parts} 1e{exponent}".encode())
    for array, kind in ((digits, "<f8"), (mesh.triangles, "<i8"), (mesh.parts, "<i8")):
        digest.update(array.astype(kind).tobytes())
    return digest.hexdigest()


def _file(folder: Path, mesh: SurfaceMesh, k: float, quadrature: int) -> Path:
    content = f"{LAYOUT} {DISCRETISATION}, {k:.{DIGITS + 1}g} {quadrature} {mesh_digest(mesh)}"
    return folder / f"helmholtz-{hashlib.sha256(content.encode()).hexdigest()[:40]}.npz"


def _read(folder: Path | None, mesh: SurfaceMesh, k: float, quadrature: int) -> BoundaryOperators | None:
    """The stored operators, or None if there are none or their file is damaged (with a warning: it will be written anew)."""
    if folder is None or not (path := _file(folder, mesh, k, quadrature)).exists():
        return None
    n = mesh.vertices.shape[1]
    try:
        _, arrays = read_archive(path, KIND, key=path.stem)
        single, tested, hypersingular = arrays["single"], arrays["tested"], arrays["hypersingular"]
        supports = [np.unique(mesh.triangles[:, mesh.parts == j]) for j in range(1, mesh.n_parts + 1)]
        bounds = np.cumsum([0, *(len(s) for s in supports)])
        v, w = [], []
        for support, start, stop in zip(supports, bounds[:-1], bounds[1:], strict=True):
            full_v, full_w = np.zeros((n, n), dtype=complex), np.zeros((n, n), dtype=complex)
            full_v[:, support], full_w[:, support] = single[:, start:stop], tested[:, start:stop]
            v.append(full_v)
            w.append(full_w)
        return BoundaryOperators(k, np.add.reduce(w).T, hypersingular, tuple(v), tuple(w))
    except (OSError, FileFormatError, KeyError, ValueError, IndexError) as error:
        warnings.warn(f"cached matrices are not used and will be assembled again: {error}", UserWarning, stacklevel=4)
        return None


def _write(folder: Path | None, mesh: SurfaceMesh, operators: BoundaryOperators, quadrature: int) -> None:
    """Store the columns that are not zero; a folder that cannot be written to costs a warning, not the matrices."""
    if folder is None:
        return
    path = _file(folder, mesh, operators.wavenumber, quadrature)
    supports = [np.unique(mesh.triangles[:, mesh.parts == j]) for j in range(1, mesh.n_parts + 1)]
    single, tested = (
        np.concatenate([m[:, s] for m, s in zip(matrices, supports, strict=True)], axis=1)
        for matrices in (operators.single_layers, operators.adjoint_layers)
    )
    arrays = {"single": single, "tested": tested, "hypersingular": operators.hypersingular}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_archive(path, {"kind": KIND, "key": path.stem, "wavenumber": operators.wavenumber}, arrays)
    except OSError as error:
        warnings.warn(f"assembled matrices could not be cached: {error}", UserWarning, stacklevel=4)
