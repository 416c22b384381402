"""The study of the cooling fin: what it writes, what it says, and that its numbers are those of its model."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT

import rbm
from problems import cooling_fin
from problems.studies import cooling
from rbm.command_line.registered import load

SMALL = cooling.Size(refinement=1, training=8, max_basis=8, modes=2, tests=2, batch=20)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    out, said = tmp_path_factory.mktemp("study"), list[str]()
    summary = cooling.run("cooling", out, progress=False, say=said.append, size=SMALL)
    return summary, out, "\n".join(said)


def test_what_it_writes(ran: tuple[dict[str, Any], Path, str]) -> None:
    summary, out, _ = ran
    figures = {
        f"{stem}.{kind}" for stem in ("T_root", "T_tip", "T_mean", "errors", "history") for kind in ("png", "pdf")
    }
    assert {p.name for p in out.iterdir()} == figures | {"film.gif", "summary.json", "model.rbm"}
    assert json.loads((out / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert (out / "film.gif").read_bytes()[:6] == b"GIF89a"
    assert summary["basis_size"] == 8
    assert summary["stopped"] == "max_basis"
    assert [step["size"] for step in summary["history"]] == [0, 2, 4, 6, 8]


def test_its_numbers_are_those_of_the_model(ran: tuple[dict[str, Any], Path, str]) -> None:
    summary, out, _ = ran
    model, reduced = cooling_fin(1), rbm.load(out / "model.rbm")
    flux = cooling.pulses(model.times)
    mus = np.vstack([cooling.SHOWN, model.parameters.sample(2, "random", rng=1)])
    answer, truth = reduced.solve(mus, flux), model.solve(mus, flux)
    assert [row["t"] for row in summary["times"]] == pytest.approx([0.1, 1.0, 3.0, 5.0, 10.0])
    assert summary["bounds_below_true_error"] == 0
    for row in summary["times"]:
        k = round(row["t"] / 0.1)
        assert row["energy"]["largest_bound"] == pytest.approx(answer.bound[:, k].max(), rel=1e-6)
        assert row["l2"]["largest_bound"] == pytest.approx(answer.bound_l2[:, k].max(), rel=1e-6)
        e = truth[:, k] - reduced.reconstruct(answer)[:, k]
        l2 = np.sqrt(np.einsum("mi,mi->m", e, e @ model.mass.terms[0]))
        assert row["l2"]["largest_true_error"] == pytest.approx(l2.max(), rel=1e-6)
        assert row["l2"]["smallest_effectivity"] == pytest.approx((answer.bound_l2[:, k] / l2).min(), rel=1e-6)
        for norm in ("energy", "l2"):
            assert 1 <= row[norm]["smallest_effectivity"] <= row[norm]["largest_effectivity"]
        for output in row["outputs"].values():
            assert 0 < output["largest_true_error"] <= output["largest_bound"]


def test_the_table_fits_a_terminal(ran: tuple[dict[str, Any], Path, str]) -> None:
    summary, _, said = ran
    lines = cooling.table(summary["times"], 3).splitlines()
    assert max(map(len, lines)) <= 80
    assert max(map(len, cooling.table(summary["times"], 3, 132).splitlines())) <= 80
    narrow = cooling.table(summary["times"], 3, 40).splitlines()
    assert max(map(len, narrow)) <= 40
    assert (narrow[0].strip(), narrow[7].strip()) == ("energy norm up to t", "norm of M at t")
    assert [narrow[2].split(), narrow[9].split()[1:]] == [lines[2].split()[:6], lines[2].split()[6:]]
    assert lines[2].split()[0] == "0.10"
    assert "3 bounds below the true error" in lines[7]
    assert "two pulses of heat, not in the training, at 5 points" in said
    assert "0 bounds below the true error" in said


def test_it_is_registered() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["rbm.studies"]
    assert load(EntryPoint("cooling", points["cooling"], "rbm.studies")) is cooling.run


def test_a_tolerance_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rbm.ParameterError, match="tol must be a number >= 0, got -1"):
        cooling.run("cooling", tmp_path / "out", -1.0, say=lambda text: None)
    assert not (tmp_path / "out").exists()
