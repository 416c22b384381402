"""Texts to train and test on that this machine holds: sentences, word frequencies, manual pages, messages of programs.

eld (its test set, 1000 sentences in each of 60 languages), wordfreq (frequencies of words in 40 languages; data CC
BY-SA), Debian's translated manual pages, and the message catalogues of programs (.mo of gettext): material for tests,
studies and benchmarks, never a dependency. Files are located and read, nothing is imported or run of them.
"""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path

from lowrank.limits import at_least
from lowrank.optional import require
from lowrank.reading import FileFormatError
from ml.tasks.files import package_file

__all__ = ["CURVE", "EUROPEAN", "frequencies", "manual_pages", "message_catalogues", "sentences"]

#: The 14 languages that results are given for.
EUROPEAN = ("cs", "da", "de", "en", "es", "fi", "fr", "hu", "it", "nl", "pl", "pt", "ro", "sv")
#: These, then 6 and 7 more in Latin letters, then 13 in others or of other continents.
CURVE = (
    *EUROPEAN,
    *("ca", "hr", "lt", "no", "sk", "sl"),
    *("et", "eu", "is", "lv", "sq", "tl", "tr"),
    *("ar", "az", "be", "bg", "el", "fa", "he", "hi", "ms", "ru", "sr", "uk", "vi"),
)
#: Names of lists that differ from those of the sentences.
LISTS = {"no": "nb", "tl": "fil", "hr": "sh"}
PAGES = Path("/usr/share/man")
CATALOGUES = Path("/usr/share/locale")
#: Whose catalogues the English originals are taken of.
ORIGINALS = "de"
#: The first bytes of a catalogue, little endian; its header is seven numbers of 32 bits.
MO = 0x950412DE
#: Largest size of one manual page unpacked; the longest have one megabyte.
MAX_PAGE = 1 << 22


def sentences() -> dict[str, list[str]]:
    """Return 1000 sentences in each of 60 languages, by code. Raises ImportError, with the line that brings them."""
    path = package_file("eld", "big-test.txt", "eld")
    found: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{path} is damaged ({error}); install eld anew") from error
    for line in lines:
        language, tab, text = line.partition("\t")
        if tab:
            found.setdefault(language, []).append(text)
    return found


def frequencies(language: str, count: int = 30_000) -> dict[str, float]:
    """Return the most frequent words of a language and their shares of running text, at most `count`.

    Empty where wordfreq has no list of the language. Raises ImportError where wordfreq or msgpack is missing, and
    FileFormatError for a damaged file.
    """
    at_least("count", count, 1)
    name = LISTS.get(language, language)
    path = package_file("wordfreq", "small_en.msgpack.gz", "wordfreq").parent
    packed = require("msgpack", "msgpack", "lists of wordfreq")
    files = [path / f"{size}_{name}.msgpack.gz" for size in ("large", "small")]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return {}
    try:
        header, *groups = packed.unpackb(gzip.decompress(file.read_bytes()), raw=False)
        if header.get("format") != "cB":
            raise ValueError(f"its format is {header.get('format')!r}")
        words = ((word, 10 ** (-centibels / 100)) for centibels, group in enumerate(groups) for word in group)
        return dict(pair for pair, _ in zip(words, range(count), strict=False))
    except (ValueError, TypeError, AttributeError, OSError, EOFError) as error:
        raise FileFormatError(f"{file} is damaged ({error}); install wordfreq anew") from error


def manual_pages(language: str, folder: Path = PAGES, count: int = 2000) -> list[str]:
    """Return paragraphs of the manual pages of a language in running text, at most `count` of them.

    Lines that are requests of troff are left out, escapes and options too, and paragraphs of fewer than eight words. An
    empty list where there are no pages. Pages are taken in the order of their names, at most ten paragraphs of each.
    """
    found: list[str] = []
    for file in sorted(folder.glob(f"{language}/man*/*.gz")):
        try:
            with gzip.open(file) as packed:
                text = packed.read(MAX_PAGE).decode("utf-8")
        except (OSError, EOFError, UnicodeDecodeError):  # an old encoding
            continue
        found += _paragraphs(text)[:10]
        if len(found) >= count:
            break
    return found[:count]


def message_catalogues(language: str, folder: Path = CATALOGUES, count: int = 2000) -> list[str]:
    """Return messages of programs in a language, as far as they are running text, at most `count` of them.

    What is translated and differs from its original, without formats and options, of four words or more; of English the
    originals. An empty list where there are no catalogues; damaged ones are left out. Catalogues are taken in the order
    of their names, at most 100 messages of each.
    """
    found: list[str] = []
    name = ORIGINALS if language == "en" else LISTS.get(language, language)
    for file in sorted((folder / name / "LC_MESSAGES").glob("*.mo")):
        try:
            pairs = _messages(file.read_bytes())
        except (OSError, struct.error, UnicodeDecodeError, ValueError):
            continue
        texts = (original if language == "en" else text for original, text in pairs if original != text)
        plain = (" ".join(re.sub(r"\S*[-_/<>{}\[\]=@$|%\\]\S*", " ", text).split()) for text in texts)
        found += [text for text in dict.fromkeys(plain) if len(text.split()) >= 4][:100]
        if len(found) >= count:
            break
    return found[:count]


def _messages(content: bytes) -> list[tuple[str, str]]:
    """Return originals and translations of a catalogue in UTF-8, of plural forms the first; its header is left out."""
    magic, _, number, *at = struct.unpack_from("<5I", content)
    if magic != MO:
        raise ValueError("no catalogue")
    tables = [struct.unpack_from(f"<{2 * number}I", content, start) for start in at]

    def text(table: tuple[int, ...], k: int) -> str:
        size, start = table[2 * k : 2 * k + 2]
        return content[start : start + size].split(b"\0")[0].decode("utf-8")

    pairs = [tuple(text(table, k) for table in tables) for k in range(number)]
    return [(original.split("\x04")[-1], translated) for original, translated in pairs if original and translated]


def _paragraphs(text: str) -> list[str]:
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith((".", "'")) or not line.strip():
            if not line.startswith((".B ", ".I ", ".BR", ".IR", ".RB", ".RI")):
                paragraphs.append([])
            continue
        paragraphs[-1].append(line)
    plain = (re.sub(r"\\f(\[\w*\]|\(..|.)|\\[a-zA-Z&/,|^]|\\", "", " ".join(lines)) for lines in paragraphs)
    short = (re.sub(r"\S*[-_/<>{}\[\]=@$|]\S*", " ", line) for line in plain)
    return [line for line in (" ".join(line.split()) for line in short) if len(line.split()) >= 8]
