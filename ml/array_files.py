"""Files of arrays, NumPy's .npz or .safetensors, whose names are checked before an array of them is read.

A SHA-256 of all names, types, shapes and entries stands beside the arrays: .safetensors has no checksum of its own,
.npz one for each array, which does not see that two of them have changed places. It detects damage, not forgery.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require
from lowrank.reading import FileFormatError, array_from, digest, json_from, read_bytes, read_members
from lowrank.writing import write_atomically

__all__ = ["CHECKSUM", "SUFFIXES", "checksum_of", "pop_checksum", "read_arrays", "suffix_of", "write_arrays"]

#: The key of the checksum.
CHECKSUM = "sha256"
SUFFIXES = (".npz", ".safetensors")
Accept = Callable[[list[str]], None]


def suffix_of(path: str | os.PathLike[str], suffixes: Sequence[str] = SUFFIXES) -> str:
    """Return the suffix, which decides the format. Raises ValueError for another one than these."""
    suffix = Path(path).suffix
    if suffix not in suffixes:
        raise ValueError(f"the file name must end in {' or '.join(suffixes)}, got {os.fspath(path)!r}")
    return suffix


def read_arrays(
    path: str | os.PathLike[str], accept: Accept, kind: str, suffixes: Sequence[str] = SUFFIXES
) -> dict[str, Any]:
    """Return all arrays of a file by name. Nothing in it is run, and it is never larger than what is read of it.

    accept : looks at the names, and raises if they are not the ones it expects, before any array is read: a small
        foreign file may unpack to anything
    kind : what messages call a file that is none

    Raises FileNotFoundError, FileFormatError for a file that is damaged or holds something else, ValueError for another
    suffix and for a folder, ImportError without safetensors for its suffix.
    """
    suffix, name = suffix_of(path, suffixes), os.fspath(path)
    if Path(path).is_dir():
        raise ValueError(f"{name} is a folder; give the name of a file")
    content = read_bytes(path)
    return _npz(name, content, accept, kind) if suffix == ".npz" else _safetensors(name, content, accept, kind)


def write_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], suffixes: Sequence[str] = SUFFIXES
) -> None:
    """Write arrays by name, with their checksum, to a file whose suffix decides the format: whole or not at all.

    Raises ValueError for another suffix, ImportError without safetensors for its suffix.
    """
    suffix, checked = suffix_of(path, suffixes), {**arrays, CHECKSUM: checksum_of(dict(arrays))}
    if suffix == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **checked)
        content = buffer.getvalue()
    else:
        package = require("safetensors.numpy", "safetensors", "a .safetensors file", "ml")
        content = package.save({k: np.array(a, order="C") for k, a in checked.items()})
    write_atomically(path, content)


def checksum_of(arrays: dict[str, Any]) -> np.ndarray:
    """Return the entry of :data:`CHECKSUM` for arrays by name, uint8 (32,)."""
    return np.frombuffer(bytes.fromhex(digest(arrays)), np.uint8)


def pop_checksum(name: str, arrays: dict[str, Any]) -> None:
    """Take the checksum out of the arrays of a file; raise FileFormatError where they do not match it."""
    checksum = arrays.pop(CHECKSUM)
    if not np.array_equal(checksum, checksum_of(arrays)):
        raise FileFormatError(
            f"{name} was altered or damaged: its arrays do not match their checksum; write it again or copy it anew"
        )


def _npz(name: str, content: bytes, accept: Accept, kind: str) -> dict[str, np.ndarray]:
    def accept_members(members: list[str]) -> None:
        accept([member.removesuffix(".npy") for member in members])
        if not all(member.endswith(".npy") for member in members):
            raise FileFormatError(f"{name} is not a whole file of a {kind}: it has other members than arrays")

    members = read_members(name, content, accept_members, kind=kind)
    return {n.removesuffix(".npy"): array_from(name, n.removesuffix(".npy"), blob) for n, blob in members.items()}


def _safetensors(name: str, content: bytes, accept: Accept, kind: str) -> dict[str, Any]:
    """Return the same; the header is read first: a model's file may hold types that NumPy lacks."""
    package = require("safetensors.numpy", "safetensors", "a .safetensors file", "ml")
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > len(content) - 8:
        raise FileFormatError(
            f"{name} is no .safetensors file, or is truncated or damaged: it has {len(content)} bytes, its header "
            f"{length}; write it again or copy it anew"
        )
    header = json_from(name, content[8 : 8 + length], kind=kind)
    accept([key for key in header if key != "__metadata__"])
    try:
        return dict(package.load(content))
    except Exception as error:  # its own errors, and KeyError, TypeError, ValueError of NumPy
        raise FileFormatError(
            f"{name} is damaged or no .safetensors file ({error}); write it again or copy it anew"
        ) from error
