"""The way that one parameter takes through the spectrum of a Hermitian pencil: which eigenvalue makes A(mu) singular.

A(mu) = alpha(mu) P + kappa(mu) B + E(mu) with B Hermitian and ||E(mu)|| <= sum_q |theta_q| errors_q in the norms of P,
as :class:`rbm.stability.BoundPencil` keeps it. A(mu) is singular where t(mu) = -alpha / kappa meets an eigenvalue of
B v = t P v, and every t stands for a lambda of K v = lambda M v: t = 1 / (p lambda + q), or t = lambda / q if P = q M.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError, ParameterError, StabilityError
from rbm.full_order import FullOrderModel
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.space import ParameterSpace
from rbm.reduced.arrays import ReducedArrays
from rbm.stability.pencil import BoundPencil
from rbm.stability.pencil_terms import PencilTerms

__all__ = ["PencilPath", "is_damped", "path_of", "points_of_line"]

#: Points at which t(mu) is looked at, to see that it goes one way only.
LOOKED = 4097
#: A ratio -a / b whose imaginary part is a larger share than this is damped.
IMAGINARY = 1e-12
#: Halvings of an interval of the parameter; the last ones change nothing.
HALVINGS = 64


@dataclass(frozen=True)
class PencilPath:
    """t(mu) over a range of the parameter, and the pencil it belongs to."""

    alphas: np.ndarray  #: (Qa,) A_q = alpha_q P + kappa_q B up to errors_q
    kappas: np.ndarray  #: (Qa,)
    errors: np.ndarray  #: (Qa,)
    matrix: np.ndarray  #: (Qa,) weights of the terms that make B
    product: np.ndarray  #: (Qa,) weights of the terms that make P, up to `errors`
    p: float  #: P = p K + q M
    q: float
    coefficients: Coefficients
    space: ParameterSpace
    range: tuple[float, float]
    damped: bool = False

    def at(self, mus: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return t (M,), what it may be off by (M,), and the imaginary share of -b / a (M,), at points (M,).

        Off by: the sums of alpha and kappa, and E(mu), over |kappa|. For `damped` t is that of the real part of
        lambda(mu) = -b / a.
        """
        theta = self.coefficients(np.asarray(mus, dtype=float)[:, None])
        alpha, kappa = theta @ self.alphas, theta @ self.kappas
        with np.errstate(divide="ignore", invalid="ignore"):
            z = -alpha / kappa
            share = np.abs(np.imag(z)) / np.abs(z)
            t, growth = np.real(z), np.ones(len(z))
            if self.damped and self.p:
                t = 1 / np.real(1 / z)
                growth = np.maximum((t / np.abs(z)) ** 2, 1.0)
            units = 16 + 2 * len(self.errors)
            off = np.abs(theta) @ (self.errors + units * ROUND_OFF * np.abs(self.alphas))
            off = off + units * ROUND_OFF * (np.abs(theta) @ np.abs(self.kappas)) * np.abs(z)
            off = growth * off / np.abs(kappa)
            if not self.damped:
                off = off + np.abs(np.imag(z))
        return t, off, np.where(np.abs(z) > 0, share, 0.0)

    def checked(self) -> PencilPath:
        """Return the path, `damped` only if it is; ModelError where that is refused, without end, or turns back."""
        low, high = self.range
        mus = self.space.sample(LOOKED, method="grid")[:, 0]
        mus = np.unique(np.concatenate([[low, high], mus[(mus > low) & (mus < high)], np.linspace(low, high, LOOKED)]))
        t, off, share = self.at(mus)
        name = self.space.names[0]
        if not self.damped and np.any(share > IMAGINARY):
            worst = int(np.nanargmax(share))
            raise ModelError(
                f"A({name}) is damped: at {name} = {mus[worst]:g} the ratio -b / a of A = a K + b M has an imaginary "
                f"part, {share[worst]:.1e} of it, so that no real {name} makes A singular and its poles are complex; "
                "damped=True encloses the resonances, where the real part of -b / a is an eigenvalue of K v = lambda M "
                "v"
            )
        if not (np.all(np.isfinite(t)) and np.all(np.isfinite(off))):
            at = mus[~(np.isfinite(t) & np.isfinite(off))][0]
            raise ModelError(
                f"A({name}) is a multiple of the product at {name} = {at:g}: the path through the spectrum has no end "
                "there; take a range without it"
            )
        way = np.sign(t[-1] - t[0]) if abs(t[-1] - t[0]) > off[-1] + off[0] else 0.0
        turns = way * np.diff(t) < -(off[1:] + off[:-1])  # by more than rounding, where points are neighbours
        if not way or np.any(turns):
            turn = mus[1:][turns] if way else mus[:1]
            raise ModelError(
                f"the coefficients go through the spectrum forwards and backwards between {name} = {low:g} and "
                f"{high:g} (near {turn[0]:g}); take ranges on which -b / a rises or falls"
            )
        return self if np.any(share > IMAGINARY) else replace(self, damped=False)

    @property
    def ends(self) -> tuple[float, float]:
        """The interval of t that the range certainly covers, lower end first."""
        return self._ends(-1.0)

    @property
    def outer_ends(self) -> tuple[float, float]:
        """An interval of t that certainly covers the range."""
        return self._ends(1.0)

    def _ends(self, outwards: float) -> tuple[float, float]:
        t, off, _ = self.at(np.array(self.range))
        a, b = int(np.argmin(t)), int(np.argmax(t))
        return float(t[a] - outwards * off[a]), float(t[b] + outwards * off[b])

    def parameters(self, intervals: np.ndarray) -> np.ndarray:
        """Return parameter intervals (k, 2) of intervals of t (k, 2) inside `ends`.

        t(low) is below, and t(high) above the interval of t, or the other way round, by more than they may be off: so
        every eigenvalue in it is met between low and high, as coefficients are continuous.
        """
        t, _, _ = self.at(np.array(self.range))
        rising = bool(t[1] > t[0])
        first, last = (intervals[:, 0], intervals[:, 1]) if rising else (intervals[:, 1], intervals[:, 0])
        sign = 1.0 if rising else -1.0

        def before(mus: np.ndarray) -> np.ndarray:
            t, off, _ = self.at(mus)
            return sign * (first - t) > off

        def beyond(mus: np.ndarray) -> np.ndarray:
            t, off, _ = self.at(mus)
            return sign * (t - last) > off

        count = len(intervals)
        low, far = np.full(count, self.range[0]), np.full(count, self.range[1])
        high, near = far.copy(), low.copy()
        for _ in range(HALVINGS):
            middle = (low + far) / 2
            yes = before(middle)
            low, far = np.where(yes, middle, low), np.where(yes, far, middle)
            middle = (near + high) / 2
            yes = beyond(middle)
            high, near = np.where(yes, middle, high), np.where(yes, near, middle)
        return np.stack([low, high], axis=1)

    def eigenvalues(self, intervals: np.ndarray) -> np.ndarray:
        """Return intervals of lambda (k, 2) of intervals of t (k, 2), rounded outwards; infinite where t may be 0."""
        if not self.p:
            made = np.sort(intervals * self.q, axis=1)
            return made + np.array([-8.0, 8.0]) * ROUND_OFF * np.abs(made)
        unknown = (intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)
        inverse = 1 / np.where(unknown[:, None], 1.0, intervals)
        made = (inverse - self.q) / self.p
        size = np.abs(inverse / self.p) + abs(self.q / self.p)
        order = np.argsort(made, axis=1)
        made, size = np.take_along_axis(made, order, 1), np.take_along_axis(size, order, 1)
        made = made + np.array([-8.0, 8.0]) * ROUND_OFF * size
        return np.where(unknown[:, None], [-np.inf, np.inf], made)


