"""Factorised embeddings over :mod:`lowrank`: tables as products of thin factors, and the ALBERT model that is trained with them.

Not imported with this package, as they need PyTorch or text: :mod:`ml.albert`, :mod:`ml.training`, :mod:`ml.corpus`,
:mod:`ml.text`, :mod:`ml.pretrained`.

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

from ml.allocation import RankAllocation, allocate_rank
from ml.embedding import FactorizedEmbedding
from ml.factorize import factorize_embedding
from ml.files import load_embedding, save_embedding
from ml.parameters import ALBERT_SIZES, AlbertConfig, ParameterCount, albert_parameter_count
from ml.report import EmbeddingReport
from ml.rounding import RoundedEmbedding, round_rows
from ml.torch_export import albert_state_dict, to_torch

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
