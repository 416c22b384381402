"""Languages word by word: the filter, its revision and the best path, against sums over all paths."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from helpers.small_texts import SENTENCES, WORDS

from ml.language.detection import LanguageDetector, LanguageStream
from ml.language.detection.selector import softmax
from ml.language.detection.stream import best_path

STAY = 0.7


def stream_of(logits: np.ndarray, revise: int = 3) -> LanguageStream:
    names = tuple("abcdef"[: logits.shape[1]])
    table: Callable[[str], np.ndarray] = lambda word: logits[int(word)]  # noqa: E731
    return LanguageStream(names, table, STAY, revise)


def paths(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All paths (m, n), and their probabilities."""
    n, k = logits.shape
    p = softmax(logits)
    move = STAY * np.eye(k) + (1 - STAY) / k
    every = np.array(list(product(range(k), repeat=n)))
    weights = np.prod(p[np.arange(n), every], axis=1)
    for t in range(1, n):
        weights *= move[every[:, t - 1], every[:, t]]
    return every, weights / weights.sum()


@pytest.mark.parametrize("seed", range(4))
def test_filter_revision_and_path_are_those_of_all_paths(seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(6, 3)) * 2
    stream = stream_of(logits, revise=6)
    for t in range(6):
        stream.push(str(t))
        every, weights = paths(logits[: t + 1])
        marginal = np.array([[weights[every[:, s] == k].sum() for k in range(3)] for s in range(t + 1)])
        np.testing.assert_allclose(stream.now, marginal[-1], rtol=1e-10)
        assert stream.revised == ["abc"[k] for k in marginal.argmax(axis=1)]
    assert stream.causal[-1] == "abc"[int(stream.now.argmax())]
    assert stream.finish() == ["abc"[k] for k in every[weights.argmax()]]


@pytest.mark.parametrize("stay", [0.0, 0.4, 0.7])
def test_the_path_is_the_likeliest_of_all(stay: float) -> None:
    """In so many sentences that another probability of staying would show."""
    rng = np.random.default_rng(0)
    every = np.array(list(product(range(3), repeat=5)))
    move = stay * np.eye(3) + (1 - stay) / 3
    for _ in range(200):
        p = softmax(rng.normal(size=(5, 3)))
        weights = np.prod(p[np.arange(5), every], axis=1)
        for t in range(1, 5):
            weights *= move[every[:, t - 1], every[:, t]]
        assert best_path(p, stay) == every[weights.argmax()].tolist()


def test_the_filter_is_causal_and_only_the_last_words_are_revised() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(size=(30, 4))
    other = logits.copy()
    other[20:] = rng.normal(size=(10, 4))
    streams = [stream_of(each, revise=2) for each in (logits, other)]
    for t in range(30):
        for stream in streams:
            before = stream.revised
            stream.push(str(t))
            assert stream.revised[: max(0, t - 2)] == before[: max(0, t - 2)]
    assert streams[0].causal[:20] == streams[1].causal[:20]
    assert streams[0].revised[:18] == streams[1].revised[:18]
    none = stream_of(logits, revise=0)
    assert [none.push(str(t)) for t in range(30)] == none.causal == none.revised


def test_without_memory_every_word_is_by_itself() -> None:
    logits = np.random.default_rng(2).normal(size=(40, 3))
    stream = LanguageStream("abc", lambda word: logits[int(word)], stay=0.0)
    for t in range(40):
        stream.push(str(t))
    alone = ["abc"[k] for k in logits.argmax(axis=1)]
    assert stream.causal == stream.revised == stream.finish() == alone


