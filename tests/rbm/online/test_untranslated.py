"""What a translation would get wrong is not translated, and what has effects is computed once."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
import pytest
from helpers.translated_kernels import fresh, translations

from rbm.online.kernels.compiler import compiled
from rbm.online.kernels.lanes import splat, store
from rbm.online.kernels.memory import bare

LENGTH = 100


def last(n: int, x: Any) -> int:
    """Return the last number of a loop, which is not the one that ends it."""
    for i in range(n):
        found = i
    return found


def inner(n: int, x: Any) -> int:
    """Reuse the variable of a loop in a loop in it."""
    total = 0
    for i in range(n):
        for i in range(2):
            total += i + 1
        total += 10 * i
    return total


def stopped(n: int, x: Any) -> int:
    """Look for what is not there."""
    x = bare(x)
    for i in range(n):
        if x[i] > LENGTH:
            break
    return i


def either(n: int, x: Any) -> int:
    """Return one of two numbers, not whether one is there."""
    return n or 5


def both(n: int, x: Any) -> int:
    """Do the same with `and`."""
    return n and n + 1


def sometimes(n: int, x: Any) -> Any:  # noqa: RET503
    """Return nothing at the end."""
    if n > LENGTH:
        return 2.0


def several(n: int, x: Any) -> Any:
    """Return more than a number."""
    return n, n + 1


def narrow(n: int, x: Any) -> int:
    """Compute with what may be numbers of eight bits, which Numba widens."""
    x = bare(x)
    return x[0] + x[1]


def unread(n: int, x: Any) -> int:
    """Ask an argument that may be of a type that is not translated."""
    return n if x == 0 else -n


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that Python runs."""
    return FunctionType(function.__code__, {**globals(), "bare": lambda x: x})


@pytest.mark.parametrize(
    ("function", "x"),
    [
        (last, np.ones(4)), (inner, np.ones(4)), (stopped, np.ones(4)), (either, np.ones(4)), (both, np.ones(4)),
        (sometimes, np.ones(4)), (several, np.ones(4)), (narrow, np.array([200, 100], np.uint8)), (unread, 0j),
    ],
)  # fmt: skip
def test_what_would_be_another_answer_goes_numbas_way(function: Callable[..., Any], x: Any) -> None:
    made = fresh(function)
    wide = x.astype(np.int64) if getattr(x, "dtype", None) == np.uint8 else x
    assert made(4, x) == plain(function)(4, wide)
    assert translations(made) == 0


def early(n: int, x: Any) -> float:
    """Read a name of this function before it has a value, which is not LENGTH of this file."""
    x, total = bare(x), 0.0
    for i in range(n):
        if i > 0:
            total += LENGTH  # noqa: F823
        LENGTH = x[i]  # noqa: F841
    return total


def endless(n: int, x: Any) -> int:
    """Take steps of none."""
    total = 0
    for _ in range(0, n, 0):
        total += 1
    return total


@pytest.mark.parametrize("function", [early, endless])
def test_what_numba_refuses_is_refused(function: Callable[..., Any]) -> None:
    made = fresh(function)
    with pytest.raises((numba.errors.NumbaError, ValueError)):
        made(4, np.ones(4))
    assert translations(made) == 0


@compiled
def bumped(x: Any) -> int:
    """Count calls."""
    x[0] += 1
    return int(x[0])


@compiled
def scaled(pair: Any) -> float:
    """Return a number of a function of its own, to which the known number in a tuple belongs."""
    made = 1.0
    for _ in range(1):
        made = pair[0] * made
    return made


@compiled
def sign(n: int) -> float:
    """Return on all ways, none of which is the last statement, or from a loop without end."""
    if n == 0:
        return 0.0
    elif n > 0:  # noqa: RET505
        while True:
            n -= 1
            if n == 0:
                return 1.0
    else:
        return -1.0


def once(n: int, x: Any) -> float:
    """Compute an index that changes something, make choices that do, and tell both zeros apart."""
    x = bare(x)
    x[bumped(x)] += 1.0
    chosen = -bumped(x) if n > LENGTH or not (n and x[0]) else 3
    return x[0] + 10 * x[1] + 100 * chosen + (1 / scaled((0.0,)) > 1 / scaled((-0.0,))) + sign(n) + 7 * sign(-n)


def test_everything_is_computed_once() -> None:
    made, found = fresh(once), np.zeros(4)
    assert made(4, found) == 1 + 10 + 300 + 1 + 1 - 7
    assert found.tolist() == [1, 1, 0, 0]
    assert translations(made) == 1


def spread(x: Any, out: Any) -> None:
    """Put complex numbers into all lanes, one after the other."""
    x, out = bare(x), bare(out)
    for i in range(len(x)):
        store(out, i, splat(x[i]))


def test_complex_numbers_are_translated_too() -> None:
    """Numba's code for them has memory of its own."""
    made, found = fresh(spread), np.zeros((2, 2, 8))
    made(np.array([1 + 2j, 3 - 4j]), found.view(complex).ravel())
    assert found.tolist() == [[[1] * 8, [2] * 8], [[3] * 8, [-4] * 8]]
    assert translations(made) == 1
