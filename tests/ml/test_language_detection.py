"""Detection of languages: words, tables against their formula, the kernel against its definition, files, any text."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_texts import SENTENCES, WORDS
from hypothesis import given, settings
from hypothesis import strategies as st

from lowrank.reading import FileFormatError
from ml.array_files import checksum_of
from ml.language.detection import LanguageDetector, Selector
from ml.language.detection.definition import gram_rows, logits_plainly
from ml.language.detection.files import write_detector
from ml.language.detection.grams import CONTEXT, SHORT, STRENGTH, GramTable, count_grams, gram_table
from ml.language.detection.letters import BOUNDARY, Alphabet, fold_all, folding, words_of
from ml.language.detection.scoring import Tables
from ml.language.detection.selector import fit_selector, selector_loss, softmax
from ml.language.detection.slots import FACTOR, slots_of, word_keys
from ml.language.detection.word_lists import FLOOR, WordTable, word_table


@pytest.fixture(scope="module")
def detector() -> LanguageDetector:
    return LanguageDetector.train(SENTENCES, WORDS)


def variants(detector: LanguageDetector) -> dict[str, LanguageDetector]:
    full = LanguageDetector.train(SENTENCES, WORDS, selector="full")
    return {
        "plain": detector,
        "int8": detector.quantize(8),
        "pruned": detector.prune(100, 5),
        "without lists": detector.prune(words=0),
        "full": full,
        "pairs": LanguageDetector.train(SENTENCES, WORDS, order=2).quantize(8),
        "letters": LanguageDetector.train(SENTENCES, order=1),
        "two": detector.restrict(["fr", "de"]),
    }


@pytest.fixture(scope="module")
def all_variants(detector: LanguageDetector) -> dict[str, LanguageDetector]:
    return variants(detector)


def test_words_are_runs_of_folded_letters() -> None:
    assert words_of("L’ÉTÉ, c'est 'fini' -- 3x 😀!") == ["l'été", "c'est", "fini", "x"]
    assert words_of("e\u0301te\u0301") == ["été"]
    assert words_of("ʼn a''b '") == ["n", "a", "b"]
    assert words_of("İstanbul ΟΔΟΣ हिन्दी ❤\ufe0f \ud800 \U000e0100") == ["istanbul", "οδοσ", "हिन्दी"]
    assert words_of("") == words_of("12 + 3, \n\t") == []
    assert fold_all(["Ab", "two words", "", "x\ny", "don’t"]) == ["ab", "", "", "", "don't"]
    assert fold_all(["Ab", " c ", "1"]) == ["ab", "c", ""]


def test_probabilities_of_letters_sum_to_one() -> None:
    """exp of the rows, with what was taken off, is the formula; summed over the last symbol it gives one."""
    counts = [{"ab": 2.0, "ba": 1.0, "abc": 1.0}, {"cab": 3.0, "b": 0.5}]
    alphabet = Alphabet(np.array([ord(c) for c in "abc"], np.uint32))
    table = gram_table([count_grams(of, alphabet) for of in counts], alphabet)
    numbers = {int(key): i + table.size for i, key in enumerate(table.keys)}
    size = alphabet.size

    def p(language: int, *context: int) -> np.ndarray:
        """By the formula, from grams listed by hand."""
        grams = [
            (g, n)
            for word, n in counts[language].items()
            for s in [[0, 0, *("abc".index(c) + 2 for c in word), 0]]
            for g in zip(s, s[1:], s[2:], strict=False)
        ]
        if not context:
            n = np.array([sum(n for g, n in grams if g[2] == c) for c in range(size)])
            return (n + 1) / (n.sum() + size)
        k = len(context)
        n = np.array([sum(n for g, n in grams if g[2 - k :] == (*context, c)) for c in range(size)])
        return (n + STRENGTH * p(language, *context[1:])) / (n.sum() + STRENGTH)

    for a, b in product(range(size), repeat=2):
        if a != BOUNDARY and b == BOUNDARY:
            continue
        exact = np.array([p(k, a, b) for k in range(2)])
        np.testing.assert_allclose(exact.sum(axis=1), 1, rtol=1e-14)
        logs = np.log(exact)
        for c in range(size):
            found = table.rows[gram_rows(table, numbers, a, b, c)].astype(float).sum(axis=0)
            np.testing.assert_allclose(found, logs[:, c] - logs[:, c].mean(), atol=1e-6)


def test_word_rows_are_log_shares_with_a_floor() -> None:
    table = word_table([{"a": 0.5, "b": 0.1}, {"a": 0.25}])
    rows = {int(key): row for key, row in zip(table.keys, table.rows, strict=True)}
    a, b, c = word_keys(["a", "b", "c"]).tolist()
    np.testing.assert_allclose(rows[a], [math.log(2) / 2, -math.log(2) / 2], rtol=1e-6)
    np.testing.assert_allclose(rows[b], [math.log(0.1 / FLOOR) / 2, -math.log(0.1 / FLOOR) / 2], rtol=1e-6)
    assert c not in rows


@pytest.mark.parametrize("hop", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3, 1000, 70_000])
def test_every_key_is_found_in_its_hash_table(hop: bool, count: int) -> None:
    keys = np.random.default_rng(count).choice(2**32, count, replace=False).astype(np.uint32)
    slots = slots_of(keys, hop=hop)
    assert sorted(slots[slots > 0].tolist()) == list(range(1, count + 1))
    assert len(slots) > count


TEXTS = [
    "Haus", "the", "été", "e\u0301te\u0301", "l'été", "'quoted'", "STRASSE", "", "123", "😀", "\ud800", "žluťoučký",
    "das Haus and the maison, et 3 chats", "漢字", "Ελλάδα", "a", "don't", "x" * 1000, "\x00", "हिन्दी", "haus\n\nund",
]  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "int8", "pruned", "without lists", "full", "pairs", "letters", "two"])
def test_the_kernel_computes_its_definition(all_variants: dict[str, LanguageDetector], name: str) -> None:
    """Bit for bit, but for the full selector, whose product of matrices adds in another order."""
    found = all_variants[name]
    logits, best = found.tables.run(TEXTS)
    for text, z, k in zip(TEXTS, logits, best, strict=True):
        exact = logits_plainly(found.tables, text)
        if exact is None:
            assert k == -1
            assert not z.any()
        else:
            np.testing.assert_allclose(z, exact, rtol=1e-12 if name == "full" else 0, atol=1e-12 * (name == "full"))
            assert k == exact.argmax()
    assert np.count_nonzero(best >= 0) >= 8


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.text(st.characters(), max_size=12), max_size=6))
def test_any_unicode_has_an_answer(detector: LanguageDetector, texts: list[str]) -> None:
    """A batch answers as one by one and as the definition; composed and decomposed letters are the same."""
    small = detector.quantize(8)
    p = small.probabilities(texts)
    assert p.shape == (len(texts), 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    languages = small.detect_words(texts).tolist()
    assert languages == [small.detect(text) for text in texts]
    assert languages == [small.detect(unicodedata.normalize("NFD", text)) for text in texts]
    for text, row in zip(texts, small.logits(texts), strict=True):
        exact = logits_plainly(small.tables, text)
        np.testing.assert_array_equal(row, np.zeros(3) if exact is None else exact)


def test_a_million_letters(detector: LanguageDetector) -> None:
    small = detector.quantize(8)
    assert small.detect("house " * 170_000) == "en"
    assert small.detect("h" * 1_000_000) in detector.languages
    one = small.logits(["the house"])
    many = small.logits(["the house " * 100_000])
    offsets = small.tables.selector.offsets
    np.testing.assert_allclose(many - offsets, 100_000 * (one - offsets), rtol=1e-9)


def test_sums_beyond_16_bits_are_exact(detector: LanguageDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are moved out of 16 bits in time: with a smaller limit than 253 rows the scores are the same."""
    from ml.language.detection import kernel

    small = detector.quantize(8)
    texts = ["the house and the cat", "x" * 50]
    before = small.logits(texts)
    monkeypatch.setattr(kernel, "FULL", 3)
    kernel._compiled.cache_clear()
    try:
        np.testing.assert_array_equal(small.logits(texts), before)
    finally:
        kernel._compiled.cache_clear()


