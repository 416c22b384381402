"""Queries of a partitioned model: a piece of a batch is sorted by leaf, and each leaf answers its points."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from lowrank.arrays import beside, namespace, to_numpy
from rbm.errors import PointError, scattered
from rbm.estimate import Estimate
from rbm.reduced.given_coefficients import of_piece
from rbm.reduced.online_query import Query
from rbm.reduced.origin import BETWEEN
from rbm.solution import Solution, mapped

__all__ = ["PartitionQuery", "by_leaf", "joined"]

#: So many leaves share a piece of a batch: it is larger than that of one leaf, whose arrays are in the cache in turn.
SHARE = 16


class PartitionQuery(Query):
    """The online side of :class:`rbm.PartitionedModel`: it has the verbs of a query, and asks those of the leaves."""

    def answer(
        self, points: Any, state: Any, extrapolate: bool, coefficients: bool, room: Solution | None = None
    ) -> Solution:
        """Return everything for parameter points (m, p); raise a PointError for rows that failed.

        room : not used, as leaves answer rows that do not lie together
        """
        mus, width = self.arrays.parameters.check(points, extrapolate), self.arrays.size if coefficients else 0

        def of_leaf(leaf: Any, some: Any, _: np.ndarray) -> Solution:
            own = None if state is None else leaf.state(state.kind)
            return padded(leaf._online.answer(some, own, extrapolate, coefficients), width)

        parts, rows = by_leaf(self.arrays, mus, of_leaf)
        return replace(joined(parts, rows), mus=points, **self.carried)

    def of_piece(self, points: Any, gamma: Any, state: Any, extrapolate: bool) -> Estimate:
        """Return the estimates at points (m, p) for gamma (m, N)."""

        def of_leaf(leaf: Any, some: Any, rows: np.ndarray) -> Solution:
            numbers = namespace(gamma).take(gamma, beside(rows, gamma), axis=0)[:, : leaf.size]
            made = of_piece(leaf._online, some, numbers, leaf.state(state.kind), extrapolate)
            return Solution(numbers[:, :0], {}, made)

        made = joined(*by_leaf(self.arrays, points, of_leaf)).estimate
        assert made is not None
        return made

    def one_point(self, state: Any, extrapolate: bool) -> None:
        """Return None: a point is answered by the leaf that it lies in."""

    def blank(self, estimate: bool, coefficients: bool, method: str | None = None) -> Solution:
        """Return an empty answer for one point, with arrays of the usual shapes and types."""
        made = self.arrays.leaves[0]._online.blank(estimate, coefficients, method)  # type: ignore[attr-defined]
        return replace(padded(made, self.arrays.size if coefficients else 0), **self.carried)

    @cached_property
    def origin(self) -> str:
        """The mark that answers carry, of the marks of all leaves (:func:`rbm.reduced.origin.mark`)."""
        leaves = self.arrays.leaves  # type: ignore[attr-defined]
        halves = list(zip(*(leaf._online.origin.split(BETWEEN) for leaf in leaves), strict=True))
        made = [hashlib.sha256(" ".join(half).encode()).hexdigest() if all(half) else "" for half in halves]
        return BETWEEN.join(made)

    @cached_property
    def bytes_per_point(self) -> int:
        """The number of bytes that the arrays of one point take, those of all leaves but a few not being there."""
        leaves = self.arrays.leaves  # type: ignore[attr-defined]
        largest = max(leaf._online.bytes_per_point for leaf in leaves)
        return max(1, largest // min(len(leaves), SHARE))


def by_leaf(model: Any, points: Any, work: Callable[[Any, Any, np.ndarray], Any]) -> tuple[list[Any], list[np.ndarray]]:
    """Return work(leaf, its points, their rows) for each leaf that has points, and the rows (m,) of each, in order.

    The points of a leaf keep their order. Raises the first PointError of a leaf, about rows of the batch.
    """
    if not points.shape[0]:  # none: an empty answer of the usual shape
        return [work(model.leaves[0], points, np.arange(0))], [np.arange(0)]
    number = model.tree.locate(to_numpy(points))
    order = np.argsort(number, kind="stable")
    found, starts = np.unique(number[order], return_index=True)
    parts, rows = [], np.split(order, starts[1:])
    for k, some in zip(found.tolist(), rows, strict=True):
        whole = len(some) == len(order)
        own = points if whole else namespace(points).take(points, beside(some, points), axis=0)
        try:
            parts.append(work(model.leaves[k], own, some))
        except PointError as error:
            raise scattered(error, some, len(order)) from error.__cause__
    return parts, rows


def padded(solution: Solution, width: int) -> Solution:
    """Return the solution with zeros after its coefficients, so that there are `width` of them."""
    gamma = solution.coefficients
    lacking = width - gamma.shape[1]
    if lacking <= 0:
        return solution
    xp = namespace(gamma)
    zeros = beside(np.zeros((gamma.shape[0], lacking)), gamma)
    return replace(solution, coefficients=xp.concat([gamma, xp.astype(zeros, gamma.dtype)], axis=1))


def joined(parts: list[Solution], rows: list[np.ndarray]) -> Solution:
    """Return the answers for all rows, from those of parts and their rows."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(list(_arrays(part)) for part in parts), strict=True)
    back: list[Any] = []

    def together(first: Any, _: Any) -> Any:
        arrays = next(columns)
        if isinstance(first, np.ndarray):
            made = np.empty((sum(map(len, rows)), *first.shape[1:]), np.result_type(*arrays))
            for some, array in zip(rows, arrays, strict=True):
                made[some] = array
            return made
        if not back:
            back.append(beside(np.argsort(np.concatenate(rows)), first))
        xp = namespace(first)
        return xp.take(xp.concat(list(arrays), axis=0), back[0], axis=0)

    return mapped(parts[0], together)


def _arrays(solution: Solution) -> Iterator[Any]:
    found: list[Any] = []
    mapped(solution, lambda array, _: found.append(array))
    yield from found
