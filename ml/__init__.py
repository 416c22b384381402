"""Parameter reduction for learned models: thin factors, ALBERT, few bits a weight, lean tuning; tools of language.

:mod:`ml.embeddings` has the tables, :mod:`ml.albert` the language model that is trained with them,
:mod:`ml.quantization` rounds the weights of PyTorch modules, :mod:`ml.tuning` trains few numbers, without gradients or
with few bytes of activations, :mod:`ml.chunks` makes tokens of chunks of trajectories,
:mod:`ml.language` says which language a word is in and measures what language models answer, :mod:`ml.material` has a
pretrained table and texts to try them on, and :mod:`ml.tasks` networks. All but the first, the chunks and the languages
want further packages.
Words and symbols are explained in docs/glossary.md.

>>> import ml
>>> for name in ml.__all__:
...     if name.islower():
...         print(name)
activation_bytes
adapt
albert_parameter_count
albert_state_dict
allocate_rank
allocate_weight_bits
bias_report
bias_score
callable_model
derivative_code
factorize_embedding
fake_quantize
freeze_quantized
halo_check
http_model
inject_knowledge
language_model_loss
lean
load_adapter
load_embedding
load_mezo_log
load_peft
load_quantized
load_training
mezo
own_items
quantize_module
read_bbq
replay
round_rows
run_int8
save_adapter
save_embedding
save_mezo_log
save_peft
save_quantized
save_training
self_debias
sensitivity
severity
sliced_cross_entropy
spsa
teacher
to_torch
transformers_model
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
from ml.language.consistency.halo_check import HaloCheck, halo_check
from ml.language.consistency.knowledge import inject_knowledge
from ml.language.consistency.nli_scorer import NLIScorer
from ml.language.consistency.onnx_scorer import Calibration, OnnxPairScorer
from ml.language.consistency.pair_cache import PairCache
from ml.language.consistency.severity import Severity, severity
from ml.language.consistency.teacher import teacher
from ml.language.debiasing.bbq import own_items, read_bbq
from ml.language.debiasing.protocols import self_debias
from ml.language.debiasing.report import BiasReport, bias_report
from ml.language.debiasing.scoring import bias_score
from ml.language.detection.detector import LanguageDetector
from ml.language.models.callables import callable_model
from ml.language.models.http_client import http_model
from ml.language.models.network import transformers_model
from ml.quantization.allocation import allocate_weight_bits
from ml.quantization.files import load_quantized, save_quantized
from ml.quantization.integer_layers import Int8Report, run_int8
from ml.quantization.post_training import quantize_module
from ml.quantization.report import QuantizationReport
from ml.quantization.scheme import Scheme
from ml.quantization.sensitivity import Gradients, sensitivity
from ml.quantization.training import fake_quantize, freeze_quantized
from ml.tuning.activation_bytes import activation_bytes
from ml.tuning.adapt import adapt
from ml.tuning.adapted import Adapted
from ml.tuning.adapter_files import load_adapter, save_adapter
from ml.tuning.derivative_code import DerivativeCode, derivative_code
from ml.tuning.lean import lean
from ml.tuning.lean_tuning import LeanTuning
from ml.tuning.low_rank_update import LowRankUpdate
from ml.tuning.peft_format import load_peft, save_peft
from ml.tuning.sliced_loss import language_model_loss, sliced_cross_entropy
from ml.tuning.training_state import load_training, save_training
from ml.tuning.zeroth_order import MezoResult, MezoWarning, mezo, replay
from ml.tuning.zeroth_order_files import load_mezo_log, save_mezo_log
from ml.tuning.zeroth_order_log import MezoLog
from ml.tuning.zeroth_order_spsa import spsa

__all__ = [
    "ALBERT_SIZES", "ActionCodes", "ActionTokenizer", "Adapted", "AlbertConfig", "BiasReport", "Calibration",
    "DerivativeCode", "EmbeddingReport", "FactorizedEmbedding", "Gradients", "HaloCheck", "Int8Report",
    "LanguageDetector", "LeanTuning", "LowRankUpdate", "MezoLog", "MezoResult", "MezoWarning", "NLIScorer",
    "OnnxPairScorer", "PairCache", "ParameterCount", "QuantizationReport", "RankAllocation", "RoundedEmbedding",
    "Scheme", "Severity", "activation_bytes", "adapt", "albert_parameter_count", "albert_state_dict", "allocate_rank",
    "allocate_weight_bits", "bias_report", "bias_score", "callable_model", "derivative_code", "factorize_embedding",
    "fake_quantize", "freeze_quantized", "halo_check", "http_model", "inject_knowledge", "language_model_loss", "lean",
    "load_adapter", "load_embedding", "load_mezo_log", "load_peft", "load_quantized", "load_training", "mezo",
    "own_items", "quantize_module", "read_bbq", "replay", "round_rows", "run_int8", "save_adapter", "save_embedding",
    "save_mezo_log", "save_peft", "save_quantized", "save_training", "self_debias", "sensitivity", "severity",
    "sliced_cross_entropy", "spsa", "teacher", "to_torch", "transformers_model",
]  # fmt: skip
