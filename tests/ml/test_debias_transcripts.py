"""Transcripts: lines that are refused, models that need a name, half characters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowrank.reading import FileFormatError
from ml.language.debiasing import bias_report, own_items
from ml.language.models import callable_model

FEW = own_items()[:12]


@pytest.mark.parametrize("values", [[float("nan"), -1, -2], [0.5, -1, -2], [True, -1, -2], None])
def test_log_probabilities_of_a_line_are_checked(tmp_path: Path, values: Any) -> None:
    path = tmp_path / "a.jsonl"
    model = callable_model(lambda m: "a", log_probs=lambda m, c: [-1.0, -2.0, -np.inf], name="m")
    expected = bias_report(model, FEW, ("baseline",), transcript=path)
    assert bias_report(model, FEW, ("baseline",), transcript=path) == expected
    first, line, *rest = path.read_text().splitlines()
    found = json.loads(line)
    found["replies"][0]["log_probs"] = values
    path.write_text("\n".join([first, json.dumps(found), *rest, ""]))
    with pytest.raises(FileFormatError, match=r"a\.jsonl, line 2: not a line"):
        bias_report(model, FEW, ("baseline",), transcript=path)


@pytest.mark.parametrize("kept", [[], [0, 1], [1, 0, 2], [0, 1, 2, 0]])
def test_a_line_has_a_reply_to_each_order(tmp_path: Path, kept: list[int]) -> None:
    path = tmp_path / "a.jsonl"
    model = callable_model(lambda m: "a", name="m")
    bias_report(model, FEW, ("baseline",), transcript=path)
    first, line, *rest = path.read_text().splitlines()
    found = json.loads(line)
    found["replies"] = [found["replies"][k] for k in kept]
    path.write_text("\n".join([first, json.dumps(found), *rest, ""]))
    with pytest.raises(FileFormatError, match=r"a\.jsonl, line 2: .*not those to 3 orders"):
        bias_report(model, FEW, ("baseline",), transcript=path)


def test_a_model_without_a_name_of_its_own_has_no_transcript(tmp_path: Path) -> None:
    asked: list[Any] = []
    path = tmp_path / "a.jsonl"
    with pytest.raises(ValueError, match=r"which other models may have, too: .*name="):
        bias_report(callable_model(lambda m: asked.append(m) or "a"), FEW, transcript=path)
    assert not asked
    assert not path.exists()


def test_half_characters_do_not_end_a_transcript(tmp_path: Path) -> None:
    """In items, and in answers of a model of somebody's own class."""

    class Own:
        name = "own"

        def generate(self, messages: Any, n: int = 1, **more: Any) -> list[str]:
            return n * ["a \ud83d"]

        def choice_log_probs(self, messages: Any, choices: Any) -> Any:
            raise AssertionError

    item = replace(FEW[0], context="Two met \ud83d.")
    path = tmp_path / "a.jsonl"
    expected = bias_report(Own(), [item], by="letters", transcript=path).answers
    assert bias_report(Own(), [item], by="letters", transcript=path).answers == expected
    path.read_bytes().decode()


def test_an_answer_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """As two processes leave it that write to one file: which of the two counts nobody knows."""
    path = tmp_path / "a.jsonl"
    model = callable_model(lambda m: "a", name="m")
    bias_report(model, FEW, ("baseline",), transcript=path)
    content = path.read_bytes()
    path.write_bytes(content + content.splitlines(keepends=True)[1])
    with pytest.raises(FileFormatError, match=rf"line {len(FEW) + 2}: .*{FEW[0].name} by baseline stands in a line"):
        bias_report(model, FEW, ("baseline",), transcript=path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"resamples": 0}, "resamples must be at least 1, got 0"),
        ({"resamples": 1.5}, r"resamples must be an integer, got 1\.5"),
        ({"rng": -1}, "non-negative"),
        ({"items": [FEW[0], 5]}, "item 1 must be an Item, as of read_bbq, got int"),
        ({"model": None}, "a language model has name, generate and choice_log_probs, got None"),
    ],
)
def test_what_a_report_needs_is_checked_before_the_first_question(given: dict, said: str) -> None:
    asked: list[Any] = []
    model = callable_model(lambda m: asked.append(m) or "a", name="m")
    arguments = {"model": model, "items": FEW, **given}
    with pytest.raises((ValueError, TypeError), match=said):
        bias_report(**arguments)
    assert not asked


def test_a_sample_of_half_an_item() -> None:
    with pytest.raises(ValueError, match=r"per_group must be an integer, got 1\.5"):
        own_items().sample(1.5)
