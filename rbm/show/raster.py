"""Fields on triangles as pictures of pixels: where each pixel is in the mesh is found once, then a field is one sum."""

from __future__ import annotations

import numpy as np

__all__ = ["Raster"]


class Raster:
    """Which triangle each pixel of a picture lies in, and with which weights of its nodes.

    points (P, 2), triangles (T, 3); width, height of the picture in pixels; frame (2, 2) the coordinates of its lower
    left and upper right corner, by default those of the mesh
    """

    def __init__(
        self, points: np.ndarray, triangles: np.ndarray, width: int, height: int, frame: np.ndarray | None = None
    ) -> None:
        low, high = (points.min(axis=0), points.max(axis=0)) if frame is None else frame
        self.extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
        size = np.array([width, height])
        pixel = np.where(high > low, (high - low) / size, 1.0)
        corners = ((points - low) / pixel)[triangles] - 0.5  # (T, 3, 2), in units of pixels, whose middles are integers
        first = np.clip(np.ceil(corners.min(axis=1) - 1e-6), 0, None).astype(int)
        last = np.minimum(np.floor(corners.max(axis=1) + 1e-6), size - 1).astype(int)
        wide, high_ = np.maximum(last - first + 1, 0).T
        count = wide * high_
        triangle = np.repeat(np.arange(len(triangles)), count)
        place = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
        x = first[triangle, 0] + place % np.maximum(wide, 1)[triangle]
        y = first[triangle, 1] + place // np.maximum(wide, 1)[triangle]
        a, b, c = corners[triangle].transpose(1, 2, 0)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            second = ((x - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (y - a[1])) / area
            third = ((b[0] - a[0]) * (y - a[1]) - (x - a[0]) * (b[1] - a[1])) / area
        weights = np.stack([1 - second - third, second, third], axis=1)
        inside = np.all(weights >= -1e-6, axis=1)
        cell = np.full((height, width), -1)
        cell[y[inside], x[inside]] = np.flatnonzero(inside)
        self._pixels = np.flatnonzero(cell.ravel() >= 0)
        chosen = cell.ravel()[self._pixels]
        self._nodes, self._weights = triangles[triangle[chosen]], weights[chosen]
        self._shape = (height, width)

    def image(self, values: np.ndarray) -> np.ndarray:
        """Return the picture (height, width) of nodal values (P,), its first row the lowest; NaN outside the mesh."""
        picture = np.full(self._shape, np.nan)
        picture.ravel()[self._pixels] = self._at_pixels(values)
        return picture

    def shades(self, values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
        """Return the picture as numbers of shades: 0 to 255 between the ends of a scale, and 256 outside the mesh."""
        picture = np.full(self._shape, 256, dtype=np.int16)
        shade = (self._at_pixels(values) - ends[0]) * (256 / (ends[1] - ends[0]))
        picture.ravel()[self._pixels] = np.clip(shade, 0, 255)
        return picture

    def _at_pixels(self, values: np.ndarray) -> np.ndarray:
        made: np.ndarray = np.einsum("ij,ij->i", values[self._nodes], self._weights)
        return made
