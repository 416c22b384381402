"""Ctrl-C that waits until a change of many arrays is whole."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["whole"]


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Let an interrupt of the keyboard (SIGINT) wait until the block has ended.

    Elsewhere than in the main thread, which alone gets interrupts, and where their handler is not Python's, nothing is
    done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(came[0], None)
