"""Damaged files of compiled kernels: each is read in a process of its own, which answers a query with what it finds.

A process is a fork of one that has loaded Numba and a model, but no kernel. Where the damage is found, the kernel is
read from a whole copy instead of being compiled, which takes ten seconds; every `COMPILED`-th process compiles it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np

import rbm
from benchmarks.damage import DAMAGES

__all__ = ["sweep_kernels"]

SEED = 2026
COMPILED = 60


def _answer(model: rbm.ReducedModel, folder: Path, whole: Path | None) -> dict[str, Any]:
    """Numbers of a query whose kernels are read from a folder, and whether something was refused."""
    from rbm.online.kernels import kernel_cache

    read, refused = kernel_cache._read, []

    def reading(path: Path, key: bytes) -> bytes | None:
        found = read(path, key)
        if found is None:
            refused.append(path.name)
            return read(whole / path.name, key) if whole is not None else None
        return found

    kernel_cache._read = reading
    os.environ["RBM_CACHE_DIR"] = str(folder.parent)
    solution = model.solve([[1.25], [2.5]])
    return {"numbers": (solution.coefficients.tobytes() + solution.bound.tobytes()).hex(), "refused": refused}


def _forked(*given: Any) -> dict[str, Any]:
    """:func:`_answer` in a fork of this process; "ended" if the process was ended by a signal or an exception."""
    reader, writer = os.pipe()
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.write(writer, json.dumps(_answer(*given)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        content = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return json.loads(content) if status == 0 else {"ended": status}


@contextlib.contextmanager
def _environment(folder: str) -> Iterator[None]:
    before = os.environ.get("RBM_CACHE_DIR")
    os.environ["RBM_CACHE_DIR"] = folder
    try:
        yield
    finally:
        os.environ.pop("RBM_CACHE_DIR") if before is None else os.environ.update(RBM_CACHE_DIR=before)


def sweep_kernels(start: int, stop: int, examples: list[str]) -> Counter[str]:
    """Damages files number `start` to `stop` and counts "damage: outcome".

    This process must not have run a kernel.
    """
    from rbm.online.kernels.batch_query import query
    from rbm.storage.cache import kernel_folder

    numba.njit(_any)(np.ones(1))  # what Numba sets up once per process, the forks need not set up again
    if query.signatures:
        raise RuntimeError("a process that has loaded the kernels reads no file; sweep them in a new one")
    p = rbm.ParameterSpace({"mu": (1.0, 3.0)})
    model = _projected(
        rbm.FullOrderModel([("mu", np.eye(3)), (1.0, np.diag([1.0, 2.0, 3.0]))], [(1.0, np.ones(3))], np.eye(3), p, 1.0)
    )
    counts = Counter[str]()
    shared = kernel_folder()
    expected = _forked(model, shared, None)  # compiles it, if that has not been done
    with tempfile.TemporaryDirectory() as scratch, _environment(scratch):
        folder = Path(scratch) / "kernels"
        folder.mkdir(mode=0o700)
        contents = {path.name: path.read_bytes() for path in sorted(shared.glob("*.nbc"))}
        name = _needed(model, folder, shared, contents, expected)
        for index in range(start, stop):
            rng = np.random.default_rng([SEED, zlib.crc32(b"kernels"), index])
            damage = list(DAMAGES)[index % len(DAMAGES)]
            others = [c for n, c in contents.items() if n != name] + [contents[name][53:], b"\x80\x04."]
            damaged = DAMAGES[damage](rng, contents[name], others)
            if damaged is None:
                damage, damaged = "one bit", DAMAGES["one bit"](rng, contents[name], others)
            (folder / name).write_bytes(damaged or b"")
            (folder / name).chmod(0o600)
            got = _forked(model, folder, None if index % COMPILED == 0 else shared)
            if "ended" in got:
                what = "error"
            elif got["numbers"] != expected["numbers"]:
                what = "wrong"
            else:
                what = "rebuilt" if got["refused"] else "same" if damaged == contents[name] else "wrong"
            counts[f"{damage}: {what}"] += 1
            if what in ("wrong", "error") and len(examples) < 10:
                examples.append(f"compiled kernels {index}, {damage}: {what} {got}"[:300])
    return counts


def _any(x: Any) -> Any:
    return x + x


def _projected(model: rbm.FullOrderModel) -> rbm.ReducedModel:
    return rbm.project(model, np.eye(3)[:, :2])


def _needed(model: Any, folder: Path, shared: Path, contents: dict[str, bytes], expected: dict[str, Any]) -> str:
    """The file of the kernel that answers, among those that a query reads."""
    for name in contents:
        (folder / name).write_bytes(b"")
        (folder / name).chmod(0o600)
    got = _forked(model, folder, shared)
    assert got["numbers"] == expected["numbers"], got
    for name in contents:
        (folder / name).unlink(missing_ok=True)
    return next(name for name in got["refused"] if name.startswith("query-"))
