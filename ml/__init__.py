"""Parameter reduction for learned models: embedding tables as products of thin factors, and the ALBERT model.

:mod:`ml.embeddings` has the tables, :mod:`ml.albert` the language model that is trained with them, :mod:`ml.chunks`
tokens for chunks of trajectories, and :mod:`ml.material` a pretrained table and texts to try them on. Training and
material want further packages.
Words and symbols are explained in docs/glossary.md.

>>> import ml
>>> for name in ml.__all__:
...     if name.islower():
...         print(name)
albert_parameter_count
albert_state_dict
allocate_rank
factorize_embedding
load_embedding
round_rows
save_embedding
to_torch
"""

from ml.albert.parameters import ALBERT_SIZES, AlbertConfig, ParameterCount, albert_parameter_count
from ml.chunks.tokenizer import ActionCodes, ActionTokenizer
from ml.embeddings.allocation import RankAllocation, allocate_rank
from ml.embeddings.embedding import FactorizedEmbedding
from ml.embeddings.factorize import factorize_embedding
from ml.embeddings.files import load_embedding, save_embedding
from ml.embeddings.report import EmbeddingReport
from ml.embeddings.rounding import RoundedEmbedding, round_rows
from ml.embeddings.torch_export import albert_state_dict, to_torch

__all__ = [
    "ALBERT_SIZES", "ActionCodes", "ActionTokenizer", "AlbertConfig", "EmbeddingReport", "FactorizedEmbedding",
    "ParameterCount", "RankAllocation", "RoundedEmbedding", "albert_parameter_count", "albert_state_dict",
    "allocate_rank", "factorize_embedding", "load_embedding", "round_rows", "save_embedding", "to_torch",
]  # fmt: skip
