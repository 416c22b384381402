"""Layer norm and RMS norm that keep normalised rows in a few bits."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ml.tuning.derivative_code import DerivativeCode
from ml.tuning.lean_packing import CodeTable, at_a_time

__all__ = ["coded_norm", "signed_square_table"]


@functools.cache
def signed_square_table(bits: int) -> CodeTable:
    """Return the code of -1 .. 1 with the levels sign(j) (j / m)^2, |j| <= m = 2^(bits - 1) - 1, nearest ones.

    Levels are dense near zero, where most entries of a row with a few large ones are.
    """
    m = 2 ** (bits - 1) - 1
    j = np.arange(-m, m + 1) / m
    levels = np.sign(j) * j**2
    codes = np.arange(len(levels), dtype=np.uint8)
    return CodeTable(DerivativeCode("signed square", bits, (levels[1:] + levels[:-1]) / 2, codes, levels, 0.0))


def coded_norm(x: Any, shape: Any, weight: Any, bias: Any, eps: float, bits: int, forward: Any, centred: bool) -> Any:
    """Return forward(x, weight, bias), a layer norm (centred) or an RMS norm over the last axes `shape`.

    With the normalised row h = (x - mean) / sigma and c = g w, the gradient is

        dx = (c - mean(c) - h mean(c h)) / sigma,  dw = sum g h,  db = sum g,

    without mean(c) for an RMS norm. Kept: h in `bits` bits (:func:`signed_square_table` of h / max |h|), and 1 / sigma.
    What the code lost of the mean of h, which is 0, and of its mean square, 1 - eps / sigma^2, is put back. The code is
    in error by some percent, but enters dx only through h mean(c h), which is small.
    """
    size = math.prod(shape)
    return _norm_class().apply(x, weight, bias, size, eps, signed_square_table(bits), forward, centred)


def _rows_at_a_time(rows: Any) -> int:
    """Return how many rows make about a chunk, and whole bytes."""
    return max(8, at_a_time(rows) // rows.shape[1] // 8 * 8)


def _normalised(part: Any, eps: float, centred: bool) -> tuple[Any, Any]:
    """Return h and 1 / sigma of rows."""
    import torch

    part = part.float() if part.dtype in (torch.float16, torch.bfloat16) else part
    if centred:
        part = part - part.mean(1, keepdim=True)
    rstd = torch.rsqrt(part.square().mean(1, keepdim=True) + eps)
    return part * rstd, rstd


@functools.cache
def _norm_class() -> Any:
    import torch

    class CodedNorm(torch.autograd.Function):
        """(x, w, b, ...) -> norm."""

        @staticmethod
        def forward(
            ctx: Any,
            x: Any,
            weight: Any,
            bias: Any,
            size: int,
            eps: float,
            table: CodeTable,
            forward: Any,
            centred: bool,
        ) -> Any:
            ctx.size, ctx.eps, ctx.table, ctx.centred, ctx.kind = size, eps, table, centred, x.dtype
            ctx.bias = None if bias is None else (bias.dtype, bias.shape)
            packed = rstds = None
            if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
                packed, rstds = _kept(x.detach().reshape(-1, size), eps, table, centred)
            ctx.save_for_backward(weight, packed, rstds)
            return forward(x, weight, bias)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> tuple[Any, ...]:
            weight, packed, rstds = ctx.saved_tensors
            rows = g.reshape(-1, ctx.size)
            dx = dw = db = None
            if ctx.needs_input_grad[2] and ctx.bias is not None:
                db = rows.sum(0).to(ctx.bias[0]).reshape(ctx.bias[1])
            if packed is not None:
                dx, dw = _gradients(ctx, rows, weight, packed, rstds)
                dx = None if dx is None else dx.reshape(g.shape)
            return dx, dw, db, None, None, None, None, None

    return CodedNorm


def _kept(rows: Any, eps: float, table: CodeTable, centred: bool) -> tuple[Any, Any]:
    import torch

    step, parts, rstds = _rows_at_a_time(rows), [], []
    for first in range(0, max(1, len(rows)), step):  # once for no rows
        h, rstd = _normalised(rows[first : first + step], eps, centred)
        peak = h.abs().amax(1, keepdim=True)
        parts.append(table.pack(h / peak.clamp_min(1e-30)))
        rstds.append(rstd)
    return torch.cat(parts), torch.cat(rstds)


def _restored(t: Any, rstd: Any, eps: float, centred: bool) -> Any:
    """Return h, of the right mean and mean square, from rows in proportion to it."""
    if centred:
        t = t - t.mean(1, keepdim=True)
    square = (1 - eps * rstd.square()).clamp_min(0.0)
    return t * (square / t.square().mean(1, keepdim=True).clamp_min(1e-30)).sqrt()


def _gradients(ctx: Any, rows: Any, weight: Any, packed: Any, rstds: Any) -> tuple[Any, Any]:
    """Return dx (rows, size) and dw, chunk by chunk."""
    import torch

    size, bits, step, kind = ctx.size, ctx.table.bits, _rows_at_a_time(rows), rstds.dtype
    dx = torch.empty(rows.shape, dtype=ctx.kind, device=rows.device) if ctx.needs_input_grad[0] else None
    dw = torch.zeros(size, dtype=kind, device=rows.device) if ctx.needs_input_grad[1] else None
    w = None if weight is None else weight.reshape(-1).to(kind)
    for first in range(0, len(rows), step):
        g = rows[first : first + step].to(kind)
        at, count = first * size * bits // 8, len(g) * size
        codes = packed[at : at + (count * bits + 7) // 8]
        rstd = rstds[first : first + step]
        h = _restored(ctx.table.values(codes, count, kind).reshape(-1, size), rstd, ctx.eps, ctx.centred)
        if dw is not None:
            dw += (g * h).sum(0)
        if dx is not None:
            c = g if w is None else g * w
            inner = c - h * (c * h).mean(1, keepdim=True)
            if ctx.centred:
                inner -= c.mean(1, keepdim=True)
            dx[first : first + step] = inner * rstd
    return dx, None if dw is None else dw.to(weight.dtype).reshape(weight.shape)
