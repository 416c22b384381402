"""Text that fits the terminal: sentences, labels beside sentences, and tables; no number or word is cut in two."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["columns", "labelled", "terminal_width", "thinned", "wrapped"]

#: Fewer columns than these are not written for.
NARROWEST = 40
#: Labels of more characters stand on a line of their own.
LONG = 24


def terminal_width() -> int:
    """Return the columns of the terminal, as COLUMNS or the terminal says; 80 where there is none."""
    return max(shutil.get_terminal_size((80, 24)).columns, NARROWEST)


def wrapped(text: str, width: int | None = None) -> str:
    """Return the text in lines of at most `width` characters, by default the terminal's.

    A line is continued under its beginning.
    """
    width = terminal_width() if width is None else max(width, NARROWEST)
    made = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        made += _lines(line, width, indent + "  ") or [""]
    return "\n".join(made)


def labelled(rows: Iterable[tuple[str, str]], width: int | None = None) -> str:
    """Return one row for each (label, text): labels in a column, texts beside it, wrapped under their beginning.

    >>> print(labelled([("size", "N = 8"), ("unknowns", "199")], 60))
      size:      N = 8
      unknowns:  199
    """
    width = terminal_width() if width is None else max(width, NARROWEST)
    rows = list(rows)
    room = max((len(label) for label, _ in rows if len(label) <= LONG), default=0) + 3
    made = []
    for label, text in rows:
        head = f"  {label}:"
        lines = _lines(text, width - room - 2, "") or [""]
        if len(head) > room:
            made.append(head)
            head = ""
        made += [f"{head if k == 0 else '':<{room + 2}}{line}".rstrip() for k, line in enumerate(lines)]
    return "\n".join(made)


def columns(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return a table: columns to the right, the last to the left where it has words, wrapped under its heading.

    >>> print(columns(["N", "bound"], [["1", "2.0e-01"], ["12", "3.1e-09"]]))
       N    bound
       1  2.0e-01
      12  3.1e-09
    """
    width = terminal_width() if width is None else max(width, NARROWEST)
    table = [list(headings), *map(list, rows)]
    sizes = [max(map(len, column)) for column in zip(*table, strict=True)]
    last = len(sizes) - 1
    words = any(" " in row[last] for row in table[1:]) or not any(_is_number(row[last]) for row in table[1:])
    before = sum(sizes[:-1]) + 2 * last + 2
    made = []
    for row in table:
        start = "".join(f"  {text:>{size}}" for text, size in zip(row[:-1], sizes[:-1], strict=True)) + "  "
        lines = _lines(row[last], max(width - before, 16), "") or [""]
        made.append(start + (lines[0] if words else f"{row[last]:>{sizes[last]}}"))
        made += [" " * len(start) + line for line in lines[1:] if words]
    return "\n".join(line.rstrip() for line in made)


def thinned(count: int, most: int) -> list[int]:
    """Return at most `most` >= 2 of the numbers 0 .. count - 1, the first and the last among them.

    >>> thinned(3, 5), thinned(9, 5)
    ([0, 1, 2], [0, 2, 4, 6, 8])
    """
    if count <= most:
        return list(range(count))
    return sorted({round(k * (count - 1) / (most - 1)) for k in range(most)})


def _lines(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in ("-", "<")
