"""The weak greedy algorithm: the basis grows where the error bound is largest."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lowrank.progress import progress_bar
from rbm.bounds import error_estimate
from rbm.errors import EstimatorUnusable, Interrupted, ModelError, ParameterError
from rbm.estimate import Estimate
from rbm.estimators import METHODS, Estimator, Sketched
from rbm.files import save_greedy
from rbm.full_order import FullOrderModel, Projection
from rbm.greedy_result import GreedyResult, GreedyStep, Stopped, history_rows, stored
from rbm.missing import check_training
from rbm.online.chunks import slices, tiles
from rbm.online.compilation import compile_seconds
from rbm.penalties import penalty_hint
from rbm.projection import finish, method_names
from rbm.reduction import Reduction, solved
from rbm.stability_check import effectivity
from rbm.user_code import check_executor

__all__ = ["GreedyResult", "GreedyStep", "greedy"]


def greedy(
    model: FullOrderModel,
    training: Any = None,
    *,
    tol: float = 0.0,
    max_basis: int | None = None,
    estimators: Sequence[str | type[Estimator]] = ("orthonormal",),
    executor: Executor | None = None,
    progress: bool = False,
    resume: GreedyResult | str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    projection: Projection | None = None,
    relative: bool = False,
) -> GreedyResult:
    """Build a basis by adding, again and again, the solution at the training parameter with the largest error bound.

    Parameters
    ----------
    model : the full-order model
    training : (M, p) parameters, for example ``model.parameters.sample(1000)``
    tol : stop when the largest bound on the training set, in the P-norm, is at most this; 0 goes on to round-off
    max_basis : stop at this many basis vectors; n by default
    estimators : the first drives the greedy, all are prepared for the final model
    executor : runs the pieces of a training sweep at the same time, a ThreadPoolExecutor or another with its method `map`, where the driving
        estimator has no compiled kernel ("direct", and classes of your own); compiled sweeps use all cores without it, and a step has one
        full-order solve only. The result does not depend on it
    progress : show a progress bar on a terminal or in a notebook; for runs that somebody watches
    resume : a GreedyResult, or the path of one that was saved: go on from its basis, with the same model (checked) and
        the same or another training set
    checkpoint : a path to which the basis is written after every step
    projection : "galerkin" or "least-squares" (:class:`rbm.Reduction`); by default that of the resumed run, or the model's own
    relative : `tol`, the selection and the history are about bound / ||u_N(mu)||_P instead of the bound itself

    Returns
    -------
    GreedyResult; `stopped` is

    - "tolerance": the largest bound is at most `tol`
    - "max_basis": the basis has `max_basis` vectors
    - "round-off": no estimate on the training set is resolved any more, or the next solution adds nothing but
      round-off to the basis (its remainder is less than four bits above the rounding error of the vector), or the driving
      estimator has become unusable

    Raises
    ------
    Interrupted
        Ctrl-C; its `result` is the GreedyResult so far.
    ParameterError, ModelError, StabilityError
        bad training set, singular full-order system, stability bound that is not positive, or that is too large: where the bound is
        below the true error at a selected parameter, and the error vector itself shows that the stability bound is the cause.

    Notes
    -----
    The true error at each selected parameter is known at no cost, from the solution that is added: `effectivity` in the history. It
    says nothing of other parameters; :meth:`rbm.FullOrderModel.verify` checks the stability bound at random ones. E3 and E4 estimate:
    with them an effectivity below 1 may be their own, and is no error.

    Cost of step N: one full-order solve, 4 Qa Riesz solves, 4 n m Qa flops (m = Qf + Qa N), one batched sweep. The basis
    is orthonormalised by Gram-Schmidt twice; reduced quantities grow, they are never recomputed.
    Source: Veroy, Prud'homme, Rovas, Patera, AIAA 2003-3847.
    """
    names = method_names(estimators)
    if not isinstance(model, FullOrderModel):
        raise TypeError(
            f"the first argument of greedy is the full-order model, got {type(model).__name__}: greedy(model, training, ...)"
        )
    check_training(training)
    check_executor(executor)
    if not (isinstance(tol, int | float | np.number) and np.isfinite(tol) and tol >= 0):
        raise ParameterError(f"tol must be a number >= 0, got {tol!r}")
    if names[0] == Sketched.method:
        raise ModelError(
            "the estimator 'sketched' cannot drive a greedy: its bounds fail with some probability for parameters chosen without it, and nothing is "
            'known of those chosen with it; write estimators=("orthonormal", "sketched")'
        )
    limit = model.dimension if max_basis is None else min(max_basis, model.dimension)
    if limit < 1:
        raise ParameterError(f"max_basis must be at least 1, got {max_basis}")
    run = _Run(model, model.parameters.validate(training), names, executor, resume, projection, relative)
    try:
        with progress_bar(None, "greedy", enabled=progress) as bar:
            while (verdict := run.step(tol, limit)) is None:
                bar.update(run.reduction.size - bar.n)
                # how many steps there will be is not known: the way to go is from the bound to the tolerance
                bar.set_postfix_str(f"bound {run.history[-1].bound:.1e}, tol {tol:.1e}")
                if checkpoint is not None:
                    run.save(checkpoint)
        return run.result(*verdict)
    except KeyboardInterrupt as interrupt:
        if not run.selected:
            raise KeyboardInterrupt("greedy interrupted before the first basis vector") from None
        # the interrupt may have come in the middle of an extension: start again from the whole vectors
        run.reduction = Reduction(model, run.reduction.basis[:, : len(run.selected)], run.reduction.projection)
        result = run.result("max_basis", "interrupted")
        raise Interrupted(
            f"greedy interrupted with {len(result.parameters)} basis vectors; they are in `result` of this exception, "
            "and greedy(..., resume=result) goes on from them",
            result,
        ) from interrupt


def _relative(error: Estimate, gamma: np.ndarray) -> Estimate:
    """The estimate over ||u_N||_P = ||gamma||_2: infinite where u_N is zero and the error may not be, zero where both are."""
    size = np.linalg.norm(gamma, axis=1)
    scale = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), np.inf)
    with np.errstate(invalid="ignore"):  # 0 inf
        value, floor = (np.where(part > 0, part * scale, 0.0) for part in (error.value, error.floor))
    return Estimate(value, floor, error.resolved)


class _Sweep(NamedTuple):
    """What one sweep of the training set knows of its M points."""

    estimate: Estimate  #: of the error, relative if so asked
    bound: np.ndarray  #: (M,) of ||u - Z gamma||_P, absolute, u the solution of the affine model
    gamma: np.ndarray  #: (M, N)


class _Run:
    """A greedy run under way: the projection so far, and what the training set needs to be swept."""

    def __init__(
        self,
        model: FullOrderModel,
        training: np.ndarray,
        names: list[str],
        executor: Executor | None,
        resume: GreedyResult | str | os.PathLike[str] | None,
        projection: Projection | None,
        relative: bool,
    ) -> None:
        self.relative = relative
        self.model, self.training, self.names, self.executor = model, training, names, executor
        self.start = time.perf_counter() - compile_seconds()
        self.theta, self.phi = model.operator_coefficients(training), model.rhs_coefficients(training)
        self.beta = model.stability(training, self.theta)
        # where the right-hand side is zero u and u_N are, too, and there is nothing to select, whatever floor an estimate has
        present = np.any(model.rhs_terms, axis=0)
        at_rest = ~np.any(self.phi[:, present], axis=1)
        self.at_rest = at_rest if np.any(at_rest) and model.interpolation_error is None else None
        basis, parameters, history, of_stored, was_relative = stored(resume, model)
        if resume is not None and was_relative != relative:
            raise ModelError(
                f"the run to resume was made with relative={was_relative}, its history is about that; pass relative={was_relative} again, "
                "or give its basis to rbm.project"
            )
        self.reduction = Reduction(model, basis, projection or of_stored)
        self.selected: list[np.ndarray] = list(parameters)
        self.history: list[GreedyStep] = [step for step in history if step.size < len(parameters)]

    def step(self, tol: float, limit: int) -> tuple[Stopped, str] | None:
        """Sweep the training set; stop, with the reason, or add the solution at the worst parameter and return None."""
        try:
            sweep = self._sweep()
        except EstimatorUnusable as error:
            if not self.history or len(self.selected) < 2:  # no basis is left for which it is usable
                raise
            self.reduction = Reduction(self.model, self.reduction.basis[:, :-1], self.reduction.projection)
            self.selected.pop()
            return "round-off", f"{error} (the last usable basis is kept)"
        estimate = sweep.estimate
        worst = int(np.argmax(estimate.bound))
        mu, bound = self.training[worst], float(estimate.bound[worst])
        resolved = int(estimate.resolved.sum())
        self.history.append(
            GreedyStep(
                self.reduction.size,
                tuple(float(x) for x in mu),
                bound,
                float(estimate.floor[worst]),
                resolved,
                time.perf_counter() - compile_seconds() - self.start,
            )
        )
        if bound <= tol and not (self.relative and self.reduction.size == 0):
            return "tolerance", f"the largest bound {bound:.2e} is at most {tol:.1e}"
        if resolved == 0 and self.reduction.size > 0:
            cause = (
                ""
                if self.model.interpolation_error is None
                else " above round-off and the interpolation error of the model"
            )
            return (
                "round-off",
                f"none of {len(self.training)} training estimates is resolved any more{cause}{self._hint()}",
            )
        if self.reduction.size >= limit:
            return "max_basis", f"the basis has {self.reduction.size} vectors"
        snapshot = self.model.solve(mu[None], extrapolate=True)[0]
        made, beta = self.reduction.combination(sweep.gamma[worst]), float(self.beta[worst])
        found = effectivity(self.model, mu, self.theta[worst], beta, snapshot, made, float(sweep.bound[worst]))
        self.history[-1] = replace(self.history[-1], effectivity=found)
        if not self.reduction.extend(snapshot):
            return (
                "round-off",
                f"the solution at {self.model.parameters.describe(mu)} adds nothing but round-off to the basis{self._hint()}",
            )
        self.selected.append(mu)
        return None

    def _hint(self) -> str:
        """Why round-off may have come early, and what to do about it; the end of a sentence."""
        hint = penalty_hint(self.model, self.training)
        return f"; {hint}" if hint else ""

    def _sweep(self) -> _Sweep:
        """Error estimates of the whole training set, and what they were made from."""
        reduction = self.reduction
        state = METHODS[self.names[0]].prepare(self.model, reduction.basis, self.training, reduction=reduction)
        is_complex = any(a.dtype.kind == "c" for a in (reduction.operators, reduction.rhs, self.theta, self.phi))
        form = state.form(np.dtype(complex if is_complex else float))
        gamma, norm = solved(reduction.operators, reduction.rhs, self.theta, self.phi, form)
        if norm is None:
            terms = self.phi.shape[1] + self.theta.shape[1] * reduction.size
            arrays = (
                [part[rows] for rows in tiles(len(self.training), 64 * terms)] for part in (self.theta, self.phi, gamma)
            )
            norm = Estimate.concatenate(
                list((map if self.executor is None else self.executor.map)(state.evaluate, *arrays))
            )
        error = error_estimate(
            norm,
            self.beta,
            gamma,
            self.training,
            self.model.parameters,
            self.model.interpolation_error,
            reduction.orthonormality,
        )
        if self.at_rest is not None:
            value, floor = (np.where(self.at_rest, 0.0, part) for part in (error.value, error.floor))
            error = Estimate(value, floor, error.resolved & ~self.at_rest)
        shown = _relative(error, gamma) if self.relative and reduction.size else error
        return _Sweep(shown, norm.bound / self.beta, gamma)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what is needed to go on."""
        save_greedy(
            self.reduction.basis,
            np.array(self.selected),
            history_rows(self.history, len(self.model.parameters)),
            self.model.fingerprint(),
            path,
            self.reduction.projection,
            self.relative,
        )

    def result(self, stopped: Stopped, reason: str) -> GreedyResult:
        """Prepare all estimators and put the result together."""
        if not self.selected:
            if not any(np.any(self.model.rhs_terms @ self.phi[rows].T) for rows in slices(len(self.phi))):
                raise ModelError(
                    "the right-hand side is zero on the whole training set: so is every solution; "
                    "give a right-hand side, or training parameters where it is not zero"
                )
            raise ModelError(
                f"the largest bound with an empty basis is {self.history[-1].bound:.2e}, already at most tol: lower tol, or check the model"
            )
        selected = np.array(self.selected)
        reduced = finish(self.reduction, self.names, self.training, selected)
        return GreedyResult(
            reduced,
            self.reduction.basis,
            selected,
            tuple(self.history),
            stopped,
            reason,
            self.model.fingerprint(),
            self.reduction.projection,
            self.relative,
        )
