"""What travels to workers: a model once per worker, by the checksum of its pickle, and large arrays beside messages."""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rbm.errors import ModelError

__all__ = ["Beside", "Parcel", "bytes_of", "opened", "packed", "parcel", "removed", "unpacked"]

#: Models that a worker keeps, with their factorisations: those used last.
KEPT = 2
#: Bytes from which on an array goes into a file beside the message.
LARGE = 1 << 16

_models: OrderedDict[str, Any] = OrderedDict()
_lock = threading.RLock()


@dataclass(frozen=True)
class Parcel:
    """The address of a pickled model: every task carries it in place of the model.

    key : the SHA-256 of the bytes, which a worker compares before it reads them
    path : where they are; in a folder that its owner alone can write
    """

    key: str
    path: str
    size: int  #: in bytes


def parcel(data: bytes, folder: str | None) -> Parcel:
    """Write the bytes of a model into a private folder, for workers; without a folder, they travel otherwise."""
    key, path = hashlib.sha256(data).hexdigest(), ""
    if folder is not None:
        path = os.path.join(folder, key)
        handle, partial = tempfile.mkstemp(dir=folder)  # for its owner alone
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(partial, path)
    return Parcel(key, path, len(data))


def bytes_of(what: Any, *, functions_travel: bool = False) -> bytes:
    """Pickle a model.

    functions_travel : with cloudpickle, which sends functions whole, where pickle alone cannot

    Raises ModelError for what cannot be pickled; the message names it.
    """
    try:
        return pickle.dumps(what, protocol=5)
    except Exception as error:
        if functions_travel:
            with suppress(ImportError):
                return importlib.import_module("cloudpickle").dumps(what, protocol=5)
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"the {type(what).__name__} cannot be pickled, and so not be sent to another process "
            f"({type(error).__name__}: {error}); a ThreadPoolExecutor needs no pickle"
        ) from error


def opened(address: Parcel, data: bytes | None = None) -> Any:
    """Return the model of a parcel, in the process of a worker; it is read once and kept.

    data : its bytes, if the engine brought them; else they are read from the file

    Nothing is read from a file whose checksum is not the one that the task brought along. Raises ModelError for a
    file that is not there or is another one, and for functions that this process does not find.
    """
    with _lock:
        if address.key in _models:
            _models.move_to_end(address.key)
            return _models[address.key]
        try:
            data = data if data is not None else Path(address.path).read_bytes()
        except OSError as error:
            raise ModelError(
                f"a worker cannot read {address.path} ({error.strerror}): set RBM_SHARED_FOLDER to a folder that all "
                "machines see, before the start"
            ) from error
        if hashlib.sha256(data).hexdigest() != address.key:
            raise ModelError(
                f"{address.path or 'the model'} is not what was sent (its SHA-256 is another one): it is not read"
            )
        try:
            what = pickle.loads(data)
        except Exception as error:
            raise ModelError(
                f"a worker cannot read the model ({type(error).__name__}: {error}): its functions and classes must be "
                "in a module that workers can import, not in the script that is run"
            ) from error
        _models[address.key] = what
        while len(_models) > KEPT:
            _models.popitem(last=False)
        return what


@dataclass(frozen=True)
class Beside:
    """A message whose large arrays are in a file beside it, as plain bytes: between processes of one machine."""

    head: bytes
    path: str
    sizes: tuple[int, ...]


def packed(what: Any, folder: str | None) -> Any:
    """Return a message for another process of this machine: with large arrays in a new file of the folder.

    Without a folder the message is what was given: the engine sends it as it can.
    """
    if folder is None:
        return what
    large: list[memoryview] = []
    head = pickle.dumps(what, protocol=5, buffer_callback=_keeping(large))
    if not large:
        return what
    handle, path = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as file:
        for part in large:
            file.write(part)
    return Beside(head, path, tuple(part.nbytes for part in large))


def _keeping(large: list[memoryview]) -> Callable[[pickle.PickleBuffer], bool]:
    """Return what pickle asks of each array: True if it stays in the message; else it is added to `large`."""

    def callback(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < LARGE:
            return True
        large.append(raw)
        return False

    return callback


def unpacked(message: Any) -> Any:
    """Return what was packed, in memory of this process."""
    if not isinstance(message, Beside):
        return message
    buffers = []
    with open(message.path, "rb", buffering=0) as file:
        for size in message.sizes:
            buffer = np.empty(size, dtype=np.uint8)
            view, done = buffer.data, 0
            while done < size:
                got = file.readinto(view[done:])
                if not got:
                    raise ModelError(f"{message.path} ends after {done} of {size} bytes")
                done += got
            buffers.append(buffer)
    return pickle.loads(message.head, buffers=buffers)


def removed(message: Any) -> None:
    """Remove the file beside a message, if it has one."""
    if isinstance(message, Beside):
        with suppress(OSError):
            os.remove(message.path)
