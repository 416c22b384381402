"""Codes of a few bits as packed tensors of PyTorch, and tables that read them back: fast, and laid out as lowrank's."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from lowrank.packing import bytes_of
from ml.tuning.derivative_code import DerivativeCode

__all__ = ["CHUNK", "CodeTable", "at_a_time", "pack_bits", "row_codes", "row_values", "unpack_bits"]

#: Entries coded at a time: what is held on the side stays in the cache, and codes of a chunk fill whole bytes.
CHUNK = 1 << 16
#: The same elsewhere than on a CPU, where every kernel that is started costs microseconds: 16 MB in single precision.
LARGE_CHUNK = 1 << 22
#: Cells between the first and the last threshold; a threshold is moved by half a cell at most.
CELLS = 1 << 14


def at_a_time(x: Any) -> int:
    """Return how many entries of a tensor are coded at a time."""
    return CHUNK if x.device.type == "cpu" else LARGE_CHUNK


def pack_bits(codes: Any, bits: int) -> Any:
    """Return codes uint8 (n,) below 2^bits as bytes (ceil(n bits / 8),), laid out as :func:`lowrank.packing.pack` does.

    Eight, four or two codes are read as one integer, so that no code is touched alone.
    """
    import torch
    from torch.nn import functional

    count = codes.numel()
    if bits == 8:
        return codes.clone()
    whole = 8 // bits if bits in (1, 2, 4) else 8
    if count % whole:
        codes = functional.pad(codes, (0, -count % whole))
    if bits == 4:
        w = codes.view(torch.int16)
        packed = ((w << 4) | (w >> 8)).to(torch.uint8)
    elif bits == 2:
        w = codes.view(torch.int32)
        packed = ((w << 6) | (w >> 4) | (w >> 14) | (w >> 24)).to(torch.uint8)
    elif bits == 1:  # the product moves bit 8 i to bit 63 - i
        packed = ((codes.view(torch.int64) * -0x7FBFDFEFF7FBFDFF) >> 56).to(torch.uint8)
    else:
        parts = codes.view(-1, 8).to(torch.int64)
        v = functools.reduce(lambda a, b: a | b, [parts[:, i] << (bits * (7 - i)) for i in range(8)])
        packed = torch.stack([(v >> (8 * (bits - 1 - j))) & 255 for j in range(bits)], 1).to(torch.uint8).reshape(-1)
    return packed[: bytes_of(count, bits)]


def unpack_bits(packed: Any, bits: int, count: int) -> Any:
    """Return the codes uint8 (count,) of bytes (ceil(count bits / 8),)."""
    import torch
    from torch.nn import functional

    if bits == 8:
        return packed
    if bits in (1, 2, 4):
        shifts = torch.arange(8 - bits, -1, -bits, dtype=torch.uint8, device=packed.device)
        return ((packed[:, None] >> shifts) & (2**bits - 1)).reshape(-1)[:count]
    parts = functional.pad(packed, (0, -packed.numel() % bits)).view(-1, bits).to(torch.int64)
    v = functools.reduce(lambda a, b: a | b, [parts[:, j] << (8 * (bits - 1 - j)) for j in range(bits)])
    return (
        torch.stack([(v >> (bits * (7 - i))) & (2**bits - 1) for i in range(8)], 1).to(torch.uint8).reshape(-1)[:count]
    )


class CodeTable:
    """A :class:`ml.DerivativeCode` as tables of PyTorch.

    Thresholds are rounded to multiples of a power of two, 2^-14 of their span or less, so that the cell of x is
    ceil(x / step), which is exact, and its code is read from a table. Thresholds at zero stay.
    """

    def __init__(self, code: DerivativeCode) -> None:
        self.code, self.bits, self.levels = code, code.bits, code.levels
        t = np.asarray(code.thresholds, dtype=float)
        span = max(float(t[-1] - t[0]), 2.0**-10 * float(np.max(np.abs(t))), 2.0**-60) if len(t) else 1.0
        step = 2.0 ** math.ceil(math.log2(span / CELLS)) if len(t) and np.any(t) else 1.0
        places = np.rint(t / step)
        self.inverse, self.first = 1 / step, float(places[0]) if len(t) else 0.0
        self.last = int(places[-1] - places[0]) + 1 if len(t) else 0
        cells = self.first + np.arange(self.last + 1)
        self.table = np.asarray(code.codes[np.searchsorted(places, cells, side="left")], dtype=np.uint8)
        self._kept: dict[Any, Any] = {}

    def _tensor(self, key: str, array: Any, like: Any, dtype: Any = None) -> Any:
        import torch

        name = (key, like.device, dtype)
        if name not in self._kept:
            self._kept[name] = torch.as_tensor(array(), device=like.device, dtype=dtype).contiguous()
        return self._kept[name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": {}}

    def codes(self, x: Any) -> Any:
        """Return the codes uint8 (n,) of numbers (n,), single or double precision; NaN gets some code."""
        table = self._tensor("table", lambda: self.table, x)
        place = (x * self.inverse).ceil_().sub_(self.first).clamp_(0, self.last)
        # NaN survives the first clamp, and becomes some integer
        return table.index_select(0, place.int().clamp_(0, self.last))

    def pack(self, x: Any) -> Any:
        """Return the packed codes of a tensor, chunk by chunk."""
        import torch

        flat = x.detach().reshape(-1)
        packed = torch.empty(bytes_of(flat.numel(), self.bits), dtype=torch.uint8, device=flat.device)
        chunk = at_a_time(flat)
        for first in range(0, flat.numel(), chunk):
            part = flat[first : first + chunk]
            part = part.float() if part.dtype in (torch.float16, torch.bfloat16) else part
            at, codes = first * self.bits // 8, pack_bits(self.codes(part), self.bits)
            packed[at : at + codes.numel()] = codes
        return packed

    def values(self, packed: Any, count: int, dtype: Any) -> Any:
        """Return the levels (count,) of packed codes."""
        import torch

        if self.bits not in (1, 2, 4, 8):
            levels = self._tensor("levels", lambda: self.levels, packed, dtype)
            return levels.index_select(0, unpack_bits(packed, self.bits, count).int())
        rows = self._tensor("rows", self._rows, packed, dtype)
        if self.bits == 4 and dtype == torch.float32:  # a byte stands for two floats, which are moved as one number
            pairs = rows.view(torch.int64).reshape(-1)
            return pairs.index_select(0, packed.int()).view(torch.float32)[:count]
        return rows.index_select(0, packed.int()).reshape(-1)[:count]

    def _rows(self) -> np.ndarray:
        """Return the levels that each byte stands for (256, 8 / bits)."""
        byte = np.arange(256)[:, None]
        codes = (byte >> np.arange(8 - self.bits, -1, -self.bits)) & (2**self.bits - 1)
        return np.asarray(self.levels)[np.minimum(codes, len(self.levels) - 1)]

    def multiply(self, g: Any, packed: Any) -> Any:
        """Return g times the levels of packed codes, chunk by chunk; in the type of g."""
        import torch

        flat = g.reshape(-1)
        result = torch.empty_like(flat)
        kind = torch.float64 if g.dtype == torch.float64 else torch.float32
        chunk = at_a_time(flat)
        for first in range(0, flat.numel(), chunk):
            part = flat[first : first + chunk]
            at = first * self.bits // 8
            codes = packed[at : at + bytes_of(part.numel(), self.bits)]
            result[first : first + chunk] = part * self.values(codes, part.numel(), kind)
        return result.reshape(g.shape)


def row_codes(x: Any, bits: int) -> tuple[Any, Any]:
    """Return integers of 8 or 16 bits (..., d) and one bfloat16 scale a row (..., 1), rounded up: x = scale integers.

    No entry is moved by more than half a scale, which is 2^-7 or 2^-15 of the row's largest entry, and 1 % more.
    """
    import torch

    most, kind = (127, torch.int8) if bits == 8 else (32767, torch.int16)
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    scale = (x.abs().amax(-1, keepdim=True) * ((1 + 2.0**-7) / most)).to(torch.bfloat16)
    return torch.round(x / scale.to(x.dtype).clamp_min(1e-30)).clamp_(-most, most).to(kind), scale


def row_values(codes: Any, scale: Any, dtype: Any) -> Any:
    """Return the numbers of :func:`row_codes`; multiplied in single precision, as float16 has no such small scales."""
    import torch

    kind = torch.float64 if dtype == torch.float64 else torch.float32
    return (codes.to(kind) * scale.to(kind)).to(dtype)
