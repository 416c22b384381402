"""Operator terms in a basis of which few move: a change of coefficients is measured by one Euclidean norm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError

__all__ = ["Modes", "RotatedTerms"]

#: Rotated terms that vary less than this share of the one that varies most enter a bound by their norms.
LEADING = 1e-3


@dataclass(frozen=True)
class Modes:
    """B_l = sum_q back_lq A_q and x_l = sum_q forth_lq Delta_q, m of them, for the terms that move."""

    moving: np.ndarray  #: (Qa,) which coefficients vary on the training points
    back: np.ndarray  #: (m, Qa)
    forth: np.ndarray  #: (m, Qa)
    amounts: np.ndarray  #: (m,) root mean squares of x_l over the training points

    @classmethod
    def of(cls, spread: np.ndarray, moving: np.ndarray, units: np.ndarray, basis: np.ndarray) -> Modes:
        """Make them from a unitary basis (m, m) of the terms that move, each divided by its unit.

        spread : theta (M, Qa) less its mean; units : (m,)
        """
        back = np.zeros((len(basis), len(moving)), dtype=basis.dtype)
        forth = np.zeros_like(back)
        back[:, moving], forth[:, moving] = basis.T / units, basis.conj().T * units
        x = np.abs(spread @ forth.T)
        largest = np.where(np.any(x > 0, axis=0), x.max(axis=0, initial=0.0), 1.0)  # no square overflows
        return cls(moving, back, forth, largest * np.sqrt(np.mean((x / largest) ** 2, axis=0)))


@dataclass(frozen=True)
class RotatedTerms:
    """L leading terms B_l of an operator, scaled, and what all others cost.

    sum_q Delta_q A_q = sum_l x_l B_l + others, x = C Delta, ||others|| <= sum |remainder Delta| + loss ||x||_2, in the
    norms from P to P'. `loss` is what rounding takes: of the rotation, of B_l and of x.
    """

    weights: np.ndarray  #: (L, Qa) B_l = sum_q weights_lq A_q
    transform: np.ndarray  #: C (L, Qa)
    remainder: np.ndarray  #: (R, Qa)
    norms: np.ndarray  #: ||A_q|| (Qa,), upper bounds
    loss: np.ndarray  #: ()

    @classmethod
    def of(
        cls,
        modes: Modes,
        sizes: np.ndarray,
        norms: np.ndarray,
        proved: Callable[[np.ndarray], np.ndarray],
        rounding: Callable[[np.ndarray], float] | None = None,
    ) -> RotatedTerms:
        """Take those for leading that vary most, and scale B_l by (variation of x_l / size of B_l)^{1/2}.

        That makes J ||x||_2 as small as a sum of norms would be, for J = || [B_1 .. B_L] || in the norm of the sizes.

        sizes : of B_l (m,), in any norm: they decide only how sharp a bound is
        norms : ||A_q|| (Qa,), upper bounds from P to P'
        proved : upper bounds of ||sum_q w_q A_q|| (k,) for rows w (k, Qa) of weights
        rounding : of the sums that make B_l, from weights; None: `proved` and the user of B_l have charged all rounding
        """
        shares = modes.amounts * sizes
        leading = shares > LEADING * shares.max(initial=0.0)
        scales = np.sqrt(modes.amounts[leading]) / np.sqrt(sizes[leading])
        weights, transform = scales[:, None] * modes.back[leading], modes.forth[leading] / scales[:, None]
        back, forth, loss = modes.back[~leading], modes.forth[~leading], 0.0
        if rounding is not None and len(sizes):
            both = np.concatenate([weights, back]), np.concatenate([transform, forth])
            moving = modes.moving
            loss = rounding(weights) + _loss(both[0][:, moving], both[1][:, moving], norms[moving])
            if not loss < np.inf:
                raise StabilityError(
                    f"operator terms of the sizes {norms.min():.1e} to {norms.max():.1e}, relative to the product, are "
                    "lost in each other's rounding; choose other units for them and their coefficients"
                )
        others = (proved(back) + loss)[:, None] * forth
        fixed = np.diag(norms)[~modes.moving]
        return cls(weights, transform, np.concatenate([fixed, others]), norms, np.array(loss))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def _loss(back: np.ndarray, forth: np.ndarray, norms: np.ndarray) -> float:
    """Bound what rounding of both rotations, W = back and R = forth (m, m), and of x = R Delta costs, per ||x||_2.

    With N = diag(norms) and E = I - W^T R, sum_q Delta_q A_q - sum_l x_l B_l = sum_q (E Delta)_q A_q, and
    Delta = (I - E)^{-1} W^T x. So with e >= ||N E N^{-1}||_F and s = ||N W^T||_F / (1 - e) >= ||N Delta|| / ||x||, it
    is at most m^{1/2} e s; the rounding of x_l, at most k u (|R| |Delta|)_l, counts with ||B_l|| <= sum_q |W_lq|
    norms_q.
    Infinite unless e < 1/2.
    """
    m, u = len(back), 4 * ROUND_OFF  # complex
    with np.errstate(over="ignore", invalid="ignore"):
        difference = np.eye(m) - back.T @ forth
        off = np.abs(difference) + (m + 4) * u * (np.abs(back.T) @ np.abs(forth) + np.eye(m))
        e = float(np.linalg.norm(norms[:, None] * off / norms))
        sizes = norms[:, None] * np.abs(back.T)
        reach = float(np.linalg.norm(sizes)) / (1 - e) if e < 0.5 else np.inf
        of_x = (m + 8) * u * float(np.linalg.norm(np.abs(forth) / norms, axis=1) @ sizes.sum(axis=0))
        loss = (np.sqrt(m) * e + of_x) * reach * (1 + (8 * m**2 + 64) * ROUND_OFF)
    return float(loss) if loss < np.inf else np.inf
