"""One budget for several low-rank approximations: the ranks that leave the least error."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["RankAllocation", "allocate_rank"]

#: Bounds are compared with so many eps of the total of the squares to spare: rounding never cuts off the optimum.
SLACK = 64 * np.finfo(float).eps
#: Choices that the first, quick search follows.
BEAM = 256


class RankAllocation(NamedTuple):
    """Result of :func:`allocate_rank`."""

    ranks: tuple[int, ...]  #: of every block; all its singular values where it is dense
    dense: tuple[bool, ...]  #: kept as it is, without factors
    cost: int  #: what is spent of the budget
    error: float  #: (sum of the squares of the discarded singular values)^{1/2}


class _Options(NamedTuple):
    """What can be bought for one block: costs ascending, gains strictly ascending."""

    costs: np.ndarray  #: (j,) integers
    gains: np.ndarray  #: (j,) squares that are not discarded
    ranks: np.ndarray  #: (j,); -1 for dense


def allocate_rank(
    singular_values: Sequence[Any], sizes: Sequence[int], budget: int, *, dense: Sequence[int] | None = None
) -> RankAllocation:
    """Ranks r_b with sum_b r_b c_b <= budget and the least sum_b sum_{i >= r_b} s_bi^2, over all ranks: exact.

    A term i of block b gains s_bi^2 and costs c_b. The terms of a block come in order, so that its gain is concave in its rank,
    and buying terms by gain per cost solves the problem with fractions of terms allowed, which bounds the gain of any choice from
    above. Whole terms are found by dynamic programming over the blocks: of all (cost, gain) that the first blocks can reach, those
    remain that no other one beats in both and that, with the bound for the other blocks, can still come up to the best choice known.

    Parameters
    ----------
    singular_values : s_b (n_b,) >= 0, descending, of every block
    sizes : c_b > 0, integers: what one unit of rank costs, V_b + H numbers for a factorised block (V_b, H)
    budget : what there is to spend, in the unit of `sizes`
    dense : d_b, what a block costs that is kept without factors (V_b H numbers) and has no error then; by default there is no such offer

    Returns
    -------
    RankAllocation; among choices of equal error a cheapest one

    Raises
    ------
    ValueError
        singular values that are negative, NaN or not descending, sizes that are not positive, a negative budget.

    Notes
    -----
    "Exact" up to rounding: squares are compared in double precision, and choices whose errors differ by less than some eps of the sum of all
    squares are equal. Cost: a few terms above and below the solution by fractions as a rule (milliseconds for 8 blocks of 384 values); with
    blocks of many different sizes and flat spectra the number of combinations grows.

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
    values = [_checked(s, b) for b, s in enumerate(singular_values)]
    scale = (
        max((float(s[0]) for s in values if len(s)), default=0.0) or 1.0
    )  # no square overflows or vanishes as a whole
    squares = [(s / scale) ** 2 for s in values]
    options = []
    for b, (s, size) in enumerate(zip(squares, sizes, strict=True)):
        whole = None if dense is None else _whole(f"dense cost of block {b}", dense[b], 0)
        options.append(_options(s, _whole(f"size of block {b}", size, 1), whole, budget))
    chosen = _best(options, budget, SLACK * sum(float(np.sum(s)) for s in squares))
    ranks = [int(o.ranks[j]) for o, j in zip(options, chosen, strict=True)]
    left = sum(float(np.sum(s[r:])) for s, r in zip(squares, ranks, strict=True) if r >= 0)
    return RankAllocation(
        tuple(len(s) if r < 0 else r for s, r in zip(squares, ranks, strict=True)),
        tuple(r < 0 for r in ranks),
        sum(int(o.costs[j]) for o, j in zip(options, chosen, strict=True)),
        scale * float(np.sqrt(left)),
    )


