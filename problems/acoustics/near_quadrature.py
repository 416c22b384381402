"""Integrals over two triangles that are near each other: the static part in closed form on one, by pieces on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lowrank.progress import progress_bar
from problems.acoustics.near_triangles import NearTriangles, SharpTriangles, segment_distance
from problems.acoustics.surface_fields import _reference_rule
from problems.acoustics.surfaces import SurfaceMesh

__all__ = ["NearCorrection", "near_correction"]

#: A piece is small enough when its centre is this many radii away from the edges of the other triangle; order of the rule on it.
SEPARATION, ORDER = 2.0, 6
#: No piece is halved more often: what is left then is a strip of 1/512 of an edge, which leaves about 1e-4 of an integral.
LEVELS = 9
#: Order of the rule for the bounded part of the kernels, on the quarters of both triangles.
SMOOTH_ORDER = 8
#: Pairs between two steps of a progress bar.
STEP = 128
#: Kernel values that are formed at once.
VALUES = 1 << 20

Rule = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class NearCorrection:
    """What is to be added for each pair S, T of near triangles, corners of S by corners of T (p, 3, 3), x on S and y on T."""

    single: np.ndarray  #: int int phi_a(x) G phi_b(y)
    double: np.ndarray  #: the same with d/dn_y G
    adjoint: np.ndarray  #: the same with d/dn_x G


def near_correction(
    mesh: SurfaceMesh,
    pairs: NearTriangles | SharpTriangles,
    wavenumber: float,
    rule: Rule | None,
    progress: bool = False,
) -> NearCorrection:
    """Accurate integrals less those that the rule (points (2, q), weights (q,) on the reference triangle) gives, for each pair; whole integrals for None.

    1/(4 pi r) and its normal derivative times linear functions have integrals over a flat triangle in closed form; what they are as
    functions on the other triangle changes fast only near the edges of the first, and is integrated by pieces that become smaller towards
    these. The rest of exp(ikr)/(4 pi r) is bounded. Together right to about 1e-5 of an integral, however near the triangles are.

    Source of the closed forms: Wilton, Rao, Glisson, Schaubert, Al-Bundak, Butler, IEEE Trans. Antennas Propag. 32 (1984) 276-281;
    Graglia, ibid. 41 (1993) 1448-1455.
    """
    total = np.empty((3, len(pairs), 3, 3), dtype=complex)
    with progress_bar(None, "near triangles", enabled=progress, total=len(pairs)) as bar:
        for start in range(0, len(pairs), STEP):
            rows = slice(start, start + STEP)
            total[:, rows] = _correction(mesh, pairs.first[rows], pairs.second[rows], wavenumber, rule)
            bar.update(total[:, rows].shape[1])
    return NearCorrection(*total)


def _correction(
    mesh: SurfaceMesh, first: np.ndarray, second: np.ndarray, wavenumber: float, rule: Rule | None
) -> np.ndarray:
    """(3, p, 3, 3): single, double and adjoint of the given triangles."""
    corners = mesh.vertices[:, mesh.triangles].transpose(2, 1, 0)  # (t, 3 corners, 3 coordinates)
    one, two = corners[first], corners[second]
    normals = mesh.normals.T[first], mesh.normals.T[second]
    single, double = _static(one, two, normals[1])
    adjoint = _static(two, one, normals[0])[1].transpose(0, 2, 1)
    total = np.stack([single, double, adjoint]).astype(complex)
    smooth = _quartered(_reference_rule(SMOOTH_ORDER))
    total += _by_rule(one, two, normals, wavenumber, smooth, bounded=True)
    if rule is not None:
        total -= _by_rule(one, two, normals, wavenumber, rule)
    return total


def _static(one: np.ndarray, two: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int_S phi_a(x) int_T 1/(4 pi r) phi_b(y), and with d/dn_y (p, 3, 3), for triangles S, T (p, 3, 3) and normals (p, 3) of T."""
    local, weights = _reference_rule(ORDER)
    hats = np.stack([1 - local[0] - local[1], local[0], local[1]]).T  # (q, 3)
    sums = np.zeros((2, len(one), 9))
    owner, pieces = np.arange(len(one)), np.broadcast_to(np.eye(3), one.shape)
    for level in range(LEVELS + 1):
        corners = pieces @ one[owner]
        centre = corners.mean(axis=1)
        radius = np.linalg.norm(corners - centre[:, None], axis=2).max(axis=1)
        edges = [segment_distance(centre.T, two[owner, j].T, two[owner, (j + 1) % 3].T) for j in range(3)]
        ready = (np.minimum.reduce(edges) >= SEPARATION * radius) | (level == LEVELS)
        rows = np.flatnonzero(ready)
        for part in np.array_split(rows, -(-len(rows) * len(weights) // (VALUES // 16)) or 1):
            of, at = owner[part], hats @ pieces[part]  # (l, q, 3): values of the functions of S
            potentials = linear_potentials(at @ one[of], two[of], normals[of])
            left = (at * (weights[:, None] * _double_area(corners[part])[:, None, None])).transpose(0, 2, 1)
            for total, values in zip(sums, potentials, strict=True):
                np.add.at(total, of, (left @ values).reshape(-1, 9) / (4 * np.pi))
        a, b, c = pieces[~ready].transpose(1, 0, 2)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        quarters = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        pieces = np.concatenate([np.stack(q, axis=1) for q in quarters])
        owner = np.tile(owner[~ready], 4)
    return sums[0].reshape(-1, 3, 3), sums[1].reshape(-1, 3, 3)


def linear_potentials(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int_T phi_b(y) / r and int_T phi_b(y) d/dn_y (1/r), (l, q, 3), at points (l, q, 3) off triangles (l, 3, 3) with unit normals (l, 3)."""
    n = normals[:, None, :]
    height = np.sum((points - triangles[:, None, 0]) * n, axis=2)
    foot = points - height[..., None] * n
    area, level = _double_area(triangles)[:, None], np.abs(height)
    flat, angle = np.zeros(height.shape), np.zeros(height.shape)
    along, around = np.zeros(points.shape), np.zeros(points.shape)
    for j in range(3):
        start, end = triangles[:, None, (j + 1) % 3], triangles[:, None, (j + 2) % 3]
        length = np.linalg.norm(end - start, axis=2)
        way = (end - start) / length[..., None]
        out = np.cross(way, n)
        offset = np.sum((start - foot) * out, axis=2)
        low = np.sum((start - foot) * way, axis=2)
        high = low + length
        near, far = (np.sqrt(offset**2 + height**2 + s**2) for s in (low, high))
        # of two equal logarithms the one without cancellation
        turned = low + high < 0
        logarithm = np.log(np.where(turned, near - low, far + high) / np.where(turned, far - high, near + low))
        square = offset**2 + height**2
        flat += offset * logarithm
        angle += np.arctan2(offset * high, square + level * far) - np.arctan2(offset * low, square + level * near)
        along += out * ((square * logarithm + high * far - low * near) / 2)[..., None]
        around += out * logarithm[..., None]
    single, double = np.empty(points.shape), np.empty(points.shape)
    for b in range(3):
        opposite = triangles[:, (b + 2) % 3] - triangles[:, (b + 1) % 3]
        slope = np.cross(normals, opposite)[:, None, :] / area[..., None]
        value = 1 + np.sum((foot - triangles[:, None, b]) * slope, axis=2)
        single[..., b] = value * (flat - level * angle) + np.sum(slope * along, axis=2)
        double[..., b] = value * np.sign(height) * angle - height * np.sum(slope * around, axis=2)
    return single, double


def _by_rule(
    one: np.ndarray,
    two: np.ndarray,
    normals: tuple[np.ndarray, np.ndarray],
    k: float,
    rule: Rule,
    bounded: bool = False,
) -> np.ndarray:
    """(3, p, 3, 3): single, double and adjoint integrals by a rule on both triangles; of the kernels without their static part if `bounded`."""
    local, weights = rule
    hats = np.stack([1 - local[0] - local[1], local[0], local[1]]).T  # (q, 3)
    weighted = hats * weights[:, None]
    total = np.empty((3, len(one), 3, 3), dtype=complex)
    step = max(1, VALUES // len(weights) ** 2)
    for start in range(0, len(one), step):
        rows = slice(start, start + step)
        difference = (hats @ two[rows])[:, None, :, :] - (hats @ one[rows])[:, :, None, :]
        r = np.sqrt(np.einsum("lqrc,lqrc->lqr", difference, difference))
        wave = np.exp(1j * k * r)
        kernel, slope = wave / (4 * np.pi * r), wave * (1j * k * r - 1) / (4 * np.pi * r**3)
        if bounded:
            kernel, slope = kernel - 1 / (4 * np.pi * r), slope + 1 / (4 * np.pi * r**3)
        areas = (_double_area(one[rows]) * _double_area(two[rows]))[:, None, None]
        kernels = (
            kernel,
            slope * np.einsum("lqrc,lc->lqr", difference, normals[1][rows]),
            -slope * np.einsum("lqrc,lc->lqr", difference, normals[0][rows]),
        )
        for sums, values in zip(total, kernels, strict=True):
            sums[rows] = areas * (weighted.T @ values @ weighted)
    return total


def _quartered(rule: Rule) -> Rule:
    """The rule on the four quarters of the reference triangle."""
    points, weights = rule
    shifts = np.array([[0.0, 0.5, 0.0], [0.0, 0.0, 0.5]])
    parts = [points / 2 + shift[:, None] for shift in shifts.T] + [0.5 - points / 2]
    return np.concatenate(parts, axis=1), np.tile(weights / 4, 4)


def _double_area(corners: np.ndarray) -> np.ndarray:
    """Twice the areas (l,) of triangles (l, 3, 3)."""
    a, b, c = corners.transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1)
