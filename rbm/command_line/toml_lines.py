"""Reads a TOML file and keeps the lines on which its keys stand, so that messages can name them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rbm.errors import ModelError

__all__ = ["Document", "read_toml"]

HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z_][\w.\- ]*?)\s*\]\]?\s*(#.*)?$")
KEY = re.compile(r"""\s*([\w\-]+|"[^"]*"|'[^']*')(\s*\.\s*(?:[\w\-]+|"[^"]*"|'[^']*'))*\s*=""")
PART = re.compile(r"""[\w\-]+|"[^"]*"|'[^']*'""")
LINE = re.compile(r"\(at line (\d+), column \d+\)|\(at end of document\)")

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """The content of a TOML file, with the lines of its keys."""

    file: str
    content: dict[str, Any]
    lines: dict[Path_, int]  #: of each path, ("operators", 0, "file") for instance

    def line(self, *path: str | int) -> int | None:
        """Return the line of a key, or of the nearest around it; None for one that is not in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None

    def where(self, *path: str | int) -> str:
        """Return file and line, as the beginning of a message."""
        line = self.line(*path)
        return self.file if line is None else f"{self.file}, line {line}"

    def refuse(self, message: str, *path: str | int) -> NoReturn:
        """Raise ModelError about a key."""
        raise ModelError(f"{self.where(*path)}: {message}")


def read_toml(path: Path) -> Document:
    """Return the content of a file.

    Raises FileNotFoundError, and ModelError with the line for what is no TOML.
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
        content = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is not a UTF-8 text file ({error.reason} at byte {error.start})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = LINE.search(str(error))
        last = len(text.splitlines())
        line = f", line {found[1] or last}" if found else ""
        raise ModelError(f"{path}{line}: this is not TOML: {LINE.sub('', str(error)).strip()}") from None
    return Document(str(path), content, _lines(text))


def _lines(text: str) -> dict[Path_, int]:
    """Return the line of each table and key.

    Of keys inside tables that are written on one line, the line of the whole is known.
    """
    lines: dict[Path_, int] = {}
    counts: dict[str, int] = {}
    table: Path_ = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            name = header[2]
            parts: Path_ = tuple(p.strip("\"'") for p in PART.findall(name))
            if header[1] == "[[":
                counts[name] = counts.get(name, -1) + 1
                parts = (*parts, counts[name])
                lines.setdefault(parts[:-1], number)
            table = parts
            lines.setdefault(table, number)
        elif key := KEY.match(line):
            found = PART.findall(line[: key.end() - 1])
            for length in range(1, len(found) + 1):
                lines.setdefault((*table, *(p.strip("\"'") for p in found[:length])), number)
    return lines
