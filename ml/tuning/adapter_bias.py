"""A vector added to every token, as much as the token asks for: h + (a . h + a_0) v, with v = 0 at first.

Source: Fu et al., AdapterBias: parameter-efficient token-dependent representation shift, 2022.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from lowrank.optional import require
from ml.tuning.exits import exits
from ml.tuning.placement import Placement, class_of, part_of, random_parameter, replaced, stored_by_name, zero_parameter

__all__ = ["place_adapter_bias"]


@functools.cache
def _class() -> Any:
    require("torch", "torch", "ml.adapt", "ml")
    import torch

    @stored_by_name
    class AdapterBias(torch.nn.Module):
        """The map h -> (a . h + a_0) v of rows (..., d); 2 d + 1 numbers."""

        def __init__(self, like: Any, width: int, generator: Any) -> None:
            super().__init__()
            self.a = random_parameter(like, generator, 1 / math.sqrt(width), 1, width)
            self.a_0 = zero_parameter(like, 1)
            self.v = zero_parameter(like, width)

        def forward(self, h: Any) -> Any:
            return torch.nn.functional.linear(h.to(self.a.dtype), self.a, self.a_0) * self.v

    return AdapterBias


def __getattr__(name: str) -> Any:
    """Return the class of a part, for pickle."""
    return class_of(__name__, name, ("AdapterBias",), _class)


def _shift(layer: Any, args: Any, kwargs: Any, output: Any) -> Any:
    part = part_of(layer)
    return replaced(output, lambda h: h + part(h).to(h.dtype))


def place_adapter_bias(
    module: Any,
    generator: Any,
    *,
    after: str | Sequence[str] = ("feed_forward",),
    targets: str | Sequence[str] | None = None,
) -> list[Placement]:
    """Return token-dependent shifts, 2 d + 1 numbers each; `after` and `targets` as for bottlenecks."""
    placements = []
    for place in exits(module, after, targets):
        part = _class()(next(place.host.parameters()), place.width, generator)
        placements.append(Placement(place.name, place.host, part, after=((place.host, _shift),)))
    return placements
