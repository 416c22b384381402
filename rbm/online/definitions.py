"""Who answers where compiled code and its definition in array operations are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

__all__ = ["by_definition", "compiled_code_serves"]

_by_definition = ContextVar("by_definition", default=False)


@contextmanager
def by_definition() -> Iterator[None]:
    """Let definitions answer within this block.

    They need no Numba, whose import takes longer than all else when a file is read, and refuse arrays whose shapes do
    not fit each other, which compiled code does not look at.
    """
    token = _by_definition.set(True)
    try:
        yield
    finally:
        _by_definition.reset(token)


def compiled_code_serves(*arrays: Any) -> bool:
    """Return whether compiled code is to be used: for arrays of NumPy that are not empty."""
    return not _by_definition.get() and all(isinstance(a, np.ndarray) and a.size > 0 for a in arrays)