def _checked(values: Any, block: int) -> np.ndarray:
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
    """Every rank that gains something and can be paid, and dense; without what costs as much as something better."""
    ranks = np.arange(np.count_nonzero(squares) + 1)
    costs, gains = size * ranks, np.append(0.0, np.cumsum(squares[: len(ranks) - 1]))
    if dense is not None and dense < costs[-1]:
        cheaper = costs < dense
        ranks, costs, gains = (
            np.append(a[cheaper], last) for a, last in ((ranks, -1), (costs, dense), (gains, gains[-1]))
        )
    affordable = costs <= budget
    return _Options(costs[affordable], gains[affordable], ranks[affordable])


class _Bound(NamedTuple):
    """The greatest gain of some blocks if fractions of options could be bought: concave, piecewise linear in the budget."""

    costs: np.ndarray
    gains: np.ndarray

    def __call__(self, budget: Any) -> Any:
        return np.interp(budget, self.costs, self.gains)


def _bound(options: Sequence[_Options]) -> _Bound:
    """All pieces of the blocks' concave hulls, the steepest first."""
    corners = [_hull(o) for o in options]
    costs = np.concatenate([np.zeros(0), *(np.diff(o.costs[c]) for o, c in zip(options, corners, strict=True))])
    gains = np.concatenate([np.zeros(0), *(np.diff(o.gains[c]) for o, c in zip(options, corners, strict=True))])
    order = np.argsort(-gains / costs, kind="stable")
    start = sum(float(o.gains[0]) for o in options)
    return _Bound(np.append(0.0, np.cumsum(costs[order])), start + np.append(0.0, np.cumsum(gains[order])))


def _hull(option: _Options) -> list[int]:
    """Options on the upper concave hull of gain over cost."""
    corners: list[int] = []
    for j, (cost, gain) in enumerate(zip(option.costs.tolist(), option.gains.tolist(), strict=True)):
        while len(corners) > 1:
            a, b = corners[-2:]
            first, second = option.gains[b] - option.gains[a], gain - option.gains[b]
            if first * float(cost - option.costs[b]) > second * float(option.costs[b] - option.costs[a]):
                break
            corners.pop()
        corners.append(j)
    return corners


def _best(options: list[_Options], budget: int, slack: float) -> list[int]:
    """Which option of every block: a quick search that keeps a few choices gives the level that the whole one need not look below."""
    bounds = [_bound(options[b:]) for b in range(1, len(options) + 1)]
    level, _ = _search(options, bounds, budget, -np.inf, slack, BEAM)
    return _search(options, bounds, budget, level - 2 * slack, slack, None)[1]


def _search(
    options: list[_Options], bounds: list[_Bound], budget: int, level: float, slack: float, beam: int | None
) -> tuple[float, list[int]]:
    """The greatest gain within the budget, and the options that give it; of choices that cannot reach `level` none is followed."""
    costs, gains = np.zeros(1, dtype=np.int64), np.zeros(1)
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    for option, rest in zip(options, bounds, strict=True):
        cost = np.add.outer(costs, option.costs)
        gain = np.add.outer(gains, option.gains)
        hope = gain + rest(budget - cost)
        parent, choice = np.nonzero((cost <= budget) & (hope >= level))
        cost, gain, hope = (a[parent, choice] for a in (cost, gain, hope))
        order = np.lexsort((-gain, cost))
        best_before = np.maximum.accumulate(np.append(-np.inf, gain[order]))[:-1]
        order = order[gain[order] > best_before]  # nothing costs less, or the same, and gains as much
        if beam is not None and len(order) > beam:
            order = order[np.sort(np.argsort(-hope[order], kind="stable")[:beam])]
        costs, gains = cost[order], gain[order]
        steps.append((parent[order], choice[order]))
    state = int(np.searchsorted(gains, gains[-1] - slack))  # gains ascend with the costs: the cheapest of equal ones
    best, chosen = float(gains[state]), []
    for parent, choice in reversed(steps):
        chosen.append(int(choice[state]))
        state = int(parent[state])
    return best, chosen[::-1]
