"""An embedding table as a product of two thin factors, looked up without forming it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lowrank import LowRankMatrix
from lowrank.arrays import as_matrix, beside, namespace, numpy_dtype, real_part, to_numpy
from lowrank.dense import adjoint
from ml.embeddings.factors import alike, exponent, refuse_torch, times_power
from ml.embeddings.report import EmbeddingReport, embedding_report
from ml.embeddings.token_ids import checked_ids, distinct

__all__ = ["FactorizedEmbedding"]

#: Standard deviation of the entries of ALBERT's tables before training.
INITIAL_DEVIATION = 0.02
#: A repeated id is worth finding if more than this many ids in rank r are repetitions: copying a finished row takes the
#: time of about so many terms of the product that made it (measured: 4 to 7, single and double precision, one thread).
COPY_IN_TERMS = 6


@dataclass(frozen=True, eq=False)
class FactorizedEmbedding:
    """A table of V embeddings of width H as a product E = T P, in V r + r H numbers.

    T is (V, r), P is (r, H).

    Or several such products, one per block of tokens: the rows of E are those of T_1 P_1, T_2 P_2, ... in another
    order, token i being row place[i] of them. A block may be kept dense (P_b None stands for the identity, T_b then
    holds the rows themselves). This is the embedding of ALBERT (Lan et al., ICLR 2020) without what is added to it, and
    that of GroupReduce (Chen et al., NeurIPS 2018) with blocks. It saves memory; a lookup is slower than one in the
    full table.

    Parameters
    ----------
    tokens : T (V, r), or a tuple of T_b (V_b, r_b); real or complex, NumPy, CuPy, ...
    projection : P (r, H), or None for the identity; or a tuple of these, one per block
    place : (V,) integers, a permutation of 0 .. V-1; needed for several blocks only, by default the blocks in their
        order

    Raises
    ------
    TypeError
        tensors of PyTorch, or factors of different array modules.
    ValueError
        factors that do not fit together, with NaN or infinite entries, or a `place` that is no permutation.

    Notes
    -----
    The arrays are not copied where they are contiguous and of the common type of all factors; a product loses the sign
    of -0.0.

    Lookup of n ids, k of them distinct: 2 k r H flops and n H numbers written. At V = 30522, H = 384, r = 64, n = 2048
    ids of a Zipf distribution, single precision and one thread, 1.2 to 1.3 times the bare product of the k rows.

    Examples
    --------
    >>> import numpy as np
    >>> embedding = FactorizedEmbedding(np.arange(8.0).reshape(4, 2), np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]))
    >>> embedding
    FactorizedEmbedding(4 x 3, rank 2, float64, 112 bytes of 96)
    >>> embedding.lookup([[3, 0, 3]])
    array([[[ 6.,  7., 13.],
            [ 0.,  1.,  1.],
            [ 6.,  7., 13.]]])
    """

    tokens: Any  #: T (V, r), or a tuple of T_b (V_b, r_b)
    projection: Any = None  #: P (r, H), None for the identity, or a tuple of these
    place: Any = None  #: (V,) row of each token when the blocks stand one on another; None for the identity

    def __post_init__(self) -> None:
        several = isinstance(self.tokens, tuple)
        tokens = self.tokens if several else (self.tokens,)
        projections = self.projection if several else (self.projection,)
        if not tokens or not isinstance(projections, tuple) or len(projections) != len(tokens):
            raise ValueError(
                "tokens and projection must be two arrays, or two tuples of as many, at least one, a block"
            )
        tokens = tuple(as_matrix("tokens", refuse_torch("tokens", t)) for t in tokens)
        projections = tuple(
            None if p is None else as_matrix("projection", refuse_torch("projection", p)) for p in projections
        )
        tokens, projections = alike(tokens, projections)
        for b, (t, p) in enumerate(zip(tokens, projections, strict=True)):
            where = f" of block {b}" if several else ""
            if p is not None and t.shape[1] != p.shape[0]:
                raise ValueError(f"tokens{where} have rank {t.shape[1]}, projection{where} has {p.shape[0]} rows")
        widths = {t.shape[1] if p is None else p.shape[1] for t, p in zip(tokens, projections, strict=True)}
        if len(widths) > 1:
            raise ValueError(f"all blocks must have one width H, got {sorted(widths)}")
        object.__setattr__(self, "tokens", tokens if several else tokens[0])
        object.__setattr__(self, "projection", projections if several else projections[0])
        if self.place is not None:
            place, count = to_numpy(self.place), self.shape[0]
            if place.shape != (count,) or place.dtype.kind not in "iu" or not _is_permutation(place, count):
                raise ValueError(f"place must be a permutation of 0 .. {count - 1}, got {place.dtype} {place.shape}")
            object.__setattr__(self, "place", place.astype(np.int32 if count <= np.iinfo(np.int32).max else np.int64))

    @classmethod
    def random(
        cls, n_tokens: int, rank: int, width: int, *, rng: int | np.random.Generator = 0, dtype: Any = np.float32
    ) -> FactorizedEmbedding:
        """Return random factors T (n_tokens, rank) and P (rank, width) to start training from.

        They are normal with standard deviation 0.02, as ALBERT's.

        Raises ValueError for a type that is not of real floating-point numbers.
        """
        if np.dtype(dtype).kind != "f":
            raise ValueError(f"dtype must be a real floating-point type, got {np.dtype(dtype)}")
        generator = np.random.default_rng(rng)
        tokens, projection = (
            (INITIAL_DEVIATION * generator.standard_normal(shape)).astype(dtype)
            for shape in ((n_tokens, rank), (rank, width))
        )
        return cls(tokens, projection)

    # what it is

    @property
    def blocks(self) -> tuple[tuple[Any, Any], ...]:
        """(T_b, P_b) of every block, P_b None where it is dense."""
        if isinstance(self.tokens, tuple):
            return tuple(zip(self.tokens, self.projection, strict=True))
        return ((self.tokens, self.projection),)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tokens and width (V, H)."""
        first, projection = self.blocks[0]
        return sum(t.shape[0] for t, _ in self.blocks), (first if projection is None else projection).shape[1]

    @property
    def ranks(self) -> tuple[int, ...]:
        """Rank of every block; H for a dense one."""
        return tuple(t.shape[1] for t, _ in self.blocks)

    @property
    def rank(self) -> int:
        """The largest of the ranks."""
        return max(self.ranks)

    @property
    def dtype(self) -> Any:
        """Type of the entries."""
        return self.blocks[0][0].dtype

    @property
    def n_parameters(self) -> int:
        """Numbers in all factors."""
        return sum(int(np.prod(a.shape)) for block in self.blocks for a in block if a is not None)

    @property
    def nbytes(self) -> int:
        """Bytes of all factors and of `place`."""
        factors = [a for block in self.blocks for a in block if a is not None]
        order = 0 if self.place is None else self.place.nbytes
        return order + sum(int(np.prod(a.shape)) * numpy_dtype(a).itemsize for a in factors)

    # what it does

    def lookup(self, ids: Any) -> Any:
        """Return the embeddings E[ids] (..., H) of integer ids (...) of any shape.

        Rows of repeated ids are computed once where that saves time.

        Raises IndexError for ids outside 0 .. V-1 and TypeError for ids that are no integers.
        """
        given = checked_ids(ids, self.shape[0])
        rows = given.reshape(-1).astype(np.intp, copy=False)  # unsigned ones would become floats
        if self.place is not None:
            rows = self.place[rows]
        blocks = self.blocks
        if len(blocks) == 1:
            found = _rows_of_block(*blocks[0], rows)
        else:
            kept, copies = distinct(rows, self.shape[0])
            found = self._rows_of_blocks(kept, copies)
        return namespace(found).reshape(found, (*given.shape, self.shape[1]))

    def to_dense(self) -> Any:
        """Return the table as an array (V, H)."""
        parts = [t if p is None else t @ p for t, p in self.blocks]
        xp = namespace(parts[0])
        if self.place is not None:
            return xp.take(xp.concat(parts, axis=0), beside(self.place, parts[0]), axis=0)
        return xp.concat(parts, axis=0) if len(parts) > 1 else xp.asarray(parts[0], copy=True)

    def balanced(self) -> FactorizedEmbedding:
        """Return the same table with factors of equal size, T = U s^{1/2} and P = s^{1/2} V^H.

        U diag(s) V^H is the SVD of T P.

        For training on or rounding the factors. Directions of the size of round-off are dropped.
        """
        return self._regauged(lambda m, half: tuple(times_power(x, half) for x in m.balanced()))

    def orthonormal(self) -> FactorizedEmbedding:
        """Return the same table with orthonormal rows in P: T = U diag(s), P = V^H.

        Norms and angles of E's rows are those of T's.
        """
        return self._regauged(
            lambda m, half: (times_power(m.U * namespace(m.U).astype(m.s, real_part(m.U).dtype), 2 * half), m.V)
        )

    def report(self, table: Any, frequencies: Any = None) -> EmbeddingReport:
        """Return how near it is to `table` (V, H), and how much smaller.

        See :func:`ml.embeddings.report.embedding_report`.
        """
        return embedding_report(table, self, frequencies)

    # inside

    def _regauged(self, gauge: Callable[[LowRankMatrix, int], tuple[Any, Any]]) -> FactorizedEmbedding:
        """Return the embedding with other factors of each block.

        gauge : A, k -> X (V_b, r), Y (H, r) with X Y^H = 4^k A the block

        The factors of A have entries about 1: of those of 1e-20 and 1e20, norms would vanish and overflow in single
        precision.
        """
        tokens, projections = [], []
        for t, p in self.blocks:
            if p is not None and t.shape[1]:
                ones = namespace(t).ones(t.shape[1], dtype=real_part(t).dtype)
                first, second = exponent(t), exponent(p)
                second += (first + second) % 2
                t, p = times_power(t, -first), times_power(p, -second)
                t, y = gauge(LowRankMatrix(t, ones, adjoint(p)).recompress(), (first + second) // 2)
                p = adjoint(y)
            tokens.append(t)
            projections.append(p)
        if isinstance(self.tokens, tuple):
            return replace(self, tokens=tuple(tokens), projection=tuple(projections))
        return replace(self, tokens=tokens[0], projection=projections[0])

    def _rows_of_blocks(self, rows: np.ndarray, copies: np.ndarray) -> Any:
        """Return E's rows[copies], rows counted as the blocks stand: one product per block, then one gather."""
        ends = np.cumsum([t.shape[0] for t, _ in self.blocks])
        block = np.searchsorted(ends, rows, side="right")
        order = np.argsort(block, kind="stable")
        bounds = np.searchsorted(block[order], np.arange(len(ends) + 1))
        parts = []
        for b, (t, p) in enumerate(self.blocks):
            chosen = rows[order[bounds[b] : bounds[b + 1]]] - (ends[b] - t.shape[0])
            if len(chosen):
                parts.append(_product(t, p, chosen))
        like = self.blocks[0][0]
        xp = namespace(like)
        if not parts:
            return xp.zeros((0, self.shape[1]), dtype=self.dtype)
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        return xp.take(xp.concat(parts, axis=0), beside(position[copies], like), axis=0)

    def __repr__(self) -> str:
        v, h = self.shape
        dense = v * h * np.dtype(numpy_dtype(self.blocks[0][0])).itemsize
        ranks = [f"{r} (dense)" if p is None else str(r) for r, (_, p) in zip(self.ranks, self.blocks, strict=True)]
        kind = f"rank {ranks[0]}" if len(ranks) == 1 else f"{len(ranks)} blocks of ranks {', '.join(ranks)}"
        dtype = numpy_dtype(self.blocks[0][0])
        return f"FactorizedEmbedding({v} x {h}, {kind}, {dtype}, {self.nbytes:,} bytes of {dense:,})"


def _product(tokens: Any, projection: Any, rows: np.ndarray) -> Any:
    taken = namespace(tokens).take(tokens, beside(rows, tokens), axis=0)
    return taken if projection is None else taken @ projection


def _rows_of_block(tokens: Any, projection: Any, rows: np.ndarray) -> Any:
    """Return rows of T P; each distinct one is computed once if that saves more than copying the others takes."""
    count, rank = len(rows), tokens.shape[1]
    if projection is not None and rank > COPY_IN_TERMS:
        kept, copies = distinct(rows, tokens.shape[0])
        if (count - len(kept)) * rank > COPY_IN_TERMS * count:
            return namespace(tokens).take(_product(tokens, projection, kept), beside(copies, tokens), axis=0)
    return _product(tokens, projection, rows)


def _is_permutation(place: np.ndarray, count: int) -> bool:
    seen = np.zeros(count, dtype=bool)
    seen[place[(place >= 0) & (place < count)]] = True
    return bool(np.all(seen))
