"""Low-rank updates of weights: W + (alpha / r) B A, with A (r, k) and B (d, r) trained and B = 0 at first.

Source: Hu et al., LoRA: low-rank adaptation of large language models, 2021. Names of numbers in files are those of
Adapted.state: `...ml_adapter.A` and `.B`, in torch.nn.MultiheadAttention `...ml_adapter.query.A`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from lowrank.optional import require
from ml.tuning.native_attention import projection, restore_weights, rows_of, show_changed_weights
from ml.tuning.network_parts import ROLES, Block, blocks_of, chosen, fits, is_linear, linear_size, transposed
from ml.tuning.placement import (
    Placement,
    class_of,
    first_tensor,
    is_merged,
    part_of,
    random_parameter,
    stored_by_name,
    whole_number,
    zero_parameter,
)

__all__ = ["place_lora"]

NATIVE = ("query", "key", "value", "out")
PARTS = (*ROLES, "up", "down")


@functools.cache
def _classes() -> tuple[Any, Any]:
    require("torch", "torch", "ml.adapt", "ml")
    import torch

    @stored_by_name
    class LowRank(torch.nn.Module):
        """The update scale * B A of one weight (d, k), applied to rows x (..., k)."""

        def __init__(self, like: Any, size: tuple[int, int], rank: int, scale: float, generator: Any) -> None:
            super().__init__()
            self.A = random_parameter(like, generator, 1 / math.sqrt(size[0]), rank, size[0])
            self.B = zero_parameter(like, size[1], rank)
            self.scale, self.rate, self.merged = scale, 0.0, False

        def forward(self, x: Any) -> Any:
            x = torch.nn.functional.dropout(x.to(self.A.dtype), self.rate, self.training)
            return torch.nn.functional.linear(torch.nn.functional.linear(x, self.A), self.B) * self.scale

        def delta(self) -> Any:
            """Return scale * B A (d, k)."""
            return (self.B @ self.A) * self.scale

        def changed(self, host: Any) -> dict[str, Any]:
            """Return the weight of a linear layer with the update."""
            return {"weight": _added(host.weight, self.delta().T if transposed(host) else self.delta())}

    @stored_by_name
    class AttentionLowRank(torch.nn.Module):
        """The updates of some of the weights of torch.nn.MultiheadAttention, by role."""

        def __init__(self, parts: dict[str, Any]) -> None:
            super().__init__()
            self.merged = False
            for role, part in parts.items():
                self.add_module(role, part)

        def changed(self, host: Any) -> dict[str, Any]:
            """Return its weights with their updates."""
            found: dict[str, Any] = {}
            for role, part in self.named_children():
                name, weight = projection(host, role)
                if name != "in_proj_weight":
                    found[name] = _added(weight, part.delta())
                    continue
                whole = found.get(name, weight)
                rows = rows_of(host, role)
                parts = [whole[: rows.start], _added(whole[rows], part.delta()), whole[rows.stop :]]
                found[name] = torch.cat(parts)
            return found

    return LowRank, AttentionLowRank


def __getattr__(name: str) -> Any:
    """Return the class of a part, for pickle."""
    return class_of(__name__, name, ("LowRank", "AttentionLowRank"), _classes)


def _added(weight: Any, delta: Any) -> Any:
    """Return weight + delta, added in the wider of their types, in that of the weight."""
    return (weight + delta).to(weight.dtype)


def _add_update(layer: Any, args: Any, kwargs: Any, output: Any) -> Any:
    """Hook after a linear layer."""
    part = part_of(layer)
    return None if is_merged(layer, part) else output + part(first_tensor(layer, args, kwargs)).to(output.dtype)


def place_lora(
    module: Any,
    generator: Any,
    *,
    rank: int | Mapping[str, int] = 8,
    alpha: float | Mapping[str, float] | None = None,
    targets: str | Sequence[str] | None = None,
    dropout: float = 0.0,
) -> list[Placement]:
    """Return low-rank updates of linear layers.

    rank : r; or {name or pattern: r}, for layers that are all named
    alpha : the update is (alpha / r) B A; by default alpha = r. Or {name or pattern: alpha}
    targets : roles (query, key, value, out, up, down), names or patterns of linear layers; by default query and value,
        and all linear layers of a network without attention
    dropout : share of the inputs of A that training sets to zero; not in torch.nn.MultiheadAttention, which multiplies
        its weights

    Raises ValueError for names that fit nothing, and numbers out of range.
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    placements = []
    for name, (host, roles) in _sites(module, targets).items():
        if roles and dropout:
            raise ValueError(f"dropout={dropout}: {name!r} is torch.nn.MultiheadAttention, whose inputs are not seen")
        placements.append(
            _native(name, host, roles, rank, alpha, generator)
            if roles
            else _linear(name, host, rank, alpha, dropout, generator)
        )
    return placements


