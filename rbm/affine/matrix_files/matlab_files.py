"""MATLAB's files of versions 5 to 7, read with NumPy and zlib alone.

A file is a header of 128 bytes and elements, one a variable: a tag (type, number of bytes), then data, packed or not. A
variable is again made of elements: flags, shape, name, and its parts. Readers in compiled code that trust these numbers
can be brought down by a damaged file; here each is compared with the bytes that are there.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.matrix_files.claims import INFLATION, check_rows, numbers
from rbm.errors import FileFormatError

__all__ = ["is_matlab", "read_matlab"]

HEADER = 128
#: Types of elements that hold numbers, by their codes.
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
VARIABLE, PACKED = 14, 15
#: Classes of variables: sparse, and dense from double to 64-bit integers.
SPARSE, DENSE = 5, range(6, 16)
COMPLEX = 0x0800


class _Wrong(Exception):
    """What is wrong with a variable."""


def is_matlab(start: bytes) -> bool:
    """Return True for the header of a file of version 5, as all since then have it."""
    return start.startswith(b"MATLAB 5.0 MAT-file") or start[126:128] in (b"IM", b"MI")


def read_matlab(name: str, content: bytes) -> dict[str, Any]:
    """Return the numeric arrays and sparse matrices of a file by name; structures, cells and texts are left out."""
    order = ">" if content[126:128] == b"MI" else "<"
    elements, made = _Elements(content, HEADER, order), {}
    try:
        while elements.left:
            kind, data = elements.take(padded=False)
            if kind == PACKED:
                kind, data = _Elements(_unpacked(data, order), 0, order).take()
            found = _variable(_Elements(data, 0, order)) if kind == VARIABLE and data else None
            if found is not None:
                key, value = found
                if sp.issparse(value):
                    check_rows(f"{name}: {key}", value.shape, len(content))
                made[key] = numbers(f"{name}: {key}", value)
    except _Wrong as error:
        raise FileFormatError(f"{name} is not a whole MATLAB file: {error}; write it anew") from error
    return made


class _Elements:
    """Reads one element after the other."""

    def __init__(self, content: bytes, at: int, order: str) -> None:
        self.content, self.at, self.order = content, at, order

    @property
    def left(self) -> bool:
        return self.at < len(self.content)

    def take(self, padded: bool = True) -> tuple[int, bytes]:
        """Return type and bytes of the next element.

        padded : the next one begins at a multiple of 8 bytes, as all do but those of the file that are packed
        """
        begin = self.at
        tag = np.frombuffer(self.content[begin : begin + 8].ljust(8, b"\0"), f"{self.order}u4").tolist()
        if begin + 8 > len(self.content):
            raise _Wrong(f"it ends in the middle of a tag, at byte {begin}")
        if tag[0] >> 16:  # up to four bytes stand in the tag itself
            kind, size, start = tag[0] & 0xFFFF, tag[0] >> 16, begin + 4
            self.at = begin + 8
        else:
            kind, size, start = tag[0], tag[1], begin + 8
            self.at = start + size + (-size % 8 if padded or kind != PACKED else 0)
        if size > (4 if start == begin + 4 else len(self.content) - start):
            raise _Wrong(f"an element at byte {begin} claims {size} bytes, {len(self.content) - start} are left")
        return kind, self.content[start : start + size]

    def numbers(self, what: str) -> np.ndarray:
        """Return the next element as numbers."""
        kind, data = self.take()
        if kind not in NUMBERS or len(data) % int(NUMBERS[kind][1]):
            raise _Wrong(f"the {what} of a variable have the type {kind} and {len(data)} bytes")
        return np.frombuffer(data, self.order + NUMBERS[kind])


def _unpacked(data: bytes, order: str) -> bytes:
    """Return a packed element, which says in its first bytes how long it is."""
    stream = zlib.decompressobj()
    try:
        tag = stream.decompress(data, 8)
        claimed = int(np.frombuffer(tag.ljust(8, b"\0"), f"{order}u4")[1])
        if claimed > INFLATION * len(data):
            raise _Wrong(f"a variable claims {claimed} bytes, packed in {len(data)}")
        rest = stream.decompress(stream.unconsumed_tail, claimed + 1)
    except zlib.error as error:
        raise _Wrong(str(error)) from error
    if len(rest) != claimed:
        raise _Wrong(f"a variable claims {claimed} bytes, and has {'more' if len(rest) > claimed else len(rest)}")
    return tag + rest


def _variable(parts: _Elements) -> tuple[str, Any] | None:
    """Return name and value of a variable; None for one that is no array of numbers."""
    flags = parts.numbers("flags")
    kind, is_complex = int(flags[0]) & 0xFF if len(flags) else 0, bool(len(flags) and int(flags[0]) & COMPLEX)
    if kind != SPARSE and kind not in DENSE:
        return None
    shape, name = parts.numbers("dimensions").tolist(), bytes(parts.take()[1]).decode("latin-1")
    if len(shape) < 2 or not all(isinstance(extent, int) and extent >= 0 for extent in shape):
        raise _Wrong(f"{name!r} has the shape {shape}")
    indices = [parts.numbers("indices") for _ in range(2)] if kind == SPARSE else []
    values = np.array(parts.numbers("entries"), dtype=float)
    if is_complex:
        imaginary = parts.numbers("imaginary parts")
        if imaginary.shape != values.shape:
            raise _Wrong(f"{name!r} has {len(values)} real and {len(imaginary)} imaginary parts")
        values = values + 1j * imaginary
    if kind == SPARSE:
        return name, _sparse(name, shape, values, indices)
    count = 1
    for extent in shape:
        count *= extent
    if count != len(values) or len(shape) > 32:
        raise _Wrong(f"{name!r} of shape {tuple(shape)} has {len(values)} entries")
    return name, values.reshape(shape, order="F")


def _sparse(name: str, shape: list[int], values: np.ndarray, indices: list[np.ndarray]) -> Any:
    """Return a sparse matrix, stored by columns; there may be room for more entries than there are."""
    rows, pointers = indices
    try:
        if len(shape) != 2 or any(part.dtype.kind not in "iu" for part in indices):
            raise ValueError("it needs two axes, and whole numbers for indices")
        count = int(pointers[-1])
        if not 0 <= count <= min(len(rows), len(values)):
            raise ValueError(f"{count} entries, of which {min(len(rows), len(values))} are there")
        made = sp.csc_array((values[:count], rows[:count].astype(np.int64), pointers.astype(np.int64)), shape=shape)
        made.check_format(full_check=True)
        return made
    except Exception as error:
        raise _Wrong(f"the arrays of the sparse matrix {name!r} do not fit each other: {error}") from error
