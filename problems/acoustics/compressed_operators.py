"""Boundary element matrices whose far field is made of low-rank blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from lowrank import LowRankMatrix, cross_approximation
from lowrank.dense import adjoint, norm, svd
from lowrank.matrix import ErrorEstimate
from lowrank.progress import progress_bar
from problems.acoustics.clusters import BlockPartition, ClusterTree, block_partition, cluster_tree
from problems.acoustics.kernel_blocks import SurfaceKernel
from problems.acoustics.star_quadrature import Side
from problems.acoustics.surfaces import SurfaceMesh
from rbm.errors import ModelError

__all__ = ["CompressedOperator", "compress_far_field"]

#: The tolerance of the crosses leaves that much room for a block that amplifies errors more than the one before,
MARGIN = 1.5
#: and a block that needs more is tried so often; then it is computed as a whole.
TRIES = 3


@dataclass(frozen=True, eq=False)
class CompressedOperator:
    """A boundary operator (n, n) with far blocks of low rank and, if it has them, dense near blocks.

    The operators are those of :func:`problems.acoustics.kernel_blocks.kernel_block`.

    Without near blocks it is the far field alone, zero elsewhere. See :func:`compress_far_field`.
    """

    kernel: SurfaceKernel  #: mesh, operator, wavenumber
    rtol: float
    tree: ClusterTree
    partition: BlockPartition
    far: tuple[LowRankMatrix, ...]  #: the blocks partition.far
    errors: np.ndarray  #: (b,) estimated error of each far block relative to its norm, both Frobenius; at most rtol
    values_read: np.ndarray  #: (b,) kernel values that were computed for each far block
    values_dense: np.ndarray  #: (b,) kernel values that all its entries would take
    near: tuple[np.ndarray, ...] | None = None  #: the blocks partition.near

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns (n, n)."""
        return len(self.tree.order), len(self.tree.order)

    @property
    def dtype(self) -> np.dtype:
        """Type of the entries: real for wavenumber 0."""
        return self.kernel.dtype

    @property
    def ranks(self) -> np.ndarray:
        """Ranks (b,) of the far blocks."""
        return np.array([block.rank for block in self.far], dtype=int)

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks that it holds."""
        return sum(block.nbytes for block in self.far) + sum(block.nbytes for block in self.near or ())

    @property
    def dense_nbytes(self) -> int:
        """Bytes of the same blocks as full matrices."""
        pairs = self.partition.far if self.near is None else np.concatenate([self.partition.far, self.partition.near])
        return int(np.prod(self.tree.sizes[pairs], axis=1).sum()) * self.dtype.itemsize

    def statistics(self) -> dict[str, float]:
        """Count blocks, ranks, kernel values read, and bytes, with their shares; largest error estimate of a block."""
        ranks, dense = self.ranks, self.dense_nbytes
        return {
            "far_blocks": len(self.far),
            "near_blocks": len(self.partition.near),
            "far_share": float(np.prod(self.tree.sizes[self.partition.far], axis=1).sum() / len(self.tree.order) ** 2),
            "mean_rank": float(ranks.mean()) if len(ranks) else 0.0,
            "largest_rank": int(ranks.max(initial=0)),
            "values_read": int(self.values_read.sum()),
            "share_read": float(self.values_read.sum() / max(self.values_dense.sum(), 1)),
            "nbytes": self.nbytes,
            "share_of_bytes": self.nbytes / max(dense, 1),
            "largest_error": float(self.errors.max(initial=0.0)),
        }

    def matvec(self, x: Any) -> np.ndarray:
        """The product A x for x (n,) or (n, k)."""
        return self._apply(x, 0, lambda block, part: block @ part)

    def rmatvec(self, y: Any) -> np.ndarray:
        """The product A^H y for y (n,) or (n, k)."""
        return self._apply(y, 1, lambda block, part: adjoint(block) @ part, LowRankMatrix.rmatvec)

    def aslinearoperator(self) -> Any:
        """The operator as a scipy.sparse.linalg.LinearOperator, for iterative solvers."""
        from scipy.sparse.linalg import LinearOperator

        products = {"matvec": self.matvec, "rmatvec": self.rmatvec, "matmat": self.matvec, "rmatmat": self.rmatvec}
        return LinearOperator(self.shape, dtype=self.dtype, **products)

    def to_dense(self) -> np.ndarray:
        """The operator as a dense array (n, n)."""
        return self.matvec(np.eye(self.shape[0]))

    def with_near_field(self, matrix: np.ndarray) -> CompressedOperator:
        """The whole operator, with near blocks cut out of its assembled matrix (n, n), which is not kept.

        With ||far error||_F <= rtol ||far field||_F, and near blocks as they are, ||A x - A_H x|| <= rtol ||A||_F
        ||x||. Raises ModelError for a matrix of another shape, or with NaN or infinite entries in a near block.
        """
        matrix = np.asarray(matrix)
        if matrix.shape != self.shape:
            raise ModelError(f"the assembled matrix must have shape {self.shape}, got {matrix.shape}")
        items = self.tree.items
        near = []
        for a, b in self.partition.near:
            block = matrix[np.ix_(items(a), items(b))].astype(self.dtype, casting="same_kind")
            if not np.all(np.isfinite(block)):
                i, j = np.argwhere(~np.isfinite(block))[0]
                raise ModelError(
                    f"the assembled matrix has {block[i, j]} for the entry ({items(a)[i]}, {items(b)[j]}); recompute it"
                )
            near.append(block)
        return replace(self, near=tuple(near))

    def estimate_error(self, *, samples: int = 1000, rng: int | np.random.Generator = 0) -> ErrorEstimate:
        """An estimate of ||far field - its approximation||_F, from entries at random.

        Each is integrated by itself (1300 kernel values).

        The square is unbiased; the standard error is that of this sample. Raises ModelError for fewer than two samples.
        """
        if isinstance(samples, bool) or not (isinstance(samples, int | np.integer) and samples >= 2):
            raise ModelError(f"samples must be a whole number >= 2, got {samples!r}")
        generator, sizes = np.random.default_rng(rng), self.tree.sizes[self.partition.far]
        area = np.prod(sizes, axis=1)
        if not len(area):
            return ErrorEstimate(0.0, 0.0)
        chosen = np.sort(generator.choice(len(area), samples, p=area / area.sum()))
        i, j = (generator.integers(0, sizes[chosen].T)).astype(int)
        approximate = np.concatenate([self.far[b].entries(i[chosen == b], j[chosen == b]) for b in np.unique(chosen)])
        first = self.tree.start[self.partition.far[chosen]].T
        rows, columns = self.tree.order[first[0] + i], self.tree.order[first[1] + j]
        parts = [self.kernel.pairs(rows[s : s + 256], columns[s : s + 256]) for s in range(0, samples, 256)]
        squares = area.sum() * np.abs(np.concatenate(parts) - approximate) ** 2
        value = float(np.sqrt(np.mean(squares)))
        deviation = float(np.std(squares, ddof=1)) / samples**0.5
        return ErrorEstimate(value, deviation / (2 * value) if value > 0 else 0.0)

    def _apply(self, x: Any, axis: int, of_dense: Any, of_low_rank: Any = LowRankMatrix.matvec) -> np.ndarray:
        x = np.asarray(x)
        if x.ndim not in (1, 2) or x.shape[0] != self.shape[0]:
            raise ModelError(f"a {self.shape[0]} x {self.shape[0]} operator cannot be applied to shape {x.shape}")
        x = x[self.tree.order]
        result = np.zeros(x.shape, dtype=np.result_type(self.dtype, x.dtype))
        spans = [slice(a, b) for a, b in zip(self.tree.start, self.tree.stop, strict=True)]
        fields = (self.far, self.partition.far, of_low_rank), (self.near or (), self.partition.near, of_dense)
        for blocks, pairs, apply in fields:
            for block, pair in zip(blocks, pairs if blocks else (), strict=True):
                result[spans[pair[axis]]] += apply(block, x[spans[pair[1 - axis]]])
        back = np.empty_like(result)
        back[self.tree.order] = result
        return back

    def __repr__(self) -> str:
        s, k = self.statistics(), self.kernel
        return (
            f"CompressedOperator({k.operator}, k = {k.wavenumber:g}, {self.shape[0]} unknowns, {s['far_blocks']} far "
            f"blocks of mean rank {s['mean_rank']:.1f}, {100 * s['share_read']:.1f} % of their kernel values read, "
            f"{'far field only' if self.near is None else 'with near field'}, {100 * s['share_of_bytes']:.0f} % of "
            "the memory)"
        )


def compress_far_field(
    mesh: SurfaceMesh,
    operator: str,
    wavenumber: float,
    *,
    rtol: float = 1e-6,
    eta: float = 1.0,
    leaf: int = 64,
    progress: bool = False,
    rng: int | np.random.Generator = 0,
) -> CompressedOperator:
    """Low-rank approximations of all admissible blocks of a boundary element matrix, which is never assembled.

    Vertices are clustered with the boxes of the triangles around them
    (:func:`problems.acoustics.clusters.cluster_tree`). A far block is

        A = B_I^T G B_J ~ (B_I^T D^-1 C) (U D'^-1 B_J),   D G D' ~ C U by crosses, D = diag(w)^{1/2},

    G the kernel between the quadrature points, w their weights: the crosses are taken in the kernel, not in A, since
    an entry of A is made of 1300 kernel values, a row of A costs 36 rows of G, and C U needs no more terms. Then the
    SVD of the product, cut to the tolerance.

    Tolerance: ||A_b - ~A_b||_F <= rtol ||A_b||_F for each far block b. The blocks are disjoint, so their squares add
    up to ||A - ~A||_F <= rtol ||far field||_F <= rtol ||A||_F. Errors E of the crosses grow by ||B_I^T D^-1||_2
    ||D'^-1 B_J||_2 at most, which is bounded by row sums of Gram matrices
    (:meth:`problems.acoustics.kernel_blocks.SurfaceKernel.size`). Relative errors of layer operators grow by a factor
    of two like this; those of the hypersingular operator, whose curls cancel, by 1e3 to 1e4, and the crosses are made
    that much more accurate. ||E||_F itself is estimated, from entries at random plus two standard errors
    (:func:`lowrank.cross_approximation`).

    Parameters
    ----------
    mesh, operator, wavenumber : of :func:`problems.acoustics.kernel_blocks.kernel_block`
    rtol : tolerance, 0 < rtol < 1; where crosses cannot reach it (round-off), a block is computed as a whole
    eta : blocks with min(diameters) <= eta distance are far
    leaf : vertices in the smallest clusters, at most; factors of blocks with much fewer rows than 64 take more memory
        than the block
    progress : show a bar
    rng : of the entries by which errors are estimated

    Raises ModelError for bad input.

    Notes
    -----
    O(r n log n) kernel values and memory for rank r, which grows with the wavenumber times the size of the clusters:
    meant for obstacles of a few wavelengths. Source: Bebendorf, Hierarchical Matrices (2008); Borm and Grasedyck,
    Numer. Math. 101 (2005) 221-249.

    Examples
    --------
    >>> from problems import surface
    >>> far = compress_far_field(surface("sphere", level=4), "single_layer", 2.0, rtol=1e-4)
    >>> far.shape, len(far.far), float(far.errors.max()) <= 1e-4
    ((1026, 1026), 52, True)
    """
    kernel = SurfaceKernel(mesh, operator, wavenumber)
    if not (isinstance(rtol, int | float | np.number) and not isinstance(rtol, bool) and 0 < rtol < 1):
        raise ModelError(f"rtol must be a number between 0 and 1, got {rtol!r}")
    tree = cluster_tree(mesh.vertices, *kernel.quadrature.boxes(), leaf=leaf)
    partition = block_partition(tree, eta)
    generator = np.random.default_rng(rng)

    @cache
    def side(cluster: int) -> tuple[Side, float]:
        result = kernel.quadrature.side(tree.items(cluster))
        return result, kernel.size(result)

    blocks, errors, read, dense = [], [], [], []
    growth = 1.0
    for a, b in progress_bar(partition.far.tolist(), f"far field, {operator}", enabled=progress):
        (left, left_size), (right, right_size) = side(a), side(b)
        block, error, count, growth = _compress(kernel, left, right, left_size * right_size, rtol, growth, generator)
        blocks.append(block)
        errors.append(error)
        read.append(count)
        dense.append(len(left.points) * len(right.points))
    numbers = np.array(errors, dtype=float), np.array(read, dtype=np.int64), np.array(dense, dtype=np.int64)
    return CompressedOperator(kernel, float(rtol), tree, partition, tuple(blocks), *numbers)


def _compress(
    kernel: SurfaceKernel, left: Side, right: Side, size: float, rtol: float, growth: float, rng: np.random.Generator
) -> tuple[LowRankMatrix, float, int, float]:
    """The block in low-rank form, its relative error, the kernel values read, and the growth of errors.

        The growth is a bound of the factor by which relative errors of D G D' grow in the block.

    The growth that comes in is that of another block, to begin with.
    """
    rows, columns, entries = kernel.point_entries(left, right)
    shape, read = (len(left.points), len(right.points)), 0
    for _ in range(TRIES):
        goal = rtol / (MARGIN * max(growth, 1.0))
        cross = cross_approximation((rows, columns), shape=shape, rtol=goal, entries=entries, rng=rng)
        read += cross.entries_read
        block = kernel.from_points(cross.columns, cross.rows, left, right).recompress()
        whole, error = norm(block.s), size * (cross.error.value + 2 * cross.error.standard_error)
        if error <= rtol / 2 * whole:
            short = block.truncate(atol=rtol * whole - error)
            return short, (error + norm(block.s[short.rank :])) / whole, read, size * cross.norm / whole
        if whole == 0 or cross.stopped == "round-off":
            break
        growth = size * cross.norm / whole
    u, s, vh = svd(kernel.integrate(left, right))
    block = LowRankMatrix(u, s, adjoint(vh), is_svd=True)
    short = block.truncate(rtol=rtol)
    rest = norm(s[short.rank :]) / norm(s) if norm(s) else 0.0
    return short, rest, read + shape[0] * shape[1], max(growth, 1.0)
