"""The ALBERT language model: how many parameters it has, its forward pass, a text to train it on, and its training.

The forward pass and the training need PyTorch, which is imported when they are called.
Counting parameters and making batches of text need NumPy only.
The token table of the model is the factorised embedding of :mod:`ml.embeddings`.
"""

from ml.albert.corpus import Batch, Corpus, make_batch, make_corpus
from ml.albert.encoder import embed, hidden_states, initial_weights, order_logits, token_logits
from ml.albert.parameters import (
    ALBERT_SIZES,
    AlbertConfig,
    ParameterCount,
    albert_parameter_count,
    parameter_shapes,
)
from ml.albert.training import HeldOut, TrainingResult, evaluate, train

__all__ = [
    "ALBERT_SIZES",
    "AlbertConfig",
    "Batch",
    "Corpus",
    "HeldOut",
    "ParameterCount",
    "TrainingResult",
    "albert_parameter_count",
    "embed",
    "evaluate",
    "hidden_states",
    "initial_weights",
    "make_batch",
    "make_corpus",
    "order_logits",
    "parameter_shapes",
    "token_logits",
    "train",
]
