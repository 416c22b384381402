"""The ranks of several low-rank approximations that leave the least error under one budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import refuse_hidden
from lowrank.budget import Options, choose
from lowrank.limits import at_least

__all__ = ["RankAllocation", "allocate_rank"]


@dataclass(frozen=True)
class RankAllocation:
    """Result of :func:`allocate_rank`, which unpacks into its four fields."""

    ranks: tuple[int, ...]  #: of every block; all its singular values where it is dense
    dense: tuple[bool, ...]  #: kept as it is, without factors
    cost: int  #: what is spent of the budget
    error: float  #: (sum of the squares of the discarded singular values)^{1/2}

    def __iter__(self) -> Iterator[Any]:
        return iter((self.ranks, self.dense, self.cost, self.error))


def allocate_rank(
    singular_values: Sequence[Any], sizes: Sequence[int], budget: int, *, dense: Sequence[int] | None = None
) -> RankAllocation:
    """Return the ranks of several blocks that leave the least total error within a budget of parameters.

    The r_b with sum_b r_b c_b <= budget and the least sum_b sum_{i >= r_b} s_bi^2, over all choices: exact.

    A term i of block b takes s_bi^2 off the loss and costs c_b. The terms of a block come in order, so that its loss is
    convex in its rank, and buying terms by gain per cost solves the problem with fractions of terms allowed, which
    bounds the loss of any choice from below. Whole terms are found by dynamic programming over the blocks,
    :func:`lowrank.budget.choose`, which shares out bits too.

    Parameters
    ----------
    singular_values : s_b (n_b,) >= 0, descending, of every block
    sizes : c_b > 0, integers: what one unit of rank costs, V_b + H numbers for a factorised block (V_b, H)
    budget : largest total cost, in the unit of `sizes`: a number of parameters, not of ranks
    dense : d_b, what a block costs that is kept without factors (V_b H numbers) and has no error then; by default there
        is no such offer

    Returns
    -------
    RankAllocation; among choices of equal error a cheapest one

    Raises
    ------
    ValueError
        singular values that are negative, NaN or not descending, sizes that are not positive, a negative budget.

    Notes
    -----
    "Exact" up to rounding: what is compared are discarded squares in double precision, added up from the small end.
    Choices whose errors differ by less than some eps of these errors are equal, however small they are beside the norm.
    Values below 1e-162 of the largest, whose squares vanish, count as zeros. Cost: a few terms above and below the
    solution by fractions as a rule (a few tenths of a second for 8 blocks of 384 values); with blocks of many different
    sizes and flat spectra the number of combinations grows.

    Examples
    --------
    The second term of the first block gains most per cost, but does not fit beside the other block's.

    >>> import numpy as np
    >>> allocate_rank([np.array([3.0, 2.0]), np.array([2.5])], sizes=[10, 9], budget=19)
    RankAllocation(ranks=(1, 1), dense=(False, False), cost=19, error=2.0)
    """
    if len(sizes) != len(singular_values) or (dense is not None and len(dense) != len(sizes)):
        raise ValueError(
            f"there must be as many sizes (and dense costs) as blocks, got {len(sizes)} for {len(singular_values)}"
        )
    budget = at_least("budget", budget, 0)
    costs = [at_least(f"size of block {b}", size, 1) for b, size in enumerate(sizes)]
    whole = [None if dense is None else at_least(f"dense cost of block {b}", dense[b], 0) for b in range(len(costs))]
    values = [_checked(s, b) for b, s in enumerate(singular_values)]
    # no square overflows or vanishes as a whole
    scale = max((float(s[0]) for s in values if len(s)), default=0.0) or 1.0
    squares = [(s / scale) ** 2 for s in values]
    budget = min(budget, sum(cost * len(s) for cost, s in zip(costs, squares, strict=True)))  # nothing costs more
    options = [_options(s, cost, d, budget) for s, cost, d in zip(squares, costs, whole, strict=True)]
    chosen = choose([o for o, _ in options], budget)
    ranks = [int(r[j]) for (_, r), j in zip(options, chosen, strict=True)]
    left = sum(float(np.sum(s[r:])) for s, r in zip(squares, ranks, strict=True) if r >= 0)
    kept = tuple(len(s) if r < 0 else r for s, r in zip(squares, ranks, strict=True))
    cost = sum(int(o.costs[j]) for (o, _), j in zip(options, chosen, strict=True))
    return RankAllocation(kept, tuple(r < 0 for r in ranks), cost, scale * float(np.sqrt(left)))


def _checked(values: Any, block: int) -> np.ndarray:
    refuse_hidden(f"singular values of block {block}", values)
    s = np.asarray(values, dtype=float)
    if s.ndim != 1 or not np.all(np.isfinite(s) & (s >= 0)) or np.any(np.diff(s) > 0):
        raise ValueError(f"singular values of block {block} must be finite, >= 0 and descending (n,), got {s}")
    return s


def _options(squares: np.ndarray, size: int, dense: int | None, budget: int) -> tuple[Options, np.ndarray]:
    """Return all affordable options of a block, dense among them, and their ranks (-1 for dense)."""
    ranks = np.arange(np.count_nonzero(squares) + 1)
    costs, losses = size * ranks, np.append(np.cumsum(squares[: len(ranks) - 1][::-1])[::-1], 0.0)
    if dense is not None and dense < costs[-1]:
        cheaper = costs < dense
        ranks, costs, losses = (np.append(a[cheaper], last) for a, last in ((ranks, -1), (costs, dense), (losses, 0.0)))
    affordable = costs <= budget
    return Options(costs[affordable], losses[affordable]), ranks[affordable]
