"""What a first run says and measures.

Compiling kernels, what solves the full-order systems, and what a missing package needs.
"""

from __future__ import annotations

import importlib
import sys
import tomllib

import numpy as np
import pytest
import scipy.sparse as sp
from helpers import ROOT

import rbm
from lowrank import optional
from problems.acoustics.matrix_cache import BEMPP
from problems.studies import solver_name
from rbm.online import compilation
from rbm.online.kernels.batch_query import query


class _Terminal:
    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


def test_a_compilation_is_timed_and_said_once_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    @numba.njit
    def inner(x: float) -> float:
        return x * 2

    @numba.njit
    def outer(x: float) -> float:
        return inner(x) + 1

    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(compilation, "_said", [False])
    compilation.watch((outer,))
    before = compilation.compile_seconds()
    inner(1)  # not one of the kernels
    assert compilation.compile_seconds() == before
    assert terminal.text == ""
    outer(1.0)
    after = compilation.compile_seconds()
    assert after > before
    assert terminal.text == "compiling the kernels, once (a few seconds; they are kept on disk)\n"
    outer(2.0)
    assert compilation.compile_seconds() == after  # compiled already
    outer(1j)  # type: ignore[arg-type]
    assert compilation.compile_seconds() > after
    assert terminal.text.count("\n") == 1


def test_nothing_is_said_where_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compilation, "_said", [False])
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    compilation._announce()
    assert capsys.readouterr().err == ""


def test_the_time_of_a_greedy_run_is_without_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(np.cumsum(np.full(100, 1e6)))
    monkeypatch.setattr(importlib.import_module("rbm.greedy.run"), "compile_seconds", lambda: next(seconds))
    model = rbm.FullOrderModel(
        operators=[(1.0, np.eye(3)), ("mu", np.diag([1.0, 2.0, 3.0]))],
        rhs=[(1.0, np.ones(3))],
        product=np.eye(3),
        parameters=rbm.ParameterSpace({"mu": (1.0, 2.0)}),
        stability=1.0,
    )
    result = rbm.greedy(model, [[1.0], [1.5], [2.0]], max_basis=2, progress=False)
    assert all(step.seconds < 0 for step in result.history)


def test_the_kernels_are_watched() -> None:
    assert query is not None
    from numba.core import event

    listeners = event._registered["numba:compile"]
    assert any(type(x).__module__ == "rbm.online.compilation" for x in listeners)


def test_a_study_names_the_solver_of_the_full_order_systems() -> None:
    def pardiso(matrix: object, rhs: np.ndarray) -> np.ndarray:
        return np.linalg.solve(sp.csr_array(matrix).toarray(), rhs)

    def model(matrix: object, **more: object) -> rbm.FullOrderModel:
        return rbm.FullOrderModel(
            operators=[(1.0, matrix)],
            rhs=[(1.0, np.ones(3))],
            product=np.eye(3),
            parameters=rbm.ParameterSpace({"mu": (1.0, 2.0)}),
            stability=1.0,
            **more,  # type: ignore[arg-type]
        )

    assert solver_name(model(np.eye(3))) == "dense LU"
    assert solver_name(model(sp.eye_array(3, format="csr"))) == "sparse LU"
    assert solver_name(model(sp.eye_array(3, format="csr"), solver=pardiso)) == "the model's own solver pardiso"


def test_a_greedy_run_shows_bound_and_tolerance_and_no_total(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    class Bar:
        n = 0

        def __init__(self, items: object, text: str, *, enabled: bool = True, total: int | None = None) -> None:
            seen["total"] = total

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def update(self, steps: int) -> None:
            pass

        def set_postfix_str(self, text: str) -> None:
            seen["postfix"] = text

    monkeypatch.setattr(importlib.import_module("rbm.weak_greedy"), "progress_bar", Bar)
    model = rbm.FullOrderModel(
        operators=[(1.0, np.eye(4)), ("mu", np.diag([1.0, 2.0, 3.0, 4.0]))],
        rhs=[(1.0, np.ones(4))],
        product=np.eye(4),
        parameters=rbm.ParameterSpace({"mu": (1.0, 2.0)}),
        stability=1.0,
    )
    rbm.greedy(model, [[1.0], [1.5], [2.0]], tol=1e-9, max_basis=2)
    assert seen["total"] is None
    assert str(seen["postfix"]).endswith(", tol 1.0e-09")


# ---- packages that are missing


def test_the_line_for_a_missing_package_works_for_one_that_is_in_no_registry() -> None:
    with pytest.raises(ImportError) as error:
        optional.require("no_such_module", f"bempp-cl=={BEMPP}", "assembly", "bem")
    line = str(error.value)
    assert line.endswith('pip install bempp-cl==0.4.2, or, in a clone of this package, pip install ".[bem]"')
    with pytest.raises(ImportError, match=r"not installed: pip install meshio$"):
        optional.require("no_such_module", "meshio", "reading")


def test_versions_that_are_named_are_those_of_the_extras() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    listed = [requirement for names in extras.values() for requirement in names]
    assert f"bempp-cl=={BEMPP}" in listed


def test_no_line_of_the_code_installs_from_a_registry_what_is_in_none() -> None:
    root = ROOT
    for package in ("lowrank", "eim", "rbm", "problems", "ml"):
        for path in (root / package).rglob("*.py"):
            assert "rbm-toolkit[" not in path.read_text(), path
