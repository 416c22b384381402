"""Results of a long run, kept case by case, so that it goes on where it stopped."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lowrank.phases import Phases
from lowrank.writing import write_atomically

__all__ = ["KeptCases", "chosen_sizes"]

T = TypeVar("T")


class KeptCases:
    """A JSON file {case: {"settings": .., "result": ..}}, written whole after every case.

    A result is taken from the file only where the settings, all that it depends on, are those of today. Several
    processes may work on different cases of one file: it is read again before it is written. Nothing is locked, so that
    two that end within the milliseconds between may lose one case, which is then measured anew.

    Raises ValueError for a file that holds something else.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = KeptCases(f"{folder}/cases.json")
    ...     first = kept.case("square", {"of": 3}, lambda: 9)
    ...     KeptCases(f"{folder}/cases.json").case("square", {"of": 3}, lambda: None)
    9
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.cases: dict[str, Any] = self._read()
        self.phases = Phases()  #: where the time of this run goes: cases that are measured, by the first word of each

    def _read(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.path.read_bytes())
            whole = all({"settings", "result"} <= set(case) for case in found.values())
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise ValueError(f"{self.path} does not hold results of cases; remove it, and they are measured anew")
        return found

    def case(self, name: str, settings: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """Return the result of a case: the one that is kept, or what `make` returns, which is then kept."""
        wanted = json.loads(json.dumps(settings))
        kept = self.cases.get(name)
        if kept is None or kept["settings"] != wanted:
            with self.phases(re.split(r"[ ,:/]", name, maxsplit=1)[0]):
                made = {"settings": wanted, "result": json.loads(json.dumps(make()))}
            self.cases = {**self.cases, **self._read(), name: made}
            write_atomically(self.path, (json.dumps(self.cases, indent=1) + "\n").encode())
        return self.cases[name]["result"]

    def write_summary(self, summary: dict[str, Any], out: Path, say: Callable[[str], None]) -> None:
        """Write summary.json to the folder `out`, with where the time of this run went, and say that as a table."""
        written = {**summary, "time": self.phases.rows()}
        write_atomically(out / "summary.json", (json.dumps(written, indent=1) + "\n").encode())
        say(f"where the time went\n{self.phases.table()}")


def chosen_sizes(size: str | None, sizes: Mapping[str, T]) -> T:
    """Return the sizes of a study by their name, the first for None; raise ValueError for another name."""
    name = next(iter(sizes)) if size is None else size
    if name not in sizes:
        raise ValueError(f"size must be one of {', '.join(sizes)}, got {name}")
    return sizes[name]
