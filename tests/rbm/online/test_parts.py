"""How kernels are compiled: arrays as an address and a shape, and functions that are only parts."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from rbm.online import kernels
from rbm.online.kernels import memory


def test_memory_is_indexed_as_an_array() -> None:
    """Entries, rows, pieces, shapes and other types of an address with a shape, against NumPy."""
    table, flags = np.arange(24.0).reshape(4, 6), np.zeros(3, bool)

    @numba.njit
    def read(array: Any, flags: Any, whole: Any) -> Any:
        made, own = memory.bare((array, flags))
        own[1] = made[3, 5] > made.shape[0]
        made[0, 0] = -7
        row, rows = made[2], made[1:3]
        piece, numbers = row[1:100], made.reshape((24,))
        again = numbers.viewed(whole.dtype)
        return (
            row[1], rows[1, 2], len(rows), piece[0], len(piece), made[2, 1:3][1], numbers[23], again.itemsize,
            len(again), made.reshape((2, 3, 4))[1, 2, 3], made.address % 8,
        )  # fmt: skip

    expected = table[2, 1], table[2, 2], 2, table[2, 1], 5, table[2, 2], 23.0, 8, 24, 23.0, 0
    assert read(table, flags, np.zeros(1, np.int64)) == expected
    assert table[0, 0] == -7
    assert flags.tolist() == [False, True, False]
    with pytest.raises(TypingError):
        numba.njit(lambda x: memory.bare(x)[0, 0, 0])(table)


def test_tuples_in_tuples_become_memory() -> None:
    """Also of one array more than once, beside numbers, and through views as integers."""

    @numba.njit
    def read(nested: Any) -> Any:
        count, (first, (second, factor)) = memory.bare(nested)
        second.viewed(np.int64)[1] = count
        return first.address == second.address, first[0], second.viewed(np.int64)[1], factor

    numbers = np.array([2.5, 0.0])
    assert read((3, (numbers, (numbers, 0.5)))) == (True, 2.5, 3, 0.5)
    assert numbers.view(np.int64)[1] == 3


def test_a_part_of_kernels_is_not_called_by_python() -> None:
    with pytest.raises(TypeError, match="evaluate_point is a part of kernels"):
        kernels.evaluate_point()
