"""Factorised embeddings over :mod:`lowrank`: tables as products of thin factors, and the ALBERT model that is trained with them."""

from ml.allocation import RankAllocation, allocate_rank
from ml.embedding import FactorizedEmbedding
from ml.factorize import factorize_embedding
from ml.report import EmbeddingReport

__all__ = ["EmbeddingReport", "FactorizedEmbedding", "RankAllocation", "allocate_rank", "factorize_embedding"]
