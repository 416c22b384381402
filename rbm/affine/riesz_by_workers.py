"""Riesz solves that workers do: blocks of columns of a fixed width, each solved whole by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from rbm.affine.representers import by_columns
from rbm.affine.system import AffineSystem
from rbm.solvers.elsewhere import Elsewhere, done_elsewhere
from rbm.solvers.factorization import COLUMNS, Solve
from rbm.workers.crew import Crew

__all__ = ["riesz_by_workers"]


@contextmanager
def riesz_by_workers(crew: Crew, system: AffineSystem) -> Iterator[None]:
    """Let the workers of a crew solve with P, of the system that they have, while the context lasts, in this thread.

    The blocks are those in which the solve works here, too, so that bits do not depend on who does it, or on how many
    there are. Without workers, and with a dense P or a solver function of the user, all is done here as ever.
    """
    inner = system.inner_product
    if not (crew.elsewhere and by_columns(inner)):
        yield
        return
    here = inner.factorized()

    def solve(rhs: np.ndarray) -> np.ndarray:
        if rhs.shape[1] <= COLUMNS:
            return here(rhs)
        starts = range(0, rhs.shape[1], COLUMNS)
        tasks = ((np.asfortranarray(rhs[:, i : i + COLUMNS]),) for i in starts)
        found = None
        for i, part in zip(starts, crew.run(_solved, tasks, 4 * crew.count), strict=True):
            if found is None:
                found = np.empty(rhs.shape, part.dtype, order="F")
            found[:, i : i + COLUMNS] = part
        assert found is not None
        return found

    def each(work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        return iter(crew.run(partial(_with_product, work), tasks, 4 * crew.count))

    with done_elsewhere(inner, Elsewhere(solve, each)):
        yield


def _solved(system: AffineSystem, rhs: np.ndarray) -> np.ndarray:
    """Solve with P for one block of columns (n, b)."""
    solve: Solve = system.inner_product.factorized()
    return solve(rhs)


def _with_product(work: Callable[..., Any], system: AffineSystem, *arguments: Any) -> Any:
    """Do some work that needs the inner product alone."""
    return work(system.inner_product, *arguments)
