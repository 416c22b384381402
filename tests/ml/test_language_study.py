"""The cases of the study of languages: mixed sentences, scores by hand, the summary of what is kept."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_texts import SENTENCES, WORDS

from ml.language.detection import LanguageDetector, cases, study
from ml.language.detection.material import EUROPEAN, frequencies
from ml.language.detection.study import LanguageSizes


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


def model(right: float) -> dict[str, float]:
    return {"accuracy": right, "f1": right, "sentences": 1.0, "bytes": 250_000}


def test_detectors_are_asked_about_text_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on word lists, and on sentences; the words of the other texts are in the lists, or nowhere."""
    lists = {"de": {"Haus": 3.0, "Katze": 2.0}, "en": {"house": 3.0, "cat": 2.0}}
    texts = {"de": 30 * ["Haus Katze"] + 20 * ["Haus cat"], "en": 50 * ["house cat"], "fr": 49 * ["chat"]}
    monkeypatch.setattr(cases, "sentences", lambda: {language: SENTENCES[language] for language in ("de", "en")})
    monkeypatch.setattr(cases, "frequencies", lambda language, count: lists[language])
    monkeypatch.setitem(cases.OTHER_TEXTS, "messages", (lambda language: texts.get(language, []), "get some"))
    found = cases.cross_domain(10, "messages")
    assert found["pages"] == {"de": 50, "en": 50}  # too little French
    assert found["words"] == 200
    assert found["lists"]["words"] == 0.9  # of "cat" in German texts none
    assert found["lists"]["paragraphs"] >= 0.8
    assert set(found) - {"pages", "words"} == {
        "lists, triples of them only",
        "lists",
        "sentences",
        "sentences and lists",
    }
    monkeypatch.setitem(cases.OTHER_TEXTS, "messages", (lambda language: [], "get some"))
    assert cases.cross_domain(10, "messages") == {"missing": "get some"}


@pytest.mark.parametrize("kind", ["manual pages", "messages"])
def test_word_lists_tell_text_of_another_kind_apart(kind: str) -> None:
    """The real material where it is there: lists alone, 14 languages or those that there are, far above chance."""
    pytest.importorskip("eld", reason="pip install --no-deps eld")
    pytest.importorskip("wordfreq", reason="pip install wordfreq")
    read, missing = cases.OTHER_TEXTS[kind]
    texts = {language: found for language in EUROPEAN if len(found := read(language)[:200]) >= 50}
    if len(texts) < 2:
        pytest.skip(missing)
    detector = LanguageDetector.train(words={language: frequencies(language, 3000) for language in texts})
    right = [detector.detect_words(found) == language for language, found in texts.items()]
    assert np.mean(np.concatenate(right)) > 0.75


def test_what_is_kept_is_reported_and_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With cases in place of the real ones, which take minutes."""
    ways = dict.fromkeys(("alone", "causal", "revised", "complete"), 0.9)
    measured: list[str] = []

    def one_split(seed: int, words: int, say: object) -> dict[str, Any]:
        measured.append(f"split {seed}")
        return {
            "models": {"triples": model(0.6 + 0.1 * seed)} | ({"full": model(0.65)} if seed == 0 else {}),
            "selectors": {"full": [1.0, 0.3]},
            "mixed": {"pairs": ways},
            "mixed, triples": {"pairs": ways},
            "curve": [[100, 5000, 0.4], [1000, 50_000, 0.6]],
        }

    def by_number(languages: tuple[str, ...], seed: int, words: int) -> dict[str, float]:
        measured.append(f"{len(languages)}")
        right = {key + end: 0.7 for key in ("triples", "triples and words") for end in ("", ", sentences")}
        return {"languages": len(languages), "lists": 3, "triples and words, bytes": 1e6, **right}

    pages = {"pages": {"de": 60, "fr": 70}, "words": 5, "lists": {"words": 0.81, "paragraphs": 0.94}}
    monkeypatch.setattr(cases, "one_split", one_split)
    monkeypatch.setattr(cases, "by_number", by_number)
    monkeypatch.setattr(cases, "cross_domain", lambda words, kind="manual pages": pages)
    monkeypatch.setattr(cases, "times", lambda words: {"triples, batch": 0.3456})
    said: list[str] = []
    sizes = LanguageSizes(seeds=(0, 1), numbers=(14, 20))
    first = study.run("language", tmp_path, sizes=sizes, say=said.append)
    assert measured == ["split 0", "split 1", "14", "20"]
    assert study.run("language", tmp_path, sizes=sizes, say=said.append) == first
    assert len(measured) == 4
    text = "\n".join(said)
    assert "0.6500 +- 0.0707" in text  # mean and standard deviation of 0.6 and 0.7
    assert "0.346" in text
    assert "manual pages in de, fr" in text
    assert "messages of programs in de, fr" in text
    assert (tmp_path / "pruning.png").stat().st_size > 1000
    monkeypatch.setattr(cases, "cross_domain", lambda words, kind="": {"missing": f"{kind}apt-get"})
    (tmp_path / "other").mkdir()
    study.run("language", tmp_path / "other", sizes=LanguageSizes(seeds=(0,), numbers=()), say=said.append)
    assert "manual pages: apt-get" in said[-3]
    assert "messages of programs: messagesapt-get" in said[-3]
    with pytest.raises(ValueError, match="size must be one of small, whole, got large"):
        study.run("language", tmp_path, size="large")
    with pytest.raises(ValueError, match="has no tolerance"):
        study.run("language", tmp_path, 0.1)
