"""Embedding tables in fewer numbers: as products of thin factors, or rounded row by row to a few bits.

A table is factorised (`factorize`), looked up (`embedding`), compared with the original (`report`), saved (`files`)
and handed to PyTorch (`torch_export`). One budget of parameters is shared out among blocks of tokens by `allocation`.
"""

from ml.embeddings.allocation import RankAllocation, allocate_rank
from ml.embeddings.embedding import FactorizedEmbedding
from ml.embeddings.factorize import factorize_embedding
from ml.embeddings.files import load_embedding, save_embedding
from ml.embeddings.report import EmbeddingReport
from ml.embeddings.rounding import RoundedEmbedding, round_rows
from ml.embeddings.torch_export import albert_state_dict, to_torch

__all__ = [
    "EmbeddingReport", "FactorizedEmbedding", "RankAllocation", "RoundedEmbedding", "albert_state_dict",
    "allocate_rank", "factorize_embedding", "load_embedding", "round_rows", "save_embedding", "to_torch",
]  # fmt: skip
