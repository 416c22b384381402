"""PyTorch's own multi-head attention, with lean projections and attention as one unit."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["multihead"]


def multihead(
    operations: Any, query: Any, key: Any, value: Any, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
    in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Any,
    out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, use_separate_proj_weight: bool = False, q_proj_weight: Any = None,
    k_proj_weight: Any = None, v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Any, str]:  # fmt: skip
    """Return the result of torch.nn.functional.multi_head_attention_forward and "", or None and why it is not done.

    The arguments are those of PyTorch's function, in its order: this one stands in its place.

    query : (T, N, E) or (T, E); key, value : (S, N, E) or (S, E); masks as there
    """
    if need_weights:
        return None, "its weights are asked for: call it with need_weights=False"
    if bias_k is not None or bias_v is not None or add_zero_attn or static_k is not None or static_v is not None:
        return None, "it adds keys and values of its own"
    if any(mask is not None and mask.requires_grad for mask in (attn_mask, key_padding_mask)):
        return None, "its mask has a gradient"
    batched = query.dim() == 3
    same = query is key and key is value
    x = query if batched else query.unsqueeze(1)
    width = embed_dim_to_check
    if same and not use_separate_proj_weight:
        q, k, v = operations.linear(x, in_proj_weight, in_proj_bias).split(width, -1)
    else:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight.chunk(3)
        biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
        given = (x, *(t if batched else t.unsqueeze(1) for t in (key, value)))
        q, k, v = (operations.linear(t, w, b) for t, w, b in zip(given, weights, biases, strict=True))
    (length, batch), size = q.shape[:2], q.shape[-1] // num_heads
    # (length, batch, heads, size) -> (batch, heads, length, size)
    q, k, v = (t.reshape(t.shape[0], batch, num_heads, size).permute(1, 2, 0, 3) for t in (q, k, v))
    mask = _mask(attn_mask, key_padding_mask, batch, num_heads, batched)
    causal = is_causal and mask is None
    out = operations.attention(q, k, v, mask, dropout_p if training else 0.0, causal)
    out = operations.linear(out.permute(2, 0, 1, 3).reshape(length, batch, width), out_proj_weight, out_proj_bias)
    return (out if batched else out.squeeze(1), None), ""


def _mask(attn_mask: Any, padding: Any, batch: int, heads: int, batched: bool) -> Any:
    """Return one mask that is added, to be broadcast to (batch, heads, T, S), or None. True leaves out, as there."""
    found = None
    if attn_mask is not None:
        found = _added(attn_mask)
        found = found[None, None] if found.dim() == 2 else found.reshape(batch, heads, *found.shape[-2:])
    if padding is not None:
        more = _added(padding if batched else padding[None])[:, None, None, :]
        found = more if found is None else found + more
    return found


def _added(mask: Any) -> Any:
    import torch

    if mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=torch.float32, device=mask.device).masked_fill_(mask, -math.inf)
