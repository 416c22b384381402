"""Solves with one matrix that others do for a while: workers, in place of the factors that are here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rbm.solvers.factorization import Solve

__all__ = ["elsewhere", "solved_elsewhere"]

#: In each thread: (owner of the matrix, function that solves with it).
_state = threading.local()


@contextmanager
def solved_elsewhere(owner: Any, solve: Solve) -> Iterator[None]:
    """Let another function solve for `owner` in this thread while the context lasts: one with the same answers."""
    before = getattr(_state, "found", None)
    _state.found = owner, solve
    try:
        yield
    finally:
        _state.found = before


def elsewhere(owner: Any) -> Solve | None:
    """Return the function that solves for `owner` in this thread, if there is one."""
    found = getattr(_state, "found", None)
    return found[1] if found is not None and found[0] is owner else None
