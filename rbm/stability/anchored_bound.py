"""The perturbation bound of the inf-sup constant, online: from constants and growths at a few anchors."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from lowrank.arrays import beside, namespace, to_numpy
from rbm.online.chunks import tiles
from rbm.parameters.space import ParameterSpace
from rbm.stability.inf_sup_constants import SLACK
from rbm.stability.positive import positive
from rbm.storage.registry import register

__all__ = ["BoundAnchored"]


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
            parts.append(xp.max(constants * (1 - (1 + SLACK) * xp.minimum(plain, natural)), axis=1))
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
        made.check()
        return made

    def check(self) -> None:
        """Raise ValueError for arrays that do not fit each other or are not finite."""
        k, qa = self.anchors.shape
        shapes = {"constants": (k,), "growths": (k,), "norms": (qa,)}
        if (
            any(getattr(self, name).shape != shape for name, shape in shapes.items())
            or any(a.ndim != 2 or a.shape[1] != qa for a in (self.transform, self.remainder))
            or not all(np.all(np.isfinite(a)) for a in self._matrices().values())
            or not np.all(self.constants > 0)
        ):
            raise ValueError("the arrays of its stability anchors do not fit each other")

    def __repr__(self) -> str:
        low, high = self.constants.min(), self.constants.max()
        return f"BoundAnchored({len(self.constants)} anchors, beta {low:.3g} to {high:.3g} at them)"
