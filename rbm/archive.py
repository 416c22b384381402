"""Arrays and a header in one file: portable, checked, and never a program.

A file is an uncompressed zip archive: ``header.json`` (format name, version, kind, names, numbers, expressions, and the
SHA-256 of every array and of the header itself, which detect damage, not forgery) and one ``.npy`` per array. It is read with every check on and without
pickle: nothing in it can be executed. It is written to a temporary file beside the target, flushed to disk and renamed, so
that an interrupted save leaves the old file untouched.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tokenize
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.writing import write_atomically
from rbm.errors import FileFormatError

__all__ = ["header_digest", "read_archive", "write_archive"]

FORMAT = "rbm-toolkit"
VERSION = 1
MAX_HEADER = 1 << 20


def write_archive(target: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write header (JSON values) and arrays; the same content gives the same bytes."""
    blobs = {}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
        blobs[name] = buffer.getvalue()
    header = {
        "format": FORMAT,
        "version": VERSION,
        **header,
        "sha256": {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()},
    }
    header["header_sha256"] = header_digest(header)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, blob in {
            "header.json": json.dumps(header, indent=1).encode(),
            **{f"{n}.npy": b for n, b in blobs.items()},
        }.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), blob)  # same model, same bytes
    write_atomically(target, content.getvalue())


def header_digest(header: dict[str, Any]) -> str:
    """SHA-256 of a header without its own checksum."""
    return hashlib.sha256(
        json.dumps({k: v for k, v in header.items() if k != "header_sha256"}, sort_keys=True).encode()
    ).hexdigest()


def read_archive(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file of the given kind.

    Raises FileNotFoundError, and FileFormatError for a file that is truncated, altered, of another version or kind, or holds
    anything but plain numbers. Nothing in it is run.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        content = file.read()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if any(e.compress_type != zipfile.ZIP_STORED for e in entries) or sum(e.file_size for e in entries) > len(
                content
            ):
                raise FileFormatError(f"{name} is not a model file of this package: its entries are compressed")
            if "header.json" not in archive.namelist() or archive.getinfo("header.json").file_size > MAX_HEADER:
                raise FileFormatError(f"{name} is not a model file of this package: it has no header")
            header = json.loads(archive.read("header.json"))
            blobs = {e.filename: archive.read(e) for e in entries if e.filename != "header.json"}
    except (
        zipfile.BadZipFile,
        json.JSONDecodeError,
        UnicodeDecodeError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise FileFormatError(
            f"{name} is not a model file, or is truncated or damaged ({error}); make it again or copy it anew"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise FileFormatError(f"{name} is not a model file of this package")
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise FileFormatError(
            f"{name} has file version {version}, this package reads up to {VERSION}; upgrade rbm-toolkit"
        )
    if header.get("header_sha256") != header_digest(header):
        raise FileFormatError(
            f"{name} was altered: its header does not match its checksum; make it again or copy it anew"
        )
    if header.get("kind") != kind:
        raise FileFormatError(f"{name} holds a {header.get('kind')}, not a {kind}")
    expected = header.get("sha256")
    if not isinstance(expected, dict) or {f"{n}.npy" for n in expected} != set(blobs):
        raise FileFormatError(f"{name} was altered: its arrays are not the ones its header lists")
    arrays = {}
    for key, checksum in expected.items():
        blob = blobs[f"{key}.npy"]
        if hashlib.sha256(blob).hexdigest() != checksum:
            raise FileFormatError(f"{name} was altered or damaged: array {key!r} does not match its checksum")
        try:
            arrays[key] = np.lib.format.read_array(io.BytesIO(blob), allow_pickle=False)
        except (ValueError, MemoryError, EOFError, SyntaxError, tokenize.TokenError) as error:
            raise FileFormatError(
                f"{name} holds an array {key!r} that is not plain numbers ({error}); it was not read"
            ) from error
        if arrays[key].dtype.kind not in "biufc":
            raise FileFormatError(
                f"{name} holds an array {key!r} that is not plain numbers (dtype {arrays[key].dtype})"
            )
    return header, arrays
