"""Full-order solutions beyond double precision: factorise, then refine with residuals in extended precision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from lowrank.progress import progress_bar
from rbm.affine.system import AffineSystem
from rbm.arithmetic import extended
from rbm.errors import Interrupted, ModelError, PointError, place
from rbm.solvers.factorization import Solve, factorize
from rbm.solvers.updated import UpdatedMatrix, user_solve, woodbury
from rbm.workers.crew import Crew, Round, crew_of

__all__ = ["FORESEEN", "solutions", "solves"]

#: Refinement ends when a correction is this small; the next would be smaller by cond(A) u again.
SETTLED = 1e-15
#: A solution whose last correction is larger than this has no correct digits to speak of.
UNSETTLED = 1e-6
#: A residual is round-off up to this share of the largest term that it is made of.
SMALL_RESIDUAL = 1e-8
MAX_REFINEMENTS = 12
#: The same for a solver of the user, whose corrections may be no more than halved: 60 halvings are 1e-18.
USER_REFINEMENTS = 60
#: Of the residual that a solver of the user was given last, the share that it may leave. A larger one means that it did
#: not answer: an absolute tolerance, which small right-hand sides meet at once.
ANSWERED = 0.5
#: What one vector shows of the contraction of a refinement may be less than its norm: a margin for a correction that
#: is left out.
FORESEEN = 1e4
#: What to do about a singular A(mu).
_SINGULAR = (
    "; leave such parameters out of the ranges, or look for a zero row, or a missing boundary condition, in the terms"
)
#: Pieces a worker gets, so that none waits long for the others.
PIECES = 4
#: Numbers of one component that come back in a piece, at most.
LONG = 1 << 21
#: Rows that an error lists in its text; all are in `rows`.
SHOWN = 8


class _Failure(NamedTuple):
    """Points that have no solution."""

    rows: np.ndarray  #: in the batch
    error: PointError  #: what is wrong with the first of them


class _Piece(NamedTuple):
    """Solutions at consecutive points, NaN in the columns of those that have failed."""

    values: extended.Extended
    failures: list[_Failure]


def solutions(
    system: AffineSystem, mus: np.ndarray, foreseen: float, progress: bool, executor: Executor | Crew | None
) -> extended.Extended:
    """Return u(mu) as hi + lo (n, M) at checked parameter points mus (M, p).

    It does the work of :meth:`rbm.FullOrderModel.solve`.

    Points that fail do not keep the others from being solved: the error is raised at the end, and holds their
    solutions.
    """
    count = len(mus)
    if executor is not None:
        system.prepare()  # before the workers, which would all do it
    with crew_of(executor, system) as crew:
        size = (
            1 if executor is None else max(1, min(math.ceil(count / (PIECES * crew.count)), LONG // system.dimension))
        )
        starts = range(0, count, size)
        made = _Answers(system.dimension, count, starts)
        work = crew.run(_piece, ((foreseen, count > 1, i, mus[i : i + size]) for i in starts))
        try:
            with progress_bar(None, "full-order solves", enabled=progress, total=count) as bar:
                for start, piece in zip(starts, work, strict=True):
                    made.pieces[start] = piece
                    bar.update(piece.values[0].shape[1])
            return made.finish()
        except KeyboardInterrupt as interrupt:
            raise made.interrupted(work) from interrupt
        except PointError as error:  # about the whole call: it may have come after many solves
            if error.rows is None:
                made.collect(work)
                error.solution = made.joined() if made.pieces else None
            raise


class _Answers:
    """The solutions at M points, as far as they are known."""

    def __init__(self, dimension: int, count: int, starts: range) -> None:
        self.dimension, self.count, self.starts = dimension, count, starts
        self.pieces: dict[int, _Piece] = {}  # by first row

    @property
    def failed(self) -> np.ndarray:
        """The rows (k,) that failed."""
        rows = [f.rows for piece in self.pieces.values() for f in piece.failures]
        return np.sort(np.concatenate(rows)) if rows else np.zeros(0, dtype=int)

    def joined(self) -> extended.Extended:
        """Return hi and lo (n, M), NaN where there is no solution."""
        parts, row = [], 0
        for start, piece in sorted(self.pieces.items()):
            parts += [_nothing(self.dimension, start - row)] * (start > row) + [piece.values]
            row = start + piece.values[0].shape[1]
        return _joined([*parts, _nothing(self.dimension, self.count - row)] if row < self.count else parts)

    def finish(self) -> extended.Extended:
        """Return the solutions; raise ModelError, or another error about points, if some have none."""
        failures = sorted((f for p in self.pieces.values() for f in p.failures), key=lambda f: int(f.rows[0]))
        if not failures:
            return self.joined()
        failed, first = self.failed, failures[0]
        text, further = str(first.error), np.setdiff1d(failed, first.rows)
        if len(further):
            shown = ", ".join(map(str, further[:SHOWN])) + (", ..." if len(further) > SHOWN else "")
            text += f"; further rows that failed: {shown}"
        if len(failed) < self.count:
            text += f" (the other {self.count - len(failed)} of {self.count} solutions are in `solution` of this error)"
        error = first.error if text == str(first.error) else type(first.error)(text)
        error.rows = failed
        if len(failed) < self.count:
            error.solution = self.joined()
        raise error from first.error.__cause__

    def collect(self, work: Round) -> None:
        """Take the submitted pieces that are finished, in order or not."""
        for number, piece in work.finished():
            self.pieces.setdefault(self.starts[number], piece)

    def interrupted(self, work: Round) -> Interrupted:
        """Return the error about Ctrl-C, with the pieces that are finished; a second Ctrl-C does not lose them."""
        while True:
            try:
                self.collect(work)
                failed = len(self.failed)
                done = sum(piece.values[0].shape[1] for piece in self.pieces.values()) - failed
                return Interrupted(
                    f"interrupted with {done} of {self.count} full-order solves "
                    f"done{f' and {failed} failed' if failed else ''}; they are in `result` of this exception, where "
                    "all others are NaN",
                    self.joined(),
                )
            except KeyboardInterrupt:
                continue


def _nothing(dimension: int, count: int) -> extended.Extended:
    return (np.full((dimension, count), np.nan),) * 2


def _joined(parts: list[extended.Extended]) -> extended.Extended:
    """Join parts as columns, one beside the other."""
    hi, lo = (np.concatenate([p[k] for p in parts], axis=1) for k in (0, 1))
    return hi, lo


def _piece(system: AffineSystem, foreseen: float, several: bool, start: int, mus: np.ndarray) -> _Piece:
    """Solve at some of the points, one after the other: u(mu) (n, m).

    The first is row `start` of the batch; errors name their row if the batch has several.
    """
    known, failures = np.arange(len(mus)), list[_Failure]()
    while len(known):
        try:
            theta, phi = system.operator_coefficients(mus[known]), system.rhs_coefficients(mus[known])
            break
        except PointError as error:
            if error.rows is None:
                raise
            rows, about = start + known[error.rows], error
            if error.describe is not None and several:
                about = type(error)(error.describe(int(error.rows[0]), place(int(rows[0]), len(rows))))
            failures.append(_Failure(rows, about))
            known = np.delete(known, error.rows)
    columns = [_nothing(system.dimension, 1)] * len(mus)
    for i, row in enumerate(known.tolist()):
        try:
            columns[row] = _refined(system, theta[i], phi[i], foreseen)
        except ModelError as error:
            where = f" (row {start + row})" if several else ""
            failed = ModelError(f"full-order solve at {system.parameters.describe(mus[row])}{where} failed: {error}")
            failed.__cause__ = error
            failures.append(_Failure(np.array([start + row]), failed))
        except MemoryError as error:  # other points would fail like this one
            at = f"full-order solve at {system.parameters.describe(mus[row])}"
            raise MemoryError(f"{at} failed: {str(error) or 'there is not enough memory'}") from error
    return _Piece(_joined(columns), failures)


def _refined(system: AffineSystem, theta: np.ndarray, phi: np.ndarray, foreseen: float) -> extended.Extended:
    """Solve by LU and refinement; pivots on the diagonal first where they may do, partial pivoting if they did not.

    foreseen : no further correction where the last two let it be this many times smaller than it need be (own LU only)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        matrix, rhs = system.assemble(theta), system.rhs_terms @ phi[:, None]
    _check_in_range("the right-hand side sum_q phi_q f_q", rhs)
    if not system.black_box:
        values = matrix.data if sp.issparse(matrix) else getattr(matrix, "values", matrix)
        _check_in_range("the matrix sum_q theta_q A_q", values)
    size = partial(_size, system.inner_product.balance)
    limit = MAX_REFINEMENTS
    if system.solver is not None:
        foreseen, limit = np.inf, USER_REFINEMENTS
    for solve in solves(system, matrix):
        u = solve(rhs)
        x, step, first = (u, np.zeros_like(u)), np.inf, size(u)
        for _ in range(limit):
            r = system.residual(theta[None], phi[None], x)
            correction = solve(r[0] + r[1])
            before, step = step, size(correction)
            if not step <= before / 2:
                break  # round-off: further corrections are no smaller
            x = extended.add(x, (correction, np.zeros_like(correction)))
            whole = size(x[0])
            # the correction after this one: smaller by the factor by which this one was smaller than the one before
            if step <= SETTLED * whole or foreseen * step * step <= SETTLED * whole * min(before, first):
                break
        whole = size(x[0])
        if not (step <= UNSETTLED * whole and _is_small(system, r[0], matrix, rhs, x[0])):
            continue
        if system.solver is None or _answered(system, r[0] + r[1], matrix, correction):
            return x
    asked = ": it must solve to a tolerance relative to its right-hand side" if system.solver is not None else ""
    raise ModelError(
        f"the solution does not settle under iterative refinement (last correction {step:.1e} of {whole:.1e}): the "
        f"matrix is singular to working precision, or the solver is not accurate{asked}{_SINGULAR}"
    )


