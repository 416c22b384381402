"""The ALBERT language model: how many parameters it has, its forward pass, a text to train it on, and its training.

The forward pass and the training need PyTorch, which is imported when they are called.
Counting parameters and making batches of text need NumPy only.
The token table of the model is the factorised embedding of :mod:`ml.embeddings`.
"""

from ml.albert.corpus import make_batch, make_corpus
from ml.albert.encoder import embed, hidden_states, initial_weights, order_logits, token_logits
from ml.albert.parameters import AlbertConfig, albert_parameter_count
from ml.albert.training import evaluate, train

__all__ = [
    "AlbertConfig", "albert_parameter_count", "embed", "evaluate", "hidden_states", "initial_weights", "make_batch",
    "make_corpus", "order_logits", "token_logits", "train",
]  # fmt: skip
