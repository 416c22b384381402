"""The result of every estimator: a value, its floor, and whether it is resolved.

Below the floor round-off hides the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from lowrank.arrays import beside, namespace

__all__ = ["RESOLVED", "Estimate"]

#: An estimate is resolved if it is at least this many floors: the deviation is then at most 10 % of the exact value,
#: |value - exact| <= floor <= value / 11  implies  |value - exact| <= exact / 10.
RESOLVED = 11.0


@dataclass(frozen=True)
class Estimate:
    """Error estimates for M parameter points. Only `bound` is a bound.

    value : (M,) the estimate; equal to `floor` where a square came out negative, which is never clipped or hidden
    floor : (M,) how far round-off and what was neglected may have moved the value: |value - exact| <= floor
    resolved : (M,) True where the value is right to 10 % or better, value >= 11 floor
    bound : (M,) value + floor
    interpolation : (M,) the share of the floor that is due to a model that is not affine and was interpolated; None for
        affine models
    quantization : (M,) the share of the floor that is due to a basis, or coefficients, in few bits; None where they are
        not

    The arrays live where the model does: :meth:`rbm.ReducedModel.to`, :meth:`rbm.Solution.to`.
    """

    value: np.ndarray
    floor: np.ndarray
    resolved: np.ndarray
    interpolation: np.ndarray | None = None
    quantization: np.ndarray | None = None

    @classmethod
    def from_norm(cls, value: np.ndarray, floor: np.ndarray) -> Estimate:
        """Make an estimate from a value (M,) and its floor (M,)."""
        return cls(value, floor, value >= RESOLVED * floor)

    @classmethod
    def from_square(cls, square: np.ndarray, floor: np.ndarray) -> Estimate:
        """Make an estimate from a computed squared norm (M,) and the floor (M,) of its root.

        Its value is the root where the square is positive, the floor where it is not; NaN stays NaN.
        """
        xp = namespace(square, floor)
        positive = ~(square <= 0)
        root = xp.sqrt(xp.where(positive, square, xp.zeros_like(square)))
        return cls.from_norm(xp.where(positive, root, floor), floor)

    @classmethod
    def concatenate(cls, parts: Sequence[Estimate]) -> Estimate:
        """Make one estimate from those of consecutive pieces of a batch."""
        if len(parts) == 1:
            return parts[0]
        xp = namespace(*(p.value for p in parts))
        joined: dict[str, Any] = {}
        for name in (f.name for f in fields(cls)):
            arrays = [getattr(p, name) for p in parts]
            joined[name] = None if any(a is None for a in arrays) else xp.concat(arrays)
        return cls(**joined)

    @property
    def bound(self) -> np.ndarray:
        """The certified upper bound (M,), value + floor."""
        return self.value + self.floor

    def scaled(self, factor: np.ndarray) -> Estimate:
        """Return the estimate times a positive factor (M,), 1/beta for instance."""
        return self.mapped(lambda array, name: array if name == "resolved" else array * factor)

    def mapped(self, function: Callable[[Any, str], Any]) -> Estimate:
        """Return the estimate with function(array, name of the field) for each of its arrays (M,)."""
        arrays: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        made: dict[str, Any] = {name: None if a is None else function(a, name) for name, a in arrays.items()}
        return Estimate(**made)

    def interpolated(self, error: np.ndarray) -> Estimate:
        """Return the estimate with `error` (M,), what interpolation of the model adds at most.

        It is added to the floor, and kept as the share of it that is due to interpolation.
        """
        return replace(Estimate.from_norm(self.value, self.floor + error), interpolation=error)

    def quantized(self, error: np.ndarray) -> Estimate:
        """Return the estimate with `error` (M,), how far few bits move the solution, added to the floor and kept."""
        floor = (self.floor + error) * (1 + 2.0**-51)
        return replace(self, floor=floor, resolved=self.resolved & (self.value >= RESOLVED * floor), quantization=error)

    def __getitem__(self, index: Any) -> Estimate:
        index = beside(index, self.value)
        return self.mapped(lambda array, _: array[index])

    def __len__(self) -> int:
        return int(self.value.shape[0])

    def __repr__(self) -> str:
        if len(self) == 0:
            return "Estimate(0 points)"
        if len(self) == 1:
            state = "resolved" if bool(self.resolved[0]) else "not resolved"
            bound, value, floor = (float(a[0]) for a in (self.bound, self.value, self.floor))
            return f"Estimate(bound {bound:.3e} = value {value:.3e} + floor {floor:.1e}, {state})"
        xp, bounds = namespace(self.value), self.bound
        return (
            f"Estimate({len(self)} points, bound {float(xp.min(bounds)):.3e} to {float(xp.max(bounds)):.3e}, "
            f"floor up to {float(xp.max(self.floor)):.1e}, {int(xp.count_nonzero(self.resolved))} resolved)"
        )
