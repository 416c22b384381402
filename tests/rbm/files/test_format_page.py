"""The page about the .rbm format is enough: a reader written from it alone answers like the package."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from format_reader import answer, march, members, model
from helpers import ROOT

import problems
import rbm

N = 60
ONE = np.ones(N)
STIFFNESS = sp.diags_array([-ONE[1:], 2 * ONE, -ONE[1:]], offsets=[-1, 0, 1]).tocsr() * (N + 1)
MASS = sp.diags_array([ONE[1:], 4 * ONE, ONE[1:]], offsets=[-1, 0, 1]).tocsr() / (6 * (N + 1))


def plain() -> tuple[rbm.FullOrderModel, Any]:
    full = problems.thermal_fin(1)
    return full, rbm.greedy(full, full.parameters.sample(40), max_basis=5).reduced_model


def complex_valued() -> tuple[rbm.FullOrderModel, Any]:
    full = problems.frequency_sweep("duct", n=200, wavenumbers=(2.0, 4.0))
    return full, rbm.greedy(full, full.parameters.sample(40), max_basis=6).reduced_model


def anchored() -> tuple[rbm.FullOrderModel, Any]:
    left = np.arange(N) < N // 2
    full = rbm.FullOrderModel(
        [(1.0, STIFFNESS.toarray()), ("-k**2 + 3j*sqrt(k)", np.diag(left / N)), ("exp(1j*k)*d", np.diag(~left / N))],
        [("exp(1j*k)", ONE / N), (0.5, np.arange(N) / N**2)],
        STIFFNESS.toarray(),
        {"k": (1.0, 4.0), "d": (0.5, 5.0)},
        rbm.stability.Anchored(),
        {"mean": [("1/k", ONE / N)]},
        projection="least-squares",
    )
    return full, rbm.greedy(full, full.parameters.sample(30), max_basis=3).reduced_model


def partitioned() -> tuple[rbm.FullOrderModel, Any]:
    full = problems.reaction_diffusion_1d(50)
    return full, rbm.greedy(full, full.parameters.sample(200), tol=1e-5, max_basis=3, split=True).reduced_model


def quantized() -> tuple[rbm.FullOrderModel, Any]:
    full, reduced = plain()
    return full, reduced.quantize({"basis": 8, "matrices": 12})


def quantized_complex() -> tuple[rbm.FullOrderModel, Any]:
    full, reduced = complex_valued()
    return full, reduced.quantize(10)


CASES: dict[str, Callable[[], tuple[rbm.FullOrderModel, Any]]] = {
    f.__name__: f for f in (plain, complex_valued, anchored, partitioned, quantized, quantized_complex)
}


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_enough_to_answer(case: str, tmp_path: Path) -> None:
    """Solution, bound and outputs at points of the box; and the reader's bound holds for the full model by itself."""
    full, reduced = CASES[case]()
    reduced.save(tmp_path / "m.rbm")
    header, arrays = model((tmp_path / "m.rbm").read_bytes())
    mus = full.parameters.sample(12, "random", rng=3)
    solution, exact = reduced.solve(mus), full.solve(mus)
    seen = 0
    for i, mu in enumerate(mus):
        found = answer(header, arrays, mu)
        size = len(found["gamma"])
        scale = np.abs(found["gamma"]).max()
        np.testing.assert_allclose(found["gamma"], solution.coefficients[i, :size], rtol=0, atol=1e-9 * scale)
        moved = found.get("moved", 0.0)
        if found["value"] > 1e4 * found["floor"]:
            seen += 1
            if "moved" not in found:  # and nothing was evaluated a second time, so that floors are those of the page
                assert found["floor"] / found["beta"] == pytest.approx(solution.estimate.floor[i], rel=1e-5, abs=0)
            assert found["bound"] + moved == pytest.approx(solution.bound[i], rel=1e-6, abs=0)
        off = found["u"] - exact[i]
        error = np.sqrt((off.conj() @ (full.product @ off)).real)
        assert error <= (found["bound"] + moved) * (1 + 1e-9)
        for name, (value, bound) in found["outputs"].items():
            assert value == pytest.approx(solution.outputs[name][i], rel=1e-8, abs=0)
            truth = full.outputs[name](mus[i : i + 1], exact[i : i + 1])[0]
            assert abs(truth - value) <= bound
    assert seen >= 6
    assert {entry["name"] for entry in (header.get("leaves") or [header])[0]["outputs"]} == set(solution.outputs)


@pytest.mark.parametrize("theta", [1.0, 0.5])
def test_the_page_is_enough_to_march(theta: float, tmp_path: Path) -> None:
    full = rbm.TimeModel(
        mass=MASS, operators=[("k", STIFFNESS), (1.0, MASS)], rhs=[(1.0, ONE / (N + 1))], product=STIFFNESS,
        parameters={"k": (0.1, 2.0)}, stability="k", dt=0.01, steps=12, theta=theta, outputs={"mean": ONE / N},
        initial=[("k", np.sin(np.pi * np.arange(1, N + 1) / (N + 1))), (1.0, ONE)], control=np.linspace(1, 2, 12),
    )  # fmt: skip
    reduced = rbm.pod_greedy(full, full.parameters.sample(10), max_basis=4).reduced_model
    reduced.save(tmp_path / "t.rbm")
    header, arrays = model((tmp_path / "t.rbm").read_bytes())
    for mu in ([0.3], [1.7]):
        solution = reduced.solve([mu])
        gamma, bound = march(header, arrays, np.array(mu))
        np.testing.assert_allclose(gamma, solution.coefficients[0], rtol=0, atol=1e-10 * np.abs(gamma).max())
        np.testing.assert_allclose(bound, solution.estimate.value[0], rtol=1e-6)
        errors = full.error_norms([mu], gamma[None], arrays["basis"]).energy[0]
        assert np.all(errors <= bound * (1 + 1e-9))


def test_the_reader_knows_nothing_of_the_package() -> None:
    tree = ast.parse((ROOT / "tests/rbm/files/format_reader.py").read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert imported <= {
        "__future__",
        "ast",
        "cmath",
        "hashlib",
        "json",
        "math",
        "operator",
        "struct",
        "typing",
        "numpy",
    }


def test_every_array_of_these_files_is_on_the_page(tmp_path: Path) -> None:
    """Names of arrays and keys of headers, but the inner ones of outputs that the page leaves to the sources."""
    text = (ROOT / "docs/rbm-format.md").read_text()
    for case in CASES.values():
        case()[1].save(tmp_path / "m.rbm")
        header, arrays = model((tmp_path / "m.rbm").read_bytes())
        for key in header:
            assert f"`{key}`" in text, key
        for name in arrays:
            last = name.rpartition("/")[2]
            inner = "outputs/" in name and last not in ("vectors", "dual", "defects", "rounding")
            assert inner or f"/{last}`" in text or f"`{last}`" in text, name


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    plain()[1].save(tmp_path / "m.rbm")
    blob = bytearray((tmp_path / "m.rbm").read_bytes())
    place = blob.index(members(bytes(blob))["operators.npy"]) + 200
    blob[place] ^= 1
    with pytest.raises(AssertionError):
        model(bytes(blob))
