"""The command ``rbm``: studies, queries of a saved model, and what is in a file."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

import rbm
from lowrank.writing import write_atomically
from problems.cache_command import add_cache, run_cache
from problems.query_points import Points, from_csv, from_values, with_negative_numbers
from rbm.errors import PointError
from rbm.solution import Solution

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 2 with one line on standard error, or 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="rbm", description="Certified reduced basis models.")
    parser.add_argument("--version", action="version", version=f"rbm-toolkit {rbm.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    study = commands.add_parser(
        "study", help="offline, online, figures, summary.json and a model file, for a problem of the gallery"
    )
    study.add_argument("name", choices=["diffusion", "thermal-block", "scattering"])
    study.add_argument("--out", type=Path, help="folder for the results (default: out/NAME)")
    study.add_argument("--tol", type=float, help="stop the greedy at this error bound (default: the study's own)")

    query = commands.add_parser("query", help="solve a saved model, with error bounds")
    query.add_argument("model", type=Path, metavar="MODEL")
    source = query.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--mu",
        nargs="+",
        action="extend",
        metavar="VALUE",
        help="one parameter point: values in the model's order, or NAME=VALUE in any",
    )
    source.add_argument(
        "--csv",
        type=Path,
        metavar="FILE",
        help="parameter points, one a row, a header line with the names; - for standard input",
    )
    query.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write CSV here instead of to standard output; - for that"
    )
    query.add_argument("--method", help="estimator (default: the model's own)")
    query.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow parameters outside the parameter space; the bounds then hold only where the stability bound does",
    )
    query.add_argument(
        "--mark",
        action="store_true",
        help="answer all other points of a CSV file if some fail, or Ctrl-C leaves some over; those have nan for answers and inf for bounds",
    )

    info = commands.add_parser("info", help="what is in a model file")
    info.add_argument("model", type=Path, metavar="MODEL")

    add_cache(commands)

    options = parser.parse_args(with_negative_numbers(sys.argv[1:] if arguments is None else arguments))
    return _run({"study": _study, "query": _query, "info": _info, "cache": run_cache}[options.command], options)


def _run(command: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """The exit status of a command; whatever goes wrong is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show is shown by its number
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        if sys.stdout is None and (options.command == "info" or _to_stdout(options)):
            return _refuse("standard output is closed, the answer has no place to go")
        command(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("rbm: interrupted; files already written are whole", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has read enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to be written at the end
        return 0
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except (ValueError, TypeError, ImportError) as error:
        return _refuse(str(error))
    except Exception as error:
        return _refuse(f"{type(error).__name__}: {str(error) or 'no message'}")
    return 0


def _to_stdout(options: argparse.Namespace) -> bool:
    """Whether the answers of a query go to standard output."""
    return options.command == "query" and (options.output is None or str(options.output) == "-")


def _refuse(message: str) -> int:
    print(f"rbm: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _study(options: argparse.Namespace) -> None:
    from problems import studies

    studies.run(options.name, options.out or Path("out") / options.name, options.tol)


def _info(options: argparse.Namespace) -> None:
    model = rbm.load(options.model)
    print(model)
    for label, coefficients in (("operator", model.operator_coefficients), ("right-hand side", model.rhs_coefficients)):
        print(f"  {label} coefficients: {', '.join(str(s) for s in coefficients.sources)}")
    if model.output_units:
        print(f"  units of outputs: {', '.join(f'{name} in {unit}' for name, unit in model.output_units.items())}")
    for name, why in model.refused.items():
        print(f"  {name}: {why}")
    print(f"  file: {options.model.stat().st_size} bytes")


def _query(options: argparse.Namespace) -> None:
    model = rbm.load(options.model)
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
            print(
                f"rbm: {outside} of {len(mus)} points are outside the parameter space: their bounds hold only if the "
                "stability bound of the model holds there",
                file=sys.stderr,
            )
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
    if _to_stdout(options):
        sys.stdout.flush()
        data = getattr(
            sys.stdout, "buffer", None
        )  # a table is UTF-8 whatever the terminal can show, so that --csv reads it again
        sys.stdout.write(text.getvalue()) if data is None else data.write(text.getvalue().encode())
    else:
        write_atomically(options.output, text.getvalue().encode())
        good = np.delete(solution.bound, solution.failed)
        largest = f"; largest error bound {good.max():.3e}" if len(good) else ""
        print(
            f"{len(solution) - len(solution.failed)} of " * (stopped is not None)
            + f"{len(solution)} points written to {options.output}{largest}"
        )
    if stopped is not None:
        raise stopped


def _solved(
    model: rbm.ReducedModel, points: Points, options: argparse.Namespace
) -> tuple[Solution, rbm.Interrupted | None]:
    """The answers, and with --mark the Ctrl-C that left some points over; errors speak of lines and options."""
    # of one point that fails there is nothing to be answered
    on_error: Literal["raise", "mark"] = "mark" if options.mark and options.csv is not None else "raise"
    try:
        solve = partial(model.solve, method=options.method, extrapolate=options.extrapolate)
        return solve(points.mus, on_error=on_error), None
    except rbm.Interrupted as interrupt:
        if on_error == "raise":
            raise
        return interrupt.result, interrupt
    except PointError as error:
        if error.solution is None:
            raise type(error)(points.in_words(str(error))) from None
        reasons = points.in_words("; ".join(error.solution.reasons))
        raise type(error)(
            f"{len(error.solution.failed)} of {len(points.mus)} points fail, pass --mark to answer the others: {reasons}"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
