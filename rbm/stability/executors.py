"""What stability bounds that take an executor have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbm.errors import WorkersLost

__all__ = ["Employer", "Step", "lost"]


@dataclass(frozen=True)
class Step:
    """How many constants an extension may add, and the value at which the run ends."""

    batch: int
    limit: int  #: of the size
    tol: float

    def room(self, size: int) -> int:
        """Return how many may be added to so many."""
        return min(self.batch, self.limit - size)


class Employer:
    """Options of a stability bound with an `executor`: a copy of them, on a disk or in a process, has none."""

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the executor, for pickle and copy: a pool can be neither."""
        return {**vars(self), "executor": None}


def lost(error: WorkersLost, done: str, path: Path | None, result: object) -> WorkersLost:
    """Return the error about workers that are lost, with what was done before, and where it is."""
    kept = (
        "they are in the cache, and the same call goes on from there" if path else "with a cache= folder they are kept"
    )
    made = WorkersLost(f"{error}. {done} are done: {kept}; see `solution` of this error")
    made.solution = result
    return made