def _check_in_range(name: str, values: np.ndarray) -> None:
    """Raise ModelError for sums of finite terms that are not finite."""
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise ModelError(
            f"{name} has {bad} entries beyond the range of double precision ({np.finfo(float).max:.3g}); scale the "
            "terms, or their coefficients"
        )


def solves(system: AffineSystem, matrix: Any) -> Iterator[Solve]:
    """Yield solve functions of an assembled matrix, each more robust than the one before.

    Who takes them looks at the residual. Raises ModelError if the matrix is singular.
    """
    if system.solver is not None:
        yield user_solve(system.solver, matrix)
    elif isinstance(matrix, UpdatedMatrix):
        first = None
        with suppress(ModelError, RuntimeError):  # without its low-rank terms the matrix may be singular
            diagonal = system.has_symmetric_pattern
            first = system.factorize_assembled(matrix) if diagonal else woodbury(factorize(matrix.base), matrix)
        if first is not None:
            yield first
        try:
            yield system.factorize_bordered(matrix)
        except ModelError as error:
            raise ModelError(f"{error}{_SINGULAR}") from error
    else:
        for diagonal in (True, False) if system.has_symmetric_pattern else (False,):
            yield _own_solve(system, matrix, diagonal)


def _own_solve(system: AffineSystem, matrix: Any, diagonal: bool) -> Solve:
    """Return the solve function of an assembled matrix, with pivots on the diagonal or not.

    Raises ModelError if the matrix is singular.
    """
    try:
        return system.factorize_assembled(matrix) if diagonal else factorize(matrix)
    except RuntimeError as error:
        raise ModelError(f"the matrix is singular to working precision ({error}){_SINGULAR}") from error
    except ModelError as error:
        raise ModelError(f"{error}{_SINGULAR}") from error


def _is_small(system: AffineSystem, r: np.ndarray, matrix: Any, rhs: np.ndarray, x: np.ndarray) -> bool:
    """Return True if the residual r is round-off of the terms it is made of (normwise, in balanced units)."""
    units = system.inner_product.balance[:, None]
    size = np.abs(r * units).max()
    if size <= SMALL_RESIDUAL * np.abs(rhs * units).max():
        return True  # the other terms need not be looked at
    image = np.abs(np.asarray(matrix @ x))
    terms = np.abs(rhs) + (abs(matrix) @ np.abs(x) if not system.black_box else image)
    return bool(size <= SMALL_RESIDUAL * np.abs(terms * units).max())


def _answered(system: AffineSystem, r: np.ndarray, matrix: Any, correction: np.ndarray) -> bool:
    """Return True if a solver of the user solved for the last residual r, and did not take it for zero."""
    units = system.inner_product.balance[:, None]
    return bool(np.abs((r - np.asarray(matrix @ correction)) * units).max() <= ANSWERED * np.abs(r * units).max())


def _size(balance: np.ndarray, u: np.ndarray) -> float:
    """Return the largest entry of u in balanced units."""
    return float(np.abs(u / balance[:, None]).max())
