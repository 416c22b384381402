"""Programs of coefficients (:mod:`rbm.online.programs`), run for one point or for the points of a tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online import programs
from rbm.online.kernels.compiler import compiled

__all__ = ["evaluate_point"]


@compiled
def integer_power(x: float, exponent: int) -> float:
    """Return x^e with the operations of :class:`rbm.parameters.powers.IntegerPower`."""
    rest, made, square = abs(exponent), 1.0, x
    while True:
        if rest & 1:
            made = made * square
        rest >>= 1
        if rest == 0:
            return made if exponent > 0 else 1.0 / made
        square = square * square


@compiled
def evaluate_point(steps: Any, numbers: Any, columns: Any, stack: Any, values: Any) -> None:
    """Put the values of all formulas at their places in `values`."""
    top = -1  # the place of the last number on the stack
    for s in range(0, len(steps), 2):
        operation, operand = steps[s], steps[s + 1]
        if operation == programs.COLUMN:
            top += 1
            stack[top] = columns[operand]
        elif operation == programs.STORE:
            values[operand] = stack[top]
            top -= 1
        elif operation == programs.NUMBER:
            top += 1
            stack[top] = numbers[operand]
        elif operation <= programs.DIVIDE:
            a, b = stack[top - 1], stack[top]
            top -= 1
            if operation == programs.ADD:
                stack[top] = a + b
            elif operation == programs.SUBTRACT:
                stack[top] = a - b
            elif operation == programs.MULTIPLY:
                stack[top] = a * b
            else:
                stack[top] = a / b
        elif operation == programs.NEGATE:
            stack[top] = -stack[top]
        elif operation == programs.ROOT:
            stack[top] = np.sqrt(stack[top])
        elif operation == programs.MODULUS:
            stack[top] = abs(stack[top])
        elif operation == programs.POWER:
            stack[top] = integer_power(stack[top], operand)
