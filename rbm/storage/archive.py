"""Reads and writes arrays and a header in one file, portable and checked.

A file is an uncompressed zip archive: ``header.json`` (format name, version, kind, names, numbers, expressions, and the
SHA-256 of every array and of the header itself, which detect damage, not forgery) and one ``.npy`` per array. It is
read with every check on (:mod:`lowrank.reading`) and without pickle: nothing in it can be executed. It is written to a
temporary file beside the target, flushed to disk and renamed, so that an interrupted save leaves the old file
untouched.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.reading import FileFormatError, array_from, json_from, read_bytes, read_members
from lowrank.writing import write_atomically

__all__ = ["header_digest", "read_archive", "write_archive"]

FORMAT = "rbm-toolkit"
VERSION = 1
HEADER = "header.json"
#: What messages call a file that is none.
WHAT = "model file"


def write_archive(target: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write header (JSON values) and arrays; the same content gives the same bytes."""
    blobs = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
        blobs[name] = buffer.getvalue()
    sums = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
    header = {"format": FORMAT, "version": VERSION, **header, "sha256": sums}
    header["header_sha256"] = header_digest(header)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        members = {HEADER: json.dumps(header, indent=1).encode()} | {f"{n}.npy": b for n, b in blobs.items()}
        for name, blob in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), blob)  # same model, same bytes
    write_atomically(target, content.getvalue())


def header_digest(header: dict[str, Any]) -> str:
    """Return the SHA-256 of a header without its own checksum."""
    content = {k: v for k, v in header.items() if k != "header_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


#: What to do with a file of another kind than was asked for.
OTHER = {
    "greedy run": "; rbm.greedy(model, training, resume=file) goes on with it and returns its reduced model",
    "reduced model": "; rbm.load(file) reads it",
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
