"""Kernels as they are translated: what statements do is what Python does, and Numba takes what is not known."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from helpers.translated_kernels import fresh, translations

from rbm.online.kernels import translated
from rbm.online.kernels.compiler import OPTIONS, compiled, inlined
from rbm.online.kernels.lanes import alike, larger, load, modulus, splat, store
from rbm.online.kernels.memory import bare
from rbm.online.kernels.parts import PartCompiler, _KernelLowering
from rbm.online.kernels.solvers import assemble, ldl

SHIFT = 3


class Pair(NamedTuple):
    """Two things."""

    first: Any
    second: Any


@compiled
def collatz(n: int) -> int:
    """Count steps: a function of its own, with a loop and two results."""
    steps = 0
    while n != 1:
        if n > 1000 or steps == 50:
            return -1
        n = n // 2 if n % 2 == 0 else SHIFT * n + 1
        steps += 1
    return steps


@compiled
def two(x: float, y: float) -> Any:
    """Return two numbers from a function of its own."""
    for _ in range(2):
        x, y = y, x + y
    return x, y


@inlined
def apart(pair: Any, at: int) -> Any:
    """Return one of two, and the next place."""
    if at % 2 == 1:
        return pair.first, at + 1
    return pair.second, at + 1


def integers(a: int, b: int, out: Any) -> int:
    """Do what there is with integers."""
    out = bare(out)
    count, found = 0, False
    out[0], out[1], out[2] = a // b, a % b, a // 4 - a % 8
    out[3] = abs(a - b) + min(a, b) * max(a, b)
    out[4] = ((a & 6) << 2) + (a >> 1)
    for i in range(5, -7, -3):
        if i == -1:
            continue
        count += i
        if i < -2 or (found and not a):
            break
        found = i == 2
    for i in range(a, b):
        count += i
    out[5] = count + (1 if found else 0) + (a < b) * 100
    at = 6
    while True:
        out[at] = collatz(at)
        at += 1
        if at == len(out):
            break
    side = at // 10
    square = out[6 : 6 + side * side].reshape((side, side))  # both lengths are one value
    square[1, 0] = square[0, 1] + a
    one, at = apart(Pair(a, b), 1)
    other, at = apart(Pair(a, b), at)
    return count + 3 * one + 5 * other + at


def reals(x: float, y: float, out: Any) -> bool:
    """Do what there is with reals."""
    out = bare(out)
    table = out[:6].reshape((2, 3))
    table[0, 0], table[0, 1], table[0, 2] = x + y, x - y, x * y
    row = table[1]
    row[0], row[1:][0], row[2] = x / y, -x, abs(y)
    row[2] += 0.5
    out[6], out[7] = min(x, y), max(x, y)
    out[8] = np.sqrt(abs(x)) if x == x else 2 * y
    out[9], out[10] = two(x, y)
    out[11] = (x < y) + 2 * (x <= y) + 4 * (x > y) + 8 * (x >= y) + 16 * (x == y) + 32 * (x != y)
    out[12] = x + len(out) + out[6:].shape[0] / 2
    out[13] = float(int(y)) if abs(y) < 100 else np.inf
    return not x > y and x == x


def as_python(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that Python runs, with its parts."""
    parts = {"bare": lambda x: x, "collatz": collatz.py_func, "two": two.py_func, "apart": apart.py_func}
    return FunctionType(function.__code__, {**globals(), **parts})  # type: ignore[arg-type]


def test_integers() -> None:
    made, python = fresh(integers), as_python(integers)
    for a, b in itertools.product((-9, -8, -1, 0, 3, 17), (-5, -2, 1, 4, 8)):
        found, expected = np.zeros(20, np.int64), np.zeros(20, np.int64)
        assert made(a, b, found) == python(a, b, expected), (a, b)
        assert found.tolist() == expected.tolist(), (a, b)
    assert translations(made) == 1
    found = np.zeros(20, np.int64)
    made(7, 0, found)
    assert found[:2].tolist() == [0, 0]  # Numba's x // 0, not an end of the process


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_reals() -> None:
    made, python = fresh(reals), as_python(reals)
    numbers = np.array([-np.inf, -2.5, -0.0, 0.0, 1e-310, 3.7, np.nan])
    for x, y in itertools.product(numbers, numbers):
        found, expected = np.zeros(14), np.zeros(14)
        assert made(float(x), float(y), found) == python(x, y, expected), (x, y)
        np.testing.assert_array_equal(found, expected, err_msg=f"{x}, {y}")
        assert np.signbit(found[6:8]).tolist() == np.signbit(expected[6:8]).tolist(), (x, y)
    assert translations(made) == 1


