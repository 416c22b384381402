"""Outputs with a dual problem: the value is corrected, and its bound is a product of two residuals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Self, cast

import numpy as np

from lowrank.arrays import beside, conj, mixed_product, namespace, numpy_dtype
from rbm.arithmetic.precision import ROUND_OFF, row_norms, underflow_of_sums, widened
from rbm.estimators import Orthonormal
from rbm.online.chunks import tiles
from rbm.online.forms import SHARP
from rbm.online.reference import compensated_product, residual_coefficients
from rbm.parameters.coefficients import Coefficients
from rbm.reduced.arrays import ReducedArrays
from rbm.reduced.online_query import Query
from rbm.reduced.outputs import AtPoints, ReducedLinear, above_underflow
from rbm.reduced.sensitivities import SlopeResidual
from rbm.reduction.projected_system import Reduction
from rbm.stability.bound import CoefficientBound
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored

__all__ = ["ReducedPrimalDual", "reduce_primal_dual"]


@register("output")
@dataclass(frozen=True, kw_only=True)
class ReducedPrimalDual(ReducedLinear):
    """A linear output s = w^H u, w = conj l, with the reduced solution of its dual problem A(mu)^H z = w(mu).

    With z_N = Z* gamma*, r = f - A u_N and r* = w - A^H z_N, the corrected output and its error are

        s_N = w^H u_N + z_N^H r,    s - s_N = (z - z_N)^H r = (r*)^H A^{-1} r,
        |s - s_N| <= ||r*||_{P'} ||r||_{P'} / beta + rounding,

    for every gamma and gamma*, whatever projections they come from. A(mu) need not be Hermitian or coercive.

    The correction is formed in the orthonormal coordinates of the residual, r = D R c, as (gamma*^H B) (R c) with
    B = Z*^H D (:class:`rbm.reduction.projected_system.ResidualRange`): what cancels does so in R c, as for E_onb, and
    the rest is relative to the small result. rounding is, all of it proved,

        of z_N^H r      ||z_N||_P sum_j w_j |c_j| + (u (N* + k + 4) ||B|| + ||dB||) ||gamma*|| ||R c||, w the floor
                        weights of E_onb and ||dB|| the error of B; with compensated sums where that lowers the bound
        of w^H u_N      that of a :class:`rbm.reduced.outputs.ReducedLinear`, and u |s_N|

    The bound is the smaller of this and ||l||_{P'} bound + |z_N^H r| + rounding, which is better where the dual basis
    is poor. Everything is held and summed in double precision, also in a model in single precision: the value is right
    for its rounded gamma, too.

    Cost per point: a query of a model with N* basis vectors, and 2 m k flops for R c.
    """

    kind: ClassVar[str] = "primal-dual"
    stored: ClassVar[Mapping[str, Stored]] = {
        **ReducedLinear.stored,
        "factor": Stored("bm", "c", filled=True),
        "factor_norms": Stored("m", least=0),
        "factor_defects": Stored("m", least=0),
        "orthogonality": Stored("", least=0),
        "correction": Stored("db", "c"),
        "correction_error": Stored("", least=0),
        "dual_operators": Stored("trd", "c"),
        "dual_rhs": Stored("qr", "c"),
        "dual_factor": Stored("ce", "c", filled=True),
        "dual_norms": Stored("e", least=0),
        "dual_defects": Stored("e", least=0),
        "dual_orthogonality": Stored("", least=0),
        "dual_orthonormality": Stored("", least=0),
    }
    families: ClassVar[Mapping[str, str]] = {
        **ReducedLinear.families,
        "operator_coefficients": "t",
        "rhs_coefficients": "f",
    }

    operator_coefficients: Coefficients  #: theta
    rhs_coefficients: Coefficients  #: phi
    factor: np.ndarray  #: R (k, m) of the residual r
    factor_norms: np.ndarray  #: (m,) norms of W_j, as in :class:`rbm.estimators.Orthonormal`
    factor_defects: np.ndarray  #: (m,)
    orthogonality: float  #: ||D^H P^{-1} D - I||
    correction: np.ndarray  #: B = Z*^H D (N*, k)
    correction_error: float  #: Frobenius norm of what B may be off by
    dual_operators: np.ndarray  #: Z*^H A_q^H Z* (Qa, N*, N*), or the tall ones of least squares
    dual_rhs: np.ndarray  #: Z*^H conj(l_q) (Ql, N*)
    dual_factor: np.ndarray  #: R* (k*, m*) of the dual residual
    dual_norms: np.ndarray  #: (m*,)
    dual_defects: np.ndarray  #: (m*,)
    dual_orthogonality: float
    dual_orthonormality: float  #: eta* >= ||Z*^H P Z* - I||

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make the output from :meth:`arrays`. Raises ValueError for entries that do not fit each other."""
        made = super().from_arrays(arrays)
        terms, (rows, columns) = len(made.operator_coefficients), made.dual_operators.shape[1:]
        of_primal = len(made.rhs_coefficients) + terms * made.vectors.shape[1]
        of_dual = len(made.coefficients) + terms * columns
        if made.factor.shape[1] != of_primal or made.dual_factor.shape[1] != of_dual or rows < columns:
            raise ValueError("the arrays of its output of the kind 'primal-dual' do not fit each other")
        return made

    def simple(self) -> None:
        """Return None: the compiled kernels do not solve the dual problem together with the primal one."""

    def value(self, mus: Any, gamma: Any) -> Any:
        """Return the corrected values (M,)."""
        return self.certified(self._at(mus, gamma))[0]

    def bound(self, mus: Any, gamma: Any, error: Any) -> Any:
        """Return bounds (M,) about the corrected values."""
        return self.certified(self._at(mus, gamma)._replace(error=error))[1]

    def certified(self, at: AtPoints) -> tuple[Any, Any]:
        """Return corrected values and bounds (M,)."""
        gamma, psi = widened(at.gamma), self.coefficients(at.mus)
        xp = namespace(gamma)
        dual, norm = self._query.residual(conj(at.theta), conj(psi), self._dual_state, mus=at.mus)
        assert norm is not None
        correction, off = self._correction(at._replace(gamma=gamma), widened(dual), norm.bound)
        value = super().value(at.mus, gamma) + correction
        if at.error is None:
            return value, None
        plain = super().bound(at.mus, gamma, at.error)
        sums = xp.sum((xp.abs(psi) @ beside(self._sizes, gamma)) * xp.abs(gamma), axis=1)
        off = off + 4 * ROUND_OFF * xp.abs(value) + self._off(at.mus)
        product = norm.bound * at.error + sums
        other = plain + xp.abs(correction)
        bound = (1 + 16 * ROUND_OFF) * (xp.where(product < other, product, other) + off)
        return value, above_underflow(bound, plain, at.error)

    def _at(self, mus: Any, gamma: Any) -> AtPoints:
        return AtPoints(mus, self.operator_coefficients(mus), self.rhs_coefficients(mus), gamma)

    def _correction(self, at: AtPoints, dual: Any, dual_norm: Any) -> tuple[Any, Any]:
        """Return z_N^H r (M,) and what it may be off by, tile by tile."""
        entries = 6 * (len(self.factor_norms) + self.factor.shape[0])
        rows_of_tiles = tiles(at.gamma.shape[0], 16 * entries, at.gamma)
        made = [
            self._of_tile(at.theta[r, ...], at.phi[r, ...], at.gamma[r, ...], dual[r, ...], dual_norm[r])
            for r in rows_of_tiles
        ]
        if len(made) == 1:
            return made[0]
        xp = namespace(dual)
        return xp.concat([m[0] for m in made]), xp.concat([m[1] for m in made])

    def _of_tile(self, theta: Any, phi: Any, gamma: Any, dual: Any, dual_norm: Any) -> tuple[Any, Any]:
        state, factor = self._state, beside(self.factor, gamma)
        c = residual_coefficients(theta, phi, gamma)
        xp, dtype = namespace(c), numpy_dtype(c)
        size = (1 + float(self.dual_orthonormality)) ** 0.5 * (1 + float(self.orthogonality)) * row_norms(dual)
        y = mixed_product(c, factor.T)
        off = size * (xp.abs(c) @ beside(state.floor_weights(dtype), c))
        lower = size * (xp.abs(c) @ beside(state.sharp_weights(dtype), c))
        again = dual_norm * row_norms(y) < SHARP * (off - lower)
        if bool(xp.any(again)):
            sharp = compensated_product(factor, theta[again], phi[again], gamma[again])
            known = xp.all(xp.isfinite(sharp), axis=1)  # the split of numbers above 1e300 overflows
            y[again] = xp.where(known[:, None], sharp, y[again])
            off[again] = xp.where(known, lower[again], off[again])
        off = xp.where(off > 0, off + size * underflow_of_sums(state.norms), off)
        return self._contracted(dual, y, off)

    def _contracted(self, dual: Any, y: Any, off: Any) -> tuple[Any, Any]:
        """Return gamma*^H B y (M,) and `off` with the rounding of this."""
        xp, (rows, columns) = namespace(y), self.correction.shape
        weights = mixed_product(conj(dual), beside(self.correction, dual))
        unit = 3 * (rows + columns + 8) * ROUND_OFF
        error = float(self.correction_error) + unit * self._correction_size
        return xp.sum(weights * y, axis=1), (1 + unit) * (off + error * row_norms(dual) * row_norms(y))

    @cached_property
    def _correction_size(self) -> float:
        """The Frobenius norm of B."""
        xp = namespace(self.correction)
        return float(xp.linalg.vector_norm(self.correction))

    @cached_property
    def _state(self) -> Orthonormal:
        """R of the residual, with its floor."""
        return Orthonormal(self.factor, self.factor_norms, self.factor_defects, float(self.orthogonality))

    @cached_property
    def _dual_state(self) -> Orthonormal:
        """E_onb of the dual residual."""
        return Orthonormal(self.dual_factor, self.dual_norms, self.dual_defects, float(self.dual_orthogonality))

    @cached_property
    def _slope_residuals(self) -> tuple[SlopeResidual, SlopeResidual]:
        """The residuals of derivatives, of the primal and of the dual solution."""
        terms = len(self.operator_coefficients)
        return (
            SlopeResidual(self._state, (terms, len(self.rhs_coefficients))),
            SlopeResidual(self._dual_state, (terms, len(self.coefficients))),
        )

    @cached_property
    def _query(self) -> Query:
        """The online side of the dual problem."""
        parameters, tall = self.operator_coefficients.parameters, self.dual_operators.shape[1]
        arrays = ReducedArrays(
            parameters=parameters,
            operator_coefficients=self.operator_coefficients,
            rhs_coefficients=self.coefficients,
            stability=CoefficientBound(Coefficients([1.0], parameters)),  # beta is the primal problem's
            operators=self.dual_operators,
            rhs=self.dual_rhs,
            outputs={},
            estimators={Orthonormal.kind: self._dual_state},
            projection="galerkin" if tall == self.dual_operators.shape[2] else "least-squares",
        )
        return Query(arrays)

    def placed(self, move: Callable[[Any], Any]) -> ReducedPrimalDual:
        """Return the output with its matrices where `move` puts them."""
        names = ("factor", "correction", "dual_operators", "dual_rhs", "dual_factor")
        return replace(self, **{name: move(getattr(self, name)) for name in names})

    def truncate(self, size: int) -> ReducedPrimalDual:
        """Return the output for the first `size` basis vectors; the dual basis stays as it is."""
        state = self._state.truncate(size, len(self.rhs_coefficients) + size * len(self.operator_coefficients))
        return replace(
            cast(ReducedPrimalDual, super().truncate(size)),
            factor=state.factor,
            factor_norms=state.norms,
            factor_defects=state.defects,
            correction=self.correction[:, : state.factor.shape[0]],
        )


def reduce_primal_dual(reduction: Reduction, dual: ReducedArrays, linear: ReducedLinear) -> ReducedPrimalDual:
    """Return the output with its dual problem.

    reduction : of the model; dual : the reduced model of :func:`rbm.reduction.adjoint.adjoint_model`, with its basis
    and the estimator "orthonormal"; linear : the output without it

    B = Z*^H D is formed in extended precision, and its error is bounded. Cost: 6 n N* k flops.
    """
    model, basis, span, state = reduction.model, dual.basis, reduction.residual_range, dual.state(Orthonormal.kind)
    assert basis is not None
    assert isinstance(state, Orthonormal)
    correction, correction_error = span.seen_by(basis)
    return ReducedPrimalDual(
        **{f.name: getattr(linear, f.name) for f in fields(ReducedLinear)},
        operator_coefficients=model.operator_coefficients,
        rhs_coefficients=model.rhs_coefficients,
        factor=span.factor,
        factor_norms=span.norms,
        factor_defects=span.defects,
        orthogonality=span.orthogonality,
        correction=correction,
        correction_error=correction_error,
        dual_operators=dual.operators,
        dual_rhs=dual.rhs,
        dual_factor=state.factor,
        dual_norms=state.norms,
        dual_defects=state.defects,
        dual_orthogonality=state.orthogonality,
        dual_orthonormality=model.inner_product.orthonormality(basis),
    )
