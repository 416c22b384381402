"""The commands ``rbm detect-language`` and ``rbm train-detector``."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lowrank.limits import at_least
from ml.array_files import suffix_of
from ml.language.detection.detector import LanguageDetector
from ml.language.detection.files import SUFFIXES
from ml.language.detection.letters import words_of
from ml.language.detection.material import EUROPEAN, frequencies, sentences
from ml.tasks.files import material_folder

__all__ = ["detect_language", "train_detector"]

#: Name of the model that `rbm train-detector --material` writes, in the folder of the material.
MODEL = "languages.npz"


def detect_language(arguments: Sequence[str]) -> None:
    """Print the language of every line of a file, or of every word.

    A line of the answer has the language, its probability, and the line. With ``--words`` it has the language of each
    word behind a slash, as of the finished line: the likeliest path of languages. A blank line is answered too, "und"
    or with ``--words`` a blank line, so that lines of the answer are those of the file.

    Raises ValueError for a file without text, for one that is not UTF-8, with the line, and for languages that the
    model does not know; FileNotFoundError where there is no model, with the command that makes it.
    """
    parser = argparse.ArgumentParser(prog="rbm detect-language", description="The language of every line of a text.")
    parser.add_argument("file", metavar="FILE", help="UTF-8 text, or - for standard input")
    parser.add_argument(
        "--model", type=Path, help="file of a detector (default: that of rbm train-detector --material)"
    )
    parser.add_argument("--languages", help="only these, separated by commas")
    parser.add_argument("--words", action="store_true", help="the language of each word, which may change in a line")
    parser.add_argument("--stay", type=float, default=0.8, help="with --words: how likely it stays (default 0.8)")
    options = parser.parse_args(list(arguments))
    detector = _model(options.model)
    if options.languages is not None:
        detector = detector.restrict([name.strip() for name in options.languages.split(",")])
    found = False
    for number, line in _lines(options.file):
        found = found or bool(line.strip())
        if options.words:
            print(_by_words(detector, line, options.stay))
        else:
            probability = detector.probabilities([line])[0].max()
            print(f"{detector.detect(line)}\t{probability:.3f}\t{line}")
        if number % 1000 == 0:
            sys.stdout.flush()
    if not found:
        raise ValueError(f"{_name(options.file)} holds no text")


def train_detector(arguments: Sequence[str]) -> None:
    """Train a detector of languages on texts or lists of words, and write it to a file.

    ``--text de=FILE`` gives a text of a language, a sentence a line; ``--list de=FILE`` a list, a word, a tab and its
    frequency a line; several of one language are added up. ``--material`` takes those of the packages eld and wordfreq,
    for languages that have none of their own.

    Raises ValueError, before anything is read, for a file that cannot be written and numbers below 0; for files that
    are not UTF-8, or have lines that are no entries, with the line; and where no language is given. ImportError, with
    the line that brings it, where the material is missing.
    """
    parser = argparse.ArgumentParser(prog="rbm train-detector", description="Train a detector of languages.")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.npz", help="the detector")
    parser.add_argument("--text", action="append", default=[], metavar="LANGUAGE=FILE", help="sentences, one a line")
    parser.add_argument("--list", action="append", default=[], metavar="LANGUAGE=FILE", help="word, tab, frequency")
    parser.add_argument("--material", nargs="?", const=",".join(EUROPEAN), metavar="LANGUAGES",
                        help="texts of installed packages (default: 14 languages of Europe)")  # fmt: skip
    parser.add_argument("--words", type=int, default=30_000, help="words of each list of the material (30000)")
    parser.add_argument("--grams", type=int, help="keep so many rows of letters (default: all)")
    parser.add_argument("--order", type=int, default=3, help="letters of the longest gram (3)")
    options = parser.parse_args(list(arguments))
    out = _checked_out(options)
    texts: dict[str, list[str]] = {}
    lists: dict[str, dict[str, float]] = {}
    for language, file in map(_pair, options.text):
        texts.setdefault(language, []).extend(line for _, line in _lines(file))
    for language, file in map(_pair, options.list):
        _add_frequencies(file, lists.setdefault(language, {}))
    if options.material is not None:
        every = sentences()
        for language in options.material.split(","):
            if language not in every:
                raise ValueError(f"there are no sentences of {language!r}; there are {', '.join(sorted(every))}")
            texts.setdefault(language, every[language])
            if language not in lists and options.words and (found := frequencies(language, options.words)):
                lists[language] = found
    if not texts and not lists:
        raise ValueError("give texts or lists of at least two languages, or --material")
    detector = LanguageDetector.train(texts, lists, order=options.order, progress=True)
    detector = detector.prune(options.grams).quantize(8)
    detector.save(out)
    print(f"{out}: {len(detector.languages)} languages, {detector.nbytes / 1e6:.2f} MB")
    if "reduced" in detector.report:
        loss, wrong = detector.report["reduced"]
        print(f"single words of sentences that were left out: {100 * (1 - wrong):.1f} % right, loss {loss:.3f}")


def _model(path: Path | None) -> LanguageDetector:
    file = material_folder() / MODEL if path is None else path
    if path is None and not file.is_file():
        raise FileNotFoundError(
            f"there is no detector in {file}; make it with rbm train-detector --material, or name one with --model"
        )
    return LanguageDetector.load(file)


def _by_words(detector: LanguageDetector, line: str, stay: float) -> str:
    stream = detector.stream(stay=stay, revise=0)
    words = line.split()
    for word in words:
        stream.push(word)
    pairs = zip(words, stream.finish(), strict=True)
    return " ".join(f"{word}/{language}" if words_of(word) else word for word, language in pairs)


def _name(file: str) -> str:
    return "standard input" if file == "-" else file


def _lines(file: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of a UTF-8 file."""
    if file == "-" and sys.stdin is None:
        raise ValueError("standard input is closed; give the name of a file, or a text through a pipe")
    stream = sys.stdin.buffer if file == "-" else open(file, "rb")  # noqa: SIM115
    with stream:
        for number, line in enumerate(stream, 1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{_name(file)}, line {number}: it is not UTF-8 (byte {error.start} of the line: {error.reason}); "
                    "convert the file, as with iconv -t UTF-8"
                ) from None


def _pair(given: str) -> tuple[str, str]:
    language, sign, file = given.partition("=")
    if not (language and sign and file):
        raise ValueError(f"write LANGUAGE=FILE, got {given!r}")
    return language, file


def _checked_out(options: argparse.Namespace) -> Path:
    """Return where the detector goes; ValueError for what would else come to light after the training only."""
    for name in ("grams", "words"):
        if (number := getattr(options, name)) is not None:
            at_least(f"--{name}", number, 0)
    if options.out is None:
        if options.material is None:
            raise ValueError("give a file for the detector, OUT.npz")
        out = material_folder() / MODEL
        out.parent.mkdir(parents=True, exist_ok=True)
        return out
    out = Path(options.out)
    suffix_of(out, SUFFIXES)
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"{out} cannot be written: it is a folder, or in a folder that is not there")
    return out


def _add_frequencies(file: str, found: dict[str, float]) -> None:
    """Add the frequencies of a list, a word, a tab and its frequency a line."""
    for number, line in _lines(file):
        if line.strip():
            word, tab, frequency = line.partition("\t")
            try:
                value = float(frequency if tab else "missing")
                if not 0 <= value < math.inf:
                    raise ValueError
                found[word] = found.get(word, 0.0) + value
            except ValueError:
                raise ValueError(
                    f"{file}, line {number}: write a word, a tab and its frequency, got {line[:60]!r}"
                ) from None
