"""Compiled kernels on disk: read only whole, by whom they were written for, and never in the way of an answer."""

from __future__ import annotations

import logging
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import pytest
from conftest import make_case
from llvmlite.binding import parse_bitcode

import rbm
from rbm.command_line import main
from rbm.online.kernels import kernel_cache
from rbm.online.kernels.batch_query import query
from rbm.online.kernels.compiler import kernel
from rbm.online.kernels.interpolated_norm import interpolated
from rbm.online.kernels.kernel_cache import KernelCache
from rbm.storage import cache


def double(x: Any) -> Any:
    """A kernel that compiles fast."""
    return 2 * x


def fresh(source: str = "0") -> Any:
    """A dispatcher as a new process has it."""
    made = numba.njit(double)
    made._cache = KernelCache("double", source)
    return made


def misses(kernel: Any) -> int:
    return sum(kernel._cache_misses.values())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RBM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_cache, "SAID", set())
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def kept(folder: Path) -> Path:
    kernel = fresh()
    assert kernel(1.5) == 3.0
    assert misses(kernel) == 1
    (path,) = folder.iterdir()
    return path


def test_a_kernel_is_compiled_once(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    kernel = fresh()
    assert kernel(1.5) == 3.0
    assert misses(kernel) == 0
    assert kernel(2) == 4  # another signature
    assert misses(kernel) == 1
    assert len(list(kept.parent.iterdir())) == 2
    assert misses_of("1") == 1, "other sources"
    assert len(list(kept.parent.iterdir())) == 3
    assert not caplog.records
    if hasattr(os, "geteuid"):
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def misses_of(source: str = "0") -> int:
    kernel = fresh(source)
    assert kernel(1.5) == 3.0
    return misses(kernel)


def flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 0x04]) + content[position + 1 :]


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda c: b"",
    lambda c: c[:10],
    lambda c: c[: len(kernel_cache.MAGIC) + kernel_cache.CHECKSUM],
    lambda c: c[:-1],
    lambda c: c + b"\0",
    lambda c: c[: len(c) // 2] + c[len(c) // 2 + 129 :],
    lambda c: bytes(len(c)),
    lambda c: flip(c, 3),
    lambda c: flip(c, len(kernel_cache.MAGIC) + 3),
    lambda c: flip(c, len(c) - 200),
    lambda c: flip(c, len(c) // 2),
    lambda c: b"PK" + c[2:],
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_seen_before_it_is_unpickled(
    kept: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kept.read_bytes()
    kept.write_bytes(damage(whole))
    with monkeypatch.context() as patch:
        patch.setattr(kernel_cache, "pickle", None)
        assert misses_of() == 1
    (record,) = caplog.records
    assert record.getMessage() == f"rbm: {kept} is damaged; the kernel is compiled anew"
    assert misses_of() == 0  # it was written anew


def test_a_file_under_another_s_name_is_damage(kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    kernel = fresh()
    kernel(2)
    (other,) = set(kept.parent.iterdir()) - {kept}
    other.replace(kept)
    assert misses_of() == 1
    assert "damaged" in caplog.text


def test_who_writes_does_not_disturb_who_reads(kept: Path) -> None:
    """Many processes compile the same kernel at once: each file that is read is whole, whosever it is."""
    content = kept.read_bytes()
    key = fresh()._cache._key((numba.float64,), numba.core.registry.cpu_target.target_context.codegen())

    def write() -> None:
        for _ in range(10):
            kernel_cache.write_atomically(kept, content, mode=0o600)

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write) for _ in range(3)]
        reads = 0
        while not all(w.done() for w in writers):
            assert kernel_cache._read(kept, key) == content[len(kernel_cache.MAGIC) + kernel_cache.CHECKSUM :]
            reads += 1
        for w in writers:
            w.result()
    assert reads > 0
    assert list(kept.parent.iterdir()) == [kept]


def test_a_whole_file_that_numba_cannot_use_is_compiled_anew(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another Numba of the same version, or a key that forgot something."""
    from numba.core.compiler import CompileResult

    monkeypatch.setattr(kernel_cache, "SAID", set())
    with monkeypatch.context() as patch:
        patch.setattr(
            CompileResult, "_rebuild", lambda *a: SimpleNamespace(signature=SimpleNamespace(args=(numba.int8,)))
        )
        assert misses_of() == 1
    assert {"rebuild"} == kernel_cache.SAID
    content = b"\x80\x04no pickle"
    key = fresh()._cache._key((numba.float64,), numba.core.registry.cpu_target.target_context.codegen())
    kept.write_bytes(kernel_cache.MAGIC + kernel_cache._checksum(key, content) + content)
    assert misses_of() == 1
    assert misses_of() == 0


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permissions")
@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_can_write_to_is_not_trusted(
    kept: Path, what: str, mode: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = kept if what == "file" else kept.parent
    target.chmod(target.stat().st_mode | mode)
    before = kept.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(kernel_cache, "pickle", None)
        assert misses_of() == 1
    assert f"{kept} is not trusted: others may write to it" in caplog.text
    assert "chmod go-w" in caplog.text
    if what == "folder":
        assert kept.read_bytes() == before
        assert f"compiled kernels are not kept in {kept.parent}" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners")
def test_what_belongs_to_another_user_is_not_trusted() -> None:
    me = os.geteuid()
    assert cache.untrusted(os.stat_result((0o100600, 0, 0, 1, me, 0, 0, 0, 0, 0))) == ""
    assert cache.untrusted(os.stat_result((0o100600, 0, 0, 1, 0, 0, 0, 0, 0, 0))) == ""
    assert "another user (77777)" in cache.untrusted(os.stat_result((0o100600, 0, 0, 1, 77777, 0, 0, 0, 0, 0)))


def test_without_a_place_everything_is_compiled_in_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kernel_cache, "SAID", set())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RBM_CACHE_DIR", str(tmp_path / "file"))
    assert misses_of() == 1
    assert misses_of() == 1
    (record,) = [r for r in caplog.records if "not kept" in r.getMessage()]
    assert "RBM_CACHE_DIR" in record.getMessage()


def test_without_a_home_there_is_no_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import platformdirs

    monkeypatch.setattr(kernel_cache, "SAID", set())
    monkeypatch.delenv("RBM_CACHE_DIR")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *a: "~/.cache/rbm-toolkit")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no home directory"):
        cache.cache_folder()
    assert misses_of() == 1
    assert "not kept: " in caplog.text
    assert not list(tmp_path.iterdir())


def test_the_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    monkeypatch.setenv("RBM_CACHE_DIR", str(tmp_path / "rbm"))
    assert cache.kernel_folder() == tmp_path / "rbm" / "kernels"
    monkeypatch.delenv("RBM_CACHE_DIR")
    assert cache.kernel_folder() == tmp_path / "numba" / "rbm-kernels"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert cache.kernel_folder() == cache.cache_folder() / "kernels"
    monkeypatch.setenv("RBM_CACHE_DIR", "~/somewhere")
    assert cache.cache_folder() == Path.home() / "somewhere"


def test_nothing_is_written_beside_the_sources(folder: Path) -> None:
    assert query._cache.cache_path == str(folder)
    assert isinstance(interpolated._cache, KernelCache)


def test_the_key_holds_what_the_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    codegen = SimpleNamespace(magic_tuple=lambda: ("x86_64", "cpu", "+avx"))
    made = KernelCache("query", "0")
    keys = [made._key((numba.float64,), codegen)]
    keys.append(made._key((numba.float32,), codegen))
    keys.append(made._key((numba.float64,), SimpleNamespace(magic_tuple=lambda: ("x86_64", "cpu", "+avx2"))))
    keys += [
        KernelCache("other", "0")._key((numba.float64,), codegen),
        KernelCache("query", "1")._key((numba.float64,), codegen),
    ]
    arrays = [
        numba.types.Array(numba.float64, 1, "C", readonly=r, aligned=a) for r in (True, False) for a in (True, False)
    ]
    keys += [made._key((a,), codegen) for a in arrays]
    monkeypatch.setattr(sys, "version", "4.0")
    keys.append(made._key((numba.float64,), codegen))
    monkeypatch.setattr(numba.core.config, "OPT", 0)
    keys.append(made._key((numba.float64,), codegen))
    assert len(set(keys)) == len(keys)
    assert made._key(numba.float64(numba.float64), codegen) == keys[-1]  # a signature: its arguments


def test_a_kernel_is_kept_without_what_other_code_would_link(folder: Path) -> None:
    """Machine code and the names in it: to read the rest was most of the time. Nothing is linked by mistake."""
    assert kernel(double)(1.5) == 3.0
    (path,) = folder.iterdir()
    (_, _, (_, names)), *_ = pickle.loads(path.read_bytes()[53:])
    assert [f.name for f in parse_bitcode(names).functions if "fmul" in str(f) or "double " in str(f)] == []
    made = kernel(double)
    assert made(1.5) == 3.0
    assert misses(made) == 0
    with pytest.raises(RuntimeError, match="unfit for linking"):
        numba.njit(lambda x: made(x))(1.5)


def test_flushed_and_disabled(kept: Path) -> None:
    kernel = fresh()
    kernel._cache.disable()
    assert kernel(1.5) == 3.0
    assert misses(kernel) == 1
    kernel._cache.enable()
    kernel._cache.flush()
    assert not list(kept.parent.iterdir())


@pytest.mark.parametrize("size", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in (1000, -1))])
def test_a_query_answers_in_spite_of_it(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, as Numba's own cache would have ended it; the answer is that of this process."""
    make_case("real").projected(3).save(tmp_path / "m.rbm")
    shared, folder = cache.kernel_folder(), tmp_path / "kernels"
    rbm.load(tmp_path / "m.rbm").solve([3.5])
    folder.mkdir(mode=0o700)
    for path in shared.glob("point_query-*.nbc"):
        content = path.read_bytes()
        (folder / path.name).write_bytes(flip(content, len(content) // 2) if size < 0 else content[:size])
        (folder / path.name).chmod(0o600)
    # the damaged file is found and then taken from the folder that has it: this is about the message, not about
    # compiling
    script = f"""
import sys
from pathlib import Path
from rbm.online.kernels import kernel_cache
whole, read = Path({str(shared)!r}), kernel_cache._read
kernel_cache._read = lambda path, key: read(path, key) or read(whole / path.name, key)
from rbm.command_line import main
sys.exit(main(["query", {str(tmp_path / "m.rbm")!r}, "--mu", "3.5"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "RBM_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "is damaged; the kernel is compiled anew" in done.stderr
    value = float(done.stdout.split("error_bound = ")[1].split()[0])
    assert value == pytest.approx(rbm.load(tmp_path / "m.rbm").solve([3.5]).bound[0], rel=1e-8)


def test_a_query_loads_only_what_it_needs(tmp_path: Path) -> None:
    """In a new process, of kernels on disk: their own files, and nothing that translates."""
    make_case("real").projected(3).save(tmp_path / "m.rbm")
    rbm.load(tmp_path / "m.rbm").solve([3.5])
    code = f"import rbm, sys; rbm.load({str(tmp_path / 'm.rbm')!r}).solve([3.5]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.rpartition(".")[2] for name in done.stdout.split() if name.startswith("rbm.online.kernels.")}
    assert {"point_query", "kernel_cache", "parts"} <= loaded
    assert not loaded & {"translated", "translation", "expressions", "values", "batch_query", "time_march", "vertices"}


def test_the_command(folder: Path, kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "helmholtz-0.npz").write_bytes(bytes(1500))
    (folder.parent / "notes.txt").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    (folder / f".query-0.nbc.unfinished-{'0' * 32}.tmp").write_bytes(bytes(10))
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert str(folder.parent) in shown
    assert "matrices  1 files, 1.5 kB" in shown
    assert "kernels   1 files" in shown
    assert "unfinished 1 files, 10 bytes" in shown
    assert "limit     none" in shown
    size = kept.stat().st_size + 1510
    assert main(["cache", "--size"]) == 0
    assert capsys.readouterr().out == f"{size}\n"
    assert main(["cache", "--path"]) == 0
    assert capsys.readouterr().out == f"{folder.parent}\n"
    assert main(["cache", "--clear"]) == 0
    assert capsys.readouterr().out.startswith("3 files removed")
    assert sorted(p.name for p in folder.parent.rglob("*") if p.is_file()) == ["notes.txt", "notes.txt"]
    assert main(["cache", "--size"]) == 0
    assert capsys.readouterr().out == "0\n"


def test_the_command_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RBM_CACHE_DIR", str(tmp_path / "none"))
    for arguments in (["cache"], ["cache", "--clear"]):
        assert main(arguments) == 0
    assert "0 files" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["cache", "--size", "--clear"])


def test_trouble_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "SAID", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            kernel_cache._say("damage", "a\n b")
        kernel_cache._say("keep", "c")
    assert [r.getMessage() for r in caplog.records] == ["rbm: a b", "rbm: c"]
