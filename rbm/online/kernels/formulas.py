"""Programs of coefficients (:mod:`rbm.online.programs`), run for one point or for the points of a tile."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.online import programs
from rbm.online.kernels.compiler import compiled, kernel
from rbm.online.kernels.lanes import item, put
from rbm.online.kernels.memory import bare

__all__ = ["POINTS", "evaluate_point", "formulas"]

#: Points that go through a program together.
POINTS = 64


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


@compiled
def inside(limits: Any, mus: Any, first: int, count: int) -> bool:
    """Return whether the rows `first`, ... of mus (M, p) are within limits (2, p); NaN is not."""
    good, columns = True, mus.shape[1]
    for j in range(columns):  # without a branch for each number
        low, high = item(limits, j), item(limits, columns + j)
        for i in range(first, first + count):
            x = item(mus, i * columns + j)
            good = good & (low <= x) & (x <= high)
    return good


@compiled
def store_values(values: Any, place: int, first: int, out: Any) -> bool:
    """Put the values (count,) of one formula where they belong; return whether they are finite, and beta positive."""
    theta, phi, beta, qa, qf = out
    total, least, count = 0.0, 1.0, len(values)
    for i in range(count):
        total += 0.0 * values[i]
    if place < qa:
        for i in range(count):
            put(theta, (first + i) * qa + place, values[i])
    elif place < qa + qf:
        for i in range(count):
            put(phi, (first + i) * qf + place - qa, values[i])
    else:
        for i in range(count):
            beta[first + i] = values[i]
            least = min(least, values[i])
    return total == 0 and least > 0  # 0 x is NaN where x is not finite


@compiled
def apply(operation: int, operand: int, a: Any, b: Any) -> None:
    """Replace the numbers a by those of an operation of one argument, or of two, a and b."""
    count = len(a)
    if operation == programs.ADD:
        for i in range(count):
            a[i] = a[i] + b[i]
    elif operation == programs.SUBTRACT:
        for i in range(count):
            a[i] = a[i] - b[i]
    elif operation == programs.MULTIPLY:
        for i in range(count):
            a[i] = a[i] * b[i]
    elif operation == programs.DIVIDE:
        for i in range(count):
            a[i] = a[i] / b[i]
    elif operation == programs.NEGATE:
        for i in range(count):
            a[i] = -a[i]
    elif operation == programs.ROOT:
        for i in range(count):
            a[i] = np.sqrt(a[i])
    elif operation == programs.MODULUS:
        for i in range(count):
            a[i] = abs(a[i])
    else:
        for i in range(count):
            a[i] = integer_power(a[i], operand)


@kernel
def formulas(steps: Any, numbers: Any, limits: Any, mus: Any, out: Any, stack: Any) -> bool:
    """Evaluate a program for all points mus (M, p); return False where a value is out of its range.

    Parameters have limits (2, p), values must be finite and beta positive. Each step is done for POINTS points, a few
    registers, before the next one: what it costs to read it is shared by them.

    out : theta (M, Qa), phi (M, Qf), beta (M,), Qa, Qf; what the program does not write may have no columns
    stack : (depth, POINTS)
    """
    steps, numbers, limits, mus, stack = bare((steps, numbers, limits, mus, stack))
    out, good = bare(out), True
    for first in range(0, len(mus), POINTS):
        count = min(POINTS, len(mus) - first)
        good = inside(limits, mus, first, count) and good
        top = -1
        for s in range(0, len(steps), 2):
            operation, operand = steps[s], steps[s + 1]
            if operation == programs.COLUMN:
                top += 1
                for i in range(count):
                    stack[top, i] = mus[first + i, operand]
            elif operation == programs.NUMBER:
                top += 1
                for i in range(count):
                    stack[top, i] = numbers[operand]
            elif operation == programs.STORE:
                good = store_values(stack[top, :count], operand, first, out) and good
                top -= 1
            else:
                top -= operation <= programs.DIVIDE
                apply(operation, operand, stack[top, :count], stack[min(top + 1, len(stack) - 1), :count])
    return good
