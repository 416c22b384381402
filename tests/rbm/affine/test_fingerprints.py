"""Fingerprints of models.

They are the same for the same content, also in another process, and others for anything that changes an answer.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import scipy.sparse as sp
from helpers import ROOT, TESTS
from scipy.interpolate import CubicSpline, interp1d
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import rbm
from rbm.affine.fingerprints import digest
from rbm.parameters.interpolated_family import InterpolatedFamily
from rbm.stability.bound import Anchored, MinTheta

K = sp.diags_array([-np.ones(4), 2 * np.ones(5), -np.ones(4)], offsets=[-1, 0, 1], format="csr")
M = sp.eye_array(5, format="csr")
FACTOR = 2.0


def model(**changes: Any) -> rbm.FullOrderModel:
    settings: dict[str, Any] = {
        "operators": [(1.0, K), ("mu", M)],
        "rhs": [(1.0, np.ones(5))],
        "product": K,
        "parameters": rbm.ParameterSpace({"mu": (1.0, 2.0)}),
        "stability": 1.0,
        "outputs": {"s": np.ones(5)},
    }
    return rbm.FullOrderModel(**settings | changes)


def other(entry: float) -> sp.csr_array:
    changed = K.copy()
    changed.data[0] = entry
    return changed


def of_black_box(factor: float) -> LinearOperator:
    return LinearOperator((5, 5), matvec=lambda v: factor * (M @ v), dtype=float)


def solve(matrix: Any, rhs: np.ndarray) -> np.ndarray:
    return rhs


CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "an entry, by its last bit": {"operators": [(1.0, K), ("mu", M * np.nextafter(1, 2))]},
    "dense": {"operators": [(1.0, K), ("mu", M.toarray())]},
    "complex": {"operators": [(1.0, K), ("mu", M * (1 + 0j))]},
    "order": {"operators": [("mu", M), (1.0, K)]},
    "a formula": {"operators": [(1.0, K), ("mu*mu", M)]},
    "a number": {"operators": [(1.0 + 1e-15, K), ("mu", M)]},
    "a family": {"operators": [(1.0, K), (InterpolatedFamily.polynomial("mu", [1, 2]).terms()[0], M)]},
    "another family": {"operators": [(1.0, K), (InterpolatedFamily.polynomial("mu", [1, 2.5]).terms()[0], M)]},
    "another term": {"operators": [(1.0, K), (InterpolatedFamily.polynomial("mu", [1, 2]).terms()[1], M)]},
    "another factor": {"operators": [(1.0, K), (InterpolatedFamily.polynomial("mu", [1, 2]).terms("mu")[0], M)]},
    "rhs": {"rhs": [(1.0, np.arange(5.0))]},
    "rhs formula": {"rhs": [("mu", np.ones(5))]},
    "product": {"product": M},
    "a range, by its last bit": {"parameters": rbm.ParameterSpace({"mu": (1.0, np.nextafter(2, 3))})},
    "scale": {"parameters": rbm.ParameterSpace({"mu": (1.0, 2.0)}, "log")},
    "stability": {"stability": 0.5},
    "min-theta": {"stability": MinTheta([1.0])},
    "min-theta elsewhere": {"stability": MinTheta([1.5])},
    "min-theta with a constant": {"stability": MinTheta([1.0], 0.5)},
    "anchored": {"stability": Anchored(progress=False)},
    "anchored, another ratio": {"stability": Anchored(ratio=0.4, progress=False)},
    "anchored, another rng": {"stability": Anchored(rng=1, progress=False)},
    "output": {"outputs": {"s": np.arange(5.0)}},
    "output by another name": {"outputs": {"t": np.ones(5)}},
    "output formula": {"outputs": {"s": [("mu", np.ones(5))]}},
    "quadratic output": {"outputs": {"s": M}},
    "two outputs": {"outputs": {"s": np.ones(5), "t": np.ones(5)}},
    "one of two terms": {"outputs": {"s": [(1.0, np.ones(5)), (1.0, np.ones(5))]}},
    "no output": {"outputs": None},
    "interpolation error": {"interpolation_error": (1e-3, 0.0)},
    "the other interpolation error": {"interpolation_error": (0.0, 1e-3)},
    "black box": {"operators": [(1.0, K), ("mu", of_black_box(1.0))], "solver": solve},
    "another black box": {"operators": [(1.0, K), ("mu", of_black_box(1.0 + 1e-6))], "solver": solve},
}


def test_models_that_differ_have_different_fingerprints_and_equal_ones_the_same() -> None:
    found = {name: model(**change).fingerprint() for name, change in CHANGES.items()}
    names = list(found)
    for name in names:
        assert [n for n in names if found[n] == found[name]] == [name]
    assert found == {name: model(**change).fingerprint() for name, change in CHANGES.items()}


def test_what_changes_no_number_does_not_count() -> None:
    plain = model().fingerprint()
    assert model(solver=lambda a, b: np.linalg.solve(a.toarray(), b)).fingerprint() == plain
    assert model(projection="least-squares").fingerprint() == plain
    silent, cached = (
        model(stability=a).fingerprint() for a in (Anchored(progress=False), Anchored(cache="out", progress=True))
    )
    assert silent == cached
    boxes = (
        of_black_box(1.0),
        aslinearoperator(M),
        of_black_box(1.0 + 1e-15),
    )  # round-off is none of an operator's own
    assert len({digest(box) for box in boxes}) == 1


def test_inf_sup_constants_do_not_depend_on_right_hand_sides_outputs_and_bounds() -> None:
    same = ("nothing", "rhs", "rhs formula", "stability", "min-theta", "output", "interpolation error")
    assert len({model(**CHANGES[name]).operators_fingerprint() for name in same}) == 1
    others = ("an entry, by its last bit", "order", "a formula", "product", "a range, by its last bit", "scale")
    assert len({model(**CHANGES[name]).operators_fingerprint() for name in ("nothing", *others)}) == 1 + len(others)


class Affine:
    shift = 1.0

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def __call__(self, mus: np.ndarray) -> np.ndarray:
        return self.helper(mus) + self.shift

    def helper(self, mus: np.ndarray) -> np.ndarray:
        return self.slope * mus[:, 0]


class Steeper(Affine):
    def helper(self, mus: np.ndarray) -> np.ndarray:
        return 2 * self.slope * mus[:, 0]


class Slotted:
    __slots__ = ("slope",)

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def __call__(self, mus: np.ndarray) -> np.ndarray:
        return self.slope * mus[:, 0]


def scaled(factor: Any) -> Callable[[np.ndarray], np.ndarray]:
    return lambda mus: factor * mus[:, 0]


def countdown(n: int) -> int:
    return n and countdown(n - 1)


def with_default(mus: np.ndarray, factor: float = 2.0) -> np.ndarray:
    return factor * mus[:, 0]


def inner_global(mus: np.ndarray) -> list[float]:
    return [FACTOR * x for x in mus[:, 0]]


TABLE = np.linspace(0, 1, 5)


def callables() -> list[Any]:
    """Made anew at each call; no two are the same function."""
    return [
        lambda mus: mus[:, 0],
        lambda mus: mus[:, 0] ** 2,
        lambda mus: 2.0 * mus[:, 0],
        lambda mus: 3.0 * mus[:, 0],
        lambda mus: 3 * mus[:, 0],
        lambda mus: np.sin(mus[:, 0]),
        lambda mus: np.cos(mus[:, 0]),
        lambda mus: np.where(mus[:, 0] > 1, 1.0, 0.0),
        lambda mus: FACTOR * mus[:, 0],
        scaled(2.0),
        scaled(3.0),
        scaled(TABLE),
        scaled(TABLE + 1e-16 * (TABLE > 0.5)),
        with_default,
        partial(with_default, factor=3.0),
        partial(with_default, factor=4.0),
        inner_global,
        countdown,
        Affine(1.0),
        Affine(2.0),
        Affine(1.0).helper,
        Steeper(1.0),
        Slotted(1.0),
        Slotted(2.0),
        np.vectorize(lambda x: x + 1),
        np.vectorize(lambda x: x + 2),
        np.sin,
        np.cos,
        CubicSpline(TABLE, TABLE**2),
        CubicSpline(TABLE, TABLE**3),
        interp1d(TABLE, TABLE**2),
        interp1d(TABLE, TABLE**3),
        numba.njit(lambda x: x + 1.0),
        numba.njit(lambda x: x + 2.0),
        {1.0: (TABLE, "a"), "b": {3, 1, 2}},
        {1.0: (TABLE, "a"), "b": {3, 1, 4}},
    ]


def test_callables_count_by_their_content() -> None:
    """Not by their names: all functions of one module written as lambda have the same."""
    found = [digest(f) for f in callables()]
    assert len(set(found)) == len(found)
    assert found == [digest(f) for f in callables()]
    first, second = (model(operators=[(1.0, K), (f, M)]).fingerprint() for f in (scaled(2.0), scaled(3.0)))
    assert first != second


def test_a_global_that_a_function_uses_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [digest(f) for f in (inner_global, scaled(2.0))]
    monkeypatch.setitem(inner_global.__globals__, "FACTOR", 3.0)
    after = [digest(f) for f in (inner_global, scaled(2.0))]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_a_module_that_a_function_uses_counts_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for factor in (2.0, 3.0):
        (tmp_path / "helpers_of_a_user.py").write_text(f"def f(mus):\n    return {factor} * mus[:, 0]\n")
        import helpers_of_a_user  # type: ignore[import-not-found]

        found.append(digest(lambda mus, helpers=helpers_of_a_user: helpers.f(mus)))
    assert found[0] != found[1]


def test_what_cannot_be_looked_into_is_the_same_as_itself_only() -> None:
    one, two = np.random.default_rng(0), np.random.default_rng(0)
    assert digest(one) == digest(one) != digest(two)
    assert digest(scaled(one)) == digest(scaled(one)) != digest(scaled(two))


def test_a_fresh_process_finds_the_same_fingerprints() -> None:
    """But for what only this process can know."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import test_fingerprints as t\n"
        "print(*[t.model(**c).fingerprint() for c in t.CHANGES.values()], *map(t.digest, t.callables()))"
    )
    here = [model(**c).fingerprint() for c in CHANGES.values()] + [digest(f) for f in callables()]
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(TESTS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.split() == here
