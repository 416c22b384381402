"""The graph of a sparse matrix: an order of little fill, and its dimension."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from scipy.sparse.csgraph import breadth_first_order

from rbm.solvers.patterns import KeptOrders

__all__ = ["BODY", "Elimination", "dimension", "elimination", "groups", "symmetric_order", "symmetric_pattern"]

#: Graphs of a larger dimension are those of bodies: their fronts are dense, and wide panels pay.
BODY = 2.2
#: As many components at a node, and more, are displacements in space.
DISPLACEMENTS = 3
#: Up to here any elimination takes milliseconds, and the graph is not looked at.
SMALL = 5000

#: Starts of the search that measures the dimension, and the share of the graph at which it ends.
STARTS, SHARE = 5, 0.25
#: Components of a vector at a node that are looked for, and the share of entries by which they are known.
SIZES, FILLED = (6, 4, 3, 2), 0.6

_kept = KeptOrders()


class Elimination(NamedTuple):
    """How a matrix of symmetric pattern is eliminated by SuperLU."""

    order: np.ndarray | None  #: (n,); None: minimum degree on the graph of unknowns, which SuperLU finds itself
    wide: bool  #: panels of several columns, for dense fronts


def elimination(matrix: Any) -> Elimination:
    """Return order and panels that suit the graph of a matrix of symmetric pattern, kept for the patterns seen last.

    Bodies, graphs of dimension above 2.2 or with three components and more at a node: wide panels, and minimum degree
    on nodes where they have several components. All others, and up to 5000 unknowns: panels of one column, minimum
    degree on unknowns. Measured, seconds of one factorisation (one thread): narrow and wide panels in the plane, n =
    99 856, 0.39 and 0.56; in space, n = 27 000, 2.6 and 1.6; hexahedra, n = 15 625, 5.3 and 2.7; elasticity of
    tetrahedra, n = 9450, 4.3 and 1.8, and 0.64 in the order of nodes (docs/solvers.md).
    """
    if matrix.shape[0] <= SMALL:
        return Elimination(None, False)
    key = _kept.key(matrix.indptr, matrix.indices)
    if (known := _kept.get(key)) is None:
        group = groups(symmetric_pattern(matrix))
        size = len(group) // (int(group.max(initial=0)) + 1)
        wide = size >= DISPLACEMENTS or dimension(matrix) > BODY
        known = Elimination(symmetric_order(matrix, group) if wide and size > 1 else None, wide)
        _kept.put(key, known)
    return known


def symmetric_pattern(matrix: Any) -> Any:
    """Return the pattern of A + A^T + I as a matrix (n, n) of ones."""
    csr = sp.csr_array(matrix)
    ones = sp.csr_array((np.ones(csr.nnz, np.int8), csr.indices, csr.indptr), csr.shape)
    whole = sp.csr_array(ones + ones.T + sp.eye_array(csr.shape[0], dtype=np.int8))
    whole.data = np.ones(whole.nnz, np.int8)
    return whole


def groups(pattern: Any) -> np.ndarray:
    """Return for each row the number of its node (n,): rows b i .. b i + b - 1, the components of a vector, are one.

    b is the largest of 6, 4, 3, 2 for which the blocks b x b with any entry are filled to more than FILLED; else 1.
    """
    n = pattern.shape[0]
    rows, columns = sp.coo_array(pattern).coords
    for size in SIZES:
        if n % size == 0:
            blocks = np.unique((rows // size).astype(np.int64) * n + columns // size)
            if pattern.nnz > FILLED * size**2 * len(blocks):
                return np.arange(n) // size
    return np.arange(n)


def symmetric_order(matrix: Any, group: np.ndarray | None = None) -> np.ndarray:
    """Return an order of elimination (n,) of little fill: minimum degree on the graph of nodes.

    With three displacements at a node the graph has a third of the rows and a ninth of the entries; on the whole graph
    minimum degree, whose ties are then many, makes three times the fill (docs/solvers.md).

    group : the node of each row (n,), if it is known (:func:`groups`)
    """
    pattern = symmetric_pattern(matrix)
    group = groups(pattern) if group is None else group
    count = int(group.max(initial=-1)) + 1
    n = pattern.shape[0]
    small = pattern
    if count < n:
        take = sp.csr_array((np.ones(n), (group, np.arange(n))), (count, n))
        small = sp.csr_array(take @ pattern.astype(float) @ take.T)
    # a dominant matrix with this pattern has factors for certain
    small = sp.csc_array((np.full(small.nnz, -1.0), small.indices, small.indptr), small.shape)
    small = sp.csc_array(small + 2.0 * count * sp.eye_array(count))
    lu = spla.splu(small, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    place = lu.perm_c[group]  # of the group of each row in the elimination
    return np.argsort(place, kind="stable")


def dimension(matrix: Any) -> float:
    """Return the dimension d of the graph: balls of radius r have about r^d nodes.

    About 1 for an interval, 2 for a surface, 3 for a body, measured where balls have at most a quarter of all nodes.
    Large where a few steps reach all of a graph, as in a dense one. Cost: a few products with the pattern.
    """
    pattern = symmetric_pattern(matrix)
    n = pattern.shape[0]
    found = [_growth(pattern, start) for start in np.random.default_rng(0).integers(0, n, STARTS)]
    return float(np.median(found))


def _growth(pattern: Any, start: int) -> float:
    """Return log2 of what a ball of twice the radius has more nodes, the largest that has a quarter of all."""
    n = pattern.shape[0]
    order, before = breadth_first_order(pattern, start)
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(len(order))
    parents, sizes = place[before[order[1:]]], [1]  # parents come in the order of their children
    while sizes[-1] <= SHARE * n and (len(sizes) < 2 or sizes[-1] > sizes[-2]):
        sizes.append(1 + int(np.searchsorted(parents, sizes[-1])))
    radius = len(sizes) - 2 if sizes[-1] > SHARE * n else len(sizes) - 1
    if radius < 2:
        return np.inf if sizes[-1] > SHARE * n else 0.0
    radius -= radius % 2
    # balls of radius r and 2 r, the node itself counted as half a step
    return float(np.log(sizes[radius] / sizes[radius // 2]) / np.log((radius + 0.5) / (radius / 2 + 0.5)))
