"""Bottlenecks after the parts of a layer: h + U f(D h + b) + c, with U and c zero at first.

Sources: Houlsby et al., Parameter-efficient transfer learning for NLP, 2019; the parallel form, f of the part's input
in place of h, He et al., Towards a unified view of parameter-efficient transfer learning, 2022.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from lowrank.optional import require
from ml.tuning.exits import AFTER, exits
from ml.tuning.placement import (
    Placement,
    class_of,
    first_tensor,
    part_of,
    random_parameter,
    replaced,
    stored_by_name,
    whole_number,
    zero_parameter,
)

__all__ = ["ACTIVATIONS", "place_bottleneck"]

ACTIVATIONS = ("gelu", "relu", "silu", "tanh")


@functools.cache
def _class() -> Any:
    require("torch", "torch", "ml.adapt", "ml")
    import torch

    @stored_by_name
    class Bottleneck(torch.nn.Module):
        """The map h -> scale (U f(D h + b) + c); D (r, inputs), b (r,), U (outputs, r), c (outputs,)."""

        def __init__(self, like: Any, size: tuple[int, int], rank: int, activation: str, scale: float, generator: Any):
            super().__init__()
            self.D = random_parameter(like, generator, 1 / math.sqrt(size[0]), rank, size[0])
            self.b = zero_parameter(like, rank)
            self.U = zero_parameter(like, size[1], rank)
            self.c = zero_parameter(like, size[1])
            self.activation, self.scale = activation, scale
            self.kept: Any = None  # the input of the part of the layer, between its beginning and its end

        def forward(self, h: Any) -> Any:
            inner = torch.nn.functional.linear(h.to(self.D.dtype), self.D, self.b)
            inner = getattr(torch.nn.functional, self.activation)(inner)
            return torch.nn.functional.linear(inner, self.U, self.c) * self.scale

    return Bottleneck


def __getattr__(name: str) -> Any:
    """Return the class of a part, for pickle."""
    return class_of(__name__, name, ("Bottleneck",), _class)


def _in_series(layer: Any, args: Any, kwargs: Any, output: Any) -> Any:
    part = part_of(layer)
    return replaced(output, lambda h: h + part(h).to(h.dtype))


def _keep_input(layer: Any, args: Any, kwargs: Any) -> None:
    part_of(layer).kept = first_tensor(layer, args, kwargs)


def _in_parallel(layer: Any, args: Any, kwargs: Any, output: Any) -> Any:
    part = part_of(layer)
    kept, part.kept = part.kept, None
    return replaced(output, lambda h: h + part(kept).to(h.dtype))


def place_bottleneck(
    module: Any,
    generator: Any,
    *,
    rank: int = 32,
    after: str | Sequence[str] = AFTER,
    parallel: bool = False,
    activation: str = "gelu",
    scale: float = 1.0,
    targets: str | Sequence[str] | None = None,
) -> list[Placement]:
    """Return bottlenecks of width r = `rank`, 2 d r + r + d numbers each.

    after : "attention", "feed_forward" or both: the outputs of these parts, before they are added to what goes past
        them
    parallel : f of the input of the part in place of its output
    activation : f; scale : times what is added
    targets : names or patterns of modules whose output is changed, in place of `after`

    Raises ValueError where no such part is found, with what to name, and for numbers out of range.
    """
    rank = whole_number(rank, "rank")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale) or scale == 0:
        raise ValueError(f"scale must be a finite number other than 0, got {scale!r}")
    placements = []
    for place in exits(module, after, targets):
        size = (place.inputs if parallel else place.width, place.width)
        like = next(place.host.parameters())
        part = _class()(like, size, rank, activation, float(scale), generator)
        before = ((place.begin, _keep_input),) if parallel else ()
        after_hooks = ((place.host, _in_parallel if parallel else _in_series),)
        placements.append(Placement(place.name, place.host, part, before, after_hooks))
    return placements
