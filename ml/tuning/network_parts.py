"""Attention, feed-forward parts and normalisations of a PyTorch module, found by types, names and shapes."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lowrank.optional import require

__all__ = [
    "Attention",
    "Block",
    "blocks_of",
    "chosen",
    "fits",
    "fitting",
    "is_linear",
    "is_norm",
    "linear_size",
    "transposed",
]

#: Names of linear layers in an attention, by their role.
ROLES = {
    "query": {"query", "q_proj", "q_lin", "q", "to_q"},
    "key": {"key", "k_proj", "k_lin", "k", "to_k"},
    "value": {"value", "v_proj", "v_lin", "v", "to_v"},
    "fused": {"c_attn", "qkv", "qkv_proj", "query_key_value", "Wqkv"},
    "out": {"out_proj", "o_proj", "out_lin", "o", "to_out", "c_proj", "dense", "proj"},
}
NORM = re.compile(r"(Layer|RMS|Group|Batch|Instance)_?Norm|Norm(\dd)?$")


@dataclass(frozen=True, eq=False)
class Attention:
    """An attention and the names of its linear layers."""

    name: str
    module: Any
    linears: dict[str, str]  #: names of linear layers by role; none in torch.nn.MultiheadAttention, which calls none

    @property
    def native(self) -> bool:
        """Whether it is torch.nn.MultiheadAttention, whose weights are not in linear layers."""
        return not self.linears


@dataclass(frozen=True, eq=False)
class Block:
    """A layer of a stack: attentions, and a feed-forward part d -> F -> d."""

    name: str
    module: Any
    attentions: tuple[Attention, ...]
    ups: tuple[str, ...]  #: names of the linear layers d -> F
    down: str | None  #: of F -> d; None where there is none, or more than one
    width: int


def is_linear(layer: Any) -> bool:
    """Return whether a layer is a linear one that is called: torch.nn.Linear, or Conv1D of transformers (GPT-2)."""
    torch = require("torch", "torch", "ml.adapt", "ml")
    return isinstance(layer, torch.nn.Linear) or transposed(layer)


def transposed(layer: Any) -> bool:
    """Return whether a layer keeps its weight as (inputs, outputs)."""
    return type(layer).__name__ == "Conv1D" and type(layer).__module__.startswith("transformers")


def linear_size(layer: Any) -> tuple[int, int]:
    """Return numbers of inputs and outputs of a linear layer."""
    if hasattr(layer, "in_features"):  # packed weights of few bits have another shape
        return int(layer.in_features), int(layer.out_features)
    rows, columns = layer.weight.shape
    return (rows, columns) if transposed(layer) else (columns, rows)


def is_norm(layer: Any) -> bool:
    """Return whether a layer is a normalisation with weights of its own."""
    return bool(NORM.search(type(layer).__name__)) and any(True for _ in layer.parameters(recurse=False))


def fits(name: str, pattern: str) -> bool:
    """Return whether a name is the given one, ends with it, or fits it as a pattern with * and ?."""
    return name == pattern or name.endswith("." + pattern) or fnmatch.fnmatchcase(name, pattern)


def fitting(names: Iterable[str], pattern: str) -> set[str]:
    """Return the names that fit a pattern; a name that is given whole means itself alone."""
    names = set(names)
    return {pattern} if pattern in names else {name for name in names if fits(name, pattern)}


def chosen(module: Any, patterns: str | Sequence[str], accept: Callable[[str, Any], bool], what: str) -> dict[str, Any]:
    """Return the submodules that are named, by name; `accept(name, layer)` says which may be, `what` what they are.

    Raises ValueError for a pattern that fits none of them, with the nearest name.
    """
    there = {name: layer for name, layer in module.named_modules() if accept(name, layer)}
    names: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        hit = fitting(there, str(pattern))
        if not hit:
            ends = {name.rpartition(".")[2]: name for name in there}
            near = difflib.get_close_matches(str(pattern), [*ends, *there], 1, 0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there is {next(iter(there))!r}" if there else ""
            raise ValueError(f"{pattern!r} names no {what} of {type(module).__name__}{hint}")
        names |= hit
    return {name: layer for name, layer in there.items() if name in names}


def blocks_of(module: Any) -> list[Block]:
    """Return the layers with attention, in the order of `named_modules`.

    An attention is torch.nn.MultiheadAttention, or a module with linear layers named as query, key and value, or as all
    three in one. Its layer is the nearest module around it that stands in a list and has linear layers outside of
    attentions; else the nearest one in a list, else its parent. In a layer, the last linear layer F -> d outside of
    attentions ends the feed-forward part, those d -> F before it begin it; where linear layers are left over, as in a
    mixture of experts, there is no saying, and `down` is None.
    """
    torch = require("torch", "torch", "ml.adapt", "ml")
    modules = dict(module.named_modules())
    attentions = [a for name, part in modules.items() if (a := _attention(torch, name, part, modules)) is not None]
    inside = {n for a in attentions for n in a.linears.values()}
    stems = tuple(f"{a.name}." for a in attentions)
    outside = [n for n, m in modules.items() if is_linear(m) and n not in inside and not n.startswith(stems)]
    around: dict[str, list[Attention]] = {}
    for attention in attentions:
        around.setdefault(_layer_of(torch, attention.name, modules, outside), []).append(attention)
    return [_block(name, modules, tuple(found), outside) for name, found in around.items()]


def _attention(torch: Any, name: str, part: Any, modules: dict[str, Any]) -> Attention | None:
    if isinstance(part, torch.nn.MultiheadAttention):
        return Attention(name, part, {})
    linears: dict[str, str] = {}
    for child, layer in part.named_children():
        for role, names in ROLES.items():
            if child in names and is_linear(layer):
                linears[role] = f"{name}.{child}".lstrip(".")
    if not ({"query", "key", "value"} <= linears.keys() or "fused" in linears):
        return None
    beside = f"{name.rpartition('.')[0]}.output.dense".lstrip(".")  # BERT and its like
    if "out" not in linears and beside in modules and is_linear(modules[beside]):
        linears["out"] = beside
    return Attention(name, part, linears)


def _layer_of(torch: Any, name: str, modules: dict[str, Any], outside: Sequence[str]) -> str:
    """Return the name of the layer that an attention stands in."""
    lists = (torch.nn.ModuleList, torch.nn.Sequential, torch.nn.ModuleDict)
    listed, inner = [], name
    while inner:
        outer = inner.rpartition(".")[0]
        if inner != name and isinstance(modules[outer], lists):
            listed.append(inner)
        inner = outer
    whole = [layer for layer in listed if any(n.startswith(layer + ".") for n in outside)]
    return (whole or listed or [name.rpartition(".")[0]])[0]


def _block(name: str, modules: dict[str, Any], attentions: tuple[Attention, ...], outside: Sequence[str]) -> Block:
    first = attentions[0]
    entry = first.linears.get("query") or first.linears.get("fused")
    width = linear_size(modules[entry])[0] if entry else int(first.module.embed_dim)
    left = {n: linear_size(modules[n]) for n in outside if not name or n.startswith(name + ".")}
    down = next((n for n in reversed(left) if left[n][1] == width), None)
    ups: list[str] = []
    if down is not None:
        inner = left[down][0]
        names = list(left)
        ups = [n for n in names[: names.index(down)] if left[n] == (width, inner)]
    whole = bool(ups) and len(ups) + 1 == len(left)
    return Block(name, modules[name], attentions, tuple(ups) if whole else (), down if whole else None, width)
