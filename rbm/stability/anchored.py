"""Rigorous lower bounds of inf-sup constants, online, from a few anchors."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.linalg

from lowrank.arrays import beside, namespace, to_numpy
from lowrank.renamed import renamed
from rbm.affine.fingerprints import digest
from rbm.affine.system import AffineSystem
from rbm.errors import StabilityError
from rbm.online.chunks import tiles
from rbm.parameters.space import ParameterSpace
from rbm.stability import inf_sup_constants as dense_constants
from rbm.stability.cost import proving_sources
from rbm.stability.positive import positive
from rbm.storage.archive import read_archive, write_archive
from rbm.storage.registry import register
from rbm.weak_greedy import StoppingRule, Worst, weak_greedy

__all__ = ["Anchored", "BoundAnchored"]

KIND = "stability anchors"
#: Rotated terms that vary less than this share of the one that varies most enter the bound by their norms.
LEADING = 1e-3


@renamed(seed="rng")
@dataclass(frozen=True, eq=False)
class Anchored:
    """A rigorous lower bound of the inf-sup constant by perturbation from anchors mu_k.

    Its cost online is independent of n.

    With A(mu) - A(mu_k) = sum_q Delta_q A_q, Delta = theta(mu) - theta(mu_k), and norms from P to P',

        beta(mu) >= beta(mu_k) - sum_q |Delta_q| ||A_q||,
        beta(mu) >= beta(mu_k) (1 - ||A(mu_k)^{-1} sum_q Delta_q A_q||_P) >= beta(mu_k) (1 - J_k ||C Delta||_2 - ...),

    and beta(mu) is at least the best of both over all anchors. The second, the natural norm, is the sharper one:
    A_k^{-1} A_q is small where A_k is not, and the Euclidean norm of C Delta knows that the terms do not all pull the
    same way. C (unitary rotation of the terms to orthogonal ones, then scaling) is common to all anchors, J_k^2 is the
    largest eigenvalue of sum_l T_l^H T_l, T_l = A_k^{-1} B_l with the rotated terms B_l; those that hardly vary enter
    by their norms (the dots).

    Parameters
    ----------
    training : (M, p) parameter points on which the bound is made at least `ratio` times the true constant; 500 points
        by default
    ratio : in (0, 1)
    max_anchors : give up, with an error, beyond these
    rng, progress : of the default training set; whether to show a bar
    cache : a folder where anchors are kept, by the SHA-256 of the model and of these settings, and found again; none by
        default

    Anchors are chosen greedily, where the bound is worst relative to an upper bound of beta(mu):
    min_k ||A(mu) v_k||_{P'} / ||v_k||_P with the minimisers v_k at the anchors. So no constant is computed but at the
    anchors, and the bound is at least `ratio` times the true one on the training set. Constants are lowered, norms
    raised, by 1e-8 and by rounding errors of the size that the conditions of P and A(mu_k) give them, 10 sqrt(n) u
    cond: measured and generous, an allowance and not an enclosure.

    Cost offline: (Qa + 3) dense factorisations per anchor, n <= 6000; online O(K Qa + Qa^2) per point, K anchors.
    Raises StabilityError, which names the parameter, where A(mu) is singular or `max_anchors` do not suffice.
    Sources: perturbation of singular values (Weyl); natural norms: Sen, Veroy, Huynh, Deparis, Nguyen, Patera, J.
    Comput. Phys. 217 (2006); greedy anchors as in the successive constraint method (Huynh, Rozza, Sen, Patera, C. R.
    Math. 345 (2007)).
    """

    training: Any = None
    ratio: float = 0.5
    max_anchors: int = 400
    rng: int = 0
    progress: bool = False
    cache: str | os.PathLike[str] | None = None

    def bind(self, system: AffineSystem) -> BoundAnchored:
        """Choose the anchors for a system, or read them from the cache."""
        if not 0 < self.ratio < 1:
            raise StabilityError(f"ratio must lie between 0 and 1, got {self.ratio}")
        space = system.parameters
        mus = space.sample(500, rng=self.rng) if self.training is None else space.validate(self.training)
        path = None if self.cache is None else self._file(Path(self.cache), system, mus)
        if path is not None and path.exists():
            try:
                return BoundAnchored.from_arrays({**read_archive(path, KIND, key=path.stem)[1], "parameters": space})
            except (OSError, ValueError, TypeError, AttributeError) as error:
                warnings.warn(f"cached anchors are not used and will be chosen again: {error}", stacklevel=3)
        bound = self._choose(system, mus)
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_archive(path, {"kind": KIND, "key": path.stem}, bound._matrices())
            except OSError as error:
                warnings.warn(f"anchors could not be cached: {error}", stacklevel=3)
        return bound

    def _file(self, folder: Path, system: AffineSystem, mus: np.ndarray) -> Path:
        # with the sources: what another version of them certified is not for this one
        content = proving_sources(), system.operators_fingerprint(), self.ratio, self.max_anchors, mus
        return folder / f"anchors-{digest(content)[:40]}.npz"

    def _choose(self, system: AffineSystem, mus: np.ndarray) -> BoundAnchored:
        chosen = _Anchors(system, mus)
        stop, worst = weak_greedy(
            chosen,
            StoppingRule(tol=-self.ratio, limit=max(self.max_anchors, 1)),
            "stability anchors",
            shown=lambda value: f"bound / truth {0 - value:.2f}",
            total=self.max_anchors,
            progress=self.progress,
        )
        if stop == "limit":
            at = slice(worst.point, worst.point + 1)
            raise StabilityError(
                f"{self.max_anchors} anchors are not enough: at {system.parameters.describe(mus[worst.point])} "
                f"the stability bound is {chosen.bound.best(chosen.theta[at])[0]:.3g}, less than {self.ratio:g} of "
                f"{chosen.upper[worst.point]:.3g}; allow more (max_anchors=), ask for less (ratio=), or narrow the "
                "parameter ranges"
            )
        return chosen.bound

    def __repr__(self) -> str:
        return f"Anchored(ratio={self.ratio:g}, max_anchors={self.max_anchors})"


@register("stability bound")
@dataclass(frozen=True, eq=False)
class BoundAnchored:
    """:class:`Anchored` bound to a model: K anchors and what the formula needs of them."""

    kind: ClassVar[str] = "anchored"
    checked: ClassVar[bool] = True

    anchors: np.ndarray  #: theta(mu_k) (K, Qa)
    constants: np.ndarray  #: beta(mu_k) (K,)
    growths: np.ndarray  #: J_k (K,)
    norms: np.ndarray  #: ||A_q|| (Qa,)
    transform: np.ndarray  #: C (L, Qa): the rotated and scaled terms that J_k knows
    remainder: np.ndarray  #: (R, Qa): the other rotated terms times their norms; they enter by sum |remainder Delta|
    parameters: ParameterSpace

    def extended(self, theta: np.ndarray, constant: float, growth: float) -> BoundAnchored:
        """Return the bound with one more anchor."""
        return replace(
            self,
            anchors=np.concatenate([self.anchors, theta[None]]),
            constants=np.append(self.constants, constant),
            growths=np.append(self.growths, growth),
        )

    def best(self, theta: Any) -> Any:
        """Return the bound (M,) whatever its sign, from coefficients theta (M, Qa)."""
        xp = namespace(theta)
        anchors, constants, growths, norms, transform, remainder = (beside(a, theta) for a in self._matrices().values())
        parts = []
        for rows in tiles(theta.shape[0], 96 * self.anchors.size, theta):  # no more rows in C and the rest than terms
            # one row per point, one column per anchor; differences before the rotation, which may be large where
            # they are small
            delta = theta[rows, None, :] - anchors
            plain = xp.abs(delta) @ norms / constants
            natural = growths * xp.linalg.vector_norm(delta @ transform.T, axis=2)
            natural = natural + xp.sum(xp.abs(delta @ remainder.T), axis=2) / constants
            parts.append(xp.max(constants * (1 - (1 + dense_constants.SLACK) * xp.minimum(plain, natural)), axis=1))
        return parts[0] if len(parts) == 1 else xp.concat(parts)

    def __call__(self, mus: Any, theta: Any) -> Any:
        """Return beta (M,); raise StabilityError where no anchor gives a positive bound."""
        return positive(
            self.best(theta),
            lambda i, value, where: (
                f"the stability bound from {len(self.constants)} anchors is {value:.3g} at "
                f"{self.parameters.describe(to_numpy(mus)[i])} ({where}); an error bound needs beta > 0: make the "
                "model with more training points in Anchored(training=...), or stay inside the parameter ranges"
            ),
        )

    def arrays(self) -> dict[str, Any]:
        """Return the state by name, for a file."""
        return {**self._matrices(), "parameters": self.parameters}

    def _matrices(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "parameters"}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> BoundAnchored:
        """Make the bound from what :meth:`arrays` returned.

        Raises ValueError for arrays that do not fit each other or are not finite.
        """
        made = cls(**arrays)
        k, qa = made.anchors.shape
        shapes = {"constants": (k,), "growths": (k,), "norms": (qa,)}
        if (
            any(getattr(made, name).shape != shape for name, shape in shapes.items())
            or any(a.ndim != 2 or a.shape[1] != qa for a in (made.transform, made.remainder))
            or not all(np.all(np.isfinite(a)) for a in made._matrices().values())
            or not np.all(made.constants > 0)
        ):
            raise ValueError("the arrays of its stability anchors do not fit each other")
        return made

    def __repr__(self) -> str:
        low, high = self.constants.min(), self.constants.max()
        return f"BoundAnchored({len(self.constants)} anchors, beta {low:.3g} to {high:.3g} at them)"


class _Anchors:
    """Anchors that are being chosen from M training points.

    A surrogate for :func:`rbm.weak_greedy.weak_greedy`: worst where bound / (upper bound of the truth) is smallest.
    """

    def __init__(self, system: AffineSystem, mus: np.ndarray) -> None:
        self.mus, self.space, self.theta = mus, system.parameters, system.operator_coefficients(mus)
        self.whitened, self.rounding = dense_constants.whitened_terms(system)
        self.rotated = _Rotation(self.theta, self.whitened, self.rounding)
        none, norms = np.zeros(0), self.rotated.norms
        of_terms = norms, self.rotated.transform, self.rotated.remainder
        self.bound = BoundAnchored(np.zeros((0, len(norms))), none, none, *of_terms, self.space)
        self.upper = np.full(len(mus), np.inf)

    @property
    def size(self) -> int:
        return len(self.bound.constants)

    def evaluate(self) -> Worst:
        """Find the smallest ratio, which counts with a minus sign."""
        if not self.size:  # the middle comes first
            return Worst(int(np.argmin(np.linalg.norm(self.theta - self.theta.mean(axis=0), axis=1))), 0.0)
        ratios = self.bound.best(self.theta) / self.upper
        point = int(np.argmin(ratios))
        return Worst(point, -float(ratios[point]))

    def extend(self, point: int) -> bool:
        """Add one more anchor, and what its minimiser says of the truth elsewhere."""
        matrix = dense_constants.combined(self.theta[point], self.whitened)
        constant, minimiser = dense_constants.smallest_singular(matrix, self.rounding)
        allowance = self.rounding * float(np.linalg.norm(matrix)) / constant if constant > 0 else np.inf
        if not allowance <= dense_constants.TOLERABLE:
            raise StabilityError(
                f"A(mu) is singular to working precision at {self.space.describe(self.mus[point])}: no stability bound "
                "is positive there; leave a neighbourhood of this parameter out"
            )
        self.bound = self.bound.extended(self.theta[point], constant, self.rotated.growth(matrix) * (1 + allowance))
        images = np.stack([a @ minimiser for a in self.whitened], axis=1)  # ||A(mu) v|| = ||images @ theta||
        self.upper = np.minimum(self.upper, np.linalg.norm(self.theta @ images.T, axis=1))
        return True


class _Rotation:
    """Rotates the terms to B_l = sum_q U_ql A_q, orthogonal in the Frobenius norm, U unitary.

    Then sum_q Delta_q A_q = sum_l x_l B_l, x = U^H Delta.

    Terms of an interpolated operator are nearly dependent: their differences are what matters, and these are what the
    rotation finds. The leading B_l are scaled by (variation of x_l / ||B_l||)^{1/2}, which makes J ||C Delta||_2 as
    small as a sum of norms would be.
    """

    def __init__(self, theta: np.ndarray, whitened: list[np.ndarray], rounding: float) -> None:
        spread = theta - theta.mean(axis=0)
        self.norms = np.array([dense_constants.spectral_norm(a) for a in whitened]) * (1 + rounding)
        varies = np.abs(spread).max(axis=0) > 0
        rows, remainder = [], [np.diag(self.norms)[~varies]]
        self.terms: list[np.ndarray] = []
        moving = np.flatnonzero(varies)
        if len(moving):
            flat = np.stack([whitened[q].ravel() for q in moving])
            gram = flat.conj() @ flat.T
            modes = scipy.linalg.eigh((gram + gram.conj().T) / 2)[1]
            amounts = np.sqrt(np.mean(np.abs(spread[:, moving] @ modes.conj()) ** 2, axis=0))
            rotated = (modes.T @ flat).reshape(len(moving), *whitened[0].shape)
            allowance = rounding * np.sqrt((self.norms[moving] ** 2).sum())
            sizes = np.array([dense_constants.spectral_norm(b) for b in rotated]) + allowance
            leading = amounts * sizes > LEADING * (amounts * sizes).max()
            spread_out = np.zeros((len(moving), len(whitened)), dtype=modes.dtype)
            spread_out[:, moving] = modes.conj().T
            remainder.append(sizes[~leading, None] * spread_out[~leading])
            scales = np.sqrt(amounts[leading] / sizes[leading])
            rows.append(spread_out[leading] / scales[:, None])
            self.terms = [b * s for b, s in zip(rotated[leading], scales, strict=True)]
        self.transform = np.concatenate(rows) if rows else np.zeros((0, len(whitened)))
        self.remainder = np.concatenate(remainder)

    def growth(self, matrix: np.ndarray) -> float:
        """Return J, J^2 the largest eigenvalue of sum_l T_l^H T_l, T_l = matrix^{-1} B_l."""
        if not self.terms:
            return 0.0
        factor = scipy.linalg.lu_factor(matrix, check_finite=False)
        total = np.zeros_like(matrix)
        for term in self.terms:
            t = scipy.linalg.lu_solve(factor, term, check_finite=False)
            total = total + t.conj().T @ t
        return float(np.sqrt(dense_constants.largest_eigenvalue(total)) * (1 + dense_constants.SLACK))
