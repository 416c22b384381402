"""The command ``rbm cache``: it prints what is kept on disk, compiled kernels and assembled matrices, or removes it."""

from __future__ import annotations

import argparse
from typing import Any

from rbm.storage.cache import cache_files, cache_folder, clear_cache, kernel_folder

__all__ = ["add_cache"]


def add_cache(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    about = (
        "Compiled kernels and assembled matrices are kept in the folder RBM_CACHE_DIR, or in the user's cache folder. "
        "Whatever is not there is made again. Their number and size are not limited."
    )
    cache = commands.add_parser("cache", description=about)
    shown = cache.add_mutually_exclusive_group()
    shown.add_argument("--path", action="store_true", help="print the folder and nothing else")
    shown.add_argument("--size", action="store_true", help="print the number of bytes and nothing else")
    shown.add_argument("--clear", action="store_true", help="remove the kept files, and no others")
    cache.set_defaults(run=_cache)


def _cache(options: argparse.Namespace) -> None:
    """Print what was asked for, or everything; or clear it."""
    if options.path:
        print(cache_folder())
    elif options.size:
        print(sum(file.size for file in cache_files()))
    elif options.clear:
        count, size = clear_cache()
        print(f"{count} files removed, {_readable(size)}")
    else:
        files = list(cache_files())
        print(f"folder    {cache_folder()}")
        if kernel_folder().parent != cache_folder():
            print(f"kernels   {kernel_folder()} (NUMBA_CACHE_DIR)")
        for kind in dict.fromkeys(["kernels", "matrices", *(file.kind for file in files)]):
            sizes = [file.size for file in files if file.kind == kind]
            print(f"{kind:<9} {len(sizes)} files, {_readable(sum(sizes))}")
        print("limit     none: files stay until `rbm cache --clear`, or until you remove the folder")


def _readable(size: int) -> str:
    """Return a number of bytes as people read it.

    >>> _readable(999), _readable(2_340_000)
    ('999 bytes', '2.3 MB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
