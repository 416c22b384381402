"""Sobol indices of an output through SALib, each with the interval that the error bounds of the output leave it.

SALib's estimators, of values Y at the points A, B and AB_k (column k of A from B), with Y centred by the mean of all:

    S1_k = mean(B (AB_k - A)) / v,    ST_k = mean((A - AB_k)^2) / (2 v),    v = variance of A and B together.

Where |Y' - Y| <= b at each point, centring moves a value by mean(b) more, B by c = b_B + mean(b) and AB_k - A by
d = b_A + b_AB, so that for all such Y'

    |numerator of S1' - that of S1| <= mean(c |AB_k - A| + |B| d + c d),
    | ||A' - AB'|| - ||A - AB|| | <= ||d||,    | v'^{1/2} - v^{1/2} | <= (mean of b^2 over A and B)^{1/2},

norms by the triangle inequality; a mean is a projection, which makes no norm larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.optional import require
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.reduced.interface import Reduced
from rbm.reduced.output_rows import check_single

__all__ = ["SobolIndices", "interval_of_indices", "sobol_indices"]

#: What values of SALib may differ from ours by: it divides by the standard deviation first.
SAME = 1e-9


@dataclass(frozen=True)
class SobolIndices:
    """First-order and total indices of p parameters, and two kinds of error that must not be mixed."""

    output: str
    names: tuple[str, ...]
    first: np.ndarray  #: (p,) of the reduced model, as SALib estimates them
    total: np.ndarray  #: (p,)
    first_interval: np.ndarray  #: (p, 2) holds the same estimate of the full model at the same points
    total_interval: np.ndarray  #: (p, 2)
    first_confidence: np.ndarray  #: (p,) half widths by SALib's resampling: how well the points stand for all
    total_confidence: np.ndarray  #: (p,)
    evaluations: int  #: of the reduced model

    def __repr__(self) -> str:
        rows = [
            f"{n}: S1 in [{a:.4f}, {b:.4f}], ST in [{c:.4f}, {d:.4f}]"
            for n, (a, b), (c, d) in zip(self.names, self.first_interval, self.total_interval, strict=True)
        ]
        return f"SobolIndices({self.output}; {'; '.join(rows)}; {self.evaluations} points)"


def sobol_indices(
    reduced: Reduced, output: str, count: int = 1024, *, rng: int = 0, confidence: float = 0.95, method: Any = None
) -> SobolIndices:
    """Return the Sobol indices of a real output over the parameters, which follow their distributions.

    count : base points, a power of two; the reduced model is asked at count (p + 2)
    rng : seed of SALib's points and of its resampling

    The intervals hold what SALib's estimators give for the *full* model at the same points: reduction and rounding. The
    confidence of SALib is about the points, and is another matter: it shrinks with `count`, the intervals with N.

    Raises ImportError without SALib; ModelError for an output that is unknown, complex or the same at all points, and
    for a count that is no power of two.

    Source: of the estimators: Saltelli, Annoni, Azzini, Campolongo, Ratto, Tarantola, Comput. Phys. Commun. 181 (2010)
    259-270.
    """
    if not isinstance(reduced, Reduced):
        raise ModelError(f"sobol_indices asks a reduced model, got a {type(reduced).__name__}; rbm.greedy makes one")
    if not isinstance(output, str):
        raise ModelError(f"output must be the name of one output, got {output!r:.60}")
    if output not in reduced.outputs:
        known = ", ".join(map(repr, reduced.outputs)) or "none"
        raise ModelError(f"the model has no output {output!r}; its outputs are {known}")
    check_single(reduced.outputs, output, "sobol_indices")
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 2 or count & (count - 1):
        raise ModelError(f"count must be a power of two, for Sobol points, got {count!r}")
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise ModelError(f"rng must be a seed, a whole number of at least 0, got {rng!r}")
    if not (isinstance(confidence, float) and 0 < confidence < 1):
        raise ModelError(f"confidence must be a number between 0 and 1, got {confidence!r}")
    points = require("SALib.sample.sobol", "SALib", "sobol_indices", "uncertainty")
    analysis = require("SALib.analyze.sobol", "SALib", "sobol_indices", "uncertainty")
    space = reduced.parameters
    p = len(space)
    problem = {"num_vars": p, "names": list(space.names), "bounds": [[0.0, 1.0]] * p}
    unit = points.sample(problem, int(count), calc_second_order=False, seed=int(rng))
    solution = reduced.solve(space.prior.points(unit), method=method, coefficients=False)
    value, bound = np.asarray(solution.outputs[output]), np.asarray(solution.output_bounds[output])
    if value.dtype.kind == "c":
        raise ModelError(f"output {output!r} is complex, and Sobol indices are of real ones; take its modulus squared")
    values, first, total = interval_of_indices(value, bound, p)
    # a seed of zero would be none for SALib
    made = analysis.analyze(
        problem, value, calc_second_order=False, conf_level=confidence, seed=int(rng) + 1, print_to_console=False
    )
    if not np.allclose([made["S1"], made["ST"]], values, rtol=SAME, atol=SAME):
        version = getattr(require("SALib", "SALib", "sobol_indices"), "__version__", "this version")
        raise ModelError(f"SALib {version} estimates indices by other formulas, of which no intervals are known here")
    return SobolIndices(
        output, space.names, np.array(made["S1"]), np.array(made["ST"]), first, total, np.array(made["S1_conf"]),
        np.array(made["ST_conf"]), len(unit),
    )  # fmt: skip


def interval_of_indices(value: np.ndarray, bound: np.ndarray, p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the indices (2, p), and intervals (p, 2) of the first-order and of the total ones.

    value, bound : (count (p + 2),) in SALib's order. Rounding is charged: 8 u of the largest value for each, as part of
    its bound, as many u of it as there are values for the mean, and so many u for every sum. An interval is infinite
    where the bounds leave the variance no positive lower end.

    Raises ModelError where all values are the same.
    """
    unit = ROUND_OFF * float(np.abs(value).max())
    rows, wide = value.reshape(-1, p + 2), (bound + 8 * unit).reshape(-1, p + 2)
    centred = rows - value.mean()
    a, ab, b = centred[:, :1], centred[:, 1:-1], centred[:, -1:]
    up = 1 + (2 * len(value) + 32) * ROUND_OFF
    variance = float(np.var(np.concatenate([a, b])))
    spread, off = variance**0.5, up * float(np.mean(wide[:, [0, -1]] ** 2)) ** 0.5
    if not variance > 0:
        raise ModelError(
            "the output has the same value at all points: nothing is to be shared out among the parameters"
        )
    low, high = max(spread / up - off, 0.0) ** 2, (up * spread + off) ** 2
    moved, d = wide[:, -1:] + up * wide.mean() + len(value) * unit, wide[:, :1] + wide[:, 1:-1]
    products = b * (ab - a)
    first = products.mean(axis=0)
    slack = (moved * np.abs(ab - a) + np.abs(b) * d + moved * d).mean(axis=0) * up
    slack = slack + (up - 1) * np.abs(products).mean(axis=0)
    norms, far = np.sqrt(np.mean((a - ab) ** 2, axis=0)), up * np.sqrt(np.mean(d**2, axis=0))
    total = norms**2 / 2
    ends_first = np.stack([first - slack, first + slack], axis=1)
    ends_total = np.stack([np.maximum(norms / up - far, 0) ** 2, (norms * up + far) ** 2], axis=1) / 2
    return np.stack([first, total]) / variance, _quotient(ends_first, low, high), _quotient(ends_total, low, high)


def _quotient(ends: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return intervals (p, 2) of x / v for x between the ends (p, 2) and v in [low, high], low >= 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.where(ends[:, 0] >= 0, ends[:, 0] / high, ends[:, 0] / low)
        most = np.where(ends[:, 1] >= 0, ends[:, 1] / low, ends[:, 1] / high)
    made = np.stack([least, most], axis=1)
    made = made + np.array([-4.0, 4.0]) * ROUND_OFF * np.abs(made)
    return (
        made
        if low > 0
        else np.stack([np.where(ends[:, 0] >= 0, made[:, 0], -np.inf), np.full(len(made), np.inf)], axis=1)
    )
