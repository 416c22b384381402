"""Threads that work off the pieces of a batch together, and stop together."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

__all__ = ["alone", "each", "thread_count"]

_state = threading.local()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def thread_count() -> int:
    """Return the number of threads for a batch.

    It is RBM_NUM_THREADS, or else OMP_NUM_THREADS, or else the number of processors that this process may use.
    """
    for name in ("RBM_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").partition(",")[0].strip()
        if text.isdigit() and int(text) > 0:
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def each(work: Callable[[slice], None], slices: Sequence[slice], *, parallel: bool = True) -> None:
    """Call work(rows) for all slices, by as many threads as :func:`thread_count` says.

    A thread that already works for such a call does all of it alone.
    """
    if len(slices) < 2:  # no lock, no look at the environment: many calls are for short work
        outer, _state.inside = getattr(_state, "inside", False), True
        try:
            for rows in slices:
                work(rows)
        finally:
            _state.inside = outer
        return
    lock, stop, waiting = threading.Lock(), threading.Event(), iter(slices)

    def loop() -> None:
        outer, _state.inside = getattr(_state, "inside", False), True
        try:
            while not stop.is_set():
                with lock:
                    rows = next(waiting, None)
                if rows is None:
                    return
                work(rows)
        except BaseException:
            stop.set()
            raise
        finally:
            _state.inside = outer

    threads = min(thread_count(), len(slices)) if parallel and not getattr(_state, "inside", False) else 1
    if threads <= 1:
        if not getattr(_state, "inside", False):
            with alone():  # the same bits as with several threads
                loop()
        else:
            loop()
        return
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads - 1, thread_name_prefix="rbm-online")
    helpers = _Helpers(loop)
    futures = []
    try:
        _one_thread_a_product.enter()
        for _ in range(threads - 1):
            futures.append(_pools[key].submit(helpers))
        loop()  # this thread need not wait until another one is woken up
        for future in futures:
            if not future.cancel():  # busy elsewhere, perhaps for long: everything is done without it
                future.result()
    except BaseException:
        stop.set()
        helpers.wait()
        raise
    finally:
        _surely(_one_thread_a_product.leave)


@contextmanager
def alone() -> Iterator[None]:
    """Keep this thread to itself: its batches get no helping threads, and its matrix products one thread each."""
    outer, _state.inside = getattr(_state, "inside", False), True
    try:
        if not outer:
            _one_thread_a_product.enter()
        yield
    finally:
        _state.inside = outer
        if not outer:
            _surely(_one_thread_a_product.leave)


def _surely(step: Callable[[], None]) -> None:
    """Run step() to its end, again if Ctrl-C broke it off; that Ctrl-C is raised afterwards.

    step may be called again after half of it.
    """
    try:
        step()
    except KeyboardInterrupt:
        _surely(step)
        raise


class _Helpers:
    """Helping threads that run `loop`, with a way to wait until none of them is inside."""

    def __init__(self, loop: Callable[[], None]) -> None:
        self._loop, self._inside, self._changed = loop, 0, threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self._inside += 1
        try:
            self._loop()
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until their pieces are done; a further Ctrl-C leaves no thread behind that still writes answers."""
        while True:
            try:
                with self._changed:
                    self._changed.wait_for(lambda: not self._inside)
                return
            except KeyboardInterrupt:
                continue


class _OneThreadAProduct:
    """Limits NumPy's matrix products to one thread each while batches are under way.

    Their threads and ours would compete for the processors. Ctrl-C may come between any two instructions: a thread that
    has entered, or tried to, is in `_inside`, and to leave twice does no harm.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), set[int](), None
        self._found: Any = None

    def enter(self) -> None:
        """Set the limit; a thread calls this once, and then :meth:`leave` whatever comes of it."""
        with self._lock:
            if self._before is None:
                self._found = _libraries()
                self._before = self._found.limit(limits=None)  # as it was, noted before anything is changed
            self._inside.add(threading.get_ident())
            self._found.limit(limits=1, user_api="blas")

    def leave(self) -> None:
        """Take the limit away if this is the last thread to leave."""
        with self._lock:
            self._inside.discard(threading.get_ident())
            if not self._inside and self._before is not None:
                self._before.restore_original_limits()
                self._before = None


def _libraries() -> Any:
    return _found(len(sys.modules))


@lru_cache(1)
def _found(modules: int) -> Any:
    """Return the libraries of this process; once more where it has loaded further modules, which may bring some."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_one_thread_a_product = _OneThreadAProduct()
