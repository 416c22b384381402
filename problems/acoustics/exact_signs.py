"""On which side of a plane or a line a point lies: signs of determinants that are exact, whatever the rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["side_of_line", "side_of_plane", "whole_numbers"]

#: Relative rounding of the determinants below, evaluated in double precision, with a margin: their terms are off by
#: at most 10 units each.
ROUNDING = 16 * np.finfo(float).eps


def whole_numbers(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (3, n) scaled to unit extent, and the same points as Python integers.

    Both scales are powers of two, so that no bit is lost.

    Points so far from each other in size that the smaller ones would become subnormal keep their integers, which
    decide then.
    """
    exponent = -int(np.frexp(np.abs(points).max(initial=0.0))[1])
    scaled = np.ldexp(points, exponent)
    mantissa, power = np.frexp(points)
    lowest = int(power[points != 0].min(initial=0))
    integers = np.ldexp(mantissa, 53).astype(np.int64).astype(object)
    powers = [1 << int(p) for p in np.where(points != 0, power - lowest, 0).ravel()]
    return scaled, integers * np.array(powers, dtype=object).reshape(points.shape)


def side_of_plane(
    points: np.ndarray, integers: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray
) -> np.ndarray:
    """The exact sign (p,) of det [a - d, b - d, c - d]: -1, 0, or 1 where d is below the triangle abc.

    a, b, c, d (p,) are numbers of points.
    """
    value, size = _volume(*(points[:, i] for i in (a, b, c, d)))
    return _decided(value, size, lambda k: _volume(*(integers[:, i[k]] for i in (a, b, c, d)))[0])


def side_of_line(
    points: np.ndarray, integers: np.ndarray, axes: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> np.ndarray:
    """The exact sign (p,) of the area of triangle abc in the plane of two coordinates `axes` (2, p)."""
    value, size = _area(*(points[axes, i] for i in (a, b, c)))
    return _decided(value, size, lambda k: _area(*(integers[axes[:, k], i[k]] for i in (a, b, c)))[0])


def _decided(value: np.ndarray, size: np.ndarray, exact: Any) -> np.ndarray:
    """Signs of the values where they are above their rounding, and of exact values elsewhere.

    The rounding is relative to `size`.
    """
    sign = np.sign(value).astype(np.int64)
    # not above: also where both have underflowed
    unsure = np.flatnonzero(~(np.abs(value) > ROUNDING * size + np.finfo(float).tiny))
    if len(unsure):
        sign[unsure] = [(x > 0) - (x < 0) for x in exact(unsure).tolist()]
    return sign


def _volume(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The determinant det [a - d, b - d, c - d] (p,), and the sum of the sizes of its terms."""
    u, v, w = a - d, b - d, c - d
    products = [(u[i], v[j] * w[k], v[k] * w[j]) for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1))]
    value = sum(x * (y - z) for x, y, z in products)
    return np.asarray(value), np.asarray(sum(abs(x) * (abs(y) + abs(z)) for x, y, z in products))


def _area(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, v = b - a, c - a
    first, second = u[0] * v[1], u[1] * v[0]
    return first - second, abs(first) + abs(second)
