"""The cases of the study and the benchmark of detectors: splits, accuracy, mixed sentences, pruning, other texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ml.language.detection.detector import LanguageDetector
from ml.language.detection.letters import words_of
from ml.language.detection.material import EUROPEAN, frequencies, manual_pages, message_catalogues, sentences
from ml.language.detection.selector import Selector, selector_loss, softmax
from ml.language.detection.stream import best_path
from ml.language.detection.training import checked_sentences

__all__ = [
    "OTHER_TEXTS",
    "ROWS",
    "Split",
    "by_number",
    "cross_domain",
    "mixed_sentences",
    "one_split",
    "running_words",
    "split",
    "times",
]

#: Texts that no detector is trained on: who reads them, and what brings them.
OTHER_TEXTS = {
    "manual pages": (manual_pages, "apt-get install manpages-de manpages-fr manpages-es manpages-pl"),
    "messages": (
        message_catalogues,
        "they come with programs, in /usr/share/locale; small systems leave them out",
    ),
}

Split = tuple[dict[str, list[str]], dict[str, list[str]]]
Answer = Callable[[Sequence[str]], Any]
#: Rows of letters with which the model of triples has 0.25 MB for 14 languages.
ROWS = 11_900
#: Rows of the curve of pruning.
CURVE_ROWS = (1000, 2000, 4000, 6000, 8000, 10_000, ROWS, 16_000, 20_000)


def split(languages: Sequence[str], seed: int, kept: int = 700) -> Split:
    """Return 700 sentences of each language to train on, and the other 300, drawn by the seed."""
    every = sentences()
    rng = np.random.default_rng(seed)
    order = {language: rng.permutation(len(every[language])) for language in languages}
    return (
        {language: [every[language][i] for i in order[language][:kept]] for language in languages},
        {language: [every[language][i] for i in order[language][kept:]] for language in languages},
    )


def running_words(texts: Mapping[str, Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """Return all words of all texts, and the language that each of them is from."""
    pairs = [(word, language) for language, lines in texts.items() for line in lines for word in words_of(line)]
    return [word for word, _ in pairs], np.array([language for _, language in pairs])


def accuracy(answer: Answer, texts: Sequence[str], truth: np.ndarray) -> float:
    """Return the share of texts that are in the language that is said."""
    return float(np.mean(np.asarray(answer(texts)) == truth))


def mean_f1(answers: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over languages of 2 right / (said + there are)."""
    both = [
        2 * np.sum((answers == k) & (truth == k)) / max(1, np.sum(answers == k) + np.sum(truth == k))
        for k in np.unique(truth)
    ]
    return float(np.mean(both))


def mixed_sentences(
    texts: Mapping[str, Sequence[str]], languages: Sequence[str], rng: np.random.Generator, count: int = 60
) -> list[tuple[list[str], list[str]]]:
    """Return sentences that change the language between runs of 2 to 6 words: (words, the language of each).

    Each has 20 words or a little more; a run begins anywhere in a sentence that has that many words, and the language
    after it is another one.
    """
    lines = {language: [w for line in texts[language] if len(w := words_of(line)) >= 6] for language in languages}
    found = []
    for _ in range(count):
        words: list[str] = []
        truth: list[str] = []
        last = None
        while len(words) < 20:
            last = str(rng.choice([language for language in languages if language != last]))
            line = lines[last][rng.integers(len(lines[last]))]
            length = int(rng.integers(2, 7))
            start = int(rng.integers(len(line) - length + 1))
            words += line[start : start + length]
            truth += [last] * length
        found.append((words, truth))
    return found


def mixed_accuracy(detector: LanguageDetector, tests: Mapping[str, Sequence[str]], seed: int) -> dict[str, Any]:
    """Return the share of right words in mixed sentences: each by itself, causal, revised by three, and complete.

    English with each other language, told apart from each other only, and five languages at once.
    """
    groups = [(other, "en") for other in detector.languages if other != "en"]
    result: dict[str, Any] = {}
    for name, these in (("pairs", groups), ("five", [("de", "en", "es", "fr", "it")])):
        right: dict[str, list[bool]] = {"alone": [], "causal": [], "revised": [], "complete": []}
        for number, languages in enumerate(these):
            rng = np.random.default_rng([seed, number])
            for words, truth in mixed_sentences(tests, languages, rng):
                columns = [detector.languages.index(language) for language in languages]
                logits = detector.logits(words)[:, columns]
                stream = detector.stream(languages)
                for word in words:
                    stream.push(word)
                answers = {
                    "alone": [languages[k] for k in logits.argmax(axis=1)],
                    "causal": stream.causal,
                    "revised": stream.revised,
                    "complete": [languages[k] for k in best_path(softmax(logits), 0.8)],
                }
                for how, said in answers.items():
                    right[how] += [a == b for a, b in zip(said, truth, strict=True)]
        result[name] = {how: float(np.mean(of)) for how, of in right.items()}
    return result