def rows_of_one_letter(scale: float = 1.0, weights: tuple[float, float] = (1.0, 1.0), words: Any = None) -> Tables:
    """Tables of the letter a where most grams add three rows, those of the smallest numbers of int8."""
    rows = np.full((5, 2), 127, np.int8)
    rows[:, 1] = -128
    keys = np.array([CONTEXT | 2 << 10 | 2, CONTEXT | SHORT | 2], np.uint32)
    selector = Selector(np.array(weights), np.zeros(2))
    return Tables(Alphabet(np.array([97], np.uint32)), GramTable(rows, keys, scale), words, 1.0, selector)


def test_grams_of_three_rows_do_not_fill_16_bits() -> None:
    from ml.language.detection.packing import FULL, ROOM

    assert FULL + 3 <= ROOM
    assert 255 * ROOM < 2**16
    tables, n = rows_of_one_letter(), 6_000_000
    assert tables.run(["a" * 100])[0].tolist() == [[381 * 100, -384 * 100]]
    assert tables.run(["a" * n])[0].tolist() == [[381 * n, -384 * n]]


def test_all_triples_of_an_alphabet_have_a_hash_table() -> None:
    """Their keys are regular: a few stand a thousand steps from their first slot, which is honest all the same."""
    a, b, c = np.meshgrid(*3 * [np.arange(37)], indexing="ij")
    keys = ((3 << 30) | (a << 20) | (b << 10) | c).ravel().astype(np.uint32)
    slots = slots_of(keys, hop=True)
    assert sorted(slots[slots > 0].tolist()) == list(range(1, len(keys) + 1))


