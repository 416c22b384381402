"""Batches of any size: pieces that fit the cache, worked off by a few threads, rows that fail set aside."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np

from lowrank.arrays import beside, namespace
from lowrank.progress import progress_bar
from rbm.errors import Interrupted, PointError, place
from rbm.solution import Solution, fits, promoted, room_for, spread, write

__all__ = ["OnError", "answer", "each", "pieces", "thread_count"]

OnError = Literal["raise", "mark"]
Work = Callable[[Any], Solution]

#: Bytes that the arrays of one piece may take together: with them in the second-level cache, NumPy's share of the work is small.
PIECE_BYTES = 1 << 20
#: Smallest and largest number of points of a piece.
PIECE = (256, 8192)
#: Points of the first piece of a batch of more than one.
FIRST = 32
#: The same on a device, which is fast only with much to do: a piece is what the memory has room for.
DEVICE_PIECE_BYTES = 1 << 30
DEVICE_PIECE = (256, 1 << 20)

_state = threading.local()
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def thread_count() -> int:
    """Threads for a batch: RBM_NUM_THREADS, or else OMP_NUM_THREADS, or else the processors this process may use."""
    for name in ("RBM_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "").partition(",")[0].strip()
        if text.isdigit() and int(text) > 0:
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pieces(count: int, bytes_per_point: int, *, on_host: bool = True) -> list[slice]:
    """Slices over `count` points; always the same ones, whatever the number of threads.

    On the host the first one is short: its answers show what the result is made of, before the threads start; and there are some eight
    others at least, unless they would be very small.
    """
    room, (least, most) = (PIECE_BYTES, PIECE) if on_host else (DEVICE_PIECE_BYTES, DEVICE_PIECE)
    size = min(max(room // max(bytes_per_point, 1), least), most)
    if on_host and count <= 2 * least:
        return [slice(0, count)]
    first = 0
    if on_host:
        first, size = FIRST, max(min(size, count // 8), least)
    size = size // 32 * 32
    return [slice(0, first)] * (first > 0) + [slice(k, min(k + size, count)) for k in range(first, count, size)]


class _Failure(NamedTuple):
    """Rows of the batch that one error named, and what it needs to tell about them."""

    rows: np.ndarray  #: in the batch
    local: np.ndarray  #: in the arrays that the error knows
    error: PointError


def answer(
    work: Work,
    points: Any,
    bytes_per_point: int,
    *,
    blank: Callable[[], Solution],
    on_error: OnError = "raise",
    progress: bool = False,
    first_row: int = 0,
) -> Solution:
    """work(points), piece by piece, in one solution; `work` gets rows of `points` and may raise a :class:`rbm.errors.PointError`.

    The rows that an error names are set aside and the others done again, so that no answer is lost: with on_error="mark" they
    are marked in the result, with "raise" an error is raised at the end that names them and carries the result as `solution`.

    blank : makes an answer for one point, of whatever content, for the case that no point of the batch can be answered
    first_row : what messages add to the row numbers

    Memory: the result, and a piece for each thread; on a device, whose library runs one call after the other, one piece.
    Raises Interrupted on Ctrl-C, with the answers so far.
    """
    if on_error not in ("raise", "mark"):
        raise ValueError(f"on_error must be 'raise' or 'mark', got {on_error!r}")
    count = points.shape[0]
    if count <= PIECE[0]:
        try:
            return work(points)
        except PointError:
            pass  # below
    on_host = isinstance(points, np.ndarray)
    slices = pieces(count, bytes_per_point, on_host=on_host)
    failures: list[_Failure] = []
    if len(slices) == 1:
        whole = _piece(work, points, slices[0], failures)
        return (
            whole if whole is not None and not failures else _finish(whole, failures, count, on_error, blank, first_row)
        )
    done, result = 0, None
    while result is None and done < len(slices):  # the first answers show what the result is made of
        first = _piece(work, points, slices[done], failures)
        if first is not None:
            result = room_for(first, count)
            write(result, slices[done], first)
        done += 1
    if result is not None:
        finished = np.zeros(count, dtype=bool)
        finished[: slices[done - 1].stop] = True
        target, lock = result, threading.Lock()
        others: list[tuple[slice, Solution]] = []  # pieces that are complex where the first was real
        with progress_bar(None, "queries", enabled=progress, total=count) as bar:
            bar.update(slices[done - 1].stop)

            def one(rows: slice) -> None:
                mine: list[_Failure] = []
                part = _piece(work, points, rows, mine)
                fitting = part is None or fits(target, part)
                if part is not None and fitting:
                    write(target, rows, part)
                with lock:
                    if part is not None and not fitting:
                        others.append((rows, part))
                    finished[rows] = True
                    failures.extend(mine)
                    bar.update(rows.stop - rows.start)

            try:
                each(one, slices[done:], parallel=on_host)
                result = _together(result, others)
            except KeyboardInterrupt as interrupt:
                result = _together(result, others)
                rest = np.flatnonzero(~finished)
                failed = np.sort(np.concatenate([rest, *(f.rows for f in failures)]))
                raise Interrupted(
                    f"interrupted with {count - len(rest)} of {count} points done; their answers are in `result` of this exception, the other "
                    "points are marked as failed there",
                    replace(result, failed=failed, reasons=(*_reasons(failures, first_row), "interrupted")),
                ) from interrupt
    return (
        result if result is not None and not failures else _finish(result, failures, count, on_error, blank, first_row)
    )


def _piece(work: Work, points: Any, rows: slice, failures: list[_Failure]) -> Solution | None:
    """The answers for some rows, failed ones marked and added to `failures`; None if all have failed."""
    wanted = points[rows, ...]
    kept: np.ndarray | None = None
    while True:
        try:
            part = work(wanted)
            break
        except PointError as error:
            if error.rows is None:
                raise
            known = np.arange(wanted.shape[0]) if kept is None else kept
            failures.append(_Failure(rows.start + known[error.rows], error.rows, error))
            kept = np.delete(known, error.rows)
            if not len(kept):
                return None
            wanted = namespace(points).take(points[rows, ...], beside(kept, points), axis=0)
    return part if kept is None else spread(part, kept, rows.stop - rows.start)


def each(work: Callable[[slice], None], slices: Sequence[slice], *, parallel: bool = True) -> None:
    """work(rows) for all slices, by as many threads as there are processors; by this one alone where it is one of them."""
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
        loop()
        return
    key = (os.getpid(), threads)
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads - 1, thread_name_prefix="rbm-online")
    with _one_thread_a_product:
        futures = [_pools[key].submit(loop) for _ in range(threads - 1)]
        try:
            loop()  # this thread need not wait until another one is woken up
            for future in futures:
                if not future.cancel():  # busy elsewhere, perhaps for long: everything is done without it
                    future.result()
        except BaseException:
            stop.set()
            wait([future for future in futures if not future.cancel()])
            raise


class _OneThreadAProduct:
    """While batches are under way NumPy's matrix products use one thread each: theirs and ours would fight for the processors."""

    def __init__(self) -> None:
        self._lock, self._inside, self._limit = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._limit.enter_context(_libraries().limit(limits=1, user_api="blas"))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.close()


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


