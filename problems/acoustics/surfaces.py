"""Closed surfaces made of flat triangles, cut into numbered parts: the meshes of the boundary element problems."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from problems.acoustics.crossings import first_crossing
from rbm.errors import ModelError

__all__ = ["SurfaceMesh", "solid_angle"]


@dataclass(frozen=True, eq=False)
class SurfaceMesh:
    """A closed triangulated surface in space, normals pointing out of the obstacle.

    Parameters
    ----------
    vertices : (3, n) coordinates
    triangles : (3, t) vertex numbers; seen from outside they run counterclockwise
    parts : (t,) part number 1..d of each triangle; one part by default

    Raises
    ------
    ModelError
        wrong shapes, NaN, vertex numbers out of range, unused or repeated vertices, triangles without area, an edge
        that does not belong to two triangles (open surface) or is run through twice in the same direction
        (inconsistent orientation), two triangles that cross or touch, a component that is oriented inwards or has
        another one inside, part numbers that are not 1..d. The first offender is named.

    Examples
    --------
    >>> from problems import surface
    >>> surface("sphere", level=2)
    SurfaceMesh(66 vertices, 128 triangles, 1 part, edges 0.39 to 0.58)
    """

    vertices: np.ndarray
    triangles: np.ndarray
    parts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        given = self.vertices, self.triangles, [] if self.parts is None else self.parts
        if any(isinstance(a, np.ma.MaskedArray) for a in given):
            raise ModelError("a surface mesh of a masked array: fill what is masked first, array.filled(...)")
        try:
            vertices, triangles, parts = (np.asarray(a) for a in given)
        except ValueError as error:
            raise ModelError(f"a surface mesh is made of arrays of numbers: {error}") from None
        for name, array in (("vertices", vertices), ("triangles", triangles), ("parts", parts)):
            if array.dtype.kind not in "iuf" or (name != "vertices" and not np.all(np.isfinite(array))):
                raise ModelError(f"{name} must be finite real numbers, got an array of {array.dtype}")
        vertices = np.ascontiguousarray(vertices, dtype=float)
        for name, array in (("vertices", vertices), ("triangles", triangles)):
            if array.ndim != 2 or array.shape[0] != 3 or array.shape[1] < 4:
                hint = "; transpose it" if array.ndim == 2 and array.shape[1] == 3 else ""
                raise ModelError(
                    f"{name} must have shape (3, n), one column each, at least 4 of them; got {array.shape}{hint}"
                )
        if parts.size == 0:
            parts = np.ones(triangles.shape[1], dtype=int)
        for name, array in (("triangles", triangles), ("parts", parts)):
            if not np.array_equal(array, array.astype(np.int64)):
                raise ModelError(f"{name} must hold whole numbers")
        set_field(self, "vertices", vertices)
        set_field(self, "triangles", np.ascontiguousarray(triangles, dtype=np.int64))
        set_field(self, "parts", np.ascontiguousarray(parts, dtype=np.int64))
        _check(self)
        for array in (self.vertices, self.triangles, self.parts):
            array.setflags(write=False)

    @property
    def n_parts(self) -> int:
        """The number d of parts of the surface."""
        return int(self.parts.max())

    @cached_property
    def _cross(self) -> np.ndarray:
        a, b, c = (self.vertices[:, t] for t in self.triangles)
        return np.cross(b - a, c - a, axis=0)

    @property
    def areas(self) -> np.ndarray:
        """Areas (t,) of the triangles."""
        return np.linalg.norm(self._cross, axis=0) / 2

    @property
    def normals(self) -> np.ndarray:
        """Unit normals (3, t), out of the obstacle."""
        return self._cross / np.linalg.norm(self._cross, axis=0)

    @property
    def edge_lengths(self) -> np.ndarray:
        """Lengths (3, t) of the edges opposite to the vertices of each triangle."""
        return np.stack([np.linalg.norm(e, axis=0) for e in self.opposite_edges])

    @property
    def opposite_edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The edge vectors (3, t) opposite to the first, second and third vertex of each triangle."""
        a, b, c = (self.vertices[:, t] for t in self.triangles)
        return c - b, a - c, b - a

    def elements_per_wavelength(self, wavenumber: float) -> float:
        """The wavelength 2 pi / k over the mean edge length."""
        return float(2 * np.pi / wavenumber / self.edge_lengths.mean())

    def __repr__(self) -> str:
        lengths, d = self.edge_lengths, self.n_parts
        return (
            f"SurfaceMesh({self.vertices.shape[1]} vertices, {self.triangles.shape[1]} triangles, {d} "
            f"part{'s' * (d > 1)}, edges {lengths.min():.2g} to {lengths.max():.2g})"
        )