def test_a_long_stream_of_sure_words_does_not_break_down() -> None:
    logits = np.where(np.arange(2000)[:, None] // 500 % 2 == [0, 1], 900.0, 0.0)
    stream = LanguageStream("ab", lambda word: logits[int(word)])
    for t in range(2000):
        stream.push(str(t))
    assert stream.finish() == stream.causal == ["ab"[k] for k in logits.argmax(axis=1)]
    assert best_path(np.empty((0, 2)), 0.8) == []


def test_the_stream_of_a_detector() -> None:
    detector = LanguageDetector.train(SENTENCES, WORDS).quantize(8)
    stream = detector.stream(("de", "en"))
    words = ["die", "Katze", "schläft", "und", "the", "cat", "sleeps", "on", "42"]
    for word in words:
        stream.push(word)
    assert stream.finish() == ["de"] * 4 + ["en"] * 5
    first = detector.logits(["die"])[0, :2]
    again = detector.stream(("de", "en"))
    again.push("die")
    np.testing.assert_allclose(again.now, softmax(first), rtol=1e-12)
    assert detector.stream().languages == ("de", "en", "fr")


def test_where_nothing_is_known_yet_the_stream_says_so() -> None:
    """Words without a known letter are "und" until a word says something, and are then revised by it."""
    stream = LanguageDetector.train(SENTENCES, WORDS).stream(("de", "en"), revise=2)
    assert stream.finish() == []
    assert [stream.push(word) for word in ("1", "2", "3", "漢字")] == ["und"] * 4
    assert stream.causal == stream.revised == stream.finish() == ["und"] * 4
    assert [stream.push(word) for word in ("the", "4")] == ["en", "en"]
    assert stream.causal == ["und"] * 4 + ["en"] * 2
    assert stream.revised == ["und"] * 2 + ["en"] * 4
    assert stream.finish() == ["en"] * 6
    alone = LanguageDetector.train(SENTENCES, WORDS).stream(("de", "en"), stay=0)
    assert [alone.push(word) for word in ("the", "4", "die")] == ["en", "und", "de"]
    assert alone.revised == alone.finish() == alone.causal


@pytest.mark.parametrize("revise", [0, 1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_words_that_are_taken_back_have_never_been(seed: int, revise: int) -> None:
    """After any pushes and backspaces the stream is bit for bit that of the words that are left."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((40, 3))
    stream, left = stream_of(logits, revise), []
    for word in map(str, rng.integers(0, 40, 60)):
        stream.push(word)
        left.append(word)
        if rng.random() < 0.4:
            count = int(rng.integers(0, len(left) + 1))
            stream.take_back(count)
            del left[len(left) - count :]
        plain = stream_of(logits, revise)
        for kept in left:
            plain.push(kept)
        np.testing.assert_array_equal(stream.now, plain.now)
        assert (stream.causal, stream.revised, stream.finish()) == (plain.causal, plain.revised, plain.finish())


def test_a_keyboard_pushes_half_words() -> None:
    stream = LanguageDetector.train(SENTENCES, WORDS).stream(("de", "en"))
    stream.push("die")
    for half in ("s", "sc", "schl", "schläft"):
        stream.push(half)
        stream.take_back()
    assert stream.push("schläft") == "de"
    assert stream.causal == ["de", "de"]
    for wrong, said in ((3, "words must be at most 2"), (-1, "at least 0"), (0.5, "an integer")):
        with pytest.raises(ValueError, match=said):
            stream.take_back(wrong)
    assert stream.causal == ["de", "de"]
    stream.take_back(2)
    assert stream.finish() == []
    np.testing.assert_array_equal(stream.now, [0.5, 0.5])


def test_streams_that_cannot_be_are_refused() -> None:
    detector = LanguageDetector.train(SENTENCES)
    with pytest.raises(ValueError, match="does not know the language 'it'"):
        detector.stream(["de", "it"])
    for languages in ([], ["de"], ["de", "de"]):
        with pytest.raises(ValueError, match="at least two different languages"):
            detector.stream(languages)
    with pytest.raises(ValueError, match="stay must be at least 0 and less than 1, got 1"):
        detector.stream(stay=1)
    for stay in ("a", None, float("nan")):
        with pytest.raises(ValueError, match="stay must be at least 0 and less than 1, got"):
            detector.stream(stay=stay)
    for languages in ("de", 5):
        with pytest.raises(TypeError, match="languages must be a list of names, got"):
            detector.stream(languages)
        with pytest.raises(TypeError, match="languages must be a list of names, got"):
            detector.restrict(languages)
    with pytest.raises(ValueError, match="revise must be at least 0"):
        detector.stream(revise=-1)
