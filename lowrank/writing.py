"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where a file that another process writes to cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

__all__ = ["remove_unfinished", "unfinished", "write_atomically"]

#: Temporary files of this module, and of nobody else.
TEMPORARY = re.compile(r"\..+\.unfinished-[0-9a-f]{32}\.tmp")
#: Seconds that a temporary file is left alone: its writer may not hold the lock yet.
GRACE = 60.0
#: Seconds after which a temporary file is taken to be left over where the file system has no locks.
OLD = 86400.0


def write_atomically(
    target: str | os.PathLike[str],
    content: bytes | Iterable[bytes] | Callable[[BinaryIO], object],
    *,
    mode: int | None = None,
) -> None:
    """Write `content` to `target` whole or not at all.

    A symbolic link is followed.

    content : the bytes, or parts of them that are made while they are written, or a function that writes them to an
        open file, in which it may go back; if that fails, nothing is left
    mode : permissions; by default those of the file that is replaced, and of a new one what the umask leaves of 0o666

    Temporary files that killed processes left in the folder are removed: those of this function which nobody writes any
    more. Raises OSError that names the target: a folder that does not exist or may not be written to, a target that is
    a folder. A device or a pipe is written to as such.
    """
    path = Path(os.path.realpath(target))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, give a file name", os.fspath(target))
    given = Path(target)  # /dev/stdout may lead to /proc/.../pipe:[4711], which is a pipe under the first name only
    if given.exists() and not given.is_file():
        with given.open("wb") as stream:
            if callable(content):  # which may go back, and a pipe does not
                whole = io.BytesIO()
                content(whole)
                stream.write(whole.getvalue())
            else:
                _write(stream, content)
        return
    temporary = path.parent / f".{path.name}.unfinished-{uuid.uuid4().hex}.tmp"
    try:
        permissions = 0o666 if mode is None else mode
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), permissions)
    except OSError as error:
        raise type(error)(
            error.errno, f"cannot write to folder {path.parent} ({error.strerror})", os.fspath(target)
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            _lock(file.fileno())  # while it is held, nobody takes this file for one that was left over
            _write(file, content)
            file.flush()
            os.fsync(file.fileno())
            remove_unfinished(path.parent, now=os.fstat(file.fileno()).st_mtime)
            if mode is None and path.exists():
                os.chmod(temporary, path.stat().st_mode & 0o777)
            if fcntl is not None:  # elsewhere an open file cannot be renamed
                os.replace(temporary, path)
        if fcntl is None:
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write(file: BinaryIO, content: bytes | Iterable[bytes] | Callable[[BinaryIO], object]) -> None:
    if callable(content):
        content(file)
    else:
        file.writelines((content,) if isinstance(content, bytes) else content)


def unfinished(folder: Path) -> list[Path]:
    """Return the temporary files of :func:`write_atomically` in a folder, whether being written or left over."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return [Path(e.path) for e in entries if TEMPORARY.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    return []


def remove_unfinished(folder: Path, now: float) -> int:
    """Remove the temporary files in a folder that nobody writes any more; return how many they were.

    now : seconds, by the clock of the file system that the folder is on (another one may be wrong by hours)
    """
    removed = 0
    for path in unfinished(folder):
        with contextlib.suppress(OSError):  # removed by another process, or not ours to remove
            age = now - path.stat().st_mtime
            if age > GRACE and _abandoned(path, age):
                path.unlink()
                removed += 1
    return removed


def _lock(handle: int) -> None:
    """Take the lock of a file that this process has just made; without locks, its age has to do."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _abandoned(path: Path, age: float) -> bool:
    """Return whether no process holds the lock of a temporary file; without locks, whether it is a day old."""
    if fcntl is None:
        return age > OLD
    handle = os.open(path, os.O_RDWR)  # for writing: network file systems lock nothing else
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return age > OLD
    finally:
        os.close(handle)
    return True
