"""Batches of any size: threads work off pieces that fit the cache, and rows that fail are set aside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np

from lowrank.arrays import beside, namespace
from lowrank.progress import progress_bar
from rbm.errors import Interrupted, PointError, place
from rbm.online import chunks
from rbm.online.answer_rows import arrays_of, fits, promoted, room_for, spread, views, wipe, write, write_fitting
from rbm.online.threads import each, thread_count
from rbm.solution import Solution

__all__ = ["OnError", "answer", "each", "thread_count"]

OnError = Literal["raise", "mark"]
Work = Callable[..., Solution]


class _Failure(NamedTuple):
    """The rows of the batch that one error named, with the error."""

    rows: np.ndarray  #: row numbers in the batch
    local: np.ndarray  #: row numbers in the arrays that the error knows
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
    remedy: str = "; on_error='mark' returns them and marks the points that failed",
    in_place: bool = False,
) -> Solution:
    """Return work(points) in one solution, computed piece by piece.

    `work` gets rows of `points` and may raise a :class:`rbm.errors.PointError`. The rows that an error names are set
    aside and the others done again, so that no answer is lost: with on_error="mark" they are marked in the result, with
    "raise" an error is raised at the end that names them and carries the result as `solution`.

    blank : makes an answer for one point, of whatever content, for the case that no point of the batch can be answered
    first_row : what messages add to the row numbers
    remedy : what the error says about how to have the other answers returned
    in_place : `work` takes a second argument, rows of the result as a solution of views, or None. It may write its
        answers there and return these views, which are then not copied; its other arrays are

    Memory: the result, and a piece for each thread; on a device, whose library runs one call after the other, one
    piece.

    Raises Interrupted on Ctrl-C, with the answers so far: in its `result` each point is either right or marked as
    failed, without numbers.
    """
    if on_error not in ("raise", "mark"):
        raise ValueError(f"on_error must be 'raise' or 'mark', got {on_error!r}")
    count = points.shape[0]
    if count <= chunks.PIECE[0]:
        try:
            return work(points)
        except PointError:
            pass  # below
        except KeyboardInterrupt as interrupt:
            raise _Sweep(points, blank, in_place).interrupted(first_row) from interrupt
    sweep = _Sweep(points, blank, in_place)
    try:
        sweep.run(work, chunks.pieces(count, bytes_per_point, on_host=isinstance(points, np.ndarray)), progress)
        return sweep.finish(on_error, first_row, remedy)
    except KeyboardInterrupt as interrupt:
        raise sweep.interrupted(first_row) from interrupt


class _Sweep:
    """A batch under way: its finished pieces, its failures, and the answers so far.

    Ctrl-C may come between any two instructions. Therefore a piece counts as finished only after its answers and
    failures are recorded; what is not finished is erased.
    """

    def __init__(self, points: Any, blank: Callable[[], Solution], in_place: bool) -> None:
        self.points, self.blank, self.in_place = points, blank, in_place and isinstance(points, np.ndarray)
        self.finished = np.zeros(points.shape[0], dtype=bool)
        self.failures: list[_Failure] = []
        self.result: Solution | None = None
        self.targets: list[Any] = []  # the arrays of the result
        self.others: list[tuple[slice, Solution]] = []  # pieces that are complex where the first was real
        self.lock = threading.Lock()

    def run(self, work: Work, slices: Sequence[slice], progress: bool) -> None:
        """Work off all pieces."""
        points, done = self.points, 0
        while self.result is None and done < len(slices):  # the first answers show what the result is made of
            rows = slices[done]
            first = _piece(work, points, rows, self.failures)
            if first is not None:
                self.result = replace(first if len(slices) == 1 else room_for(first, len(self.finished)), mus=points)
                if len(slices) > 1:
                    write(self.result, rows, first)
            self.finished[rows] = True
            done += 1
        if done == len(slices):
            return
        assert self.result is not None
        self.targets = arrays_of(self.result)
        with progress_bar(None, "queries", enabled=progress, total=len(self.finished)) as bar:
            bar.update(slices[done - 1].stop)
            each(lambda rows: self.one(work, rows, bar), slices[done:], parallel=isinstance(points, np.ndarray))

    def one(self, work: Work, rows: slice, bar: Any) -> None:
        """Work off one piece, in any thread."""
        mine: list[_Failure] = []
        assert self.result is not None
        room = views(self.result, rows) if self.in_place else None
        part = _piece(work, self.points, rows, mine, room)
        if part is None and room is not None:
            wipe(self.result, rows)  # `work` may have written there before it failed
        fitting = part is None or write_fitting(self.targets, rows, part)
        with self.lock:
            if part is not None and not fitting:
                self.others.append((rows, part))
            self.failures.extend(mine)
            self.finished[rows] = True
            bar.update(rows.stop - rows.start)

    def finish(self, on_error: OnError, first_row: int, remedy: str) -> Solution:
        """Return the result; raise an error for what has failed, or mark it."""
        count, result = len(self.finished), self.result
        if result is not None:
            result = _together(result, self.others)
        if not self.failures:
            assert result is not None
            return result
        failed, kinds, reasons = self._failed(first_row)
        if result is None and on_error == "mark":
            result = self._empty()
        if result is not None:
            result = replace(result, failed=failed, reasons=reasons, kinds=kinds)
        if on_error == "mark" and result is not None:
            return result
        others = f"; further: {'; '.join(reasons[1:])}" if len(reasons) > 1 else ""
        kept = f" (the other {count - len(failed)} of {count} answers are in `solution` of this error{remedy})"
        first = min(self.failures, key=lambda f: int(f.rows[0]))
        error = type(first.error)(reasons[0] + others + ("" if result is None else kept))
        error.rows, error.solution = failed, result
        raise error from None

    def interrupted(self, first_row: int) -> Interrupted:
        """Return the error about Ctrl-C, which holds the answers so far; a second Ctrl-C does not lose them."""
        while True:
            try:
                result, done = self._so_far()
                failed, kinds, reasons = self._failed(first_row, ~self.finished)
                return Interrupted(
                    f"interrupted with {done} of {len(self.finished)} points done; their answers are in `result` of "
                    "this exception, the other points are marked as failed there",
                    replace(result, failed=failed, reasons=reasons, kinds=kinds),
                )
            except KeyboardInterrupt:
                continue

    def _failed(self, first_row: int, rest: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        """Return the rows that failed (k,), the index of the reason of each, and the reasons.

        rest : (M,), True for points that Ctrl-C left over
        """
        groups = _alike(self.failures)
        kind = np.full(len(self.finished), -1)
        for k, like in enumerate(groups):
            for failure in like:
                kind[failure.rows] = k
        reasons = tuple(_reason(like, first_row) for like in groups)
        if rest is not None:
            kind[rest] = len(groups)
            reasons = (*reasons, "interrupted")
        failed = np.flatnonzero(kind >= 0)
        return failed, kind[failed], reasons

    def _so_far(self) -> tuple[Solution, int]:
        """Return the answers of the finished pieces, and the number of their points."""
        result = _together(self._empty() if self.result is None else self.result, self.others)
        rest = np.flatnonzero(~self.finished)
        if len(rest):
            between = slice(int(rest[0]), int(rest[-1]) + 1)
            together = between.stop - between.start == len(rest)  # so on a device, where pieces are done in turn
            wipe(result, between if together else rest)
        return result, len(self.finished) - len(rest)

    def _empty(self) -> Solution:
        return replace(room_for(self.blank(), len(self.finished)), mus=self.points)


def _piece(
    work: Work, points: Any, rows: slice, failures: list[_Failure], room: Solution | None = None
) -> Solution | None:
    """Return the answers for some rows, with failed ones marked and added to `failures`; None if all failed.

    room : where `work` may put answers for all of the rows
    """
    wanted = points[rows, ...]
    kept: np.ndarray | None = None
    while True:
        try:
            part = work(wanted) if room is None or kept is not None else work(wanted, room)
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


def _together(result: Solution, others: list[tuple[slice, Solution]]) -> Solution:
    """Return `result` joined with the pieces that did not fit its types."""
    for rows, part in others:
        if not fits(result, part):
            result = promoted(result, part)
        write(result, rows, part)
    return result


def _alike(failures: list[_Failure]) -> list[list[_Failure]]:
    """Group failures of one kind, in the order of their first rows."""
    kinds: dict[Any, list[_Failure]] = {}
    for failure in sorted(failures, key=lambda f: int(f.rows[0])):
        kinds.setdefault((getattr(failure.error.describe, "__code__", None), failure.error.about), []).append(failure)
    return list(kinds.values())


def _reason(like: list[_Failure], first_row: int) -> str:
    """Return one sentence for failures of one kind, about the first row, with the number of rows like it."""
    first = like[0]
    if first.error.describe is None:
        return str(first.error)
    where = place(first_row + int(first.rows[0]), sum(len(f.rows) for f in like))
    return first.error.describe(int(first.local[0]), where)
