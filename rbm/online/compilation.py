"""The time that compiling the kernels takes, once after an installation, and a message about it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

__all__ = ["compile_seconds", "watch"]

_seconds = [0.0]
_said = [False]


def compile_seconds() -> float:
    """Return the seconds that this process has spent compiling the kernels; 0 where they came from the disk.

    A measurement between two calls should leave out their difference.
    """
    return _seconds[0]


def watch(kernels: Sequence[Any]) -> None:
    """Time the compilations of these Numba functions from now on.

    The first one is announced where somebody watches, on a terminal or in a notebook.
    Numba reports a compilation only where nothing was found on disk. Calls of compiled functions are not touched.
    """
    from numba.core import event

    class Listener(event.Listener):
        """Records start and end of compilations; those of functions that a kernel calls lie within its own."""

        def __init__(self) -> None:
            self.since: dict[int, float] = {}

        def on_start(self, event: Any) -> None:
            function = event.data["dispatcher"]
            if any(function is kernel for kernel in kernels):
                self.since[id(function)] = time.perf_counter()
                _announce()

        def on_end(self, event: Any) -> None:
            started = self.since.pop(id(event.data["dispatcher"]), None)
            if started is not None:
                _seconds[0] += time.perf_counter() - started

    event.register("numba:compile", Listener())


def _announce() -> None:
    if _said[0] or not ("ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())):
        return
    _said[0] = True
    print("compiling the kernels, once (a few seconds; they are kept on disk)", file=sys.stderr, flush=True)
