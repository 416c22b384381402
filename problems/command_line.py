"""The command ``rbm``: studies, queries of a saved model, and what is in a file."""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

import rbm
from lowrank.writing import write_atomically
from problems.cache_command import add_cache, run_cache
from rbm.errors import PointError

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
        "--mu", type=float, nargs="+", metavar="VALUE", help="one parameter point, values in the model's order"
    )
    source.add_argument(
        "--csv", type=Path, metavar="FILE", help="parameter points, one a row, a header line with the names"
    )
    query.add_argument("-o", "--output", type=Path, metavar="FILE", help="write CSV here instead of to standard output")
    query.add_argument("--method", help="estimator (default: the model's own)")
    query.add_argument(
        "--extrapolate",
        action="store_true",
        help="allow parameters outside the parameter space; the bounds then hold only where the stability bound does",
    )
    query.add_argument(
        "--mark",
        action="store_true",
        help="answer all other points of a CSV file if some fail; those have nan for answers and inf for bounds (messages count rows from 0, "
        "without the header)",
    )

    info = commands.add_parser("info", help="what is in a model file")
    info.add_argument("model", type=Path, metavar="MODEL")

    add_cache(commands)

    options = parser.parse_args(arguments)
    try:
        {"study": _study, "query": _query, "info": _info, "cache": run_cache}[options.command](options)
    except KeyboardInterrupt:
        print("rbm: interrupted; files already written are whole", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error
        print(f"rbm: {what}", file=sys.stderr)
        return 2
    except (ValueError, TypeError, ImportError) as error:
        message = " ".join(str(error).split()).replace("pass extrapolate=True", "pass --extrapolate")
        print(f"rbm: {message}", file=sys.stderr)
        return 2
    return 0


def _study(options: argparse.Namespace) -> None:
    from problems import studies

    studies.run(options.name, options.out or Path("out") / options.name, options.tol)


def _info(options: argparse.Namespace) -> None:
    model = rbm.load(options.model)
    print(model)
    for label, coefficients in (("operator", model.operator_coefficients), ("right-hand side", model.rhs_coefficients)):
        print(f"  {label} coefficients: {', '.join(str(s) for s in coefficients.sources)}")
    for name, why in model.refused.items():
        print(f"  {name}: {why}")
    print(f"  file: {options.model.stat().st_size} bytes")


def _query(options: argparse.Namespace) -> None:
    model = rbm.load(options.model)
    names = model.parameters.names
    if options.mu is not None and len(options.mu) != len(names):
        raise rbm.ParameterError(f"--mu needs {len(names)} values, {' '.join(names)}, got {len(options.mu)}")
    mus = np.array([options.mu]) if options.mu is not None else _read_csv(options.csv, names)
    on_error: Literal["raise", "mark"] = "mark" if options.mark else "raise"
    try:
        solution = model.solve(mus, method=options.method, extrapolate=options.extrapolate, on_error=on_error)
    except PointError as error:
        if error.solution is None:
            raise
        reasons = "; ".join(error.solution.reasons)
        raise type(error)(
            f"{len(error.solution.failed)} of {len(mus)} points fail, pass --mark to answer the others: {reasons}"
        ) from None
    for reason in solution.reasons:
        print(f"rbm: marked: {reason}", file=sys.stderr)
    if options.extrapolate:
        low, high = model.parameters.bounds.T
        outside = int(np.any((mus < low) | (mus > high), axis=1).sum())
        if outside:
            print(
                f"rbm: {outside} of {len(mus)} points are outside the parameter space: their bounds hold only if the "
                "stability bound of the model holds there",
                file=sys.stderr,
            )
    assert solution.estimate is not None
    columns = {name: mus[:, j] for j, name in enumerate(names)}
    for name, values in solution.outputs.items():
        parts = {name: values} if values.dtype.kind == "f" else {f"{name}_re": values.real, f"{name}_im": values.imag}
        columns |= parts | {f"{name}_bound": solution.output_bounds[name]}
    columns |= {"error_bound": solution.bound, "floor": solution.estimate.floor}
    if options.output is None and options.csv is None:
        for name, values in columns.items():
            print(f"{name:>14} = {values[0]:.10g}")
        print(
            f"{'resolved':>14} = {'yes' if solution.estimate.resolved[0] else 'no: the bound is at the level of round-off'}"
        )
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "resolved"])
    rows = zip(*(v.tolist() for v in columns.values()), solution.estimate.resolved.astype(int).tolist(), strict=True)
    writer.writerows(rows)
    if options.output is None:
        sys.stdout.write(text.getvalue())
    else:
        write_atomically(options.output, text.getvalue().encode())
        good = np.delete(solution.bound, solution.failed)
        largest = f"; largest error bound {good.max():.3e}" if len(good) else ""
        print(f"{len(mus)} points written to {options.output}{largest}")


def _read_csv(path: Path, names: Sequence[str]) -> np.ndarray:
    """Parameter points (M, p) from a CSV file whose header line holds the parameter names, in any order."""
    try:
        lines = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except UnicodeDecodeError as error:
        raise rbm.ParameterError(
            f"{path} is not a UTF-8 text file ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from None
    header = [name.strip() for name in lines[0]] if lines else []
    unfit = [n for n in names if header.count(n) != 1]
    if unfit:
        raise rbm.ParameterError(
            f"{path} must have one column {', '.join(unfit)}: its first line must hold the names {', '.join(names)}, separated by "
            f"commas; it holds {', '.join(header) or 'nothing'}"
        )
    columns = [header.index(n) for n in names]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line) != len(header):
            raise rbm.ParameterError(
                f"{path}, line {number} has {len(line)} fields, the header {len(header)}; write decimal points, not commas"
            )
        try:
            rows.append([float(line[j]) for j in columns])
        except ValueError:
            values = json.dumps([line[j] for j in columns])
            raise rbm.ParameterError(f"{path}, line {number}: {values} are not {len(names)} numbers") from None
    if not rows:
        raise rbm.ParameterError(f"{path} holds no parameter points below its header line")
    return np.array(rows)


if __name__ == "__main__":
    sys.exit(main())
