"""Riesz solves that workers do: blocks of columns of a fixed width, each solved whole by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from rbm.affine.representers import by_columns
from rbm.affine.system import AffineSystem
from rbm.online.threads import thread_count
from rbm.solvers.elsewhere import Elsewhere, done_elsewhere
from rbm.solvers.factorization import COLUMNS, Solve
from rbm.workers.crew import Crew

__all__ = ["riesz_by_workers"]


@contextmanager
def riesz_by_workers(crew: Crew, system: AffineSystem) -> Iterator[None]:
    """Let the workers of a crew solve with P, of the system that they have, while the context lasts, in this thread.

    The blocks are those in which all is done here without workers, so that bits do not depend on who does it, or on how
    many there are. A dense P, and a solver function that keeps no factors, stay here; so do factors of a solver of the
    user where the workers are threads, which would share them.
    """
    inner = system.inner_product
    threads = crew.kind == "threads" and system.solver is not None
    if not by_columns(inner) or not (crew.elsewhere or system.solver):
        yield  # SuperLU is given the same blocks
        return
    here = inner.factorized()
    if crew.kind != "threads" and thread_count() > 1 and getattr(here, "parallel", False):
        yield  # threads here are faster: so fast a solve hardly pays for its transport (docs/solvers.md)
        return

    def run(work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        if crew.elsewhere and not threads:
            return iter(crew.run(work, tasks, 4 * crew.count))
        return (work(system, *task) for task in tasks)

    def solve(rhs: np.ndarray) -> np.ndarray:
        if rhs.shape[1] <= COLUMNS:
            return here(rhs)
        starts = range(0, rhs.shape[1], COLUMNS)
        tasks = ((np.asfortranarray(rhs[:, i : i + COLUMNS]),) for i in starts)
        found = None
        for i, part in zip(starts, run(_solved, tasks), strict=True):
            if found is None:
                found = np.empty(rhs.shape, part.dtype, order="F")
            found[:, i : i + COLUMNS] = part
        assert found is not None
        return found

    def each(work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
        return run(partial(_with_product, work), tasks)

    with done_elsewhere(inner, Elsewhere(solve, each)):
        yield


def _solved(system: AffineSystem, rhs: np.ndarray) -> np.ndarray:
    """Solve with P for one block of columns (n, b)."""
    solve: Solve = system.inner_product.factorized()
    return solve(rhs)


def _with_product(work: Callable[..., Any], system: AffineSystem, *arguments: Any) -> Any:
    """Do some work that needs the inner product alone."""
    return work(system.inner_product, *arguments)
