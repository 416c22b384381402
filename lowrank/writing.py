"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(target: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `target` whole or not at all; through a symbolic link, to where it points.

    Raises OSError that names the target: a folder that does not exist or may not be written to, a target that is a folder.
    A device or a pipe is written to as such.
    """
    path = Path(os.path.realpath(target))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, give a file name", os.fspath(target))
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot write to folder {path.parent} ({error.strerror})", os.fspath(target)
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