def points_of_line(space: ParameterSpace, given: Any) -> np.ndarray:
    """Return points (M,) or (M, 1) of the one parameter as rising numbers (M',), each once; else ParameterError."""
    try:
        points = np.asarray(given, dtype=float).reshape(-1, 1)
    except (TypeError, ValueError):
        raise ParameterError(f"points of {space.names[0]} must be real numbers, got {given!r:.60}") from None
    return np.unique(space.validate(points)[:, 0])


def is_damped(arrays: ReducedArrays, range_: tuple[float, float]) -> bool:
    """Return whether -b / a of a model with the bound "pencil" has an imaginary part; False for other models."""
    bound = arrays.stability
    if not isinstance(bound, BoundPencil):
        return False
    theta = arrays.operator_coefficients(np.linspace(*range_, LOOKED)[:, None])
    alpha, kappa = theta @ bound.alphas, theta @ bound.kappas
    return bool(np.any(np.abs(np.imag(alpha * np.conj(kappa))) > IMAGINARY * np.abs(alpha * kappa)))


def path_of(
    arrays: ReducedArrays, range_: Any, full_model: FullOrderModel | None, stiffness: int, mass: int, damped: bool
) -> tuple[PencilPath, PencilTerms | None]:
    """Return the path of a reduced model, and the matrices of its pencil if the full model is at hand.

    Raises ModelError where A(mu) is no pencil of one parameter, ParameterError for a range outside the space.
    """
    space = arrays.parameters
    if len(space) != 1:
        raise ModelError(
            f"poles are points of one parameter, and the model has {len(space)}, {', '.join(space.names)}; make a "
            "model for which all others are numbers"
        )
    if arrays.interpolation_error is not None:
        raise ModelError(
            "the model stands for another one that is not affine, whose poles are elsewhere: rbm.poles knows affine "
            "models only"
        )
    ends = _range(space, range_)
    bound, terms = arrays.stability, None
    if full_model is not None:
        try:
            terms = PencilTerms.of(full_model, stiffness, mass)
        except StabilityError as error:
            raise ModelError(f"this model is no pencil, so rbm.poles cannot tell its poles: {error}") from error
        alphas, kappas, errors = terms.alphas, terms.kappas, terms.errors
        if len(alphas) != arrays.operators.shape[0]:
            raise ModelError(
                f"full_model has {len(alphas)} operator terms, the reduced model {arrays.operators.shape[0]}: give the "
                "one that it was made from"
            )
        p, q = terms.p, terms.q
    elif isinstance(bound, BoundPencil):
        alphas, kappas, errors = bound.alphas, bound.kappas, bound.errors
        p, q = _combination(alphas, kappas, stiffness, mass)
    else:
        raise ModelError(
            "rbm.poles needs to know how the norm belongs to the pencil A = a K + b M, P = p K + q M, and the "
            f"stability bound of this model, {type(bound).__name__}, does not say it: make the model with "
            "stability=rbm.stability.Pencil(), or give full_model="
        )
    matrix, product = np.zeros(len(alphas)), np.zeros(len(alphas))
    matrix[mass if p else stiffness] = 1.0
    product[stiffness], product[mass] = p, q
    path = PencilPath(
        alphas, kappas, errors, matrix, product, p, q, arrays.operator_coefficients, space, ends, bool(damped)
    )
    return path.checked(), terms


