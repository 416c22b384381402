"""The perturbation bound of the inf-sup constant, online: from constants and growths at a few anchors."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from lowrank.arrays import beside, is_complex, mixed_product, namespace, to_numpy
from rbm.online.chunks import tiles
from rbm.online.definitions import compiled_code_serves
from rbm.parameters.space import ParameterSpace
from rbm.stability.inf_sup_constants import SLACK
from rbm.stability.positive import positive
from rbm.stability.stored_space import stored_space
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored, checked_arrays

__all__ = ["BoundAnchored"]

#: What a file holds of a bound.
STORED = {
    "anchors": Stored("kq", "c", filled=True),
    "constants": Stored("k", positive=True),
    "growths": Stored("k", least=0),
    "norms": Stored("q", least=0),
    "transform": Stored("lq", "c"),
    "remainder": Stored("rq", "c"),
}


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
        served = theta.shape[1] == self.term_count and compiled_code_serves(theta)
        return self._compiled(theta) if served else self._best(theta)

    def _compiled(self, theta: np.ndarray) -> np.ndarray:
        from rbm.online.kernels.anchored_constants import anchored_constants, anchored_scratch_size  # loads Numba

        kind = is_complex(theta) or is_complex(self.anchors)
        if kind not in self._packed:
            mixed = np.concatenate([self.transform, self.remainder]).ravel()
            dtype = complex if kind else float
            exact = self.norms, self.constants, self.growths
            packed = self.anchors.ravel().astype(dtype), mixed.astype(np.result_type(mixed, dtype)), *exact
            self._packed[kind] = tuple(map(np.ascontiguousarray, packed))
        rows = np.ascontiguousarray(theta, complex if kind else float)
        beta, room = np.empty(len(rows)), np.empty(anchored_scratch_size(self.term_count), rows.dtype)
        pairs = rows.view(float).reshape(len(rows), -1)
        anchored_constants(pairs, self._packed[kind], len(self.transform), SLACK, beta, room)
        return beta

    @cached_property
    def _packed(self) -> dict[bool, tuple[np.ndarray, ...]]:
        return {}

    def _best(self, theta: Any) -> Any:
        """Return the definition of what is compiled, in array operations."""
        xp = namespace(theta)
        anchors, constants, growths, norms, transform, remainder = (beside(a, theta) for a in self._matrices().values())
        parts = []
        for rows in tiles(theta.shape[0], 96 * self.anchors.size, theta):  # no more rows in C and the rest than terms
            # one row per point, one column per anchor; differences before the rotation, which may be large where
            # they are small
            delta = theta[rows, None, :] - anchors
            plain = xp.abs(delta) @ norms / constants
            natural = growths * xp.linalg.vector_norm(mixed_product(delta, transform.T), axis=2)
            natural = natural + xp.sum(xp.abs(mixed_product(delta, remainder.T)), axis=2) / constants
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
        """Make the bound from what :meth:`arrays` returned. Raises ValueError for arrays that do not fit each other."""
        what = "stability anchors"
        known = checked_arrays(what, arrays, STORED)
        if len(known["transform"]) + len(known["remainder"]) != len(known["norms"]):
            raise ValueError(f"the arrays of its {what} do not fit each other: some of the rotated terms are missing")
        return cls(**{name: known[name] for name in STORED}, parameters=stored_space(what, arrays))

    @property
    def term_count(self) -> int:
        """The number of operator terms that it is for, Qa."""
        return len(self.norms)

    def __repr__(self) -> str:
        low, high = self.constants.min(), self.constants.max()
        return f"BoundAnchored({len(self.constants)} anchors, beta {low:.3g} to {high:.3g} at them)"
