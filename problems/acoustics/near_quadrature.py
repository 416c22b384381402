"""Integrals over two triangles that are near each other.

The static part is integrated in closed form on one triangle, and by pieces on the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lowrank.progress import progress_bar
from problems.acoustics.near_triangles import Pairs, SharpTriangles, segment_distance, triangle_distance
from problems.acoustics.static_potentials import double_area, linear_potentials
from problems.acoustics.surface_fields import _reference_rule
from problems.acoustics.surfaces import SurfaceMesh

__all__ = ["NearCorrection", "near_correction"]

#: Order of the rule on a piece; two halves and the whole may differ by this share of the integral (the halves are right
#: to a small part of it), less where triangles touch; a piece whose centre is this many radii away from the edges of
#: the other triangle is not compared.
ORDER, TOLERANCE, TOLERANCE_AT_TOUCH, SEPARATION = 8, 1e-7, 1e-9, 4.0
#: Triangles nearer than this share of their size: halves have to agree twice (once left 6e-5 of a double layer at a gap
#: of 1/100).
TWICE = 0.2
#: The last pieces are 1/512 of a triangle's size, of a long one of its width, which leaves about 1e-6 of an integral or
#: less.
LEVELS = 9
#: Orders of the rule for what is left of the kernels, for triangles of up to so many radians (k times the longest
#: edge), and of longer ones on the quarters of both; triangles that touch take the third at least, since r^3 is not
#: smooth there (order 8 left 3e-6 at 2 radians).
SMOOTH_ORDERS, SMOOTH_WAVES, SMOOTH_AT_TOUCH = (6, 8, 12, 16, 12), (1.0, 2.0, 4.0, 6.0), 2
#: Pairs between two steps of a progress bar.
STEP = 512
#: Kernel values that are formed at once.
VALUES = 1 << 14
#: Pieces of triangles that are looked at at once.
PIECES = 1 << 10

Rule = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class NearCorrection:
    """What is to be added for each pair S, T of near triangles.

    Arrays are (p, 3, 3), corners of S by corners of T, with x on S and y on T.
    """

    single: np.ndarray  #: int int phi_a(x) G phi_b(y)
    double: np.ndarray  #: the same with d/dn_y G
    adjoint: np.ndarray  #: the same with d/dn_x G


def near_correction(
    mesh: SurfaceMesh, pairs: Pairs, wavenumber: float, rule: Rule | None, progress: bool = False
) -> NearCorrection:
    """Accurate integrals over each pair, less those that the rule gives.

    rule : points (2, q) and weights (q,) on the reference triangle; None for whole integrals

    (1/r - k^2 r / 2) / (4 pi) and its normal derivative times linear functions have integrals over a flat triangle in
    closed form (:mod:`problems.acoustics.static_potentials`). As functions on the other triangle these integrals
    change fast only near the edges of the first, and are integrated by pieces that become smaller towards the edges.
    The rest of exp(ikr)/(4 pi r) is smooth. The sum is right to about 1e-6 of the largest integral of a pair, at gaps
    down to 1/170 of an edge and triangles up to 80 times as long as high, of up to 6 radians.
    """
    touching = isinstance(pairs, SharpTriangles)
    total = np.empty((3, len(pairs), 3, 3), dtype=complex)
    with progress_bar(None, "near triangles", enabled=progress, total=len(pairs)) as bar:
        for start in range(0, len(pairs), STEP):
            rows = slice(start, start + STEP)
            total[:, rows] = _correction(mesh, pairs.first[rows], pairs.second[rows], wavenumber, rule, touching)
            bar.update(total[:, rows].shape[1])
    return NearCorrection(*total)


def _correction(
    mesh: SurfaceMesh, first: np.ndarray, second: np.ndarray, wavenumber: float, rule: Rule | None, touching: bool
) -> np.ndarray:
    """Single, double and adjoint corrections (3, p, 3, 3) of the given triangles."""
    corners = mesh.vertices[:, mesh.triangles].transpose(2, 1, 0)  # (t, 3 corners, 3 coordinates)
    one, two = corners[first], corners[second]
    normals = mesh.normals.T[first], mesh.normals.T[second]
    tolerance = TOLERANCE_AT_TOUCH if touching else TOLERANCE
    single, double = _static(one, two, normals[1], wavenumber, tolerance)
    adjoint = _static(two, one, normals[0], wavenumber, tolerance)[1].transpose(0, 2, 1)
    total = np.stack([single, double, adjoint]).astype(complex)
    classes = smooth_classes(wavenumber * np.maximum(_longest(one), _longest(two)), touching)
    for j, order in enumerate(SMOOTH_ORDERS):
        rows = np.flatnonzero(classes == j)
        if len(rows):
            smooth = _reference_rule(order) if j < len(SMOOTH_WAVES) else _quartered(_reference_rule(order))
            of = normals[0][rows], normals[1][rows]
            total[:, rows] += _by_rule(one[rows], two[rows], of, wavenumber, smooth, bounded=True)
    if rule is not None:
        total -= _by_rule(one, two, normals, wavenumber, rule)
    return total


def smooth_classes(radians: np.ndarray, touching: bool) -> np.ndarray:
    """Which of `SMOOTH_ORDERS` (p,) triangles of this length (p,) take; the last one is for their quarters."""
    return np.maximum(np.searchsorted(SMOOTH_WAVES, radians), SMOOTH_AT_TOUCH if touching else 0)


def _static(one: np.ndarray, two: np.ndarray, normals: np.ndarray, k: float, tolerance: float) -> np.ndarray:
    """The static integrals over triangles S, T (p, 3, 3), and those of the normal derivative: (2, p, 3, 3).

    They are int_S phi_a(x) int_T (1/r - k^2 r / 2) / (4 pi) phi_b(y), and the same with d/dn_y; normals (p, 3) of T.

    S is cut in halves, across the longest edge, until two halves give what the whole did. So a long piece that lies
    along T may stay far longer than its distance, and only what is near for its own size is cut further.
    """
    sums = np.zeros((2, len(one), 9))
    rule = _reference_rule(ORDER)
    owner, pieces = np.arange(len(one)), np.broadcast_to(np.eye(3), one.shape)
    whole = _on_pieces(owner, pieces, one, two, normals, k, rule)
    # what errors are compared with: the integrals of all functions together, and of the double layer, which may
    # vanish, not less than a hundredth of the most that it can be
    size = _local_radius(one)
    least = size / 2**LEVELS
    apart = triangle_distance(one.transpose(2, 1, 0), two.transpose(2, 1, 0))
    single, double = np.abs(whole).sum(axis=2)
    allowed = tolerance * np.stack([single, np.maximum(double, single / np.maximum(apart, size / 50) / 100)])
    # at first sight a rule may miss what changes within a small distance, and its halves too: there they have to agree
    # twice
    seen = apart >= TWICE * size
    waiting = [(owner, pieces, seen, whole)]
    while waiting:
        owner, pieces, agreed, whole = waiting.pop()
        if len(owner) > PIECES:
            waiting.append((owner[PIECES:], pieces[PIECES:], agreed[PIECES:], whole[:, PIECES:]))
            owner, pieces, agreed, whole = owner[:PIECES], pieces[:PIECES], agreed[:PIECES], whole[:, :PIECES]
        corners = pieces @ one[owner]
        ready = _separation(corners, two[owner]) >= SEPARATION
        _add(sums, owner[ready], whole[:, ready])
        rest = ~ready
        if not np.any(rest):
            continue
        owner, whole, corners, agreed = owner[rest], whole[:, rest], corners[rest], agreed[rest]
        parts = np.stack(_halves(pieces[rest], corners))  # (2, l, 3, 3)
        halves = _on_pieces(np.tile(owner, 2), parts.reshape(-1, 3, 3), one, two, normals, k, rule).reshape(2, 2, -1, 9)
        both = halves.sum(axis=1)
        agree = np.all(np.abs(both - whole).max(axis=2) <= allowed[:, owner], axis=0)
        ready = (agree & agreed) | (_radius(corners)[1] <= least[owner])
        _add(sums, owner[ready], both[:, ready])
        rest = ~ready
        if np.any(rest):
            owner = owner[rest]
            agreed, pieces = np.tile(agree[rest] | seen[owner], 2), parts[:, rest].reshape(-1, 3, 3)
            waiting.append((np.tile(owner, 2), pieces, agreed, halves[:, :, rest].reshape(2, -1, 9)))
    return sums.reshape(2, -1, 3, 3)


def _on_pieces(
    owner: np.ndarray, pieces: np.ndarray, one: np.ndarray, two: np.ndarray, normals: np.ndarray, k: float, rule: Rule
) -> np.ndarray:
    """The static integrals (2, l, 9) over pieces, by one rule on each.

    Pieces (l, 3, 3) are in barycentric coordinates of the triangles S that they belong to.
    """
    local, weights = rule
    hats = np.stack([1 - local[0] - local[1], local[0], local[1]]).T  # (q, 3)
    at = hats @ pieces  # (l, q, 3): values of the functions of S
    potentials = linear_potentials(at @ one[owner], two[owner], normals[owner], k)
    left = (at * (weights * double_area(pieces @ one[owner])[:, None])[:, :, None]).transpose(0, 2, 1) / (4 * np.pi)
    return np.stack([(left @ values).reshape(-1, 9) for values in potentials])


def _add(sums: np.ndarray, owner: np.ndarray, values: np.ndarray) -> None:
    for total, of_pieces in zip(sums, values, strict=True):
        np.add.at(total, owner, of_pieces)


def _separation(corners: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many of its radii the centre of each piece (l, 3, 3) is away from the edges of another triangle.

    Near these edges the potential of that triangle changes fast.
    """
    centre, radius = _radius(corners)
    edges = [segment_distance(centre.T, others[:, j].T, others[:, (j + 1) % 3].T) for j in range(3)]
    return np.minimum.reduce(edges) / radius


