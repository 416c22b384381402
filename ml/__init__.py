"""Parameter reduction for learned models: embedding tables as products of thin factors, and the ALBERT model.

:mod:`ml.embeddings` has the tables, :mod:`ml.albert` the language model that is trained with them, and
:mod:`ml.material` a pretrained table and texts to try them on. Only the last two want further packages.

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
from ml.embeddings import (
    EmbeddingReport,
    FactorizedEmbedding,
    RankAllocation,
    RoundedEmbedding,
    albert_state_dict,
    allocate_rank,
    factorize_embedding,
    load_embedding,
    round_rows,
    save_embedding,
    to_torch,
)

__all__ = [
    "ALBERT_SIZES",
    "AlbertConfig",
    "EmbeddingReport",
    "FactorizedEmbedding",
    "ParameterCount",
    "RankAllocation",
    "RoundedEmbedding",
    "albert_parameter_count",
    "albert_state_dict",
    "allocate_rank",
    "factorize_embedding",
    "load_embedding",
    "round_rows",
    "save_embedding",
    "to_torch",
]