def test_keys_that_collide_are_refused_when_a_file_is_read(tmp_path: Path) -> None:
    """Keys that all belong in few slots: to look them up would take a time without end."""
    keys = np.arange(1 << 23, dtype=np.uint64)
    keys = keys[(keys * np.uint64(FACTOR)) >> np.uint64(48) < 64].astype(np.uint32)
    with pytest.raises(ValueError, match="collide too often"):
        slots_of(keys, hop=False)
    words = WordTable(np.zeros((len(keys), 2), np.int8), keys)
    write_detector(tmp_path / "d.npz", ("en", "de"), rows_of_one_letter(words=words))
    with pytest.raises(FileFormatError, match=r"d\.npz holds no valid detector: .*collide too often"):
        LanguageDetector.load(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("key", "bits"),
    [("rows", 0), ("word_rows", 0), *((key, bits) for key in ("scales", "weights", "offsets") for bits in (0, 8))],
)
def test_files_whose_numbers_overflow_are_refused(
    detector: LanguageDetector, tmp_path: Path, key: str, bits: int
) -> None:
    """Finite numbers whose products are not: the answers would be NaN."""
    path = tmp_path / "d.npz"
    (detector.quantize(bits) if bits else detector).save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "sha256"}
    large = arrays[key].copy()
    for at in np.ndindex(3 if key == "scales" else 1):
        changed = large.copy()
        changed[at] = 3e38 if large.dtype == np.float32 else 1e308
        some = {**arrays, key: changed}
        np.savez(path, **some, sha256=checksum_of(some))
        with pytest.raises(FileFormatError, match=r"d\.npz.*at most 1e\+30|d\.npz.*from 0 to 1e\+30"):
            LanguageDetector.load(path)


@pytest.mark.parametrize("names", ["en\nen\nfr", "en\nund\nfr", "en\n\nfr"])
def test_names_in_a_file_must_be_those_of_a_detector(detector: LanguageDetector, tmp_path: Path, names: str) -> None:
    path = tmp_path / "d.npz"
    detector.save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "sha256"}
    arrays["languages"] = np.frombuffer(names.encode(), np.uint8)
    np.savez(path, **arrays, sha256=checksum_of(arrays))
    with pytest.raises(FileFormatError, match=r"d\.npz holds no valid detector: (languages|names)"):
        LanguageDetector.load(path)


def test_text_is_told_apart(detector: LanguageDetector) -> None:
    assert detector.detect("die Straße ist warm") == "de"
    assert detector.detect("the water is blue") == "en"
    assert detector.detect("l'eau est bleue") == "fr"
    assert detector.detect_words(["und", "and", "et", "?"]).tolist() == ["de", "en", "fr", "und"]
    np.testing.assert_array_equal(detector.probabilities(["", "!"]), np.full((2, 3), 1 / 3))


