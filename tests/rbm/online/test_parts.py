"""How kernels are compiled: arrays as an address and a shape, functions that are only parts, and what is not needed."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from helpers.translated_kernels import fresh, translations
from numba.core import entrypoints
from numba.core.errors import TypingError

from rbm.online.kernels import memory
from rbm.online.kernels.compiler import compiled, inlined
from rbm.online.kernels.formulas import evaluate_point


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
        evaluate_point()


@compiled
def doubled(x: float) -> float:
    """Return twice a number."""
    return 2 * x


@inlined
def raised(x: float) -> float:
    """Return what is not translated."""
    return 4 * x**0.5


def twice(x: float) -> float:
    """Ask a part."""
    return doubled(x)


def thrice(x: float) -> float:
    """Ask both parts."""
    return doubled(x) + raised(x)


def power(x: float) -> float:
    """Ask no part."""
    return x**1.5


def test_only_numbas_own_way_asks_for_extensions_and_for_its_record_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extensions are looked for in all packages that are installed; a record of a part takes half a millisecond."""
    asked = []

    class EntryPoints:
        def select(self, **which: str) -> list[Any]:
            asked.append(which)
            return []

    monkeypatch.setattr(entrypoints, "_already_initialized", False)
    monkeypatch.setattr(entrypoints.importlib_metadata, "entry_points", EntryPoints)
    made = fresh(twice)
    assert made(1.5) == 3.0
    assert translations(made) == 1
    assert (asked, "_dispatcher" in vars(doubled)) == ([], False)
    made = fresh(power)
    assert made(4.0) == 8.0
    assert translations(made) == 0
    assert asked == [{"group": "numba_extensions", "name": "init"}]
    made = fresh(thrice)
    assert made(2.25) == 4.5 + 6.0
    assert translations(made) == 0
    assert "_dispatcher" in vars(doubled)
    assert raised.__doc__ == "Return what is not translated."
