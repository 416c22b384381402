"""The commands that train a detector and ask it, and the material they are trained on."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import ROOT
from helpers.small_texts import SENTENCES, WORDS

from ml.language.detection import LanguageDetector, study
from ml.language.detection.commands import detect_language, train_detector
from ml.language.detection.material import CURVE, EUROPEAN, frequencies, manual_pages, message_catalogues, sentences
from rbm.command_line.registered import COMMANDS, STUDIES


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "d.npz"
    LanguageDetector.train(SENTENCES, WORDS).quantize(8).save(path)
    return str(path)


def test_every_line_gets_its_language(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes("\ufeffdie Katze schläft\r\n\nthe house and the water\n42\n".encode())
    detect_language([str(file), "--model", model])
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [
        ("de", "die Katze schläft"), ("und", ""), ("en", "the house and the water"), ("und", "42"),
    ]  # fmt: skip
    assert rows[1][1] == rows[3][1] == "0.333"
    detect_language([str(file), "--model", model, "--words"])
    assert [line.count("/") for line in capsys.readouterr().out.split("\n")] == [3, 0, 5, 0, 0]
    detect_language([str(file), "--model", model, "--languages", "fr, en"])
    assert capsys.readouterr().out.split("\t")[0] in ("fr", "en")


def test_every_word_gets_its_language(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"die Katze und das Haus, the cat 3 and the house"))
    )
    detect_language(["-", "--model", model, "--words"])
    assert capsys.readouterr().out == (
        "die/de Katze/de und/de das/de Haus,/de the/en cat/en 3 and/en the/en house/en\n"
    )


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"Haus\nStra\xdfe\n", [], r"text\.txt, line 2: it is not UTF-8 \(byte 4 "),
        (b"", [], r"text\.txt holds no text"),
        (b"\n  \n", [], "holds no text"),
        (b"Haus", ["--languages", "de,xx"], "does not know the language 'xx'"),
        (b"Haus", ["--languages", "de"], "at least two"),
        (b"Haus", ["--words", "--stay", "2"], "stay must be"),
    ],
)
def test_text_that_cannot_be_read_is_refused(
    model: str, tmp_path: Path, content: bytes, options: list[str], said: str
) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        detect_language([str(tmp_path / "text.txt"), "--model", model, *options])


def test_standard_input_may_be_closed(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by `rbm detect-language - <&-`, or of a process without a terminal."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="standard input is closed"):
        detect_language(["-", "--model", model])


def test_without_a_model_the_command_that_makes_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RBM_MATERIAL", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="rbm train-detector --material"):
        detect_language(["-"])


def test_a_detector_is_trained_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = []
    for language, lines in SENTENCES.items():
        (tmp_path / f"{language}.txt").write_text("\n".join(lines), encoding="utf-8")
        (tmp_path / f"{language}.words").write_text("".join(f"{w}\t{n}\n" for w, n in WORDS[language].items()))
        options += [
            "--text",
            f"{language}={tmp_path}/{language}.txt",
            "--list",
            f"{language}={tmp_path}/{language}.words",
        ]
    train_detector([str(tmp_path / "d.npz"), *options, "--grams", "300"])
    assert "3 languages" in capsys.readouterr().out
    found = LanguageDetector.load(tmp_path / "d.npz")
    direct = LanguageDetector.train(SENTENCES, WORDS).prune(300).quantize(8)
    assert found.logits(["Katze"]).tolist() == direct.logits(["Katze"]).tolist()


def test_files_of_one_language_are_added_up(tmp_path: Path) -> None:
    options = []
    for language, lines in SENTENCES.items():
        for half in range(2):
            text, words = tmp_path / f"{language}{half}.txt", tmp_path / f"{language}{half}.words"
            text.write_text("\n".join(lines[half::2]), encoding="utf-8")
            words.write_text("".join(f"{w}\t{n * (half + 1)}\n" for w, n in WORDS[language].items()))
            options += ["--text", f"{language}={text}", "--list", f"{language}={words}"]
    train_detector([str(tmp_path / "d.npz"), *options])
    together = {language: [*lines[::2], *lines[1::2]] for language, lines in SENTENCES.items()}
    lists = {language: {w: n + 2 * n for w, n in words.items()} for language, words in WORDS.items()}
    direct = LanguageDetector.train(together, lists).quantize(8)
    assert LanguageDetector.load(tmp_path / "d.npz").logits(["Katze"]).tolist() == direct.logits(["Katze"]).tolist()


@pytest.mark.parametrize(
    ("out", "options", "said"),
    [
        ("d.bin", [], r"must end in \.npz"),
        ("d.npz", ["--grams", "-1"], "--grams must be at least 0"),
        ("d.npz", ["--words", "-1"], "--words must be at least 0"),
        ("none/d.npz", [], "cannot be written"),
        ("folder.npz", [], "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, options: list[str], said: str
) -> None:
    (tmp_path / "folder.npz").mkdir()
    for language in ("de", "en"):
        (tmp_path / language).write_text(SENTENCES[language][0], encoding="utf-8")
        options = [*options, "--text", f"{language}={tmp_path / language}"]
    trained: list[int] = []
    monkeypatch.setattr(LanguageDetector, "train", lambda *_, **__: trained.append(1))
    with pytest.raises(ValueError, match=said):
        train_detector([str(tmp_path / out), *options])
    assert not trained


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("Haus\t3\nthe\tnan\n", ["--list", "de={}"], r"x\.txt, line 2: write a word"),
        ("the\t-1\n", ["--list", "de={}"], r"x\.txt, line 1: write a word"),
        ("the\tinf\n", ["--list", "de={}"], r"x\.txt, line 1: write a word"),
        ("Haus 3\n", ["--list", "de={}"], r"line 1: write a word, a tab and its frequency, got 'Haus 3'"),
        ("Haus\t3\nx\tviel\n", ["--list", "de={}"], r"line 2: write a word"),
        ("Haus\n", ["--text", "{}"], "write LANGUAGE=FILE"),
        ("Haus\n", ["--text", "de={}"], "at least two languages"),
        ("", [], "give texts or lists"),
    ],
)
def test_training_from_files_that_are_none_is_refused(
    tmp_path: Path, content: str, options: list[str], said: str
) -> None:
    (tmp_path / "x.txt").write_text(content)
    with pytest.raises(ValueError, match=said):
        train_detector([str(tmp_path / "d.npz"), *(o.format(tmp_path / "x.txt") for o in options)])
    with pytest.raises(ValueError, match="give a file"):
        train_detector([])


def test_manual_pages_are_read_as_paragraphs(tmp_path: Path) -> None:
    page = (
        ".TH X 1\n.SH NAME\nx \\- kurz\n.PP\nDas ist \\fBein\\fP Satz mit \\-\\-option und genug Wörtern,\n"
        "der weiter geht und endet.\n.PP\nzu kurz\n"
    )
    (tmp_path / "de" / "man1").mkdir(parents=True)
    (tmp_path / "de" / "man1" / "x.1.gz").write_bytes(gzip.compress(page.encode()))
    (tmp_path / "de" / "man1" / "y.1.gz").write_bytes(gzip.compress("\xff\xfe".encode("latin-1")))
    (tmp_path / "de" / "man1" / "z.1.gz").write_bytes(b"damaged")
    assert manual_pages("de", tmp_path) == ["Das ist ein Satz mit und genug Wörtern, der weiter geht und endet."]
    assert manual_pages("xx", tmp_path) == []


def catalogue(pairs: dict[bytes, bytes]) -> bytes:
    """A file of gettext, as msgfmt lays it out: originals in ascending order, without a hash table."""
    texts = [*sorted(pairs), *(pairs[key] for key in sorted(pairs))]
    starts = [28 + 8 * len(texts) + sum(len(text) + 1 for text in texts[:k]) for k in range(len(texts))]
    table = b"".join(struct.pack("<2I", len(text), start) for text, start in zip(texts, starts, strict=True))
    head = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + table + b"".join(text + b"\0" for text in texts)


def test_messages_of_programs_are_read(tmp_path: Path) -> None:
    whole = catalogue({
        b"": b"Content-Type: text/plain; charset=UTF-8\n",
        b"cannot open %s, try again with --force": "kann %s nicht öffnen, noch einmal mit --force".encode(),
        b"one file was removed\0%d files were removed": b"eine Datei wurde entfernt\0%d Dateien wurden entfernt",
        b"menu\x04save all of it now": b"jetzt alles davon speichern",
        b"the same in both of them": b"the same in both of them",
        b"not translated at all here": b"",
        b"too short": b"zu kurz",
    })  # fmt: skip
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    wrong = {
        "b": whole[: len(whole) // 2], "c": b"", "d": b"\0" * 99,
        "e": struct.pack("<7I", 0x950412DE, 0, 1 << 31, *4 * [28]),
        "f": catalogue({b"one two three four": b"\xff eins zwei drei"}),
    }  # fmt: skip
    for name, content in {"a": whole, **wrong}.items():
        (folder / f"{name}.mo").write_bytes(content)
    german = ["kann nicht öffnen, noch einmal mit", "jetzt alles davon speichern", "eine Datei wurde entfernt"]
    assert message_catalogues("de", tmp_path) == german
    english = ["cannot open try again with", "save all of it now", "one file was removed", "not translated at all here"]
    assert message_catalogues("en", tmp_path) == english[:3]
    assert message_catalogues("de", tmp_path, 1) == german[:1]
    assert message_catalogues("xx", tmp_path) == []


def test_the_material_of_packages() -> None:
    pytest.importorskip("eld", reason="pip install --no-deps eld")
    pytest.importorskip("wordfreq", reason="pip install wordfreq")
    found = sentences()
    assert len(CURVE) == len(set(CURVE)) == 40
    assert set(CURVE) <= set(found)
    assert all(len(found[language]) == 1000 for language in EUROPEAN)
    words = frequencies("de", 1000)
    assert len(words) == 1000
    assert words["die"] > words["haus"] > 0
    assert frequencies("xx") == {}


def test_the_commands_and_the_study_are_registered() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    commands = {name: EntryPoint(name, value, COMMANDS).load() for name, value in groups[COMMANDS].items()}
    assert commands["detect-language"] is detect_language
    assert commands["train-detector"] is train_detector
    assert EntryPoint("language", groups[STUDIES]["language"], STUDIES).load() is study.run
