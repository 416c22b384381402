"""The compiled kernel against its definition, bit for bit, on random tables of any size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml.language.detection import LanguageDetector
from ml.language.detection.definition import gram_rows, logits_plainly
from ml.language.detection.grams import CONTEXT, PAIR, SHORT, GramTable
from ml.language.detection.kernel import GROUP
from ml.language.detection.letters import Alphabet
from ml.language.detection.look_up import BITS, near
from ml.language.detection.packing import adder, packed
from ml.language.detection.scoring import Tables
from ml.language.detection.selector import Selector
from ml.language.detection.slots import word_keys
from ml.language.detection.word_lists import WordTable

#: More letters than the index of frequent ones holds.
LETTERS = "abcdefghijklmnopqrstuvwxyzàáâãäåæçèéêëìíîïðñò"


def random_rows(rng: np.random.Generator, kind: str, *shape: int) -> np.ndarray:
    """Rows of int8 with its smallest and largest numbers among them, or of float32."""
    if kind == "int8":
        return rng.choice([-128, 127, 0, -1, 5], shape).astype(np.int8)
    return rng.normal(size=shape).astype(np.float32)


def random_tables(
    rng: np.random.Generator, k: int, kind: str, order: int, letters: str = LETTERS, count: int = 9000
) -> Tables:
    """Tables with a part of all keys of every kind that the order has, and a list of words."""
    size = len(letters) + 2
    a, b, c = rng.integers(0, size, (3, count))
    few = slice(count // 10)
    keys = [PAIR | b[few] << 10 | c[few], CONTEXT | SHORT | b[few][::3]] if order >= 2 else []
    if order == 3:
        keys += [a << 20 | b << 10 | c, CONTEXT | a[few] << 10 | b[few]]
    chosen = np.unique(np.concatenate([*keys, np.empty(0, np.int64)])).astype(np.uint32)
    chosen = rng.permutation(chosen)
    grams = GramTable(random_rows(rng, kind, size + len(chosen), k), chosen, 0.01, order)
    listed = np.unique(word_keys(random_words(np.random.default_rng(7), letters, 400)[::2]))
    words = WordTable(random_rows(rng, kind, len(listed), k), listed, 0.02)
    alphabet = Alphabet(np.array([ord(letter) for letter in letters], np.uint32))
    return Tables(alphabet, grams, words, 1.7, Selector(rng.uniform(0.5, 2, k), rng.normal(size=k)))


def random_words(rng: np.random.Generator, letters: str, count: int) -> list[str]:
    return ["".join(rng.choice(list(letters), rng.integers(1, 9))) for _ in range(count)]


@pytest.mark.parametrize("kind", ["int8", "float32"])
@pytest.mark.parametrize(("k", "order"), [(2, 3), (7, 2), (8, 3), (9, 1), (15, 3), (16, 3), (17, 3), (33, 2), (40, 3)])
def test_any_number_of_languages(kind: str, k: int, order: int) -> None:
    rng = np.random.default_rng([k, order])
    tables = random_tables(rng, k, kind, order, count=3000)
    texts = random_words(np.random.default_rng(7), LETTERS, 400)  # every other one is in the list
    texts = [*texts[: GROUP - 1], " ".join(texts), "ω", "aωb", "", "1", *texts[:5], " ".join(texts[:7])]
    logits, best = tables.run(texts)
    for text, z, number in zip(texts, logits, best, strict=True):
        exact = logits_plainly(tables, text)
        if exact is None:
            assert number == -1
            assert not z.any()
        else:
            np.testing.assert_array_equal(z, exact)
            assert number == exact.argmax()
    assert np.count_nonzero(best >= 0) == len(texts) - 3


@pytest.mark.parametrize("keys", [65_535, 66_000])
def test_more_rows_than_16_bits_number(keys: int) -> None:
    """Also where the keys have numbers of 16 bits, and the rows have not."""
    rng = np.random.default_rng(0)
    tables = random_tables(rng, 3, "int8", 3, count=110_000)
    tables = replace(tables, grams=tables.grams.prune(keys))
    assert tables.grams.slots.dtype == (np.uint16 if keys < 1 << 16 else np.uint32)
    triples = [(key >> 20, key >> 10 & 1023, key & 1023) for key in tables.grams.keys[65_000:].tolist() if key < PAIR]
    words = [
        [symbol for symbol in triple if symbol >= 2]
        for triple in triples
        if min(triple[:2]) >= 2 and max(triple) < 1 << BITS
    ]
    texts = ["".join(LETTERS[symbol - 2] for symbol in word) for word in words]
    assert len(texts) >= 10
    for text, found in zip(texts[-10:], tables.run(texts[-10:])[0], strict=True):
        np.testing.assert_array_equal(found, logits_plainly(tables, text))


@pytest.mark.parametrize("letters", [LETTERS, "abc"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_index_holds_the_grams_of_one_row(order: int, letters: str) -> None:
    """All of them, those of a single symbol among them, and 0 for the others."""
    grams = random_tables(np.random.default_rng(order), 2, "int8", order, letters, count=4000).grams
    numbers = {int(key): i + grams.size for i, key in enumerate(grams.keys)}
    index, n = near(grams), min(1 << BITS, grams.size)
    for a in range(n):
        for b in range(n):
            for c in range(n):
                rows = gram_rows(grams, numbers, a, b, c)
                assert index[a << 2 * BITS | b << BITS | c] == (rows[0] if len(rows) == 1 else 0)


def test_lanes_of_16_bits_hold_the_most_rows() -> None:
    """256 rows of the largest and of the smallest numbers, beside each other."""
    rows = np.tile(np.array([127, -128], np.int8), (2, 9))[:, :17]
    sums = np.zeros(32)
    adder("uint64")(packed(rows), 17, np.zeros(256, np.int64), 256, sums)
    assert sums[:17].tolist() == [256 * 127, -256 * 128] * 8 + [256 * 127]


def test_line_breaks_within_texts_do_not_shift_the_others() -> None:
    tables = random_tables(np.random.default_rng(3), 4, "int8", 3)
    texts = ["ab\ncd", "\n", "", "ef", "\n\nb\n", "a\u030a", "\u030a"]
    alone = [tables.run([text]) for text in texts]
    together = tables.run(texts)
    np.testing.assert_array_equal(together[0], np.concatenate([of[0] for of in alone]))
    np.testing.assert_array_equal(together[1], np.concatenate([of[1] for of in alone]))
    assert tables.run([])[0].shape == (0, 4)


def test_texts_that_are_no_strings() -> None:
    tables = random_tables(np.random.default_rng(3), 4, "int8", 3)
    for texts in (["a", 5], [None], [b"a", "b"]):
        with pytest.raises(TypeError, match=r"texts must be strings, one is (int|NoneType|bytes)"):
            tables.run(texts)  # type: ignore[arg-type]


@pytest.mark.parametrize("texts", [5, None])
def test_texts_that_are_no_list(texts: object) -> None:
    detector = LanguageDetector(("de", "en"), random_tables(np.random.default_rng(3), 2, "int8", 3))
    with pytest.raises(TypeError, match=r"texts must be a list of strings, got (int|NoneType)"):
        detector.detect_words(texts)  # type: ignore[arg-type]
