"""Riesz representers of some functionals and dual norms of others, from one solve for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from rbm.affine.compiled_products import column_groups, residual
from rbm.affine.inner_product import ACCURATE, RANGE, InnerProduct
from rbm.arithmetic.columns import column_blocks
from rbm.arithmetic.precision import exponents_of, scaled
from rbm.online.chunks import slices
from rbm.online.threads import alone, each, thread_count
from rbm.solvers.elsewhere import elsewhere
from rbm.solvers.factorization import COLUMNS

__all__ = ["Represented", "by_columns", "represented", "together"]


#: Unknowns from which on columns are taken 16 at a time: what that costs beside them is small then.
APART = 16384


Task = tuple[np.ndarray, np.ndarray, np.ndarray]  #: functionals, start, others of :func:`together`


class Represented(NamedTuple):
    """What :func:`represented` returns."""

    representers: np.ndarray  #: V (n, r), P^{-1} D right to a few u
    distances: np.ndarray  #: (r,) proved bounds of the distance of V from P^{-1} D in the P-norm
    norms: np.ndarray  #: (b,) proved upper bounds of ||w||_{P^-1}


def represented(inner: InnerProduct, functionals: np.ndarray, start: np.ndarray, others: np.ndarray) -> Represented:
    """Return the Riesz representers of functionals D (n, r), and bounds of the dual norms of others W (n, b).

    start : P^{-1} D in working precision, which is refined

    Columns of large models are taken 16 at a time, the width in which SuperLU solves: workers may do that
    (:mod:`rbm.affine.riesz_by_workers`), and bits do not depend on who does.
    """
    n, r, b = inner.shape[0], functionals.shape[1], others.shape[1]
    if n < APART or not by_columns(inner) or not r + b:
        return together(inner, functionals, start, others)
    # the widest first, so that threads have as much to do as each other
    parts = [(some, True) for some in slices(r, COLUMNS)] + [(some, False) for some in slices(b, COLUMNS)]
    parts.sort(key=lambda part: part[0].start - part[0].stop)
    none = np.zeros((n, 0))
    tasks: list[Task] = [
        (functionals[:, some], start[:, some], none) if ours else (none, none, others[:, some]) for some, ours in parts
    ]
    found = elsewhere(inner)
    answers = by_threads(inner, tasks) if found is None else found.each(together, tasks)
    made, distances, norms = np.empty((n, 0)), np.empty(r), np.empty(b)
    for (some, ours), part in zip(parts, answers, strict=True):
        if not ours:
            norms[some] = part.norms
            continue
        if not made.size:
            made = np.empty((n, r), part.representers.dtype, "F")
        made[:, some], distances[some] = part.representers, part.distances
    return Represented(made, distances, norms)


def by_threads(inner: InnerProduct, tasks: Sequence[Task]) -> Iterator[Represented]:
    """Yield what :func:`together` returns for each task, in their order.

    Where solves with P leave the interpreter to others, as many tasks are under way as there are threads.
    """
    if not getattr(inner.factorized(), "parallel", False):
        yield from (together(inner, *task) for task in tasks)
        return
    made: dict[int, Represented] = {}

    def work(some: slice) -> None:
        made[some.start] = together(inner, *tasks[some.start])

    for now in slices(len(tasks), thread_count()):
        # of several at a time each has one thread, its sums by BLAS too; one that is alone gets no more: the same bits
        with alone() if now.stop - now.start == 1 else nullcontext():
            each(work, [slice(k, k + 1) for k in range(now.start, now.stop)])
        yield from (made.pop(k) for k in range(now.start, now.stop))


def by_columns(inner: InnerProduct) -> bool:
    """Return True if P is sparse and its factors are kept, our own or a solver's: some columns may go elsewhere."""
    return sp.issparse(inner.matrix) and (inner.solver is None or hasattr(inner.solver, "factorize"))


def together(inner: InnerProduct, functionals: np.ndarray, start: np.ndarray, others: np.ndarray) -> Represented:
    """Return what :func:`represented` does, for all columns by one call of the solver.

    The same numbers as :meth:`InnerProduct.riesz_with_error` and :meth:`InnerProduct.dual_norm_upper` return, proved in
    the same way; but the correction of the ones and the solve for the others are one call of the solver, with r + b
    right-hand sides, and nothing taller than these is made, but blocks of 16 MB.
    """
    r, b = functionals.shape[1], others.shape[1]
    n, units, matrix = inner.shape[0], inner.balance[:, None], inner.matrix
    exponents = np.zeros(b, dtype=int)
    rhs = np.empty((n, r + b), np.result_type(functionals, others, start, matrix), "F")
    row = float((inner.split.row_max * inner.balance).max())
    of_functionals, of_start, of_rest = residual(inner.split, functionals, start, rhs[:, :r])
    settled = bool(np.all(of_rest <= ACCURATE * (of_functionals + row * of_start)))
    for some in column_blocks(n, b):
        exponents[some] = exponents_of(others[:, some] * units)
        exponents[some] *= np.abs(exponents[some]) > RANGE
        rhs[:, r + some.start : r + some.stop] = (
            scaled(others[:, some], -exponents[some]) if np.any(exponents[some]) else others[:, some]
        )
    y = inner.factorized()(rhs)
    norms = np.empty(b)
    for some in column_groups(matrix, rhs[:, r:], y[:, r:]):
        at = slice(r + some.start, r + some.stop)
        bound = inner.upper_from_solve(rhs[:, at], y[:, at])
        norms[some] = scaled(bound, exponents[some]) if np.any(exponents[some]) else bound
    if not settled:  # the solve that made `start` was not accurate enough: refine as long as it takes
        return Represented(*inner.riesz_with_error(functionals, start + y[:, :r]), norms)
    made, distances = np.empty((n, r), rhs.dtype, "F"), np.empty(r)
    for some in column_groups(matrix, rhs[:, :r], y[:, :r]):
        made[:, some] = start[:, some] + y[:, some]
        distances[some] = inner.distance_after(made[:, some], rhs[:, some], y[:, some])
    return Represented(made, distances, norms)
