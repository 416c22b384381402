"""Keys and values that every attention has besides those of the tokens: p of each, trained.

Source: Li and Liang, Prefix-tuning, 2021, without the network that makes prefixes there. A further key takes part in
the softmax whatever its numbers are, so that the network's output changes at once: this kind alone does not begin with
the network as it is.

In transformers a prefix enters where attention functions are chosen by name: the attention has a copy of its
configuration that names ours, which puts the prefix before keys and values and calls the function that was chosen.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Sequence
from typing import Any

from lowrank.optional import require
from ml.tuning.native_attention import projection, rows_of
from ml.tuning.network_parts import Attention, blocks_of, chosen, linear_size
from ml.tuning.placement import NAME, Placement, class_of, random_parameter, stored_by_name, whole_number

__all__ = ["place_prefix"]

#: Our name among the attention functions of transformers.
FUNCTION = "ml_prefix"
#: Those that take a mask as a tensor of all pairs.
KNOWN = ("sdpa", "eager", None)
#: Bound of the first numbers, of about the size of keys of a normalised state.
FIRST = 0.5


@functools.cache
def _class() -> Any:
    require("torch", "torch", "ml.adapt", "ml")
    import torch

    @stored_by_name
    class Prefix(torch.nn.Module):
        """Keys K (p, d) and values V (p, d)."""

        def __init__(self, like: Any, sizes: tuple[int, int], length: int, generator: Any) -> None:
            super().__init__()
            self.K = random_parameter(like, generator, FIRST, length, sizes[0])
            self.V = random_parameter(like, generator, FIRST, length, sizes[1])
            self.original: Any = None  # of the attention: its configuration, while this is in its place

        def attach(self, host: Any) -> None:
            """Let the attention see the prefix."""
            if isinstance(host, torch.nn.MultiheadAttention):
                host.forward = functools.partial(_native_forward, host)  # a bound method could not be pickled
                return
            self.original = host.config
            host.config = copy.copy(host.config)
            host.config._attn_implementation_internal = FUNCTION

        def detach(self, host: Any) -> None:
            """Let the attention be as it was."""
            if isinstance(host, torch.nn.MultiheadAttention):
                del host.__dict__["forward"]
            else:
                host.config, self.original = self.original, None

    return Prefix


def __getattr__(name: str) -> Any:
    """Return the class of a part, for pickle."""
    return class_of(__name__, name, ("Prefix",), _class)


def place_prefix(
    module: Any, generator: Any, *, length: int = 16, targets: str | Sequence[str] | None = None
) -> list[Placement]:
    """Return prefixes of p = `length` keys and values for every attention, 2 p d numbers each.

    targets : names or patterns of attentions; by default all

    Raises ValueError where there are none, or none that lets keys be added: torch.nn.MultiheadAttention, and those of
    transformers 4.48 and later that choose their function by name, "sdpa" or "eager".
    """
    length = whole_number(length, "length")
    found = {a.name: a for block in blocks_of(module) for a in block.attentions}
    if targets is not None:
        found = {name: found[name] for name in chosen(module, targets, lambda n, m: n in found, "attention")}
    if not found:
        raise ValueError(f"{type(module).__name__} has no attention that is recognised: a prefix has no place in it")
    return [_placement(attention, length, generator) for attention in found.values()]


def _placement(attention: Attention, length: int, generator: Any) -> Placement:
    host = attention.module
    if attention.native:
        like, sizes = projection(host, "key")[1], (host.embed_dim, host.embed_dim)
        # a hook keeps the fused path of torch.nn.TransformerEncoderLayer, which calls no attention, from being taken
        return Placement(attention.name, host, _class()(like, sizes, length, generator), after=((host, _as_it_is),))
    functions = getattr(sys.modules.get(type(host).__module__), "ALL_ATTENTION_FUNCTIONS", None)
    function = getattr(getattr(host, "config", None), "_attn_implementation", "none")
    if functions is None or function not in KNOWN or "key" not in attention.linears:
        raise ValueError(
            f"the attention {attention.name!r} ({type(host).__name__}, function {function!r}) takes no further keys: "
            "a prefix needs torch.nn.MultiheadAttention, or an attention of transformers with "
            'attn_implementation="sdpa" or "eager"'
        )
    functions.register(FUNCTION, _with_prefix)
    key, value = (host.get_submodule(attention.linears[r].rpartition(".")[2]) for r in ("key", "value"))
    part = _class()(key.weight, (linear_size(key)[1], linear_size(value)[1]), length, generator)
    return Placement(attention.name, host, part)


def _as_it_is(layer: Any, args: Any, kwargs: Any, output: Any) -> None:
    """Hook that changes nothing."""


def _with_prefix(
    attention: Any, query: Any, key: Any, value: Any, attention_mask: Any, *args: Any, **kwargs: Any
) -> Any:
    """Attention function of transformers: (B, heads, T, width) queries, keys, values; a mask (B, 1, T, S) or None."""
    torch = require("torch", "torch", "ml.adapt", "ml")
    part = attention._modules[NAME]
    module = sys.modules[type(attention).__module__]
    default = getattr(module, "eager_attention_forward", None)
    inner = module.ALL_ATTENTION_FUNCTIONS.get_interface(part.original._attn_implementation, default)
    p, batch, count = len(part.K), key.shape[0], key.shape[2]
    causal = kwargs.get("is_causal")
    causal = getattr(attention, "is_causal", False) if causal is None else causal
    if attention_mask is None and causal and query.shape[2] > 1 and part.original._attn_implementation == "sdpa":
        shape = (query.shape[2], count)
        attention_mask = torch.ones(shape, dtype=torch.bool, device=key.device).tril(count - query.shape[2])[None, None]
    if attention_mask is not None:
        open_to_all = True if attention_mask.dtype == torch.bool else 0.0
        attention_mask = torch.nn.functional.pad(attention_mask, (p, 0), value=open_to_all)

    def longer(given: Any, rows: Any) -> Any:
        shape = (p, given.shape[1], given.shape[3])
        return torch.cat([rows.to(given.dtype).view(shape).transpose(0, 1).expand(batch, -1, -1, -1), given], 2)

    return inner(attention, query, longer(key, part.K), longer(value, part.V), attention_mask, *args, **kwargs)


def _native_forward(
    self: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """Forward pass of torch.nn.MultiheadAttention with a prefix; the weights it returns are those of the tokens."""
    torch = require("torch", "torch", "ml.adapt", "ml")
    part, linear = self._modules[NAME], torch.nn.functional.linear
    if query.dim() != 3 or self.bias_k is not None or self.add_zero_attn:
        raise ValueError(
            "a prefix needs inputs in batches, of three dimensions, and an attention without bias_k or zeros"
        )
    if not self.batch_first:
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    batch, heads, p = query.shape[0], self.num_heads, len(part.K)

    def split(x: Any, role: str, rows: Any = None) -> Any:
        name, weight = projection(self, role)
        at = rows_of(self, role)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[at]
        y = linear(x, weight[at] if name == "in_proj_weight" else weight, bias)
        if rows is not None:
            y = torch.cat([rows.to(y.dtype).expand(batch, -1, -1), y], 1)
        return y.view(batch, -1, heads, self.head_dim).transpose(1, 2)

    q, k, v = split(query, "query"), split(key, "key", part.K), split(value, "value", part.V)
    scores = q @ k.transpose(2, 3) / self.head_dim**0.5
    for mask in (attn_mask, None if key_padding_mask is None else key_padding_mask[:, None, None, :]):
        if mask is not None:
            full = mask if mask.dim() != 3 else mask.view(batch, heads, *mask.shape[1:])
            additive = (
                torch.zeros_like(full, dtype=scores.dtype).masked_fill(full, float("-inf"))
                if full.dtype == torch.bool
                else full
            )
            scores = scores + torch.nn.functional.pad(additive, (p, 0))
    weights = torch.nn.functional.dropout(scores.softmax(-1), self.dropout, self.training)
    output = self.out_proj((weights @ v).transpose(1, 2).reshape(batch, -1, self.embed_dim))
    seen = (weights[..., p:].mean(1) if average_attn_weights else weights[..., p:]) if need_weights else None
    return (output if self.batch_first else output.transpose(0, 1)), seen
