"""The randomised estimator "sketched": a few random combinations of the residual's coordinates give its norm.

Its bounds hold with probability, not with certainty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from lowrank.arrays import is_complex
from rbm.arithmetic import extended
from rbm.arithmetic.precision import column_norm_bounds, widened
from rbm.errors import ModelError
from rbm.estimators.orthonormal import Orthonormal
from rbm.estimators.residual_factor import FactorNorm
from rbm.reduction.projected_system import Reduction
from rbm.storage.registry import register

__all__ = ["Sketched"]

#: Rows k of the sketch when none are given.
ROWS = 40
#: Failure probability of one bound when none is given.
FAILURE = 1e-9
#: Inflation beyond which a sketch is refused.
LARGEST = 1e12


@register("estimator")
@dataclass(frozen=True)
class Sketched(FactorNorm):
    """A randomised E_onb. ITS BOUND HOLDS WITH PROBABILITY, NOT WITH CERTAINTY.

        value = ||Omega R c||_2 / sqrt(k),    Omega (k, k0) Gaussian.

    R (k0, m) is the factor of E_onb (:class:`rbm.estimators.Orthonormal`); S = Omega R / sqrt(k) (k, m) replaces it,
    however many rows it has. For x = R c that does not depend on Omega, d value^2 / ||x||^2 is chi-square with d
    degrees of freedom, so that

        P( ||x|| > inflation value ) = failure,   inflation = (d / q)^{1/2},   q the `failure` quantile of chi-square d,

        bound = inflation (value + rounding and defects as in E_onb),   floor = bound - value.

    d = k for real R and c; d = 2 k for complex R, with complex Omega. For real R and complex c = a + i b, where Omega
    is real, ||Omega x||^2 = ||Omega R a||^2 + ||Omega R b||^2 is no chi-square variable, but at least q / k ||x||^2
    where both parts are at least q / k times theirs: d = k, and q is the failure / 2 quantile.

    **Every bound is below the exact residual norm with probability `failure`.** For M points fixed before Omega was
    drawn all bounds hold with probability 1 - M failure or more (union bound): for a total risk p take failure = p / M.
    It costs little: inflation is 1.49, 1.93, 2.57 for failure = 1e-3, 1e-6, 1e-10 with d = 40, and 1.31, 1.55, 1.84
    with d = 80. For points chosen *with* these estimates (a greedy selection, an optimiser on the bound) nothing is
    claimed. The value itself may be too large as well as too small, by inflation at most and with about the same
    probability. Cost per point: O(k m). Values are not evaluated again near round-off: the floor there is that of plain
    sums, inflation (m + 4) u s(mu).

    Source: Smetana, Zahm, Patera, arXiv 1807.10489.
    """

    kind: ClassVar[str] = "sketched"
    certain: ClassVar[bool] = False

    failure: float  #: probability that one bound is too small
    seed: int  #: seed of Omega

    @classmethod
    def prepare(
        cls, reduction: Reduction, training: np.ndarray, *, rows: int = ROWS, failure: float = FAILURE, rng: int = 0
    ) -> Self:
        """Make a sketch S (rows, m) of E_onb's factor; :meth:`of` makes one without the full model."""
        return cls.of(Orthonormal.prepare(reduction, training), rows, failure, rng)

    @classmethod
    def of(cls, state: Orthonormal, rows: int = ROWS, failure: float = FAILURE, rng: int = 0) -> Self:
        """Make a sketch S = Omega R / sqrt(rows) from a state of E_onb.

        Raises ModelError for rows < 1, failure outside (0, 0.5], an `rng` that is not an integer >= 0.
        """
        if not (isinstance(rows, int | np.integer) and rows >= 1):
            raise ModelError(f"a sketch needs a whole number of rows of at least 1, got {rows!r}")
        if not (isinstance(failure, int | float | np.floating) and 0 < failure <= 0.5):
            raise ModelError(f"the failure probability of a sketch must be above 0 and at most 0.5, got {failure!r}")
        if not (isinstance(rng, int | np.integer) and rng >= 0):
            raise ModelError(f"the rng of a sketch must be an integer >= 0, got {rng!r}")
        factor = widened(state.factor)
        if not _inflation((2 if factor.dtype.kind == "c" else 1) * rows, failure / 2) < LARGEST:
            raise ModelError(
                f"{rows} rows of a sketch are too few for a failure probability of {failure:g}: its bounds would say "
                "nothing"
            )
        # the size in the seed: sketches of the bases of one greedy run are independent of each other
        generator = np.random.default_rng([int(rng), len(factor)])
        omega = generator.standard_normal((rows, len(factor)))
        if factor.dtype.kind == "c":
            omega = (omega + 1j * generator.standard_normal(omega.shape)) / math.sqrt(2)
        omega = omega / math.sqrt(rows)
        hi, lo = extended.product(omega, factor)
        sketch = hi + lo
        norms = column_norm_bounds(sketch)
        made = cls(sketch, norms, state.defects, state.orthogonality, float(failure), int(rng))
        wrong = column_norm_bounds(np.abs(hi - sketch + lo) + extended.rounding(omega, factor)) + 2.0**-53 * norms
        return made.moved(sketch, wrong).astype(np.finfo(state.factor.dtype).dtype)

    @property
    def rows(self) -> int:
        """The number of rows k of the sketch."""
        return int(self.factor.shape[0])

    @property
    def label(self) -> str:
        """The name with the failure probability."""
        return f"{self.method} ({self.rows} rows; each bound fails with probability {self.failure:.1e})"

    def inflation(self, dtype: npt.DTypeLike) -> float:
        """Return (d / q)^{1/2} for residual coefficients c of the type `dtype`, real or complex."""
        if is_complex(self.factor):
            return _inflation(2 * self.rows, self.failure)
        return _inflation(self.rows, self.failure / 2 if np.dtype(dtype).kind == "c" else self.failure)

    def floor_weights(self, dtype: npt.DTypeLike) -> np.ndarray:
        """Return inflation times the weights (m,) of the plain sum."""
        return self.inflation(dtype) * super().floor_weights(dtype)

    def relative(self, dtype: npt.DTypeLike) -> float:
        """Return inflation (1 + relative of the plain sum) - 1."""
        return self.inflation(dtype) * (1 + super().relative(dtype)) - 1

    def floor_constant(self, dtype: npt.DTypeLike) -> float:
        """Return inflation times the constant of the plain sum."""
        return self.inflation(dtype) * super().floor_constant(dtype)

    def truncate(self, size: int, columns: int) -> Self:
        """Return the state with the leading columns of S.

        Those of R use the leading rows of R only, and the columns of Omega for these are Gaussian as before.
        """
        factor, norms, defects = self.factor[:, :columns], self.norms[:columns], self.defects[:columns]
        return replace(self, factor=factor, norms=norms, defects=defects)


def _inflation(degrees: int, failure: float) -> float:
    """Return (d / q)^{1/2}, where q is the `failure` quantile of chi-square with d degrees of freedom.

    Infinite where q underflows.
    """
    from scipy.special import gammaincinv  # not at the top: `import rbm` is light

    half = float(gammaincinv(degrees / 2, failure))  # q / 2
    return (1 + 1e-9) * math.sqrt(degrees / 2 / half) if half > 0 else math.inf
