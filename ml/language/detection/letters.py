"""What a letter and a word are: any Unicode becomes runs of folded letters."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = [
    "BOUNDARY",
    "CODES",
    "MAX_SYMBOLS",
    "OTHER",
    "UNDETERMINED",
    "Alphabet",
    "code_points",
    "fold_all",
    "folding",
    "is_normal",
    "raw_points",
    "words_of",
]

#: Code points above are no letters here: none of a living script stands there.
CODES = 0x40000
#: Symbols of the end of a word, and of a letter that the alphabet lacks.
BOUNDARY, OTHER = 0, 1
#: A symbol has 10 bits of a key.
MAX_SYMBOLS = 1024
APOSTROPHE = ord("'")
#: What stands for a text without a letter that the detector knows; the code of ISO 639 for it.
UNDETERMINED = "und"
#: Of a typewriter, of printers, and of phonetics.
APOSTROPHES = (APOSTROPHE, 0x2019, 0x02BC)


@functools.cache
def folding() -> np.ndarray:
    """Return the small letter of every code point, uint32 (CODES,), 0 for what is no letter.

    Letters are those of `str.isalpha` and combining marks, but for those that enclose or choose a variant of an emoji.
    A letter whose small form has several code points gets the first. Apostrophes are ', which is a letter between two
    letters only: :func:`words_of` sees to it. Takes 0.1 s, once a process.
    """
    found = np.zeros(CODES, np.uint32)
    for code, char in enumerate(map(chr, range(CODES))):
        if char.isalpha():
            found[code] = ord(char.lower()[0])
        elif unicodedata.category(char) in ("Mn", "Mc"):
            found[code] = code
    found[0xFE00:0xFE10] = 0
    found[list(APOSTROPHES)] = APOSTROPHE
    return found


def code_points(text: str) -> np.ndarray:
    """Return the code points of a text after NFC, uint32; halves of surrogate pairs are kept, they are no letters."""
    return raw_points(text if is_normal(text) else unicodedata.normalize("NFC", text))


def is_normal(text: str) -> bool:
    """Return whether NFC leaves a text as it is."""
    return text.isascii() or unicodedata.is_normalized("NFC", text)


def raw_points(text: str) -> np.ndarray:
    """Return the code points of a text as it is, uint32."""
    return np.frombuffer(bytearray(text.encode("utf-32-le", "surrogatepass")), "<u4").astype(np.uint32, copy=False)


def words_of(text: str) -> list[str]:
    """Return the words of a text: longest runs of letters, folded, after NFC. An apostrophe between letters is inside.

    Examples
    --------
    >>> words_of("L’été, c'est 'fini' -- 3x 😀!")
    ["l'été", "c'est", 'fini', 'x']
    """
    return _folded(code_points(text)).split()


def fold_all(words: Iterable[str]) -> list[str]:
    """Return each of the words folded, "" for those that are no single word. Faster than one by one."""
    words = list(words)
    text = "\n".join(words)
    lines = _folded(code_points(text), keep=ord("\n")).split("\n")
    if len(lines) != len(words):  # a word holds a line break, which makes it two
        lines = ["" if "\n" in word else _folded(code_points(word)) for word in words]
    return ["" if " " in line else line for line in (line.strip(" ") for line in lines)]


def _folded(codes: np.ndarray, keep: int = 0) -> str:
    folded = np.where(codes < CODES, folding()[np.minimum(codes, CODES - 1)], 0)
    mark = folded == APOSTROPHE
    if mark.any():
        letter = (folded != 0) & ~mark
        inside = mark.copy()
        inside[:1] = inside[-1:] = False
        inside[1:-1] &= letter[:-2] & letter[2:]
        folded[mark & ~inside] = 0
    blank = np.where(codes == keep, keep, ord(" ")) if keep else ord(" ")
    return np.where(folded == 0, blank, folded).astype("<u4").tobytes().decode("utf-32-le")


@dataclass(frozen=True, eq=False)
class Alphabet:
    """The letters that have symbols of their own: the symbol of letters[i] is i + 2, of others OTHER.

    Raises ValueError for letters that are no different folded ones, and for more than `MAX_SYMBOLS` - 2 of them.
    """

    letters: np.ndarray  #: uint32, folded code points

    def __post_init__(self) -> None:
        letters = self.letters
        if letters.dtype != np.uint32 or letters.ndim != 1 or len(letters) > MAX_SYMBOLS - 2:
            raise ValueError(f"letters must be at most {MAX_SYMBOLS - 2} uint32, got {letters.dtype} {letters.shape}")
        small = letters[letters < CODES]
        if len(small) < len(letters) or np.any(folding()[small] == 0) or len(np.unique(letters)) < len(letters):
            raise ValueError("letters must be different code points of letters")

    @property
    def size(self) -> int:
        """Number of symbols: letters, the end of a word, and the other letter."""
        return len(self.letters) + 2

    @functools.cached_property
    def symbols(self) -> np.ndarray:
        """The symbol of every code point up to the last letter, uint16; those that are not there are OTHER."""
        table = np.full(int(self.letters.max(initial=0)) + 1, OTHER, np.uint16)
        table[self.letters] = np.arange(2, self.size, dtype=np.uint16)
        return table

    def symbols_of(self, folded: np.ndarray) -> np.ndarray:
        """Return the symbols, int64, of folded code points; a space is the end of a word."""
        table = self.symbols
        found = np.where(folded < len(table), table[np.minimum(folded, len(table) - 1)], OTHER).astype(np.int64)
        return np.where(folded == ord(" "), BOUNDARY, found)

    @classmethod
    def of(cls, shares: dict[int, float]) -> Alphabet:
        """Return the alphabet of the letters with the largest shares, {code point: share}, most frequent first."""
        order = sorted(shares, key=lambda code: (-shares[code], code))[: MAX_SYMBOLS - 2]
        return cls(np.array(order, np.uint32))
