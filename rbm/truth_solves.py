"""Full-order solutions beyond double precision: a factorisation, then refinement with a residual in extended precision."""

from __future__ import annotations

import math
import os
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lowrank.progress import progress_bar
from rbm import extended
from rbm.errors import ModelError
from rbm.factorization import Solve, factorize
from rbm.user_code import UserSolver, check_executor

if TYPE_CHECKING:
    from rbm.full_order import FullOrderModel

__all__ = ["FORESEEN", "solutions"]

#: Refinement ends when a correction is this small; the next would be smaller by cond(A) u again.
SETTLED = 1e-15
#: A solution whose last correction is larger than this has no correct digits to speak of.
UNSETTLED = 1e-6
MAX_REFINEMENTS = 12
#: What one vector shows of the contraction of a refinement may be less than its norm: a margin for a correction left out.
FORESEEN = 1e4
#: Pieces a worker gets, so that none waits long for the others.
PIECES = 4


def solutions(
    model: FullOrderModel, mus: np.ndarray, foreseen: float, progress: bool, executor: Executor | None
) -> extended.Extended:
    """u(mu) as hi + lo (n, M) at checked parameter points mus (M, p); see :meth:`rbm.FullOrderModel.solve`."""
    work = partial(_piece, model, foreseen)
    if check_executor(executor) is None:
        pieces = [mus[i : i + 1] for i in range(len(mus))]
        made: Any = map(work, pieces)
    else:
        assert executor is not None
        workers = int(getattr(executor, "_max_workers", 0) or os.cpu_count() or 1)
        size = max(1, math.ceil(len(mus) / (PIECES * workers)))
        pieces = [mus[i : i + size] for i in range(0, len(mus), size)]
        model.prepare()  # before the threads, which would all do it
        made = executor.map(work, pieces)
    parts = []
    with progress_bar(None, "full-order solves", enabled=progress, total=len(mus)) as bar:
        for piece, part in zip(pieces, made, strict=True):
            parts.append(part)
            bar.update(len(piece))
    hi, lo = (np.concatenate([p[k] for p in parts], axis=1) for k in (0, 1))
    return hi, lo


def _piece(model: FullOrderModel, foreseen: float, mus: np.ndarray) -> extended.Extended:
    """u(mu) (n, M) at some of the points, one after the other."""
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    columns = []
    for i in range(len(mus)):
        try:
            columns.append(_refined(model, theta[i], phi[i], foreseen))
        except ModelError as error:
            raise ModelError(f"full-order solve at {model.parameters.describe(mus[i])} failed: {error}") from error
    hi, lo = (np.concatenate([c[k] for c in columns], axis=1) for k in (0, 1))
    return hi, lo


def _refined(model: FullOrderModel, theta: np.ndarray, phi: np.ndarray, foreseen: float) -> extended.Extended:
    """LU and refinement; diagonal pivots first where they may do, partial pivoting if they did not.

    foreseen : no further correction where the last two let it be this many times smaller than it need be (own LU only)
    """
    matrix, rhs = model.assemble(theta), model.rhs_terms @ phi[:, None]
    size = partial(_size, model.inner_product.balance)
    for diagonal in (True, False) if model.has_symmetric_pattern and model.solver is None else (False,):
        if model.solver is None:
            solve = _diagonal_pivots(model, matrix) if diagonal else factorize(matrix)
        else:
            foreseen, solve = np.inf, UserSolver(model.solver, matrix)
        u = solve(rhs)
        x, step, first = (u, np.zeros_like(u)), np.inf, size(u)
        for _ in range(MAX_REFINEMENTS):
            r = model.residual(theta[None], phi[None], x)
            correction = solve(r[0] + r[1])
            before, step = step, size(correction)
            if not step <= before / 2:
                break  # as small as it gets
            x = extended.add(x, (correction, np.zeros_like(correction)))
            whole = size(x[0])
            # the correction after this one: smaller by the factor by which this one was smaller than the one before
            if step <= SETTLED * whole or foreseen * step * step <= SETTLED * whole * min(before, first):
                break
        whole = size(x[0])
        if step <= UNSETTLED * whole and _is_small(model, r[0], matrix, rhs, x[0]):
            return x
    raise ModelError(
        f"the solution does not settle under iterative refinement (last correction {step:.1e} of {whole:.1e}): the matrix is "
        "singular to working precision, or the solver is not accurate"
    )


def _diagonal_pivots(model: FullOrderModel, matrix: Any) -> Solve:
    """Solve function of an assembled matrix, or ModelError if it is singular."""
    try:
        return model.factorize_assembled(matrix)
    except RuntimeError as error:
        raise ModelError(f"the matrix is singular to working precision ({error})") from error


def _is_small(model: FullOrderModel, r: np.ndarray, matrix: Any, rhs: np.ndarray, x: np.ndarray) -> bool:
    """True if the residual r is round-off of the terms it is made of (normwise, in balanced units)."""
    units = model.inner_product.balance[:, None]
    image = np.abs(np.asarray(matrix @ x))
    terms = np.abs(rhs) + (abs(matrix) @ np.abs(x) if not model.black_box else image)
    return bool(np.abs(r * units).max() <= 1e-8 * np.abs(terms * units).max())


def _size(balance: np.ndarray, u: np.ndarray) -> float:
    """Largest entry of u in balanced units."""
    return float(np.abs(u / balance[:, None]).max())
