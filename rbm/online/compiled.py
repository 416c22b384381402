"""A reduced model for the compiled kernels: its arrays in their order, and the calls."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rbm.online import kernels
from rbm.online.forms import Finish, Form, NormForm, ProductForm, SquareForm
from rbm.online.packed import Residual, System, pack_factor, pack_square, pack_system

__all__ = ["Answers", "CompiledModel"]

NONE = np.zeros(0)
SINGLE = np.dtype(np.float32), np.dtype(np.complex64)
DOUBLE = np.dtype(np.float64), np.dtype(np.complex128)
#: Deviation from Hermitian, in units of eps and of the diagonal, up to which reduced operators count as such: rounding of the projection.
HERMITIAN = 64.0


class Answers(NamedTuple):
    """For M points; what was not asked for is not written."""

    gamma: np.ndarray  #: (M, N)
    value: np.ndarray  #: (M,) residual norm, divided by beta if there was a `finish`
    floor: np.ndarray  #: (M,)
    resolved: np.ndarray  #: (M,)
    outputs: np.ndarray  #: (M, outputs)
    output_bounds: np.ndarray  #: (M, outputs)
    failed: (
        np.ndarray | None
    )  #: (M,): 2 where gamma is not finite, 3 where the error bound is not; None if all went well


class CompiledModel:
    """The reduced system sum_q theta_q A_q gamma = sum_q phi_q f_q, and estimates of its residual, for NumPy arrays.

    A system that is square and Hermitian, with real coefficients, is solved by L D L^H; the points at which that meets a pivot
    that is not positive, and every other square system, by LU with partial pivoting; a tall one by Householder QR of [A | f].
    Operators in single precision are solved with in single precision; residuals and outputs are always summed in double.

    operators : A_q (Qa, k, N), rhs : f_q (Qf, k). Everything is packed on first use and kept; the arrays must not change.
    """

    def __init__(self, operators: np.ndarray, rhs: np.ndarray) -> None:
        self.operators, self.rhs = operators, rhs
        self.size = operators.shape[2]
        self.tall = operators.shape[1] > self.size
        self.hermitian = not self.tall and _hermitian(operators)
        self.single = operators.real.dtype == SINGLE[0]
        self.is_complex = operators.dtype.kind == "c" or rhs.dtype.kind == "c"
        self._systems: dict[tuple[bool, np.dtype], System] = {}
        self._plans: dict[tuple[int, np.dtype, int, int], tuple[Any, ...]] = {}

    def answer(
        self,
        theta: np.ndarray,
        phi: np.ndarray,
        form: Form | None = None,
        gamma: np.ndarray | None = None,
        finish: Finish | None = None,
        beta: np.ndarray = NONE,
    ) -> Answers:
        """Everything for theta (M, Qa), phi (M, Qf): solved, estimated and, with `finish`, certified.

        gamma : given coefficients (M, N) to be estimated; solved for if there are none
        beta : stability bounds (M,), if `finish` does not tell them
        """
        is_complex = self._is_complex(theta, phi, form) or (gamma is not None and gamma.dtype.kind == "c")
        if self.single and gamma is None:
            made = self._solve(is_complex, theta, phi)
            if made.failed is None and (form is not None or finish is not None):
                return self.answer(theta, phi, form, made.gamma, finish, beta)._replace(gamma=made.gamma)
            return made
        if gamma is not None:
            return self._query(kernels.GIVEN, DOUBLE[is_complex], theta, phi, form, gamma, finish, beta)
        return self._solve(is_complex, theta, phi, form, finish, beta)

    def dtype(self, theta: np.ndarray, phi: np.ndarray, form: Form | None = None) -> np.dtype:
        """Type of gamma for coefficients and estimators of such types."""
        return (SINGLE if self.single else DOUBLE)[self._is_complex(theta, phi, form)]

    def _is_complex(self, theta: np.ndarray, phi: np.ndarray, form: Form | None) -> bool:
        if self.is_complex or theta.dtype.kind == "c" or phi.dtype.kind == "c":
            return True
        matrix = form.factor if isinstance(form, NormForm) else form.gram if isinstance(form, SquareForm) else None
        return matrix is not None and matrix.dtype.kind == "c"

    def _solve(
        self,
        is_complex: bool,
        theta: np.ndarray,
        phi: np.ndarray,
        form: Form | None = None,
        finish: Finish | None = None,
        beta: np.ndarray = NONE,
    ) -> Answers:
        dtype = (SINGLE if self.single else DOUBLE)[is_complex]
        if not self.hermitian or (theta.dtype.kind == "c" and theta.imag.any()):
            return self._query(kernels.QR if self.tall else kernels.LU, dtype, theta, phi, form, None, finish, beta)
        made = self._query(kernels.LDL, dtype, theta, phi, form, None, finish, beta)
        if made.failed is None or not (indefinite := made.failed == 1).any():
            return made
        rows = np.flatnonzero(indefinite)
        some = beta[rows] if len(beta) else beta
        again = self._query(kernels.LU, dtype, theta[rows], phi[rows], form, None, finish, some)
        for to, array in zip(made[:6], again[:6], strict=True):
            to[rows] = array
        made.failed[rows] = 0 if again.failed is None else again.failed
        return made if made.failed.any() else made._replace(failed=None)

    def _query(
        self,
        kind: int,
        dtype: np.dtype,
        theta: np.ndarray,
        phi: np.ndarray,
        form: Form | None,
        given: np.ndarray | None,
        finish: Finish | None,
        beta: np.ndarray,
    ) -> Answers:
        key = (kind, dtype, id(form), id(finish))
        if key not in self._plans:
            # forms are kept, so that their ids stay theirs
            self._plans[key] = *self._plan(kind, dtype, form, finish), form, finish
        before, after, products = self._plans[key][:3]
        is_complex = dtype.kind == "c"
        real = (SINGLE if dtype in SINGLE else DOUBLE)[0]
        theta, phi = _real_view(theta, dtype, real), _real_view(phi, dtype, real)
        count, count_out = len(theta), 0 if finish is None else len(finish.norms)
        gamma = np.empty((count, self.size), dtype) if given is None else np.ascontiguousarray(given, dtype)
        outputs, bounds = np.empty((count, count_out), dtype), np.empty((count, count_out))
        value, floor, resolved, failed = (
            np.empty(count),
            np.empty(count),
            np.empty(count, bool),
            np.empty(count, np.int8),
        )
        flat, flat_outputs = gamma, outputs
        if is_complex:
            flat, flat_outputs = gamma.view(real).reshape(count, -1), outputs.view(real).reshape(count, -1)
        failures = kernels.query(
            *before, theta, phi, *after, beta, flat, value, floor, resolved, failed, flat_outputs, bounds
        )
        if products:
            kernels.interpolated(*products[:2], theta, phi, flat, *products[2:], value, floor, resolved)
        return Answers(gamma, value, floor, resolved, outputs, bounds, failed if failures else None)

    def _plan(
        self, kind: int, dtype: np.dtype, form: Form | None, finish: Finish | None
    ) -> tuple[tuple[Any, ...], ...]:
        """The arguments of the kernels that do not change from call to call."""
        real = (SINGLE if dtype in SINGLE else DOUBLE)[0]
        system = _NO_SYSTEM[real] if kind == kernels.GIVEN else self._system(kind == kernels.LDL, dtype)
        sizes = (self.operators.shape[0], self.rhs.shape[0], self.size)
        like = np.empty(0, dtype=dtype)
        mode, refine, packed = kernels.NOTHING, False, Residual(np.zeros(0, real), np.zeros((2, 0), np.int64), 0)
        weights, constants = np.zeros((2, 0), real), np.zeros(2)
        products: tuple[Any, ...] = ()
        if isinstance(form, NormForm):
            mode, refine = kernels.NORM, form.refined is not None
            packed = pack_factor(form.factor.astype(_precision(form.factor, dtype)), dtype.kind == "c")
            weights = np.stack([form.weights, form.weights if form.refined is None else form.refined])
            constants = np.array([form.relative, form.absolute])
        elif isinstance(form, SquareForm):
            mode = kernels.EXPANDED
            packed = pack_square(form.gram.astype(_precision(form.gram, dtype)), dtype.kind == "c")
            weights = np.stack([form.weights, form.weights])
            constants = np.array([form.factor, form.absolute])
        elif isinstance(form, ProductForm):
            parts = dtype.itemsize // real.itemsize
            products = (
                like,
                np.array([*sizes, parts * len(form.weights), len(form.squares)]),
                form.products.astype(np.int64),
                form.scales.astype(real),
                *(np.asarray(m, dtype=real).ravel(order="F") for m in (form.lower, form.upper)),
                form.squares.astype(real),
                form.errors.astype(real),
                form.weights.astype(real),
                np.array([form.deviation, form.absolute], dtype=real),
            )
        before = (kind, mode, refine, like, np.array([*sizes, packed.columns, system.entries]))
        after = (
            system.terms, system.sources, system.start, system.height, packed.factor, packed.first, weights.astype(real), constants,
            *(np.zeros(shape, real) for shape in ((0,), (0,), (0, 0), (0,))),
        )  # fmt: skip
        if finish is not None:
            functionals = finish.functionals.astype(_precision(finish.functionals, dtype)).ravel()
            after = (
                *after[:-4],
                finish.stability.astype(real),
                functionals,
                finish.magnitudes.astype(real),
                finish.norms.astype(real),
            )
        return before, after, products

    def _system(self, lower: bool, dtype: np.dtype) -> System:
        key = (lower, dtype)
        if key not in self._systems:
            operators, rhs = self.operators, self.rhs
            if lower:
                operators = (operators + operators.conj().transpose(0, 2, 1)) / 2
            # complex terms need complex arithmetic, real ones get by with half of it
            operators, rhs = (x.astype(_precision(x, dtype), copy=False) for x in (operators, rhs))
            self._systems[key] = pack_system(operators, rhs, lower)
        return self._systems[key]


def _nothing(real: np.dtype) -> System:
    none = np.zeros(0, real)
    return System(none, none, np.zeros(1, np.int64), np.zeros(1, np.int64), 0)


_NO_SYSTEM = {pair[0]: _nothing(pair[0]) for pair in (SINGLE, DOUBLE)}


def _hermitian(operators: np.ndarray) -> bool:
    """|a_ij - conj a_ji| <= 64 eps (d_i d_j)^{1/2} for all terms, d their diagonals' sizes: a scale for each unknown, as units differ."""
    diagonal = np.sqrt(np.abs(np.diagonal(operators, axis1=1, axis2=2)).sum(axis=0))
    skew = np.abs(operators - operators.conj().transpose(0, 2, 1))
    tolerance = HERMITIAN * float(np.finfo(operators.dtype).eps)
    return bool(np.all(skew <= tolerance * diagonal[:, None] * diagonal))


def _precision(array: np.ndarray, dtype: np.dtype) -> np.dtype:
    """`dtype`, but real for a real array."""
    return dtype if array.dtype.kind == "c" else dtype.type(0).real.dtype


def _real_view(array: np.ndarray, dtype: np.dtype, real: np.dtype) -> np.ndarray:
    """Rows of real numbers; of real and imaginary parts in turn if `dtype` is complex."""
    if dtype == real and array.dtype == real and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore"):  # beyond float32: the solution is not finite, which is reported
        return np.ascontiguousarray(array, dtype=dtype).view(real)
