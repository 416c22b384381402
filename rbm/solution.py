"""Answers for a batch of parameter points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rbm.estimate import Estimate

__all__ = ["Solution", "room_for", "write"]


NONE = np.zeros(0, dtype=int)
NONE.setflags(write=False)


@dataclass(frozen=True)
class Solution:
    """Answers of :meth:`ReducedModel.solve` for M parameter points.

    A point that failed, of those asked for with ``on_error="mark"``, has NaN for coefficients and outputs and infinity for bounds.
    """

    coefficients: np.ndarray  #: gamma (M, N): u(mu) ~ Z gamma; (M, 0) if they were not to be kept
    outputs: dict[str, np.ndarray]  #: {name: (M,)}
    estimate: Estimate | None = None  #: error of the solution in the P-norm
    output_bounds: dict[str, np.ndarray] = field(
        default_factory=dict
    )  #: {name: (M,)}: |s(mu) - s_N(mu)| is at most this
    failed: np.ndarray = field(default_factory=lambda: NONE)  #: (k,) rows that failed
    reasons: tuple[str, ...] = ()  #: what went wrong, one sentence for each kind of failure

    @property
    def bound(self) -> np.ndarray:
        """(M,) upper bound of ||u(mu) - Z gamma(mu)||_P."""
        if self.estimate is None:
            raise ValueError("this solution was made with estimate=False; call solve(mus) again without it")
        return self.estimate.bound

    def __len__(self) -> int:
        return len(self.coefficients)

    def __repr__(self) -> str:
        n = self.coefficients.shape[1]
        size = f", N = {n}" if n else ""
        failed = f", {len(self.failed)} failed" if len(self.failed) else ""
        error = "no error estimate"
        if self.estimate is not None:
            bound = self.bound
            good = bound[np.isfinite(bound)] if len(self.failed) else bound
            error = f"error bound up to {good.max():.2e}" if len(good) else "no error bound"
        outputs = f", outputs {', '.join(self.outputs)}" if self.outputs else ""
        return f"Solution({len(self)} points{size}{failed}, {error}{outputs})"


def room_for(part: Solution, count: int) -> Solution:
    """A solution for `count` points with arrays like those of `part`; every point is marked as failed until it is written."""

    def room(array: np.ndarray, value: Any) -> np.ndarray:
        return np.full((count, *array.shape[1:]), value, dtype=array.dtype)

    estimate = part.estimate
    return replace(
        part,
        coefficients=room(part.coefficients, np.nan),
        outputs={name: room(a, np.nan) for name, a in part.outputs.items()},
        estimate=None
        if estimate is None
        else Estimate(
            room(estimate.value, np.inf),
            room(estimate.floor, np.inf),
            room(estimate.resolved, False),
            None if estimate.interpolation is None else room(estimate.interpolation, np.inf),
        ),
        output_bounds={name: room(a, np.inf) for name, a in part.output_bounds.items()},
    )


def write(target: Solution, rows: slice | np.ndarray, part: Solution) -> None:
    """Put the answers of `part` at `rows` of `target`."""
    for to, array in zip(_arrays(target), _arrays(part), strict=True):
        to[rows] = array


def _arrays(solution: Solution) -> Iterator[np.ndarray]:
    """All arrays with one row a point, in one order."""
    yield solution.coefficients
    yield from solution.outputs.values()
    if solution.estimate is not None:
        yield solution.estimate.value
        yield solution.estimate.floor
        yield solution.estimate.resolved
        if solution.estimate.interpolation is not None:
            yield solution.estimate.interpolation
    yield from solution.output_bounds.values()
