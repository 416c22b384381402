"""Figure of a compressed operator: its blocks, and how much of them is left."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.optional import require
from problems.acoustics.compressed_operators import CompressedOperator

__all__ = ["block_ranks"]


def block_ranks(operator: CompressedOperator) -> Any:
    """The block partition, unknowns in the order of the cluster tree: far blocks coloured by rank, near blocks grey."""
    tree, n = operator.tree, operator.shape[0]
    figure = require("matplotlib.figure", "matplotlib", "drawing a figure").Figure(
        figsize=(5.6, 4.8), layout="constrained"
    )
    polygons = require("matplotlib.collections", "matplotlib", "drawing a figure").PolyCollection
    ax = figure.add_subplot()
    lines = {"edgecolors": "white", "linewidths": 0.2}
    if len(operator.partition.near):
        ax.add_collection(polygons(_corners(tree, operator.partition.near), facecolors="0.7", **lines))
    if len(operator.far):
        far = polygons(_corners(tree, operator.partition.far), array=operator.ranks, cmap="cividis", **lines)
        ax.add_collection(far)
        figure.colorbar(far, ax=ax, label="rank of a far block")
    s, kernel = operator.statistics(), operator.kernel
    ax.set(xlim=(0, n), ylim=(n, 0), aspect="equal", xlabel="unknowns, by cluster")
    name = kernel.operator.replace("_", " ")
    ax.set_title(f"{name}, k = {kernel.wavenumber:g}: {100 * s['far_share']:.0f} % far, near blocks grey", fontsize=9)
    return figure


def _corners(tree: Any, pairs: np.ndarray) -> np.ndarray:
    """(b, 4, 2) corners of the blocks in the permuted matrix."""
    (top, left), (bottom, right) = tree.start[pairs].T, tree.stop[pairs].T
    x, y = np.stack([left, right, right, left], axis=1), np.stack([top, top, bottom, bottom], axis=1)
    return np.stack([x, y], axis=2)