def test_a_full_selector_of_the_reduced_form_decides_as_the_reduced_one(detector: LanguageDetector) -> None:
    rng = np.random.default_rng(1)
    w, v, b = rng.uniform(0.5, 2, 5), rng.normal(size=5), rng.normal(size=5)
    full = Selector(np.diag(w) + v, b)
    assert (full.size, full.reduced().size) == (30, 10)
    np.testing.assert_allclose(full.reduced().weights, w, rtol=1e-14)
    x = rng.normal(size=(1000, 5)) * 5
    np.testing.assert_array_equal(full.logits(x).argmax(axis=1), full.reduced().logits(x).argmax(axis=1))
    np.testing.assert_allclose(softmax(full.logits(x)), softmax(full.reduced().logits(x)), rtol=1e-9)
    other = Selector(full.weights + np.triu(rng.normal(size=(5, 5)), 1), b)
    assert not np.array_equal(other.logits(x).argmax(axis=1), other.reduced().logits(x).argmax(axis=1))
    w3, v3 = rng.uniform(0.5, 2, 3), rng.normal(size=3)
    matrix = Selector(np.diag(w3) + v3, b[:3].copy())
    tables = detector.tables
    both = [replace(tables, selector=s).run(TEXTS)[1].tolist() for s in (matrix, matrix.reduced())]
    assert both[0] == both[1]


def test_the_loss_of_the_reduced_selector_is_reported() -> None:
    report = LanguageDetector.train(SENTENCES, selector="full").report
    assert report["full"][0] <= report["reduced"][0] + 1e-6
    assert LanguageDetector.train(SENTENCES).report.keys() == {"reduced", "words"}


def test_the_selector_is_at_a_minimum() -> None:
    rng = np.random.default_rng(0)
    x, counts = rng.normal(size=(300, 4)), rng.integers(0, 3, (300, 4)).astype(float)
    for full in (False, True):
        best = fit_selector(x, counts, 0.3, full=full)
        least = selector_loss(best, x, counts)[0]
        for _ in range(20):
            moved = Selector(best.weights + 0.05 * rng.normal(size=best.weights.shape), best.offsets.copy())
            assert selector_loss(moved, x, counts)[0] > least


def test_tables_in_int8_are_near(detector: LanguageDetector) -> None:
    small = detector.quantize(8)
    for exact, near in ((detector.tables.grams, small.tables.grams), (detector.tables.words, small.tables.words)):
        assert exact is not None
        assert near is not None
        assert near.rows.dtype == np.int8
        assert np.max(np.abs(near.rows * near.scale - exact.rows)) <= near.scale / 2 * (1 + 1e-6)
        assert np.max(np.abs(near.rows)) == 127
    assert small.nbytes < 0.6 * detector.nbytes
    np.testing.assert_array_equal(small.quantize(8).logits(TEXTS), small.logits(TEXTS))


def test_pruning_backs_off(detector: LanguageDetector) -> None:
    """Without triples and their contexts the scores are those of pairs; a gram that is pruned changes what it must."""
    table = detector.tables.grams
    assert len(detector.prune(50).tables.grams.keys) == 50
    assert detector.prune(50).nbytes < detector.nbytes
    assert detector.prune(10**9).logits(TEXTS).tolist() == detector.logits(TEXTS).tolist()
    none = detector.prune(0).tables.grams
    np.testing.assert_array_equal(none.rows, table.rows[: table.size])
    numbers: dict[int, int] = {}
    assert gram_rows(none, numbers, 2, 3, 4) == [4]


def test_a_triple_that_does_nothing_comes_last() -> None:
    """Of three triples one has the same probability in both languages as its back-off, nearly: it is pruned first."""
    words = [{"ab": 50.0, "cd": 50.0}, {"ab": 50.0, "ce": 50.0}]
    alphabet = Alphabet(np.array([ord(c) for c in "abcde"], np.uint32))
    table = gram_table([count_grams(of, alphabet) for of in words], alphabet)
    order = {int(key): i for i, key in enumerate(table.keys)}
    a, b, c, d = (symbol + 2 for symbol in range(4))
    assert order[c << 10 | d] < order[a << 10 | b]


