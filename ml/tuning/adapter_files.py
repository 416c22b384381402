"""Files of adapters: what was trained, by name, and fingerprints of the network that it belongs to.

NumPy's .npz, or .safetensors. A SHA-256 of all names, types, shapes and entries detects damage, not forgery. Nothing in
a file is run: it holds numbers and one JSON text, and the architecture is that of the module it is loaded into.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import numpy as np

from lowrank.reading import FileFormatError, json_from
from ml.array_files import CHECKSUM, pop_checksum, read_arrays, suffix_of, write_arrays
from ml.tuning.adapt import adapt
from ml.tuning.adapted import Adapted
from ml.tuning.tensors import to_array, to_tensor, type_of

__all__ = ["check_adapted", "load_adapter", "read_tensors", "save_adapter", "write_tensors"]

MARK, HEADER = "adapter", "adapter_header"
VERSION = 1


def check_adapted(call: str, given: object) -> None:
    """Raise TypeError for anything but what :func:`ml.adapt` returns."""
    if not isinstance(given, Adapted):
        raise TypeError(
            f"{call} takes what ml.adapt(module, kind) returns, got {type(given).__name__}; of a lean module keep "
            ".state()"
        )


def save_adapter(adapted: Adapted, path: str | os.PathLike[str]) -> None:
    """Write what was trained to a file, whose suffix decides the format; see :func:`load_adapter`.

    It is written whole or not at all, and replaces one that is there.

    Raises
    ------
    ValueError
        another suffix, options that JSON does not hold, numbers that are not finite, a module on the meta device, an
        adapter that was removed.
    ImportError
        safetensors is not installed, with the line that installs it.
    OSError
        a folder that does not exist or may not be written to.
    """
    check_adapted("save_adapter", adapted)
    suffix_of(path)
    layout, numbers = adapted.fingerprints()
    bad = [name for name, tensor in adapted.state().items() if not bool(tensor.isfinite().all())]
    if bad:
        raise ValueError(f"{bad[0]} has numbers that are not finite: the training has diverged; nothing was written")
    options = {name: _plain(value) for name, value in adapted.options.items()}
    header = {
        "kind": adapted.kind,
        "options": options,
        "train": list(adapted.train),
        "layout": layout,
        "numbers": numbers,
    }
    write_tensors(path, MARK, header, adapted.state())


def load_adapter(path: str | os.PathLike[str], module: Any, *, check_base: bool = True) -> Adapted:
    """Adapt a module as a file says, in place, with the numbers that were trained.

    The module then computes what the trained one did, bit for bit.

    check_base : False loads the adapter into a network with the same layers and types but other numbers, as after
        further training: the result is then not what was trained

    Raises
    ------
    FileNotFoundError
        there is no such file.
    FileFormatError
        a file that is damaged, altered, of a later version, or holds something else: a ValueError that names the file.
    ValueError
        the adapter of another network, a module that is adapted already, another suffix, a folder. The module is then
        as it was.
    ImportError
        PyTorch, or safetensors for its suffix, is not installed, with the line that installs it.
    """
    name = os.fspath(path)
    header, state = read_tensors(path, MARK, "an adapter", "ml.save_adapter")
    kind: Any = header.get("kind")
    options: Any = header.get("options")
    train: Any = header.get("train")
    known = isinstance(kind, str) and isinstance(options, dict) and isinstance(train, list)
    if not known or not all(isinstance(header.get(key), str) for key in ("layout", "numbers")):
        raise FileFormatError(f"{name} is not a whole file of an adapter; write it again with ml.save_adapter")
    try:
        adapted = adapt(module, kind, train=train, **options)
    except ValueError as error:
        raise ValueError(f"{name} holds a {kind} adapter that does not fit this module: {error}") from error
    try:
        layout, numbers = adapted.fingerprints()
        if layout != header["layout"]:
            raise ValueError(f"{name} belongs to a network with other layers, shapes or types than this one")
        if check_base and numbers != header["numbers"]:
            raise ValueError(
                f"{name} belongs to a network with the same layers but other numbers: load the weights that it was "
                "trained on, or pass check_base=False to use it all the same"
            )
        adapted.load(state)
    except BaseException:
        adapted.remove()
        raise
    return adapted


def write_tensors(
    path: str | os.PathLike[str], mark: str, header: Mapping[str, Any], tensors: Mapping[str, Any]
) -> None:
    """Write tensors by name, and a header of plain values, to a .npz or .safetensors file with a checksum.

    mark : the key that says what the file is; the header stands under mark + "_header"
    """
    suffix_of(path)
    arrays = {name: to_array(tensor) for name, tensor in tensors.items()}
    text = json.dumps({**header, "types": {name: type_of(tensor) for name, tensor in tensors.items()}})
    arrays[f"{mark}_header"] = np.frombuffer(text.encode(), np.uint8)
    arrays[mark] = np.array([VERSION, len(tensors)], dtype=np.int64)
    write_arrays(path, arrays)


def read_tensors(
    path: str | os.PathLike[str], mark: str, what: str, writer: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and tensors of a file of :func:`write_tensors`.

    what, writer : what messages call such a file, and what writes it. Raises FileFormatError for any other file.
    """
    name = os.fspath(path)
    arrays = read_arrays(path, partial(_check_keys, name, mark, what, writer), what.partition(" ")[2])
    pop_checksum(name, arrays)
    whole = f"{name} is not a whole file of {what}; write it again with {writer}"
    version = arrays.pop(mark)
    if version.shape != (2,) or version.dtype.kind != "i" or int(version[0]) < 1:
        raise FileFormatError(whole)
    if int(version[0]) > VERSION:
        raise FileFormatError(
            f"{name} has file version {version[0]}, this package reads {VERSION}; upgrade rbm-toolkit"
        )
    text = arrays.pop(f"{mark}_header")
    if text.dtype != np.uint8:
        raise FileFormatError(whole)
    header = json_from(name, text.tobytes(), kind=what)
    types = header.get("types")
    if not isinstance(types, dict) or set(types) != set(arrays) or len(arrays) != int(version[1]):
        raise FileFormatError(whole)
    try:
        return header, {key: to_tensor(array, str(types[key])) for key, array in arrays.items()}
    except ValueError as error:
        raise FileFormatError(f"{whole} ({error})") from error


def _plain(value: Any) -> Any:
    """Return an option as JSON holds it: lists for tuples, plain numbers."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise ValueError(f"an option of the adapter is {value!r}, which a file cannot hold; give names and plain numbers")


def _check_keys(name: str, mark: str, what: str, writer: str, keys: Collection[str]) -> None:
    """Refuse a file by its names, before any array is read."""
    if not {mark, f"{mark}_header", CHECKSUM} <= set(keys):
        raise FileFormatError(f"{name} does not hold {what}; write it with {writer}")
