"""Clusters of unknowns in space, and the pairs of clusters that are far enough apart to be compressed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from problems.user_input import as_array
from rbm.errors import ModelError

__all__ = ["BlockPartition", "ClusterTree", "block_partition", "cluster_tree"]


@dataclass(frozen=True, eq=False)
class ClusterTree:
    """A binary tree over n items, made by :func:`cluster_tree`.

    Cluster c holds the items `order[start[c]:stop[c]]`, cluster 0 all of them.
    """

    order: np.ndarray  #: (n,) the items, those of a cluster side by side
    start: np.ndarray  #: (c,)
    stop: np.ndarray  #: (c,)
    children: np.ndarray  #: (c, 2) numbers of the two halves; -1 for a leaf
    low: np.ndarray  #: (3, c) corner of the box around what the items of a cluster occupy
    high: np.ndarray  #: (3, c)

    def __len__(self) -> int:
        return len(self.start)

    def items(self, cluster: int) -> np.ndarray:
        """Numbers of the items of a cluster."""
        return self.order[self.start[cluster] : self.stop[cluster]]

    @cached_property
    def sizes(self) -> np.ndarray:
        """Numbers of items (c,) of the clusters."""
        return self.stop - self.start

    @cached_property
    def diameters(self) -> np.ndarray:
        """Diagonals (c,) of the boxes of the clusters."""
        return np.linalg.norm(self.high - self.low, axis=0)

    def distances(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distances (k,) of the boxes of clusters first (k,) and second (k,); 0 if they touch."""
        gaps = np.maximum(self.low[:, first] - self.high[:, second], self.low[:, second] - self.high[:, first])
        return np.linalg.norm(np.maximum(gaps, 0.0), axis=0)

    def __repr__(self) -> str:
        leaves = self.sizes[self.children[:, 0] < 0]
        return f"ClusterTree({len(self.order)} items, {len(self)} clusters, leaves of {leaves.min()} to {leaves.max()})"


@dataclass(frozen=True, eq=False)
class BlockPartition:
    """Far and near blocks that together hold every pair of items once, made by :func:`block_partition`."""

    far: np.ndarray  #: (b, 2) row and column clusters
    near: np.ndarray  #: (b', 2)

    def __repr__(self) -> str:
        return f"BlockPartition({len(self.far)} far and {len(self.near)} near blocks)"


def cluster_tree(
    points: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None, *, leaf: int = 64
) -> ClusterTree:
    """A tree of clusters of points, by bisection.

    A cluster is cut in the middle of the longest edge of the box around its points.

    Parameters
    ----------
    points : (3, n), by which items are sorted into halves
    low, high : (3, n) corners of the box that each item occupies (the triangles around a vertex); the points
        themselves by default
    leaf : clusters of at most that many items are not cut

    Raises
    ------
    ModelError
        points or corners of another shape or not finite, a leaf size below one.

    Notes
    -----
    Points that coincide are halved by number. Cost: O(n) per level, log2(n / leaf) levels if the points are
    spread evenly.

    Examples
    --------
    >>> from problems import surface
    >>> cluster_tree(surface("sphere", level=2).vertices, leaf=20)
    ClusterTree(66 items, 9 clusters, leaves of 9 to 16)
    """
    points = _coordinates("points", points)
    low, high = (points if a is None else _coordinates(name, a) for name, a in (("low", low), ("high", high)))
    if not low.shape == high.shape == points.shape:
        raise ModelError(
            f"low and high must have the shape of points, {points.shape}, got {low.shape} and {high.shape}"
        )
    if isinstance(leaf, bool) or not (isinstance(leaf, int | np.integer) and leaf >= 1):
        raise ModelError(f"leaf must be a whole number >= 1, got {leaf!r}")
    order = np.arange(points.shape[1])
    spans, children = [(0, len(order))], [[-1, -1]]
    for cluster, (start, stop) in enumerate(spans):  # which grows as we go
        if stop - start <= leaf:
            continue
        here = order[start:stop]
        lowest, highest = points[:, here].min(axis=1), points[:, here].max(axis=1)
        axis = int(np.argmax(highest - lowest))
        right = points[axis, here] > (lowest[axis] + highest[axis]) / 2
        if not 0 < np.count_nonzero(right) < len(here):
            right = np.arange(len(here)) >= len(here) // 2
        order[start:stop] = np.concatenate([here[~right], here[right]])
        middle = stop - int(np.count_nonzero(right))
        children[cluster] = [len(spans), len(spans) + 1]
        spans += [(start, middle), (middle, stop)]
        children += [[-1, -1], [-1, -1]]
    starts, stops = np.array(spans).T
    boxes = [(low[:, order[a:b]].min(axis=1), high[:, order[a:b]].max(axis=1)) for a, b in spans]
    lows, highs = (np.array(corners).T for corners in zip(*boxes, strict=True))
    return ClusterTree(order, starts, stops, np.array(children), lows, highs)


def block_partition(tree: ClusterTree, eta: float = 1.0) -> BlockPartition:
    """Cut (all items) x (all items) into far and near blocks.

    A pair of clusters is far if min(diameters) <= eta distance and distance > 0.

    A pair that is not far is cut in both clusters, in one if the other is a leaf, and near if both are. On a surface
    all blocks together have O(n log n) rows and columns, and the singular values of smooth kernels in far blocks
    decay exponentially, the faster the smaller eta. Raises ModelError for eta that is not a positive number.

    Source: Hackbusch, Computing 62 (1999) 89-108; Bebendorf, Hierarchical Matrices (2008).

    Examples
    --------
    >>> from problems import surface
    >>> block_partition(cluster_tree(surface("sphere", level=3).vertices, leaf=20), eta=1.0)
    BlockPartition(136 far and 303 near blocks)
    """
    if not (isinstance(eta, int | float | np.number) and not isinstance(eta, bool) and 0 < eta < np.inf):
        raise ModelError(f"eta must be a positive number, got {eta!r}")
    is_leaf = tree.children[:, 0] < 0
    pairs = np.zeros((1, 2), dtype=int)
    far, near = [], []
    while len(pairs):
        a, b = pairs.T
        distance = tree.distances(a, b)
        admissible = (distance > 0) & (np.minimum(tree.diameters[a], tree.diameters[b]) <= eta * distance)
        final = ~admissible & is_leaf[a] & is_leaf[b]
        far.append(pairs[admissible])
        near.append(pairs[final])
        pairs = pairs[~admissible & ~final]
        halves = [np.where(is_leaf[c][:, None], [[1, 0]] * c[:, None], tree.children[c]) for c in pairs.T]
        pairs = np.concatenate([np.stack([halves[0][:, i], halves[1][:, j]], axis=1) for i in (0, 1) for j in (0, 1)])
        pairs = pairs[np.all(pairs > 0, axis=1)]
    return BlockPartition(np.concatenate(far), np.concatenate(near))


def _coordinates(name: str, given: np.ndarray) -> np.ndarray:
    array = as_array(f"{name} must be numbers of shape (3, n)", given)
    if array.ndim != 2 or array.shape[0] != 3 or array.shape[1] == 0:
        raise ModelError(f"{name} must have shape (3, n), one column each, at least one of them, got {array.shape}")
    if not np.all(np.isfinite(array)):
        k = int(np.argmin(np.all(np.isfinite(array), axis=0)))
        raise ModelError(f"{name} must be finite, but column {k} is {array[:, k].tolist()}")
    return array
