"""Full-order solutions beyond double precision: a factorisation, then refinement with a residual in extended precision."""

from __future__ import annotations

import math
import os
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from lowrank.progress import progress_bar
from rbm import extended
from rbm.errors import Interrupted, ModelError, PointError, place
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
#: What to do about a singular A(mu).
_SINGULAR = (
    "; leave such parameters out of the ranges, or look for a zero row, or a missing boundary condition, in the terms"
)
#: Pieces a worker gets, so that none waits long for the others.
PIECES = 4


def solutions(
    model: FullOrderModel, mus: np.ndarray, foreseen: float, progress: bool, executor: Executor | None
) -> extended.Extended:
    """u(mu) as hi + lo (n, M) at checked parameter points mus (M, p); see :meth:`rbm.FullOrderModel.solve`."""
    work = partial(_piece, model, foreseen, len(mus) > 1)
    if check_executor(executor) is None:
        starts = list(range(len(mus)))
        pieces = [mus[i : i + 1] for i in starts]
        made: Any = map(work, starts, pieces)
    else:
        assert executor is not None
        workers = int(getattr(executor, "_max_workers", 0) or os.cpu_count() or 1)
        size = max(1, math.ceil(len(mus) / (PIECES * workers)))
        starts = list(range(0, len(mus), size))
        pieces = [mus[i : i + size] for i in starts]
        model.prepare()  # before the threads, which would all do it
        made = executor.map(work, starts, pieces)
    parts: list[extended.Extended] = []
    try:
        with progress_bar(None, "full-order solves", enabled=progress, total=len(mus)) as bar:
            for piece, part in zip(pieces, made, strict=True):
                parts.append(part)
                bar.update(len(piece))
    except KeyboardInterrupt as interrupt:
        done = sum(part[0].shape[1] for part in parts)
        raise Interrupted(
            f"interrupted with {done} of {len(mus)} full-order solves done; they are in `result` of this exception, where all after them are NaN",
            _joined([*parts, (np.full((model.dimension, len(mus) - done), np.nan),) * 2]),
        ) from interrupt
    return _joined(parts)


def _joined(parts: list[extended.Extended]) -> extended.Extended:
    """Columns beside each other."""
    hi, lo = (np.concatenate([p[k] for p in parts], axis=1) for k in (0, 1))
    return hi, lo


def _piece(model: FullOrderModel, foreseen: float, several: bool, start: int, mus: np.ndarray) -> extended.Extended:
    """u(mu) (n, M) at some of the points, one after the other; the first is row `start` of the batch, which errors name if it has several."""
    try:
        theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    except PointError as error:
        if error.rows is None or error.describe is None or start == 0:
            raise
        local = int(error.rows[0])
        again = type(error)(error.describe(local, place(start + local, len(error.rows))))
        again.rows = start + error.rows
        raise again from None
    columns = []
    for i in range(len(mus)):
        try:
            columns.append(_refined(model, theta[i], phi[i], foreseen))
        except ModelError as error:
            where = f" (row {start + i})" if several else ""
            failed = ModelError(f"full-order solve at {model.parameters.describe(mus[i])}{where} failed: {error}")
            failed.rows = np.array([start + i])
            raise failed from error
    return _joined(columns)


def _refined(model: FullOrderModel, theta: np.ndarray, phi: np.ndarray, foreseen: float) -> extended.Extended:
    """LU and refinement; diagonal pivots first where they may do, partial pivoting if they did not.

    foreseen : no further correction where the last two let it be this many times smaller than it need be (own LU only)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        matrix, rhs = model.assemble(theta), model.rhs_terms @ phi[:, None]
    _check_in_range("the right-hand side sum_q phi_q f_q", rhs)
    if not model.black_box:
        _check_in_range("the matrix sum_q theta_q A_q", matrix.data if sp.issparse(matrix) else matrix)
    size = partial(_size, model.inner_product.balance)
    for diagonal in (True, False) if model.has_symmetric_pattern and model.solver is None else (False,):
        if model.solver is None:
            solve = _own_solve(model, matrix, diagonal)
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
        "singular to working precision, or the solver is not accurate" + _SINGULAR
    )


def _check_in_range(name: str, values: np.ndarray) -> None:
    """Raise ModelError for sums of finite terms that are not finite."""
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise ModelError(
            f"{name} has {bad} entries beyond the range of double precision ({np.finfo(float).max:.3g}); scale the terms, or their coefficients"
        )


def _own_solve(model: FullOrderModel, matrix: Any, diagonal: bool) -> Solve:
    """Solve function of an assembled matrix, pivots on the diagonal or not, or ModelError if it is singular."""
    try:
        return model.factorize_assembled(matrix) if diagonal else factorize(matrix)
    except RuntimeError as error:
        raise ModelError(f"the matrix is singular to working precision ({error}){_SINGULAR}") from error
    except ModelError as error:
        raise ModelError(f"{error}{_SINGULAR}") from error


def _is_small(model: FullOrderModel, r: np.ndarray, matrix: Any, rhs: np.ndarray, x: np.ndarray) -> bool:
    """True if the residual r is round-off of the terms it is made of (normwise, in balanced units)."""
    units = model.inner_product.balance[:, None]
    image = np.abs(np.asarray(matrix @ x))
    terms = np.abs(rhs) + (abs(matrix) @ np.abs(x) if not model.black_box else image)
    return bool(np.abs(r * units).max() <= 1e-8 * np.abs(terms * units).max())


def _size(balance: np.ndarray, u: np.ndarray) -> float:
    """Largest entry of u in balanced units."""
    return float(np.abs(u / balance[:, None]).max())
