"""The ranks of several low-rank approximations that leave the least error under one budget."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import refuse_hidden

__all__ = ["RankAllocation", "allocate_rank"]

#: Errors are compared with so many eps of themselves to spare: rounding never cuts off the optimum.
SLACK = 64 * np.finfo(float).eps
#: Choices that the first, quick search follows.
BEAM = 256


@dataclass(frozen=True)
class RankAllocation:
    """Result of :func:`allocate_rank`, which unpacks into its four fields."""

    ranks: tuple[int, ...]  #: of every block; all its singular values where it is dense
    dense: tuple[bool, ...]  #: kept as it is, without factors
    cost: int  #: what is spent of the budget
    error: float  #: (sum of the squares of the discarded singular values)^{1/2}

    def __iter__(self) -> Iterator[Any]:
        return iter((self.ranks, self.dense, self.cost, self.error))


class _Options(NamedTuple):
    """The options of one block: costs strictly ascending, losses strictly descending."""

    costs: np.ndarray  #: (j,) integers
    losses: np.ndarray  #: (j,) sum of the squares that are discarded, added up from the small end
    ranks: np.ndarray  #: (j,); -1 for dense


def allocate_rank(
    singular_values: Sequence[Any], sizes: Sequence[int], budget: int, *, dense: Sequence[int] | None = None
) -> RankAllocation:
    """Return the ranks of several blocks that leave the least total error within a budget of parameters.

    The r_b with sum_b r_b c_b <= budget and the least sum_b sum_{i >= r_b} s_bi^2, over all choices: exact.

    A term i of block b takes s_bi^2 off the loss and costs c_b. The terms of a block come in order, so that its loss is
    convex in its rank, and buying terms by gain per cost solves the problem with fractions of terms allowed, which
    bounds the loss of any choice from below. Whole terms are found by dynamic programming over the blocks: of all
    (cost, loss) that the first blocks can reach, those remain that no other one beats in both and that, with the bound
    for the other blocks, can still come down to the best choice known.

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
    budget = _whole("budget", budget, 0)
    costs = [_whole(f"size of block {b}", size, 1) for b, size in enumerate(sizes)]
    whole = [None if dense is None else _whole(f"dense cost of block {b}", dense[b], 0) for b in range(len(costs))]
    values = [_checked(s, b) for b, s in enumerate(singular_values)]
    # no square overflows or vanishes as a whole
    scale = max((float(s[0]) for s in values if len(s)), default=0.0) or 1.0
    squares = [(s / scale) ** 2 for s in values]
    budget = min(budget, sum(cost * len(s) for cost, s in zip(costs, squares, strict=True)))  # nothing costs more
    options = [_options(s, cost, d, budget) for s, cost, d in zip(squares, costs, whole, strict=True)]
    chosen = _best(options, budget)
    ranks = [int(o.ranks[j]) for o, j in zip(options, chosen, strict=True)]
    left = sum(float(np.sum(s[r:])) for s, r in zip(squares, ranks, strict=True) if r >= 0)
    kept = tuple(len(s) if r < 0 else r for s, r in zip(squares, ranks, strict=True))
    cost = sum(int(o.costs[j]) for o, j in zip(options, chosen, strict=True))
    return RankAllocation(kept, tuple(r < 0 for r in ranks), cost, scale * float(np.sqrt(left)))


def _checked(values: Any, block: int) -> np.ndarray:
    refuse_hidden(f"singular values of block {block}", values)
    s = np.asarray(values, dtype=float)
    if s.ndim != 1 or not np.all(np.isfinite(s) & (s >= 0)) or np.any(np.diff(s) > 0):
        raise ValueError(f"singular values of block {block} must be finite, >= 0 and descending (n,), got {s}")
    return s


