"""Elementwise functions that keep a code of f'(x) in place of x, and dropout that keeps one bit an entry."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ml.tuning.derivative_code import DerivativeCode
from ml.tuning.lean_packing import CodeTable, at_a_time, pack_bits

__all__ = ["coded_dropout", "coded_function"]


def coded_function(x: Any, function: Any, table: CodeTable) -> Any:
    """Return function(x), as it is; backward, g times the level of the code of x.

    x : any shape. Kept for backward: ceil(n bits / 8) bytes of n numbers.
    """
    return _coded_class().apply(x, function, table)


def coded_dropout(x: Any, p: float) -> Any:
    """Return what dropout with 0 < p < 1 returns, from the same random numbers; backward, from one bit an entry."""
    return _dropout_class().apply(x, p)


@functools.cache
def _coded_class() -> Any:
    import torch

    class CodedElementwise(torch.autograd.Function):
        """(x, f, table) -> f(x)."""

        @staticmethod
        def forward(ctx: Any, x: Any, function: Any, table: CodeTable) -> Any:
            ctx.save_for_backward(table.pack(x))
            ctx.table, ctx.kind = table, x.dtype
            return function(x)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return ctx.table.multiply(g, ctx.saved_tensors[0]).to(ctx.kind), None, None

    return CodedElementwise


@functools.lru_cache(maxsize=64)
def _mask_table(scale: float) -> CodeTable:
    levels = np.array([0.0, scale])
    return CodeTable(DerivativeCode("mask", 1, np.array([0.0]), np.array([0, 1], dtype=np.uint8), levels, 0.0))


def keep_bits(kept: Any) -> Any:
    """Return the bits, packed, of a tensor that is zero or not."""
    import torch

    flat, chunk = kept.reshape(-1), at_a_time(kept)
    parts = [pack_bits((flat[k : k + chunk] != 0).view(torch.uint8), 1) for k in range(0, flat.numel(), chunk)]
    return parts[0] if len(parts) == 1 else torch.cat(parts or [flat.new_empty(0, dtype=torch.uint8)])


def draw_noise(empty: Any, p: float) -> Any:
    """Fill with 1 / (1 - p) where an entry is kept, else 0, drawn as PyTorch draws it on the CPU; return it."""
    return empty.bernoulli_(1 - p).div_(1 - p)


@functools.cache
def _dropout_class() -> Any:
    import torch

    class CodedDropout(torch.autograd.Function):
        """(x, p) -> x times noise."""

        @staticmethod
        def forward(ctx: Any, x: Any, p: float) -> Any:
            if x.device.type == "cpu":
                noise = draw_noise(torch.empty_like(x), p)  # in the order of x in memory, as there
                y = x * noise
            else:
                y, noise = torch.native_dropout(x, p, True)
            ctx.table = _mask_table(float(torch.ones((), dtype=x.dtype).div_(1 - p)))
            ctx.save_for_backward(keep_bits(noise))
            return y

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            return ctx.table.multiply(g, ctx.saved_tensors[0]), None

    return CodedDropout
