"""Attention as one unit: rounded q, k, v and a code of the softmax are kept, and no matrix in single precision."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from lowrank.packing import bytes_of
from ml.tuning.derivative_code import DerivativeCode
from ml.tuning.lean_elementwise import draw_noise, keep_bits
from ml.tuning.lean_packing import CHUNK, CodeTable, at_a_time, pack_bits, row_codes, row_values

__all__ = ["coded_attention", "coded_softmax", "square_table"]

#: Entries of the softmax that are held at a time on a CPU; elsewhere as many times more as a chunk is larger.
HELD = 1 << 18


@functools.cache
def square_table(bits: int) -> CodeTable:
    """Return the code of 0 .. 1 with the levels (j / m)^2, m = 2^bits - 1."""
    j = np.arange(2**bits) / (2**bits - 1)
    codes = np.arange(2**bits, dtype=np.uint8)
    return CodeTable(DerivativeCode("square", bits, ((j[1:] + j[:-1]) / 2) ** 2, codes, j**2, 0.0))


def coded_attention(
    q: Any, k: Any, v: Any, mask: Any, p_drop: float, causal: bool, scale: float | None, bits: int, code_bits: int
) -> Any:
    """Return softmax(scale q k^T + mask) v, with dropout of the softmax.

    Kept for backward: q, k and v in `bits` (32: as they are; 16 and 8: :func:`ml.tuning.lean_packing.row_codes`), the
    code round(m (p / max p)^{1/2}), m = 2^code_bits - 1, of each entry p of the softmax, and its dropout in one bit.
    Backward, with s = c^2 / sum c^2 of a row of codes c, which is p rounded and again sums to one, and with the noise z
    of dropout (1 without it):

        dv = (s z)^T g,   dp = (g v^T) z,   ds = s (dp - sum_j s_j dp_j),   dq = scale ds k,   dk = scale ds^T q.

    Parameters
    ----------
    q : (B, H, T, d); k : (B, H, S, d); v : (B, H, S, e)
    mask : boolean (True takes part) or added, to be broadcast to (B, H, T, S), without gradient; or None
    causal : position t sees positions 0 .. t
    scale : by default d^{-1/2}

    A row whose mask leaves nothing is zero, as in PyTorch. Some heads are done at a time, so that beside what is kept
    no more than 2^18 entries of p (2^24 on a GPU), or those of one head, are held; with dropout, all of its noise is
    for a moment.
    """
    return _attention_class().apply(q, k, v, mask, p_drop, causal, scale, bits, code_bits)


def coded_softmax(x: Any, code_bits: int, forward: Any) -> Any:
    """Return forward(x), a softmax over the last axis, whose gradient is taken with the code of its entries."""
    return _softmax_class().apply(x, code_bits, forward)


def _encode(p: Any, m: int) -> Any:
    """Return the codes of rows of the softmax."""
    import torch

    peak = p.amax(-1, keepdim=True).clamp_min(1e-30)
    return torch.sqrt(p / peak).mul_(m).round_().to(torch.uint8)


def _decode(packed: Any, table: CodeTable, shape: Any, kind: Any) -> Any:
    """Return rows of the softmax, which sum to one (or zero where all of a row is masked)."""
    s = table.values(packed, math.prod(shape), kind).reshape(shape)
    return s / s.sum(-1, keepdim=True).clamp_min(1e-30)


def _groups(shape: Any, like: Any) -> Iterator[tuple[slice, slice]]:
    """Return the samples and heads that are done at a time, of a softmax (B, H, T, S): some heads, or whole samples."""
    step = max(1, HELD * at_a_time(like) // CHUNK // max(1, shape[2] * shape[3]))
    samples = max(1, step // max(1, shape[1]))
    for b in range(0, shape[0], samples):
        for h in range(0, shape[1], step):
            yield slice(b, min(b + samples, shape[0])), slice(h, min(h + step, shape[1]))


def _store(x: Any, bits: int) -> tuple[Any, Any]:
    return (x, None) if bits == 32 else row_codes(x.detach(), bits)


def _load(codes: Any, scale: Any, kind: Any, b: slice, hs: slice) -> Any:
    if scale is None:
        return codes[b, hs].to(kind)
    return row_values(codes[b, hs], scale[b, hs], kind)


@functools.cache
def _attention_class() -> Any:
    import torch

    class CodedAttention(torch.autograd.Function):
        """(q, k, v, ...) -> softmax(q k^T) v."""

        @staticmethod
        def forward(
            ctx: Any,
            q: Any,
            k: Any,
            v: Any,
            mask: Any,
            p_drop: float,
            causal: bool,
            scale: Any,
            bits: int,
            code_bits: int,
        ) -> Any:
            device = q.device.type
            half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else q.dtype
            ctx.scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
            ctx.kinds, ctx.p_drop, ctx.shape = (q.dtype, k.dtype, v.dtype), p_drop, (*q.shape[:3], k.shape[2])
            ctx.table, kind = square_table(code_bits), torch.float64 if q.dtype == torch.float64 else torch.float32
            if mask is not None:
                mask = mask.expand(ctx.shape)
            noise = draw_noise(torch.empty(ctx.shape, dtype=half, device=q.device), p_drop) if p_drop else None
            out = torch.empty(*q.shape[:3], v.shape[-1], dtype=half, device=q.device)
            codes, dropped, none = [], [], torch.empty(0, dtype=torch.uint8, device=q.device)
            with torch.autocast(device, enabled=False):
                for b, hs in _groups(ctx.shape, q):
                    s = (q[b, hs].to(kind) * ctx.scale) @ k[b, hs].to(kind).transpose(-1, -2)
                    p = _softmax(s, None if mask is None else mask[b, hs], causal)
                    codes.append(pack_bits(_encode(p, 2**code_bits - 1).reshape(-1), code_bits))
                    if noise is not None:
                        z = noise[b, hs]
                        dropped.append(keep_bits(z))
                        p = p * z.to(kind)
                    out[b, hs] = p @ v[b, hs].to(kind)
                kept = [part for x in (q, k, v) for part in _store(x, bits)]
            ctx.save_for_backward(torch.cat(codes or [none]), torch.cat(dropped) if dropped else None, *kept)
            return out

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> tuple[Any, ...]:
            return *_gradients(ctx, g), *[None] * 6

    return CodedAttention


def _softmax(s: Any, mask: Any, causal: bool) -> Any:
    """Return the softmax of scores (b, h, T, S), in place where it can be."""
    import torch

    if causal:
        later = torch.ones(s.shape[-2:], dtype=torch.bool, device=s.device).triu_(1)
        s.masked_fill_(later, -math.inf)
    if mask is None:
        return torch.softmax(s, -1)
    s = s.masked_fill_(~mask, -math.inf) if mask.dtype == torch.bool else s.add_(mask)
    nothing = s.amax(-1, keepdim=True) == -math.inf
    p = torch.softmax(s, -1)
    return p.masked_fill_(nothing, 0.0)


def _gradients(ctx: Any, g: Any) -> tuple[Any, Any, Any]:
    import torch

    packed, dropped, q, q_scale, k, k_scale, v, v_scale = ctx.saved_tensors
    kind = torch.float64 if torch.float64 in ctx.kinds else torch.float32
    grads = [torch.empty(x.shape, dtype=t, device=x.device) for x, t in zip((q, k, v), ctx.kinds, strict=True)]
    at = bit = 0
    for b, hs in _groups(ctx.shape, q):
        shape = (b.stop - b.start, hs.stop - hs.start, *ctx.shape[2:])
        count = math.prod(shape)
        size, bit_size = bytes_of(count, ctx.table.bits), bytes_of(count, 1)
        s = _decode(packed[at : at + size], ctx.table, shape, kind)
        upstream = g[b, hs].to(kind)
        dp = upstream @ _load(v, v_scale, kind, b, hs).transpose(-1, -2)
        shown = s
        if dropped is not None:
            z = _mask(ctx, dropped[bit : bit + bit_size], shape, kind)
            shown, dp = s * z, dp.mul_(z)
        grads[2][b, hs] = shown.transpose(-1, -2) @ upstream
        ds = dp.sub_((s * dp).sum(-1, keepdim=True)).mul_(s).mul_(ctx.scale)
        grads[0][b, hs] = ds @ _load(k, k_scale, kind, b, hs)
        grads[1][b, hs] = ds.transpose(-1, -2) @ _load(q, q_scale, kind, b, hs)
        at, bit = at + size, bit + bit_size
    return grads[0], grads[1], grads[2]


def _mask(ctx: Any, bits: Any, shape: Any, kind: Any) -> Any:
    """Return the noise of dropout."""
    return square_table(1).values(bits, math.prod(shape), kind).reshape(shape).mul_(1 / (1 - ctx.p_drop))


@functools.cache
def _softmax_class() -> Any:
    import torch

    class CodedSoftmax(torch.autograd.Function):
        """(x, bits, forward) -> softmax(x) over the last axis."""

        @staticmethod
        def forward(ctx: Any, x: Any, code_bits: int, forward: Any) -> Any:
            y = forward(x)
            rows = y.detach().reshape(-1, y.shape[-1])
            step = max(8, at_a_time(y) // max(1, y.shape[-1]) // 8 * 8)
            parts = [
                pack_bits(
                    _encode(part if part.dtype == torch.float64 else part.float(), 2**code_bits - 1).reshape(-1),
                    code_bits,
                )
                for part in rows.split(step)
            ]
            ctx.save_for_backward(torch.cat(parts))
            ctx.table, ctx.kind, ctx.step = square_table(code_bits), x.dtype, step
            return y

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx: Any, g: Any) -> Any:
            (packed,) = ctx.saved_tensors
            rows = g.reshape(-1, g.shape[-1])
            kind = torch.float64 if g.dtype == torch.float64 else torch.float32
            dx, at = torch.empty(rows.shape, dtype=ctx.kind, device=g.device), 0
            for first in range(0, len(rows), ctx.step):
                part = rows[first : first + ctx.step].to(kind)
                size = bytes_of(part.numel(), ctx.table.bits)
                s = _decode(packed[at : at + size], ctx.table, part.shape, kind)
                dx[first : first + ctx.step] = s * (part - (s * part).sum(-1, keepdim=True))
                at += size
            return dx.reshape(g.shape), None, None

    return CodedSoftmax
