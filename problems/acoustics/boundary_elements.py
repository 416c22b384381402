"""Boundary integral operators of the Helmholtz equation on a surface mesh: assembled by bempp-cl, cached on disk."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.progress import progress_bar
from problems.acoustics.assembly_rules import pairs_to_correct, singular_order, warn_if_costly
from problems.acoustics.bempp import bempp_api, one_thread
from problems.acoustics.gram_matrices import half_order_gram, mass, stiffness
from problems.acoustics.matrix_cache import Cache, Matrices, folder, read_matrices, supports, write_matrices
from problems.acoustics.near_quadrature import NearCorrection, near_correction
from problems.acoustics.near_triangles import NearTriangles, Pairs, SharpTriangles
from problems.acoustics.surfaces import SurfaceMesh
from problems.user_input import as_array
from rbm.errors import ModelError
from rbm.storage.cache import cache_folder

__all__ = ["BoundaryOperators", "assemble", "cache_folder", "folder", "half_order_gram", "mass", "stiffness"]

MIN_ELEMENTS_PER_WAVELENGTH = 6.0


@dataclass(frozen=True, eq=False)
class BoundaryOperators:
    """The boundary operators of one wavenumber k, as Galerkin matrices.

    Functions are continuous and piecewise linear, unknowns their values at the vertices.

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
        n, parts = len(self.double_layer), len(self.single_layers)
        return f"BoundaryOperators(k = {self.wavenumber:g}, {n} unknowns, {parts} parts)"


def assemble(
    mesh: SurfaceMesh,
    wavenumbers: float | np.ndarray | list[float],
    *,
    quadrature: int = 4,
    cache: Cache = True,
    progress: bool = False,
) -> list[BoundaryOperators]:
    """The operators at each of the given wavenumbers, from the cache where they are there.

    Parameters
    ----------
    mesh : the surface
    wavenumbers : k > 0, one or several
    quadrature : order 1 to 20 of the regular and the singular rules; 4 leaves 1e-5..5e-5 on smooth surfaces of round
        triangles, far below the mesh error. Triangles that do not touch and are nearer than 0.35 of an edge (the faces
        of a thin plate), and those that touch at an angle below 45 degrees (the rim of a lens), are integrated by
        :mod:`problems.acoustics.near_quadrature`, in about 1 to 6 ms per pair, and 0.01 to 0.05 s per pair that
        touches. Where there are such, or stretched ones, the singular rule is of order 6 at least; pairs that meet at
        45 to 90 degrees are left to it (:mod:`problems.acoustics.assembly_rules`)
    cache : True: the user's cache folder (:func:`cache_folder`); a folder; False: neither read nor write. A file is
        found by all that its numbers depend on (:mod:`problems.acoustics.matrix_cache`): every bit of mesh and
        wavenumber, the order, the version of bempp-cl. It holds 3 n^2 complex numbers and a little more; what is
        damaged or another's is assembled anew, with a warning
    progress : show a bar: the first call of a process compiles for three quarters of a minute, then about 15 s for
        1026 unknowns and each k

    Assembly takes one Numba thread, and leaves the number of them as it was (:func:`one_thread`).

    Raises
    ------
    ModelError
        a wavenumber that is not a positive number, an order that is not 1 to 20.
    ImportError
        bempp-cl is missing and something is not in the cache; with the line that installs it.

    Warns if there are fewer than six elements per wavelength, of triangles nearer than 1/500 of an edge or that meet
    at less than a tenth of a degree, and of pairs that take long to integrate.
    """
    if isinstance(quadrature, bool) or not (isinstance(quadrature, int | np.integer) and 1 <= quadrature <= 20):
        raise ModelError(f"quadrature must be a whole number from 1 to 20, the order of the rules, got {quadrature!r}")
    ks = np.atleast_1d(as_array("the wavenumber must be a positive number", wavenumbers))
    if ks.ndim != 1 or not len(ks) or not np.all(np.isfinite(ks) & (ks > 0)):
        raise ModelError(f"the wavenumber must be a positive number, got {wavenumbers!r}")
    warn_if_coarse(mesh, float(ks.max()))
    near, sharp = pairs_to_correct(mesh)
    where = folder(cache)
    found: dict[float, BoundaryOperators] = {}
    for k in ks.tolist():
        stored = read_matrices(where, mesh, k, quadrature)
        if stored is not None:
            found[k] = _unpacked(mesh, k, stored)
    missing = [k for k in dict.fromkeys(ks.tolist()) if k not in found]
    if missing:
        warn_if_costly(mesh, near, sharp, missing)
        assembler = _Assembler(mesh, int(quadrature), near, sharp, progress)
        matrices = len(missing) * (1 + 2 * mesh.n_parts)
        bar = progress_bar(None, "boundary operators", enabled=progress, total=matrices)
        with bar, warnings.catch_warnings(), one_thread():
            from numba.core.errors import NumbaPerformanceWarning

            warnings.simplefilter("ignore", NumbaPerformanceWarning)  # of bempp's kernels, at every compilation
            for k in missing:
                found[k] = assembler(k, bar)
                write_matrices(where, mesh, k, quadrature, _packed(mesh, found[k]))
    return [found[k] for k in ks.tolist()]


