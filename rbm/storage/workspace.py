"""A folder for tall matrices: columns in files that are mapped into memory, removed at the end.

Columns are written to a file, so that a full disk is an error and not the end of the process, and read through a
read-only mapping: pages belong to the file, the system may drop and read them again, and no anonymous memory is taken.
What a killed process left in the folder is removed by the next run of the same model.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import weakref
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from lowrank.writing import unfinished, write_atomically
from rbm.errors import WorkspaceError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FilePiece", "Workspace", "opened"]

MANIFEST, LOCK = "workspace.json", "workspace.lock"
FORMAT = "rbm-toolkit workspace"
PIECES = re.compile(r"columns-[0-9]+\.f(8|16)")
#: Folders that this process has open. Locks of files keep other processes out, but not this one.
_here: set[str] = set()


class Owner(Protocol):
    """What has tall matrices: a model."""

    def fingerprint(self) -> str:
        """Return what tells it from others."""


class FilePiece:
    """Columns (n, width) in a file, mapped into memory to be read (:class:`rbm.arithmetic.columns.Piece`)."""

    def __init__(self, workspace: Workspace, path: Path, rows: int, width: int, dtype: np.dtype) -> None:
        self.path, self.sums = path, dict[int, int]()  #: checksums of the columns that were written
        self._folder = workspace.folder
        self._finalizer = weakref.finalize(self, _remove, path, os.getpid())
        try:
            with path.open("wb") as file:
                file.truncate(rows * width * dtype.itemsize)  # takes no space before it is written to
            self.array: np.ndarray = np.asarray(np.memmap(path, dtype, "r", shape=(rows, width), order="F"))
        except OSError as error:
            raise _failed(self._folder, error) from error

    def write(self, start: int, columns: np.ndarray) -> None:
        """Set columns `start`, `start + 1`, ...; raise WorkspaceError where the disk is full."""
        try:
            with self.path.open("r+b", buffering=0) as file:
                for j, column in enumerate(columns.T, start):
                    content = np.ascontiguousarray(column, self.array.dtype).view(np.uint8).data
                    self.sums.pop(j, None)
                    checksum = zlib.crc32(content)
                    file.seek(j * len(content))
                    while len(content):
                        content = content[file.write(content) :]
                    self.sums[j] = checksum
        except OSError as error:
            raise _failed(self._folder, error) from error

    @property
    def complete(self) -> bool:
        """True if all columns were written."""
        return len(self.sums) == self.array.shape[1]

    def check(self) -> None:
        """Raise WorkspaceError if a column is not what was written."""
        for j, wanted in self.sums.items():
            if zlib.crc32(self.array[:, j].view(np.uint8).data) != wanted:
                raise WorkspaceError(
                    f"{self.path} was altered or damaged: column {j} does not match its checksum; check the disk, and "
                    "start again in another folder"
                )


class Workspace:
    """The open folder of a run; leave it by :meth:`close` or at the end of a ``with`` block, and its files are removed.

    folder : is made if it is not there, with those it lies in (and what was made is removed at the end), and may hold
        nothing else; "~" is the home folder
    owner : fingerprint of the model whose matrices are kept

    Raises WorkspaceError (a ModelError) for a folder that cannot be made or written to, that another run has open, that
    was left by a run of another model, or that holds files of others.
    """

    def __init__(self, folder: str | os.PathLike[str], owner: str) -> None:
        folder = os.path.expanduser(folder)
        self.folder, self.owner, self._count, self._pid = Path(os.path.abspath(folder)), owner, 0, os.getpid()
        self._pieces: weakref.WeakSet[FilePiece] = weakref.WeakSet()
        self._done: set[Path] = set()
        name = os.path.realpath(folder)
        if name in _here:
            raise WorkspaceError(f"another run of this process has the workspace {self.folder} open: give each its own")
        self._made = 0  #: how many folders were made, this one and those around it
        try:
            self._made = _missing(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            left = sorted(p.name for p in self.folder.iterdir() if not _is_ours(p))
            if left:
                some = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
                raise WorkspaceError(
                    f"the folder {self.folder} holds other files ({some}): give a new or empty one as workspace"
                )
            self._lock = self._locked()
        except OSError as error:
            self._remove_made()
            raise _failed(self.folder, error) from error
        try:
            self._take_over()
            self._write_manifest()
        except BaseException:
            if self._made:  # by this run, or by one whose folder it has taken over
                with suppress(OSError):
                    (self.folder / LOCK).unlink(missing_ok=True)
                    self._remove_made()
            os.close(self._lock)
            raise
        self._name = name
        _here.add(name)

    def piece(self, rows: int, width: int, dtype: np.dtype) -> FilePiece:
        """Return room for columns (rows, width) in a file of its own, which goes when nobody has it any more."""
        done = [p for p in self._pieces if p.complete and p.path not in self._done]
        if done:
            self._done.update(p.path for p in done)
            self._write_manifest()
        self._count += 1
        made = FilePiece(self, self.folder / f"columns-{self._count}.f{dtype.itemsize}", rows, width, dtype)
        self._pieces.add(made)
        return made

    def check(self) -> None:
        """Read all files once; raise WorkspaceError if one is not what was written."""
        for piece in list(self._pieces):
            piece.check()

    @property
    def is_whole(self) -> bool:
        """True if all files are what was written."""
        try:
            self.check()
        except (WorkspaceError, OSError):
            return False
        return True

    @property
    def size(self) -> int:
        """Bytes that the files take."""
        return sum(len(p.sums) * p.array.shape[0] * p.array.itemsize for p in self._pieces)

    @property
    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self.folder).free

    def close(self) -> None:
        """Remove all files, and the folder if it was made here. Arrays that are still in use stay readable."""
        if self._pid != os.getpid() or self._name not in _here:
            return
        with suppress(OSError):
            self._clear()
            (self.folder / MANIFEST).unlink(missing_ok=True)
            (self.folder / LOCK).unlink(missing_ok=True)
        self._remove_made()
        os.close(self._lock)
        _here.discard(self._name)

    def _remove_made(self) -> None:
        """Remove the folders that were made, the innermost first, up to one that holds something."""
        for path in (self.folder, *self.folder.parents)[: self._made]:
            with suppress(OSError):
                path.rmdir()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Check all files, if nothing went wrong, and remove them."""
        try:
            if kind is None:
                self.check()
        finally:
            self.close()

    def _locked(self) -> int:
        """Return the handle of the lock of the folder, which ends with this process however it ends."""
        handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if fcntl is not None:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process; its children do not inherit it
        except OSError:
            holder = os.read(handle, 20).decode(errors="replace").strip()
            os.close(handle)
            raise WorkspaceError(
                f"process {holder or 'of another user'} has the workspace {self.folder} open: give each run its own"
            ) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{self._pid}\n".encode())
        return handle

    def _take_over(self) -> None:
        """Remove what a killed run of the same model left; raise WorkspaceError if it was one of another."""
        path = self.folder / MANIFEST
        if path.exists():
            left = _manifest(path)
            if left.get("owner") != self.owner:
                raise WorkspaceError(
                    f"the workspace {self.folder} was left by a run of another model that was killed: remove the "
                    "folder, or give another one"
                )
            made = left.get("made")
            self._made = max(self._made, int(made) if isinstance(made, int) else 0)
        self._clear()

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if path.name not in (MANIFEST, LOCK) and _is_ours(path):
                path.unlink(missing_ok=True)

    def _write_manifest(self) -> None:
        pieces = {
            p.path.name: {
                "shape": p.array.shape,
                "dtype": p.array.dtype.str,
                "crc32": [p.sums[j] for j in sorted(p.sums)],
            }
            for p in self._pieces
            if p.path in self._done
        }
        content = {"format": FORMAT, "version": 1, "owner": self.owner, "pid": self._pid, "made": self._made}
        try:
            write_atomically(self.folder / MANIFEST, json.dumps({**content, "pieces": pieces}, indent=1).encode())
        except OSError as error:
            raise _failed(self.folder, error) from error


