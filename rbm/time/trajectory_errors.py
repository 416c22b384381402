"""The projection error of a trajectory, which a worker may compute."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rbm.arithmetic import extended
from rbm.estimate import RESOLVED
from rbm.time.compression import SnapshotStream
from rbm.time.energy import EnergySum
from rbm.time.model import TimeModel
from rbm.time.truth import PLAIN

__all__ = ["ProjectionError", "projection_error"]

#: Errors up to this many times their uncertainty are rounding: measured 1 to 2 where nothing else is left.
NOISE = 2.0


class ProjectionError(NamedTuple):
    """What is known of one trajectory after its march: modes, not the trajectory."""

    modes: np.ndarray  #: (n, r), of the projection error
    eigenvalues: np.ndarray  #: all of them
    error: float  #: the true error of the reduced trajectory, in the energy norm
    uncertainty: float  #: of that error, by rounding

    def effectivity(self, bound: float) -> float:
        """Return bound / error; NaN if the error is not known to ten percent."""
        return float(bound / self.error) if self.error > RESOLVED * self.uncertainty else math.nan

    @property
    def is_round_off(self) -> bool:
        """True if the error is no more than rounding, whose modes no basis needs: on a fine mesh there are hundreds."""
        return self.error <= NOISE * self.uncertainty


def projection_error(
    model: TimeModel, mu: np.ndarray, gamma: np.ndarray, basis: np.ndarray, control: np.ndarray, rank: int
) -> ProjectionError:
    """March the truth at one point, and compress what a basis Z (n, N) misses of it as it arrives.

    gamma : (K + 1, N), the reduced trajectory, whose true error is computed on the way; rank : number of modes
    """
    of_a, of_m = (c[0] for c in model.coefficients(mu[None])[:2])
    stream = SnapshotStream(model.inner_product.matrix)
    products = basis.conj().T @ model.inner_product.matrix if basis.shape[1] else basis.conj().T
    of_rounding = EnergySum(model, np.abs(of_a), of_m, sizes=True)
    of_error = EnergySum(model, of_a, of_m)
    for k, u in enumerate(model.march(mu, control, extrapolate=True, wanted=PLAIN)):
        rest = u[0]
        for _ in range(2 if basis.shape[1] else 0):
            rest = rest - basis @ (products @ rest)
        stream.add(rest[:, 0])
        z = extended.product(basis, gamma[k][:, None])
        hi, lo = extended.add(u, (-z[0], -z[1]))
        of_error.add(hi + lo)
        of_rounding.add(np.abs(u[0]))
    # of the march, whose steps are refined to 2^-60 of the largest entry
    return ProjectionError(*stream.modes(rank), of_error.norm, 2.0**-54 * of_rounding.norm)