def _linear(name: str, host: Any, rank: Any, alpha: Any, dropout: float, generator: Any) -> Placement:
    size = linear_size(host)
    r, scale = _rank_and_scale(name, rank, alpha, size)
    part = _classes()[0](host.weight, size, r, scale, generator)
    part.rate = dropout
    return Placement(name, host, part, after=((host, _add_update),))


def _native(name: str, host: Any, roles: Sequence[str], rank: Any, alpha: Any, generator: Any) -> Placement:
    parts = {}
    for role in roles:
        weight = projection(host, role)[1]
        size = (int(weight.shape[1]), int(host.embed_dim))
        r, scale = _rank_and_scale(f"{name}.{role}".lstrip("."), rank, alpha, size)
        parts[role] = _classes()[0](weight, size, r, scale, generator)
    part = _classes()[1](parts)
    hooks = ((host, show_changed_weights),), ((host, restore_weights),)
    return Placement(name, host, part, *hooks, always=True)


def _rank_and_scale(name: str, rank: Any, alpha: Any, size: tuple[int, int]) -> tuple[int, float]:
    r = whole_number(_of(rank, name, "rank"), f"rank of {name!r}")
    if r > max(size):
        raise ValueError(f"rank of {name!r} is {r}, but its weight has {size[1]} rows and {size[0]} columns only")
    a = r if alpha is None else _of(alpha, name, "alpha")
    if isinstance(a, bool) or not isinstance(a, int | float) or not math.isfinite(a) or a == 0:
        raise ValueError(f"alpha of {name!r} must be a finite number other than 0, got {a!r}")
    return r, a / r


def _of(given: Any, name: str, what: str) -> Any:
    if not isinstance(given, Mapping):
        return given
    if name in given:
        return given[name]
    for pattern, value in given.items():
        if fits(name, pattern):
            return value
    raise ValueError(f"{what} names no value for {name!r}; it has {', '.join(map(repr, given))}")


def _sites(module: Any, targets: str | Sequence[str] | None) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Return layers by name, with the roles of those that are torch.nn.MultiheadAttention."""
    blocks = blocks_of(module)
    modules = dict(module.named_modules())
    # torch.nn.MultiheadAttention reads the weights of this layer and does not call it
    unseen = {f"{a.name}.out_proj".lstrip(".") for block in blocks for a in block.attentions if a.native}
    wanted = [targets] if isinstance(targets, str) else list(targets or (("query", "value") if blocks else ("*",)))
    found: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for pattern in wanted:
        hit = _by_role(blocks, modules, pattern) if pattern in PARTS and pattern not in modules else {}
        if not hit:
            named = chosen(module, [pattern], lambda n, m: is_linear(m) and n not in unseen, "linear layer")
            hit = {name: (layer, ()) for name, layer in named.items()}
        for name, (layer, roles) in hit.items():
            known = found.get(name, (layer, ()))[1]
            found[name] = (layer, tuple(r for r in NATIVE if r in known or r in roles))
    return {name: found[name] for name in modules if name in found}


def _by_role(blocks: Sequence[Block], modules: Mapping[str, Any], role: str) -> dict[str, tuple[Any, tuple[str, ...]]]:
    found: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for block in blocks:
        for attention in block.attentions:
            if attention.native and role in NATIVE:
                known = found.get(attention.name, (None, ()))[1]
                found[attention.name] = (attention.module, (*known, role))
            name = attention.linears.get(role) or (attention.linears.get("fused") if role in NATIVE[:3] else None)
            if name:
                found[name] = (modules[name], ())
        for name in {"up": block.ups, "down": (block.down,)}.get(role, ()):
            if name:
                found[name] = (modules[name], ())
    return found
