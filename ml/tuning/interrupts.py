"""Ctrl-C that waits until a change of many arrays is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """Lets an interrupt of the keyboard (SIGINT) wait from `hold` to `release`, while it is entered as a context.

    Elsewhere than in the main thread, which alone gets interrupts, and where their handler is not Python's, nothing is
    done. Interrupts between a release and the next hold come at once, as before.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._held, self._came = False, False

    def __enter__(self) -> Interrupts:
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(before):
            self._before = before
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def hold(self) -> None:
        """Let interrupts wait."""
        self._held = True

    def release(self) -> None:
        """Let interrupts come, and the one that has waited."""
        self._held = False
        if self._came:
            self._came = False
            self._before(signal.SIGINT, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._came = True
        else:
            self._before(number, frame)
