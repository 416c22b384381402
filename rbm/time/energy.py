"""The energy norm of a trajectory whose steps come one after the other."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from rbm.arithmetic import extended
from rbm.full_order import FullOrderModel
from rbm.time.mass import Mass

__all__ = ["EnergySum", "energy_form"]


class InTime(Protocol):
    """What is asked of a time-dependent model (:class:`rbm.TimeModel`)."""

    spatial: FullOrderModel
    mass: Mass
    dt: float
    theta: float


class EnergySum:
    """The norms of e^0, e^1, ..: (||e^k||_M^2 + dt sum_{j<=k} Re (A e_theta^j, e_theta^j))^{1/2}, and ||e^k||_M.

    coefficients : of A (Qa,) and M (Qm,)
    sizes : take |A_q| and |M_q| in place of the terms; infinite for terms that show no entries
    """

    def __init__(self, model: InTime, of_a: np.ndarray, of_m: np.ndarray, *, sizes: bool = False) -> None:
        spatial = model.spatial
        self.known = not (sizes and (spatial.black_box or spatial.low_rank_terms))
        self.stiffness: Any = spatial.split_terms
        self.mass: Any = model.mass.split
        if sizes and self.known:
            self.stiffness, self.mass = (
                [abs(t) for t in terms] for terms in (spatial.operator_terms, model.mass.terms)
            )
        self.dt, self.theta, self.of_a, self.of_m = model.dt, model.theta, of_a, of_m
        self.work = self.l2 = self.norm = 0.0
        self._before: np.ndarray | None = None

    def add(self, vector: np.ndarray) -> None:
        """Take the vector e^k (n, 1) of the next time; `norm` and `l2` are then about it."""
        if not self.known:
            self.norm = self.l2 = np.inf
            return
        if self._before is not None:
            middle = self.theta * vector + (1 - self.theta) * self._before
            self.work += self.dt * energy_form(self.stiffness, self.of_a, middle)
        square = energy_form(self.mass, self.of_m, vector)
        self.l2, self.norm = (float(np.sqrt(max(s, 0.0))) for s in (square, square + self.work))
        self._before = vector


def energy_form(terms: Any, coefficients: np.ndarray, vector: np.ndarray) -> float:
    """Return Re sum_q c_q v^H T_q v for v (n, 1); `terms` are matrices, or split for products in extended precision."""
    images = (t @ vector if hasattr(t, "toarray") or isinstance(t, np.ndarray) else extended.product(t, vector)[0]
              for t in terms)  # fmt: skip
    return float(np.real(sum(c * np.vdot(vector, image) for c, image in zip(coefficients, images, strict=True))))
