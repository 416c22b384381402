"""Greedy runs on parts of a box of parameters, which is cut until each part needs few vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rbm.errors import Interrupted, ModelError, ParameterError, WorkersLost, WorkspaceError
from rbm.estimators import Estimator
from rbm.files.greedy_result import GreedyResult, Stopped
from rbm.files.partition_file import box_space
from rbm.files.partition_result import PartitionedResult, save_snapshots, stored_snapshots
from rbm.full_order import FullOrderModel, Projection
from rbm.greedy.cuts import Cut, cut_of
from rbm.greedy.run import Run
from rbm.greedy.snapshots import Snapshots
from rbm.reduced.box_tree import BoxTree
from rbm.reduced.partitioned import PartitionedModel
from rbm.reduced.record import Record, recorded
from rbm.storage.workspace import Workspace
from rbm.weak_greedy import StoppingRule
from rbm.workers.crew import Crew

__all__ = ["Search", "Settings", "check_split"]


@dataclass(frozen=True)
class Settings:
    """What the runs of all parts have in common; the words of :func:`rbm.greedy`."""

    classes: list[type[Estimator]]
    rule: StoppingRule
    projection: Projection | None
    relative: bool
    batch: int
    dual: Sequence[str]
    greedy: Callable[..., GreedyResult]  #: makes the bases of dual problems
    progress: bool
    checkpoint: str | os.PathLike[str] | None


@dataclass(eq=False)
class Box:
    """A part of the box of parameters: its training points, and what the greedy found."""

    rows: np.ndarray  #: (m,) in the training set: the points in it, and some around it
    ends: np.ndarray  #: (p, 2)
    found: GreedyResult | None = None
    cut: Cut | None = None
    parts: tuple[Box, ...] = field(default=())  #: below and above the cut

    @property
    def is_leaf(self) -> bool:
        """True if no part is known any better: a part without a run is answered by the box that was cut."""
        return not any(part.found or part.parts for part in self.parts)


class Search:
    """The search for a partition: boxes are cut, the lower half first, until all meet the tolerance."""

    def __init__(
        self,
        model: FullOrderModel,
        training: np.ndarray,
        settings: Settings,
        crew: Crew,
        store: Workspace | None,
        resume: Any,
    ) -> None:
        self.model, self.training, self.settings = model, training, settings
        self.crew, self.store = crew, store
        self.truth = Snapshots(model, crew, store, *stored_snapshots(resume, model))
        self.root = Box(np.arange(len(training)), np.array(model.parameters.bounds))
        self.count = 0

    def result(self) -> PartitionedResult:
        """Run the greedy on boxes until no box has to be cut any more."""
        waiting = [self.root]
        try:
            while waiting:
                box = waiting.pop()
                self._search(box)
                waiting += box.parts[::-1]
            return self._made()
        except KeyboardInterrupt as interrupt:
            if self.root.found is None:
                raise KeyboardInterrupt("greedy interrupted before the first basis") from interrupt
            made = self._made("interrupted")
            raise Interrupted(
                f"greedy interrupted with {len(made.parameters)} snapshots and {len(made.runs)} leaves; they are in "
                "`result` of this exception, whose model answers everywhere with what is known, and greedy(..., "
                "split=True, resume=result) goes on from it",
                made,
            ) from interrupt
        except WorkersLost as error:
            if self.root.found is None:
                raise
            lost = WorkersLost(f"{error}. The leaves so far are in `solution` of this error, to be given as resume=")
            lost.solution = self._made("the workers were lost")
            raise lost from error
        except WorkspaceError as error:
            whole = self.store is None or self.store.is_whole
            error.result = self._made("the workspace failed") if whole and self.root.found else None
            raise

    def _search(self, box: Box) -> None:
        """Run the greedy on the training points of a box, and cut it if the tolerance was not met."""
        of, points = self.settings, self.training[box.rows]
        rule = of.rule
        self.count += 1
        settled = of.classes, None, of.projection, of.relative, of.batch
        run = Run(self.model, points, *settled, self.crew, self.store, self.truth)
        try:
            ended = run.extended(rule, self._saved, of.progress, f"box {self.count}")
            run.solve_duals(of.greedy, of.dual, None, rule.tol, rule.limit, of.progress)
        except (KeyboardInterrupt, WorkersLost):
            if box is self.root and run.selected:  # of others, the box that was cut knows more
                box.found = run.broken_off()
            raise
        if not run.selected and box is not self.root:
            return  # solutions are zero here: the box that was cut answers
        found = run.result(*ended)
        if ended[0] == "max_basis":
            inside = np.all((points >= box.ends[:, 0]) & (points <= box.ends[:, 1]), axis=1)
            own = points[inside]
            box.cut = cut_of(self.model, found.reduced_model, box.ends, own, rule.limit)
            if box.cut is not None:
                sides = box.cut.sides(box.ends, points, len(own), self.model.parameters.scale)
                halves = zip(sides, box.cut.halves(box.ends), strict=True)
                box.parts = tuple(Box(box.rows[side], ends) for side, ends in halves)
        box.found = found

    @property
    def _saved(self) -> Callable[[], object] | None:
        """What writes the checkpoint, if there is one."""
        path = self.settings.checkpoint
        if path is None:
            return None
        mark = self.model.fingerprint()
        return lambda: save_snapshots(path, self.truth.parameters, self.truth.pieces, mark)

    def _made(self, why: str = "") -> PartitionedResult:
        """Put the result together; `why` it ended early, if it did."""
        axis: list[int] = []
        cut: list[float] = []
        below: list[int] = []
        above: list[int] = []
        leaves: list[tuple[GreedyResult, np.ndarray]] = []

        def number(box: Box, nearest: GreedyResult) -> int:
            nearest = box.found or nearest
            if box.is_leaf:
                leaves.append((nearest, box.ends))
                return -len(leaves)
            assert box.cut is not None
            k = len(cut)
            axis.append(box.cut.axis)
            cut.append(box.cut.value)
            below.append(0)
            above.append(0)
            below[k], above[k] = (number(part, nearest) for part in box.parts)
            return k

        assert self.root.found is not None
        number(self.root, self.root.found)
        tree = BoxTree(np.array(axis, int), np.array(cut, float), np.array(below, int), np.array(above, int))
        space, runs = self.model.parameters, tuple(found for found, _ in leaves)
        boxed = (replace(found.reduced_model, parameters=box_space(space, ends)) for found, ends in leaves)
        stopped, reason = _ended(runs, self.settings.rule, why)
        result = PartitionedResult(
            PartitionedModel(space, tree, tuple(boxed)),
            runs,
            self.truth.parameters,
            self.truth.vectors,
            self.truth.solved,
            stopped,
            reason,
            self.model.fingerprint(),
            self.settings.relative,
        )
        model, ended = result.reduced_model, (len(self.training), f"{stopped}: {reason}", result.relative)
        known = None if (first := model.leaves[0].record) is None else Record(evidence=first.evidence)
        record = recorded(known, result.fingerprint, result.history, *ended)
        return replace(result, reduced_model=replace(model, record=record))


def _ended(runs: Sequence[GreedyResult], rule: StoppingRule, why: str) -> tuple[Stopped, str]:
    """Return why the search ended, as a word and in a sentence."""
    largest = max(run.history[-1].bound for run in runs)
    if why:
        return "max_basis", f"{why}; the largest bound is {largest:.2e}"
    few = [run for run in runs if run.stopped == "max_basis"]
    if few:
        return "max_basis", (
            f"{len(few)} leaves have {rule.limit} vectors, bounds up to {largest:.2e}, and too few training points to "
            "be cut: give more of them"
        )
    rounded = [run for run in runs if run.stopped == "round-off"]
    if rounded:
        return "round-off", f"{len(rounded)} of {len(runs)} leaves: {rounded[0].reason}"
    return "tolerance", f"the largest bound {largest:.2e} is at most {rule.tol:.1e}"


def check_split(
    split: Any, tol: float, max_basis: int | None, resume: Any, classes: Sequence[type[Estimator]] = ()
) -> None:
    """Raise an error for arguments of a greedy that do not go together with cutting the box, or without it."""
    if not isinstance(split, bool | np.bool_):
        raise ParameterError(f"split must be True or False, got {split!r}")
    if split and (max_basis is None or not tol > 0):
        lacking = "tol" if max_basis is not None else "max_basis"
        raise ParameterError(
            f"split=True cuts the box of parameters until each part meets tol with max_basis vectors: give {lacking}, "
            "for example greedy(model, training, tol=1e-3, max_basis=25, split=True)"
        )
    inside = [cls.kind for cls in classes if cls.inside_only or cls.kind == "sampled"]
    if split and inside:
        raise ModelError(
            f"the estimator {inside[0]!r} is checked on the whole parameter space, and the basis of a leaf is about "
            "its box: cut the box with estimators such as 'orthonormal', 'expanded' or 'sketched'"
        )
    if split and isinstance(resume, GreedyResult):
        raise ModelError("a run with one basis has kept no snapshots, so that split=True cannot go on from it")
    if not split and isinstance(resume, PartitionedResult):
        raise ModelError("this run has cut the box of parameters: go on from it with split=True, tol and max_basis")
