"""One batch through a module: how it is passed, what its output is, and what its layers are fed with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.quantization.sites import Site

__all__ = ["checked_batches", "evaluating", "input_squares", "output", "run_with"]


def checked_batches(batches: Iterable[Any], name: str) -> list[Any]:
    """Return the batches as a list.

    A batch is a tensor, a tuple of arguments, or a dictionary of named arguments. Raises ValueError where there is
    none, TypeError for one tensor in place of a list of batches.
    """
    torch = require("torch", "torch", "ml.quantization", "ml")
    if isinstance(batches, torch.Tensor | np.ndarray | Mapping | str):
        raise TypeError(f"{name} must be a list of batches, got one {type(batches).__name__}; put it into a list")
    found = list(batches)
    if not found:
        raise ValueError(f"{name} is empty: give one batch or more")
    return found


def output(module: Any, batch: Any) -> Any:
    """Return the output of a module, the first floating-point tensor in it: logits of a model of transformers.

    Raises ValueError for an output without one, and for NaN or infinite entries.
    """
    torch = require("torch", "torch", "ml.quantization", "ml")
    if isinstance(batch, Mapping):
        result = module(**batch)
    else:
        result = module(*batch) if isinstance(batch, tuple | list) else module(batch)
    found = _first(result, torch)
    if found is None:
        raise ValueError(f"the output of {type(module).__name__} has no floating-point tensor: {type(result).__name__}")
    if not bool(torch.isfinite(found.detach()).all()):
        raise ValueError(f"the output of {type(module).__name__} has NaN or infinite entries on a batch: check both")
    return found


def _first(result: Any, torch: Any) -> Any:
    if isinstance(result, torch.Tensor):
        return result if result.is_floating_point() else None
    if isinstance(result, Mapping):
        parts = [result["logits"]] if "logits" in result else list(result.values())
    else:
        parts = list(result) if isinstance(result, tuple | list) else []
    return next((t for t in (_first(part, torch) for part in parts) if t is not None), None)


def run_with(module: Any, batches: Sequence[Any], handles: Sequence[Any]) -> None:
    """Run a module over batches for what its hooks see; their handles are removed, whatever happens."""
    torch = require("torch", "torch", "ml.quantization", "ml")
    try:
        with evaluating(module), torch.no_grad():
            for batch in batches:
                output(module, batch)
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Put a module into evaluation mode (no dropout), and each part back into its own mode afterwards.

    Tables with max_norm, whose calls rewrite their rows, get their numbers back, too.
    """
    torch = require("torch", "torch", "ml.quantization", "ml")
    modes = [(m, m.training) for m in module.modules()]
    tables = [(m.weight, m.weight.detach().clone()) for m in module.modules() if getattr(m, "max_norm", None)]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        with torch.no_grad():
            for weight, before in tables:
                weight.copy_(before)


def input_squares(module: Any, batches: Sequence[Any], sites: Sequence[Site]) -> dict[str, np.ndarray]:
    """Return h = E x_j^2 of the inputs of linear layers and convolutions, in the shape of a row of their weight.

    Of a convolution with several groups of channels, whose rows see different inputs, in the shape of the weight.

    The mean is over all batches, positions and, of a tied weight, the layers that share it as linear ones. With these
    weights sum_j h_j (w_j - q_j)^2 is the mean square of the error of a layer's output, if inputs are uncorrelated.
    Weights of other layers, and of layers that no batch reaches through their own call, are not in the result.

    Cost: one forward pass a batch. Raises ValueError for inputs that are not finite.
    """
    torch = require("torch", "torch", "ml.quantization", "ml")
    sums: dict[str, tuple[Any, int]] = {}

    def collect(site: Site, layer: Any) -> Any:
        def hook(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = (args[0] if args else next(iter(kwargs.values()))).detach().double().square()
            if isinstance(layer, torch.nn.Linear):
                rows = x.reshape(-1, x.shape[-1])
                squares = rows.sum(0)
            else:  # (batch, channels, ...)
                k = -(layer.weight.ndim - 1)
                rows = x.movedim(k, -1).reshape(-1, layer.groups, x.shape[k] // layer.groups)
                squares = rows.sum(0).repeat_interleave(layer.out_channels // layer.groups, 0)
                squares = squares[0] if layer.groups == 1 else squares
            total, count = sums.get(site.name, (0.0, 0))
            sums[site.name] = (total + squares, count + len(rows))

        return hook

    handles = [
        layer.register_forward_pre_hook(collect(site, layer), with_kwargs=True)
        for site in sites
        for layer, _ in site.owners
        if isinstance(layer, torch.nn.Linear) or _plain_convolution(layer, torch)
    ]
    run_with(module, batches, handles)
    found = {}
    for site in sites:
        if site.name in sums and sums[site.name][1]:
            total, count = sums[site.name]
            h = (total / count).cpu().numpy()
            if not np.all(np.isfinite(h)):
                raise ValueError(f"inputs of {site.name} are NaN or infinite on the calibration batches")
            shape = tuple(site.parameter.shape)[2 - h.ndim :]  # (c, ...), or (n, c, ...) of several groups
            found[site.name] = np.broadcast_to(h.reshape(*h.shape, *[1] * (site.parameter.ndim - 2)), shape)
    return found


def _plain_convolution(layer: Any, torch: Any) -> bool:
    """Return whether the rows of the weight are output channels, as they are not in transposed convolutions."""
    return isinstance(layer, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d)
