"""Programs of coefficients: formulas as a short list of steps, which compiled code runs for all points of a tile.

A step is an operation and a number. It works on a stack: it takes its arguments from there and leaves its result there.
``mu**2 / 4`` is

    COLUMN 0      push parameter 0
    POWER 2       replace it by its square
    NUMBER 0      push the number 0 of the program, 4.0
    DIVIDE        replace the last two by their quotient
    STORE 0       take the result from the stack: it is coefficient 0

Each operation is one rounded operation of IEEE arithmetic, or a fixed sequence of these, and NumPy does the same: the
results have the same bits as :class:`rbm.parameters.expressions.Expression`, by which the full model is assembled.
Functions whose last bit differs from library to library (exp, sin) are no operations. Nothing is generated or executed
here: a program is two arrays, checked when it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = [
    "ADD", "COLUMN", "DIVIDE", "LARGEST_POWER", "MODULUS", "MULTIPLY", "NEGATE", "NUMBER", "OPERATIONS", "POWER",
    "ROOT", "STORE", "SUBTRACT", "Program", "Step", "program",
]  # fmt: skip

OPERATIONS = (
    "column",
    "number",
    "add",
    "subtract",
    "multiply",
    "divide",
    "negate",
    "root",
    "modulus",
    "power",
    "store",
)
COLUMN, NUMBER, ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, ROOT, MODULUS, POWER, STORE = range(len(OPERATIONS))
#: Integer powers up to this one, and their reciprocals, are products; others are left to the C library.
LARGEST_POWER = 16
#: What an operation takes from the stack; each but STORE leaves one number there.
TAKES = (0, 0, 2, 2, 2, 2, 1, 1, 1, 1, 1)
#: An operation, and a column, a number, an exponent or a place; 0 where there is none.
Step = tuple[int, float]


class Program(NamedTuple):
    """Formulas that are evaluated together."""

    steps: np.ndarray  #: (2 S,) operations and their operands in turn
    numbers: np.ndarray  #: (K,)
    depth: int  #: of the stack


def program(formulas: Sequence[tuple[int, Sequence[Step]]], columns: int) -> Program:
    """Return the program that puts the values of formulas at their places.

    formulas : (place, steps), without a STORE; columns : of the points

    Raises ValueError for steps that are no formula of so many columns.
    """
    made: list[int] = []
    numbers: list[float] = []
    deepest = 1
    for place, steps in formulas:
        height = 0
        for operation, operand in (*steps, (STORE, place)):
            if not (0 <= operation < len(OPERATIONS) and TAKES[operation] <= height):
                raise ValueError(f"operation {operation} with {height} numbers on the stack")
            if operation == NUMBER:
                numbers.append(float(operand))
                operand = len(numbers) - 1
            known = columns if operation == COLUMN else len(numbers) if operation == NUMBER else 1 << 31
            power = operation == POWER and not 1 <= abs(operand) <= LARGEST_POWER
            if operand != int(operand) or power or (operation != POWER and not 0 <= operand < known):
                raise ValueError(f"operand {operand} of {OPERATIONS[operation]}, with {columns} columns")
            made += [operation, int(operand)]
            height += 1 - TAKES[operation] - (operation == STORE)
            deepest = max(deepest, height)
        if height:
            raise ValueError(f"{height} numbers are left on the stack by the formula of place {place}")
    return Program(np.array(made, np.int64), np.array(numbers, float), deepest)
