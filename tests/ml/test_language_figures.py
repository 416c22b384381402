"""What the kept figures of the language tools must show: recomputed from the cases in benchmarks/, nothing is asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.chunks.kept_cases import KeptCases
from ml.language.debiasing import own_items
from ml.studies import halo

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


class Absent:
    """Material that must not be asked: all cases are kept."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for, so that a case is not kept")


@pytest.fixture(scope="module")
def consistency(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("halo") / "halo.json"
    shutil.copy(BENCHMARKS / "halo.json", path)
    return halo.measure(KeptCases(path), halo.WHOLE, lambda text: None, Absent())


def test_contradicting_sets_are_told_from_those_that_agree(consistency: dict[str, Any]) -> None:
    """200 of each; the area is computed here by counting pairs."""
    rows = [
        row
        for name, case in json.loads((BENCHMARKS / "halo.json").read_text()).items()
        if name.startswith(("sets, agree", "sets, all differ"))
        for row in ([name.split(",")[1].strip(), one["halo"]] for one in case["result"])
    ]
    agree, differ = (np.array([score for kind, score in rows if kind == wanted]) for wanted in ("agree", "all differ"))
    assert len(agree) == len(differ) == 200
    area = np.mean((agree[:, None] > differ) + 0.5 * (agree[:, None] == differ))
    found = consistency["sets"]["all differ"]
    assert found["halo"]["value"] == pytest.approx(area, abs=1e-12)
    assert area >= 0.9
    assert found["exact"]["value"] < area  # the baselines beside it
    assert found["cosine"]["value"] < area


def test_scores_fall_with_the_temperature_and_rise_with_the_fact(consistency: dict[str, Any]) -> None:
    """Paired by question, the whole interval above 0."""
    answers = consistency["answers"]
    for difference in ("cold - warm", "with the fact - without"):
        found = answers["differences"]["halo"][difference]
        assert found["count"] == halo.WHOLE.questions
        assert 0 < found["low"] < found["value"] < found["high"]
    assert answers["same wrong answer"]  # its limit


def test_intervals_of_consistency_cover_what_they_say(consistency: dict[str, Any]) -> None:
    assert all(0.93 <= share <= 0.97 for share in consistency["coverage"].values())


def test_detectors_reach_their_aims() -> None:
    """14 languages: single words above all peers, mixed sentences, 0.25 MB within half a point of the whole table."""
    found = json.loads((BENCHMARKS / "language.json").read_text())
    peers = {name: case["result"] for name, case in found.items() if name.startswith("peer ")}
    assert len(peers) == 5
    ours = found["ours, triples and words"]["result"]
    assert ours["accuracy"] > max(peer["accuracy"] for peer in peers.values())
    assert {peer["words"] for peer in peers.values()} == {ours["words"]}
    splits = [found[f"split {seed}"]["result"] for seed in range(3)]
    assert np.mean([split["mixed"]["pairs"]["complete"] for split in splits]) >= 0.96
    for split in splits:
        small, whole = (split["models"][name] for name in ("triples, int8, pruned", "triples"))
        assert small["bytes"] <= 250_000
        assert small["accuracy"] >= whole["accuracy"] - 0.005
    assert [found[f"{number} languages"]["result"]["languages"] for number in (14, 20, 27, 40)] == [14, 20, 27, 40]
    for name in ("cross-domain", "messages"):
        assert found[name]["result"]["lists"]["words"] > 1 / len(found[name]["result"]["pages"])


def test_the_report_on_a_small_model_has_all_that_it_must_show() -> None:
    """Scores with intervals, and letters before and after averaging, of the items as they are shipped."""
    case = json.loads((BENCHMARKS / "debias.json").read_text())["own"]
    assert case["settings"]["items"] == own_items().digest()
    whole = {row["method"]: row for row in case["result"]["rows"] if row["group"] == "all"}
    assert list(whole) == ["baseline", "explanation", "reprompting"]
    for row in whole.values():
        low, high = row["interval"]
        assert -1 <= low <= row["score"] <= high <= 1
        for letters in ("letters_before", "letters", "positions"):
            assert sum(row[letters]) == pytest.approx(1)
    assert len(case["result"]["rows"]) == 3 * (1 + 9)
