"""Which pairs of triangles are integrated by which rule.

All choices are in this file: the matrices follow from them, and the names of their files on disk.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from problems.acoustics import near_quadrature
from problems.acoustics.near_triangles import NearTriangles, SharpTriangles, near_triangles, sharp_triangles
from problems.acoustics.surfaces import SurfaceMesh

__all__ = ["pairs_to_correct", "rules", "seconds_of", "singular_order", "warn_if_costly", "warn_if_too_near"]

#: Changes when what these modules compute changes without one of the constants
#: (tests/problems/test_near_triangles.py sees it).
RULES = 3
#: Triangles that do not touch and are nearer than this share of the longest edge are integrated by
#: :mod:`problems.acoustics.near_quadrature`. There the rule of order 4 leaves 2e-3 of a single and 2e-2 of a double
#: layer, at 0.08 of an edge 15 % and more. No ready-made shape has such pairs. The edge counts, and not the local size:
#: of long triangles at 0.2 to 0.35 of the edge and 8 to 10 local sizes that rule leaves 5 % and 12 %.
NEAR = 0.35
#: Triangles longer than this many of their heights are stretched; the least order of singular integrals on a mesh with
#: stretched, near or sharp triangles.
STRETCHED, SINGULAR = 4.0, 6
#: Nearer than this, the correction itself has been seen to lose digits.
TOO_NEAR = 2e-3
#: Integrals that take longer than so many seconds are announced. The others are seconds per pair: of near triangles
#: (four times as many where the pair is very near), those to add where triangles are long for the wave, and of
#: triangles that touch.
ANNOUNCED, SECONDS, SECONDS_LONG, SECONDS_SHARP = 120.0, 0.0011, 0.002, 0.016
#: Faces that meet at less than this angle (radians) are integrated likewise, and so are triangles with one common
#: vertex that are nearer there than this share of their own angle: the singular rule of order 4 leaves 5e-3 of a double
#: layer at 37 degrees, 17 % at 4.
SHARP, SHARP_AT_VERTEX = np.pi / 4, 0.25
#: Sharper than this (radians) the correction has not been checked: at 0.19 degrees rows of the double layer still add
#: up to 3e-6.
TOO_SHARP = np.radians(0.1)


def rules() -> str:
    """All that decides how pairs of triangles are integrated, besides the orders that are asked for.

    It is part of a cache key.
    """
    q = near_quadrature
    constants = (NEAR, STRETCHED, SINGULAR, SHARP, SHARP_AT_VERTEX)
    halves = (q.ORDER, q.TOLERANCE, q.TOLERANCE_AT_TOUCH, q.SEPARATION, q.TWICE, q.LEVELS)
    return f"rules {RULES}, {constants}, {halves}, {(q.SMOOTH_ORDERS, q.SMOOTH_WAVES, q.SMOOTH_AT_TOUCH)}"


def pairs_to_correct(mesh: SurfaceMesh) -> tuple[NearTriangles, SharpTriangles]:
    """The pairs that are integrated in closed form; warns of pairs for which this is not enough."""
    near, sharp = near_triangles(mesh, NEAR), sharp_triangles(mesh, SHARP, SHARP_AT_VERTEX)
    warn_if_too_near(near)
    if len(sharp) and sharp.angle.min() < TOO_SHARP:
        k = int(np.argmin(sharp.angle))
        warnings.warn(
            f"triangles {sharp.first[k]} and {sharp.second[k]} meet at an angle of {np.degrees(sharp.angle[k]):.2g} "
            f"degrees ({int((sharp.angle < TOO_SHARP).sum())} such pairs below {np.degrees(TOO_SHARP):.2g}): how right "
            "their integrals are has not been checked, and no reduced basis bound covers it; thicken the rim, or cut "
            "it off",
            stacklevel=3,
        )
    return near, sharp


def singular_order(mesh: SurfaceMesh, quadrature: int, near: bool) -> int:
    """The order for triangles that touch: `quadrature`, but at least 6 with stretched, near or sharp triangles.

    Of the extinction of a plate 50 times as wide as thick, order 4 leaves 6e-3, order 6 leaves 7e-4, and order 8
    leaves 2e-4, which takes twice the time.
    """
    longest = mesh.edge_lengths.max(axis=0)
    stretched = near or bool(np.any(longest**2 > STRETCHED * 2 * mesh.areas))
    return max(quadrature, SINGULAR) if stretched else quadrature


def warn_if_too_near(near: NearTriangles) -> None:
    """Name the nearest pair if it is too near even for the correction."""
    if len(near) and near.ratio.min() < TOO_NEAR:
        k = int(np.argmin(near.ratio))
        warnings.warn(
            f"triangles {near.first[k]} and {near.second[k]} do not touch and are {near.ratio[k]:.1e} of an edge apart "
            f"({int((near.ratio < TOO_NEAR).sum())} such pairs below {TOO_NEAR:g}): their integrals are right to about "
            "1e-4 only, which no reduced basis bound covers; refine the mesh there, or close the gap",
            stacklevel=4,
        )


def warn_if_costly(mesh: SurfaceMesh, near: NearTriangles, sharp: SharpTriangles, wavenumbers: Sequence[float]) -> None:
    """Announce integrals that take longer than all the rest, and what shortens them."""
    seconds = seconds_of(mesh, near, sharp, wavenumbers)
    if seconds > ANNOUNCED:
        stretch = float((mesh.edge_lengths.max(axis=0) ** 2 / (2 * mesh.areas)).max())
        count = (len(near) + len(sharp)) * len(wavenumbers)
        warnings.warn(
            f"{count} integrals over pairs of near triangles, which take about {seconds / 60:.0f} minutes (once, if "
            f"there is a cache): near is what is nearer than {NEAR:g} of the longer edge of the two, and the mesh has "
            f"triangles up to {stretch:.0f} times as long as high; a mesh of rounder triangles has fewer such pairs",
            stacklevel=3,
        )


def seconds_of(mesh: SurfaceMesh, near: NearTriangles, sharp: SharpTriangles, wavenumbers: Sequence[float]) -> float:
    """About how long the integrals over near and touching pairs take on one core.

    The estimate is within a factor of two for cylinders of long triangles.
    """
    longest = float(mesh.edge_lengths.max())
    long = sum(k * longest > near_quadrature.SMOOTH_WAVES[-1] for k in wavenumbers)
    pairs = len(near) + 3 * int((near.ratio < near_quadrature.TWICE).sum())
    return len(wavenumbers) * (pairs * SECONDS + len(sharp) * SECONDS_SHARP) + long * len(near) * SECONDS_LONG
