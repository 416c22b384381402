"""Outputs with a dual problem in time: values are corrected, and their bounds are products of two residuals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lowrank.arrays import conj
from rbm.arithmetic.precision import ROUND_OFF, row_norms
from rbm.errors import ParameterError, PointError, moved
from rbm.estimators import Orthonormal
from rbm.online.chunks import tiles
from rbm.online.marching import Recursion
from rbm.time.certificate import Coefficients, TimeCertificate
from rbm.time.control import impulse
from rbm.time.convolution import convolution, faded_products
from rbm.time.lost_digits import LostDigits
from rbm.time.marches import Certified, certified

__all__ = ["Correction", "ReducedDual", "Start"]


class Correction(NamedTuple):
    """What a dual problem says of the error of an output, at all times (M, K + 1)."""

    value: np.ndarray  #: to be added to the output
    bound: np.ndarray  #: of the error of the sum, but for the rounding of the output itself


@dataclass(frozen=True)
class Start:
    """What the dual problem needs to know of e^0 = D x, the part of the initial value that the basis misses."""

    masses: np.ndarray  #: Z*^H M_q D (Qm, N*, N0 + Q0), D orthonormal in sum_q M_q
    error: np.ndarray  #: (Qm,) Frobenius norms of what these may be off by


@dataclass(frozen=True, eq=False, repr=False)
class ReducedDual:
    """A reduced dual problem in time (:func:`rbm.time.adjoint.adjoint_in_time`), for one linear output.

    With w_N^i = Z* omega^i, v_j = ||dt r^j||_{P'}, and v*_i the same of the dual residual,

        s_k = l^T u_N^k + (1 / dt) sum_{j<=k} (w_N^{k-j+1})^H (dt r^j),
        |s(u^k) - s_k| <= (1 / (dt^2 alpha)) (sum_{i<=k} v*_i^2)^{1/2} (sum_{j<=k} v_j^2)^{1/2}  + rounding,

    by Cauchy and Schwarz, as alpha dt (sum_i ||w^i - w_N^i||_P^2)^{1/2} <= (sum_i v*_i^2)^{1/2} for the implicit Euler
    method. For theta < 1 the energy bounds the means theta w^i + (1 - theta) w^{i-1}; w is these filtered in time, and
    a filter may be moved from one factor of a convolution to the other: v_j is then the norm of

        dt r~^j,    theta r~^j = r^j - (1 - theta) r~^{j-1},    r~^0 = 0.

    All of this is proved.

    Residuals are large in the first steps, those of u and those of w, but s_k sees the late ones of w with the early
    ones of u. So, for the implicit Euler method, with every q >= 1, q^2 = 1 + 2 s dt alpha lambda / max_q m_q,

        (q^{k-1} / ((1 - s) dt^2 alpha)) (sum_i q^{-2 (k-i)} v*_i^2)^{1/2} (sum_j q^{-2 (k-j)} v_j^2)^{1/2}

    holds, too: the energy estimate for q^i (w^i - w_N^i), of whose coercivity the share s pays for the growth. The
    least of s = 0, 1/4, 1/2, 3/4, 7/8 is taken at each time. Of the initial value's error e^0, (w_N^k)^H M e^0 / dt is
    added to s_k, and ||w^k - w_N^k||_M ||e^0||_M / dt to the bound (theta = 1), or ||l||_{M'} ||e^0||_M (theta < 1).

    The residual enters in its orthonormal coordinates, dt r = D R c: (omega^H B) (R c) with B = Z*^H D.
    rounding = (1 / dt) sum_j ||w_N^{k-j+1}||_P (floor of v_j) + that of the sums, of B, and of the digits of omega. All
    of it is proved: a sum of omega^H B R c over N*, k and K has at most 3 (N* + k + K + 16) u of ||omega|| ||B||
    ||R c||, the 3 being for complex numbers; the digits that omega does not have move it by u ||omega||, and twice that
    is charged; the bound itself is made with fewer than 64 (K + 8) roundings, and is enlarged by as many u. B's error
    is measured in extended precision with what that measurement may be off by. Everything is in coordinates of
    P-orthonormal bases, so that no unit of an unknown enters.

    Cost of a point: a march with N* basis vectors, 2 N* k flops a step and N* K^2 flops.
    """

    recursion: Recursion  #: Z*^H A_q^H Z*, Z*^H M_q Z*, Z*^H conj(l_q)
    state: Orthonormal  #: R* of the dual residual
    correction: np.ndarray  #: B = Z*^H D (N*, k)
    correction_error: float  #: Frobenius norm of what B may be off by
    orthonormality: float  #: eta* >= ||Z*^H P Z* - I||
    lost: LostDigits | None = None  #: of R*
    decay: float = 0.0  #: lambda with P >= lambda sum_q M_q
    start: Start | None = None  #: None without an initial value

    @property
    def size(self) -> int:
        """The number N* of dual basis vectors."""
        return self.correction.shape[0]

    @cached_property
    def certificate(self) -> TimeCertificate:
        """What bounds the error of the dual solution."""
        return TimeCertificate(self.state, self.recursion, self.lost, self.decay)

    @cached_property
    def _correction_size(self) -> float:
        return float(np.linalg.norm(self.correction)) * (1 + 2.0**-20)

    def truncate(self, rows: int) -> ReducedDual:
        """Return the same for a residual factor of the first `rows` rows; the dual basis stays as it is."""
        return replace(self, correction=self.correction[:, :rows])

    def correct(
        self, of: Coefficients, psi: np.ndarray, found: Certified, missed: np.ndarray, plain: np.ndarray,
        describe: Callable[[int], str] | None = None,
    ) -> Correction:  # fmt: skip
        """Return corrections at all times for M points.

        of : the coefficients of the points; psi (M, Ql) : those of the output
        found : the reduced trajectories with norms and coordinates of their residuals
        missed : the coordinates x of e^0 (:meth:`rbm.time.initial.ReducedInitial.missed`)
        plain : ||l||_{M'} ||e^0||_M (M,), what e^0 may do at any time; describe : names a point in messages

        Where numbers are too large for a correction there is none, and its bound is infinite.
        Raises ModelError, with the rows, for dual solutions that are not finite.
        """
        norms, residuals = found.norms, found.residuals
        assert norms is not None
        assert residuals is not None
        count, steps = norms.values.shape
        kind = np.result_type(residuals, self.recursion.rhs, self.recursion.operators, psi)
        value, bound = np.zeros((count, steps + 1), kind), np.zeros((count, steps + 1))
        bound[:, 0] = plain
        for rows in tiles(count, 16 * steps * (4 * self.size + 16)):
            steps_ = residuals[rows], norms.values[rows], norms.floors[rows]
            name = None if describe is None else lambda i, first=rows.start: describe(first + i)
            try:
                made = self._of_tile(of.at(rows), psi[rows], *steps_, missed[rows], plain[rows], name)
            except PointError as error:
                raise moved(error, rows.start, count) from None
            value[rows, 1:], bound[rows, 1:] = made
        lost = ~(np.isfinite(value) & np.isfinite(bound))
        if np.any(lost):
            value[lost], bound[lost] = 0.0, np.inf
        return Correction(value, bound)

    def _of_tile(
        self, of: Coefficients, psi: np.ndarray, residuals: np.ndarray, values: np.ndarray, floors: np.ndarray,
        missed: np.ndarray, plain: np.ndarray, describe: Callable[[int], str] | None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        count, steps, _ = residuals.shape
        dual, dt = self._solved(of, psi, steps, describe), self.recursion.dt
        assert dual.gamma is not None
        assert dual.norms is not None
        omega = dual.gamma[:, 1:]
        value = convolution(omega.conj(), residuals @ self.correction.T)
        unit = 3 * (sum(self.correction.shape) + steps + 16) * ROUND_OFF
        totals, dual_totals = values + floors, dual.norms.values + dual.norms.floors
        off = floors + (self.correction_error + unit * self._correction_size) * values + 4 * ROUND_OFF * totals
        sizes = row_norms(omega.reshape(count * steps, -1)).reshape(count, steps)
        sizes = sizes * ((1 + self.orthonormality) ** 0.5 * (1 + unit))
        bound = convolution(sizes[:, :, None], off[:, :, None])
        if self.recursion.theta < 1:
            totals = _filtered(residuals, values, floors, self.recursion.theta)
        bound += faded_products(totals, dual_totals, of.alpha * dt, self._rates(of))
        if np.any(plain):
            more, error = self._of_start(of, dual, omega, sizes, missed, plain * dt)
            value, bound = value + more, bound + error
        return value / dt, bound * ((1 + 64 * (steps + 8) * ROUND_OFF) / dt)

    def _solved(
        self, of: Coefficients, psi: np.ndarray, steps: int, describe: Callable[[int], str] | None
    ) -> Certified:
        """Return the dual solutions omega^0 .. omega^K with the norms of their residuals."""
        count = len(of.theta)
        rest, nothing = np.zeros((count, self.size)), np.zeros(count)
        control = np.broadcast_to(impulse(steps), (count, steps))
        given = Coefficients(conj(of.theta), of.weights, conj(psi), of.alpha, rest, (nothing, nothing), control)
        return certified(self.certificate, given, describe=describe)

    def _rates(self, of: Coefficients) -> np.ndarray:
        """Return dt alpha lambda / max_q m_q (M,), by which q^2 may grow; zeros where decay is not proved."""
        if self.recursion.theta != 1:
            return np.zeros(len(of.alpha))
        return self.recursion.dt * self.decay * of.alpha / of.weights.max(axis=1) * (1 - 16 * ROUND_OFF)

    def _of_start(
        self, of: Coefficients, dual: Certified, omega: np.ndarray, sizes: np.ndarray, missed: np.ndarray,
        plain: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Return what e^0 adds to values and bounds, times dt (M, K)."""
        if self.recursion.theta != 1 or self.start is None:
            return np.zeros(sizes.shape), np.broadcast_to(plain[:, None], sizes.shape)
        masses = self.start.masses[:, :, self.start.masses.shape[2] - missed.shape[1] :]
        first, floor = of.initial
        images = np.einsum("mq,qij,mj->mi", of.weights, masses, missed)
        value = np.einsum("mki,mi->mk", omega.conj(), images)
        assert dual.norms is not None
        try:
            _, l2 = self.certificate.estimates(of._replace(initial=(np.zeros_like(first),) * 2), dual.norms)
        except ParameterError:  # squares that overflow: the plain bound is left
            return value, np.full(sizes.shape, np.inf)
        unit = 3 * (self.size + masses.shape[2] + len(masses) + 8) * ROUND_OFF
        entries = of.weights @ (self.start.error + unit * np.linalg.norm(masses, axis=(1, 2)))
        of_mass = np.sqrt(of.weights @ self.certificate.sizes[1])
        off = entries * row_norms(missed) * (1 + unit) + of_mass * floor
        return value, l2.bound[:, 1:] * (first + floor)[:, None] + sizes * off[:, None]


def _filtered(residuals: np.ndarray, values: np.ndarray, floors: np.ndarray, theta: float) -> np.ndarray:
    """Return bounds (M, K) of ||dt r~^j|| from dt r^j = D y^j, y (M, K, k) of norms `values`, off by `floors`.

        theta r~^j = r^j - (1 - theta) r~^{j-1},    r~^0 = 0

    Rounding, proved: a step adds 3 u (8 u for complex numbers) of s_k = sum_j ((1 - theta) / theta)^{k-j} v_j / theta,
    and what was added before is not enlarged, so that after k steps it is below 8 k u s_k.
    """
    made, ratio = np.zeros(values.shape), (1 - theta) / theta
    last, off, sizes = np.zeros_like(residuals[:, 0]), np.zeros(len(values)), np.zeros(len(values))
    for k in range(values.shape[1]):
        last = residuals[:, k] / theta - ratio * last
        off, sizes = floors[:, k] / theta + ratio * off, values[:, k] / theta + ratio * sizes
        made[:, k] = row_norms(last) + off + 8 * (k + residuals.shape[2] + 8) * ROUND_OFF * (sizes + off)
    return made
