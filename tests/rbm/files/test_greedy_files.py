"""Files of greedy runs are written piece by piece: the same bytes, and no copy of the basis."""

from __future__ import annotations

import os
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbm.arithmetic.columns import Columns
from rbm.files.greedy_file import load_greedy, save_greedy


def written(basis: Any, path: Path, count: int) -> bytes:
    rng = np.random.default_rng(1)
    save_greedy(basis, rng.random((count, 2)), rng.random((count, 8)), "mark", path, "galerkin", False)
    return path.read_bytes()


@pytest.mark.parametrize("count", [1, 5, 64, 65, 150])
@pytest.mark.parametrize("turns", [False, True])
def test_pieces_give_the_bytes_of_the_whole(
    count: int, turns: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")  # two files, perhaps of two seconds
    rng, columns = np.random.default_rng(0), Columns(200)
    for k in range(count):
        column = rng.standard_normal((200, 1))
        columns.append(column * (1 + 2j) if turns and k > 40 else column)  # a run that turned complex on its way
    whole = written(columns.array, tmp_path / "whole", count)
    assert written(columns.pieces, tmp_path / "pieces", count) == whole
    basis = load_greedy(tmp_path / "pieces")[0]
    np.testing.assert_array_equal(basis, columns.array)
    assert basis.dtype == columns.dtype
    assert basis.flags.f_contiguous


def test_no_copy_of_the_basis_is_made(tmp_path: Path) -> None:
    n, count = 50_000, 150  # 60 MB, in three pieces
    columns = Columns(n)
    columns.append(np.random.default_rng(0).standard_normal((n, count)))
    for basis, allowed in ((columns.pieces, 2e6), (columns.array, 36e6)):
        tracemalloc.start()
        try:
            save_greedy(basis, np.zeros((count, 2)), np.zeros((count, 8)), "", tmp_path / "run", "galerkin", False)
            assert tracemalloc.get_traced_memory()[1] < allowed
        finally:
            tracemalloc.stop()


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes")
def test_a_pipe_gets_the_same_bytes(tmp_path: Path) -> None:
    basis = np.random.default_rng(0).standard_normal((300, 4))
    whole, pipe = written(basis, tmp_path / "whole", 4), tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    rng = np.random.default_rng(1)
    save_greedy(basis, rng.random((4, 2)), rng.random((4, 8)), "mark", pipe, "galerkin", False)
    reader.join(10)
    assert read == [whole]
