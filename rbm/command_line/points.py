"""Parameter points for ``rbm query``, from values on the command line, by place or by name, or from CSV files."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rbm.errors import ParameterError
from rbm.parameters.expressions import identifier
from rbm.parameters.space import ParameterSpace

__all__ = ["Points", "from_csv", "from_values", "one_number", "say_outside", "with_negative_numbers"]

NUMBER = re.compile(r"[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE)
NEGATIVE = re.compile(r"-(\.?[0-9]|inf|nan)", re.IGNORECASE)
ROW = re.compile(r" ?\(row ([0-9]+)(, [0-9]+ such points)?\)")

#: Options that take a file, and their long names.
FILES = {"-o": "--output"} | {name: name for name in ("--output", "--csv", "--out", "--tol", "--control")}
#: Options that take numbers, as many as there are.
SEVERAL = ("--mu", "--times")

#: The error about a line whose field goes on in the next one.
UNCLOSED = (
    'a quotation mark is not closed on its line; close it, or write "" for a quotation mark inside a quoted field'
)


class Points(NamedTuple):
    """Parameter points, and how messages call them."""

    mus: np.ndarray  #: (M, p)
    lines: list[int] | None = None  #: the line of each point in the file; None for one point given on the command line
    file: str = ""

    def in_words(self, message: str) -> str:
        """Return a message with lines of the file in place of rows, and options in place of Python's arguments."""

        def place(row: re.Match[str]) -> str:
            if self.lines is None:
                return ""
            return f" (line {self.lines[int(row[1])]} of {self.file}{row[2] or ''})"

        without = "solve(mus, estimate=False, extrapolate=True) goes without"
        message = ROW.sub(place, message).replace("pass extrapolate=True", "pass --extrapolate")
        return message.replace(without, "--extrapolate does not help")


def with_negative_numbers(arguments: Sequence[str]) -> list[str]:
    """Return arguments in which argparse takes no negative number for an option.

    It would, for all that begin with "-" and are no plain numbers. Those after --mu and --times get a space in front
    of them; a file called like one is joined to its option, --output=-5.csv.
    """
    made: list[str] = []
    option = ""
    for text in arguments:
        negative = NEGATIVE.match(text) is not None
        if negative and option in SEVERAL:
            made.append(f" {text}")
        elif negative and option in FILES and made[-1] == option:
            made[-1] = f"{FILES[option]}={text}"
        else:
            option = text if text.startswith("-") and not negative else option
            made.append(text)
    return made


def from_values(values: Sequence[str], names: Sequence[str], several: str = "one point is all it takes") -> Points:
    """Return one point from "3.5 2" in the model's order, or from "k=2 mu=3.5" in any order.

    several : what to do about more than one point, as messages say it
    """
    named = [text.partition("=") for text in values if "=" in text]
    order = " ".join(f"{name}=VALUE" for name in names)
    if not named:
        if len(values) != len(names):
            raise ParameterError(
                f"--mu needs {len(names)} value{'s' * (len(names) > 1)}, {' '.join(names)}, got {len(values)}; or give "
                f"them by name: {order}" + (f"; {several}" if len(values) > len(names) else "")
            )
        return Points(np.array([[one_number(text, "--mu") for text in values]]))
    if len(named) != len(values):
        raise ParameterError(f"--mu has values with and without a name; give all by name: {order}")
    read = {identifier(name): name for name in names}
    named = [(read.get(identifier(name.strip()), name.strip()), "=", text) for name, _, text in named]
    given = [name for name, _, _ in named]
    missing, surplus = [n for n in names if n not in given], [n for n in given if n not in names]
    twice = [n for n in dict.fromkeys(given) if given.count(n) > 1]
    if missing or surplus or twice:
        parts = (("missing", missing), ("no parameters", surplus), ("twice", twice))
        said = "; ".join(f"{label}: {', '.join(some)}" for label, some in parts if some)
        raise ParameterError(f"--mu needs {order}; {said}" + (f"; {several}" if twice else ""))
    point = {name: one_number(text, f"--mu {name}") for name, _, text in named}
    return Points(np.array([[point[name] for name in names]]))


def from_csv(path: Path, names: Sequence[str]) -> Points:
    """Read points from a CSV file; "-" is standard input.

    Its header line holds the parameter names, in any order, among others.
    Raises ParameterError, with the line, for anything that is not a table of numbers.
    """
    file = "standard input" if str(path) == "-" else str(path)
    table = _records(_text(path, file), file)
    _, first = next(table, (1, []))
    read = {identifier(name): name for name in names}
    header = [read.get(identifier(name.strip()), name.strip()) for name in first]
    unfit = [n for n in names if header.count(n) != 1]
    if unfit:
        raise ParameterError(
            f"{file} must have one column {', '.join(unfit)}: its first line must hold the names {', '.join(names)}, "
            f"separated by commas; it holds {', '.join(header) or 'nothing'}"
        )
    columns = [header.index(n) for n in names]
    rows, lines = [], []
    for number, fields in table:
        if len(fields) != len(header):
            hint = "write decimal points, not commas"
            if len(fields) == len(header) + 1 and not fields[-1].strip():
                hint = "leave out the comma at the end of the line"
            raise ParameterError(f"line {number} of {file} has {len(fields)} fields, the header {len(header)}; {hint}")
        rows.append([one_number(fields[j], f"line {number} of {file}: {names[k]}") for k, j in enumerate(columns)])
        lines.append(number)
    if not rows:
        raise ParameterError(f"{file} holds no parameter points below its header line")
    return Points(np.array(rows), lines, file)


def say_outside(space: ParameterSpace, mus: np.ndarray) -> None:
    """Say on standard error how many points (M, p) are outside the parameter space, if any are."""
    low, high = space.bounds.T
    mus = space.snapped(mus)
    outside = int(np.any((mus < low) | (mus > high), axis=1).sum())
    if outside:
        unknown = "their bounds hold only if the stability bound of the model holds there"
        print(f"rbm: {outside} of {len(mus)} points are outside the parameter space: {unknown}", file=sys.stderr)


def _text(path: Path, file: str) -> str:
    if str(path) == "-" and sys.stdin is None:
        raise ParameterError("standard input is closed; give a file, or open it")
    content = getattr(sys.stdin, "buffer", sys.stdin).read() if str(path) == "-" else path.read_bytes()
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"({error.reason} at byte {error.start})"
        raise ParameterError(f"{file} is not a UTF-8 text file {where}; save it as UTF-8") from None


def _records(text: str, file: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, fields) of all lines that are not blank.

    A field ends on its line, so that a stray quotation mark swallows no points.
    """
    reader = csv.reader(io.StringIO(text, newline=None), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            closed = "end of data" not in str(error) and reader.line_num <= number
            raise ParameterError(f"line {number} of {file}: {error if closed else UNCLOSED}") from None
        if reader.line_num != number:
            raise ParameterError(f"line {number} of {file}: {UNCLOSED}")
        if len(fields) > 1 or (fields and fields[0].strip()):
            yield number, fields


def one_number(text: str, where: str) -> float:
    """Return the number that a whole text is; 3_5, which Python reads as 35, is none."""
    text = text.strip()
    if not text:
        raise ParameterError(f"{where} is empty; give a number")
    if not NUMBER.fullmatch(text):
        quoted = json.dumps(text, ensure_ascii=False)
        raise ParameterError(f"{where} is {quoted}, which is not a number such as -2.5e-3")
    value = float(text)
    if math.isinf(value) and text[-1].isdigit():
        raise ParameterError(f"{where} is {json.dumps(text)}, which is beyond the range of double precision")
    return value