_one_thread_a_product = _OneThreadAProduct()


def _together(result: Solution, others: list[tuple[slice, Solution]]) -> Solution:
    """`result` with the pieces that did not fit its types."""
    for rows, part in others:
        if not fits(result, part):
            result = promoted(result, part)
        write(result, rows, part)
    return result


def _finish(
    result: Solution | None,
    failures: list[_Failure],
    count: int,
    on_error: OnError,
    blank: Callable[[], Solution],
    first_row: int,
) -> Solution:
    """Raise, or mark, what has failed."""
    failures.sort(key=lambda f: int(f.rows[0]))
    reasons = _reasons(failures, first_row)
    failed = np.sort(np.concatenate([f.rows for f in failures]))
    if result is None and on_error == "mark":
        result = room_for(blank(), count)
    if result is not None:
        result = replace(result, failed=failed, reasons=reasons)
    if on_error == "mark" and result is not None:
        return result
    others = f"; further: {'; '.join(reasons[1:])}" if len(reasons) > 1 else ""
    kept = (
        f" (the other {count - len(failed)} of {count} answers are in `solution` of this error; on_error='mark' returns them and marks "
        "the points that failed)"
        if result is not None
        else ""
    )
    error = type(failures[0].error)(reasons[0] + others + kept)
    error.rows, error.solution = failed, result
    raise error from None


def _reasons(failures: list[_Failure], first_row: int) -> tuple[str, ...]:
    """One sentence for each kind of failure, about its first row, with the number of rows like it."""
    kinds: dict[Any, list[_Failure]] = {}
    for failure in sorted(failures, key=lambda f: int(f.rows[0])):
        kinds.setdefault((getattr(failure.error.describe, "__code__", None), failure.error.about), []).append(failure)
    return tuple(
        str(like[0].error)
        if like[0].error.describe is None
        else like[0].error.describe(
            int(like[0].local[0]), place(first_row + int(like[0].rows[0]), sum(len(f.rows) for f in like))
        )
        for like in kinds.values()
    )
