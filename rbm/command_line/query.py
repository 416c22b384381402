"""The command ``rbm query``: it solves a saved model at points from the command line or from a table."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from lowrank.writing import write_atomically
from rbm.command_line.points import Points, from_csv, from_values
from rbm.errors import PointError
from rbm.files.model_file import load
from rbm.online.batches import OnError
from rbm.solution import Solution

__all__ = ["add_query", "to_standard_output"]


def add_query(commands: Any) -> None:
    """Register the command with the subparsers of argparse."""
    query = commands.add_parser("query", help="solve a saved model, with error bounds")
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
    query.set_defaults(run=_query)


def to_standard_output(options: argparse.Namespace) -> bool:
    """Return whether the answers of a query go to standard output."""
    return options.output is None or str(options.output) == "-"


def _query(options: argparse.Namespace) -> None:
    model = load(options.model)
    names = model.parameters.names
    points = from_csv(options.csv, names) if options.mu is None else from_values(options.mu, names)
    solution, stopped = _solved(model, points, options)
    for reason in solution.reasons:
        print(f"rbm: marked: {points.in_words(reason)}", file=sys.stderr)
    if options.extrapolate:
        low, high = model.parameters.bounds.T
        mus = model.parameters.snapped(points.mus)
        outside = int(np.any((mus < low) | (mus > high), axis=1).sum())
        if outside:
            unknown = "their bounds hold only if the stability bound of the model holds there"
            said = f"{outside} of {len(mus)} points are outside the parameter space: {unknown}"
            print(f"rbm: {said}", file=sys.stderr)
    columns = solution.to_dict()
    resolved = columns.pop("resolved")
    if options.output is None and options.csv is None:
        for name, values in columns.items():
            print(f"{name:>14} = {values[0]:.10g}")
        print(f"{'resolved':>14} = {'yes' if resolved[0] else 'no: the bound is at the level of round-off'}")
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "resolved"])
    writer.writerows(zip(*(v.tolist() for v in columns.values()), resolved.astype(int).tolist(), strict=True))
    if to_standard_output(options):
        sys.stdout.flush()
        # a table is UTF-8 whatever the terminal can show, so that --csv reads it again
        data = getattr(sys.stdout, "buffer", None)
        sys.stdout.write(text.getvalue()) if data is None else data.write(text.getvalue().encode())
    else:
        write_atomically(options.output, text.getvalue().encode())
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
