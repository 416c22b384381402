"""A trained sum of the outputs of all layers in place of the last one's, which it is at first.

Source: Yang et al., SUPERB, 2021, with weights that need not be positive: those of a softmax would begin with a mean of
all layers, another output than that of the network.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from lowrank.optional import require
from ml.tuning.network_parts import blocks_of, chosen
from ml.tuning.placement import Placement, class_of, first_tensor, part_of, replaced, stored_by_name, type_like

__all__ = ["place_weighted_sum"]


@functools.cache
def _class() -> Any:
    require("torch", "torch", "ml.adapt", "ml")
    import torch

    @stored_by_name
    class WeightedSum(torch.nn.Module):
        """The sum of w_l h_l over the input h_0 of the first layer and the outputs of L layers; w (L + 1,)."""

        def __init__(self, like: Any, layers: int) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(layers + 1, dtype=type_like(like), device=like.device))
            if not like.is_meta:
                with torch.no_grad():
                    self.w[-1] = 1
            self.kept: list[Any] = []

        def forward(self, states: Any) -> Any:
            return sum(weight * state for weight, state in zip(self.w.unbind(), states, strict=True))

    return WeightedSum


def __getattr__(name: str) -> Any:
    """Return the class of a part, for pickle."""
    return class_of(__name__, name, ("WeightedSum",), _class)


def _begin(layer: Any, args: Any, kwargs: Any) -> None:
    part_of(layer).kept = [first_tensor(layer, args, kwargs)]


def _keep(layer: Any, args: Any, kwargs: Any, output: Any) -> None:
    part_of(layer).kept.append(output[0] if isinstance(output, tuple) else output)


def _end(layer: Any, args: Any, kwargs: Any, output: Any) -> Any:
    part = part_of(layer)
    kept, part.kept = part.kept, []

    def summed(h: Any) -> Any:
        if len(kept) != len(part.w) - 1:
            raise RuntimeError(
                f"{len(kept) - 1} of the {len(part.w) - 2} layers before the last one were called: layers may not be "
                "left out, nor called once more in the backward pass, while a weighted sum is trained; set "
                "config.layerdrop = 0 and switch gradient checkpointing off"
            )
        return part([*kept, h]).to(h.dtype)

    return replaced(output, summed)


def place_weighted_sum(module: Any, generator: Any, *, targets: str | Sequence[str] | None = None) -> list[Placement]:
    """Return the sum of L layers and of their input, L + 1 numbers.

    targets : names or patterns of the layers, in their order; by default those with attention that stand in one list.
        Networks that leave out layers at random (layerdrop) must not: a layer that is missing raises RuntimeError.

    Raises ValueError for less than two layers, and for layers of several lists.
    """
    torch = require("torch", "torch", "ml.adapt", "ml")
    if targets is None:
        layers = {block.name: block.module for block in blocks_of(module)}
        lists = {name.rpartition(".")[0] for name in layers}
        if len(lists) > 1:
            raise ValueError(
                f"layers stand in {len(lists)} lists ({', '.join(sorted(lists))}): name those of one, "
                f"targets=['{min(lists)}.*']"
            )
    else:
        lists_of = (torch.nn.ModuleList, torch.nn.Sequential)
        modules = dict(module.named_modules())

        def in_a_list(name: str, layer: Any) -> bool:
            return bool(name) and isinstance(modules[name.rpartition(".")[0]], lists_of)

        layers = chosen(module, targets, in_a_list, "layer of a list")
    if len(layers) < 2:
        raise ValueError(f"a weighted sum needs two layers or more, found {len(layers)}; name them: targets=[..]")
    hosts = list(layers.values())
    last = hosts[-1]
    part = _class()(next(last.parameters()), len(hosts))
    after = (*((host, _keep) for host in hosts[:-1]), (last, _end))
    return [Placement(list(layers)[-1], last, part, ((hosts[0], _begin),), after)]
