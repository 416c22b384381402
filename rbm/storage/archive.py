"""Reads and writes arrays and a header in one file, portable and checked.

A file is an uncompressed zip archive: ``header.json`` (format name, version, kind, names, numbers, expressions, and the
SHA-256 of every array and of the header itself, which detect damage, not forgery) and one ``.npy`` per array. It is
read with every check on (:mod:`lowrank.reading`) and without pickle: nothing in it can be executed. It is written to a
temporary file beside the target, flushed to disk and renamed, so that an interrupted save leaves the old file
untouched.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lowrank.reading import FileFormatError, array_from, json_from, read_bytes, read_members
from lowrank.writing import write_atomically

__all__ = ["SideBySide", "header_digest", "read_archive", "write_archive"]

FORMAT = "rbm-toolkit"
VERSION = 1
HEADER = "header.json"
#: What messages call a file that is none.
WHAT = "model file"


@dataclass(frozen=True, eq=False)
class SideBySide:
    """An array (n, k) as its pieces (n, k_i), which are written without being joined."""

    pieces: Sequence[np.ndarray]


def write_archive(target: Path, header: dict[str, Any], arrays: Mapping[str, np.ndarray | SideBySide]) -> None:
    """Write header (JSON values) and arrays; the same content gives the same bytes.

    Memory: 16 MB beside the arrays, which are read twice, once for their checksums.
    """
    counted = {name: _Counted() for name in arrays}
    for name, array in arrays.items():
        _write_array(counted[name], array)
    sums = {name: found.sha256.hexdigest() for name, found in counted.items()}
    header = {"format": FORMAT, "version": VERSION, **header, "sha256": sums}
    header["header_sha256"] = header_digest(header)
    text = json.dumps(header, indent=1).encode()

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_member(HEADER, len(text)), text)
            for name, array in arrays.items():
                with archive.open(_member(f"{name}.npy", counted[name].size), "w") as member:
                    _write_array(member, array)

    write_atomically(target, write)


class _Counted:
    """What takes bytes, and keeps their number and their SHA-256."""

    def __init__(self) -> None:
        self.size, self.sha256 = 0, hashlib.sha256()

    def write(self, content: bytes) -> None:
        self.size += len(content)
        self.sha256.update(content)


def _member(name: str, size: int) -> zipfile.ZipInfo:
    """Return the entry of a member of an archive: without the time, as the same model is to give the same bytes."""
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    member.file_size = size
    return member


def _write_array(file: Any, array: np.ndarray | SideBySide) -> None:
    """Write an array as an .npy file, in parts of 16 MB; pieces as the array of their columns, one after the other."""
    pieces = array.pieces if isinstance(array, SideBySide) else [array]
    if len(pieces) == 1:
        np.lib.format.write_array(file, np.asarray(pieces[0]), allow_pickle=False)
        return
    n, dtype = len(pieces[0]), np.result_type(*pieces)
    shape = n, sum(piece.shape[1] for piece in pieces)
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": True, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    for piece in pieces:
        for column in piece.T:
            file.write(column.astype(dtype, copy=False).tobytes())


def header_digest(header: dict[str, Any]) -> str:
    """Return the SHA-256 of a header without its own checksum."""
    content = {k: v for k, v in header.items() if k != "header_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


#: What to do with a file of another kind than was asked for.
OTHER = {
    "greedy run": "; rbm.greedy(model, training, resume=file) goes on with it and returns its reduced model",
    "reduced model": "; rbm.load(file) reads it",
    "partitioned model": "; rbm.load(file) reads it",
    "partitioned greedy run": "; rbm.greedy(model, training, ..., split=True, resume=file) goes on with it",
    "reduced time model": "; rbm.load(file) reads it",
    "POD-greedy run": "; rbm.pod_greedy(model, training, resume=file) goes on with it and returns its reduced model",
}


def read_archive(
    path: str | os.PathLike[str], kind: str | tuple[str, ...], *, key: str | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of a file of the given kind, or of one of several.

    key : of a cache, what the file must be about. It is compared with the header's "key", so that a file under
        another's name is found; files of before there were keys have none, and are taken by their names

    Raises FileNotFoundError, and FileFormatError for a file that is truncated, altered, of another version, kind or
    key, or holds anything but plain numbers. Nothing in it is run.
    """
    name = os.fspath(path)

    def accept(names: list[str]) -> None:
        if HEADER not in names:
            raise FileFormatError(f"{name} is not a model file of this package: it has no header")

    blobs = read_members(name, read_bytes(path), accept, kind=WHAT)
    header = json_from(name, blobs.pop(HEADER), kind=WHAT)
    if header.get("format") != FORMAT:
        raise FileFormatError(f"{name} is not a model file of this package")
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise FileFormatError(
            f"{name} has file version {version}, this package reads up to {VERSION}; upgrade rbm-toolkit"
        )
    try:
        whole = header.get("header_sha256") == header_digest(header)
    except RecursionError:  # nested just so deep that it can be read, but not written
        whole = False
    if not whole:
        raise FileFormatError(
            f"{name} was altered: its header does not match its checksum; make it again or copy it anew"
        )
    held = header.get("kind")
    kinds = (kind,) if isinstance(kind, str) else kind
    if held not in kinds:
        raise FileFormatError(f"{name} holds a {held}, not a {kinds[0]}{OTHER.get(str(held), '')}")
    if key is not None and header.get("key", key) != key:
        raise FileFormatError(f"{name} holds {header['key']}, not {key}: it was renamed or copied over another file")
    expected = header.get("sha256")
    if not isinstance(expected, dict) or {f"{n}.npy" for n in expected} != set(blobs):
        raise FileFormatError(f"{name} was altered: its arrays are not the ones its header lists")
    arrays = {}
    for entry, checksum in expected.items():
        blob = blobs[f"{entry}.npy"]
        if hashlib.sha256(blob).hexdigest() != checksum:
            raise FileFormatError(f"{name} was altered or damaged: array {entry!r} does not match its checksum")
        arrays[entry] = array_from(name, entry, blob)
    return header, arrays
