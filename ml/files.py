"""Factorised embeddings in files: NumPy's .npz, or .safetensors."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.optional import require
from lowrank.writing import write_atomically
from ml.embedding import FactorizedEmbedding

__all__ = ["load_embedding", "save_embedding"]

#: Stands in every file, with the version of its layout.
MARK = "factorized_embedding"
VERSION = 1
NAMES = re.compile(r"place|(tokens|projection)_\d+")
SUFFIXES = (".npz", ".safetensors")


def save_embedding(embedding: FactorizedEmbedding, path: str | os.PathLike[str]) -> None:
    """Write T and P (tokens_0, projection_0, tokens_1, ...) and the place of the tokens; the suffix of the path decides the format.

    The file is written whole or not at all, and replaces one that is there. Arrays of a device are copied to the host.

    Raises
    ------
    ValueError
        another suffix than .npz or .safetensors, or entries that safetensors has no type for (complex128).
    ImportError
        safetensors is not installed, with the line that installs it.
    OSError
        a folder that does not exist or may not be written to.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> embedding = FactorizedEmbedding.random(100, 4, 16)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_embedding(embedding, f"{folder}/table.npz")
    ...     load_embedding(f"{folder}/table.npz")
    FactorizedEmbedding(100 x 16, rank 4, float32, 1,856 bytes of 6,400)
    """
    arrays = {MARK: np.array([VERSION, int(isinstance(embedding.tokens, tuple))])}
    for b, (tokens, projection) in enumerate(embedding.blocks):
        arrays[f"tokens_{b}"] = to_numpy(tokens)
        if projection is not None:
            arrays[f"projection_{b}"] = to_numpy(projection)
    if embedding.place is not None:
        arrays["place"] = embedding.place
    if _suffix(path) == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomically(path, buffer.getvalue())
        return
    safetensors = _package()
    try:
        content = safetensors.numpy.save(arrays)
    except (KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise ValueError(f"safetensors has no type for {embedding.dtype} ({error}); save as .npz") from error
    write_atomically(path, content)


def load_embedding(path: str | os.PathLike[str]) -> FactorizedEmbedding:
    """Read what :func:`save_embedding` wrote, bit for bit, into NumPy arrays. Nothing in the file is run.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    ValueError
        another suffix, a folder, and a file that is damaged, of a later version, or holds something else.
    ImportError
        safetensors is not installed, with the line that installs it.
    """
    suffix, name = _suffix(path), os.fspath(path)
    if Path(path).is_dir():
        raise ValueError(f"{name} is a folder; give the name of a file")
    content = Path(path).read_bytes()
    arrays = _npz(name, content) if suffix == ".npz" else _safetensors(name, content)
    several = _several(name, arrays.pop(MARK))
    place = arrays.pop("place", None)
    count = sum(key.startswith("tokens_") for key in arrays)
    tokens = tuple(arrays.pop(f"tokens_{b}", None) for b in range(count))
    projections = tuple(arrays.pop(f"projection_{b}", None) for b in range(count))
    if arrays or not count or any(t is None for t in tokens) or (count > 1 and not several):
        raise ValueError(NOT_WHOLE.format(name))
    try:
        return FactorizedEmbedding(*((tokens, projections, place) if several else (tokens[0], projections[0], place)))
    except (TypeError, ValueError) as error:  # TypeError: entries that are no numbers
        raise ValueError(f"{name} holds no valid embedding: {error}") from error


class _NotOursError(ValueError):
    """A file that is no embedding of ours, though it may be whole."""


NOT_WHOLE = "{} is not a whole file of a factorised embedding; write it again with ml.save_embedding"


def _check_mark(name: str, keys: Collection[str]) -> None:
    if MARK not in keys:
        raise _NotOursError(f"{name} does not hold a factorised embedding; write it with ml.save_embedding")


def _several(name: str, mark: Any) -> bool:
    """Whether the factors are tuples, as the mark has it. Raises ValueError for a mark of another version, or none of ours."""
    if not isinstance(mark, np.ndarray) or mark.shape != (2,) or mark.dtype.kind != "i":
        _check_mark(name, ())
    version, several = (int(x) for x in mark)
    if version != VERSION:
        raise _NotOursError(f"{name} has file version {version}, this package reads {VERSION}; upgrade rbm-toolkit")
    return bool(several)


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise ValueError(f"the file name must end in {' or '.join(SUFFIXES)}, got {os.fspath(path)!r}")
    return suffix


def _npz(name: str, content: bytes) -> dict[str, np.ndarray]:
    """All arrays. Names are looked at before any array is read: a small foreign archive may unpack to anything.

    Ours are not compressed, so that no array is larger than the file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            members = archive.zip.infolist()
            keys = [m.filename.removesuffix(".npy") for m in members]
            _check_mark(name, keys)
            _several(name, archive[MARK])
            if not all(k == MARK or NAMES.fullmatch(k) for k in keys) or any(m.compress_type for m in members):
                raise _NotOursError(NOT_WHOLE.format(name))
            arrays = dict(archive.items())
            if not all(isinstance(a, np.ndarray) for a in arrays.values()):
                raise TypeError("a member is no array")
            return arrays
    except _NotOursError:
        raise
    except Exception as error:  # damaged archives and headers raise a dozen kinds of errors
        raise ValueError(
            f"{name} is damaged or no .npz file of plain arrays ({error}); write it again or copy it anew"
        ) from error


def _safetensors(name: str, content: bytes) -> dict[str, Any]:
    safetensors = _package()
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):
        header = None  # damaged: safetensors says where
    if isinstance(header, dict):
        _check_mark(name, header)  # first: a model's file may hold types that NumPy has not
    try:
        return dict(safetensors.numpy.load(content))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is damaged or no .safetensors file ({error}); write it again or copy it anew"
        ) from error


def _package() -> Any:
    require("safetensors.numpy", "safetensors", "a .safetensors file", "ml")
    return require("safetensors", "safetensors", "a .safetensors file", "ml")