def warn_if_coarse(mesh: SurfaceMesh, wavenumber: float) -> None:
    """Warn if the mesh has fewer than six elements per wavelength."""
    count = mesh.elements_per_wavelength(wavenumber)
    if count < MIN_ELEMENTS_PER_WAVELENGTH:
        warnings.warn(
            f"the mesh has {count:.1f} elements per wavelength at wavenumber {wavenumber:g}, fewer than six: the "
            "discretisation error (which no reduced basis bound covers) will be large; refine the mesh or lower the "
            "wavenumber",
            stacklevel=3,
        )


def _packed(mesh: SurfaceMesh, operators: BoundaryOperators) -> Matrices:
    """The columns that are not zero, part by part."""
    single, tested = (
        np.concatenate([m[:, s] for m, s in zip(matrices, supports(mesh), strict=True)], axis=1)
        for matrices in (operators.single_layers, operators.adjoint_layers)
    )
    return single, tested, operators.hypersingular


def _unpacked(mesh: SurfaceMesh, wavenumber: float, stored: Matrices) -> BoundaryOperators:
    single, tested, hypersingular = stored
    n, parts = mesh.vertices.shape[1], supports(mesh)
    bounds = np.cumsum([0, *(len(s) for s in parts)])
    v, w = [], []
    for support, start, stop in zip(parts, bounds[:-1], bounds[1:], strict=True):
        full_v, full_w = np.zeros((n, n), dtype=complex), np.zeros((n, n), dtype=complex)
        full_v[:, support], full_w[:, support] = single[:, start:stop], tested[:, start:stop]
        v.append(full_v)
        w.append(full_w)
    return BoundaryOperators(wavenumber, np.add.reduce(w).T, hypersingular, tuple(v), tuple(w))