def _whole(name: str, value: Any, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def _options(squares: np.ndarray, size: int, dense: int | None, budget: int) -> _Options:
    """Return all affordable options of a block, dense among them, without those that others beat."""
    ranks = np.arange(np.count_nonzero(squares) + 1)
    costs, losses = size * ranks, np.append(np.cumsum(squares[: len(ranks) - 1][::-1])[::-1], 0.0)
    if dense is not None and dense < costs[-1]:
        cheaper = costs < dense
        ranks, costs, losses = (np.append(a[cheaper], last) for a, last in ((ranks, -1), (costs, dense), (losses, 0.0)))
    affordable = costs <= budget
    return _Options(costs[affordable], losses[affordable], ranks[affordable])


class _Bound(NamedTuple):
    """The least loss of some blocks if fractions of options were allowed: convex, piecewise linear in the budget."""

    costs: np.ndarray
    losses: np.ndarray

    def __call__(self, budget: np.ndarray) -> np.ndarray:
        """Return the bounds for budgets.

        They are sums of positive terms (`numpy.interp` subtracts), and right to a few eps however small.
        """
        if len(self.costs) == 1:
            return np.full(budget.shape, self.losses[0])
        spent = np.clip(budget, 0, self.costs[-1])
        right = np.clip(np.searchsorted(self.costs, spent), 1, len(self.costs) - 1)
        before, after = self.costs[right - 1], self.costs[right]
        parts = (self.losses[right - 1] * (after - spent), self.losses[right] * (spent - before))
        return (parts[0] + parts[1]) / (after - before)


def _bound(options: Sequence[_Options]) -> _Bound:
    """Return the bound from all pieces of the blocks' convex hulls, the steepest first."""
    hulls = [(o.costs[c], o.losses[c]) for o in options for c in [_hull(o)]]
    costs = np.concatenate([np.zeros(0, dtype=np.int64), *(np.diff(c) for c, _ in hulls)])
    drops = np.concatenate([np.zeros(0), *(-np.diff(losses) for _, losses in hulls)])
    block = np.repeat(np.arange(len(hulls)), [len(c) - 1 for c, _ in hulls])
    order = np.argsort(-drops / costs, kind="stable")
    left = np.zeros(len(order) + 1)
    # every block's own loss there: sums of drops would end in round-off, not in zero
    for b, (_, losses) in enumerate(hulls):
        left += losses[np.append(0, np.cumsum(block[order] == b))]
    return _Bound(np.append(0, np.cumsum(costs[order])), left)


def _hull(option: _Options) -> list[int]:
    """Return the options on the lower convex hull of loss over cost."""
    corners: list[int] = []
    for j, (cost, loss) in enumerate(zip(option.costs.tolist(), option.losses.tolist(), strict=True)):
        while len(corners) > 1:
            a, b = corners[-2:]
            first, second = option.losses[a] - option.losses[b], option.losses[b] - loss
            if first * float(cost - option.costs[b]) > second * float(option.costs[b] - option.costs[a]):
                break
            corners.pop()
        corners.append(j)
    return corners


def _best(options: list[_Options], budget: int) -> list[int]:
    """Return the option of every block.

    A quick search that keeps a few choices gives the level above which the full search need not look.
    """
    bounds = [_bound(options[b:]) for b in range(1, len(options) + 1)]
    level, _ = _search(options, bounds, budget, np.inf, BEAM)
    return _search(options, bounds, budget, level * (1 + 2 * SLACK), None)[1]


def _search(
    options: list[_Options], bounds: list[_Bound], budget: int, level: float, beam: int | None
) -> tuple[float, list[int]]:
    """Return the least loss within the budget, and the options that give it.

    Choices that cannot come down to `level` are not followed.
    """
    costs, losses = np.zeros(1, dtype=np.int64), np.zeros(1)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for option, rest in zip(options, bounds, strict=True):
        cost = np.add.outer(costs, option.costs)
        loss = np.add.outer(losses, option.losses)
        hope = loss + rest(budget - cost)
        parent, choice = np.nonzero((cost <= budget) & (hope <= level))
        cost, loss, hope = (a[parent, choice] for a in (cost, loss, hope))
        order = np.lexsort((loss, cost))
        least_before = np.minimum.accumulate(np.append(np.inf, loss[order]))[:-1]
        order = order[loss[order] < least_before]  # nothing costs less, or the same, and loses as little
        if beam is not None and len(order) > beam:
            order = order[np.sort(np.argsort(hope[order], kind="stable")[:beam])]
        costs, losses = cost[order], loss[order]
        steps.append((parent[order], choice[order]))
    # losses descend with the costs: the cheapest of equal ones
    state = int(np.argmax(losses <= losses[-1] * (1 + SLACK)))
    best, chosen = float(losses[state]), []
    for parent, choice in reversed(steps):
        chosen.append(int(choice[state]))
        state = int(parent[state])
    return best, chosen[::-1]
