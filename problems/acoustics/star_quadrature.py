"""Quadrature on the triangles around vertices, with weights that carry the hat functions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from problems.acoustics.surface_fields import ORDER, _reference_rule
from problems.acoustics.surfaces import SurfaceMesh

__all__ = ["Side", "StarQuadrature"]

#: Points in a tile of the rows and of the columns of a block: with 96 x 768 kernel values work stays in the
#: second-level cache.
TALL, WIDE = 96, 768
#: Weights of that few unknowns are a full matrix: to make a sparse one would take longer than to multiply with it.
FEW = 4


@dataclass(frozen=True, eq=False)
class Side:
    """The unknowns of the rows or of the columns of a block, with the points of all triangles around them."""

    vertices: np.ndarray  #: (m,)
    points: np.ndarray  #: (q, 3)
    normals: np.ndarray  #: (q, 3)
    weights: tuple[Any, ...]  #: (q, m) each: a component of every unknown's function at the points, times weights
    root: np.ndarray  #: (q,) square roots of the weights of the rule
    place: np.ndarray  #: (m,) where the unknowns stand among those of the side that this one is cut from

    def at(self, points: np.ndarray) -> Side:
        """The side that holds some of the points, without unknowns."""
        return Side(self.vertices[:0], self.points[points], self.normals[points], (), self.root[points], self.place[:0])

    @cached_property
    def tall(self) -> list[Side]:
        """The pieces of TALL points each."""
        return self._tiles(TALL)

    @cached_property
    def wide(self) -> list[Side]:
        """The pieces of WIDE points each."""
        return self._tiles(WIDE)

    @cached_property
    def beneath(self) -> Any:
        """The transposed weights (c m, q) of the c components, one beneath the other."""
        parts = [w.T for w in self.weights]
        return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else sp.vstack(parts, format="csr")

    @cached_property
    def beside(self) -> Any:
        """The transposed weights (m, c q) of the c components, one beside the other."""
        parts = [w.T for w in self.weights]
        return np.concatenate(parts, axis=1) if isinstance(parts[0], np.ndarray) else sp.hstack(parts, format="csr")

    def _tiles(self, size: int) -> list[Side]:
        """Pieces of so many points, with those unknowns only whose functions are not zero there."""
        tiles = []
        for start in range(0, len(self.points), size):
            part = slice(start, start + size)
            weights: list[Any] = [w[part] for w in self.weights]
            place = np.arange(len(self.vertices))
            if sp.issparse(weights[0]):
                place = np.unique(weights[0].indices)
                weights = [w[:, place] for w in weights]
            at = self.at(np.arange(len(self.points))[part])
            tiles.append(replace(at, vertices=self.vertices[place], weights=tuple(weights), place=place))
        return tiles


@dataclass(frozen=True, eq=False)
class StarQuadrature:
    """The rule of order 4, six points per triangle, for hat functions and, with `curls`, their surface curls."""

    mesh: SurfaceMesh
    curls: bool = False

    @cached_property
    def points(self) -> np.ndarray:
        """Points (t, q, 3) of all triangles."""
        return np.einsum("cat,aq->tqc", self.mesh.vertices[:, self.mesh.triangles], self._hats)

    @cached_property
    def values(self) -> np.ndarray:
        """The functions (t, 3, q, c) of the corners of each triangle at the points, times the weights.

        c = 1: the hat function phi; with curls c = 6: curl phi = n x grad phi (minus the opposite edge over twice the
        area, where the sign drops out of products) and n phi.
        """
        weights = self._weights
        function = (weights[:, None, :] * self._hats)[..., None]
        if not self.curls:
            return function
        edges = np.stack(self.mesh.opposite_edges).transpose(2, 0, 1) / (2 * self.mesh.areas[:, None, None])
        curls = weights[:, None, :, None] * edges[:, :, None, :]
        return np.concatenate([curls, function * self.mesh.normals.T[:, None, None, :]], axis=3)

    def star(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All triangles around vertices (k,).

        Returns the numbers of the vertex (p,), of the triangle (p,), and of its corner (p,).
        """
        first, triangle, corner = self._stars
        count = first[vertices + 1] - first[vertices]
        owner = np.repeat(np.arange(len(vertices)), count)
        place = np.arange(len(owner)) + np.repeat(first[vertices] - np.cumsum(count) + count, count)
        return owner, triangle[place], corner[place]

    def side(self, vertices: np.ndarray) -> Side:
        """Points and weights of vertices (m,), with each triangle around them once.

        Of the functions of its corners a triangle has only those of the given vertices.

        Triangles come in the order of the vertices: where neighbours stand side by side, a tile touches few unknowns.
        """
        owner, star, corner = self.star(vertices)
        _, first, place = np.unique(star, return_index=True, return_inverse=True)
        order = np.argsort(first)
        triangles, place = star[first[order]], np.argsort(order)[place]
        values = self.values[star, corner]  # (p, q, c)
        q = values.shape[1]
        row, column = (place[:, None] * q + np.arange(q)).ravel(), np.repeat(owner, q)
        shape = len(triangles) * q, len(vertices)
        weights: list[Any] = []
        for component in values.reshape(-1, values.shape[2]).T:
            if len(vertices) <= FEW:
                full = np.zeros(shape)
                full[row, column] = component
                weights.append(full)
            else:
                weights.append(sp.csr_array((component, (row, column)), shape=shape))
        normals = np.repeat(self.mesh.normals.T[triangles], q, axis=0)
        points, root = self.points[triangles].reshape(-1, 3), np.sqrt(self._weights[triangles]).ravel()
        return Side(vertices, points, normals, tuple(weights), root, np.arange(len(vertices)))

    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners low and high (3, n) of the boxes around the triangles of each vertex."""
        corners = self.mesh.vertices[:, self.mesh.triangles]  # (3, 3, t)
        first, triangle, _ = self._stars
        low, high = corners.min(axis=1)[:, triangle], corners.max(axis=1)[:, triangle]
        return np.minimum.reduceat(low, first[:-1], axis=1), np.maximum.reduceat(high, first[:-1], axis=1)

    @cached_property
    def _weights(self) -> np.ndarray:
        """Weights (t, q) of all triangles."""
        return 2 * self.mesh.areas[:, None] * _reference_rule(ORDER)[1]

    @cached_property
    def _hats(self) -> np.ndarray:
        local = _reference_rule(ORDER)[0]
        return np.stack([1 - local[0] - local[1], local[0], local[1]])

    @cached_property
    def _stars(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the triangles of each vertex begin (n + 1,) in a list of triangles (3 t,) and corners (3 t,)."""
        vertex, t = self.mesh.triangles.ravel(), self.mesh.triangles.shape[1]
        place = np.argsort(vertex, kind="stable")
        return np.searchsorted(vertex[place], np.arange(self.mesh.vertices.shape[1] + 1)), place % t, place // t
