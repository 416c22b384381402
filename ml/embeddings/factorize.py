"""Factorisation of a given embedding table."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from lowrank import LowRankMatrix, truncated_svd
from lowrank.arrays import as_matrix, beside, namespace, real_part, to_numpy
from lowrank.dense import adjoint
from lowrank.limits import check_limits
from lowrank.renamed import renamed
from ml.embeddings.allocation import allocate_rank
from ml.embeddings.embedding import FactorizedEmbedding
from ml.embeddings.factors import refuse_torch
from ml.embeddings.report import checked_frequencies

__all__ = ["factorize_embedding"]


@renamed(metric="product")
def factorize_embedding(
    table: Any,
    rank: int | None = None,
    *,
    budget: int | None = None,
    frequencies: Any = None,
    product: Any = None,
    n_blocks: int = 1,
) -> FactorizedEmbedding:
    """Factorise an embedding table E ~ T P with the least error of all of its rank or number of parameters.

    The error is sum_i p_i (e_i - e'_i) M (e_i - e'_i)^H, e_i the rows (1, H) of E.

    With the SVD U diag(s) V^H of diag(p)^{1/2} E in the inner product M = product (V^H M V = 1), T = E M V and P = V^H:
    the original rows, projected; sum of the p_i-weighted squared errors = sum of the discarded s^2. This is
    :func:`lowrank.pod` of the rows as snapshots with weights p (Eckart and Young). The weighted SVDs of the literature
    for layers that see data with second moment diag(p) are the same, since the input of an embedding is one-hot.

    With several blocks, tokens are ordered by frequency and cut into `n_blocks` groups of equal size, and each is
    factorised by itself (as in GroupReduce, Chen et al., NeurIPS 2018, without its moves of tokens between groups);
    ranks are those of least total error under the one budget, and a block is kept dense where that is cheaper:
    :func:`ml.allocate_rank`. With a budget, the SVDs are LAPACK's and the ranks the optimum for their singular values:
    exact but for terms of a block below (max(V_b, H))^{1/2} u s_1, which are dropped as round-off.

    Parameters
    ----------
    table : E (V, H), real or complex, NumPy, CuPy, ...
    rank : r; with several blocks, short for budget = r (V + H)
    budget : largest number of parameters, in place of `rank`
    frequencies : p (V,) >= 0, in any scale; by default all tokens count alike. Tokens of frequency zero are
        projected, too, but count for nothing: add one to all counts if they are to count a little.
    product : Hermitian positive definite M (H, H), say of what the next layer sees; by default the identity. For a
        layer x -> x W of rows, M = W W^H; for complex columns e_i^T the form e M e^H is that of the conjugate of M
    n_blocks : groups of tokens by frequency, 1 to V; take a few where a small part of the tokens makes up most of the
        text

    Returns
    -------
    FactorizedEmbedding

    Raises
    ------
    TypeError
        a tensor of PyTorch.
    ValueError
        both or neither of rank and budget, blocks without frequencies, and what :func:`lowrank.truncated_svd` refuses.

    Source: of the factorisation as such: Lan and others, arXiv 1909.11942.

    Notes
    -----
    Cost: that of :func:`lowrank.truncated_svd`, with a budget that of its method "direct". **A trained table is not of
    low rank:** of the 30522 x 384 table of a sentence encoder, rank 128 leaves 58 % error, where int4 rounding of its
    rows leaves 13 % at three eighths of the size (:func:`ml.round_rows`). Blocks do better on text like the one that
    was counted, as they give up the tokens that it does not show. ALBERT's factorisation is a way to train, not to
    compress.

    Examples
    --------
    >>> import numpy as np
    >>> table = np.random.default_rng(0).standard_normal((1000, 20))
    >>> factorize_embedding(table, 5)
    FactorizedEmbedding(1000 x 20, rank 5, float64, 40,800 bytes of 160,000)
    >>> factorize_embedding(table, 5, frequencies=np.arange(1000, 0, -1), n_blocks=4)
    FactorizedEmbedding(1000 x 20, 4 blocks of ranks 13, 5, 0, 0, float64, 42,880 bytes of 160,000)
    """
    table = as_matrix("table", refuse_torch("table", table))
    v, h = table.shape
    if (rank is None) == (budget is None):
        raise ValueError(f"give either rank or budget, got rank = {rank} and budget = {budget}")
    check_limits(rank)
    if not 1 <= operator.index(n_blocks) <= max(v, 1):
        raise ValueError(f"n_blocks must be 1 .. {max(v, 1)}, got {n_blocks}")
    if n_blocks > 1 and frequencies is None:
        raise ValueError("blocks are groups of tokens by frequency: pass frequencies, or n_blocks=1")
    p = None if frequencies is None else checked_frequencies(frequencies, v)
    if n_blocks == 1 and rank is not None:
        return FactorizedEmbedding(*_factors(truncated_svd(table, rank, row_weights=p, right_product=product)))
    order = np.arange(v) if n_blocks == 1 or p is None else np.argsort(-p, kind="stable")
    spend = budget if budget is not None else int(rank or 0) * (v + h)
    blocks = _blocks(table, p, product, np.array_split(order, n_blocks), spend)
    if n_blocks == 1:
        return FactorizedEmbedding(*blocks[0])
    tokens, projections = zip(*blocks, strict=True)
    return FactorizedEmbedding(tokens, projections, np.argsort(order))


def _blocks(
    table: Any, p: np.ndarray | None, product: Any, groups: list[np.ndarray], budget: int
) -> list[tuple[Any, Any]]:
    """Return (T_b, P_b) of every group of tokens, P_b None where it is dense.

    The ranks are those of least total error within the budget.
    """
    h = table.shape[1]
    rows = [namespace(table).take(table, beside(g, table), axis=0) for g in groups]
    full = [
        truncated_svd(e, row_weights=None if p is None else p[g], right_product=product, method="direct")
        for e, g in zip(rows, groups, strict=True)
    ]
    allocation = allocate_rank(
        [to_numpy(m.s) for m in full], [len(g) + h for g in groups], budget, dense=[len(g) * h for g in groups]
    )
    return [
        (e, None) if whole else _factors(m.truncate(r))
        for e, m, r, whole in zip(rows, full, allocation.ranks, allocation.dense, strict=True)
    ]


def _factors(svd: LowRankMatrix) -> tuple[Any, Any]:
    """Return T = U diag(s) and P = V^H."""
    return svd.U * namespace(svd.s).astype(svd.s, real_part(svd.U).dtype), adjoint(svd.V)
