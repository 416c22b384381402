"""One choice for each of several blocks, of least total loss within one budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["SLACK", "Options", "by_gain", "choose", "convex_corners"]

#: Losses are compared with so many eps of themselves to spare: rounding never cuts off the optimum.
SLACK = 64 * np.finfo(float).eps
#: Choices that the first, quick search follows.
BEAM = 256


class Options(NamedTuple):
    """The options of one block: what they cost, and the loss that each leaves."""

    costs: np.ndarray  #: (j,) integers >= 0
    losses: np.ndarray  #: (j,) >= 0


def choose(options: Sequence[Options], budget: int) -> list[int]:
    """Return the option of every block, so that the total loss is least within the budget.

    The j_b with sum_b costs_b[j_b] <= budget and the least sum_b losses_b[j_b], over all choices: exact, whatever the
    losses. Among choices of equal loss a cheapest one.

    Dynamic programming over the blocks: of all (cost, loss) that the first blocks can reach, those remain that no other
    one beats in both and that can still come down to the best choice known. What the other blocks can do at best is
    bounded from below by the convex hulls of their options, as if fractions of options could be had. A quick search
    that keeps a few choices gives the level above which the full search need not look.

    Parameters
    ----------
    options : of every block, in any order; those that others beat in both are left out here
    budget : the largest total cost

    Raises
    ------
    ValueError
        where even the cheapest options cost more than the budget.

    Notes
    -----
    "Exact" up to rounding: choices whose losses differ by less than 64 eps of these are equal. Cost: as a rule a few
    choices above and below the solution by fractions; with blocks of many different sizes the number of combinations
    grows.

    Examples
    --------
    >>> choose([Options(np.array([0, 4]), np.array([9.0, 1.0])), Options(np.array([0, 3]), np.array([5.0, 0.0]))], 6)
    [1, 0]
    """
    kept = [_undominated(o) for o in options]
    fixed = [int(o.costs[k[0]]) for o, k in zip(options, kept, strict=True)]
    left = budget - sum(fixed)
    if left < 0:
        raise ValueError(f"the cheapest options cost {sum(fixed)} together, more than the budget of {budget}")
    short = []
    for o, k, first in zip(options, kept, fixed, strict=True):
        costs = o.costs[k] - first
        affordable = costs <= left
        short.append(Options(costs[affordable].astype(np.int64), o.losses[k][affordable]))
    left = min(left, sum(int(o.costs[-1]) for o in short))  # a huge budget buys everything
    bounds = [_bound(short[b:]) for b in range(1, len(short) + 1)]
    level, _ = _search(short, bounds, left, np.inf, BEAM)
    chosen = _search(short, bounds, left, level * (1 + 2 * SLACK), None)[1]
    return [int(k[j]) for k, j in zip(kept, chosen, strict=True)]


def by_gain(options: Sequence[Options], budget: int, start: Sequence[int] | None = None) -> list[int]:
    """Return the option of every block that buying by gain per cost leads to.

    From the cheapest option of each block (or `start`, indices of options), the step along a convex hull that takes
    most off the loss per cost and fits is bought, until none fits. It is optimal where the options are convex and all
    steps cost the same; else the last steps may be worse than :func:`choose` finds. Raises ValueError where the start
    costs more than the budget. Cost: (steps) log (blocks).
    """
    import heapq

    corners = [_after(o, convex_corners(o), None if start is None else start[b]) for b, o in enumerate(options)]
    chosen = [c[0] for c in corners]
    left = budget - sum(int(o.costs[j]) for o, j in zip(options, chosen, strict=True))
    if left < 0:
        raise ValueError(f"the options to start from cost {budget - left}, more than the budget of {budget}")

    def step(b: int, place: int) -> tuple[float, int, int] | None:
        """Return (minus the gain per cost, block, place) of the next step of a block that fits."""
        o, here = options[b], corners[b][place]
        if place + 1 == len(corners[b]) or int(o.costs[corners[b][place + 1]] - o.costs[here]) > left:
            return None
        after = corners[b][place + 1]
        return -float(o.losses[here] - o.losses[after]) / float(o.costs[after] - o.costs[here]), b, place

    heap = [found for b in range(len(options)) if (found := step(b, 0)) is not None]
    heapq.heapify(heap)
    while heap:
        _, b, place = heapq.heappop(heap)
        if step(b, place) is None:  # no longer affordable, and nor are those after it
            continue
        left -= int(options[b].costs[corners[b][place + 1]] - options[b].costs[corners[b][place]])
        chosen[b] = corners[b][place + 1]
        if (found := step(b, place + 1)) is not None:
            heapq.heappush(heap, found)
    return chosen


def convex_corners(option: Options) -> list[int]:
    """Return the options on the lower convex hull of loss over cost, from the cheapest to the least loss."""
    kept = _undominated(option)
    return [int(kept[j]) for j in _hull(Options(option.costs[kept], option.losses[kept]))]


def _after(option: Options, corners: list[int], start: int | None) -> list[int]:
    """Return the corners that cost more than where it starts, after that."""
    if start is None:
        return corners
    return [
        start,
        *(j for j in corners if option.costs[j] > option.costs[start] and option.losses[j] < option.losses[start]),
    ]


def _undominated(option: Options) -> np.ndarray:
    """Return the options that no other one beats, by ascending cost and descending loss."""
    order = np.lexsort((option.losses, option.costs))
    losses = option.losses[order]
    return order[losses < np.minimum.accumulate(np.append(np.inf, losses))[:-1]]


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


def _bound(options: Sequence[Options]) -> _Bound:
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


def _hull(option: Options) -> list[int]:
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


def _search(
    options: list[Options], bounds: list[_Bound], budget: int, level: float, beam: int | None
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
