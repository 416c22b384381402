"""The ALBERT encoder as plain functions of a dictionary of weights, to be trained with PyTorch.

Weights have the names and shapes of :func:`ml.albert.parameters.parameter_shapes`, those of transformers' AlbertModel,
so that weights go either way. What all layers share is one entry, used L times: its gradient is the sum over these
uses. The token table is one entry, too, used on the way in and on the way out.

Lan et al., ICLR 2020: x = LN_E(T[ids] + positions + segments), h_0 = x P + b, then L post-norm transformer layers, GELU
in its tanh form. There is no dropout, as in the second version of the paper's models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.optional import require
from ml.albert.parameters import AlbertConfig, parameter_shapes

__all__ = ["embed", "hidden_states", "initial_weights", "order_logits", "token_logits"]

#: What is added to a variance under the root.
EPSILON = 1e-12
INITIAL_DEVIATION = 0.02

Weights = dict[str, Any]


def initial_weights(
    config: AlbertConfig, *, heads: bool = True, rng: int | np.random.Generator = 0, dtype: Any = np.float32
) -> Weights:
    """Return weights to start training from.

    Tables are normal with standard deviation 0.02, as in the paper, matrices n -> m with n^{-1/2}; biases are 0, scales
    of normalisations 1.

    The paper has 0.02 for matrices, too, for widths of 768 to 4096. In a narrow model that damps what a layer adds to
    its input so much that a few hundred steps learn no more than the frequencies of words.

    They ask for gradients (`requires_grad`). Raises ImportError, with the line that installs it, without PyTorch.
    """
    torch = _torch()
    generator = np.random.default_rng(rng)
    weights = {}
    for name, shape in parameter_shapes(config, heads=heads).items():
        if len(shape) == 2:
            deviation = INITIAL_DEVIATION if name.startswith("embeddings.") else shape[1] ** -0.5
            value = deviation * generator.standard_normal(shape)
        else:
            value = np.full(shape, float(name.lower().endswith("norm.weight")))  # scales are one, shifts zero
        weights[name] = torch.tensor(value.astype(dtype), requires_grad=True)
    return weights


def embed(weights: Weights, config: AlbertConfig, ids: Any, segments: Any = None) -> Any:
    """Return the embedded tokens h_0 (B, n, H).

    Tokens, positions and segments are added and normalised in R^E, then projected to R^H (if E is given).

    ids, segments : (B, n) integers; segments are 0 by default

    Raises ValueError for ids that are not (B, n), or longer than there are positions.
    """
    torch = _torch()
    if ids.ndim != 2 or ids.shape[1] > config.positions:
        raise ValueError(f"ids must be (B, n) with n <= {config.positions} positions, got shape {tuple(ids.shape)}")
    table = torch.nn.functional.embedding
    x = table(ids, weights["embeddings.word_embeddings.weight"])
    segments = torch.zeros_like(ids) if segments is None else segments
    x = x + table(segments, weights["embeddings.token_type_embeddings.weight"])
    x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = _normalised(weights, "embeddings.LayerNorm", x)
    return x if config.embedding is None else _linear(weights, "encoder.embedding_hidden_mapping_in", x)


def hidden_states(weights: Weights, config: AlbertConfig, ids: Any, segments: Any = None, mask: Any = None) -> Any:
    """Return the output h_L (B, n, H) of the last layer for ids and segments (B, n).

    mask : (B, n), true for tokens, false for padding, all true by default
    """
    h = embed(weights, config, ids, segments)
    visible = None if mask is None else (mask != 0)[:, None, None, :]
    attention, ffn = (config.copies(part) for part in ("attention", "ffn"))
    for layer in range(config.layers):
        block = "encoder.albert_layer_groups.{}.albert_layers.0."
        h = _attention(weights, block.format(layer % attention) + "attention.", config.heads, h, visible)
        h = _feed_forward(weights, block.format(layer % ffn), h)
    return h


def token_logits(weights: Weights, h: Any) -> Any:
    """Return the logits (..., V) of the masked-LM head for hidden states (..., H).

    H -> E, GELU, LN_E, then T^T and a bias.
    """
    x = _gelu(_linear(weights, "predictions.dense", h))
    x = _normalised(weights, "predictions.LayerNorm", x)
    return x @ weights["embeddings.word_embeddings.weight"].T + weights["predictions.bias"]


def order_logits(weights: Weights, h: Any) -> Any:
    """Return the logits (B, 2) of the sentence-order head for hidden states (B, n, H); class 1 is "swapped".

    The first token goes through the pooler.
    """
    pooled = _torch().tanh(_linear(weights, "pooler", h[:, 0]))
    return _linear(weights, "sop_classifier.classifier", pooled)


def _attention(weights: Weights, name: str, heads: int, h: Any, visible: Any) -> Any:
    """Return LN(h + softmax(Q K^T / d^{1/2}) V W + b), with `heads` heads of width d."""
    query, key, value = (
        _linear(weights, name + part, h).unflatten(-1, (heads, -1)).transpose(1, 2)
        for part in ("query", "key", "value")
    )
    mixed = _torch().nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
    h = h + _linear(weights, name + "dense", mixed.transpose(1, 2).flatten(-2))
    return _normalised(weights, name + "LayerNorm", h)


def _feed_forward(weights: Weights, block: str, h: Any) -> Any:
    inner = _gelu(_linear(weights, block + "ffn", h))
    return _normalised(weights, block + "full_layer_layer_norm", h + _linear(weights, block + "ffn_output", inner))


def _linear(weights: Weights, name: str, x: Any) -> Any:
    return _torch().nn.functional.linear(x, weights[name + ".weight"], weights[name + ".bias"])


def _normalised(weights: Weights, name: str, x: Any) -> Any:
    scale, shift = weights[name + ".weight"], weights[name + ".bias"]
    return _torch().nn.functional.layer_norm(x, scale.shape, scale, shift, EPSILON)


def _gelu(x: Any) -> Any:
    return _torch().nn.functional.gelu(x, approximate="tanh")


def _torch() -> Any:
    return require("torch", "torch", "ml.albert", "ml")
