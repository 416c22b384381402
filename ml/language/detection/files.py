"""Files of detectors: NumPy's .npz, uncompressed, with a SHA-256 of all that is in it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrank.reading import FileFormatError
from ml.array_files import CHECKSUM, pop_checksum, read_arrays, write_arrays
from ml.language.detection.grams import GramTable
from ml.language.detection.letters import UNDETERMINED, Alphabet
from ml.language.detection.scoring import Tables
from ml.language.detection.selector import Selector
from ml.language.detection.word_lists import WordTable

__all__ = ["SUFFIXES", "check_names", "read_detector", "write_detector"]

MARK = "language_detector"
VERSION = 1
SUFFIXES = (".npz",)
WHAT = "file of a language detector"
#: All keys, with their types; those of word tables may be missing.
KEYS = {
    MARK: np.int64, "languages": np.uint8, "letters": np.uint32, "rows": None, "keys": np.uint32,
    "scales": np.float64, "weights": np.float64, "offsets": np.float64,
}  # fmt: skip
LISTED = {"word_rows": None, "word_keys": np.uint32}
#: Bytes of the names of all languages.
MAX_NAMES = 1 << 16


def check_names(languages: Sequence[str]) -> None:
    """Raise TypeError for names of languages that are no strings, ValueError for those that a file cannot hold."""
    for name in languages:
        if not isinstance(name, str):
            raise TypeError(f"names of languages must be strings, got {name!r}")
    if len(set(languages)) < len(languages) or UNDETERMINED in languages:
        raise ValueError(f"languages must be different names, none {UNDETERMINED!r}, got {', '.join(languages)}")
    if any("\n" in name for name in languages) or "" in languages:
        raise ValueError(f"names of languages must be single lines, got {', '.join(map(repr, languages))}")
    if any("\ud800" <= letter <= "\udfff" for name in languages for letter in name):
        raise ValueError(f"names of languages must be whole characters, got {', '.join(map(repr, languages))}")
    if len("\n".join(languages).encode()) > MAX_NAMES:
        raise ValueError(f"names of languages must have at most {MAX_NAMES} bytes, all together")


def write_detector(path: str | os.PathLike[str], languages: tuple[str, ...], tables: Tables) -> None:
    """Write a detector, whole or not at all.

    Keys: `language_detector` (int64: layout version, order), `languages` (names as UTF-8, lines), `letters`, `rows`,
    `keys`, `scales` (of rows, of words, the weight of the lists), `weights`, `offsets`, where there are lists
    `word_rows` and `word_keys`, and `sha256` of all of these.

    Raises ValueError for another suffix and for names with a line break, OSError where nothing can be written.
    """
    names = "\n".join(languages)
    if len(names.split("\n")) != len(languages) or "" in languages:
        raise ValueError(f"names of languages must be single lines, got {languages}")
    grams, words = tables.grams, tables.words
    arrays: dict[str, Any] = {
        MARK: np.array([VERSION, grams.order], np.int64),
        "languages": np.frombuffer(names.encode(), np.uint8),
        "letters": tables.alphabet.letters,
        "rows": grams.rows,
        "keys": grams.keys,
        "scales": np.array([grams.scale, 1.0 if words is None else words.scale, tables.list_weight]),
        "weights": tables.selector.weights,
        "offsets": tables.selector.offsets,
    }
    if words is not None:
        arrays |= {"word_rows": words.rows, "word_keys": words.keys}
    write_arrays(path, arrays, SUFFIXES)


def read_detector(path: str | os.PathLike[str]) -> tuple[tuple[str, ...], Tables]:
    """Return the names of the languages and the tables of a file. FileFormatError for one that is not ours."""
    name = os.fspath(path)

    def accept(names: list[str]) -> None:
        if not {*KEYS, CHECKSUM} <= set(names) <= {*KEYS, *LISTED, CHECKSUM} or len(set(names) & {*LISTED}) == 1:
            raise FileFormatError(f"{name} is not a whole {WHAT}; write it with LanguageDetector.save")

    arrays = read_arrays(path, accept, WHAT, SUFFIXES)
    pop_checksum(name, arrays)
    try:
        return _parts(name, arrays)
    except FileFormatError:
        raise
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise FileFormatError(f"{name} holds no valid detector: {error}") from error


def _parts(name: str, arrays: dict[str, Any]) -> tuple[tuple[str, ...], Tables]:
    for key, kind in {**KEYS, **LISTED}.items():
        if key in arrays and kind is not None and arrays[key].dtype != kind:
            raise ValueError(f"{key} must be {np.dtype(kind)}, is {arrays[key].dtype}")
    mark = arrays[MARK]
    if mark.shape != (2,):
        raise ValueError(f"its mark has the shape {mark.shape}")
    if mark[0] != VERSION:
        raise FileFormatError(f"{name} has file version {mark[0]}, this package reads {VERSION}; upgrade rbm-toolkit")
    if arrays["scales"].shape != (3,) or arrays["languages"].ndim != 1 or len(arrays["languages"]) > MAX_NAMES:
        raise ValueError("scales must be three numbers, languages a text")
    languages = tuple(arrays["languages"].tobytes().decode().split("\n"))
    check_names(languages)
    scale, word_scale, weight = arrays["scales"].tolist()
    whole = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    alphabet = Alphabet(whole["letters"])
    grams = GramTable(whole["rows"], whole["keys"], scale, int(mark[1]))
    words = WordTable(whole["word_rows"], whole["word_keys"], word_scale) if "word_keys" in whole else None
    selector = Selector(whole["weights"], whole["offsets"])
    tables = Tables(alphabet, grams, words, weight, selector)
    _ = grams.slots, words and words.slots  # raises for keys that collide too often
    if len(languages) != tables.size:
        raise ValueError(f"it names {len(languages)} languages, and has tables of {tables.size}")
    return languages, tables