def _combination(alphas: np.ndarray, kappas: np.ndarray, stiffness: Any, mass: Any) -> tuple[float, float]:
    """Return p and q of P = p K + q M, from A_q = alpha_q P + kappa_q B."""
    count = len(alphas)
    for name, number in (("stiffness", stiffness), ("mass", mass)):
        if isinstance(number, bool) or not (isinstance(number, int | np.integer) and 0 <= number < count):
            raise ModelError(f"{name} must be the number of an operator term, 0 to {count - 1}, got {number!r}")
    if alphas[mass] == 0 and kappas[mass] == 1 and alphas[stiffness] != 0:
        return float(1 / alphas[stiffness].real), float(-(kappas[stiffness] / alphas[stiffness]).real)
    if alphas[stiffness] == 0 and kappas[stiffness] == 1 and alphas[mass] != 0 and kappas[mass] == 0:
        return 0.0, float(1 / alphas[mass].real)
    raise ModelError(
        f"the terms {stiffness} and {mass} are not the stiffness and the mass of the model's rbm.stability.Pencil: "
        "give stiffness= and mass= as there"
    )


def _range(space: ParameterSpace, given: Any) -> tuple[float, float]:
    """Return the ends of a range inside the parameter space; that of the space for None."""
    name, (low, high) = space.names[0], space.bounds[0]
    try:
        a, b = (float(x) for x in (space.bounds[0] if given is None else given))
    except (TypeError, ValueError):
        raise ParameterError(f"range must be a pair of numbers (low, high) of {name}, got {given!r:.60}") from None
    if not (np.isfinite(a) and np.isfinite(b) and a < b):
        raise ParameterError(f"range must be (low, high) with low < high, got ({a:g}, {b:g})")
    if not low <= a < b <= high:
        raise ParameterError(
            f"the range [{a:g}, {b:g}] of {name} is not inside that of the model, [{low:g}, {high:g}]; poles outside "
            "it were not looked for when the model was made"
        )
    return a, b
