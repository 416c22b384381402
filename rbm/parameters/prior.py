"""How probable parameter points are: independent distributions, and uniform ones on the scale of the others' ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rbm.parameters.distributions import Distribution
from rbm.parameters.ranges import filled

__all__ = ["Prior"]


@dataclass(frozen=True)
class Prior:
    """The distribution of the p parameters of a space, which :meth:`rbm.ParameterSpace.sample` follows.

    A parameter without a distribution of its own is uniform in its range, or its logarithm is, on a logarithmic scale.
    """

    names: tuple[str, ...]
    bounds: np.ndarray  #: (p, 2)
    scale: str  #: "linear" or "log"
    distributions: Mapping[str, Distribution]

    def points(self, unit: np.ndarray) -> np.ndarray:
        """Return the points (M, p) of probabilities (M, p) in [0, 1], a quantile each."""
        low, high = self.bounds.T
        made = filled(low, high, unit, self.scale)
        for name, one in self.distributions.items():
            j = self.names.index(name)
            made[:, j] = one.points(unit[:, j])
        return np.clip(made, low, high)

    def unit(self, mus: np.ndarray) -> np.ndarray:
        """Return the probabilities (M, p) of points (M, p): the inverse of :meth:`points`, up to round-off."""
        low, high = self.bounds.T
        if self.scale == "log":
            low, high, x = np.log(low), np.log(high), np.log(mus)
        else:
            x = mus
        width = np.where(high > low, high - low, 1.0)
        made = (x - low) / width
        for name, one in self.distributions.items():
            j = self.names.index(name)
            made[:, j] = one.unit(mus[:, j])
        return np.clip(made, 0.0, 1.0)

    def log_density(self, mus: np.ndarray) -> np.ndarray:
        """Return the logarithm (M,) of the density at points (M, p); minus infinity outside the ranges.

        A parameter whose range is one value counts with the factor one.
        """
        low, high = self.bounds.T
        inside = np.all((mus >= low) & (mus <= high), axis=1)
        made = np.where(inside, 0.0, -np.inf)
        safe = np.where(inside[:, None], mus, low)
        for j, name in enumerate(self.names):
            if name in self.distributions:
                made = made + self.distributions[name].log_density(safe[:, j])
            elif high[j] > low[j]:
                log = self.scale == "log"
                made = made - (
                    np.log(np.log(high[j] / low[j])) + np.log(safe[:, j]) if log else np.log(high[j] - low[j])
                )
        return made
