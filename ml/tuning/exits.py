"""Where the parts of a layer, attention and feed-forward part, begin and end: the places of bottlenecks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ml.tuning.network_parts import Attention, Block, blocks_of, chosen, is_linear, linear_size

__all__ = ["AFTER", "Exit", "exits", "hidden_width"]

AFTER = ("attention", "feed_forward")


@dataclass(frozen=True, eq=False)
class Exit:
    """The end of a part of a layer."""

    name: str
    host: Any  #: the layer whose output is the part's, before it is added to what goes past the part
    begin: Any  #: the layer whose input is the part's
    inputs: int
    width: int


def exits(module: Any, after: str | Sequence[str] = AFTER, targets: str | Sequence[str] | None = None) -> list[Exit]:
    """Return the ends of the parts named by `after`, or the modules named by `targets`, which are parts themselves.

    Raises ValueError where there are none, or it cannot be told, with what to name.
    """
    if targets is not None:
        found = chosen(module, targets, lambda name, layer: bool(name), "module")
        return [
            Exit(name, layer, layer, _inputs(name, layer), hidden_width(name, layer)) for name, layer in found.items()
        ]
    wanted = (after,) if isinstance(after, str) else tuple(after)
    unknown = [part for part in wanted if part not in AFTER]
    if unknown or not wanted:
        raise ValueError(f"after must name attention, feed_forward or both, got {after!r}")
    modules = dict(module.named_modules())
    blocks = blocks_of(module)
    ends: list[Exit] = []
    for block in blocks:
        if "attention" in wanted:
            ends += [_end_of_attention(block, attention, modules) for attention in block.attentions]
        if "feed_forward" in wanted:
            ends.append(_end_of_feed_forward(block, modules))
    if not ends:
        raise ValueError(
            f"{type(module).__name__} has no layers with attention that are recognised; name the modules whose "
            "output is to be changed: targets=[..]"
        )
    return ends


def _end_of_attention(block: Block, attention: Attention, modules: dict[str, Any]) -> Exit:
    if attention.native:
        return Exit(attention.name, attention.module, attention.module, block.width, block.width)
    out, entry = attention.linears.get("out"), attention.linears.get("query") or attention.linears["fused"]
    if out is None:
        raise ValueError(f"the attention {attention.name!r} has no layer that ends it; name it: targets=[..]")
    return Exit(out, modules[out], modules[entry], block.width, linear_size(modules[out])[1])


def _end_of_feed_forward(block: Block, modules: dict[str, Any]) -> Exit:
    if block.down is None:
        raise ValueError(
            f"the feed-forward part of {block.name!r} is not recognised (linear layers d -> F and one F -> d are "
            "expected): name the modules whose output is to be changed: targets=[..]"
        )
    return Exit(block.down, modules[block.down], modules[block.ups[0]], block.width, block.width)


def hidden_width(name: str, layer: Any) -> int:
    """Return the width of a layer's output: that of a linear layer, or of the last one inside it.

    Raises ValueError where there is none.
    """
    if hasattr(layer, "embed_dim") and hasattr(layer, "in_proj_weight"):
        return int(layer.embed_dim)
    last = [inner for inner in layer.modules() if is_linear(inner)]
    if not last:
        raise ValueError(f"{name!r} ({type(layer).__name__}) has no linear layer that says how wide its output is")
    return linear_size(last[-1])[1]


def _inputs(name: str, layer: Any) -> int:
    first = [inner for inner in layer.modules() if is_linear(inner)]
    return linear_size(first[0])[0] if first and not hasattr(layer, "embed_dim") else hidden_width(name, layer)
