"""Where the time of a study went: wall and processor seconds of its phases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lowrank.terminal import columns

__all__ = ["Phases"]

#: What is between the phases.
REST = "everything else"
#: Phases that are shown; the shortest of more are added up.
SHOWN = 12


class Phases:
    """A clock of phases, which follow each other or are repeated.

    Processor seconds are those of this process, all threads together, so that they may exceed wall seconds; those of
    other processes that work for it are not among them.

    >>> phases = Phases()
    >>> with phases("offline"):
    ...     pass
    >>> [row["phase"] for row in phases.rows()]
    ['offline', 'everything else']
    """

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()
        self._spent: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count what is done inside as this phase, also where it fails."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.move(name, "", time.perf_counter() - wall, time.process_time() - cpu)

    def move(self, to: str, source: str, wall: float, cpu: float) -> None:
        """Count seconds as a phase, and no longer as the phase `source`, "" for none."""
        for name, sign in ((source, -1), (to, 1)):
            if name:
                spent = self._spent.setdefault(name, [0.0, 0.0])
                spent[0] += sign * wall
                spent[1] += sign * cpu

    def wall(self, name: str) -> float:
        """Return the wall seconds of a phase."""
        return self._spent[name][0]

    def rows(self) -> list[dict[str, Any]]:
        """Return phase, wall_seconds, cpu_seconds and share of the wall time since the clock was made, for JSON.

        The shares add up to one.
        """
        total = [time.perf_counter() - self._start[0], time.process_time() - self._start[1]]
        spent = {name: (wall, cpu) for name, (wall, cpu) in self._spent.items()}
        rest = [max(all_ - sum(s[k] for s in spent.values()), 0.0) for k, all_ in enumerate(total)]
        whole = max(sum(wall for wall, _ in spent.values()) + rest[0], 1e-9)
        return [
            {"phase": name, "wall_seconds": wall, "cpu_seconds": cpu, "share": wall / whole}
            for name, (wall, cpu) in [*spent.items(), (REST, (rest[0], rest[1]))]
        ]

    def table(self, width: int | None = None) -> str:
        """Return where the time went as a table, the phases in their order, and all of it in the last row."""
        rows = self.rows()
        if len(rows) > SHOWN:
            least = sorted(row["wall_seconds"] for row in rows)[-SHOWN + 1]
            some = [row for row in rows if row["wall_seconds"] >= least and row["phase"] != REST]
            others = [row for row in rows if row not in some]
            rows = [*some, {"phase": f"{len(others)} others", **_added(others)}]
        rows = [*rows, {"phase": "all", **_added(rows)}]
        cells = [
            [row["phase"], f"{row['wall_seconds']:.2f}", f"{row['cpu_seconds']:.2f}", f"{row['share']:.0%}"]
            for row in rows
        ]
        return columns(["phase", "wall s", "CPU s", "share"], cells, width)


def _added(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {key: sum(row[key] for row in rows) for key in ("wall_seconds", "cpu_seconds", "share")}
