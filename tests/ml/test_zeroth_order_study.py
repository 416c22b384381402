"""The study of training without gradients: its figures on small cases, and that it goes on where it stopped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ml.studies import mezo as study
from ml.studies import mezo_cases as cases
from ml.tasks.review_words import ReviewWords, word_components


def small_task() -> ReviewWords:
    rng = np.random.default_rng(0)
    x = np.hstack([rng.standard_normal((600, 4)), np.ones((600, 1))])
    labels = (x @ [1.0, -1.0, 0.5, 0.0, 0.2] + 0.3 * rng.standard_normal(600) > 0).astype(int)
    return ReviewWords(x, labels, np.arange(400), np.arange(400, 600))


def test_accuracy_itself_is_learned_and_a_tiny_eps_learns_nothing(monkeypatch) -> None:
    monkeypatch.setattr(cases, "BATCH", 100)
    task = small_task()
    gradient = cases.logistic(task)["held_out"]
    assert gradient > 0.85
    large = cases.train_words(task, "accuracy", 0.1, 0.1, 150, 2, 1)
    assert large["held_out"] > gradient - 0.06
    assert large["zeros"] < 0.3
    assert large["replayed"]
    assert large["nbytes"] == 16 * 150 * 2
    assert large["mcnemar"]["p"] < 0.01
    small = cases.train_words(task, "accuracy", 1e-6, 0.1, 150, 2, 1)
    assert small["zeros"] > 0.95
    smooth = cases.train_words(task, "cross-entropy", 1e-2, 0.1, 150, 2, 1)
    assert smooth["held_out"] > gradient - 0.04


def test_mcnemar_counts_what_changed() -> None:
    before = np.array([True] * 10 + [False] * 20)
    after = np.array([True] * 8 + [False] * 2 + [True] * 9 + [False] * 11)
    assert cases.mcnemar(before, after) == {"gained": 9, "lost": 2, "p": pytest.approx(67 / 1024)}  # 2 P(B(11) <= 2)
    assert cases.mcnemar(before, before)["p"] == 1


def test_naive_moves_drift_and_ours_do_not() -> None:
    """Rounding of bfloat16 by its bits: 8 of them, ties to even."""
    for kind, digits in (("float32", 24), ("float16", 11), ("bfloat16", 8)):
        found = cases.drift(kind, steps=50)  # type: ignore[arg-type]
        assert found["exact"] <= (2.0**-23 if kind == "float32" else 0)
        assert 2.0**-digits < found["naive"] < 100 * 2.0**-digits
    t = np.array([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -3.0], np.float32)
    assert cases._rounded(t, "bfloat16").tolist() == [1.0, 1.0, 1 + 2.0**-6, 1 + 2.0**-7, -3.0]


def test_components_are_of_the_training_words() -> None:
    rng = np.random.default_rng(0)
    words = [f"word{k}".translate(str.maketrans("0123456789", "abcdefghij")) for k in range(40)]
    texts = [" ".join(rng.choice(words, 6)) for _ in range(80)]
    training = np.arange(60)
    found = word_components(texts, training, 5)
    assert found.shape == (80, 6)
    assert np.all(found[:, -1] == 1)
    np.testing.assert_allclose(np.mean(found[training, :5] ** 2, axis=0), 1)
    # the other texts change nothing: neither the vocabulary nor the weights
    other = word_components([*texts[:60], *["unseen " + t for t in texts[60:]]], training, 5)
    np.testing.assert_allclose(other[:60], found[:60])
    np.testing.assert_allclose(other[60:], found[60:], atol=1e-12)
    with pytest.raises(ValueError, match="rank must be 1"):
        word_components(texts, training, 40)


def test_the_study_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    pytest.importorskip("matplotlib")

    def missing() -> None:
        raise ImportError("the rated sentences need an archive: make material")

    monkeypatch.setattr(study, "review_words", missing)
    monkeypatch.setattr(cases, "drift", lambda kind, **given: {"naive": 1.0, "exact": 0.0})
    sizes = study.MezoSizes(ranks=(2, 4), dimensions=(8,), repeats=2)
    said: list[str] = []
    first = study.run("mezo", tmp_path, sizes=sizes, say=said.append)
    assert any("make material" in line for line in said)
    assert {p.name for p in tmp_path.iterdir()} == {"cases.json", "summary.json", "steps.png", "steps.pdf"}
    monkeypatch.setattr(cases, "steps_to", None)  # every case is kept
    written = json.loads((tmp_path / "summary.json").read_text())
    assert {"drift", "figures", "everything else"} < {row["phase"] for row in written.pop("time")}
    assert written == first
    assert study.run("mezo", tmp_path, sizes=sizes, say=said.append) == first
    again = json.loads((tmp_path / "summary.json").read_text())
    assert {row["phase"] for row in again.pop("time")} == {"figures", "everything else"}
    assert again == first
    assert "where the time went" in said[-2]
    monkeypatch.setattr(study, "review_words", small_task)
    monkeypatch.setattr(cases, "BATCH", 50)
    sizes = study.MezoSizes(seeds=(1, 2), steps=(20,), directions=1, ranks=(2, 4), dimensions=(8,), repeats=2)
    text = study.report(study.run("mezo", tmp_path, sizes=sizes, say=said.append))
    assert "accuracy, eps 0.05, 20 steps" in text
    assert "bfloat16" in text
    with pytest.raises(ValueError, match="has no tolerance"):
        study.run("mezo", tmp_path, 0.1)