class _Assembler:
    """bempp-cl on one mesh: kernels are compiled once per process, spaces made once per mesh."""

    def __init__(
        self, mesh: SurfaceMesh, quadrature: int, near: NearTriangles, sharp: SharpTriangles, progress: bool
    ) -> None:
        self.api = api = bempp_api()
        self.mesh, self.near, self.sharp, self.quadrature = mesh, near, sharp, quadrature
        grid = api.Grid(mesh.vertices.copy(), mesh.triangles.astype(np.uint32), mesh.parts.astype(np.uint32))
        _leave_out(grid, sharp)
        self.progress = progress
        self.space = api.function_space(grid, "P", 1)
        self.parts = [
            api.function_space(grid, "P", 1, segments=[j], include_boundary_dofs=True, truncate_at_segment_edge=True)
            for j in range(1, mesh.n_parts + 1)
        ]
        self.parameters = api.utils.DefaultParameters()
        self.parameters.quadrature.regular = quadrature
        self.parameters.quadrature.singular = singular_order(mesh, quadrature, len(near) + len(sharp) > 0)
        # unknowns of bempp are numbered in an order of its own
        self.vertex = np.empty(self.space.global_dof_count, dtype=int)
        self.vertex[self.space.local2global] = mesh.triangles.T
        self.columns = []
        for part in self.parts:
            vertex = np.empty(part.global_dof_count, dtype=int)
            vertex[part.local2global[part.support]] = mesh.triangles.T[part.support]
            self.columns.append(vertex)

    def __call__(self, k: float, bar: Any) -> BoundaryOperators:
        from bempp_cl.api.integration import triangle_gauss
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
        pairs: Pairs
        for pairs, rule in ((self.near, triangle_gauss.rule(self.quadrature)), (self.sharp, None)):
            if len(pairs):
                correction = near_correction(self.mesh, pairs, k, rule, self.progress)
                _correct(self.mesh, pairs, correction, k, single, adjoint, hypersingular)
        return BoundaryOperators(k, np.add.reduce(adjoint).T, hypersingular, tuple(single), tuple(adjoint))


def _leave_out(grid: Any, sharp: SharpTriangles) -> None:
    """Take pairs out of the tables by which bempp-cl finds triangles that touch.

    Its rules for separated triangles skip all neighbours. So these pairs contribute nothing, and what is added for them
    are whole integrals, not differences from a rule.
    """
    if not len(sharp):
        return
    t = grid.number_of_elements
    pairs = np.concatenate([sharp.first * t + sharp.second, sharp.second * t + sharp.first])
    count = 0
    for name in ("edge_adjacency", "vertex_adjacency"):
        table = getattr(grid, name)
        keep = ~np.isin(table[0].astype(np.int64) * t + table[1].astype(np.int64), pairs)
        setattr(grid, "_" + name, np.asfortranarray(table[:, keep]))
        count += table.shape[1] - getattr(grid, name).shape[1]
    if count != len(pairs):
        raise RuntimeError(
            f"bempp-cl keeps its tables of neighbours elsewhere than version 0.4.2 does ({count} of {len(pairs)} "
            "pairs found): the triangles that meet at a sharp edge cannot be integrated; install bempp-cl 0.4.2"
        )


def _correct(
    mesh: SurfaceMesh,
    near: Pairs,
    correction: NearCorrection,
    k: float,
    single: list[np.ndarray],
    adjoint: list[np.ndarray],
    hypersingular: np.ndarray,
) -> None:
    """Add what the rule missed between near triangles, tested on the first and on the second of each pair."""
    edges, areas, normals = np.stack(mesh.opposite_edges), mesh.areas, mesh.normals
    turned = correction.single.transpose(0, 2, 1), correction.double.transpose(0, 2, 1)
    ways = (near.first, near.second, correction.single, correction.adjoint), (near.second, near.first, *turned)
    for test, trial, of_single, of_adjoint in ways:
        rows, columns = mesh.triangles[:, test].T[:, :, None], mesh.triangles[:, trial].T[:, None, :]
        for j, (v, w) in enumerate(zip(single, adjoint, strict=True), start=1):
            here = mesh.parts[trial] == j
            np.add.at(v, (rows[here], columns[here]), of_single[here])
            np.add.at(w, (rows[here], columns[here]), of_adjoint[here])
        # W = int int G (curl phi_a . curl phi_b - k^2 n_x . n_y phi_a phi_b), curl phi = -edge / (2 area)
        products = np.einsum("acp,bcp->pab", edges[:, :, test], edges[:, :, trial])
        curls = products / (4 * areas[test] * areas[trial])[:, None, None]
        cosine = np.einsum("cp,cp->p", normals[:, test], normals[:, trial])[:, None, None]
        whole = of_single.sum(axis=(1, 2))[:, None, None]
        np.add.at(hypersingular, (rows, columns), curls * whole - k**2 * cosine * of_single)
