"""Far field and field in space of a surface pressure, and the load of a plane wave, by quadrature on triangles."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank.optional import require
from problems.acoustics.surfaces import SurfaceMesh, solid_angle
from problems.user_input import as_array
from rbm.errors import ModelError

__all__ = ["far_field", "far_field_rows", "plane_wave_load", "scattered_field", "sphere_rule", "unit_vectors"]

#: Order of the rule on triangles: exact to rounding for products of hat functions, and far below the mesh error for
#: waves.
ORDER = 4
#: Order for fields in space, where it shows only near the surface.
FIELD_ORDER = 2
BLOCK = 256


def plane_wave_load(mesh: SurfaceMesh, wavenumber: float, direction: np.ndarray, coupling: float) -> np.ndarray:
    """The load b_i = int phi_i (u_inc + eta du_inc/dn) (n,) of a plane wave.

    u_inc = exp(ik d.x) and eta = i coupling / k, so that the integrand is phi_i (1 - coupling d.n) exp(ik d.x).
    """
    points, _, interpolation = _rule(mesh)
    wave = np.exp(1j * wavenumber * (direction @ points)) * (1 - coupling * _repeat(mesh, direction @ mesh.normals))
    return interpolation.T @ wave


def far_field_rows(mesh: SurfaceMesh, wavenumber: float, directions: np.ndarray) -> np.ndarray:
    """The rows F (1 + d, D, n) of the far field f = (F_0 + sum_j beta_j F_j) u in directions (3, D).

    u_s ~ exp(ikr) / r f, F_0 = -ik / (4 pi) int (x.n) exp(-ik x.y) phi, F_j = ik / (4 pi) int_{part j} exp(-ik x.y)
    phi.
    """
    directions = unit_vectors(directions)
    points, _, interpolation = _rule(mesh)
    k = wavenumber
    wave = np.exp(-1j * k * (directions.T @ points)) * (1j * k / (4 * np.pi))
    rows = [-wave * _repeat(mesh, directions.T @ mesh.normals)]
    rows += [wave * _repeat(mesh, mesh.parts == j) for j in range(1, mesh.n_parts + 1)]
    return np.stack([(interpolation.T @ row.T).T for row in rows])


def far_field(
    mesh: SurfaceMesh, wavenumber: float, directions: np.ndarray, pressures: np.ndarray, admittances: np.ndarray
) -> np.ndarray:
    """The far field f (M, D) of surface pressures (M, n), admittances (M, d) of the parts, in directions (3, D)."""
    rows = far_field_rows(mesh, wavenumber, directions)
    weights = np.concatenate([np.ones((len(admittances), 1)), admittances], axis=1)
    return np.einsum("mq,qdn,mn->md", weights, rows, pressures, optimize=True)


def scattered_field(
    mesh: SurfaceMesh, wavenumber: float, points: np.ndarray, pressures: np.ndarray, admittances: np.ndarray
) -> np.ndarray:
    """The scattered field u_s (M, P) at points (3, P) outside.

    u_s = D u + ik S(beta u) for surface pressures u (M, n) and admittances beta (M, d) of the parts.

    NaN at points inside the obstacle and on it. Within about one edge length of the surface the rule loses accuracy.
    Cost: P kernel evaluations per quadrature point (3 per triangle), in blocks.

    Raises ModelError for points of another shape, and for points or pressures that are NaN or infinite.
    """
    points = check_points(points)
    if not np.all(np.isfinite(pressures)):
        raise ModelError("the pressures hold entries that are NaN or infinite")
    sources, weights, interpolation = _rule(mesh, weighted=False, order=FIELD_ORDER)
    k, normals = wavenumber, _repeat(mesh, mesh.normals, FIELD_ORDER)
    closeness = 2 * float(mesh.edge_lengths.max())
    density = (interpolation @ pressures.T) * weights[:, None]  # (Q, M)
    beta = np.asarray(admittances)[:, _repeat(mesh, mesh.parts - 1, FIELD_ORDER)].T  # (Q, M)
    layer = 1j * k * beta * density
    field = np.empty((pressures.shape[0], points.shape[1]), dtype=complex)
    for start in range(0, points.shape[1], BLOCK):
        block = points[:, start : start + BLOCK]
        difference = sources[:, None, :] - block[:, :, None]  # y - x
        r = np.sqrt(np.sum(difference**2, axis=0))
        with np.errstate(divide="ignore", invalid="ignore"):
            kernel = np.exp(1j * k * r) / (4 * np.pi * r)
            cosine = np.einsum("cpq,cq->pq", difference, normals) / r
            slope = kernel * (1j * k - 1 / r) * cosine  # dG/dn_y
            angle = (cosine / r**2) @ weights  # solid angle of the surface: 4 pi from inside, 0 from outside; the rule
            # gives it roughly, and near the surface it is computed exactly
        near = np.flatnonzero(r.min(axis=1) < closeness)
        angle[near] = solid_angle(mesh.vertices, mesh.triangles, block[:, near])
        values = slope @ density + kernel @ layer
        values[~(np.abs(angle) < 2 * np.pi) | (r.min(axis=1) == 0)] = np.nan
        field[:, start : start + BLOCK] = values.T
    return field


def sphere_rule(order: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Directions (3, D) and weights (D,) on the unit sphere, exact for spherical harmonics of degree 2 order - 1."""
    z, w = np.polynomial.legendre.leggauss(order)
    phi = np.arange(2 * order) * np.pi / order
    rho = np.sqrt(1 - z**2)[:, None]
    xyz = np.stack([rho * np.cos(phi), rho * np.sin(phi), np.broadcast_to(z[:, None], (order, 2 * order))])
    return xyz.reshape(3, -1), np.repeat(w * np.pi / order, 2 * order)