def powers(x: Any) -> float:
    """Return what is not translated: a power."""
    x = bare(x)
    return x[0] ** 0.5


def changing(x: Any) -> float:
    """Return a number after a name was an integer first."""
    x, total = bare(x), 0
    for i in range(len(x)):
        total = total + x[i]
    return total


@pytest.mark.parametrize(("function", "expected"), [(powers, 1.5), (changing, 3.25)])
def test_what_is_not_known_goes_numbas_way(function: Callable[..., Any], expected: float) -> None:
    """Also when nothing was compiled by Numba's rules before."""
    made = fresh(function)
    assert made(np.array([2.25, 1.0])) == expected
    assert translations(made) == 0
    assert len(made.overloads) == 1


def test_any_trouble_goes_numbas_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with another version of Numba."""

    def broken(*_: Any) -> Any:
        raise AttributeError("another Numba")

    monkeypatch.setattr(translated, "_entry", broken)
    made, out = fresh(integers), np.zeros(20, np.int64)
    assert made(3, 4, out) == as_python(integers)(3, 4, np.zeros(20, np.int64))
    assert translations(made) == 0


def test_a_file_that_has_changed_is_not_translated(tmp_path: Path) -> None:
    """What Python has imported counts, not what the file says since."""
    path = tmp_path / "doubling.py"
    text = (
        "from rbm.online.kernels.compiler import kernel\nfrom rbm.online.kernels.memory import bare\n\n\n"
        "@kernel\ndef f(x):\n    return {} * bare(x)[0]\n"
    )
    path.write_text(text.format(2))
    spec = importlib.util.spec_from_file_location("doubling", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path.write_text(text.format("3.0"))
    made = module.f
    made._cache.disable()
    assert made(np.ones(1)) == 2
    assert translations(made) == 0
    spec.loader.exec_module(module)
    for factor in (3, 4):
        module.f._cache.disable()
        assert module.f(np.ones(1)) == factor
        assert translations(module.f) == 1
        path.write_text(text.format(factor + 1) + "\n" * factor)
        spec.loader.exec_module(module)  # what is imported anew is read anew


class NumbasCompiler(PartCompiler):
    """Numba's pipeline alone."""

    lowering = _KernelLowering


def solved(terms: Any, theta: Any, rhs: Any, scratch: Any, inverse: Any, least: Any, n: int) -> None:
    """Assemble and solve systems in lanes, with a sum, a quotient and a choice of lanes."""
    terms, theta, rhs, scratch, inverse, least = bare((terms, theta, rhs, scratch, inverse, least))
    one = splat(least.dtype.type(1))
    zero = alike(one - one, load(theta, 0))
    entries = n * (n + 1) // 2
    assemble(terms, theta, len(terms) // entries, entries, scratch, zero)
    spare = scratch[entries * len(least) :]
    smallest = ldl(scratch, rhs, n, spare, inverse, one)
    store(least, 0, larger(smallest, one, one / smallest, smallest - modulus(load(rhs, 0))))


@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_lanes_have_the_bits_of_numbas_translation(dtype: Any) -> None:
    """The same operations in the same order, rounded the same way."""
    made = fresh(solved)
    numbas = numba.njit(nogil=True, pipeline_class=NumbasCompiler, **OPTIONS)(solved)
    real = np.dtype(dtype).type(0).real.dtype
    n, terms, width = 7, 3, 64 // real.itemsize
    rng = np.random.default_rng(3)

    def numbers(count: int) -> np.ndarray:
        return rng.standard_normal(count * np.dtype(dtype).itemsize // real.itemsize).astype(real).view(dtype)

    given = numbers(28 * terms), numbers(terms * width), numbers(n * width)
    answers = []
    for function in (made, numbas):
        rhs, least = given[2].copy(), np.zeros(width, real)
        scratch, inverse = np.zeros((28 + n) * width, dtype), np.zeros(n * width, real)
        function(*given[:2], rhs, scratch, inverse, least, n)
        answers.append((rhs, scratch, inverse, least))
    for found, expected in zip(*answers, strict=True):
        assert found.any()
        assert found.tobytes() == expected.tobytes()
    assert (translations(made), translations(numbas)) == (1, 0)
