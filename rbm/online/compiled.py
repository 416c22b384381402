"""A reduced model for the compiled kernels: it packs the arrays in their order, and calls them."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from rbm.online.forms import Finish, Form, NormForm, ProductForm, SquareForm
from rbm.online.kernels import packed
from rbm.online.kernels.arguments import GIVEN, INDEFINITE, LDL, LU, QR, Answers, PackedSystem, Points
from rbm.online.kernels.tile import scratch_size

__all__ = ["Answers", "CompiledModel", "hermitian_terms", "pairs_of", "real_view"]

NONE = np.zeros(0)
SINGLE = np.dtype(np.float32), np.dtype(np.complex64)
DOUBLE = np.dtype(np.float64), np.dtype(np.complex128)
BOOL = np.dtype(bool)
#: Operators count as Hermitian up to this deviation, in units of eps and of the diagonal: the projection rounds.
HERMITIAN = 64.0


class _Plan(NamedTuple):
    """The arguments of the kernels that stay the same from call to call, as plain tuples."""

    system: tuple[Any, ...]
    factor: tuple[Any, ...]
    finish: tuple[Any, ...]
    room: int
    products: tuple[Any, ...]
    products_room: int


class CompiledModel:
    """Solves the reduced system sum_q theta_q A_q gamma = sum_q phi_q f_q and estimates residuals, for NumPy arrays.

    A system that is square and Hermitian, with real coefficients, is solved by L D L^H. Where that meets a pivot
    that is not positive, and for every other square system, LU with partial pivoting is used; for a tall one,
    Householder QR of [A | f]. Operators in single precision are solved with in single precision; residuals and outputs
    are always summed in double.

    operators : A_q (Qa, k, N), rhs : f_q (Qf, k). Everything is packed on first use and kept; the arrays must not
        change.
    """

    def __init__(self, operators: np.ndarray, rhs: np.ndarray) -> None:
        self.operators, self.rhs = operators, rhs
        self.size = operators.shape[2]
        self.tall = operators.shape[1] > self.size
        self.hermitian = not self.tall and hermitian_terms(operators)
        self.single = operators.real.dtype == SINGLE[0]
        self.is_complex = operators.dtype.kind == "c" or rhs.dtype.kind == "c"
        self._systems: dict[tuple[bool, np.dtype], PackedSystem] = {}
        self._plans: dict[tuple[int, np.dtype, int, int], tuple[_Plan, Form | None, Finish | None]] = {}

    def answer(
        self,
        theta: np.ndarray,
        phi: np.ndarray,
        form: Form | None = None,
        gamma: np.ndarray | None = None,
        finish: Finish | None = None,
        beta: np.ndarray = NONE,
        room: Answers | None = None,
    ) -> Answers:
        """Solve and estimate for theta (M, Qa), phi (M, Qf) and, with `finish`, certify.

        gamma : coefficients (M, N) whose residual is estimated; solved for if None
        beta : stability bounds (M,), if `finish` does not hold them
        room : arrays for the answers, C contiguous, those that fit by type and shape; others are made
        """
        is_complex = self._is_complex(theta, phi, form) or (gamma is not None and gamma.dtype.kind == "c")
        points = Points(theta, phi, beta)
        if self.single and gamma is None:
            made = self._solve(is_complex, Points(theta, phi, NONE), None, None)
            if made.failed is None and (form is not None or finish is not None):
                return self.answer(theta, phi, form, made.gamma, finish, beta)._replace(gamma=made.gamma)
            return made
        if gamma is not None:
            return self._query(GIVEN, DOUBLE[is_complex], points, form, gamma, finish)
        return self._solve(is_complex, points, form, finish, room)

    def dtype(self, theta: np.ndarray, phi: np.ndarray, form: Form | None = None) -> np.dtype:
        """Return the type of gamma for coefficients and estimators of such types."""
        return (SINGLE if self.single else DOUBLE)[self._is_complex(theta, phi, form)]

    def _is_complex(self, theta: np.ndarray, phi: np.ndarray, form: Form | None) -> bool:
        if self.is_complex or theta.dtype.kind == "c" or phi.dtype.kind == "c":
            return True
        matrix = form.factor if isinstance(form, NormForm) else form.gram if isinstance(form, SquareForm) else None
        return matrix is not None and matrix.dtype.kind == "c"

    def _solve(
        self, is_complex: bool, points: Points, form: Form | None, finish: Finish | None, room: Answers | None = None
    ) -> Answers:
        theta, phi, beta = points
        dtype = (SINGLE if self.single else DOUBLE)[is_complex]
        if not self.hermitian or (theta.dtype.kind == "c" and theta.imag.any()):
            return self._query(QR if self.tall else LU, dtype, points, form, None, finish, room)
        made = self._query(LDL, dtype, points, form, None, finish, room)
        if made.failed is None or not (indefinite := made.failed == INDEFINITE).any():
            return made
        rows = np.flatnonzero(indefinite)
        some = Points(theta[rows], phi[rows], beta[rows] if len(beta) else beta)
        again = self._query(LU, dtype, some, form, None, finish)
        for to, array in zip(made[:6], again[:6], strict=True):
            to[rows] = array
        made.failed[rows] = 0 if again.failed is None else again.failed
        return made if made.failed.any() else made._replace(failed=None)

    def _query(
        self,
        kind: int,
        dtype: np.dtype,
        at: Points,
        form: Form | None,
        given: np.ndarray | None,
        finish: Finish | None,
        room: Answers | None = None,
    ) -> Answers:
        key = (kind, dtype, id(form), id(finish))
        if key not in self._plans:
            # forms are kept, so that their ids stay theirs
            self._plans[key] = self._plan(kind, dtype, form, finish), form, finish
        plan = self._plans[key][0]
        count, count_out = len(at.theta), 0 if finish is None else len(finish.norms)
        shapes = (count, self.size), (count,), (count,), (count,), (count, count_out), (count, count_out)
        types = dtype, DOUBLE[0], DOUBLE[0], BOOL, dtype, DOUBLE[0]
        places = (None,) * len(types) if room is None else room[:6]
        answers = list(map(_fitting, places, shapes, types))
        if given is not None:
            answers[0] = np.ascontiguousarray(given, dtype)
        failed = np.empty(count, np.int8)
        # plain tuples: named ones cost a single point microseconds on their way into the kernel
        given_points = (real_view(at.theta, dtype), real_view(at.phi, dtype), at.beta)
        flat = tuple([a if a.dtype.kind != "c" else pairs_of(a) for a in (*answers, failed)])
        failures = _kernel()(plan.system, plan.factor, plan.finish, given_points, flat, np.empty(plan.room, dtype))
        if plan.products:
            from rbm.online.kernels.interpolated_norm import interpolated

            interpolated(plan.products, given_points, flat, np.empty(plan.products_room, dtype))
        return Answers._make((*answers, failed if failures else None))

    def _plan(self, kind: int, dtype: np.dtype, form: Form | None, finish: Finish | None) -> _Plan:
        real, shape = dtype.type(0).real.dtype, (len(self.operators), len(self.rhs), self.size)
        system = packed.no_system(real) if kind == GIVEN else self._system(kind == LDL, dtype)
        factor, products, products_room = packed.no_factor(real), (), 0
        if isinstance(form, NormForm):
            factor = packed.pack_factor(form, dtype)
        elif isinstance(form, SquareForm):
            factor = packed.pack_square(form, dtype)
        elif isinstance(form, ProductForm):
            from rbm.online.kernels.interpolated_norm import products_scratch_size

            made = packed.pack_products(form, dtype)
            products, products_room = tuple(made), products_scratch_size(*shape, made)
        ending = packed.no_finish(real) if finish is None else packed.pack_finish(finish, dtype)
        room = scratch_size(*shape, system, factor, ending)
        return _Plan(tuple(system), tuple(factor), tuple(ending), room, products, products_room)

    def _system(self, hermitian: bool, dtype: np.dtype) -> PackedSystem:
        key = (hermitian, dtype)
        if key not in self._systems:
            operators, rhs = self.operators, self.rhs
            if hermitian:
                operators = (operators + operators.conj().transpose(0, 2, 1)) / 2
            # complex terms need complex arithmetic, real ones get by with half of it
            operators, rhs = (x.astype(packed.precision(x, dtype), copy=False) for x in (operators, rhs))
            self._systems[key] = packed.pack_system(operators, rhs, hermitian)
        return self._systems[key]


@cache
def _kernel() -> Any:
    """Return the kernel for tiles, which a process that answers one point after the other does not load."""
    from rbm.online.kernels.batch_query import query

    return query


def _fitting(array: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return the array if it has this shape and type and is contiguous, or else a new one."""
    if array is not None and array.shape == shape and array.dtype == dtype and array.flags.c_contiguous:
        return array
    return np.empty(shape, dtype)


