"""Where POD-greedy marches next, and the projection error of a trajectory, which a worker may compute."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbm.arithmetic import extended
from rbm.parameters.space import ParameterSpace
from rbm.time.compression import SnapshotStream
from rbm.time.energy import EnergySum
from rbm.time.model import TimeModel
from rbm.time.truth import PLAIN

__all__ = ["ProjectionError", "projection_error", "spread_out"]

#: A further point of a batch has at least this share of the largest bound.
NEW = 0.1


class ProjectionError(NamedTuple):
    """What is known of one trajectory after its march: modes, not the trajectory."""

    modes: np.ndarray  #: (n, r), of the projection error
    eigenvalues: np.ndarray  #: all of them
    error: float  #: the true error of the reduced trajectory, in the energy norm
    uncertainty: float  #: of that error, by rounding


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


def spread_out(parameters: ParameterSpace, points: np.ndarray, bounds: np.ndarray, count: int, tol: float) -> list[int]:
    """Return at most `count` of the points (M, p): the worst, and others where bounds are large and far from it.

    The next is where the bound times the distance from the nearest one chosen is largest, with parameters scaled to
    [0, 1], their logarithms where the space is logarithmic, of those whose bound is above `tol` and a tenth of the
    largest.
    """
    worst = int(np.argmax(bounds))
    chosen, log = [worst], parameters.scale == "log"
    ends, x = (np.log(a) if log else a for a in (parameters.bounds, points))
    x = (x - ends[:, 0]) / np.where(ends[:, 1] > ends[:, 0], ends[:, 1] - ends[:, 0], 1.0)
    weights = np.where(bounds > max(tol, NEW * bounds[worst]), bounds, 0.0)
    distance = np.full(len(x), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, np.linalg.norm(x - x[chosen[-1]], axis=1))
        best = int(np.argmax(weights * distance))
        if not weights[best] * distance[best] > 0:
            break
        chosen.append(best)
    return chosen