def one_split(seed: int, words: int, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Return accuracy, sizes and losses of the detectors of one split of 14 languages, and its curve of pruning.

    words : of each list. The full selector is fitted in the first split only
    """
    training, tests = split(EUROPEAN, seed)
    texts, truth = running_words(tests)
    lines, of_lines = (list(t) for t in zip(*((line, k) for k, of in tests.items() for line in of), strict=True))
    lists = {language: frequencies(language, words) for language in EUROPEAN}
    result: dict[str, Any] = {"words": len(texts), "models": {}}
    full = LanguageDetector.train(training, selector="full") if seed == 0 else None
    plain = LanguageDetector.train(training)
    listed = LanguageDetector.train(training, lists)
    models = {
        "triples": plain,
        "triples, int8": plain.quantize(8),
        "triples, int8, pruned": plain.prune(ROWS).quantize(8),
        "triples and words": listed,
        "triples and words, int8": listed.quantize(8),
    }
    if full is not None:
        models["triples, K x K + K"] = full
        result["selectors"] = {"full": _losses(full, tests), "projected": _losses(full.restrict(EUROPEAN), tests)}
        result["selectors"]["fitted with 2 K"] = _losses(plain, tests)
    for name, model in models.items():
        said = model.detect_words(texts)
        result["models"][name] = {
            "accuracy": float(np.mean(said == truth)),
            "f1": mean_f1(said, truth),
            "sentences": accuracy(model.detect_words, lines, np.array(of_lines)),
            "bytes": model.nbytes,
        }
        if "words" in name and "int8" in name:
            result["mixed"] = mixed_accuracy(model, tests, seed)
        if name == "triples, int8":
            result["mixed, triples"] = mixed_accuracy(model, tests, seed)
        say(f"    {name}: {result['models'][name]['accuracy']:.4f}")
    result["curve"] = [
        [n, (d := plain.prune(n).quantize(8)).nbytes, accuracy(d.detect_words, texts, truth)]
        for n in (*CURVE_ROWS, len(plain.tables.grams.keys))
    ]
    return result


def _losses(model: LanguageDetector, tests: Mapping[str, Sequence[str]]) -> list[float]:
    """Return loss in nats and share of errors on the running words of the tests."""
    counted = checked_sentences(tests)
    totals: dict[str, np.ndarray] = {}
    for k, language in enumerate(model.languages):
        for part in counted[language]:
            for word, n in part.items():
                totals.setdefault(word, np.zeros(len(model.languages)))[k] += n
    same = Selector(np.ones(len(model.languages)), np.zeros(len(model.languages)))
    return list(selector_loss(same, model.logits(list(totals)), np.array(list(totals.values()))))


def by_number(languages: Sequence[str], seed: int, words: int) -> dict[str, float]:
    """Return accuracy on single words and on sentences with so many languages, lists where there are any."""
    training, tests = split(languages, seed)
    lists = {language: found for language in languages if (found := frequencies(language, words))}
    texts, truth = running_words(tests)
    lines = [(line, language) for language, of in tests.items() for line in of]
    result: dict[str, float] = {"languages": len(languages), "lists": len(lists)}
    for name, given in (("triples", {}), ("triples and words", lists)):
        model = LanguageDetector.train(training, given).quantize(8)
        result[name] = accuracy(model.detect_words, texts, truth)
        result[f"{name}, sentences"] = accuracy(
            model.detect_words, [line for line, _ in lines], np.array([language for _, language in lines])
        )
        result[f"{name}, bytes"] = model.nbytes
    return result


def cross_domain(words: int, kind: str = "manual pages") -> dict[str, Any]:
    """Return accuracy on text of another kind of detectors trained on word lists, on sentences, and on both.

    Single running words, and whole paragraphs or messages, in the languages of the 14 that this machine has some of.

    kind : one of `OTHER_TEXTS`
    """
    read, missing = OTHER_TEXTS[kind]
    pages = {language: found for language in EUROPEAN if len(found := read(language)) >= 50}
    if len(pages) < 2:
        return {"missing": missing}
    languages = list(pages)
    texts, truth = running_words(pages)
    lines = [(line, language) for language, of in pages.items() for line in of]
    every = sentences()
    lists = {language: frequencies(language, words) for language in languages}
    training = {language: every[language][:700] for language in languages}
    result: dict[str, Any] = {"pages": {k: len(v) for k, v in pages.items()}, "words": len(texts)}
    models = {
        "lists, triples of them only": LanguageDetector.train(words=lists).prune(words=0),
        "lists": LanguageDetector.train(words=lists),
        "sentences": LanguageDetector.train(training),
        "sentences and lists": LanguageDetector.train(training, lists),
    }
    for name, model in models.items():
        small = model.quantize(8)
        said = small.detect_words([line for line, _ in lines])
        right = float(np.mean(said == np.array([language for _, language in lines])))
        result[name] = {"words": accuracy(small.detect_words, texts, truth), "paragraphs": right}
    return result


def times(words: int, repeats: int = 15) -> dict[str, float]:
    """Return CPU microseconds a word, the best of some runs: in one call, and one word a call."""
    training, tests = split(EUROPEAN, 0)
    texts, _ = running_words(tests)
    few = texts[:: len(texts) // 3000]
    result = {}
    plain = LanguageDetector.train(training).prune(ROWS).quantize(8)
    lists = {language: frequencies(language, words) for language in EUROPEAN}
    listed = LanguageDetector.train(training, lists).quantize(8)
    for name, model in (("triples, pruned", plain), ("triples and words", listed)):
        model.detect_words(texts)
        result[f"{name}, batch"] = _best(lambda m=model: m.detect_words(texts), repeats) / len(texts)  # type: ignore[misc]
        result[f"{name}, one word"] = _best(lambda m=model: [m.detect(w) for w in few], repeats) / len(few)  # type: ignore[misc]
        stream = model.stream(("de", "en"))
        result[f"{name}, a push"] = _best(lambda s=stream: [s.push(w) for w in few], 3) / len(few)  # type: ignore[misc]
    return result


def _best(work: Callable[[], Any], repeats: int) -> float:
    """Return the CPU microseconds of the fastest of some runs."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return 1e6 * min(found)
