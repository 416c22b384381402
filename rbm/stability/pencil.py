"""The stability constant of a Hermitian pencil, exactly, from its eigenvalues."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from lowrank.arrays import beside, is_complex, mixed_product, namespace, real_part, to_numpy
from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF, exponents_of, scaled
from rbm.errors import StabilityError
from rbm.online.chunks import tiles
from rbm.parameters.space import ParameterSpace
from rbm.stability.cost import announce
from rbm.stability.options import check_options
from rbm.stability.outer_eigenvalues import (
    DENSE_LIMIT,
    OuterEigenvalues,
    all_eigenvalues,
    outer_eigenvalues,
    two_lowest,
)
from rbm.stability.pencil_terms import PencilTerms
from rbm.stability.positive import positive
from rbm.stability.stored_space import stored_space
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored, checked_arrays

__all__ = ["BoundPencil", "Pencil"]

#: Number of points at which resonances are looked for, to place the cut.
SAMPLES = 2000
#: The cut lies this factor beyond the resonances (in lambda) that the samples meet.
BEYOND = 1.5
#: A Lanczos iteration takes about so many solves per eigenvalue, its own orthogonalisation included.
SOLVES = 5.0


@dataclass(frozen=True)
class Pencil:
    """The exact inf-sup constant of A(mu) = a(mu) K + b(mu) M with respect to P = p K + q M, K and M Hermitian.

    a and b may be complex: K - k^2 M, i omega M + K, hysteretic and proportional damping. The eigenvectors of (K, M)
    diagonalise both and P. With K v = lambda M v, t = 1 / (p lambda + q), alpha = a / p, kappa = b - a q / p,

        beta(mu) = min_j |alpha + kappa t_j|.

    Eigenvalues t beyond a cut, those of the lower lambda, are computed, each with its radius delta_j; a count of
    negative pivots shows that none is missing; all others are somewhere in an interval I up to the cut. Hence

        beta(mu) >= min( min_j |alpha + kappa t_j| - |kappa| delta_j,  min_{t in I} |alpha + kappa t| ),

    which is the constant itself, up to rounding, where a computed eigenvalue is the nearest. If p = 0 (P = q M) then
    K takes the place of M, and the lower eigenvalues of K v = t P v are computed.

    Parameters
    ----------
    stiffness, mass : the numbers of the operator terms K and M. All other terms, and the product, must be
        combinations of the two; what rounding leaves is charged, at most 1e-9 of a term in units of the product
    cut : eigenvalues lambda of K v = lambda M v below it are computed. By default p lambda + q goes to 1.5 times the
        largest value that is in resonance with one of 2000 points of the parameter space; the bound is true for any
        cut, and smaller than the constant where eigenvalues beyond the cut are the nearest
    max_eigenvalues : refuse to compute more (beyond 400 unknowns; up to there all are computed)
    progress : say what is computed and how long it takes

    The bound is proved: residuals of eigenvectors are formed in extended precision, the count is right up to the
    rounding of its elimination, which shifts the cut, and the rounding of the formula is subtracted.
    Raises StabilityError for matrices that are not Hermitian, terms that are no combinations, eigenvalues that are too
    many or not found; online, naming the parameter, at a resonance. Cost offline: two factorisations, about five
    solves per eigenvalue (n <= 400: dense, 10 n^3 flops); online O(J) per point for J eigenvalues.
    """

    stiffness: int = 0
    mass: int = 1
    cut: float | None = None
    max_eigenvalues: int = 400
    progress: bool = False

    def bind(self, system: AffineSystem) -> BoundPencil:
        """Check the terms, compute the eigenvalues, and show that none is missing."""
        check_options(self)
        terms = PencilTerms.of(system, self.stiffness, self.mass)
        inner, above = system.inner_product, terms.above
        if inner.shape[0] <= DENSE_LIMIT:
            values, radii = all_eigenvalues(terms.matrix, inner)
            found = _beyond(values, radii, self._cut(system, terms), above)
        else:
            found = outer_eigenvalues(
                terms.matrix, inner, self._cut(system, terms), above, self.max_eigenvalues, self._announce
            )
        return BoundPencil(
            terms.alphas, terms.kappas, terms.errors, found.values, found.radii, np.array(found.rest), system.parameters
        )

    def _announce(self, count: int, seconds: float) -> None:
        announce(
            f"the pencil: {count} eigenvalues",
            SOLVES * count * seconds,
            "cut= and narrower ranges make it shorter",
            progress=self.progress,
        )

    def _cut(self, system: AffineSystem, terms: PencilTerms) -> float:
        """Return the cut, as a value of t."""
        if self.cut is not None:
            t = terms.transformed(float(self.cut))
            if not (np.isfinite(t) and (t > 0 or not terms.above)):
                raise StabilityError(f"cut = {self.cut:g} is no eigenvalue that p lambda + q > 0 allows")
            return t
        theta = system.operator_coefficients(system.parameters.sample(SAMPLES))
        alpha, kappa = theta @ terms.alphas, theta @ terms.kappas
        moving = np.abs(kappa) > 0
        resonant = -(alpha * kappa.conj()).real[moving] / np.abs(kappa[moving]) ** 2
        if terms.above:
            resonant = resonant[(resonant > 0) & np.isfinite(resonant)]
            top = _outermost(terms.matrix, system)
            return min(float(resonant.min(initial=np.inf)) / BEYOND, 0.9 * top)
        # one eigenvalue at least, the lowest
        first, second = two_lowest(terms.matrix, system.inner_product)
        top = float(resonant[np.isfinite(resonant)].max(initial=-np.inf))
        return max(first + 0.5 * (second - first), top + (BEYOND - 1) * abs(top))


def _outermost(matrix: Any, system: AffineSystem) -> float:
    """Return a rough estimate of the largest t: some steps of the power method with P^{-1} B."""
    inner = system.inner_product
    x = np.random.default_rng(0).standard_normal((inner.shape[0], 4)).astype(matrix.dtype)
    largest = 0.0
    for _ in range(12):
        x = x / inner.norm(x)
        image = matrix @ x
        largest = float(np.abs((x.conj() * image).sum(axis=0)).max())
        x = inner.factorized()(image)
    return largest if largest > 0 else 1.0


def _beyond(values: np.ndarray, radii: np.ndarray, cut: float, above: bool) -> OuterEigenvalues:
    """Return those beyond the cut one by one, all others as an interval."""
    outer = values > cut if above else values < cut
    others = values[~outer], radii[~outer]
    if not np.any(~outer):
        outer[int(np.argmin(values) if above else np.argmax(values))] = False
        others = values[~outer], radii[~outer]
    low, high = float((others[0] - others[1]).min()), float((others[0] + others[1]).max())
    return OuterEigenvalues(values[outer], radii[outer], (low, high))


#: What a file holds of a bound.
STORED = {
    "alphas": Stored("q", "c"),
    "kappas": Stored("q", "c"),
    "errors": Stored("q", least=0),
    "eigenvalues": Stored("j"),
    "radii": Stored("j", least=0),
    "rest": Stored("2"),
}


@register("stability bound")
@dataclass(frozen=True, eq=False)
class BoundPencil:
    """:class:`Pencil` bound to a model."""

    kind: ClassVar[str] = "pencil"
    checked: ClassVar[bool] = True

    alphas: np.ndarray  #: (Qa,) A_q = alpha_q P + kappa_q B up to errors_q
    kappas: np.ndarray  #: (Qa,)
    errors: np.ndarray  #: (Qa,) in the norms of P
    eigenvalues: np.ndarray  #: t (J,) of B v = t P v beyond the cut
    radii: np.ndarray  #: delta (J,)
    rest: np.ndarray  #: (2,) the interval of all other eigenvalues
    parameters: ParameterSpace

    def arrays(self) -> dict[str, Any]:
        """Return the state by name, for a file."""
        return {name: getattr(self, name) for name in (*STORED, "parameters")}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> BoundPencil:
        """Make the bound from what :meth:`arrays` returned. Raises ValueError for arrays that do not fit."""
        known = checked_arrays("pencil", arrays, STORED)
        made = cls(**{name: known[name] for name in STORED}, parameters=stored_space("pencil", arrays))
        if not made.rest[0] <= made.rest[1]:
            raise ValueError(f"the arrays of its pencil do not fit each other: the interval 'rest' is {made.rest}")
        return made

    @property
    def term_count(self) -> int:
        """The number of operator terms that it is for, Qa."""
        return len(self.errors)

    def __call__(self, mus: Any, theta: Any) -> Any:
        """Return beta (M,); raise StabilityError at a resonance."""
        return positive(
            self.constant(theta),
            lambda i, value, where: self._refusal(to_numpy(mus)[i], to_numpy(theta)[i], value, where),
        )

    def _refusal(self, mu: np.ndarray, theta: np.ndarray, value: float, where: str) -> str:
        alpha, kappa = theta @ self.alphas, theta @ self.kappas
        at = f"{self.parameters.describe(mu)} ({where})"
        if not value < np.inf:
            return (
                f"the stability bound of the pencil is {value} at {at}: beyond the range of numbers; choose other units"
            )
        distances = np.abs(alpha + kappa * self.eigenvalues)
        if len(distances) and distances.min() <= self._distance(alpha, kappa):
            j = int(np.argmin(distances))
            return (
                f"the stability constant is zero to working precision at {at}: a resonance, eigenvalue "
                f"{self.eigenvalues[j]:.6g} of the pencil; leave a neighbourhood of this parameter out, or add damping"
            )
        return (
            f"the stability bound of the pencil is not positive at {at}: eigenvalues beyond its cut are in resonance "
            "there; bind it with a larger cut=, or stay inside the parameter ranges"
        )

    def _distance(self, alpha: complex, kappa: complex) -> float:
        """Return the distance of 0 from the segment alpha + kappa I."""
        size = abs(kappa) ** 2
        nearest = -(alpha * np.conj(kappa)).real / size if size > 0 else 0.0
        return float(abs(alpha + kappa * np.clip(nearest, *self.rest)))

    def constant(self, theta: Any) -> Any:
        """Return the bound (M,), whatever its sign, from coefficients theta (M, Qa)."""
        xp = namespace(theta)
        alpha, kappa = (mixed_product(theta, beside(weights, theta)) for weights in (self.alphas, self.kappas))
        if isinstance(theta, np.ndarray):
            least = self._compiled(alpha, kappa)
        else:
            parts = [
                self._least(alpha[rows], kappa[rows])
                for rows in tiles(theta.shape[0], 32 * (len(self.radii) + 4), theta)
            ]
            least = parts[0] if len(parts) == 1 else xp.concat(parts)
        return least - xp.abs(theta) @ beside(self._losses, theta)

    def _compiled(self, alpha: np.ndarray, kappa: np.ndarray) -> np.ndarray:
        from rbm.online.kernels.pencil_constants import pencil_constants  # loads Numba

        # t and alpha + kappa t of order one, by powers of two: squares stay in the range of numbers
        values, radii, rest, exponent = self._of_order_one
        kappa = scaled(kappa, exponent)
        sizes = -exponents_of(np.stack([alpha, kappa]))
        parts = (np.array([x.real, x.imag], dtype=float) for x in (scaled(alpha, sizes), scaled(kappa, sizes)))
        beta = np.empty(len(alpha))
        pencil_constants(*parts, values, radii, rest, beta)
        return scaled(beta, -sizes)

    @cached_property
    def _of_order_one(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """Eigenvalues, radii and the interval times 2^-e, and e."""
        largest = max(np.abs(self.eigenvalues).max(initial=0.0), np.abs(self.rest).max())
        exponent = int(np.frexp(largest)[1])
        return *(scaled(x, -exponent) for x in (self.eigenvalues, self.radii, self.rest)), exponent  # type: ignore

    def _least(self, alpha: Any, kappa: Any) -> Any:
        """Return the definition of what is compiled, in array operations."""
        xp = namespace(alpha)
        t, radii = beside(self.eigenvalues, alpha), beside(self.radii, alpha)
        moved = xp.abs(kappa)
        size = xp.where(moved > 0, moved, 1.0)
        product = (alpha / size) * (xp.conj(kappa / size) if is_complex(kappa) else kappa / size)
        least = xp.abs(alpha + kappa * xp.clip(-real_part(product), *map(float, self.rest)))
        if len(self.radii):
            near = xp.min(xp.abs(alpha[:, None] + kappa[:, None] * t) - moved[:, None] * radii, axis=1)
            least = xp.minimum(least, near)
        return least

    @property
    def _losses(self) -> np.ndarray:
        """What is subtracted per |theta_q|: errors of the terms and the rounding of the formula."""
        largest = max(np.abs(self.eigenvalues).max(initial=0.0), np.abs(self.rest).max())
        terms = 16 + 2 * len(self.errors)
        return self.errors + terms * ROUND_OFF * (np.abs(self.alphas) + np.abs(self.kappas) * largest)

    def __repr__(self) -> str:
        return f"BoundPencil({len(self.radii)} eigenvalues, all others in [{self.rest[0]:.3g}, {self.rest[1]:.3g}])"
