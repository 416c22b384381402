"""Results of a long run, kept case by case, so that it goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lowrank.writing import write_atomically

__all__ = ["KeptCases"]


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
            made = {"settings": wanted, "result": json.loads(json.dumps(make()))}
            self.cases = {**self.cases, **self._read(), name: made}
            write_atomically(self.path, (json.dumps(self.cases, indent=1) + "\n").encode())
        return self.cases[name]["result"]
