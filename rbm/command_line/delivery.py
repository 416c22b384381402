"""Where the table of a query goes: to standard output, or to a file, whole or not at all."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable

from lowrank.writing import write_atomically

__all__ = ["deliver", "to_standard_output"]

#: Bytes of a table that are kept in memory; longer ones are put into a temporary file.
IN_MEMORY = 1 << 24
#: Bytes that are copied at once.
PART = 1 << 20


def to_standard_output(options: argparse.Namespace) -> bool:
    """Return whether the answers of a query go to standard output."""
    return options.output is None or str(options.output) == "-"


def deliver(parts: Iterable[bytes], options: argparse.Namespace) -> None:
    """Write a table of UTF-8, made part by part, where the options say; nothing of it if making it fails."""
    if not to_standard_output(options):
        write_atomically(options.output, parts)
        return
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as kept:
        for part in parts:  # one by one: it looks at its size after each
            kept.write(part)
        kept.seek(0)
        sys.stdout.flush()
        # a table is UTF-8 whatever the terminal can show, so that --csv reads it again
        data = getattr(sys.stdout, "buffer", None)
        while part := kept.read(PART):
            sys.stdout.write(part.decode()) if data is None else data.write(part)
