"""Data with their noise beside a reduced model: the logarithm of the likelihood, and how far the full model's is away.

Real data have Gaussian noise of standard deviation sigma; so have the real and the imaginary part of complex data, each
and independently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import ModelError
from rbm.reduced.interface import Reduced
from rbm.reduced.output_rows import check_single
from rbm.uses.measurements import LARGEST, finite_numbers

__all__ = ["LogLikelihood", "Observations", "read_observations"]

#: Relative errors of one term in units of u: the difference, its modulus, the division, the square.
OF_TERM = 20
#: What sums lose of terms below the range of numbers.
TINY = 4 * float(np.finfo(float).tiny)


class LogLikelihood(NamedTuple):
    """The logarithm of a likelihood at M points, and an interval that holds the full model's."""

    value: np.ndarray  #: (M,)
    low: np.ndarray  #: (M,)
    high: np.ndarray  #: (M,)

    @property
    def bound(self) -> np.ndarray:
        """A bound (M,) of the distance of the full model's from the value; infinite where the value is."""
        lost = ~np.isfinite(self.value)
        value = np.where(lost, 0.0, self.value)
        farther = np.maximum(value - self.low, self.high - value) * (1 + 4 * ROUND_OFF)
        return np.where(lost, np.inf, farther)


@dataclass(frozen=True)
class Observations:
    """k data y with noise sigma, of outputs of a model."""

    names: tuple[str, ...]  #: of the outputs that were observed
    owner: np.ndarray  #: (k,) which of them each datum is of
    data: np.ndarray  #: y (k,), complex if one of the outputs is
    noise: np.ndarray  #: sigma (k,)
    constant: float  #: the logarithm of the normalising factor
    constant_error: float  #: what rounding may have moved it by

    def log_likelihood(
        self, values: Mapping[str, np.ndarray], bounds: Mapping[str, np.ndarray] | None = None
    ) -> LogLikelihood:
        """Return log L at outputs s (M,), and an interval of it at all s' with |s' - s| <= b; None: b is zero.

            log L = C - sum_i r_i^2 / 2,  r_i = |y_i - s_i| / sigma_i,  d_i = b_i / sigma_i,
            C - sum_i (r_i + d_i)^2 / 2  <=  log L'  <=  C - sum_i max(r_i - d_i, 0)^2 / 2.

        The lower end is the farther one, by sum_i (r_i d_i + d_i^2 / 2). Both distances are summed as they are, not as
        differences of ends. The rounding of a sum of k terms of one sign is (k + 20) u of it, in any order; that of the
        last addition is u of the result. A likelihood below the range of numbers is zero, log L = -inf, and nothing
        else is claimed of it.
        """
        count = len(self.data)
        square = np.zeros(len(next(iter(values.values()))))
        below, above = np.zeros_like(square), np.zeros_like(square)
        with np.errstate(over="ignore", invalid="ignore"):
            for y, sigma, k in zip(self.data, self.noise, self.owner, strict=True):
                away = np.abs(y - np.asarray(values[self.names[k]])) / sigma
                square = square + away * away
                if bounds is not None:
                    off = np.asarray(bounds[self.names[k]]) / sigma
                    below = below + off * (away + off / 2)
                    near = np.minimum(off, away)
                    above = above + near * (away - near / 2)
            unit = (count + OF_TERM) * ROUND_OFF
            made = self.constant - square / 2
            rounding = square / 2 * unit + np.abs(made) * ROUND_OFF + self.constant_error + count * TINY
            below, above = ((d * (1 + 2 * unit) + rounding) * (1 + 8 * ROUND_OFF) for d in (below, above))
            low, high = np.nextafter(made - below, -np.inf), np.nextafter(made + above, np.inf)
        lost = ~(np.isfinite(made) & np.isfinite(low))
        return LogLikelihood(*(np.where(lost, end, a) for a, end in ((made, -np.inf), (low, -np.inf), (high, np.inf))))


def read_observations(reduced: Reduced, data: Any) -> Observations:
    """Return the data {output: (value, sigma)}, checked against the model; value and sigma are numbers or (m,).

    Raises ModelError for an output that the model does not have, for data that are no pairs, of other lengths, not
    finite, complex where the output is real or real where it is complex, and for noise that is not positive.
    """
    known = ", ".join(map(repr, reduced.outputs)) or "none"
    if not isinstance(data, Mapping):
        raise ModelError(
            f"data must be a dictionary {{output: (value, sigma)}}, got {type(data).__name__}; the model has the "
            f"outputs {known}"
        )
    if not data:
        raise ModelError(f"data are empty: nothing is observed; the model has the outputs {known}")
    for name in data:
        if name not in reduced.outputs:
            raise ModelError(f"data name the output {name!r}, which the model does not have; its outputs are {known}")
        check_single(reduced.outputs, name, "a posterior")
    middle = reduced.parameters.bounds.mean(axis=1)
    kinds = {name: a.dtype.kind for name, a in reduced.solve(middle, False, on_error="mark").outputs.items()}
    owner, values, noise = [], [], []
    for k, (name, pair) in enumerate(data.items()):
        y, sigma = _pair(name, pair, kinds[name] == "c")
        owner += [k] * len(y)
        values.append(y)
        noise.append(sigma)
    made, sizes = np.concatenate(values), np.concatenate(noise)
    with np.errstate(over="ignore"):
        largest = float(np.max(np.abs(made) / sizes))
    if not largest < LARGEST:
        raise ModelError(
            f"data are up to {largest:.3g} standard deviations sigma, whose squares are beyond the range of double "
            "precision; give sigma in the units of the data"
        )
    whole = np.concatenate([np.full(len(y), 2.0 if y.dtype.kind == "c" else 1.0) for y in values])
    terms = np.concatenate([-whole * np.log(sizes), -whole * math.log(2 * math.pi) / 2])
    error = 8 * ROUND_OFF * math.fsum(np.abs(terms))
    return Observations(tuple(data), np.array(owner), made, sizes, math.fsum(terms), error)


def _pair(name: str, pair: Any, complex_output: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return values (m,) and noise (m,) of one output."""
    if not (isinstance(pair, tuple | list) and len(pair) == 2):
        raise ModelError(f"the data of {name!r} must be a pair (value, sigma), got {pair!r:.60}")
    y, sigma = finite_numbers(f"data of {name!r}", pair[0]), finite_numbers(f"sigma of {name!r}", pair[1])
    if y.ndim > 1 or not y.size:
        raise ModelError(f"data of {name!r} must be a number or (m,), got shape {y.shape}")
    y = np.atleast_1d(y)
    if sigma.shape not in ((), (1,), y.shape):
        raise ModelError(f"sigma of {name!r} has shape {sigma.shape}, its {len(y)} data need a number or ({len(y)},)")
    if sigma.dtype.kind == "c" or not np.all(sigma > 0):
        raise ModelError(f"sigma of {name!r} is a standard deviation and must be positive, got {np.ravel(sigma)[:3]}")
    if y.dtype.kind == "c" and not complex_output:
        raise ModelError(f"data of {name!r} are complex, and the output is real; give its real value")
    if y.dtype.kind != "c" and complex_output:
        raise ModelError(
            f"data of {name!r} are real, and the output is complex; give complex data, or make an output of its real "
            "part or its modulus if that is what was measured"
        )
    return y, np.broadcast_to(sigma, y.shape).astype(float)
