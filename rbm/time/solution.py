"""The answer of a reduced model in time: trajectories, bounds and outputs at every step of many parameter points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rbm.errors import ModelError
from rbm.estimate import Estimate

__all__ = ["TimeSolution"]


@dataclass(frozen=True, eq=False, repr=False)
class TimeSolution:
    """Answers for M parameter points at the times t_0 .. t_K; made by :meth:`ReducedTimeModel.solve`."""

    mus: np.ndarray  #: (M, p)
    times: np.ndarray  #: (K + 1,)
    control: np.ndarray  #: (M, K)
    coefficients: np.ndarray | None  #: gamma (M, K + 1, N), if they were kept
    estimate: Estimate | None = None  #: in the energy norm up to each time, arrays (M, K + 1)
    estimate_l2: Estimate | None = None  #: in the norm of M at each time, arrays (M, K + 1)
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)  #: (M, K + 1) by name
    output_bounds: Mapping[str, np.ndarray] = field(default_factory=dict)  #: (M, K + 1) by name

    @property
    def bound(self) -> np.ndarray:
        """Bounds (M, K + 1) of (||e^k||_M^2 + dt sum_{j<=k} Re (A e_theta^j, e_theta^j))^{1/2}.

        Raises ModelError for an answer made with ``estimate=False``.
        """
        return _known(self.estimate).bound

    @property
    def bound_l2(self) -> np.ndarray:
        """Bounds (M, K + 1) of ||e^k||_M, at each time.

        Raises ModelError for an answer made with ``estimate=False``.
        """
        return _known(self.estimate_l2).bound

    def __len__(self) -> int:
        return len(self.mus)

    def __repr__(self) -> str:
        steps = len(self.times) - 1
        error = "no error estimate"
        if self.estimate is not None and len(self):
            error = (
                f"error bound up to {float(self.bound.max()):.2e}, at one time up to {float(self.bound_l2.max()):.2e}"
            )
        outputs = f", outputs {', '.join(self.outputs)}" if self.outputs else ""
        return f"TimeSolution({len(self)} points, {steps} steps, {error}{outputs})"


def _known(estimate: Estimate | None) -> Estimate:
    if estimate is None:
        raise ModelError("this answer has no error estimate; call solve(mus, control) without estimate=False")
    return estimate
