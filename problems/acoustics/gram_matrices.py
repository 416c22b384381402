"""Mass and stiffness matrices of a surface mesh, and the inner product of H^{1/2}."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from problems.acoustics.surfaces import SurfaceMesh

__all__ = ["half_order_gram", "mass", "stiffness"]


def mass(mesh: SurfaceMesh, part: int | None = None) -> np.ndarray:
    """The mass matrix M_il = int phi_i phi_l (n, n) of the surface, or of one part.

    It is dense, and exact on flat triangles.
    """
    weight = mesh.areas / 12 if part is None else np.where(mesh.parts == part, mesh.areas / 12, 0.0)
    return _add_up(mesh, weight * (1 + np.eye(3))[:, :, None])


def stiffness(mesh: SurfaceMesh) -> np.ndarray:
    """The stiffness matrix S_il = int grad phi_i . grad phi_l (n, n), dense, with surface gradients.

    On each triangle it is (e_i . e_l) / (4 area), e the edges opposite to the vertices.
    """
    edges = np.stack(mesh.opposite_edges)
    return _add_up(mesh, np.einsum("aks,bks->abs", edges, edges) / (4 * mesh.areas))


def half_order_gram(mesh: SurfaceMesh, wavenumber: float) -> np.ndarray:
    """The inner product P (n, n) of H^{1/2}, real and positive definite.

    P = M Q (1 + Lambda / k^2)^{1/2} Q^T M with S Q = M Q Lambda, Q^T M Q = I: the square root of 1 -
    Laplace-Beltrami / k^2. In this norm the singular values of the Burton-Miller operator stay between bounds that
    do not depend on the mesh. Cost: one dense eigendecomposition.
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
