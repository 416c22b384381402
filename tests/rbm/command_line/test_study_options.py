"""Options of ``rbm study``: those that a study has, one clear error for others, and where the time went."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rbm
from problems import studies
from problems.studies import cooling
from rbm.command_line import main, registered

Chosen = dict[str, Any]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study of diffusion with few tests and without figures, which take most of its time."""
    small = replace(
        studies.STUDIES["diffusion"], tests=20, training=60, max_basis=5, estimators=("orthonormal", "direct")
    )
    monkeypatch.setitem(studies.STUDIES, "diffusion", small)
    monkeypatch.setattr(studies.running, "figures", lambda *given: None)


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.mark.usefixtures("quick")
def test_the_time_adds_up_in_the_table_and_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", "diffusion", "--out", "o"]) == 0
    out, found = capsys.readouterr().out, read(tmp_path / "o")
    phases = [row["phase"] for row in found["time"] if row["phase"] != "compiling kernels"]
    measured = ["full model", "offline", "files", "estimators", "full-order solutions", "online", "figures"]
    assert phases == [*measured, "everything else"]
    assert sum(row["share"] for row in found["time"]) == pytest.approx(1, rel=1e-9)
    assert all(row["wall_seconds"] >= 0 and row["cpu_seconds"] >= -1e-3 for row in found["time"])
    offline = next(row for row in found["time"] if row["phase"] == "offline")
    assert offline["wall_seconds"] == pytest.approx(found["offline_seconds"], rel=1e-12)
    lines = out[out.index("where the time went") :].splitlines()
    shown = [re.split(r"\s{2,}", line.strip())[0] for line in lines[2:] if line.startswith("  ")]
    assert [name for name in shown if name != "compiling kernels"] == [*measured, "everything else", "all"]
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("width", [60, 80])
def test_what_is_printed_fits_the_terminal(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.chdir(tmp_path)
    assert main(["study", "diffusion", "--out", "o"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= width


@pytest.mark.usefixtures("quick")
def test_sizes_points_and_seeds_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--training", "17", "--size", "30", "--rng", "5"]
    for name, options in (("a", chosen), ("b", chosen), ("c", ["--rng", "6", *chosen[:4]]), ("d", [])):
        assert main(["study", "diffusion", "--out", str(tmp_path / name), "--quiet", *options]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", "")
    a, b, c, d = (read(tmp_path / name) for name in "abcd")
    assert (a["unknowns"], a["training_parameters"], a["rng"], a["size"]) == (29, 17, 5, 30)
    assert (d["unknowns"], d["training_parameters"], d["rng"], d["size"]) == (199, 60, 0, None)
    assert a["sizes"] == b["sizes"] != c["sizes"]
    model = rbm.load(tmp_path / "a" / "model.rbm")
    assert model.record is not None
    assert (model.unknowns, model.record.training) == (29, 17)


def test_the_seed_is_of_training_points_that_are_no_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []

    def noted(model: Any, training: np.ndarray, **named: Any) -> None:
        seen.append(training)
        raise ValueError("enough")

    monkeypatch.setattr(studies.running.rbm, "greedy", noted)
    for rng in (0, 1, 1):
        with pytest.raises(ValueError, match="enough"):
            studies.run("thermal-block", tmp_path, say=lambda text: None, size=6, training=40, rng=rng)
    assert [points.shape for points in seen] == [(40, 9)] * 3
    assert not np.array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[1], seen[2])


@pytest.mark.usefixtures("quick")
def test_json_is_all_of_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (([], "where the time went"), (["--quiet"], "")):
        assert main(["study", "diffusion", "--out", str(tmp_path), "--json", *options]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out) == read(tmp_path)
        assert (said in err) if said else err == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "0"], "size is a number of elements (200), at least 1, got 0"),
        (["--size", "whole"], "size is a number of elements (200), at least 1, got whole"),
        (["--training", "-3"], "training is a number of points, at least 1, got -3"),
        (["--rng", "-1"], "rng must be a whole number of at least 0, got -1"),
        (["--tol", "-1"], "tol must be a number >= 0, got -1.0"),
        (["--tol", "nan"], "tol must be a number >= 0, got nan"),
    ],
)
def test_numbers_that_cannot_be_are_one_line(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("diffusion", "cooling"):
        assert main(["study", name, "--out", str(tmp_path / "new"), *options]) == 2
        wanted = said.replace("elements (200)", cooling.Size().measure) if name == "cooling" else said
        assert capsys.readouterr().err == f"rbm: {wanted}\n"
        assert not (tmp_path / "new").exists()


def test_a_file_in_the_place_of_the_folder_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("mine")
    for out in (tmp_path / "taken", tmp_path / "taken" / "below"):
        assert main(["study", "diffusion", "--out", str(out), "--quiet"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "taken" in said
        assert "a file has the name of a folder: choose another one" in said
    assert (tmp_path / "taken").read_text() == "mine"


def test_cooling_takes_them_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def noted(model: Any, training: np.ndarray, **named: Any) -> None:
        seen.append((model.dimension, training))
        raise ValueError("enough")

    monkeypatch.setattr(cooling.rbm, "pod_greedy", noted)
    for rng in (0, 3):
        with pytest.raises(ValueError, match="enough"):
            cooling.run("cooling", tmp_path, say=lambda text: None, size=1, training=11, rng=rng)
    (first, a), (second, b) = seen
    assert first == second < 1353
    assert a.shape == b.shape == (11, 5)
    assert not np.array_equal(a, b)


def old(name: str, out: Path, tol: float | None) -> None:
    """A study with the signature that all had."""
    out.mkdir(parents=True)
    (out / "done").write_text(f"{name} {tol}")
    print("its report")


def seeded(name: str, out: Path, tol: float | None, *, rng: int = 1) -> dict[str, int]:
    """A study with one option more."""
    return {"rng": rng}


def silent(name: str, out: Path, tol: float | None, *, say: Any = print, size: Any = None) -> Any:
    """A study that can be silent, and has sizes with names."""
    say(f"a report of size {size!r}")
    return None if size == "none" else {"size": size}


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sys.modules[__name__].old is old  # so that the entry points are found
    names = ("old", "seeded", "silent")
    entries = {name: EntryPoint(name, f"{__name__}:{name}", registered.STUDIES) for name in names}
    monkeypatch.setattr(registered, "registered", lambda group: entries)


@pytest.mark.usefixtures("others")
def test_studies_of_others_have_what_their_functions_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "old", "--out", str(tmp_path / "o"), "--tol", "0.5"]) == 0
    assert (tmp_path / "o" / "done").read_text() == "old 0.5"
    assert capsys.readouterr().out == "its report\n"
    for options, said in (
        (["old", "--rng", "1"], "'old' has no --rng; it has --out, --tol"),
        (["old", "--size", "4", "--quiet"], "'old' has no --size, --quiet; it has --out, --tol"),
        (["seeded", "--json", "--rng", "3"], "'seeded' has no --json; it has --out, --tol, --rng"),
        (["silent", "--training", "3"], "'silent' has no --training; it has --out, --tol, --size, --json, --quiet"),
    ):
        assert main(["study", *options, "--out", str(tmp_path / "never")]) == 2
        assert capsys.readouterr().err == f"rbm: the study {said}\n"
    assert not (tmp_path / "never").exists()
    assert main(["study", "silent", "--out", str(tmp_path), "--quiet", "--size", "7"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["study", "silent", "--out", str(tmp_path), "--json", "--size", "large"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"size": "large"}, "a report of size 'large'\n")
    assert main(["study", "silent", "--out", str(tmp_path), "--json", "--size", "none"]) == 2
    assert "has written no summary.json for --json to print" in capsys.readouterr().err
