"""Factorised embeddings as PyTorch modules and as weights of an ALBERT model."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.optional import require
from ml.embeddings.embedding import FactorizedEmbedding

__all__ = ["albert_state_dict", "to_torch"]


def to_torch(embedding: FactorizedEmbedding) -> Any:
    """Return a PyTorch module ids (...) -> (..., H) to be trained further.

    It is a torch.nn.Sequential of Embedding (V, r) and Linear (r, H) without bias.

    A dense table becomes the Embedding alone.

    Raises
    ------
    ValueError
        several blocks, or complex entries.
    ImportError
        PyTorch is not installed, with the line that installs it.
    """
    torch = require("torch", "torch", "ml.to_torch", "ml")
    tokens, projection = _single_block(embedding)
    table = torch.nn.Embedding.from_pretrained(torch.tensor(tokens), freeze=False)
    if projection is None:
        return torch.nn.Sequential(table)
    rank, width = projection.shape
    linear = torch.nn.Linear(rank, width, bias=False, device="meta")
    linear.weight = torch.nn.Parameter(torch.tensor(projection.T.copy()))
    return torch.nn.Sequential(table, linear)


def albert_state_dict(embedding: FactorizedEmbedding, *, prefix: str = "") -> dict[str, Any]:
    """Return T and P as weights of transformers' AlbertModel, for `load_state_dict(..., strict=False)`.

    With a wrong prefix `strict=False` loads nothing and says nothing: check that the result has no `unexpected_keys`. E
    is the number of columns of T, fewer than were asked for where the table was of lower rank; the model's
    embedding_size must be the same. The mapping's bias is overwritten by zero.

    Word embeddings (V, E) = T and the mapping E -> H with weight (H, E) = P^T and bias zero. Note that ALBERT adds
    positions and segments to T's rows and normalises them *before* P: a factorised BERT table, where that happens in
    R^H, is another function there, whatever the factors.

    Parameters
    ----------
    prefix : before every name; "albert." for models with heads, which have an AlbertModel inside

    Raises
    ------
    ValueError
        several blocks, a dense table, or complex entries.
    ImportError
        PyTorch is not installed, with the line that installs it.
    """
    torch = require("torch", "torch", "ml.albert_state_dict", "ml")
    tokens, projection = _single_block(embedding)
    if projection is None:
        raise ValueError("ALBERT has a projection, and this table is dense; factorise it first")
    table = torch.tensor(tokens)
    return {
        f"{prefix}embeddings.word_embeddings.weight": table,
        f"{prefix}encoder.embedding_hidden_mapping_in.weight": torch.tensor(projection.T.copy()),
        f"{prefix}encoder.embedding_hidden_mapping_in.bias": torch.zeros(projection.shape[1], dtype=table.dtype),
    }


def _single_block(embedding: FactorizedEmbedding) -> tuple[np.ndarray, np.ndarray | None]:
    if len(embedding.blocks) > 1:
        raise ValueError(
            f"an embedding of {len(embedding.blocks)} blocks has no single pair of factors; use n_blocks=1"
        )
    tokens, projection = embedding.blocks[0]
    tokens, projection = to_numpy(tokens), None if projection is None else to_numpy(projection)
    if embedding.place is not None:
        tokens = tokens[embedding.place]
    if np.iscomplexobj(tokens) or (projection is not None and np.iscomplexobj(projection)):
        raise ValueError(f"a torch embedding has real weights, got {embedding.dtype}")
    return tokens, projection
