"""Factorised embeddings over :mod:`lowrank`: tables as products of thin factors, and the ALBERT model that is trained with them."""

from ml.embedding import FactorizedEmbedding
from ml.report import EmbeddingReport

__all__ = ["EmbeddingReport", "FactorizedEmbedding"]
