"""Turns the docstrings of this project into reStructuredText, for the API reference.

They are plain text: formulas as they are typed, ``name : meaning`` with its continuation indented, sections with a line
of dashes, tables with pipes, doctests. What reStructuredText would take for markup is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["to_restructured_text"]

SECTION = re.compile(r"^-{3,}$")
#: "rtol, atol : tolerance" or "matrix : A (m, n)"; names may be dotted, and stars are allowed.
DEFINITION = re.compile(r"^((?:\*{0,2}[A-Za-z_][\w.\[\]]*)(?:, \*{0,2}[A-Za-z_][\w.\[\]]*)*) : (.+)$")
ERRORS = re.compile(r"^[A-Z]\w*(?:, [A-Z]\w*)*$")
#: What is left as it is: a role, double and single backticks.
MARKUP = re.compile(r"(:(?:\w+:)?\w+:`[^`]+`|``.+?``|`[^`]+`)", re.S)


def to_restructured_text(lines: list[str]) -> list[str]:
    """Return the lines of a docstring in reStructuredText."""
    made: list[str] = []
    place, section = 0, ""
    while place < len(lines):
        line, indent = lines[place], _indent(lines[place])
        if place + 1 < len(lines) and SECTION.match(lines[place + 1].strip()) and line.strip():
            section = line.strip()
            made += ["", f".. rubric:: {section}", ""]
            place += 2
        elif not line.strip():
            made.append("")
            place += 1
        elif line.strip().startswith(">>>"):
            block, place = _until(lines, place, lambda text: not text.strip())
            made += ["", *block, ""]
        elif _is_table(lines, place):
            block, place = _table(lines, place)
            made += ["", *block, ""]
        elif found := DEFINITION.match(line.strip()) if indent == 0 else None:
            block, place = _until(lines, place + 1, lambda text: _indent(text) == 0)
            made += _definition(found[1], [found[2], *block])
        elif section == "Raises" and indent == 0 and ERRORS.match(line.strip()):
            block, place = _until(lines, place + 1, lambda text: _indent(text) == 0)
            made += _definition(line.strip(), block)
        elif indent >= 4:
            block, place = _until(lines, place, lambda text: bool(text.strip()) and _indent(text) < 4)
            made += ["", ".. code-block:: text", "", *block, ""]
        else:
            stop = place + 1
            while stop < len(lines) and lines[stop].strip() and not _starts(lines, stop):
                stop += 1
            made += _paragraph(lines[place:stop])
            place = stop
    return made


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip()) if text.strip() else -1


def _is_table(lines: list[str], place: int) -> bool:
    """Say whether a table begins here: lines of equals signs, or pipes above a line of dashes."""
    below = lines[place + 1].strip() if place + 1 < len(lines) else ""
    ruled = lines[place].lstrip().startswith("|") and re.fullmatch(r"\|[-:| ]+\|", below)
    return bool(ruled) or bool(re.match(r"^\s*={3,} ", lines[place]))


def _starts(lines: list[str], place: int) -> bool:
    """Say whether something that is no paragraph begins here."""
    text = lines[place]
    return bool(DEFINITION.match(text)) or text.lstrip().startswith(">>>") or _is_table(lines, place)


def _until(lines: list[str], start: int, ends: Callable[[str], bool]) -> tuple[list[str], int]:
    """Return the lines from `start` up to the first that ends the block, and where it is; no empty ones at its end."""
    stop = start
    while stop < len(lines) and not ends(lines[stop]):
        stop += 1
    block = lines[start:stop]
    while block and not block[-1].strip():
        block.pop()
    return block, stop


def _definition(name: str, lines: list[str]) -> list[str]:
    """Return an entry of a definition list; what follows in its block may have lists of its own."""
    kept = min((_indent(text) for text in lines[1:] if text.strip()), default=0)
    body = [lines[0].strip() if lines else "", *(text[kept:] if text.strip() else "" for text in lines[1:])]
    inner = to_restructured_text(body)
    while inner and not inner[0].strip():
        inner.pop(0)
    names = ", ".join(f"``{part}``" for part in name.split(", "))
    return ["", names, *(f"    {text}" if text else "" for text in inner), ""]


def _paragraph(lines: list[str]) -> list[str]:
    """Return a paragraph, or a list, with its texts escaped; a line that ends in two colons keeps them."""
    made = _escaped("\n".join(lines)).split("\n")
    listed = [k for k, text in enumerate(lines) if re.match(r"^\s*[-*] ", text)]
    if listed:
        for k in reversed(listed):
            mark = re.match(r"^(\s*)[-*] (.*)$", lines[k])
            made[k] = f"{mark[1]}- {_escaped(mark[2])}"
        if listed[0] > 0 or lines[0][:1] != " ":
            made.insert(listed[0], "")
    return [*made, ""]


def _escaped(text: str) -> str:
    parts = MARKUP.split(text)
    for k, part in enumerate(parts):
        if k % 2 == 0:
            parts[k] = re.sub(r"([*|\\`]|_(?=\W|$))", r"\\\1", part)
        elif part.startswith("`") and not part.startswith("``"):
            parts[k] = f"`{part}`"
    return "".join(parts)


def _table(lines: list[str], start: int) -> tuple[list[str], int]:
    """Return a table with pipes as a list-table; one with lines of equals signs stays as it is."""
    if not lines[start].lstrip().startswith("|"):
        block, stop = _until(lines, start, lambda text: not text.strip())
        return [".. code-block:: text", "", *(f"    {text}" for text in block), ""], stop
    rows, stop = _until(lines, start, lambda text: not text.lstrip().startswith("|"))
    made = [".. list-table::", "    :header-rows: 1", ""]
    for row in rows:
        cells = [cell.strip() for cell in row.strip().strip("|").split("|")]
        if all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            continue
        made += [f"    {'* -' if k == 0 else '  -'} {_escaped(cell)}" for k, cell in enumerate(cells)]
    return [*made, ""], stop
