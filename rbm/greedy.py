"""The weak greedy algorithm: the basis grows where the error bound is largest."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np

from rbm.affine.functional_range import FunctionalRange
from rbm.affine.missing import check_training
from rbm.affine.penalties import penalty_hint
from rbm.affine.riesz_by_workers import riesz_by_workers
from rbm.errors import EstimatorUnusable, Interrupted, ModelError, ParameterError, WorkersLost, WorkspaceError
from rbm.estimators import Estimator
from rbm.files.greedy_file import save_greedy
from rbm.files.greedy_result import GreedyResult, GreedyStep, Stopped, history_rows, stored
from rbm.full_order import FullOrderModel, Projection
from rbm.online.compilation import compile_seconds
from rbm.project import dual_names, estimator_classes, finish, is_compliant
from rbm.reduced.training_sweep import TrainingSet, far_apart, vectors_to_come
from rbm.reduction.adjoint import adjoint_model
from rbm.reduction.memory import Memory, check_memory, memory_use, resident_memory
from rbm.reduction.projected_system import Reduction
from rbm.stability.check import effectivity
from rbm.storage.workspace import Workspace, opened
from rbm.weak_greedy import StoppingRule, Worst, check_batch, weak_greedy
from rbm.workers.crew import Crew

__all__ = ["GreedyResult", "GreedyStep", "greedy"]


def greedy(
    model: FullOrderModel,
    training: Any = None,
    *,
    tol: float = 0.0,
    max_basis: int | None = None,
    estimators: Sequence[str | type[Estimator]] = ("orthonormal",),
    batch: int = 1,
    executor: Executor | None = None,
    progress: bool = False,
    resume: GreedyResult | str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    projection: Projection | None = None,
    relative: bool = False,
    dual: Sequence[str] | str = (),
    workspace: str | os.PathLike[str] | None = None,
) -> GreedyResult:
    """Build a basis greedily: add the solution at the training parameter with the largest error bound, again and again.

    Parameters
    ----------
    model : the full-order model
    training : (M, p) parameters, for example ``model.parameters.sample(1000)``
    tol : stop when the largest bound on the training set, in the P-norm, is at most this; 0 goes on to round-off
    max_basis : stop at this many basis vectors; n by default
    estimators : the first drives the greedy, all are prepared for the final model
    batch : the most snapshots a step: at the worst training point, and at others whose residuals point elsewhere
        (:func:`rbm.reduced.training_sweep.far_apart`). They are solved at once, and there are fewer sweeps; the
        certificate is the same. Take a multiple of the number of workers; the basis depends on it
    executor : truth solves, Riesz solves and sweeps of more than 131072 training points go to its workers: process and
        thread pools, Dask, MPI, loky, anything with the interface of concurrent.futures (docs/scale.md). The result
        depends neither on it nor on the number of workers
    progress : show a progress bar on a terminal or in a notebook; for runs that somebody watches
    resume : a GreedyResult, or the path of one that was saved: go on from its basis, with the same model (checked)
        and the same or another training set
    checkpoint : a path to which the basis is written after every step
    projection : "galerkin" or "least-squares" (:class:`rbm.Reduction`); by default that of the resumed run, or the
        model's own
    relative : `tol`, the selection and the history are about bound / ||u_N(mu)||_P instead of the bound itself
    dual : names of linear outputs, or "all" for those that gain by it: their dual problems A(mu)^H z = conj l(mu) get
        a basis each, by the same greedy, and the outputs are corrected, with the product of both residuals as bound
        (:class:`rbm.reduced.primal_dual.ReducedPrimalDual`). The tolerance is the same share of the largest bound with
        an empty basis as for u (with `relative`, `tol` itself), the limit `max_basis`; so both factors of the product
        have come down alike. The results are in `dual` of the result; a checkpoint holds the basis for u only
    workspace : a folder, empty or new: tall matrices are kept there, in files that are mapped into memory and removed
        at the end. For what does not fit otherwise (:func:`rbm.expected_memory`); the result is the same, bit for bit

    Returns
    -------
    GreedyResult; `stopped` is

    - "tolerance": the largest bound is at most `tol`
    - "max_basis": the basis has `max_basis` vectors
    - "round-off": no estimate on the training set is resolved any more, or the next solution adds nothing but round-off
      to the basis (its remainder is less than four bits above the rounding error of the vector), or the driving
      estimator has become unusable

    Raises
    ------
    Interrupted
        Ctrl-C; its `result` is the GreedyResult so far.
    WorkersLost
        workers that died more than once, an executor that was shut down; its `solution` is the GreedyResult so far.
    WorkspaceError
        a workspace that is full, read-only, in use or of another model; its `result` is the GreedyResult so far.
    ParameterError, ModelError, StabilityError
        bad training set, a basis that does not fit into memory, singular full-order system, stability bound that is not
        positive, or that is too large: where the bound is below the true error at a selected parameter, and the error
        vector itself shows that the stability bound is the cause.

    Notes
    -----
    The true error at each selected parameter is known at no cost, from the solution that is added: `effectivity` in the
    history. It says nothing of other parameters; :meth:`rbm.FullOrderModel.verify` checks the stability bound at random
    ones. E3 and E4 estimate: with them an effectivity below 1 may be their own, and is no error.

    Cost of a vector: one full-order solve, 4 Qa Riesz solves, 4 n m Qa flops (m = Qf + Qa N); one sweep a batch.
    The basis is orthonormalised by Gram-Schmidt twice; reduced quantities grow, they are never recomputed.
    Source: Veroy, Prud'homme, Rovas, Patera, AIAA 2003-3847.
    """
    classes = estimator_classes(estimators)
    if not isinstance(model, FullOrderModel):
        got = f"got {type(model).__name__}: greedy(model, training, ...)"
        raise TypeError(f"the first argument of greedy is the full-order model, {got}")
    check_training(training)
    check_batch(batch)
    if not (isinstance(tol, int | float | np.number) and np.isfinite(tol) and tol >= 0):
        raise ParameterError(f"tol must be a number >= 0, got {tol!r}")
    if not classes[0].certain:
        raise ModelError(
            "the estimator 'sketched' cannot drive a greedy: its bounds fail with some probability for parameters "
            'chosen without it, nothing is known of others; write estimators=("orthonormal", "sketched")'
        )
    names = dual_names(model, dual)
    limit = model.dimension if max_basis is None else min(max_basis, model.dimension)
    if limit < 1:
        raise ParameterError(f"max_basis must be at least 1, got {max_basis}")
    points = model.parameters.validate(training)
    with Crew(executor, model) as crew, opened(workspace, model, checkpoint) as store:
        before, said = resident_memory(), None if max_basis is None else check_memory(model, limit, batch, store)
        run = _Run(model, points, classes, resume, projection, relative, batch, crew, store)
        try:
            with riesz_by_workers(crew, model):
                # a first basis vector is needed before errors are relative to u_N
                ended = run.extended(StoppingRule(tol, limit, least=int(relative)), checkpoint, progress, said)
                run.solve_duals(names, resume, tol, limit, progress)
                return replace(run.result(*ended), memory=memory_use(model, run.size, batch, store, before))
        except KeyboardInterrupt as interrupt:
            raise run.interrupted() from interrupt
        except WorkersLost as error:
            raise run.without_workers(error) from error
        except WorkspaceError as error:
            error.result = run.out_of_room()
            raise


class _Run:
    """A greedy run under way, a surrogate for :func:`weak_greedy`: the basis so far, and the training set."""

    def __init__(
        self,
        model: FullOrderModel,
        training: np.ndarray,
        classes: list[type[Estimator]],
        resume: GreedyResult | str | os.PathLike[str] | None,
        projection: Projection | None,
        relative: bool,
        batch: int,
        crew: Crew,
        store: Workspace | None,
    ) -> None:
        self.relative, self.batch, self.crew, self.store = relative, batch, crew, store
        self.model, self.training, self.classes = model, training, classes
        self.start = time.perf_counter() - compile_seconds()
        self.points = TrainingSet(model, training)
        basis, parameters, history, of_stored, was_relative = stored(resume, model)
        if resume is not None and was_relative != relative:
            raise ModelError(
                f"the run to resume was made with relative={was_relative}, its history is about that; "
                f"pass relative={was_relative} again, or give its basis to rbm.project"
            )
        sizes = [step.size for step in history]  # the same steps, the same bits
        self.reduction = Reduction(model, basis, projection or of_stored, sizes=sizes, store=store)
        self.duals: dict[str, GreedyResult] = {}
        self.selected: list[np.ndarray] = list(parameters)
        self.history: list[GreedyStep] = [step for step in history if step.size < len(parameters)]

    @property
    def size(self) -> int:
        """Number of basis vectors N."""
        return self.reduction.size

    def extended(
        self, rule: StoppingRule, checkpoint: str | os.PathLike[str] | None, progress: bool, said: Memory | None
    ) -> tuple[Stopped, str]:
        """Extend the basis until the rule stops it, and say why it did."""
        self.rule = rule
        try:
            stop, worst = weak_greedy(
                self,
                rule,
                "greedy" if said is None else f"greedy ({said})",
                # how many steps there will be is not known: the way to go is from the bound to the tolerance
                shown=lambda bound: f"bound {bound:.1e}, tol {rule.tol:.1e}",
                progress=progress,
                after=lambda: None if checkpoint is None else self.save(checkpoint),
            )
        except EstimatorUnusable as error:
            if not self.history or len(self.selected) < 2:  # no basis is left for which it is usable
                raise
            self.selected.pop()
            self.keep(len(self.selected))
            return "round-off", f"{error} (the last usable basis is kept)"
        if stop == "tolerance":
            return stop, f"the largest bound {worst.value:.2e} is at most {rule.tol:.1e}"
        if stop == "limit":
            return "max_basis", f"the basis has {self.size} vectors"
        if stop == "exhausted":
            at = self.model.parameters.describe(self.training[worst.point])
            return "round-off", f"the solution at {at} adds nothing but round-off to the basis{self._hint()}"
        affine = self.model.interpolation_error is None
        cause = "" if affine else " above round-off and the interpolation error of the model"
        none = f"none of {len(self.training)} training estimates is resolved any more"
        return "round-off", f"{none}{cause}{self._hint()}"

    def evaluate(self) -> Worst:
        """Sweep the training set, and write down where the largest bound is."""
        self.swept = swept = self.points.sweep(self.reduction, self.classes[0], self.relative, self.crew)
        worst = swept.worst
        row, bound, floor = int(swept.rows[worst]), float(swept.bound[worst]), float(swept.floor[worst])
        at = tuple(float(x) for x in self.training[row])
        seconds = time.perf_counter() - compile_seconds() - self.start
        self.history.append(GreedyStep(self.size, at, bound, floor, swept.resolved, seconds))
        return Worst(row, bound, swept.resolved > 0)

    def extend(self, point: int) -> bool:
        """Add the full-order solutions at the worst training point and others; compare true errors with bounds."""
        rows = far_apart(self.reduction, self.points, self.swept, self._most(), self.rule.tol)
        mus = self.training[rows]
        snapshots = self.model.solve(mus, extrapolate=True, executor=self.crew)
        theta = self.model.operator_coefficients(mus)
        for k in range(len(rows))[::-1]:  # the worst, which is first, is written down
            at = self.swept.at(rows[k])
            made, beta = self.reduction.combination(self.swept.gamma[at]), float(self.points.beta[rows[k]])
            bound = float(self.swept.absolute[at])
            found = effectivity(self.model, mus[k], theta[k], beta, snapshots[k], made, bound)
        self.history[-1] = replace(self.history[-1], effectivity=found)
        kept = self.reduction.extend_many(snapshots.T)
        self.selected += [mus[i] for i in kept]
        return bool(kept)

    def _most(self) -> int:
        """Return how many snapshots this step may add."""
        steps = self.history[-2:]
        few = vectors_to_come([s.size for s in steps], [s.bound for s in steps], self.rule.tol)
        return min(self.batch, self.rule.limit - self.size, few or self.batch)

    def solve_duals(self, names: Sequence[str], resume: Any, tol: float, max_basis: int, progress: bool) -> None:
        """Build the bases of dual problems, from those of the run that is resumed if there are any.

        What is finished is in `duals`, also after Ctrl-C.
        """
        known = resume.dual if isinstance(resume, GreedyResult) else {}
        for name in names if self.selected else ():
            dual = adjoint_model(self.model, name)
            size = self.largest(dual)
            if size == 0 or is_compliant(self.reduction, name):
                continue
            wanted = tol if self.relative else tol * size / self.largest(self.model)
            self.duals[name] = greedy(
                dual,
                self.training,
                tol=wanted,
                max_basis=max_basis,
                batch=self.batch,
                executor=self.crew.executor,
                progress=progress,
                resume=known.get(name),
                projection=self.reduction.projection,
                relative=self.relative,
                workspace=self.store,  # type: ignore[arg-type]  # one that is open is used
            )

    def largest(self, model: FullOrderModel) -> float:
        """Return the largest bound ||f(mu)||_{P'} / beta(mu) of a solution of a model on the training set."""
        span, terms = FunctionalRange(model.inner_product), model.rhs_terms
        span.append(terms, np.zeros_like(terms), np.zeros(terms.shape))
        return self.points.largest(span.factor, model)

    def interrupted(self) -> KeyboardInterrupt:
        """Return the error about Ctrl-C, with the result so far, if there is one."""
        if not self.selected:
            return KeyboardInterrupt("greedy interrupted before the first basis vector")
        result = self.broken_off()
        return Interrupted(
            f"greedy interrupted with {len(result.parameters)} basis vectors; they are in `result` of this exception, "
            "and greedy(..., resume=result) goes on from them",
            result,
        )

    def without_workers(self, error: WorkersLost) -> WorkersLost:
        """Return the error with the result so far, if there is one."""
        if not self.selected:
            return error
        lost = WorkersLost(
            f"{error}. The {len(self.selected)} basis vectors so far are in `solution` of this error, and "
            "greedy(..., resume=error.solution) goes on from them"
        )
        lost.solution = self.broken_off()
        return lost

    def broken_off(self) -> GreedyResult:
        """Return the result so far: an extension may have been broken off, so start again from the whole vectors."""
        self.keep(len(self.selected))
        return self.result("max_basis", "interrupted")

    def out_of_room(self) -> GreedyResult | None:
        """Return the result so far of a run whose workspace failed, if there is one, and its files are whole."""
        whole = self.store is None or self.store.is_whole
        return self.result("max_basis", "the workspace failed") if self.selected and whole else None

    def keep(self, size: int) -> None:
        """Start again from the first basis vectors."""
        basis, sizes = self.reduction.basis[:, :size], [step.size for step in self.history]
        self.reduction = Reduction(self.model, basis, self.reduction.projection, sizes=sizes, store=self.store)

    def _hint(self) -> str:
        """Return why round-off may have come early, and what to do about it; the end of a sentence."""
        hint = penalty_hint(self.model, self.training)
        return f"; {hint}" if hint else ""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what is needed to go on."""
        rows, reduction = history_rows(self.history, len(self.model.parameters)), self.reduction
        mark, selected = self.model.fingerprint(), np.array(self.selected)
        save_greedy(reduction._basis.pieces, selected, rows, mark, path, reduction.projection, self.relative)

    def result(self, stopped: Stopped, reason: str) -> GreedyResult:
        """Prepare all estimators and put the result together."""
        if not self.selected:
            if self.points.at_rest():
                raise ModelError(
                    "the right-hand side is zero on the whole training set: so is every solution; "
                    "give a right-hand side, or training parameters where it is not zero"
                )
            raise ModelError(
                f"the largest bound with an empty basis is {self.history[-1].bound:.2e}, already at most tol: "
                "lower tol, or check the model"
            )
        selected, history, basis = np.array(self.selected), tuple(self.history), self.reduction.basis
        duals = {name: found.reduced_model for name, found in self.duals.items()}
        reduced = finish(self.reduction, self.classes, self.training, selected, duals)
        of_run = self.model.fingerprint(), self.reduction.projection, self.relative
        return GreedyResult(reduced, basis, selected, history, stopped, reason, *of_run, dict(self.duals))