def hermitian_terms(operators: np.ndarray) -> bool:
    """Return whether all terms are Hermitian: |a_ij - conj a_ji| <= 64 eps (d_i d_j)^{1/2}.

    d (N,) are the sizes of their diagonals: a scale for each unknown, as units differ.
    """
    diagonal = np.sqrt(np.abs(np.diagonal(operators, axis1=1, axis2=2)).sum(axis=0))
    skew = np.abs(operators - operators.conj().transpose(0, 2, 1))
    tolerance = HERMITIAN * float(np.finfo(operators.dtype).eps)
    return bool(np.all(skew <= tolerance * diagonal[:, None] * diagonal))


def real_view(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return rows of real numbers, or of real and imaginary parts in turn if `dtype` is complex."""
    if array.dtype == dtype and array.flags.c_contiguous:
        return array if dtype.kind != "c" else pairs_of(array)
    with np.errstate(over="ignore"):  # beyond float32: the solution is not finite, which is reported
        return pairs_of(np.ascontiguousarray(array, dtype=dtype))


def pairs_of(array: np.ndarray) -> np.ndarray:
    """Return the same memory as real numbers: (M, 2 k) for a complex array (M, k)."""
    return array.view(array.real.dtype).reshape(len(array), -1) if array.dtype.kind == "c" else array
