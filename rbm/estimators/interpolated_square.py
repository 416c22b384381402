"""The base class of E3 and E4: the squared residual norm is a combination of its values at selected parameters."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from lowrank.arrays import beside, is_complex, namespace, numpy_dtype
from rbm.arithmetic.precision import converted, is_single, underflow_of_sums, widened
from rbm.errors import EstimatorUnusable
from rbm.estimate import RESOLVED, Estimate
from rbm.estimators.base import Estimator, rounding_constant, underflow
from rbm.estimators.training import TrainingProducts
from rbm.estimators.validation import Validation, validation_points
from rbm.estimators.valleys import valley_points
from rbm.online.reference import residual_coefficients, where_present

__all__ = ["InterpolatedSquare"]

#: Safety factor on measured deviations of the norm; for deviations of the square it is squared.
SAFETY = 2.0
#: Number of training parameters, among those not selected, that are checked beside the validation points.
OTHERS = 256
#: Number of validation points at which E1 is evaluated; E_onb is evaluated at all of them.
EXACT = 64
#: Least number of training parameters left over: with fewer, the training set may have been too small to select from.
SPARE = 8
#: Number of validation points that are checked first, before any full-order work, for a training set clearly too small.
FIRST = 32
#: The epsilon from which on it clearly is: the norms by E_onb from which epsilon comes are right to far less.
CLEAR = 1e-6
#: How many numbers of X at validation points are held at a time (64 MiB).
PIECE = 2**23
#: Where the residual's terms are smaller than this part of their largest, the square may have the rounding errors of
#: the largest.
SMALL = 1e-3


@dataclass(frozen=True)
class InterpolatedSquare(Estimator):
    """The residual norm as a combination of its values at rho selected parameters mu_r.

        value = (sum_r lambda_r(mu) V_r)^{1/2},    V_r = ||r(mu_r)||^2_{P^-1}

    A subclass says how lambda is found. X(mu) was interpolated for reduced solutions gamma(mu): `evaluate` must be
    given those. For other coefficients :meth:`rbm.ReducedModel.estimate` adds the dual norm of the difference of the
    residuals, by :meth:`distance`.

    The square is linear in X(mu), and so is its error where X(mu) is no combination of the X(mu_r). This error is
    measured, not proved. The value v is compared with the exact norm e at three sets of points: 12 000 or more that
    fill the box to its sides and corners, never copies of selected ones (:mod:`rbm.estimators.validation`); up to 256
    training parameters that were not selected; and points downhill to where the residual nearly vanishes
    (:mod:`rbm.estimators.valleys`). e comes from E_onb at all of them and from E1 at the 64 or so that decide. With
    s(mu) = sum_j ||W_j|| |c_j|, the size of the residual's terms, the floor gets epsilon s(mu), where epsilon is the
    maximum over the points of

        (2 (2 |v - e| - allowed rounding of the norm) (|v| + e) - allowed rounding of the square)^{1/2} / s.

    This is no less than twice the largest deviation seen. It is 0 where rounding explains all of the deviation, as it
    does for training sets that fill the space. Rounding errors of the square are relative to its values V_r, though,
    and s(mu) may vanish somewhere, with a right-hand side that does. Therefore a second way is tried: epsilon is that
    of the points with s(mu) >= 1e-3 max s, and what is missing at the others is a constant tau of the floor. It is
    taken where more estimates are resolved that way.

    The estimator is refused where epsilon > 1e-6 with fewer than 8 training parameters left over (repeated rows count
    once), and where it leaves no estimate resolved though the training set by itself would. Where 32 validation points
    say so clearly, it is refused before anything of full order is computed. Between the validation points E3 and E4
    estimate; E_onb certifies. Cost: validation takes 8 rho bytes per point beside the training products, 100 MiB for
    rho = 1000, and about the time of the selection.

    In single precision the matrices that give lambda are held in float32 and used in double precision, because products
    of c span twice the digits of c. They give lambda' = (I + E) lambda, where E is known from the matrices before and
    after. The square is then off by at most e @ |lambda'|, e_r = |V^T E (I + E)^-1|_r, which goes into the floor. From
    then on u is that of float32, as gamma carries its rounding, and epsilon grows by what a single-precision model does
    to the reduced solutions, measured by :meth:`recalibrated`.
    """

    #: the matrices that are moved to a device, and converted to single precision
    matrices: ClassVar[tuple[str, ...]]
    own_solution: ClassVar[bool] = True
    inside_only: ClassVar[bool] = True

    upper: np.ndarray  #: triangular factor (rho, rho) of the system for lambda; its type is that of the state
    weights: np.ndarray  #: (m,) equilibration of c
    squares: np.ndarray  #: V (rho,)
    parameters: np.ndarray  #: selected mu_r (rho, p)
    norms: np.ndarray  #: ||W_j||_{P^-1} (m,)
    deviation: float  #: tau, measured; 0 wherever epsilon s(mu) serves
    moved: np.ndarray = field(kw_only=True, default_factory=lambda: np.zeros(0))  #: e (rho,), empty if never converted
    mismatch: float = field(kw_only=True, default=0.0)  #: epsilon, measured

    @classmethod
    def measured(cls, training: TrainingProducts, selected: np.ndarray, **state: Any) -> Self:
        """Make the state: V comes from E1 at the `selected` (s,) training parameters, epsilon from validation points.

        Raises
        ------
        EstimatorUnusable
            the state deviates at the validation points by more than rounding explains, and too few training parameters
            are left over, or no estimate there is resolved.
        """
        parameters, reduction = training.parameters[selected], training.reduction
        state |= {"weights": training.weights, "parameters": parameters, "norms": reduction.residual_range.norms}
        made = cls(squares=np.zeros(len(selected)), deviation=0.0, **state)
        others = training.parameters[_others(len(training.parameters), selected)]
        points = validation_points(reduction.model.parameters, parameters, others)
        if made._short(training) and len(points):
            made._refuse_early(training, points)
        gamma, basis = training.gamma[selected], reduction.basis
        exact = reduction.model.residual_norm
        residual = exact(parameters, gamma, basis, extrapolate=True) if len(selected) else np.zeros(0)
        made = replace(made, squares=residual**2)
        if not len(points):  # the selected points are the whole space
            return made
        return made._validated(training, points, others)

    def _short(self, training: TrainingProducts) -> bool:
        """Return whether so few training parameters are left over that the training set may be too small."""
        rank = len(self.squares)
        return len(training.parameters) - rank < SPARE and rank < len(training.products.first)

    def _refuse_early(self, training: TrainingProducts, points: np.ndarray) -> None:
        """Raise EstimatorUnusable if a few points, with norms by E_onb only, show a training set that is too small."""
        selected = Validation.at(training.reduction, self.parameters)
        if len(selected.norm) < len(self.squares):
            return
        few = points[np.unique(np.linspace(0, len(points) - 1, FIRST).astype(int))]
        made = replace(self, squares=selected.norm**2)
        known = made._seen(Validation.at(training.reduction, few))
        if np.any(made.deviations(known) > CLEAR):
            raise made._too_few(training, known)

    def _seen(self, known: Validation) -> Validation:
        """Return the points with lambda (rho, K), computed for so many at a time that X stays small."""
        piece = max(1, PIECE // max(1, len(self.weights) ** 2))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            parts = [self.combination(known.c[i : i + piece]) for i in range(0, len(known.c), piece)]
        return known._replace(combination=np.concatenate(parts, axis=1) if parts else np.zeros((len(self.squares), 0)))

    def _known(self, training: TrainingProducts, points: np.ndarray, valleys: bool = True) -> Validation:
        """Return norms by E_onb, and by E1 at EXACT points: those of largest deviations and of smallest norms."""
        known = Validation.at(training.reduction, points)
        if valleys:
            low = Validation.at(training.reduction, valley_points(training.reduction, known))
            known = known.joined(low)
        known = self._seen(known)
        order = np.argsort(-self.deviations(known)), np.argsort(known.norm)
        return known.sharpened(training.reduction, np.unique(np.concatenate([o[: EXACT // 2] for o in order])))

    def _validated(self, training: TrainingProducts, points: np.ndarray, others: np.ndarray) -> Self:
        """Return the state with epsilon and tau from points (K, p), or raise; `others` are training points."""
        known = self._known(training, points)
        if not len(known.norm):
            raise EstimatorUnusable(
                f"{self._reason(training)}: the model has an answer at none of the validation points in "
                f"{training.reduction.model.parameters}, so that its deviation was seen nowhere; narrow the ranges of "
                "the parameters, or use the estimator 'orthonormal'"
            )
        made = self._widened(known)
        if made is self:
            return made
        if self._short(training) and np.any(self.deviations(known) > CLEAR):
            raise self._too_few(training, known)
        if not made._resolved(known) and self._holds(self._known(training, others, valleys=False), known):
            raise EstimatorUnusable(
                f"{self._reason(training)}: the training set ({len(training.parameters)} different parameters) "
                f"does not represent the parameter space: {self._off(known)}, and no estimate would be resolved. Give "
                "a training set that fills the space, narrow the ranges of the parameters, or use the estimator "
                "'orthonormal'"
            )
        return made

    def _reason(self, training: TrainingProducts) -> str:
        return f"{self.alias} with N = {training.reduction.size}"

    def _too_few(self, training: TrainingProducts, known: Validation) -> EstimatorUnusable:
        """Return the error about a training set that is too small; its message says how many points are enough."""
        count, rank, products = len(training.parameters), len(self.squares), len(training.products.first)
        need = training.rank(known)
        advice = (
            f"of at least {max(need, rank + 1) + SPARE} different parameters that fill the parameter space"
            if need is not None
            else f"of more different parameters that fill the parameter space; at most {products + SPARE} are enough"
        )
        return EstimatorUnusable(
            f"{self._reason(training)}: {rank} of {count} training parameters were selected, and they are too few: "
            f"{self._off(known)}. Give a larger training set, {advice} (this training set has {count} in "
            f"{training.rows} rows), or use the estimator 'orthonormal'"
        )

    def _widened(self, known: Validation) -> Self:
        """Return the state whose floor covers the deviations: with epsilon, or with tau, too, if that resolves more."""
        found = self.deviations(known)
        if not found.max(initial=0.0) > 0:
            return self
        alone = replace(self, mismatch=self.mismatch + found.max())
        sizes = np.abs(known.c) @ self.norms
        large = sizes >= SMALL * sizes.max()
        epsilon = found[large].max(initial=0.0)
        tau = np.where(found > epsilon, (found - epsilon) * sizes, 0.0).max()
        both = replace(self, mismatch=self.mismatch + epsilon, deviation=self.deviation + float(tau))
        return both if both._resolved(known) > alone._resolved(known) else alone

    def _holds(self, inside: Validation, known: Validation) -> bool:
        """Return whether the training set alone resolves estimates; if not, a tolerance or a system is the cause."""
        return self._widened(inside)._resolved(known) > 0

    def _resolved(self, known: Validation) -> int:
        """Return the number of estimates at the validation points that are resolved."""
        of_square, of_norm = self._rounding(known.c, known.combination)
        return int(np.sum(known.norm >= RESOLVED * (np.sqrt(of_square) + of_norm)))

    def _off(self, known: Validation) -> str:
        """Say how far the values are off at validation points."""
        off = np.abs(_signed_root(self.squares @ known.combination) - known.norm)
        worst = int(np.argmax(self.deviations(known)))
        return (
            f"at {len(off)} other points of the parameter space its residual norms are off by up to {off[worst]:.1e}, "
            f"where the exact one is {known.norm[worst]:.1e}"
        )

    def deviations(self, known: Validation) -> np.ndarray:
        """Return the least epsilon (K,) with which the floor at each point is SAFETY times the deviation, or larger.

        The deviation is that from the exact norm. Epsilon is found from the square, v^2 - e^2 = (v - e)(v + e), of
        which rounding explains a part. The deviation of the square is linear in X(mu) and hence about as large between
        the points as at them, while that of the norm is larger by orders wherever the norm is small. Zero where values
        are not finite: queries are refused there.
        """
        c, norm, combination = known.c, known.norm, known.combination
        if not len(c):
            return np.zeros(0)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value, (of_square, of_norm) = _signed_root(self.squares @ combination), self._rounding(c, combination)
            off = SAFETY * np.abs(value - norm) - of_norm
            left = SAFETY * np.where(off > 0, off, 0.0) * (np.abs(value) + norm) - of_square
            found = np.sqrt(np.where(left > 0, left, 0.0)) / (np.abs(c) @ self.norms)
        return np.where(np.isfinite(found), found, 0.0)

    def _rounding(self, c: Any, combination: Any) -> tuple[Any, Any]:
        """Return the rounding that the floor allows for in the square, and that in the norm; both (M,)."""
        xp = namespace(c)
        dtype = np.result_type(numpy_dtype(self.upper), np.complex64 if is_complex(c) else np.float32)
        of_square = float(np.finfo(dtype).eps / 2) * self.rounding(combination)
        if len(self.moved):
            of_square = of_square + beside(self.moved, c) @ xp.abs(combination)
        sizes = xp.abs(c) @ beside(self.norms, c)
        return of_square, (rounding_constant(c.shape[1], dtype) + float(self.mismatch)) * sizes + float(self.deviation)

    @abstractmethod
    def products(self, c: Any) -> Any:
        """Return the products X (sigma, M) that are used, of residual coefficients c (M, m)."""

    @abstractmethod
    def known(self) -> np.ndarray:
        """Return X at the selected parameters (sigma, rho)."""

    @abstractmethod
    def solve(self, x: Any) -> Any:
        """Return lambda (rho, M) for products x (sigma, M)."""

    def combination(self, c: Any) -> Any:
        """Return lambda (rho, M) for residual coefficients c (M, m)."""
        return self.solve(self.products(c))

    @abstractmethod
    def rounding(self, combination: Any) -> Any:
        """Return the rounding error of the square (M,), in units of u."""

    @property
    def underflow(self) -> float:
        """The error that underflow may add to the norm."""
        return underflow(len(self.norms)) + underflow_of_sums(self.norms)

    def distance(self, theta: Any, gamma: Any, other: Any) -> Any:
        """Return sum_j ||W_j|| |c_j - c'_j| (M,), which bounds the dual norm of the difference of two residuals."""
        none = beside(np.zeros((theta.shape[0], len(self.norms) - theta.shape[1] * gamma.shape[1])), gamma)
        c = residual_coefficients(theta, none, widened(gamma) - widened(other))
        return namespace(c).abs(c) @ beside(self.norms, c)

    def evaluate(self, theta: Any, phi: Any, gamma: Any) -> Estimate:
        """Return residual norms (M,) of reduced solutions."""
        xp = namespace(theta, phi, gamma)
        c = residual_coefficients(theta, phi, widened(gamma))
        combination = self.combination(c)
        of_square, of_norm = self._rounding(c, combination)
        constant = where_present(theta, phi, gamma, self.norms, xp.full_like(of_norm, self.underflow))
        return Estimate.from_square(beside(self.squares, c) @ combination, xp.sqrt(of_square) + of_norm + constant)

    def astype(self, dtype: npt.DTypeLike) -> Self:
        """Return the state in another precision, its effect in the floor; EstimatorUnusable if |E|_1 > 1/2."""
        if is_single(dtype) == is_single(self.upper.dtype):
            return self
        name = f"estimator {self.method!r}"
        arrays: dict[str, Any] = {key: converted(name, getattr(self, key), dtype) for key in self.matrices}
        made = replace(self, **arrays)
        if not is_single(dtype):  # widened: no entry changes
            return made
        ratio = made.solve(self.known())  # I + E
        size = np.abs(ratio - np.eye(len(ratio))).sum(axis=0).max(initial=0.0)
        if not size <= 0.5:
            raise EstimatorUnusable(
                f"{name}: its {len(ratio)} x {len(ratio)} system is too ill-conditioned for float32, which moves its "
                f"solution by {size:.1e} of its size; keep the model in float64, or use the estimator 'orthonormal'"
            )
        moved = np.abs(np.linalg.solve(ratio.T, (ratio - np.eye(len(ratio))).T @ self.squares))
        return replace(made, moved=moved if not len(self.moved) else self.moved + moved)

    def recalibrated(
        self, before: InterpolatedSquare, theta: np.ndarray, phi: np.ndarray, gamma: np.ndarray, earlier: np.ndarray
    ) -> Self:
        """Return the state with a larger epsilon, by what the conversion did to the reduced solutions.

        Epsilon grows by twice the largest of (|v(gamma) - v_before(earlier)| + ||W (c - c_before)||) / s.
        gamma, earlier : (M, N) reduced solutions of the converted model and of the one `before` it, at sample
            points
        """
        c, c_before = (residual_coefficients(theta, phi, widened(g)) for g in (gamma, earlier))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            roots = (_signed_root(o.squares @ o.combination(x)) for o, x in ((self, c), (before, c_before)))
            off = np.abs(next(roots) - next(roots)) + np.abs(c - c_before) @ self.norms
            found = off / (np.abs(c_before) @ self.norms)
        return replace(self, mismatch=self.mismatch + SAFETY * float(found[np.isfinite(found)].max(initial=0.0)))


def _signed_root(square: np.ndarray) -> np.ndarray:
    """Return sign(x) |x|^{1/2}: a negative square is then off by the whole exact norm plus its own size."""
    return np.sign(square) * np.sqrt(np.abs(square))


def _others(count: int, selected: np.ndarray) -> np.ndarray:
    """Return up to OTHERS training indices that were not selected, evenly spread."""
    rest = np.setdiff1d(np.arange(count), selected)
    return rest[np.unique(np.linspace(0, len(rest) - 1, min(OTHERS, len(rest))).astype(int))] if len(rest) else rest
