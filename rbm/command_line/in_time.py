"""Options about models in time: the control of each step, and the times that are asked for."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrank.reading import array_from, read_bytes
from rbm.command_line.points import one_number
from rbm.errors import ModelError, ParameterError
from rbm.time.control import IMPULSE, checked_control

__all__ = ["add_time_options", "chosen_steps", "read_control", "refuse_time_options"]

#: The first bytes of an .npy file.
NPY = b"\x93NUMPY"
#: How far a time that is asked for may be from one of the model, in steps.
NEAR = 1e-6


def add_time_options(command: argparse.ArgumentParser) -> None:
    """Add --control and --times to a command."""
    about = (
        "for a model in time: one number a step, or a row of them for each point, as text, CSV or .npy; or the word "
        "impulse, 1 in the first step and 0 after it (default: the model's own)"
    )
    command.add_argument("--control", metavar="FILE", help=about)
    about = "for a model in time: times that it has, the word last, or all (default: last)"
    command.add_argument("--times", nargs="+", action="extend", metavar="TIME", help=about)


def refuse_time_options(options: argparse.Namespace) -> None:
    """Raise ParameterError for options about time, as the model has none."""
    for name in ("control", "times"):
        if getattr(options, name) is not None:
            raise ParameterError(f"--{name} is for models in time; {options.model} holds a model without time")


def chosen_steps(given: Sequence[str] | None, times: np.ndarray) -> np.ndarray:
    """Return the numbers k of the times t_k (T,) that are asked for, ascending.

    given : None, ["last"], ["all"], or times, several in one text with commas between them
    times : (K + 1,) those of the model

    Raises ParameterError for what is no time of the model, naming one that is, and for one that is given twice.
    """
    last = len(times) - 1
    words = [word.strip() for text in given or ["last"] for word in text.split(",")]
    if words == ["last"]:
        return np.array([last])
    if words == ["all"]:
        return np.arange(last + 1)
    for name in ("last", "all"):
        if name in words:
            raise ParameterError(f"--times {name} stands alone, without other times")
    made: list[int] = []
    for word in words:
        t = one_number(word, "--times")
        at = t / float(times[1])
        k = min(max(round(at), 0), last) if math.isfinite(at) else last
        if not abs(at - k) <= NEAR:
            near = "" if math.isnan(t) else f"; the nearest is {times[k]:.10g}"
            raise ParameterError(
                f"--times: the model has no time {t:.10g}: it has 0 to {times[last]:.10g} in steps of "
                f"{times[1]:.10g}{near}"
            )
        if k in made:
            raise ParameterError(f"--times has {times[k]:.10g} twice")
        made.append(k)
    return np.sort(made)


def read_control(given: str | None, steps: int, points: int) -> Any:
    """Return the control of an option: None for the model's own, "impulse", (K,) for all points or (M, K) for each.

    Raises ParameterError and FileFormatError, with the line of a text, for what is none; OSError.
    """
    if given is None or given == IMPULSE:
        return given
    content = read_bytes(given)
    numbers = array_from(given, "control", content) if content.startswith(NPY) else _from_text(given, content)
    if numbers.ndim == 2 and (numbers.shape[0] == 1 or (numbers.shape[1] == 1 and steps > 1)):
        numbers = numbers.ravel()  # a row, or a column of one number a step
    try:
        checked_control(numbers, steps, points)
    except ModelError as error:
        raise ParameterError(f"--control {given}: {error}") from None
    return numbers


def _from_text(file: str, content: bytes) -> np.ndarray:
    """Return the rows of a text, with commas or blanks between numbers; lines that begin with # are left out."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"({error.reason} at byte {error.start})"
        raise ParameterError(f"{file} is neither an .npy file nor a UTF-8 text file {where}") from None
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        fields = line.split(",") if "," in line else re.split(r"\s+", line)
        rows.append([one_number(field, f"line {number} of {file}") for field in fields])
        if len(rows[-1]) != len(rows[0]):
            raise ParameterError(
                f"line {number} of {file} has {len(rows[-1])} numbers, those above have {len(rows[0])}"
            )
    if not rows:
        raise ParameterError(f"{file} holds no numbers; a control is one number a step")
    return np.array(rows)
