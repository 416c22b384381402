"""The cache folder: files that can always be made again, compiled kernels and assembled matrices.

Both lie in one folder, RBM_CACHE_DIR or the user's cache folder of this system; the command ``rbm cache`` shows and
clears it. Their number is not limited.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lowrank.optional import require
from lowrank.writing import unfinished

__all__ = ["CacheFile", "cache_files", "cache_folder", "clear_cache", "kernel_folder", "untrusted"]

#: What lies in the folders of the cache; nothing else in them is counted or removed.
MATRICES = ("helmholtz-*.npz", "anchors-*.npz")
KERNELS = ("*.nbc",)


class CacheFile(NamedTuple):
    """A file of the cache, with its kind and size."""

    kind: str  #: "matrices", "kernels", or "unfinished" for what a killed process left
    path: Path
    size: int  #: bytes


def cache_folder() -> Path:
    """Return the folder named by RBM_CACHE_DIR, or the user's cache folder of this system.

    It need not be there.

    Raises FileNotFoundError where this user has no home directory and RBM_CACHE_DIR is not set.
    """
    if chosen := os.environ.get("RBM_CACHE_DIR"):
        return Path(chosen).expanduser()
    platformdirs = require("platformdirs", "platformdirs", "finding the cache folder")
    folder = Path(platformdirs.user_cache_dir("rbm-toolkit", False))
    if not folder.is_absolute():  # "~" stays where nobody knows the user
        raise FileNotFoundError(errno.ENOENT, "this user has no home directory to keep a cache in; set RBM_CACHE_DIR")
    return folder


def kernel_folder() -> Path:
    """Return the folder of the compiled kernels, ``kernels`` in :func:`cache_folder`.

    Where NUMBA_CACHE_DIR is set and RBM_CACHE_DIR is not, it is ``rbm-kernels`` in the former: what Numba compiles was
    asked to be there.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen and not os.environ.get("RBM_CACHE_DIR"):
        return Path(chosen) / "rbm-kernels"
    return cache_folder() / "kernels"


def untrusted(status: os.stat_result) -> str:
    """Return why a file or folder with this status may hold what another user has written; empty if it cannot.

    It must belong to this user, or to the administrator, and nobody else may write to it. Where the system has no such
    permissions (Windows), everything is trusted.
    """
    if not hasattr(os, "geteuid"):
        return ""
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to another user ({status.st_uid})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others may write to it (permissions {stat.S_IMODE(status.st_mode):o}); chmod go-w it"
    return ""


def cache_files() -> Iterator[CacheFile]:
    """Yield all files of the cache."""
    kinds = [("matrices", cache_folder(), MATRICES), ("kernels", kernel_folder(), KERNELS)]
    for kind, folder, patterns in kinds:
        for path in [p for pattern in patterns for p in sorted(folder.glob(pattern))]:
            if path.is_file():
                yield CacheFile(kind, path, path.stat().st_size)
        for path in unfinished(folder):
            yield CacheFile("unfinished", path, path.stat().st_size)


def clear_cache() -> tuple[int, int]:
    """Remove all files of the cache; return how many there were, and their bytes.

    Nothing else is removed.

    Processes that run go on: what they have loaded stays, and what they still need is made again.
    """
    files = list(cache_files())
    for file in files:
        file.path.unlink(missing_ok=True)
    return len(files), sum(file.size for file in files)
