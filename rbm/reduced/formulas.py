"""The coefficients of a reduced model as one program, evaluated by compiled code for all points of a batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rbm.online.programs import Program, program
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.arrays import ReducedArrays
from rbm.stability.bound import CoefficientBound

__all__ = ["AtPiece", "Formulas", "formulas_of"]


class AtPiece(NamedTuple):
    """The coefficients of a piece of a batch."""

    theta: np.ndarray  #: (m, Qa)
    phi: np.ndarray  #: (m, Qf)
    beta: np.ndarray | None  #: (m,) if the stability bound is a formula


class Formulas:
    """Evaluates theta, phi and, where it is a formula, beta, as far as compiled code can; NumPy does the rest."""

    def __init__(self, arrays: ReducedArrays) -> None:
        self.arrays = arrays
        self.program, self.left = formulas_of(arrays, False)
        identity = arrays.operator_coefficients.identity
        if identity:  # theta are the parameters: nothing is copied
            self.program, _ = formulas_of(arrays, False, theta=False)
        self._written = not self.left[0] and not identity, not self.left[1], not self.left[2]
        self._limits = np.ascontiguousarray(arrays.parameters.bounds.T)

    def __call__(self, mus: np.ndarray) -> AtPiece | None:
        """Return the coefficients at points (m, p), not to be written to.

        None where a point is outside the ranges, or a value not finite or a bound not positive: the general way says
        what is wrong, moves a point that rounding has put outside back to the end of its range, or extrapolates.
        """
        from rbm.online.kernels.formulas import POINTS, formulas  # loads Numba

        count, qa, qf = len(mus), len(self.arrays.operators), len(self.arrays.rhs)
        theta, phi, beta = (
            np.empty((count, size if written else 0)) for size, written in zip((qa, qf, 1), self._written, strict=True)
        )
        stack = np.empty((self.program.depth, POINTS))
        points = np.ascontiguousarray(mus)
        out = theta, phi, beta.reshape(-1), qa, qf
        if not formulas(self.program.steps, self.program.numbers, self._limits, points, out, stack):
            return None
        if not self._written[0]:
            theta = self.arrays.operator_coefficients(mus)
        if not self._written[1]:
            phi = self.arrays.rhs_coefficients(mus)
        return AtPiece(theta, phi, out[2] if self._written[2] else None)


def formulas_of(arrays: ReducedArrays, min_theta: bool, theta: bool = True) -> tuple[Program, tuple[bool, bool, bool]]:
    """Return the formulas of theta, phi and beta as a program, and which of these it leaves to Python.

    min_theta : beta comes from theta; theta : with the formulas of theta
    """
    stability: Any = arrays.stability
    families: list[Any] = [arrays.operator_coefficients, arrays.rhs_coefficients]
    if type(stability) is CoefficientBound and not min_theta:
        families.append(stability.coefficient)
    made = [f.steps() if type(f) is Coefficients else None for f in families]
    qa, qf = arrays.operators.shape[0], arrays.rhs.shape[0]
    chosen = [
        (place + q, steps)
        for k, (place, family) in enumerate(zip((0, qa, qa + qf), made, strict=False))
        for q, steps in enumerate(family or ())
        if k or theta
    ]
    beta = not min_theta and (len(made) < 3 or made[2] is None)
    return program(chosen, len(arrays.parameters)), (made[0] is None, made[1] is None, beta)
