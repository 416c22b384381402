"""Coefficients, outputs and bounds for one piece of a batch, on the CPU and on a device."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lowrank.arrays import all_true, beside, is_complex, namespace, numpy_dtype, to_numpy
from rbm.arithmetic.precision import is_single, rounded
from rbm.errors import ModelError, PointError, refused
from rbm.estimate import Estimate
from rbm.estimators import Estimator, Orthonormal
from rbm.online import reference
from rbm.online.batches import OnError, answer
from rbm.online.chunks import tiles
from rbm.online.forms import Finish, Form, NormForm, SquareForm, speaks_for
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.device_query import DeviceQuery
from rbm.reduced.error_bound import error_estimate
from rbm.reduced.finish import NONE, finish_of, place_of_coefficients, places
from rbm.reduced.formulas import AtPiece, Formulas
from rbm.reduced.one_point import OnePoint
from rbm.reduced.origin import mark
from rbm.reduced.output_rows import certified, named, shape_of
from rbm.reduced.outputs import AtPoints
from rbm.reduced.placement import points_for
from rbm.reduced.sensitivities import SlopeResidual
from rbm.reduced.unsolved import check_range, unsolved
from rbm.solution import Solution
from rbm.stability.bound import evaluated

if TYPE_CHECKING:
    from rbm.online.compiled import CompiledModel

__all__ = ["Query"]

#: gamma (m, N) and the residual norm, if an estimator was given.
_Residual = tuple[Any, Estimate | None]


class Query:
    """The online side of :class:`rbm.ReducedModel`, made once: packed arrays and the forms of its estimators."""

    def __init__(self, arrays: ReducedArrays) -> None:
        self.arrays = arrays
        self.on_host = isinstance(arrays.operators, np.ndarray)
        self._forms: dict[tuple[str, bool], Form | None] = {}
        self._single: dict[tuple[str | None, bool], OnePoint | None] = {}
        self._fused: dict[str, DeviceQuery | None] = {}
        self.names = arrays.parameters.names
        self.units = {**arrays.parameters.units, **arrays.output_units}

    def solve(
        self,
        mus: Any,
        estimate: bool = True,
        method: str | None = None,
        extrapolate: bool = False,
        on_error: OnError = "raise",
        coefficients: bool = True,
        progress: bool = False,
        first_row: int = 0,
    ) -> Solution:
        """Solve as :meth:`rbm.ReducedModel.solve`, with messages that count rows from `first_row`."""
        arrays = self.arrays
        state = arrays.state(method) if estimate else None
        points = arrays.parameters.points(mus)
        if type(mus) is not list:  # the answer keeps its points, whatever the caller does with theirs
            points = points.copy() if type(points) is np.ndarray else namespace(points).asarray(points, copy=True)
        if type(points) is not type(arrays.operators):
            points = points_for(arrays, points)

        def work(rows: Any, room: Solution | None = None) -> Solution:
            return self.answer(rows, state, extrapolate, coefficients, room)

        return answer(
            work,
            points,
            self.bytes_per_point,
            blank=partial(self.blank, estimate, coefficients, method),
            on_error=on_error,
            progress=progress,
            first_row=first_row,
            in_place=True,
        )

    def answer(
        self, points: Any, state: Estimator | None, extrapolate: bool, coefficients: bool, room: Solution | None = None
    ) -> Solution:
        """Return everything for parameter points (m, p); raise a PointError for the first of the rows that failed.

        room : arrays where answers may be put, which are returned then
        """
        arrays = self.arrays
        one = self.one_point(state, extrapolate) if self.on_host and len(points) == 1 else None
        if one is not None and (single := one.solution(points, coefficients)) is not None:
            return single
        fused = None if state is None or self.on_host else self.fused(state)
        if fused is not None and (whole := fused.solution(points, extrapolate, coefficients)) is not None:
            return whole
        mus, (theta, phi, bound) = self.coefficients(points, extrapolate)
        if state is not None and self.on_host and self.finish is not None:
            form = self.form(state, theta, phi)
            if isinstance(form, NormForm | SquareForm):
                # the kernel's min-theta looks at real parts: the bound itself decides about complex coefficients
                known = len(self.finish.stability) and theta.dtype.kind == "f"
                given = NONE if known else np.ascontiguousarray(self.beta(mus, theta) if bound is None else bound)
                made = self.compiled.answer(theta, phi, form, None, self.finish, given, places(room))
                if made.failed is None:
                    kept = made.gamma if coefficients else made.gamma[:, :0].copy()
                    values = named(arrays.outputs, made.outputs)
                    bounds = named(arrays.outputs, made.output_bounds)
                    error = self.seen(Estimate(made.value, made.floor, made.resolved), state, mus, extrapolate)
                    error = self.stored(error, made.gamma)
                    return Solution(kept, values, error, bounds, mus=points, method=state.kind, **self.carried)
        beta = None if state is None else self.beta(mus, theta) if bound is None else bound
        gamma, norm = self.residual(theta, phi, state, mus=mus, place=place_of_coefficients(room))
        points_at = AtPoints(mus, theta, phi, gamma)
        if norm is None or beta is None or state is None:
            values = certified(arrays.outputs, points_at)[0]
            self._check_outputs(values, "is", mus)
            return Solution(self._kept(gamma, coefficients), values, mus=points, **self.carried)
        error = self.error(norm, beta, gamma, mus, state, extrapolate)
        values, bounds = certified(arrays.outputs, points_at._replace(beta=beta, error=error.bound))
        self._check_outputs(values, "is", mus)
        self._check_outputs(bounds, "has the error bound", mus)
        kept, error = self._kept(gamma, coefficients), self.stored(error, gamma)
        return Solution(kept, values, error, bounds, mus=points, method=state.kind, **self.carried)

    def coefficients(self, points: Any, extrapolate: bool) -> tuple[Any, AtPiece]:
        """Return checked points (m, p) and their coefficients; raise a PointError for those that have none."""
        arrays = self.arrays
        if self.formulas is not None and (made := self.formulas(points)) is not None:
            return points, made
        mus = arrays.parameters.check(points, extrapolate)
        return mus, AtPiece(arrays.operator_coefficients(mus), arrays.rhs_coefficients(mus), None)

    @cached_property
    def formulas(self) -> Formulas | None:
        """The coefficients as a program for compiled code; None on a device, and where there are no formulas."""
        made = Formulas(self.arrays) if self.on_host else None
        return made if made is not None and len(made.program.steps) else None

    @staticmethod
    def _kept(gamma: Any, coefficients: bool) -> Any:
        """Return gamma (m, N), or (m, 0) if it is not asked for."""
        return gamma if coefficients else namespace(gamma).zeros_like(gamma[:, :0])

    @property
    def carried(self) -> dict[str, Any]:
        """What all answers of this model carry."""
        return {"names": self.names, "units": self.units, "origin": self.origin}

    def one_point(self, state: Estimator | None, extrapolate: bool) -> OnePoint | None:
        """Return the way of a single point, made once for each estimator; None if there is none."""
        key = None if state is None else state.kind, extrapolate
        if key not in self._single:
            self._single[key] = OnePoint.of(self, state, extrapolate)
        return self._single[key]

    def fused(self, state: Estimator) -> DeviceQuery | None:
        """Return the way of a batch on a GPU by one kernel, made once for each estimator; None if there is none."""
        known = self._fused
        return known[state.kind] if state.kind in known else known.setdefault(state.kind, DeviceQuery.of(self, state))

    def beta(self, mus: Any, theta: Any) -> Any:
        """Return the stability bound (m,); StabilityError names the parameter where it is not positive."""
        return evaluated(self.arrays.stability, mus, theta, self.arrays.parameters)

    def error(self, norm: Estimate, beta: Any, gamma: Any, mus: Any, state: Estimator, extrapolate: bool) -> Estimate:
        """Return the error estimate from the residual norm, as :meth:`seen`."""
        of = self.arrays
        made = error_estimate(norm, beta, gamma, mus, of.parameters, of.interpolation_error, of.orthonormality)
        return self.seen(made, state, mus, extrapolate)

    def seen(self, error: Estimate, state: Estimator, mus: Any, extrapolate: bool) -> Estimate:
        """Return the estimate, not resolved outside the parameter space, where E3 and E4 were never checked."""
        if not (extrapolate and state.inside_only):
            return error
        return replace(error, resolved=error.resolved & self.arrays.parameters.inside(mus))

    def stored(self, error: Estimate, gamma: Any) -> Estimate:
        """Return the estimate of what is reconstructed from a basis in few bits, if the model has one."""
        coded = self.arrays.coded
        return error if coded is None else error.quantized(coded.error(gamma))

    def _check_outputs(self, values: dict[str, Any], what: str, mus: Any) -> None:
        """Raise ModelError, naming output and parameter, for numbers beyond the range of double precision."""
        for name, array in values.items():
            finite = namespace(array).isfinite(array)
            if not all_true(finite):
                numbers, points, bad = to_numpy(array), to_numpy(mus), ~to_numpy(finite)
                wrong = bad.reshape(len(bad), -1).any(axis=1)

                def message(i: int, where: str, name: str = name, numbers: Any = numbers, points: Any = points) -> str:
                    return (
                        f"output {name!r} {what} {numbers[i]} at {self.arrays.parameters.describe(points[i])} "
                        f"({where}): beyond the range of double precision; scale it, or the right-hand side"
                    )

                raise refused(ModelError, wrong, message, about=(id(self), name))

    def residual(
        self, theta: Any, phi: Any, state: Estimator | None, gamma: Any = None, *, mus: Any, place: Any = None
    ) -> _Residual:
        """Return gamma (m, N), solved for unless it is given, and the residual norm; `place` is where gamma may go.

        Raises ModelError for rows whose system is singular or whose solution is not finite.
        """
        if not self.on_host:
            return self._on_device(theta, phi, state, gamma, mus)
        form = None if state is None else self.form(state, theta, phi)
        made = self.compiled.answer(theta, phi, form, gamma, room=place)
        if made.failed is not None:
            raise self._failure(made.failed > 0, mus, theta, phi)
        if state is None:
            return made.gamma, None
        if form is not None:
            lost = ~(np.isfinite(made.value) & np.isfinite(made.floor))
            if np.any(lost):  # squares beyond the range of the kernels, which the estimator itself scales
                scaled = state.evaluate(theta[lost], phi[lost], made.gamma[lost])
                made.value[lost], made.floor[lost], made.resolved[lost] = scaled.value, scaled.floor, scaled.resolved
            return made.gamma, Estimate(made.value, made.floor, made.resolved)
        return made.gamma, _evaluated(state, theta, phi, made.gamma, tiles(len(theta), 32 * self._terms))

    def _on_device(self, theta: Any, phi: Any, state: Estimator | None, gamma: Any, mus: Any) -> _Residual:
        """Answer by batched calls of the library that owns the arrays."""
        arrays = self.arrays
        if gamma is None:
            own = numpy_dtype(arrays.operators)
            try:
                gamma = reference.solve(arrays.operators, arrays.rhs, rounded(theta, own), rounded(phi, own))
            except ModelError as error:  # a library that reports singular systems; CuPy does not
                bad = np.zeros(theta.shape[0], dtype=bool)
                bad[error.rows] = True
                raise self._failure(bad, mus, theta, phi) from None
            finite = namespace(gamma).isfinite(gamma)
            if not all_true(finite):
                raise self._failure(np.any(~to_numpy(finite), axis=1), mus, theta, phi)
        if state is None:
            return gamma, None
        # every matrix of an estimator makes as many numbers per point as it has rows, and all exist in a few copies
        entries = self._terms + sum(getattr(state, name).shape[0] for name in state.matrices)
        return gamma, _evaluated(state, theta, phi, gamma, tiles(theta.shape[0], 128 * entries, theta))

    def _failure(self, bad: np.ndarray, mus: Any, theta: Any, phi: Any) -> PointError:
        """Return the error about the rows whose system could not be solved."""
        mus, theta, phi = to_numpy(mus), to_numpy(theta), to_numpy(phi)
        if is_single(self.arrays.dtype):
            for values in (theta, phi):
                check_range(values, self.arrays.dtype, mus, self.arrays.parameters)
        return refused(ModelError, bad, lambda i, where: unsolved(self.arrays, mus[i], theta[i], where))

    def blank(self, estimate: bool, coefficients: bool, method: str | None = None) -> Solution:
        """Return an empty answer for one point, with arrays of the usual shapes and types."""
        arrays = self.arrays

        def array(*shape: int, dtype: Any = float) -> Any:
            made = np.zeros((1, *shape), dtype=dtype)
            return made if self.on_host else beside(made, arrays.operators)

        (kind, kinds), types = self._types, (float, complex)
        shapes = {name: shape_of(output) for name, output in arrays.outputs.items()}
        outputs = {n: array(*s, dtype=complex if kinds[n] else float) for n, s in shapes.items()}
        gamma = array(arrays.size if coefficients else 0, dtype=types[kind])
        gamma = rounded(gamma, np.float32) if is_single(arrays.dtype) else gamma
        if not estimate:
            return Solution(gamma, outputs, **self.carried)
        share, bits = (None if known is None else array() for known in (arrays.interpolation_error, arrays.coded))
        error = Estimate(array(), array(), array(dtype=bool), share, bits)
        bounds = {n: array(*s) for n, s in shapes.items()}
        return Solution(gamma, outputs, error, bounds, method=arrays.state(method).kind, **self.carried)

    def form(self, state: Estimator, theta: np.ndarray, phi: np.ndarray) -> Form | None:
        """Return the estimator's form for the compiled kernels, the same object for equal estimator and types."""
        arrays = self.arrays
        complex_valued = "c" in (arrays.operators.dtype.kind, arrays.rhs.dtype.kind, theta.dtype.kind, phi.dtype.kind)
        key = state.kind, complex_valued
        if key not in self._forms:
            known = speaks_for(state, "form", "evaluate")
            self._forms[key] = state.form(np.dtype(complex if complex_valued else float)) if known else None
        return self._forms[key]

    @cached_property
    def origin(self) -> str:
        """The mark that answers carry (:func:`rbm.reduced.origin.mark`)."""
        return mark(self.arrays)

    @cached_property
    def compiled(self) -> CompiledModel:
        """The reduced system, packed for the compiled kernels."""
        from rbm.online.compiled import CompiledModel  # loads Numba

        return CompiledModel(self.arrays.operators, self.arrays.rhs)

    @cached_property
    def finish(self) -> Finish | None:
        """The stability bound and the outputs for the compiled kernels, if these know their kinds."""
        return finish_of(self.arrays)

    @cached_property
    def slope_residual(self) -> SlopeResidual | None:
        """The norm of residuals of derivatives, if the model has the estimator for it."""
        state = self.arrays.estimators.get(Orthonormal.kind)
        terms = len(self.arrays.operators), len(self.arrays.rhs)
        return SlopeResidual(state, terms) if isinstance(state, Orthonormal) else None

    @cached_property
    def _types(self) -> tuple[bool, dict[str, bool]]:
        """Whether the coefficients, and each output, are complex; found by values at a point, if they have any."""
        arrays = self.arrays
        for mu in [*([] if arrays.selected is None else arrays.selected[:1]), *arrays.parameters.bounds.T]:
            mus = np.array(mu, dtype=float)[None, :]
            with suppress(Exception):  # coefficients are a user's code: if they fail, the arrays alone tell the types
                point = mus if self.on_host else beside(mus, arrays.operators)
                theta, phi = arrays.operator_coefficients(point), arrays.rhs_coefficients(point)
                kind = any(map(is_complex, (arrays.operators, arrays.rhs, theta, phi)))
                gamma = np.zeros((1, arrays.size), dtype=complex if kind else float)
                gamma = gamma if self.on_host else beside(gamma, arrays.operators)
                return kind, {name: is_complex(out.value(point, gamma)) for name, out in arrays.outputs.items()}
        kind = is_complex(arrays.operators) or is_complex(arrays.rhs)
        return kind, dict.fromkeys(arrays.outputs, kind)

    @cached_property
    def bytes_per_point(self) -> int:
        """The number of bytes that the arrays of one point take."""
        qa, qf = self.arrays.operators.shape[0], self.arrays.rhs.shape[0]
        entries = len(self.arrays.parameters) + qa + qf + 2 * self.arrays.size + 16
        fused = self.on_host or any(map(self.fused, self.arrays.estimators.values()))
        return 8 * entries if self.on_host else 16 * (entries + 4 * self._terms * (not fused))  # c, in batched calls

    @property
    def _terms(self) -> int:
        return int(self.arrays.rhs.shape[0] + self.arrays.operators.shape[0] * self.arrays.size)


def _evaluated(state: Estimator, theta: Any, phi: Any, gamma: Any, rows_of_tiles: list[slice]) -> Estimate:
    """Return the residual norms (m,), tile by tile."""
    parts = (state.evaluate(theta[rows, ...], phi[rows, ...], gamma[rows, ...]) for rows in rows_of_tiles)
    return Estimate.concatenate(list(parts))
