"""The study of adapters on a small random network: kept case by case, the same effort for all, a table."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from helpers.small_networks import SIZES  # noqa: E402

from ml.chunks.kept_cases import KeptCases  # noqa: E402
from ml.studies import adapters  # noqa: E402
from ml.studies.adapter_methods import METHODS, Method, Sizes  # noqa: E402
from ml.studies.adapters import _error, _validation, measure, run, table  # noqa: E402
from ml.tasks.reviews import ReviewTask, classifier  # noqa: E402

SMALL = Sizes(steps=6, trial=2, seeds=2, most=2, validation=10, held_out=20, batch_size=4)


def task():
    generator = np.random.default_rng(0)
    tokens = tuple(generator.integers(1, 50, size=generator.integers(3, 9)).tolist() for _ in range(70))
    order = generator.permutation(70)
    return ReviewTask(tokens, np.array([t[0] % 2 for t in tokens]), order[20:], order[:20])


def make(rng):
    return classifier(rng=rng, pretrained=False, vocab_size=50, **SIZES)


def test_every_method_has_the_same_effort_and_every_run_is_kept(tmp_path):
    methods = (
        METHODS[1],
        next(m for m in METHODS if m.name == "lora, rank 8"),
        Method("biases", "bitfit", {}, (1e-3, 1e-2)),
    )
    said = []
    summary = measure(KeptCases(tmp_path / "cases.json"), "reviews", task(), SMALL, methods, said.append, make)
    kept = json.loads((tmp_path / "cases.json").read_text())
    assert len(kept) == 3 * (2 + 2 + 1)
    assert {c["settings"]["steps"] for n, c in kept.items() if n.startswith("reviews, run")} == {6}
    for method in methods:
        row = summary["methods"][method.name]
        trials = {r: kept[f"reviews, trial {method.name} {r:g}"]["result"]["accuracy"] for r in method.rates}
        assert trials[row["rate"]] == max(trials.values())
        runs = [kept[f"reviews, run {method.name} {seed}"]["result"] for seed in (0, 1)]
        assert row["accuracy"] == pytest.approx(np.mean([r["accuracy"] for r in runs]))
        assert row["accuracies"] == [r["accuracy"] for r in runs]
        assert row["optimizer_bytes"] == 8 * row["trained"]
    whole = summary["methods"]["all weights"]
    assert (whole["share"], whole["difference"], whole["half_width"]) == (1, 0, 0)
    assert summary["methods"]["biases"]["share"] < 0.2
    del kept["reviews, run biases 1"]
    for place, case in enumerate(c for n, c in kept.items() if "cost" not in n):
        case["result"]["stamp"] = place
    (tmp_path / "cases.json").write_text(json.dumps(kept))
    again = measure(KeptCases(tmp_path / "cases.json"), "reviews", task(), SMALL, methods, said.append, make)
    now = json.loads((tmp_path / "cases.json").read_text())
    assert "stamp" not in now.pop("reviews, run biases 1")["result"]
    assert now == kept
    assert again["methods"]["biases"]["accuracies"] == summary["methods"]["biases"]["accuracies"]
    text = table(summary)
    assert "lora, rank 8" in text
    assert "+0.0 +- 0.0" in text


def test_rates_are_chosen_by_voices_that_are_not_trained_on():
    @dataclass(frozen=True)
    class Voices:
        voices: np.ndarray
        training: np.ndarray

    given = Voices(np.array([0, 1, 2, 3, 4] * 10), np.arange(40))
    assert sorted({int(given.voices[k]) for k in _validation(given, 9)}) == [3, 4]
    assert len(_validation(given, 9)) == 16
    assert len(_validation(given, 8)) == 8
    assert _validation(task(), 10).tolist() == task().training[-10:].tolist()


def test_errors_count_speakers_and_seeds():
    """Samples of one speaker that answer alike are one sample; seeds that differ are counted as well."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 5)
    alike = np.repeat(generator.integers(0, 2, 200), 5).astype(float)
    assert _error(alike[None], groups) == pytest.approx(np.std(alike[::5]) / np.sqrt(200), rel=0.01)
    assert _error(alike[None], np.arange(1000)) == pytest.approx(np.std(alike) / np.sqrt(1000), rel=0.01)
    apart = np.stack([np.zeros(1000), np.ones(1000)])
    assert _error(apart, groups) == pytest.approx(np.sqrt(0.5 / 2))


def test_a_task_without_its_material_is_left_out(tmp_path, monkeypatch):
    def missing(**options):
        raise ImportError("make material brings it")

    monkeypatch.setattr(adapters, "review_task", missing)
    said = []
    assert run("adapters", tmp_path, sizes={"reviews": SMALL}, say=said.append) == {}
    assert any("left out: make material brings it" in text for text in said)


def test_there_is_no_tolerance(tmp_path):
    with pytest.raises(ValueError, match=r"has no tolerance, got tol=0.1"):
        run("adapters", tmp_path, 0.1)
