"""Embedding tables rounded row by row to a few bits, for comparison with factorisations."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import as_matrix
from lowrank.packing import bytes_of, pack, unpack
from lowrank.quantizer import quantize
from ml.embeddings.report import EmbeddingReport, embedding_report
from ml.embeddings.token_ids import checked_ids

__all__ = ["RoundedEmbedding", "round_rows"]


@dataclass(frozen=True, eq=False)
class RoundedEmbedding:
    """Result of :func:`round_rows`: E_ij ~ unit scales_{i, j // group} q_ij, |q_ij| <= 2^{bits-1} - 1."""

    codes: np.ndarray  #: (V, ceil(H bits / 8)) bytes, q_ij + 2^{bits-1} packed bit by bit; (V, H) bytes for 8 bits
    scales: np.ndarray  #: (V, H / group), float16
    unit: float  #: power of two that scales are in
    bits: int
    width: int  #: H
    dtype: np.dtype  #: of the rows that :meth:`lookup` returns

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tokens and width (V, H)."""
        return len(self.codes), self.width

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes

    def lookup(self, ids: Any) -> np.ndarray:
        """Return the rows (..., H) of integer ids (...) of any shape.

        Raises IndexError and TypeError as :meth:`ml.FactorizedEmbedding.lookup`.
        """
        given = checked_ids(ids, self.shape[0])
        flat = given.reshape(-1)
        numbers = _unpacked(np.take(self.codes, flat, axis=0), self.bits, self.width).astype(self.dtype)
        steps = _steps(np.take(self.scales, flat, axis=0), self.unit, self.dtype)
        if self.width:
            groups = steps.shape[1]
            numbers = numbers.reshape(len(flat), groups, self.width // groups) * steps[:, :, None]
        return numbers.reshape(*given.shape, self.width)

    def to_dense(self) -> np.ndarray:
        """Return the table as an array (V, H)."""
        return self.lookup(np.arange(self.shape[0]))

    def report(self, table: Any, frequencies: Any = None) -> EmbeddingReport:
        """Return how near it is to `table` (V, H), and how much smaller.

        See :func:`ml.embeddings.report.embedding_report`.
        """
        return embedding_report(table, self, frequencies)

    def __repr__(self) -> str:
        v, h = self.shape
        group = f" in groups of {h // self.scales.shape[1]}" if self.scales.shape[1] > 1 else ""
        size = f"{self.nbytes:,} bytes of {v * h * self.dtype.itemsize:,}"
        return f"RoundedEmbedding({v} x {h}, int{self.bits}{group}, {size})"


def round_rows(table: Any, bits: int, *, group: int | None = None) -> RoundedEmbedding:
    """Round every row, or every `group` neighbours in a row, to integers times one scale.

    With q_max = 2^{bits-1} - 1, scale s = max |e_j| / q_max over the group, rounded to half precision, q_j = round(e_j
    / s): |e_j - s' q_j| <= s/2 (1 + 2^{2 - 11} q_max) + 2^{-24} q_max max s, where s' is the scale as it is stored; the
    second term is its rounding, the third one that of scales below 6e-5 of the largest, which half precision holds less
    well. The plainest scheme there is: neither calibration nor an optimal scale.

    Parameters
    ----------
    table : E (V, H), real, NumPy
    bits : 2 to 8
    group : entries of one scale, a divisor of H; by default H, one scale per row. Smaller groups follow large entries
        better, at 16 bits each

    Raises
    ------
    ValueError
        complex, NaN or infinite entries, other bits, a group that does not divide H.

    Notes
    -----
    The same numbers as `lowrank.quantize(table, bits, group=group, scales="float16")`, which has other bits, scales
    that are searched and levels for normal numbers, too. Scales below 1.5e-8 of the largest are zero.

    Examples
    --------
    >>> import numpy as np
    >>> rounded = round_rows(np.array([[7.0, -3.2, 0.4, 0.0]]), bits=4)
    >>> rounded, rounded.to_dense()
    (RoundedEmbedding(1 x 4, int4, 4 bytes of 32), array([[ 7., -3.,  0.,  0.]]))
    """
    table = as_matrix("table", table)
    if not isinstance(table, np.ndarray) or table.dtype.kind == "c":
        raise ValueError(f"only real NumPy tables are rounded, got {type(table).__name__} of {table.dtype}")
    v, h = table.shape
    group = max(h, 1) if group is None else operator.index(group)
    if not 2 <= operator.index(bits) <= 8:
        raise ValueError(f"bits must be 2 .. 8, got {bits}")
    if group < 1 or h % group:
        raise ValueError(f"group must divide the width {h}, got {group}")
    found = quantize(table, operator.index(bits), group=group, scales="float16")
    codes = found.codes.reshape(v, bytes_of(h, bits))
    scales = found.scales.reshape(v, h // group)
    unit = math.ldexp(1.0, found.exponent)
    return RoundedEmbedding(_signed(codes) if bits == 8 else codes, scales, unit, int(bits), h, table.dtype)


def _steps(scales: np.ndarray, unit: float, dtype: np.dtype) -> np.ndarray:
    """Return the value of one step of the integers; multiplied in double precision, in which the unit fits."""
    return (scales.astype(np.float64) * unit).astype(dtype)


def _packed(numbers: np.ndarray, bits: int) -> np.ndarray:
    codes = pack((numbers.astype(np.int32) + 2 ** (bits - 1)).astype(np.int32), bits)
    return _signed(codes) if bits == 8 else codes


def _unpacked(codes: np.ndarray, bits: int, width: int) -> np.ndarray:
    if bits == 8:
        return codes.view(np.int8)
    return (unpack(codes, bits, width).astype(np.int16) - 2 ** (bits - 1)).astype(np.int8)


def _signed(codes: np.ndarray) -> np.ndarray:
    """Return codes q + 128 as bytes that hold q itself: those of a table of 8 bits always did."""
    return codes ^ np.uint8(128)
