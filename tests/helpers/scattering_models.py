"""Small scattering models, from matrices that are stored beside the tests: no boundary element package is needed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from helpers import DATA
from problems.acoustics.scattering import ScatteringModel, acoustic_scattering
from problems.acoustics.surfaces import SurfaceMesh
from rbm.stability.bound import Anchored

#: Near the first interior resonance, pi on the sphere, which the mesh of 66 unknowns shifts to 3.24.
RESONANCE = 3.22
#: Wavenumbers that are no nodes of :func:`wavenumber_model`, with matrices stored as well.
UNSEEN = (0.3, 0.41, 0.57, 0.733, 0.92, 1.07)


@lru_cache(maxsize=8)
def scattering(complex_valued: bool = False, shape: str = "sphere") -> ScatteringModel:
    """66 unknowns, two parts, k = 2."""
    return acoustic_scattering(shape, 2, 2.0, 2, **_settings(complex_valued))


@lru_cache(maxsize=2)
def wavenumber_model(complex_valued: bool = False) -> ScatteringModel:
    """18 unknowns, two parts, k in [0.3, 1.1]."""
    return acoustic_scattering("sphere", 2, (0.3, 1.1), 1, **_settings(complex_valued))


def icosphere(level: int) -> SurfaceMesh:
    """The icosahedron, refined and moved to the unit sphere: 10 4^level + 2 vertices."""
    golden = (1 + 5**0.5) / 2
    corners = np.array([[0, s, t * golden] for s in (-1, 1) for t in (-1, 1)])
    points = np.concatenate([np.roll(corners, shift, axis=1) for shift in range(3)])
    triangles = ConvexHull(points).simplices
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    for _ in range(level):
        edges = np.sort(triangles[:, [[1, 2], [2, 0], [0, 1]]], axis=2)
        unique, place = np.unique(edges.reshape(-1, 2), axis=0, return_inverse=True)
        (a, b, c), (bc, ca, ab) = triangles.T, len(points) + place.reshape(-1, 3).T
        middles = points[unique].sum(axis=1)
        points = np.concatenate([points, middles / np.linalg.norm(middles, axis=1, keepdims=True)])
        triangles = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    x, y, z = points[triangles].transpose(1, 0, 2)
    inward = np.sum(x * np.cross(y, z), axis=1) < 0
    triangles[inward] = triangles[inward][:, [0, 2, 1]]
    return SurfaceMesh(points.T, triangles.T)


def restore(patch: pytest.MonkeyPatch, cache: str | None) -> None:
    """The user's own cache, as it was before the tests began: for what is too large to be stored beside them."""
    if cache is None:
        patch.delenv("RBM_CACHE_DIR")
    else:
        patch.setenv("RBM_CACHE_DIR", cache)


def _settings(complex_valued: bool) -> dict:
    # anchors are chosen anew: their cache is for the machine that wrote it
    return {
        "susceptance": (-1.0, 1.0) if complex_valued else None,
        "stability": Anchored(progress=False),
        "cache": DATA,
        "progress": False,
    }
