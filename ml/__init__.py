"""Parameter reduction for learned models: embedding tables as products of thin factors, ALBERT, few bits a weight.

:mod:`ml.embeddings` has the tables, :mod:`ml.albert` the language model that is trained with them,
:mod:`ml.quantization` rounds the weights of PyTorch modules, :mod:`ml.chunks` makes tokens of chunks of trajectories,
:mod:`ml.material` has a pretrained table and texts to try them on, and :mod:`ml.tasks` networks. All but the first and
the chunks want further packages.
Words and symbols are explained in docs/glossary.md.

>>> import ml
>>> for name in ml.__all__:
...     if name.islower():
...         print(name)
albert_parameter_count
albert_state_dict
allocate_rank
allocate_weight_bits
factorize_embedding
fake_quantize
freeze_quantized
load_embedding
load_quantized
quantize_module
round_rows
run_int8
save_embedding
save_quantized
sensitivity
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
from ml.quantization.allocation import allocate_weight_bits
from ml.quantization.files import load_quantized, save_quantized
from ml.quantization.integer_layers import Int8Report, run_int8
from ml.quantization.post_training import quantize_module
from ml.quantization.report import QuantizationReport
from ml.quantization.scheme import Scheme
from ml.quantization.sensitivity import Gradients, sensitivity
from ml.quantization.training import fake_quantize, freeze_quantized

__all__ = [
    "ALBERT_SIZES", "ActionCodes", "ActionTokenizer", "AlbertConfig", "EmbeddingReport", "FactorizedEmbedding",
    "Gradients", "Int8Report", "ParameterCount", "QuantizationReport", "RankAllocation", "RoundedEmbedding", "Scheme",
    "albert_parameter_count", "albert_state_dict", "allocate_rank", "allocate_weight_bits", "factorize_embedding",
    "fake_quantize", "freeze_quantized", "load_embedding", "load_quantized", "quantize_module", "round_rows",
    "run_int8", "save_embedding", "save_quantized", "sensitivity", "to_torch",
]  # fmt: skip
