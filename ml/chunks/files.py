"""Files of codes of actions: NumPy's .npz, uncompressed, with a SHA-256 of all that is in it."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from lowrank.reading import FileFormatError
from lowrank.residual_codes import ResidualCodes
from ml import array_files
from ml.array_files import CHECKSUM
from ml.chunks.tokenizer import ActionCodes

__all__ = ["load_action_codes", "read_arrays", "save_action_codes", "write_arrays"]

MARK = "action_codes"
VERSION = 1
SUFFIXES = (".npz",)
WHAT = "file of action codes"


def save_action_codes(codes: ActionCodes, path: str | os.PathLike[str]) -> None:
    """Write codes of actions to a file .npz, whole or not at all; one that is there is replaced.

    Keys: `action_codes` (int64: layout version, H, D), those of :meth:`lowrank.residual_codes.ResidualCodes.arrays`,
    and `sha256`, the checksum of all of these.

    Raises ValueError for another suffix, OSError for a folder that does not exist or may not be written to.

    Examples
    --------
    >>> import tempfile
    >>> from ml.chunks import ActionTokenizer
    >>> codes = ActionTokenizer(chunk=5, dims=1, levels=1, codes=4).fit(np.sin(np.arange(50.0))[:, None])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_action_codes(codes, f"{folder}/codes.npz")
    ...     load_action_codes(f"{folder}/codes.npz").bits
    2
    """
    mark = np.array([VERSION, codes.chunk, codes.dims], dtype=np.int64)
    write_arrays(path, {MARK: mark, **codes.codes.arrays()})


def load_action_codes(path: str | os.PathLike[str]) -> ActionCodes:
    """Read what :func:`save_action_codes` wrote, bit for bit. Nothing in the file is run.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    FileFormatError
        a file that is cut short, damaged, altered, compressed, of a later version, or holds something else: a
        ValueError that names the file.
    ValueError
        another suffix, and a folder.
    """
    name = os.fspath(path)
    arrays = read_arrays(path, MARK, {"centres", "error_per_level", "header", "basis", "dual"})
    _, chunk, dims = _mark(name, arrays.pop(MARK))
    try:
        return ActionCodes(chunk, dims, ResidualCodes.from_arrays(arrays))
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"{name} holds no valid codes of actions: {error}") from error


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays with their checksum to a file .npz, whole or not at all."""
    array_files.write_arrays(path, arrays, SUFFIXES)


def read_arrays(path: str | os.PathLike[str], mark: str, keys: set[str], prefix: str = "\0") -> dict[str, np.ndarray]:
    """Return the arrays of a file, its checksum tested and taken out.

    mark : a key that must be there
    keys : that may be there, besides those that begin with `prefix`
    """
    name = os.fspath(path)

    def accept(names: list[str]) -> None:
        strange = [n for n in set(names) - keys - {mark, CHECKSUM} if not n.startswith(prefix)]
        if strange or not {mark, CHECKSUM} <= set(names):
            raise FileFormatError(f"{name} is not a whole {WHAT}; write it with ml.chunks.save_action_codes")

    arrays = array_files.read_arrays(path, accept, WHAT, SUFFIXES)
    array_files.pop_checksum(name, arrays)
    return arrays


def _mark(name: str, mark: np.ndarray) -> tuple[int, int, int]:
    if mark.shape != (3,) or mark.dtype.kind != "i":
        raise FileFormatError(f"{name} is not a whole {WHAT}; write it with ml.chunks.save_action_codes")
    version, chunk, dims = (int(x) for x in mark)
    if version != VERSION:
        raise FileFormatError(f"{name} has file version {version}, this package reads {VERSION}; upgrade rbm-toolkit")
    return version, chunk, dims