def solid_angle(vertices: np.ndarray, triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The solid angles (P,) under which points (3, P) see a closed surface from inside.

    It is 4 pi inside and 0 outside, exact for flat triangles.
    Source: van Oosterom and Strackee, IEEE Trans. Biomed. Eng. 30 (1983) 125-126.
    """
    total = np.zeros(points.shape[1])
    for start in range(0, points.shape[1], 64):
        block = points[:, start : start + 64]
        a, b, c = (vertices[:, None, t] - block[:, :, None] for t in triangles)  # (3, P, t)
        la, lb, lc = (np.linalg.norm(x, axis=0) for x in (a, b, c))
        volume = np.sum(a * np.cross(b, c, axis=0), axis=0)
        ab, bc, ca = (np.sum(x * y, axis=0) for x, y in ((a, b), (b, c), (c, a)))
        denominator = la * lb * lc + ab * lc + bc * la + ca * lb
        total[start : start + 64] = 2 * np.arctan2(volume, denominator).sum(axis=1)
    return total


def _check(mesh: SurfaceMesh) -> None:
    vertices, triangles, parts = mesh.vertices, mesh.triangles, mesh.parts
    n = vertices.shape[1]
    if not np.all(np.isfinite(vertices)):
        raise ModelError(f"vertices hold {int((~np.isfinite(vertices)).sum())} numbers that are NaN or infinite")
    if triangles.min() < 0 or triangles.max() >= n:
        raise ModelError(
            f"triangles name vertices {triangles.min()} to {triangles.max()}, but the mesh has 0 to {n - 1}"
        )
    unused = np.setdiff1d(np.arange(n), triangles)
    if len(unused):
        raise ModelError(f"{len(unused)} vertices belong to no triangle, the first is vertex {unused[0]}; remove them")
    if double := n - len(np.unique(vertices, axis=1).T):
        raise ModelError(f"{double} vertices have the place of another one; merge them, or the surface is open there")
    flat = mesh.areas <= 1e-12 * mesh.edge_lengths.max(axis=0) ** 2
    if flat.any():
        raise ModelError(f"{int(flat.sum())} triangles have no area, the first is triangle {int(np.argmax(flat))}")
    starts, ends = triangles[[0, 1, 2]].ravel(), triangles[[1, 2, 0]].ravel()
    owner = np.tile(np.arange(triangles.shape[1]), 3)
    undirected = np.minimum(starts, ends) * n + np.maximum(starts, ends)
    edges, inverse, counts = np.unique(undirected, return_inverse=True, return_counts=True)
    if np.any(counts != 2):
        k = int(np.argmax(counts != 2))
        raise ModelError(
            f"the surface is not closed: edge ({edges[k] // n}, {edges[k] % n}) belongs to {counts[k]} triangle(s) "
            f"instead of 2 ({int((counts != 2).sum())} such edges)"
        )
    if len(np.unique(starts * n + ends)) < len(starts):
        _, first = np.unique(starts * n + ends, return_index=True)
        k = int(np.setdiff1d(np.arange(len(starts)), first)[0])
        raise ModelError(
            f"the orientation is not consistent: triangle {owner[k]} runs through edge ({starts[k]}, {ends[k]}) in "
            "the same direction as its neighbour; exchange two of its vertices"
        )
    _refuse_crossings(mesh)
    _refuse_inward(mesh, owner[np.argsort(inverse, kind="stable")].reshape(-1, 2))
    if parts.shape != (triangles.shape[1],):
        raise ModelError(f"parts has shape {parts.shape}, expected ({triangles.shape[1]},): one number a triangle")
    numbers = np.unique(parts)
    if not np.array_equal(numbers, np.arange(1, len(numbers) + 1)):
        raise ModelError(f"part numbers must be 1..d without gaps, got {', '.join(map(str, numbers[:10]))}")


def _refuse_crossings(mesh: SurfaceMesh) -> None:
    found = first_crossing(mesh.vertices, mesh.triangles)
    if found is not None:
        one, other, point = found
        at = ", ".join(f"{x:.6g}" for x in point)
        raise ModelError(
            f"triangles {one} and {other} cross or touch at ({at}), which is no vertex or edge of both: the surface "
            "goes through itself, or one body through another; unite bodies that overlap in the program that made "
            "the mesh, move those apart that touch"
        )


def _refuse_inward(mesh: SurfaceMesh, neighbours: np.ndarray) -> None:
    """Refuse a connected component that does not enclose a positive volume.

    neighbours (e, 2): the two triangles of each edge.
    """
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    t = mesh.triangles.shape[1]
    graph = sp.coo_array((np.ones(len(neighbours)), neighbours.T), shape=(t, t))
    count, component = connected_components(graph, directed=False)
    centroids = mesh.vertices[:, mesh.triangles].mean(axis=1)
    volumes = np.bincount(component, np.sum(centroids * mesh._cross, axis=0) / 6, minlength=count)
    if np.any(volumes <= 0):
        k = int(np.argmax(volumes <= 0))
        triangle = int(np.argmax(component == k))
        which = "the surface" if count == 1 else f"component {k + 1} of {count} (with triangle {triangle})"
        raise ModelError(
            f"{which} is oriented inwards (volume {volumes[k]:.3g}): its normals must point out of the obstacle; "
            "exchange two vertices of each triangle, triangles[[0, 2, 1]]"
        )
    for k in range(count if count > 1 else 0):
        own, others = mesh.triangles[:, component == k], mesh.triangles[:, component != k]
        # at a vertex of both the solid angle is that of a corner, whatever lies there: triangles with such corners
        # only are asked at the middle
        shared = np.isin(others, own)
        free, held = np.unique(others[~shared]), np.flatnonzero(shared.all(axis=0))
        points = np.concatenate([mesh.vertices[:, free], mesh.vertices[:, others[:, held]].mean(axis=1)], axis=1)
        inside = np.abs(solid_angle(mesh.vertices, own, points)) > 2 * np.pi
        if inside.any():
            j = int(np.argmax(inside))
            vertex = free[j] if j < len(free) else others[0, held[j - len(free)]]
            raise ModelError(
                f"vertex {vertex} lies inside component {k + 1} of {count} (with triangle "
                f"{int(np.argmax(component == k))}): components must not lie in each other or overlap"
            )
