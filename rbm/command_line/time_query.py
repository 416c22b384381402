"""``rbm query`` for reduced models in time: a row for each point and time, made block by block."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from rbm.command_line.delivery import deliver, to_standard_output
from rbm.command_line.in_time import chosen_steps, read_control
from rbm.command_line.points import Points, say_outside
from rbm.errors import Interrupted, ModelError, ParameterError, PointError
from rbm.online.chunks import slices
from rbm.time.reduced import ReducedTimeModel
from rbm.time.solution import TimeSolution

__all__ = ["query_in_time"]

#: Columns that every table has.
OWN = ("t", "bound", "bound_l2")
#: Bytes that the answers at all times of one block of points may take.
BLOCK_BYTES = 1 << 26
#: Smallest and largest number of points of a block.
BLOCK = (256, 1 << 14)
#: Lines of a table that are made at once.
LINES = 1 << 13


class _Asked(NamedTuple):
    """What is asked of a model."""

    model: ReducedTimeModel
    points: Points
    steps: np.ndarray  #: numbers of the times (T,)
    control: Any  #: as solve takes it
    extrapolate: bool
    mark: bool  #: answer all other points where some fail


@dataclass
class _Tally:
    """What became of the points, counted while a table is written."""

    done: int = 0
    largest: float = -np.inf  #: of the bounds
    reasons: list[str] = field(default_factory=list)  #: why points failed
    stopped: Interrupted | None = None


def query_in_time(model: ReducedTimeModel, points: Points, options: argparse.Namespace) -> None:
    """Answer a query as its options say.

    Raises ParameterError for options that are not for models in time, and what solving raises, in the words of the
    command; Interrupted after the table is written, with --mark.
    """
    if options.method is not None:
        raise ParameterError("--method is for models without time; one in time has a single estimator")
    steps = chosen_steps(options.times, model.times)
    control = read_control(options.control, model.steps, len(points.mus))
    mark = options.mark and options.csv is not None  # if a single point fails, there is nothing to answer
    asked = _Asked(model, points, steps, control, options.extrapolate, mark)
    if not mark:
        try:  # all of them, before the work
            model.parameters.validate(points.mus, options.extrapolate)
        except PointError as error:
            raise _in_words(error, asked, points) from None
    tally = _Tally()
    if options.output is None and options.csv is None and len(steps) == 1:
        (columns,) = _tables(asked, tally)
        for name, values in columns.items():
            print(f"{name:>14} = {values[0]!s}")  # all digits: fewer would be off by more than the bound
    else:
        deliver(_lines(asked, tally), options)
    for reason in tally.reasons:
        print(f"rbm: marked: {reason}", file=sys.stderr)
    if options.extrapolate:
        say_outside(model.parameters, points.mus)
    if not to_standard_output(options):
        count = len(points.mus)
        done = f"{tally.done} of " if tally.stopped is not None else ""
        largest = f"; largest error bound {tally.largest:.3e}" if tally.done else ""
        times = "1 time" if len(steps) == 1 else f"{len(steps)} times"
        print(f"{done}{count} points at {times} written to {options.output}{largest}")
    if tally.stopped is not None:
        raise tally.stopped


def _lines(asked: _Asked, tally: _Tally) -> Iterator[bytes]:
    """Yield a CSV table, block by block."""
    first = True
    for columns in _tables(asked, tally):
        for rows in slices(len(columns["t"]), LINES):  # as text they take several times their memory
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            if first:
                writer.writerow(columns)
                first = False
            writer.writerows(zip(*(values[rows].tolist() for values in columns.values()), strict=True))
            yield text.getvalue().encode()


def _tables(asked: _Asked, tally: _Tally) -> Iterator[dict[str, np.ndarray]]:
    """Yield {column: array (m T,)} for m points at a time, every point at all its times before the next one.

    Points that failed have NaN for outputs and infinite bounds. Raises PointError if all of them fail.
    """
    model, count = asked.model, len(asked.points.mus)
    size = BLOCK_BYTES // (8 * (model.steps + 1) * (8 + 3 * len(model.outputs)))
    size = min(max(size, BLOCK[0]), BLOCK[1])
    known: Mapping[str, np.ndarray] | None = None  # names and types of the answers
    waiting: list[slice] = []
    for start in range(0, count, size):
        rows = slice(start, min(start + size, count))
        answers: dict[str, np.ndarray] = {}
        good = np.zeros(0, dtype=int)
        if tally.stopped is None:
            answers, good = _answered(asked, rows, tally)
        if known is None and answers:
            known = {name: values[:0] for name, values in answers.items()}
            for block in waiting:
                yield _columns(asked, block, known, good[:0])
        if known is None:
            waiting.append(rows)
        else:
            yield _columns(asked, rows, answers or known, good)
    if known is None:
        raise ParameterError(f"all {count} points fail: {'; '.join(tally.reasons)}")


def _answered(asked: _Asked, rows: slice, tally: _Tally) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return {column: array (m, T)} for the points of a block that have an answer, and which these are (m,)."""
    places = np.arange(rows.start, rows.stop)
    points, control = asked.points, asked.control
    each = isinstance(control, np.ndarray) and control.ndim == 2
    while len(places):
        lines = None if points.lines is None else [points.lines[i] for i in places.tolist()]
        some = Points(points.mus[places], lines, points.file)
        given = control[places] if each else control
        try:
            solution = asked.model.solve(some.mus, given, coefficients=False, extrapolate=asked.extrapolate)
        except Interrupted as interrupt:
            if not asked.mark:
                raise
            tally.stopped, solution = interrupt, interrupt.result
        except PointError as error:
            if not asked.mark or error.rows is None:
                raise _in_words(error, asked, some) from None
            tally.reasons.append(some.in_words(str(error)))
            places = np.delete(places, error.rows)
            continue
        bounds = solution.bound[:, asked.steps]
        finite = bounds[np.isfinite(bounds).all(axis=1)]
        tally.done += len(finite)
        tally.largest = max(tally.largest, float(finite.max(initial=-np.inf)))
        return _named(solution, asked.steps), places - rows.start
    return {}, places


