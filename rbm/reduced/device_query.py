"""Queries of a model on a GPU by one kernel, where it knows the model; else by batched calls of the library."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from lowrank.arrays import numpy_dtype, to_numpy
from rbm.estimate import Estimate
from rbm.estimators import Estimator
from rbm.online.device import FusedModel, cupy_of
from rbm.online.device.packing import DeviceModel
from rbm.online.forms import NormForm, speaks_for
from rbm.reduced.formulas import formulas_of
from rbm.reduced.output_rows import named
from rbm.solution import Solution

__all__ = ["DeviceQuery"]

#: The environment variable that keeps the kernel out: RBM_GPU_KERNEL=batched.
SWITCH = "RBM_GPU_KERNEL"
#: So many answers are compared, once for each model and estimator. Two approximations with bounds differ by their sum,
#: and by some rounding of that. At round-off the last digits of a solution decide, and two bounds may differ by more.
COMPARED, CLOSE, FAR = 16, 1.01, 100.0
DOUBT = (
    "the fused kernel of the GPU and batched calls of its library do not agree about this model; batched calls answer "
    "from now on. Please report the GPU and the version of CuPy; RBM_GPU_KERNEL=batched keeps the kernel out"
)


class DeviceQuery:
    """Answers pieces of a batch on the GPU by :class:`rbm.online.device.FusedModel`, or not at all.

    Not: where a point is outside the ranges, without a bound, singular, not finite, whatever is an error or rare. The
    batched way is taken then for the whole piece, and says what is wrong.
    """

    def __init__(self, query: Any, state: Estimator, fused: FusedModel, left: tuple[bool, bool, bool]) -> None:
        self.query, self.state, self.fused, self.left = query, state, fused, left
        self.trusted: bool | None = None  # None until the first answers were compared

    @classmethod
    def of(cls, query: Any, state: Estimator) -> DeviceQuery | None:
        """Return the way for a model, or None where there is none.

        There is one for arrays of CuPy, Galerkin systems of up to 64 unknowns, an estimator that is the norm of a
        factor, and outputs with constant coefficients.
        """
        arrays, finish = query.arrays, query.finish
        if cupy_of(arrays.operators) is None or os.environ.get(SWITCH) == "batched" or finish is None:
            return None
        operators, rhs, at_host = to_numpy(arrays.operators), to_numpy(arrays.rhs), state.placed(to_numpy)
        kind = np.result_type(operators, rhs, float)
        form = at_host.form(kind) if speaks_for(at_host, "form", "evaluate") else None
        if not isinstance(form, NormForm) or (form.factor.dtype.kind == "c" and kind.kind != "c"):
            return None
        from rbm.online.compiled import hermitian_terms  # loads Numba

        program, left = formulas_of(arrays, bool(len(finish.stability)))
        limits = arrays.parameters.bounds.T[:, : 0 if any(left) else None]
        model = DeviceModel(operators, rhs, form, finish, limits, len(arrays.parameters), program)
        if not FusedModel.fits(model):
            return None
        return cls(query, state, FusedModel(model, hermitian_terms(operators), arrays.operators), left)

    def solution(self, points: Any, extrapolate: bool, coefficients: bool) -> Solution | None:
        """Return the answers at points (m, p) of the device, or None where one has none.

        The first answers are compared with those of batched calls, whatever compiler and GPU made them; if they do not
        agree, the kernel is not used again, with a RuntimeWarning.

        Raises the errors of coefficients and stability bounds that the program of the kernel leaves to Python.
        """
        if self.trusted is False:
            return None
        made = self._answer(points, extrapolate, coefficients or self.trusted is None)
        if made is None or self.trusted:
            return made
        self.trusted = self._agrees(made, points[: min(COMPARED, points.shape[0]), ...], extrapolate)
        if not self.trusted:
            warnings.warn(DOUBT, RuntimeWarning, stacklevel=2)
            return None
        return made if coefficients else replace(made, coefficients=made.coefficients[:, :0])

    def _agrees(self, made: Solution, points: Any, extrapolate: bool) -> bool:
        """Return whether the first answers are those of batched calls, as far as the bounds of both tell."""
        self.trusted = False  # so that batched calls answer
        try:
            wanted, count = self.query.answer(points, self.state, extrapolate, True), points.shape[0]
        except BaseException:
            self.trusted = None  # not known yet: the next batch is compared
            raise
        one, two = ({n: to_numpy(a[:count, ...]) for n, a in _arrays(s).items()} for s in (made, wanted))
        bounds = one["bound"], two["bound"]
        off = np.linalg.norm(one["coefficients"] - two["coefficients"], axis=1)
        good = [off <= CLOSE * (bounds[0] + bounds[1]), bounds[0] <= FAR * bounds[1], bounds[1] <= FAR * bounds[0]]
        for name in self.query.arrays.outputs:
            limit = CLOSE * (one[f"bound of {name}"] + two[f"bound of {name}"])
            good.append((np.abs(one[f"output {name}"] - two[f"output {name}"]) <= limit).reshape(count, -1).all(axis=1))
        return bool(np.all(good))

    def _answer(self, points: Any, extrapolate: bool, coefficients: bool) -> Solution | None:
        """Return the answers of the kernel, or None where a point has none."""
        query, arrays = self.query, self.query.arrays
        theta = phi = beta = None
        mus = points
        if any(self.left):
            mus = arrays.parameters.check(points, extrapolate)
            theta = arrays.operator_coefficients(mus) if self.left[0] or self.left[2] else None
            phi = arrays.rhs_coefficients(mus) if self.left[1] else None
        given = [numpy_dtype(a).kind == "c" for a in (theta, phi) if a is not None]
        if any(given) and not self.fused.is_complex:  # the floors of the estimator are those of real numbers
            return None
        complex_theta = theta is not None and numpy_dtype(theta).kind == "c"
        if self.left[2] or (complex_theta and len(self.fused.model.finish.stability)):  # which is about real numbers
            beta = query.beta(mus, theta)
        keep = coefficients or arrays.coded is not None
        made = self.fused.answer(mus, theta if self.left[0] else None, phi, beta, keep)
        if made is None:
            return None
        error = query.seen(Estimate(made.value, made.floor, made.resolved), self.state, mus, extrapolate)
        error = query.stored(error, made.gamma)
        kept = made.gamma if coefficients else made.gamma[:, :0]
        values, bounds = named(arrays.outputs, made.outputs), named(arrays.outputs, made.output_bounds)
        return Solution(kept, values, error, bounds, mus=points, method=self.state.kind, **query.carried)


def _arrays(solution: Solution) -> dict[str, Any]:
    named = {"bound": solution.bound, "coefficients": solution.coefficients}
    named |= {f"output {name}": array for name, array in solution.outputs.items()}
    return named | {f"bound of {name}": array for name, array in solution.output_bounds.items()}