def opened(
    workspace: str | os.PathLike[str] | Workspace | None,
    model: Owner,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Any:
    """Return a context manager that gives the open workspace, or None where there is none.

    One that is open already is used, and stays open. Raises WorkspaceError for a checkpoint that would lie in it: only
    what may be lost lives there.
    """
    if workspace is None or isinstance(workspace, Workspace):
        return _Given(workspace)
    if not isinstance(workspace, str | os.PathLike) or not os.fspath(workspace) or "\0" in str(workspace):
        raise WorkspaceError(f"workspace must be the name of a folder, got {workspace!r}")
    if checkpoint is not None:
        folder = Path(os.path.realpath(os.path.expanduser(workspace)))
        if folder in Path(os.path.realpath(checkpoint)).parents:
            raise WorkspaceError(
                f"the checkpoint {os.fspath(checkpoint)} would lie in the workspace {folder}, whose files are removed "
                "at the end: write it to another folder"
            )
    return Workspace(workspace, model.fingerprint())


class _Given:
    def __init__(self, workspace: Workspace | None) -> None:
        self.workspace = workspace

    def __enter__(self) -> Workspace | None:
        return self.workspace

    def __exit__(self, *error: object) -> None:
        pass


def _is_ours(path: Path) -> bool:
    """Return True for files that runs leave in a workspace."""
    if path.name == MANIFEST:
        return _manifest(path).get("format") == FORMAT
    return path.name == LOCK or bool(PIECES.fullmatch(path.name)) or path in unfinished(path.parent)


def _missing(folder: Path) -> int:
    """Return how many folders have to be made; raise WorkspaceError where a file is in the way."""
    for count, path in enumerate((folder, *folder.parents)):
        if path.is_dir():
            return count
        if os.path.lexists(path):
            kind = "a file" if path.is_file() else "no folder"
            where = (
                f"the workspace {folder}" if path == folder else f"{path}, in which the workspace {folder} would lie,"
            )
            raise WorkspaceError(f"{where} is {kind}: give a folder that is new or empty")
    return len(folder.parents) + 1


def _manifest(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remove(path: Path, pid: int) -> None:
    if pid == os.getpid():
        path.unlink(missing_ok=True)


def _failed(folder: Path, error: OSError) -> WorkspaceError:
    """Return the error about a folder that could not be made, read or written."""
    why = error.strerror or str(error)
    free = ""
    with suppress(OSError):
        free = f"; {shutil.disk_usage(folder).free / 1e6:.0f} MB are free there"
    return WorkspaceError(
        f"the workspace {folder} cannot be written to ({why}{free}): give a folder with room, "
        "rbm.expected_memory(model, size, workspace=...).files says how much is needed"
    )
