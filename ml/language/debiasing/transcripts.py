"""Transcripts: JSON lines, one for each answer, from which a run goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.reading import FileFormatError, read_bytes
from ml.language.debiasing.answers import Reply
from ml.language.debiasing.protocols import ORDERS

__all__ = ["Transcript"]

VERSION = 1


class Transcript:
    """A file of answers: the first line says to what they belong, each further line is one answer, written at once.

    A last line that is not whole, as a killed run leaves it, is cut off. Two processes must not write to one file; an
    answer that stands twice, as they leave it, is refused.

    settings : all that the answers depend on: the model's name, the items, the wording, the orders, the reading, the
        seed. Raises ValueError for a file of other settings, and FileFormatError, with the line, for one that is
        damaged or holds something else
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._header = {"transcript": VERSION, **json.loads(json.dumps(settings))}
        self.answers: dict[tuple[str, str], tuple[Reply, ...]] = {}
        content = read_bytes(self.path) if self.path.exists() else b""
        *lines, rest = content.split(b"\n")
        if not lines and not _line(self._header).startswith(rest):
            raise FileFormatError(f"{self.path}, line 1: not a transcript; give another name, it was not changed")
        for number, line in enumerate(lines, 1):
            self._take(number, line)
        if rest:  # only now: the file is one of ours
            with open(self.path, "r+b") as file:
                file.truncate(len(content) - len(rest))
        if not lines:
            self._append(self._header)

    def add(self, item: str, method: str, replies: tuple[Reply, ...]) -> None:
        """Write an answer; it is on the disk when this returns."""
        self._append({"item": item, "method": method, "replies": [reply.as_dict() for reply in replies]})
        self.answers[item, method] = replies

    def _append(self, line: Mapping[str, Any]) -> None:
        with open(self.path, "ab") as file:
            file.write(_line(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _take(self, number: int, line: bytes) -> None:
        where = f"{self.path}, line {number}"
        try:
            found = json.loads(line)
            if number == 1:
                if found["transcript"] != VERSION:
                    raise ValueError(f"version {found['transcript']}")
            else:
                replies = tuple(Reply.from_dict(reply) for reply in found["replies"])
                self._fits(replies)
                answer = str(found["item"]), str(found["method"])
                if answer in self.answers:  # of two processes that wrote to one file
                    raise ValueError(f"the answer to {answer[0]} by {answer[1]} stands in a line before")
                self.answers[answer] = replies
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            said = " ".join(str(error).split())[:100]
            raise FileFormatError(f"{where}: not a line of a transcript ({said}); remove it, or the file") from None
        if number == 1 and found != self._header:
            wrong = next(k for k in {**self._header, **found} if self._header.get(k) != found.get(k))
            raise ValueError(
                f"{self.path} holds answers with another {wrong}: {found.get(wrong)!r:.80}, not "
                f"{self._header.get(wrong)!r:.80}; give another file, or remove it"
            )

    def _fits(self, replies: tuple[Reply, ...]) -> None:
        """Raise ValueError for replies that are not those of the orders and the reading of the first line."""
        orders, by = ORDERS.get(str(self._header.get("orders"))), self._header.get("by")
        if orders is not None and tuple(reply.order for reply in replies) != orders:
            raise ValueError(f"{len(replies)} replies that are not those to {len(orders)} orders")
        if by is not None and any((reply.log_probs is not None) != (by == "log_probs") for reply in replies):
            raise ValueError(f"replies that are not read by {by}")


def _line(values: Mapping[str, Any]) -> bytes:
    """Return a line of JSON; a half of a character (lone surrogate), which UTF-8 has not, as its escape."""
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace")
