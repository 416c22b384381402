"""Vectors that keys, values and the inputs of the last feed-forward layer are multiplied with, 1 at first.

Source: Liu et al., Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning, 2022.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from lowrank.optional import require
from ml.tuning.native_attention import projection, restore_weights, rows_of, show_changed_weights
from ml.tuning.network_parts import Block, blocks_of, chosen, is_linear, linear_size, transposed
from ml.tuning.placement import Placement, class_of, first_tensor, is_merged, part_of, stored_by_name, type_like

__all__ = ["place_ia3"]


@functools.cache
def _classes() -> tuple[Any, Any]:
    require("torch", "torch", "ml.adapt", "ml")
    import torch

    def ones(like: Any, width: int) -> Any:
        return torch.nn.Parameter(torch.ones(width, dtype=type_like(like), device=like.device))

    @stored_by_name
    class Scaled(torch.nn.Module):
        """The factors of the outputs of a linear layer, or of its inputs."""

        def __init__(self, host: Any, inputs: bool) -> None:
            super().__init__()
            self.factors = ones(host.weight, linear_size(host)[0 if inputs else 1])
            self.inputs, self.merged = inputs, False

        def changed(self, host: Any) -> dict[str, Any]:
            """Return weight and bias with the factors in them."""
            by_columns = self.inputs != transposed(host)
            found = {
                "weight": (host.weight * (self.factors if by_columns else self.factors[:, None])).to(host.weight.dtype)
            }
            if not self.inputs and host.bias is not None:
                found["bias"] = (host.bias * self.factors).to(host.bias.dtype)
            return found

    @stored_by_name
    class AttentionScaled(torch.nn.Module):
        """Factors of keys and values of torch.nn.MultiheadAttention."""

        def __init__(self, host: Any) -> None:
            super().__init__()
            self.key, self.value = (ones(projection(host, role)[1], host.embed_dim) for role in ("key", "value"))
            self.merged = False

        def changed(self, host: Any) -> dict[str, Any]:
            """Return its weights and biases with the factors in them."""
            found: dict[str, Any] = {}
            names = {role: projection(host, role) for role in ("key", "value")}
            if names["key"][0] == "in_proj_weight":
                factors = torch.cat([torch.ones_like(self.key), self.key, self.value])
                found["in_proj_weight"] = (host.in_proj_weight * factors[:, None]).to(host.in_proj_weight.dtype)
            else:
                for role, (name, weight) in names.items():
                    found[name] = (weight * getattr(self, role)[:, None]).to(weight.dtype)
            if host.in_proj_bias is not None:
                factors = torch.ones_like(host.in_proj_bias)
                pieces = [factors[rows_of(host, "query")], self.key, self.value]
                found["in_proj_bias"] = (host.in_proj_bias * torch.cat(pieces)).to(host.in_proj_bias.dtype)
            return found

    return Scaled, AttentionScaled


def __getattr__(name: str) -> Any:
    """Return the class of a part, for pickle."""
    return class_of(__name__, name, ("Scaled", "AttentionScaled"), _classes)


def _scale_outputs(layer: Any, args: Any, kwargs: Any, output: Any) -> Any:
    part = part_of(layer)
    return None if is_merged(layer, part) else (output * part.factors).to(output.dtype)


def _scale_inputs(layer: Any, args: Any, kwargs: Any) -> Any:
    part = part_of(layer)
    if is_merged(layer, part):
        return None
    x = first_tensor(layer, args, kwargs)
    return ((x * part.factors).to(x.dtype), *args[1:]), {} if not args else kwargs


def place_ia3(
    module: Any,
    generator: Any,
    *,
    targets: str | Sequence[str] | None = None,
    feed_forward: str | Sequence[str] | None = None,
) -> list[Placement]:
    """Return factors: 2 d + F numbers a layer.

    targets : names or patterns of linear layers whose outputs are scaled, in place of keys and values
    feed_forward : of those whose inputs are scaled, in place of the last ones of feed-forward parts; with `targets`
        alone there are none

    Raises ValueError where keys and values, or feed-forward parts, are not found.
    """
    if targets is not None or feed_forward is not None:
        outputs = chosen(module, targets or (), lambda n, m: is_linear(m), "linear layer")
        inputs = chosen(module, feed_forward or (), lambda n, m: is_linear(m), "linear layer")
        both = outputs.keys() & inputs.keys()
        if both:
            raise ValueError(f"{min(both)!r} is in targets and in feed_forward; name it once")
        if not outputs and not inputs:
            raise ValueError("targets and feed_forward name no layer")
        return [_outputs(n, m) for n, m in outputs.items()] + [_inputs(n, m) for n, m in inputs.items()]
    placements: list[Placement] = []
    modules = dict(module.named_modules())
    for block in blocks_of(module):
        placements += _block(block, modules)
    if not placements:
        raise ValueError(
            f"{type(module).__name__} has no layers with attention that are recognised; name the linear layers whose "
            "outputs are to be scaled: targets=[..], and those whose inputs are: feed_forward=[..]"
        )
    return placements


def _block(block: Block, modules: dict[str, Any]) -> list[Placement]:
    found = []
    for attention in block.attentions:
        if attention.native:
            hooks = ((attention.module, show_changed_weights),), ((attention.module, restore_weights),)
            part = _classes()[1](attention.module)
            found.append(Placement(attention.name, attention.module, part, *hooks, always=True))
        elif "key" not in attention.linears:
            raise ValueError(
                f"keys and values of {attention.name!r} come from one layer, {attention.linears['fused']!r}: name "
                "layers whose outputs are to be scaled: targets=[..], and those whose inputs are: feed_forward=[..]"
            )
        else:
            names = [attention.linears[role] for role in ("key", "value")]
            found += [_outputs(name, modules[name]) for name in names]
    if block.down is None:
        raise ValueError(
            f"the feed-forward part of {block.name!r} is not recognised: name the layers whose inputs are to be "
            "scaled, feed_forward=[..], and those whose outputs are: targets=[..]"
        )
    return [*found, _inputs(block.down, modules[block.down])]


def _outputs(name: str, host: Any) -> Placement:
    return Placement(name, host, _classes()[0](host, False), after=((host, _scale_outputs),))


def _inputs(name: str, host: Any) -> Placement:
    return Placement(name, host, _classes()[0](host, True), before=((host, _scale_inputs),))
