"""What workers do with one matrix for a while, in place of the factors that are here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rbm.solvers.factorization import Solve

__all__ = ["Elsewhere", "done_elsewhere", "elsewhere"]

#: In each thread: (owner of the matrix, what is done elsewhere).
_state = threading.local()


@dataclass(frozen=True)
class Elsewhere:
    """Two functions that bring the answers that would be found here."""

    solve: Solve  #: with the matrix
    each: Callable[
        [Callable[..., Any], Iterable[tuple[Any, ...]]], Iterable[Any]
    ]  #: (work, tasks) -> work(owner, *task)


@contextmanager
def done_elsewhere(owner: Any, others: Elsewhere) -> Iterator[None]:
    """Let others work for `owner` in this thread while the context lasts."""
    before = getattr(_state, "found", None)
    _state.found = owner, others
    try:
        yield
    finally:
        _state.found = before


def elsewhere(owner: Any) -> Elsewhere | None:
    """Return what others do for `owner` in this thread, if there is anything."""
    found = getattr(_state, "found", None)
    return found[1] if found is not None and found[0] is owner else None
