"""The cases of the study of languages: mixed sentences, scores by hand, the summary of what is kept."""

from __future__ import annotations

import shutil
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from helpers.small_texts import SENTENCES, WORDS

from ml.chunks.kept_cases import KeptCases
from ml.language.detection import LanguageDetector, cases, study
from ml.language.detection.study import WHOLE, measure, report


def test_mixed_sentences_change_between_runs_of_words() -> None:
    found = cases.mixed_sentences(SENTENCES, ("de", "fr"), np.random.default_rng(0), 40)
    assert len(found) == 40
    lengths = set()
    for words, truth in found:
        assert len(words) == len(truth) >= 20
        runs = [len(list(run)) for _, run in groupby(truth)]
        assert set(runs) <= {2, 3, 4, 5, 6}
        lengths |= set(runs)
        assert set(truth) <= {"de", "fr"}
    assert lengths == {2, 3, 4, 5, 6}


def test_scores_by_hand() -> None:
    truth, said = np.array(["a", "a", "b", "b"]), np.array(["a", "b", "b", "und"])
    assert cases.mean_f1(said, truth) == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert cases.accuracy(lambda texts: said, ["w"] * 4, truth) == 0.5
    words, of = cases.running_words({"x": ["Ab c", "1"], "y": ["d"]})
    assert (words, of.tolist()) == (["ab", "c", "d"], ["x", "x", "y"])


def test_context_helps_in_mixed_sentences() -> None:
    detector = LanguageDetector.train({k: SENTENCES[k] for k in ("de", "en", "fr")}, WORDS)
    rng = np.random.default_rng(1)
    right = {"causal": 0, "complete": 0, "alone": 0}
    for words, truth in cases.mixed_sentences(SENTENCES, ("de", "en"), rng, 30):
        stream = detector.stream(("de", "en"), stay=0.8)
        for word in words:
            stream.push(word)
        alone = np.array(("de", "en"))[detector.logits(words)[:, :2].argmax(axis=1)]
        for how, said in (("causal", stream.causal), ("complete", stream.finish()), ("alone", alone)):
            right[how] += int(np.sum(np.array(said) == truth))
    assert right["complete"] >= right["causal"] >= right["alone"]


def test_the_split_is_by_its_seed_and_covers_all() -> None:
    pytest.importorskip("eld", reason="pip install --no-deps eld")
    training, tests = cases.split(("de", "en"), 3)
    assert [len(training["de"]), len(tests["de"])] == [700, 300]
    assert cases.split(("de", "en"), 3) == (training, tests)
    assert cases.split(("de", "en"), 4)[1] != tests
    assert len(set(training["de"]) | set(tests["de"])) > 990


def test_what_is_kept_is_reported_and_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results of the benchmark, read as the study reads them."""
    shutil.copy(ROOT / "benchmarks" / "language.json", tmp_path / "cases.json")
    for name in ("one_split", "cross_domain", "times", "by_number"):
        monkeypatch.delattr(cases, name)
    found = study.run("language", tmp_path, sizes=WHOLE, say=lambda text: None)
    text = report(measure(KeptCases(tmp_path / "cases.json"), WHOLE, lambda text: None))
    assert "triples, int8, pruned" in text
    assert f"{found['times']['triples and words, batch']:.3f}" in text
    assert (tmp_path / "pruning.png").stat().st_size > 1000
    assert (tmp_path / "summary.json").is_file()
    with pytest.raises(ValueError, match="has no tolerance"):
        study.run("language", tmp_path, 0.1)