def check_points(points: Any) -> np.ndarray:
    """Points (3, P) as an array; raises ModelError for another shape and for NaN."""
    array = as_array("points must be numbers of shape (3, P)", points)
    if array.ndim != 2 or array.shape[0] != 3:
        hint = "; transpose them" if array.ndim == 2 and array.shape[1] == 3 else ""
        raise ModelError(f"points must have shape (3, P), one column each, got {array.shape}{hint}")
    if not np.all(np.isfinite(array)):
        raise ModelError(f"points hold {int((~np.isfinite(array)).sum())} coordinates that are NaN or infinite")
    return array


def unit_vectors(directions: Any) -> np.ndarray:
    """Directions (3, D), or one (3,), brought to length one.

    Raises ModelError for a direction that is zero or NaN, and for another shape.
    """
    array = as_array("directions must be numbers of shape (3, D)", directions)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[0] != 3:
        raise ModelError(f"directions must have shape (3, D), one column each, got {np.shape(directions)}")
    length = np.linalg.norm(array, axis=0)
    if not np.all(np.isfinite(length) & (length > 0)):
        k = int(np.argmin(np.isfinite(length) & (length > 0)))
        raise ModelError(f"direction {k} is {array[:, k].tolist()}: it must be finite and not zero")
    return array / length


def _rule(mesh: SurfaceMesh, weighted: bool = True, order: int = ORDER) -> tuple[np.ndarray, np.ndarray, sp.csr_array]:
    """Points (3, Q), weights (Q,), and hat function values (Q, n), times the weights if `weighted`; Q = q t."""
    local, local_weights = _reference_rule(order)
    q, t, n = len(local_weights), mesh.triangles.shape[1], mesh.vertices.shape[1]
    hats = np.stack([1 - local[0] - local[1], local[0], local[1]])  # (3, q)
    points = np.einsum("cat,aq->ctq", mesh.vertices[:, mesh.triangles], hats).reshape(3, -1)
    weights = np.outer(2 * mesh.areas, local_weights).ravel()
    values = np.broadcast_to(hats[:, None, :], (3, t, q)).reshape(3, -1)
    columns = np.repeat(mesh.triangles, q, axis=1)
    entries = values * weights if weighted else values
    rows = np.broadcast_to(np.arange(q * t), columns.shape)
    return points, weights, sp.csr_array((entries.ravel(), (rows.ravel(), columns.ravel())), shape=(q * t, n))


def _repeat(mesh: SurfaceMesh, per_triangle: np.ndarray, order: int = ORDER) -> np.ndarray:
    """Values (..., t) of the triangles at the quadrature points (..., Q)."""
    return np.repeat(per_triangle, len(_reference_rule(order)[1]), axis=-1)


def _reference_rule(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (2, q) and weights (q,) on the reference triangle."""
    quadrature = require("skfem.quadrature", "scikit-fem", "quadrature on triangles")
    reference = require("skfem.refdom", "scikit-fem", "quadrature on triangles").RefTri
    return quadrature.get_quadrature(reference, order)