def _radius(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (l, 3) of triangles (l, 3, 3), and the distances (l,) of the farthest corners from them."""
    centre = corners.mean(axis=1)
    return centre, np.linalg.norm(corners - centre[:, None], axis=2).max(axis=1)


def _local_radius(corners: np.ndarray) -> np.ndarray:
    """Radii (l,) of triangles (l, 3, 3).

    Of a long one it is that of the round pieces into which bisections of the longest edge cut it.
    """
    return _radius(corners)[1] * np.minimum(1.0, 2 * double_area(corners) / _longest(corners) ** 2)


def _longest(corners: np.ndarray) -> np.ndarray:
    """Longest edges (l,) of triangles (l, 3, 3)."""
    return np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)


def _halves(pieces: np.ndarray, corners: np.ndarray) -> list[np.ndarray]:
    """Two parts of each piece, cut from the middle of the longest edge.

    So long pieces become round before they become small.
    """
    rows = np.arange(len(pieces))
    lengths = np.linalg.norm(np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1), axis=2)  # of opposite edges
    j = np.argmax(lengths, axis=1)
    apex, start, end = (pieces[rows, (j + k) % 3] for k in range(3))
    middle = (start + end) / 2
    return [np.stack(q, axis=1) for q in ((apex, start, middle), (apex, middle, end))]


def _by_rule(
    one: np.ndarray,
    two: np.ndarray,
    normals: tuple[np.ndarray, np.ndarray],
    k: float,
    rule: Rule,
    bounded: bool = False,
) -> np.ndarray:
    """Single, double and adjoint integrals (3, p, 3, 3) by a rule on both triangles.

    With `bounded` they are those of the kernels without their static part.
    """
    local, weights = rule
    hats = np.stack([1 - local[0] - local[1], local[0], local[1]]).T  # (q, 3)
    weighted = hats * weights[:, None]
    both = np.einsum("qa,rb->qrab", weighted, weighted).reshape(-1, 9)
    total = np.empty((3, len(one), 9), dtype=complex)
    step = max(1, VALUES // len(weights) ** 2)
    for start in range(0, len(one), step):
        rows = slice(start, start + step)
        x, y = hats @ one[rows], hats @ two[rows]
        difference = [y[:, None, :, c] - x[:, :, None, c] for c in range(3)]
        r = np.sqrt(sum(d * d for d in difference))
        cosine, sine = np.cos(k * r), np.sin(k * r)
        parts = cosine, sine, cosine + k * r * sine, sine - k * r * cosine
        if bounded:
            static = (k * r) ** 2 / 2
            parts = cosine - 1 + static, sine, parts[2] - 1 - static, parts[3]
        inverse = 1 / (4 * np.pi * r)
        kernel, slope = (parts[0] * inverse, parts[1] * inverse), (parts[2] * inverse / r**2, parts[3] * inverse / r**2)
        areas = (double_area(one[rows]) * double_area(two[rows]))[:, None]
        ways = [sum(d * n[rows, c, None, None] for c, d in enumerate(difference)) for n in normals]
        # d/dn_y G = - slope (y - x).n_y, and with n_x the other sign
        kernels = kernel, [-f * ways[1] for f in slope], [f * ways[0] for f in slope]
        for sums, factors in zip(total, kernels, strict=True):
            sums.real[rows], sums.imag[rows] = (areas * (f.reshape(len(f), -1) @ both) for f in factors)
    return total.reshape(3, -1, 3, 3)


def _quartered(rule: Rule) -> Rule:
    """The rule on the four quarters of the reference triangle."""
    points, weights = rule
    shifts = np.array([[0.0, 0.5, 0.0], [0.0, 0.0, 0.5]])
    parts = [points / 2 + shift[:, None] for shift in shifts.T] + [0.5 - points / 2]
    return np.concatenate(parts, axis=1), np.tile(weights / 4, 4)
