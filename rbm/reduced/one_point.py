"""The query of one point by compiled code alone, for :meth:`rbm.ReducedModel.solve` and evaluators."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from rbm.arithmetic.precision import is_single
from rbm.estimate import Estimate
from rbm.estimators import Estimator
from rbm.online.forms import NormForm, SquareForm
from rbm.reduced.formulas import formulas_of
from rbm.reduced.output_rows import named
from rbm.solution import Solution

if TYPE_CHECKING:
    from rbm.online.compiled_point import CompiledPoint, PointScratch

__all__ = ["OnePoint"]


class OnePoint:
    """Answers one point with the same bits as :class:`rbm.reduced.online_query.Query` does, or not at all.

    Not: outside the ranges, without a bound, singular, not finite, whatever is an error or rare. The general way is
    taken then, and says what is wrong.
    """

    def __init__(self, query: Any, state: Estimator, compiled: CompiledPoint, given: tuple[bool, bool, bool]) -> None:
        arrays = query.arrays
        self.query, self.method, self.compiled = query, state.kind, compiled
        self.outputs = arrays.outputs
        self._theta, self._phi, self._beta = given
        self._given = any(given)
        self._local = threading.local()

    @classmethod
    def of(cls, query: Any, state: Estimator | None, extrapolate: bool) -> OnePoint | None:
        """Return the way for such points, or None where the model has none.

        It has one where it is real, in double precision, with symmetric operators, the estimator a norm or a square,
        and outputs that the compiled code knows.
        """
        arrays = query.arrays
        if state is None or not query.on_host or arrays.coded is not None or (extrapolate and state.inside_only):
            return None
        finish, real = query.finish, np.zeros(0)
        if finish is None or is_single(arrays.dtype) or not query.compiled.hermitian or arrays.size == 0:
            return None
        if "c" in (arrays.operators.dtype.kind, arrays.rhs.dtype.kind, finish.functionals.dtype.kind):
            return None
        form = query.form(state, real, real)
        matrix = form.factor if isinstance(form, NormForm) else form.gram if isinstance(form, SquareForm) else None
        if form is None or matrix is None or matrix.dtype.kind == "c":
            return None
        assert isinstance(form, NormForm | SquareForm)
        from rbm.online.compiled_point import CompiledPoint  # loads Numba

        formulas, given = formulas_of(arrays, bool(len(finish.stability)))
        compiled = CompiledPoint(arrays.operators, arrays.rhs, form, finish, arrays.parameters.bounds.T, formulas)
        return cls(query, state, compiled, given)

    def answer(self, scratch: PointScratch) -> bool:
        """Answer the point in `scratch`, where the answers are; False if the general way has to be taken."""
        return (not self._given or self._coefficients(scratch)) and self.compiled.answer(scratch)

    def _coefficients(self, scratch: PointScratch) -> bool:
        """Write the coefficients that only Python knows; False for what the compiled code cannot use."""
        arrays, mus = self.query.arrays, scratch.inputs[None].copy()
        try:
            mus = arrays.parameters.check(mus, False)  # functions are not called outside the ranges
            if self._theta or self._beta:
                theta = arrays.operator_coefficients(mus)
                if theta.dtype.kind == "c":
                    return False
                scratch.theta[:] = theta[0]
            if self._phi:
                phi = arrays.rhs_coefficients(mus)
                if phi.dtype.kind == "c":
                    return False
                scratch.phi[:] = phi[0]
            if self._beta:
                scratch.values[-1] = self.query.beta(mus, theta)[0]
        except Exception:  # whatever it is, it comes again on the general way, which words it
            return False
        return True

    def solution(self, mus: np.ndarray, coefficients: bool) -> Solution | None:
        """Return the answer for one point, mus (1, p), or None."""
        scratch = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = self.compiled.scratch()
        scratch.inputs[:] = mus[0]
        if not self.answer(scratch):
            return None
        numbers = scratch.answers.copy()
        both = numbers[None, 3:].reshape(2, 1, -1)
        places, bounds = (named(self.outputs, part) for part in both)
        error = Estimate(numbers[:1], numbers[1:2], numbers[2:3] > 0)
        gamma = scratch.gamma[None].copy() if coefficients else np.empty((1, 0))
        return Solution(gamma, places, error, bounds, mus=mus, method=self.method, **self.query.carried)
