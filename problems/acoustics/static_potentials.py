"""Potentials of linear functions on flat triangles in closed form: 1/r, r and their normal derivatives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["double_area", "linear_potentials"]


class _Edge(NamedTuple):
    """One edge as it is seen from the feet of points in the plane of the triangle, (l, q) each."""

    offset: np.ndarray  #: distance of the foot from its line, positive inside
    low: np.ndarray  #: way along it from the foot to its start
    high: np.ndarray  #: and to its end
    square: np.ndarray  #: squared distance of the point from its line


def linear_potentials(
    points: np.ndarray, triangles: np.ndarray, normals: np.ndarray, wavenumber: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The potentials of the hat functions of triangles at points off them, and those of the normal derivative.

    They are int_T phi_b(y) g and int_T phi_b(y) dg/dn_y, (l, q, 3) each, g = 1/r - k^2 r / 2, at points (l, q, 3) off
    triangles (l, 3, 3) with unit normals (l, 3).

    What is left of exp(ikr)/r without g is smooth but for r^3. All that is integrated over the triangle follows from
    1/r, r and r^3 along its edges and from the solid angle under which it is seen.

    Source: Wilton, Rao, Glisson, Schaubert, Al-Bundak, Butler, IEEE Trans. Antennas Propag. 32 (1984) 276-281;
    Graglia, ibid. 41 (1993) 1448-1455; of r: Gauss' theorem in the plane; of the angle: van Oosterom, Strackee, IEEE
    Trans. Biomed. Eng. 30 (1983) 125-126.
    """
    area, half = double_area(triangles)[:, None], wavenumber**2 / 2
    lengths, outs, height, edges = _seen(points, triangles, normals)
    corners = [np.sqrt(edges[j - 1].square + edges[j - 1].low ** 2) for j in range(3)]  # corner j begins the edge j - 1
    inverse, first, across = np.zeros(height.shape), np.zeros(height.shape), corners[0] * corners[1] * corners[2]
    of_inverse, of_first, of_third = [], [], []  # 1/r, r and r^3 / 3 along the edges
    for j, (offset, low, high, square) in enumerate(edges):
        near, far = corners[(j + 1) % 3], corners[(j + 2) % 3]
        # of two equal logarithms the one without cancellation
        turned = low + high < 0
        logarithm = np.log(np.where(turned, near - low, far + high) / np.where(turned, far - high, near + low))
        line = (square * logarithm + high * far - low * near) / 2
        across = across + (square + low * high) * corners[j]
        inverse += offset * logarithm
        first += offset * line / 3
        of_inverse.append(logarithm)
        of_first.append(line)
        if half:
            of_third.append(square * line / 4 + (high * far**3 - low * near**3) / 12)
    angle = 2 * np.arctan2(np.abs(height) * area, across)
    inverse -= np.abs(height) * angle
    first += height**2 * inverse / 3
    turn = np.sign(height) * angle
    single, double = np.empty(points.shape), np.empty(points.shape)
    for b in range(3):
        value = edges[b].offset * lengths[b] / area  # of phi_b at the foot
        slopes = [-np.sum(outs[b] * out, axis=1)[:, None] * lengths[b] / area for out in outs]  # along the outs
        single[..., b] = value * inverse + _sum(slopes, of_first)
        double[..., b] = value * turn - height * _sum(slopes, of_inverse)
        if half:  # d/dn_y r is - height / r
            double[..., b] += half * height * single[..., b]
            single[..., b] -= half * (value * first + _sum(slopes, of_third))
    return single, double


def _seen(
    points: np.ndarray, triangles: np.ndarray, normals: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, list[_Edge]]:
    """The edges opposite to the corners, as they are seen from the points.

    Returns their lengths (l, 1), the directions (l, 3) out of them, the heights (l, q) of the points, and the edges
    from the feet of the points.
    """
    sides = [triangles[:, (j + 2) % 3] - triangles[:, (j + 1) % 3] for j in range(3)]
    lengths = [np.linalg.norm(side, axis=1)[:, None] for side in sides]
    ways = [side / length for side, length in zip(sides, lengths, strict=True)]
    outs = [np.cross(way, normals) for way in ways]
    origin = triangles[:, :1]
    frame = np.stack([normals, *outs, *ways], axis=1)
    height, *places = (frame @ (points - origin).transpose(0, 2, 1)).transpose(1, 0, 2)
    edges = []
    for j in range(3):
        start = triangles[:, (j + 1) % 3] - origin[:, 0]
        offset = np.sum(start * outs[j], axis=1)[:, None] - places[j]
        low = np.sum(start * ways[j], axis=1)[:, None] - places[3 + j]
        edges.append(_Edge(offset, low, low + lengths[j], offset**2 + height**2))
    return lengths, outs, height, edges


def _sum(factors: list[np.ndarray], values: list[np.ndarray]) -> np.ndarray:
    return factors[0] * values[0] + factors[1] * values[1] + factors[2] * values[2]


def double_area(corners: np.ndarray) -> np.ndarray:
    """Twice the areas (l,) of triangles (l, 3, 3)."""
    a, b, c = corners.transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1)