@pytest.mark.parametrize("name", ["plain", "int8", "pruned", "without lists", "full", "pairs", "letters", "two"])
def test_a_file_gives_the_same_answers(all_variants: dict[str, LanguageDetector], name: str, tmp_path: Path) -> None:
    one = all_variants[name]
    one.save(tmp_path / "d.npz")
    other = LanguageDetector.load(tmp_path / "d.npz")
    assert other.languages == one.languages
    assert other.nbytes == one.nbytes
    np.testing.assert_array_equal(other.logits(TEXTS), one.logits(TEXTS))
    assert other.detect_words(TEXTS).tolist() == one.detect_words(TEXTS).tolist()


def test_damaged_files_are_refused(detector: LanguageDetector, tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    detector.quantize(8).save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileFormatError):
            LanguageDetector.load(path)
    refused = 0
    for at in rng.integers(0, len(whole), 40):  # some bytes of a zip archive stand twice or for nothing
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        try:
            found = LanguageDetector.load(path)
        except FileFormatError:
            refused += 1
        else:
            np.testing.assert_array_equal(found.logits(TEXTS), detector.quantize(8).logits(TEXTS))
    assert refused > 20


def test_a_file_whose_arrays_do_not_match_their_checksum_is_refused(detector: LanguageDetector, tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    detector.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    arrays["offsets"] = arrays["offsets"] + 1e-9
    np.savez(path, **arrays)
    with pytest.raises(FileFormatError, match="altered or damaged"):
        LanguageDetector.load(path)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("language_detector", lambda a: a + np.array([1, 0])),
        ("language_detector", lambda a: a + np.array([0, 3])),
        ("languages", lambda a: a[:2]),
        ("languages", lambda a: a * 0 + 200),
        ("letters", lambda a: a[:-1]),
        ("letters", lambda a: a * 0 + 48),
        ("rows", lambda a: a.astype(float)),
        ("rows", lambda a: a[:, :2]),
        ("keys", lambda a: a[:-1]),
        ("keys", lambda a: a * 0),
        ("scales", lambda a: a * np.nan),
        ("weights", lambda a: a[:2]),
        ("offsets", lambda a: a.astype(np.float32)),
        ("word_keys", lambda a: a[1:]),
        ("word_rows", lambda a: a[:, :-1]),
        ("word_rows", None),
    ],
)
def test_files_with_other_arrays_are_refused(detector: LanguageDetector, tmp_path: Path, key: str, change: Any) -> None:
    """Also where their checksum is right."""
    path = tmp_path / "d.npz"
    detector.quantize(8).save(path)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "sha256"}
    if change is None:
        del arrays[key]
    else:
        arrays[key] = change(arrays[key])
    np.savez(path, **arrays, sha256=checksum_of(arrays))
    with pytest.raises(FileFormatError, match=r"d\.npz"):
        LanguageDetector.load(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "at least two languages apart, got 0"),
        ({"sentences": {"de": ["Haus"]}}, "at least two languages apart, got 1: de"),
        ({"sentences": {"de": ["Haus"], "en": ["1", "?"]}}, "no word in the sentences of 'en'"),
        ({"sentences": {"de": "Haus", "en": ["house"]}}, "must be a list of texts, got one text"),
        ({"sentences": {"de": ["Haus"], "en": [b"house"]}}, "sentence 0 of 'en' must be a string, got bytes"),
        ({"words": {"de": {"Haus": 1}, "en": {}}}, "no word in the list of 'en'"),
        ({"words": {"de": {"Haus": 1}, "en": {"x": -1}}}, "frequency of 'x' in 'en' must be a number >= 0, got -1"),
        ({"words": {"de": {"Haus": 1}, "en": {"x": float("nan")}}}, "must be a number >= 0, got nan"),
        ({"words": {"de": {"Haus": 1}, "en": ["x"]}}, "must be a dict"),
        ({"sentences": SENTENCES, "order": 4}, "order must be 1, 2 or 3, got 4"),
        ({"sentences": SENTENCES, "order": 0}, "order must be at least 1"),
        ({"sentences": SENTENCES, "selector": "half"}, "selector must be"),
        ({"sentences": SENTENCES, "strength": 0}, "strength must be a positive number"),
        ({"sentences": SENTENCES, "strength": "a"}, "strength must be a positive number, got 'a'"),
        ({"sentences": {"de": ["Haus"], "en": None}}, "sentences of 'en' must be a list of texts, got NoneType"),
        ({"sentences": [["Haus"], ["house"]]}, "sentences must be a dict by languages, got list"),
        ({"words": "Haus"}, "words must be a dict by languages, got str"),
        ({"sentences": {"a\ud800": ["x"], "en": ["y"]}}, r"must be whole characters, got 'a\\ud800', 'en'"),
        ({"sentences": {"und": ["x"], "en": ["y"]}}, "none 'und'"),
        ({"sentences": {1: ["x"], 2: ["y"]}}, "names of languages must be strings, got 1"),
        ({"sentences": {"de": ["x"]}, "words": {None: {"y": 1}}}, "names of languages must be strings, got None"),
        ({"sentences": {"a\nb": ["x"], "en": ["y"]}}, "must be single lines"),
        ({"sentences": {"": ["x"], "en": ["y"]}}, "must be single lines"),
        ({"sentences": {"a" * 70_000: ["x"], "en": ["y"]}}, "at most 65536 bytes"),
        ({"words": {"a": {"x": 1e308, "y": 1e308}, "b": {"z": 1.0}}}, "frequencies of 'a' have no finite sum"),
        ({"words": {"a": {"X": 1e308, "x": 1e308}, "b": {"z": 1.0}}}, "frequencies of 'a' have no finite sum"),
        ({"words": {"a": {"x": 10**400}, "b": {"z": 1.0}}}, "frequency of 'x' in 'a' must be a number"),
    ],
)
def test_training_refuses_what_it_cannot_use(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        LanguageDetector.train(**arguments)


def test_questions_that_cannot_be_answered_are_refused(detector: LanguageDetector) -> None:
    with pytest.raises(ValueError, match="does not know the language 'xx'; it knows de, en, fr"):
        detector.restrict(["de", "xx"])
    with pytest.raises(ValueError, match="at least two"):
        detector.restrict(["de"])
    with pytest.raises(ValueError, match="8 bits"):
        detector.quantize(4)
    with pytest.raises(TypeError, match="must be a list of strings"):
        detector.detect_words("Haus")
    for texts in ([None], ["a", None], (b"a", "a")):
        with pytest.raises(TypeError, match=r"texts must be strings, one is (NoneType|bytes)"):
            detector.detect_words(texts)  # type: ignore[arg-type]
    assert detector.detect_words(np.array(["Haus", "the"])).tolist() == ["de", "en"]  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a string, got int"):
        detector.detect(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="grams must be at least 0"):
        detector.prune(-1)


def test_training_on_lists_alone() -> None:
    found = LanguageDetector.train(words=WORDS)
    assert found.detect("Katze") == "de"
    assert found.detect("don’t") == "en"
    assert not found.report


def test_a_language_without_a_list_keeps_the_words_of_its_sentences() -> None:
    found = LanguageDetector.train(SENTENCES, {"en": WORDS["en"]})
    assert found.tables.words is not None
    rows = dict(zip(found.tables.words.keys.tolist(), found.tables.words.rows, strict=True))
    assert rows[int(word_keys(["katze"])[0])].argmax() == 0


def test_the_same_input_gives_the_same_detector(detector: LanguageDetector) -> None:
    again = LanguageDetector.train(SENTENCES, WORDS)
    np.testing.assert_array_equal(again.logits(TEXTS), detector.logits(TEXTS))


def test_tables_that_do_not_belong_together_are_refused(detector: LanguageDetector) -> None:
    t = detector.tables
    with pytest.raises(ValueError, match="symbols"):
        Tables(Alphabet(np.array([97], np.uint32)), t.grams, None, 0.0, t.selector)
    with pytest.raises(ValueError, match="columns of float32"):
        Tables(t.alphabet, t.grams, t.words.quantize() if t.words else None, 1.0, t.selector)
    with pytest.raises(ValueError, match="different code points"):
        Alphabet(np.array([97, 97], np.uint32))
    assert folding()[ord("Ä")] == ord("ä")
