"""Compiled kernels on disk: one file per kernel and signature, read only if it is whole and safe to read.

It is safe if nobody but this user can have written it. Numba's own cache is unpickled unchecked: a file that was cut
short raises one of a dozen errors at every query, a flipped bit may end the process. Here the SHA-256 of a file's
content, and of what it was compiled for, is compared before anything is unpickled; whatever is damaged is compiled
again. A checksum detects damage, not forgery: against forgery, owner and permissions are checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from lowrank.writing import write_atomically
from rbm.storage.cache import kernel_folder, untrusted

__all__ = ["KernelCache"]

MAGIC = b"rbm-toolkit kernel 1\n"
CHECKSUM = hashlib.sha256().digest_size
LOG = logging.getLogger("rbm.storage.cache")
#: The kinds of trouble that this process has reported, each once.
SAID: set[str] = set()
#: Flags of Numba that change what is compiled.
FLAGS = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX")


class KernelCache:
    """The store of compiled code for a dispatcher of Numba, in place of Numba's own cache.

    name : of the kernel; source : digest of all sources and of the compilers' versions
    """

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source
        self._enabled = True

    @property
    def cache_path(self) -> str:
        """The folder with the files."""
        return os.fspath(kernel_folder())

    def enable(self) -> None:
        """Switch reading and writing files on, as at the start."""
        self._enabled = True

    def disable(self) -> None:
        """Switch reading and writing files off."""
        self._enabled = False

    def flush(self) -> None:
        """Remove this kernel's files."""
        for path in kernel_folder().glob(f"{self.name}-*.nbc"):
            path.unlink(missing_ok=True)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel for a signature, or None if it has to be compiled."""
        if not self._enabled:
            return None
        from numba.core.compiler import CompileResult

        key = self._key(sig, target_context.codegen())
        try:
            path = self._file(key)
            content = _read(path, key)
        except FileNotFoundError:
            return None
        except OSError as error:
            _say("read", f"compiled kernels are not read: {error}; they are compiled in this process")
            return None
        if content is None:
            return None
        try:
            made = CompileResult._rebuild(target_context, *pickle.loads(content))
            made.library._shared_module = None  # names only: a kernel is not linked into other code
            if tuple(made.signature.args) == _arguments(sig):
                return made
            reason = "it is for other arguments"
        except Exception as error:  # the file is whole, but not what this Numba expects
            reason = f"{type(error).__name__}: {error}"
        _say("rebuild", f"{path} cannot be used ({reason}); the kernel is compiled anew")
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write a compiled kernel, if there is a place for it: whole or not at all, to a file of this user only."""
        if not self._enabled or data.library.has_dynamic_globals:
            return
        from numba.core.serialize import dumps

        key = self._key(sig, data.codegen)
        content = dumps(data._reduce())
        try:
            path = self._file(key)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if reason := untrusted(os.stat(path.parent)):
                _say("keep", f"compiled kernels are not kept in {path.parent}: {reason}")
                return
            write_atomically(path, MAGIC + _checksum(key, content) + content, mode=0o600)
        except OSError as error:
            _say("keep", f"compiled kernels are not kept: {error}; name a folder of yours in RBM_CACHE_DIR")

    def _key(self, sig: Any, codegen: Any) -> bytes:
        """Return all that the compiled code depends on."""
        from numba.core import config

        flags = [getattr(config, flag, None) for flag in FLAGS]
        of = (self.name, self.source, sys.version, sys.platform, codegen.magic_tuple(), flags, _arguments(sig))
        return repr(of).encode()

    def _file(self, key: bytes) -> Path:
        return kernel_folder() / f"{self.name}-{hashlib.sha256(key).hexdigest()[:32]}.nbc"


def _arguments(sig: Any) -> tuple[Any, ...]:
    """Return the types of the arguments; a signature of Numba has them as `args`."""
    return tuple(getattr(sig, "args", sig))


def _read(path: Path, key: bytes) -> bytes | None:
    """Return the pickled content if the file is whole, has this key and belongs to this user; else None.

    A damaged file is removed. Raises OSError.
    """
    with open(path, "rb") as file:
        reason = untrusted(os.fstat(file.fileno())) or untrusted(os.stat(path.parent))
        content = b"" if reason else file.read()
    if reason:
        _say("trust", f"{path} is not trusted: {reason}; the kernel is compiled anew")
        return None
    start = len(MAGIC) + CHECKSUM
    if content[: len(MAGIC)] == MAGIC and content[len(MAGIC) : start] == _checksum(key, content[start:]):
        return content[start:]
    _say("damage", f"{path} is damaged; the kernel is compiled anew")
    with contextlib.suppress(OSError):
        path.unlink()
    return None


def _checksum(key: bytes, content: bytes) -> bytes:
    """Return the checksum of a compiled kernel and of its key: a file under another's name does not match."""
    found = hashlib.sha256(hashlib.sha256(key).digest())
    found.update(content)
    return found.digest()


def _say(kind: str, what: str) -> None:
    """Log a warning once per process and kind: one line on standard error unless logging is set up otherwise."""
    if kind not in SAID:
        SAID.add(kind)
        LOG.warning("rbm: %s", " ".join(what.split()))