def _in_words(error: PointError, asked: _Asked, points: Points) -> PointError:
    """Return an error that names lines and options."""
    hint = ""
    if error.rows is not None and len(asked.points.mus) > 1:
        hint = "; pass --mark to answer the other points"
    return type(error)(points.in_words(str(error)) + hint)


def _named(solution: TimeSolution, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return bounds and outputs (m, T) at some times, by the names of their columns."""
    made = {"bound": solution.bound[:, steps], "bound_l2": solution.bound_l2[:, steps]}
    for name, values in solution.outputs.items():
        head = _head(name)
        some = values[:, steps]
        made |= {f"{head}_re": some.real, f"{head}_im": some.imag} if some.dtype.kind == "c" else {head: some}
        made[f"{head}_bound"] = solution.output_bounds[name][:, steps]
    return made


def _head(output: str) -> str:
    """Return the column of an output, which may be called like one that every table has."""
    return f"output_{output}" if output in OWN else output


def _columns(asked: _Asked, rows: slice, answers: Mapping[str, np.ndarray], good: np.ndarray) -> dict[str, np.ndarray]:
    """Return all columns (m T,) of a block; answers (k, T) : those of the points `good` (k,) among its m."""
    model, times = asked.model, asked.model.times[asked.steps]
    mus = model.parameters.snapped(asked.points.mus[rows])
    made = {
        f"parameter_{name}" if name in OWN else name: np.repeat(mus[:, j], len(times))
        for j, name in enumerate(model.parameters.names)
    }
    made["t"] = np.tile(times, len(mus))
    twice = [name for name in answers if name in made]
    if twice:
        raise ModelError(f"the columns {', '.join(twice)} would stand twice in the table; rename these outputs")
    bounds = {"bound", "bound_l2", *(f"{_head(name)}_bound" for name in model.outputs)}
    for name, values in answers.items():
        whole = np.full((len(mus), len(times)), np.inf if name in bounds else np.nan)
        whole[good] = values
        made[name] = whole.ravel()
    return made
