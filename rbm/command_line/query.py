"""The command ``rbm query``: it solves a saved model at points from the command line or from a table.

time_query.py answers from models in time.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from rbm.command_line.delivery import deliver, to_standard_output
from rbm.command_line.in_time import add_time_options, refuse_time_options
from rbm.command_line.points import Points, from_csv, from_values, say_outside
from rbm.command_line.time_query import query_in_time
from rbm.errors import PointError
from rbm.online.batches import OnError
from rbm.solution import Solution
from rbm.time.files import load
from rbm.time.reduced import ReducedTimeModel

__all__ = ["add_query"]

#: What to do about more than one point.
SEVERAL = "for more than one point write a table and pass --csv"


def add_query(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    query = commands.add_parser("query")
    query.add_argument("model", type=Path, metavar="MODEL")
    source = query.add_mutually_exclusive_group(required=True)
    about = "one parameter point: values in the model's order, or NAME=VALUE in any"
    source.add_argument("--mu", nargs="+", action="extend", metavar="VALUE", help=about)
    about = "parameter points, one a row, a header line with the names; - for standard input"
    source.add_argument("--csv", type=Path, metavar="FILE", help=about)
    about = "write CSV here instead of to standard output; - for that"
    query.add_argument("-o", "--output", type=Path, metavar="FILE", help=about)
    query.add_argument("--method", help="estimator (default: the model's own)")
    about = "allow parameters outside the parameter space; the bounds then hold only where the stability bound does"
    query.add_argument("--extrapolate", action="store_true", help=about)
    about = (
        "answer all other points of a CSV file if some fail, or Ctrl-C leaves some over; those have nan for answers "
        "and inf for bounds"
    )
    query.add_argument("--mark", action="store_true", help=about)
    add_time_options(query)
    query.set_defaults(run=_query)


def _query(options: argparse.Namespace) -> None:
    model = load(options.model)
    names = model.parameters.names
    if not isinstance(model, ReducedTimeModel):
        refuse_time_options(options)
    points = from_csv(options.csv, names) if options.mu is None else from_values(options.mu, names, SEVERAL)
    if isinstance(model, ReducedTimeModel):
        query_in_time(model, points, options)
        return
    solution, stopped = _solved(model, points, options)
    for reason in solution.reasons:
        print(f"rbm: marked: {points.in_words(reason)}", file=sys.stderr)
    if options.extrapolate:
        say_outside(model.parameters, points.mus)
    columns = solution.to_dict()
    resolved = columns.pop("resolved")
    if options.output is None and options.csv is None:
        for name, values in columns.items():
            print(f"{name:>14} = {values[0]!s}")  # all digits: fewer would be off by more than the bound
        print(f"{'resolved':>14} = {'yes' if resolved[0] else 'no: the bound is at the level of round-off'}")
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "resolved"])
    writer.writerows(zip(*(v.tolist() for v in columns.values()), resolved.astype(int).tolist(), strict=True))
    deliver([text.getvalue().encode()], options)
    if not to_standard_output(options):
        good = np.delete(solution.bound, solution.failed)
        largest = f"; largest error bound {good.max():.3e}" if len(good) else ""
        done = f"{len(solution) - len(solution.failed)} of " if stopped is not None else ""
        print(f"{done}{len(solution)} points written to {options.output}{largest}")
    if stopped is not None:
        raise stopped


def _solved(
    model: rbm.ReducedModel, points: Points, options: argparse.Namespace
) -> tuple[Solution, rbm.Interrupted | None]:
    """Return the answers and, with --mark, the Ctrl-C that left points over; errors name lines and options."""
    # if a single point fails, there is nothing to answer
    on_error: OnError = "mark" if options.mark and options.csv is not None else "raise"
    how = {"method": options.method, "extrapolate": options.extrapolate}
    try:
        return model.solve(points.mus, on_error=on_error, **how), None
    except rbm.Interrupted as interrupt:
        if on_error == "raise":
            raise
        return interrupt.result, interrupt
    except PointError as error:
        if error.solution is None:
            raise type(error)(points.in_words(str(error))) from None
        reasons = points.in_words("; ".join(error.solution.reasons))
        failed = f"{len(error.solution.failed)} of {len(points.mus)} points fail"
        raise type(error)(f"{failed}, pass --mark to answer the others: {reasons}") from None
