"""A greedy run under way: the basis so far, the training set, and what was found."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rbm.affine.functional_range import FunctionalRange
from rbm.affine.penalties import penalty_hint
from rbm.errors import EstimatorUnusable, Interrupted, ModelError, WorkersLost
from rbm.estimators import Estimator
from rbm.files.greedy_file import save_greedy
from rbm.files.greedy_result import GreedyResult, GreedyStep, Stopped, history_rows, stored
from rbm.full_order import FullOrderModel, Projection
from rbm.greedy.snapshots import Snapshots
from rbm.online.compilation import compile_seconds
from rbm.project import finish, is_compliant
from rbm.reduced.record import recorded
from rbm.reduced.training_sweep import TrainingSet, far_apart, vectors_to_come
from rbm.reduction.adjoint import adjoint_model
from rbm.reduction.memory import Memory
from rbm.reduction.projected_system import Reduction
from rbm.stability.check import effectivity
from rbm.storage.workspace import Workspace
from rbm.weak_greedy import StoppingRule, Worst, weak_greedy
from rbm.workers.crew import Crew

__all__ = ["Run"]

#: A point whose solution is known is taken where its bound is this share of the largest: a weak greedy.
KNOWN = 0.5


class Run:
    """A greedy run under way, a surrogate for :func:`weak_greedy`: the basis so far, and the training set."""

    def __init__(
        self,
        model: FullOrderModel,
        training: np.ndarray,
        classes: list[type[Estimator]],
        resume: Any,
        projection: Projection | None,
        relative: bool,
        batch: int,
        crew: Crew,
        store: Workspace | None,
        truth: Snapshots | None = None,
    ) -> None:
        self.relative, self.batch, self.crew, self.store = relative, batch, crew, store
        self.truth = truth  #: solutions that other runs have made, and that this one adds to; None: solve all
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
        self, rule: StoppingRule, after: Callable[[], object] | None, progress: bool, said: Memory | str | None
    ) -> tuple[Stopped, str]:
        """Extend the basis until the rule stops it, and say why it did.

        after : called after each step, to write a checkpoint; said : stands on the progress bar
        """
        self.rule = rule
        try:
            stop, worst = weak_greedy(
                self,
                rule,
                "greedy" if said is None else f"greedy ({said})",
                # how many steps there will be is not known: the way to go is from the bound to the tolerance
                shown=lambda bound: f"bound {bound:.1e}, tol {rule.tol:.1e}",
                progress=progress,
                after=after or (lambda: None),
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
        if self.truth is not None:
            rows[0] = self._known_instead(rows)
        mus = self.training[rows]
        if self.truth is None:
            snapshots = self.model.solve(mus, extrapolate=True, executor=self.crew)
        else:
            snapshots = self.truth(mus)
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

    def _known_instead(self, rows: list[int]) -> int:
        """Return a point whose solution is known, if its bound is nearly the largest; else the worst point.

        It is one that is not among `rows`, the points of this step, nor in the basis.
        """
        assert self.truth is not None
        swept = self.swept
        enough = swept.bound >= KNOWN * swept.bound[swept.worst]
        used = {mu.tobytes() for mu in (*self.selected, *self.training[rows])}
        places = [
            k
            for k in np.flatnonzero(enough).tolist()
            if (mu := self.training[swept.rows[k]]).tobytes() not in used and mu in self.truth
        ]
        return rows[0] if not places else int(swept.rows[max(places, key=lambda k: float(swept.bound[k]))])

    def _most(self) -> int:
        """Return how many snapshots this step may add."""
        steps = self.history[-2:]
        few = vectors_to_come([s.size for s in steps], [s.bound for s in steps], self.rule.tol)
        return min(self.batch, self.rule.limit - self.size, few or self.batch)

    def solve_duals(
        self,
        greedy: Callable[..., GreedyResult],
        names: Sequence[str],
        resume: Any,
        tol: float,
        max_basis: int,
        progress: bool,
    ) -> None:
        """Build the bases of dual problems by `greedy`, from those of the run that is resumed if there are any.

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
                workspace=self.store,  # one that is open is used
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
        mark = self.model.fingerprint()
        made = recorded(reduced.record, mark, history, len(self.training), f"{stopped}: {reason}", self.relative)
        reduced = replace(reduced, record=made)
        of_run = mark, self.reduction.projection, self.relative
        return GreedyResult(reduced, basis, selected, history, stopped, reason, *of_run, dict(self.duals))
