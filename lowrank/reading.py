"""Files of arrays, read with all checks on, as they may be damaged or altered."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["FileFormatError", "array_from", "digest", "json_from", "read_bytes", "read_members"]

#: Bytes of a JSON text that describes arrays; most have a few thousand.
MAX_JSON = 1 << 26
#: Kinds of entries: bool, integers, floating-point and complex numbers.
NUMBERS = "biufc"


DAMAGED = "{} is not a {}, or is truncated or damaged ({}); make it again or copy it anew"


class FileFormatError(ValueError):
    """A file that is not a whole, unaltered file of this package, of a version it reads."""


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a file or a pipe.

    Raises OSError if there is none or it is a folder, and FileFormatError for a device, which may never end
    (/dev/zero).
    """
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise FileFormatError(f"{os.fspath(path)} is a device, not a file; give the name of a file")
        return file.read()


def read_members(
    name: str, content: bytes, accept: Callable[[list[str]], None], *, kind: str = "file of arrays"
) -> dict[str, bytes]:
    """Return the members of an uncompressed zip archive by their names; `name` stands in the messages.

    accept : looks at the names, and raises if they are not the ones it expects, before anything is read

    Members that are compressed, that stand twice or that claim more bytes than the file has are refused before anything
    is unpacked: what is read is never larger than the file. Raises FileFormatError for all that zipfile raises on
    damaged archives.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            accept([m.filename for m in members])
            if any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members):
                raise FileFormatError(
                    f"{name} is not a {kind} of this package: its members are compressed, ours never are; nothing of "
                    "it was unpacked"
                )
            if sum(m.file_size for m in members) > len(content):
                raise FileFormatError(f"{name} is damaged: its members claim more bytes than the {len(content)} it has")
            if len({m.filename for m in members}) < len(members):
                raise FileFormatError(f"{name} is damaged or was altered: a member stands in it twice")
            return {m.filename: archive.read(m) for m in members}
    except FileFormatError:
        raise
    except Exception as error:  # zipfile: BadZipFile, ValueError, OSError, struct.error, NotImplementedError and more
        raise FileFormatError(DAMAGED.format(name, kind, _said(error))) from error


def json_from(name: str, text: bytes, *, kind: str = "file of arrays") -> dict[str, Any]:
    """Return the object that a JSON text holds.

    Raises FileFormatError if it is too long or damaged, or holds something else.
    """
    if len(text) > MAX_JSON:
        raise FileFormatError(f"{name} is not a {kind} of this package: its header has {len(text)} bytes")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(DAMAGED.format(name, kind, _said(error))) from error
    if not isinstance(found, dict):
        raise FileFormatError(f"{name} is not a {kind} of this package: its header is no object")
    return found


def array_from(name: str, key: str, blob: bytes) -> np.ndarray:
    """Return the array that the bytes of an .npy file hold, in the byte order of this machine; nothing in it is run.

    Raises FileFormatError, before memory is taken, for pickled objects, other entries than numbers, and a shape that
    does not fit the bytes that are there.
    """
    try:
        stream = io.BytesIO(blob)
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"its layout has version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(stream)
        if dtype.kind not in NUMBERS:
            raise ValueError(f"dtype {dtype}")
        length, count = len(blob) - stream.tell(), 1
        for extent in shape:
            if type(extent) is not int or extent < 0:
                raise ValueError(f"shape {shape}")
            count *= extent
        if count * dtype.itemsize != length:
            raise ValueError(f"shape {shape} of {dtype} needs {count * dtype.itemsize} bytes, it has {length}")
        if len(shape) > 32:
            raise ValueError(f"{len(shape)} dimensions")
    except Exception as error:
        # SyntaxError, TokenError, RecursionError, TypeError, ValueError: as the header is parsed as Python
        raise FileFormatError(
            f"{name} holds an array {key!r} that is not plain numbers ({_said(error)}); it was not read"
        ) from error
    flat = np.frombuffer(blob, dtype, count, len(blob) - length)
    return flat.reshape(shape, order="F" if by_columns else "C").astype(dtype.newbyteorder("="), order="K", copy=True)


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, types, shapes and entries, whatever the order of names, of bytes and of memory."""
    found = hashlib.sha256()
    for key in sorted(arrays):
        array = np.asarray(arrays[key])
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        found.update(f"{key!r} {little.dtype.str} {array.shape} ".encode())
        found.update(little.tobytes())
    return found.hexdigest()


def _said(error: Exception) -> str:
    """Return the message of an error in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
