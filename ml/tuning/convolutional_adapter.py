"""Bottlenecks after convolutions: h + U f(D * h + b) + c, D a convolution c -> r, U (c, r) and c zero at first."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

from lowrank.optional import require
from ml.tuning.bottleneck import ACTIVATIONS
from ml.tuning.network_parts import chosen
from ml.tuning.placement import (
    Placement,
    class_of,
    part_of,
    random_parameter,
    stored_by_name,
    whole_number,
    zero_parameter,
)

__all__ = ["place_convolution"]


@functools.cache
def _class() -> Any:
    require("torch", "torch", "ml.adapt", "ml")
    import torch

    @stored_by_name
    class ConvolutionalBottleneck(torch.nn.Module):
        """The map of (batch, channels, ...): convolution to r channels, f, and back by a matrix (channels, r)."""

        def __init__(self, host: Any, rank: int, kernel: int, activation: str, generator: Any) -> None:
            super().__init__()
            like, channels = host.weight, host.out_channels
            self.dimensions = host.weight.ndim - 2
            self.activation = activation
            extents = (kernel,) * self.dimensions
            bound = 1 / math.sqrt(channels * kernel**self.dimensions)
            self.D = random_parameter(like, generator, bound, rank, channels, *extents)
            self.b = zero_parameter(like, rank)
            self.U = zero_parameter(like, channels, rank)
            self.c = zero_parameter(like, channels)

        def forward(self, h: Any) -> Any:
            convolve = (torch.nn.functional.conv1d, torch.nn.functional.conv2d)[self.dimensions - 1]
            inner = getattr(torch.nn.functional, self.activation)(
                convolve(h.to(self.D.dtype), self.D, self.b, padding="same")
            )
            return convolve(inner, self.U[(..., *(None,) * self.dimensions)], self.c)

    return ConvolutionalBottleneck


def __getattr__(name: str) -> Any:
    """Return the class of a part, for pickle."""
    return class_of(__name__, name, ("ConvolutionalBottleneck",), _class)


def _add(layer: Any, args: Any, kwargs: Any, output: Any) -> Any:
    return output + part_of(layer)(output).to(output.dtype)


def place_convolution(
    module: Any,
    generator: Any,
    *,
    rank: int = 32,
    kernel: int = 3,
    activation: str = "gelu",
    targets: str | Sequence[str] | None = None,
) -> list[Placement]:
    """Return bottlenecks after convolutions: c r k + r + r c + c numbers for c channels, k^2 for k in two dimensions.

    kernel : k, the width of D
    targets : names or patterns of Conv1d and Conv2d layers; by default all of one group

    Raises ValueError where there are none.
    """
    torch = require("torch", "torch", "ml.adapt", "ml")
    rank, kernel = whole_number(rank, "rank"), whole_number(kernel, "kernel")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
    kinds = (torch.nn.Conv1d, torch.nn.Conv2d)
    if targets is None:
        hosts = {n: m for n, m in module.named_modules() if isinstance(m, kinds) and m.groups == 1}
    else:
        hosts = chosen(module, targets, lambda n, m: isinstance(m, kinds), "convolution")
    if not hosts:
        raise ValueError(f"{type(module).__name__} has no convolution of one group in one or two dimensions")
    return [
        Placement(name, host, _class()(host, rank, kernel, activation, generator), after=((host, _add),))
        for name, host in hosts.items()
    ]
