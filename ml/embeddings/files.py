"""Files of factorised embeddings: NumPy's .npz, or .safetensors.

Both hold a checksum (:mod:`ml.array_files`). Nothing is compressed: what is read is never larger than the file.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Collection
from functools import partial
from typing import Any

import numpy as np

from lowrank.arrays import to_numpy
from lowrank.optional import require
from lowrank.reading import FileFormatError
from lowrank.writing import write_atomically
from ml.array_files import CHECKSUM, checksum_of, pop_checksum, read_arrays, suffix_of
from ml.embeddings.embedding import FactorizedEmbedding

__all__ = ["load_embedding", "save_embedding"]

#: Stands in every file, with the version of its layout: 2 with a checksum, 1, which is still read, without.
MARK = "factorized_embedding"
VERSION = 2
#: What messages call a file that is none.
WHAT = "factorised embedding"
NAMES = re.compile(r"place|(tokens|projection)_\d+")


def save_embedding(embedding: FactorizedEmbedding, path: str | os.PathLike[str]) -> None:
    """Write an embedding to a file, whose suffix decides the format.

    The arrays are T and P (tokens_0, projection_0, tokens_1, ...) and the place of the tokens.

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
    arrays[CHECKSUM] = checksum_of(arrays)
    if suffix_of(path) == ".npz":
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
    FileFormatError
        a file that is damaged, altered, compressed, of a later version, or holds something else: a ValueError that
        names the file.
    ValueError
        another suffix, and a folder.
    ImportError
        safetensors is not installed, with the line that installs it.
    """
    name = os.fspath(path)
    arrays = read_arrays(path, partial(_check_names, name), WHAT)
    mark = arrays[MARK]
    version, several = _version(name, mark)
    if (CHECKSUM in arrays) != (version > 1):
        raise FileFormatError(NOT_WHOLE.format(name))
    if version > 1:
        pop_checksum(name, arrays)
    del arrays[MARK]
    place = arrays.pop("place", None)
    count = sum(key.startswith("tokens_") for key in arrays)
    tokens = tuple(arrays.pop(f"tokens_{b}", None) for b in range(count))
    projections = tuple(arrays.pop(f"projection_{b}", None) for b in range(count))
    if arrays or not count or any(t is None for t in tokens) or (count > 1 and not several):
        raise FileFormatError(NOT_WHOLE.format(name))
    try:
        return FactorizedEmbedding(*((tokens, projections, place) if several else (tokens[0], projections[0], place)))
    except (TypeError, ValueError) as error:  # TypeError: entries that are no numbers
        raise FileFormatError(f"{name} holds no valid embedding: {error}") from error


NOT_WHOLE = "{} is not a whole file of a factorised embedding; write it again with ml.save_embedding"


def _check_names(name: str, keys: Collection[str]) -> None:
    """Refuse a file by its names, before any array is read: a small foreign file may unpack to anything."""
    if MARK not in keys:
        raise FileFormatError(f"{name} does not hold a factorised embedding; write it with ml.save_embedding")
    if not all(k in (MARK, CHECKSUM) or NAMES.fullmatch(k) for k in keys):
        raise FileFormatError(NOT_WHOLE.format(name))


def _version(name: str, mark: np.ndarray) -> tuple[int, bool]:
    """Return the version, and whether the factors are tuples, from the mark of the file.

    Raises FileFormatError for a mark of a later version, or of another program.
    """
    if mark.shape != (2,) or mark.dtype.kind != "i":
        _check_names(name, ())
    version, several = (int(x) for x in mark)
    if not 1 <= version <= VERSION:
        raise FileFormatError(
            f"{name} has file version {version}, this package reads up to {VERSION}; upgrade rbm-toolkit"
        )
    if several not in (0, 1):
        raise FileFormatError(NOT_WHOLE.format(name))
    return version, bool(several)


def _package() -> Any:
    require("safetensors.numpy", "safetensors", "a .safetensors file", "ml")
    return require("safetensors", "safetensors", "a .safetensors file", "ml")
