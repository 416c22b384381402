"""Cluster trees and block partitions.

Every item and every pair once, boxes that hold what they should, blocks that are admissible.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from problems import surface
from problems.acoustics.clusters import block_partition, cluster_tree
from problems.acoustics.star_quadrature import StarQuadrature

coordinates = st.integers(-20, 20).map(lambda k: k / 8)
clouds = st.integers(1, 40).flatmap(lambda n: arrays(float, (3, n), elements=coordinates))


@settings(max_examples=60, deadline=None)
@given(clouds, st.integers(1, 9), st.sampled_from([0.3, 1.0, 4.0]))
def test_every_pair_lies_in_one_block_and_far_blocks_are_admissible(points, leaf, eta):
    tree = cluster_tree(points, leaf=leaf)
    partition = block_partition(tree, eta)
    n = points.shape[1]
    hits = np.zeros((n, n), dtype=int)
    for a, b in np.concatenate([partition.far, partition.near]):
        hits[np.ix_(tree.items(a), tree.items(b))] += 1
    assert np.all(hits == 1)
    for a, b in partition.far:
        # measured on the points themselves: boxes are larger and nearer
        x, y = points[:, tree.items(a)], points[:, tree.items(b)]
        diameter = min(np.linalg.norm(np.ptp(z, axis=1)) for z in (x, y))
        distance = np.linalg.norm(x[:, :, None] - y[:, None, :], axis=0).min()
        assert distance > 0
        assert diameter <= eta * distance * (1 + 8 * np.finfo(float).eps)
    # near: leaves which are not
    assert np.all(tree.children[partition.near] < 0)
    a, b = partition.near.T
    distance = tree.distances(a, b)
    assert not np.any((distance > 0) & (np.minimum(tree.diameters[a], tree.diameters[b]) <= eta * distance))


@settings(max_examples=60, deadline=None)
@given(clouds, st.integers(1, 9))
def test_children_share_their_parent_and_boxes_are_tight(points, leaf):
    tree = cluster_tree(points, leaf=leaf)
    assert sorted(tree.order) == list(range(points.shape[1]))
    for c in range(len(tree)):
        here = points[:, tree.items(c)]
        np.testing.assert_array_equal(tree.low[:, c], here.min(axis=1))
        np.testing.assert_array_equal(tree.high[:, c], here.max(axis=1))
        left, right = tree.children[c]
        if tree.sizes[c] <= leaf:
            assert left == right == -1
        else:
            assert (tree.start[left], tree.stop[left], tree.stop[right]) == (
                tree.start[c],
                tree.start[right],
                tree.stop[c],
            )
            assert min(tree.sizes[left], tree.sizes[right]) > 0


def test_a_partition_cuts_no_further_than_it_must() -> None:
    """The parents of a far block, one of them or both, are not admissible."""
    tree = cluster_tree(surface("ellipsoid", 3).vertices, leaf=8)
    parent = np.full(len(tree), -1)
    for c, children in enumerate(tree.children):
        parent[children[children >= 0]] = c
    partition = block_partition(tree, 1.0)
    assert len(partition.far) > 100
    for a, b in partition.far:
        above = [(parent[a], parent[b]), (parent[a], b), (a, parent[b])]
        far = [
            tree.distances(np.array([p]), np.array([q]))[0] >= min(tree.diameters[p], tree.diameters[q])
            for p, q in above
            if p >= 0 and q >= 0
        ]
        assert not all(far)


def test_boxes_of_vertices_hold_their_triangles() -> None:
    mesh = surface("peanut", 2)
    low, high = StarQuadrature(mesh).boxes()
    for v in range(mesh.vertices.shape[1]):
        around = mesh.vertices[:, mesh.triangles[:, np.any(mesh.triangles == v, axis=0)].ravel()]
        np.testing.assert_array_equal(low[:, v], around.min(axis=1))
        np.testing.assert_array_equal(high[:, v], around.max(axis=1))
    tree = cluster_tree(mesh.vertices, low, high, leaf=5)
    for a, b in block_partition(tree, 2.0).far:
        touched = [np.any(np.isin(mesh.triangles, tree.items(c)), axis=0) for c in (a, b)]
        assert not np.intersect1d(*(mesh.triangles[:, t] for t in touched)).size


def test_rows_and_columns_of_blocks_grow_like_n_log_n() -> None:
    """All blocks of a surface have O(n log n) rows and columns in all, where pairs grow like n^2."""
    sizes, lines = [], []
    for level in (3, 4, 5, 6):
        tree = cluster_tree(surface("sphere", level).vertices, leaf=8)
        partition = block_partition(tree, 3.0)
        sizes.append(len(tree.order))
        lines.append(tree.sizes[partition.far].sum() + tree.sizes[partition.near].sum())
    constant = lines / (np.array(sizes) * np.log2(sizes))
    growth = constant[1:] / constant[:-1]  # n^2 would be more than three
    assert np.all(np.diff(growth) < 0)
    assert growth[-1] < 1.15


def test_points_in_one_place_are_halved_and_never_far() -> None:
    tree = cluster_tree(np.zeros((3, 9)), leaf=2)
    assert tree.sizes[tree.children[:, 0] < 0].max() == 2
    partition = block_partition(tree)
    assert len(partition.far) == 0
    assert repr(cluster_tree(np.ones((3, 1)))) == "ClusterTree(1 items, 1 clusters, leaves of 1 to 1)"
    assert repr(partition) == f"BlockPartition(0 far and {len(partition.near)} near blocks)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 5)),), r"points must have shape \(3, n\), one column each, at least one of them, got \(2, 5\)"),
        ((np.zeros((3, 0)),), r"at least one of them, got \(3, 0\)"),
        (("abc",), "points must be numbers"),
        ((np.array([[0.0, 1], [0, np.nan], [0, 0]]),), r"points must be finite, but column 1 is \[1.0, nan, 0.0\]"),
        ((np.zeros((3, 2)), np.zeros((3, 1))), r"low and high must have the shape of points, \(3, 2\)"),
    ],
)
def test_bad_points(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_tree(*arguments)


@pytest.mark.parametrize("leaf", [0, -1, 2.5, True])
def test_bad_leaves(leaf) -> None:
    with pytest.raises(ValueError, match="leaf must be a whole number >= 1, got"):
        cluster_tree(np.zeros((3, 4)), leaf=leaf)


@pytest.mark.parametrize("eta", [0, -1.0, np.nan, np.inf, "1", True])
def test_bad_eta(eta) -> None:
    with pytest.raises(ValueError, match="eta must be a positive number, got"):
        block_partition(cluster_tree(np.zeros((3, 4))), eta)
