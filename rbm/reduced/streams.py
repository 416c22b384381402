"""Queries block by block, for answers larger than memory; blocks may go to workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from rbm.errors import ParameterError, PointError
from rbm.parameters.named_points import is_batch
from rbm.solution import Solution
from rbm.workers.crew import Crew

__all__ = ["light", "stream"]

#: Blocks a worker has before it, so that it need not wait.
AHEAD = 2


def stream(model: Any, mus: Any, size: int, executor: Any, options: dict[str, Any]) -> Iterator[Solution]:
    """Yield a Solution for each block of points, in their order (:meth:`rbm.ReducedModel.stream`)."""
    if not (isinstance(size, int | np.integer) and size >= 1):
        raise ParameterError(f"the size of a block must be a whole number of at least 1, got {size!r}")
    if executor is None:
        first_row = 0
        for block in _blocks(model, mus, size):
            solution = model._online.solve(block, first_row=first_row, **options)
            first_row += len(solution)
            yield solution
        return
    origin = model._online.origin
    with Crew(executor, light(model, options.get("method"))) as crew:
        try:
            for solution in crew.run(_answer, _tasks(model, mus, size, options), AHEAD * crew.count):
                yield replace(solution, origin=origin)
        except PointError as error:
            if isinstance(error.solution, Solution):
                error.solution = replace(error.solution, origin=origin)
            raise


def light(model: Any, method: str | None = None) -> Any:
    """Return a reduced model without what queries do not read: its basis, its product, and other estimators."""
    host = model._on_host()
    if hasattr(host, "leaves"):
        return replace(host, leaves=tuple(light(leaf, method) for leaf in host.leaves))
    states = {kind: state for kind, state in host.estimators.items() if state is host.state(method)}
    return replace(host, estimators=states, product=None, basis=None)


def _blocks(model: Any, mus: Any, size: int) -> Iterator[Any]:
    if not is_batch(mus):
        yield from mus
        return
    points = model.parameters.points(mus)
    count = points.shape[0]
    yield from (points[start : min(start + size, count), ...] for start in range(0, count, size))


def _tasks(model: Any, mus: Any, size: int, options: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    first_row = 0
    for block in _blocks(model, mus, size):
        points = model.parameters.points(block)
        yield points, first_row, options
        first_row += points.shape[0]


def _answer(model: Any, points: np.ndarray, first_row: int, options: dict[str, Any]) -> Solution:
    """Answer one block, in a worker."""
    return model._online.solve(points, first_row=first_row, **options)
