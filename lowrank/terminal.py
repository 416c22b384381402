"""Text that fits the terminal: sentences, labels beside sentences, and tables; no number or word is cut in two."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["columns", "labelled", "terminal_width", "thinned", "wrapped"]

#: Fewer columns than these are not written for.
NARROWEST = 40
#: The words of a last column are wrapped into no fewer.
LEAST = 16
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
    """Return a table: numbers to the right, words to the left, those of the last column wrapped under its heading.

    Columns that do not fit beside the others follow below, again with the first one.

    >>> print(columns(["N", "bound", "box"], [["1", "2.0e-01", "mu in [1, 2]"], ["12", "-", "mu in [2, 3]"]]))
       N    bound  box
       1  2.0e-01  mu in [1, 2]
      12        -  mu in [2, 3]
    """
    width = terminal_width() if width is None else max(width, NARROWEST)
    by_column = list(zip(headings, *rows, strict=True))
    numbers = [all(map(_is_number, column[1:])) for column in by_column]
    sizes = [max(map(len, column)) for column in by_column]
    needed = [*sizes[:-1], sizes[-1] if numbers[-1] else min(sizes[-1], LEAST)]
    parts: list[list[int]] = [[0]]
    for k in range(1, len(sizes)):
        if sum(needed[j] + 2 for j in (*parts[-1], k)) > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(k)
    return "\n\n".join(_beside([by_column[k] for k in part], [numbers[k] for k in part], width) for part in parts)


def _beside(table: Sequence[Sequence[str]], numbers: Sequence[bool], width: int) -> str:
    """Return columns, each with its heading, side by side; `numbers` says which of them stand to the right."""
    sizes = [max(map(len, column)) for column in table]
    before = sum(sizes[:-1]) + 2 * len(sizes)
    made = []
    for row in zip(*table, strict=True):
        cells = [f"{t:>{k}}" if right else f"{t:<{k}}" for t, k, right in zip(row, sizes, numbers, strict=True)]
        start = "".join(f"  {cell}" for cell in cells[:-1]) + "  "
        if numbers[-1]:
            made.append(start + cells[-1])
            continue
        first, *others = _lines(row[-1], max(width - before, LEAST), "") or [""]
        made += [start + first, *(" " * before + line for line in others)]
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
    return text[:1].isdigit() or text[:1] == "-"
