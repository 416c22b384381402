"""Temporary files: those of a killed process go with the next save, those of a running one stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowrank import writing
from lowrank.writing import remove_unfinished, unfinished, write_atomically

#: Writes a file and is stopped before it is renamed, with all of it on the disk.
STOPPED = """
import os, sys, time
from lowrank import writing
def fsync(handle):
    print("here", flush=True)
    time.sleep(600)
os.fsync = fsync
writing.write_atomically(sys.argv[1], b"new")
"""


def stopped(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", STOPPED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    return process


def age(paths: list[Path], seconds: float) -> None:
    for path in paths:
        os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_what_a_killed_process_left_goes_with_the_next_save(tmp_path: Path) -> None:
    target = tmp_path / "model.rbm"
    target.write_bytes(b"old")
    process = stopped(target)
    (left,) = unfinished(tmp_path)
    age([left], 1e6)
    write_atomically(tmp_path / "other.rbm", b"x")
    assert left.exists(), "its process runs"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert target.read_bytes() == b"old"
    age([left], 5.0)
    write_atomically(target, b"newer")
    assert left.exists(), "too young: its process may not have the lock yet"
    age([left], 100.0)
    write_atomically(target, b"newest")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.rbm", "other.rbm"]
    assert target.read_bytes() == b"newest"


def test_files_of_others_stay(tmp_path: Path) -> None:
    digits = "0123456789abcdef" * 2
    others = [
        f".model.rbm.{digits}.tmp",
        f"model.rbm.unfinished-{digits}.tmp",
        f".a.unfinished-{digits}.tmp~",
        ".a.tmp",
    ]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / f".folder.unfinished-{digits}.tmp").mkdir()
    (tmp_path / f".link.unfinished-{digits}.tmp").symlink_to(tmp_path / others[0])
    age(list(tmp_path.iterdir()), 1e7)
    before = sorted(tmp_path.iterdir())
    write_atomically(tmp_path / "model.rbm", b"x")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "model.rbm"])


def test_without_locks_a_day_has_to_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / f".a.unfinished-{'0' * 32}.tmp"
    for module in (None, NoLocks):
        monkeypatch.setattr(writing, "fcntl", module)
        left.write_bytes(b"")
        age([left], 3600.0)
        write_atomically(tmp_path / "a", b"x")
        assert left.exists()
        age([left], 1e5)
        write_atomically(tmp_path / "a", b"y")
        assert not left.exists()
        assert (tmp_path / "a").read_bytes() == b"y"


class NoLocks:
    """A file system without them."""

    LOCK_EX = LOCK_NB = 0

    @staticmethod
    def flock(handle: int, how: int) -> None:
        raise OSError("no locks available")


def test_the_clock_is_that_of_the_file_system(tmp_path: Path) -> None:
    left = tmp_path / f".a.unfinished-{'0' * 32}.tmp"
    left.write_bytes(b"")
    assert remove_unfinished(tmp_path, now=left.stat().st_mtime - 1000) == 0
    assert remove_unfinished(tmp_path, now=left.stat().st_mtime + 1000) == 1
    assert remove_unfinished(tmp_path / "none", now=0.0) == 0


def test_the_mode_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"x", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    write_atomically(path, b"y")
    assert path.stat().st_mode & 0o777 == 0o640
    write_atomically(path, b"z", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no such name here")
def test_standard_output_that_is_a_pipe() -> None:
    """/dev/stdout leads to a name under which nothing is found."""
    code = "from lowrank.writing import write_atomically; write_atomically('/dev/stdout', b'content')"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout == b"content"


def test_parts_are_written_as_they_are_made_and_nothing_is_left_if_that_fails(tmp_path: Path) -> None:
    def parts(count: int) -> Iterator[bytes]:
        for k in range(count):
            assert len(unfinished(tmp_path)) == 1
            yield b"%d " % k
        if count > 3:
            raise ValueError("no more")

    write_atomically(tmp_path / "out", parts(3))
    assert (tmp_path / "out").read_bytes() == b"0 1 2 "
    with pytest.raises(ValueError, match="no more"):
        write_atomically(tmp_path / "out", parts(4))
    assert (tmp_path / "out").read_bytes() == b"0 1 2 "
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
