"""POD-greedy: the basis grows by the first modes of the worst trajectory."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np

from rbm.affine.missing import check_training
from rbm.affine.riesz_by_workers import riesz_by_workers
from rbm.errors import Interrupted, ModelError, ParameterError, StabilityError, WorkersLost, WorkspaceError
from rbm.estimate import Estimate
from rbm.estimators import Orthonormal
from rbm.online.compilation import compile_seconds
from rbm.online.marching import Recursion
from rbm.project import dual_names
from rbm.reduced.training_sweep import spread_out
from rbm.reduction.memory import Memory, check_memory, memory_use, resident_memory
from rbm.reduction.projected_system import Reduction
from rbm.storage.workspace import Workspace, opened
from rbm.time.adjoint import adjoint_in_time
from rbm.time.certificate import Coefficients, TimeCertificate
from rbm.time.coercivity import coercivity
from rbm.time.compression import WINDOW
from rbm.time.control import checked_control
from rbm.time.greedy_result import PODGreedyResult, PODGreedyStep, Stopped, stored_run, with_record, write_run
from rbm.time.initial import reduce_initial
from rbm.time.marches import certified
from rbm.time.model import TimeModel
from rbm.time.project import finished
from rbm.time.trajectory_errors import projection_error
from rbm.weak_greedy import StoppingRule, Worst, check_batch, weak_greedy
from rbm.workers.crew import Crew

__all__ = ["pod_greedy"]


def pod_greedy(
    model: TimeModel,
    training: Any = None,
    *,
    tol: float = 0.0,
    max_basis: int | None = None,
    modes: int = 1,
    batch: int = 1,
    executor: Executor | None = None,
    dual: Sequence[str] | str = (),
    control: Any = None,
    progress: bool = False,
    resume: PODGreedyResult | str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    workspace: str | os.PathLike[str] | None = None,
) -> PODGreedyResult:
    """Build a basis greedily: add the first POD modes of the trajectory with the largest error bound, again and again.

    Parameters
    ----------
    model : the full model
    training : (M, p) parameters, for example ``model.parameters.sample(100)``
    tol : stop when the largest bound on the training set, in the energy norm at the last time, is at most this
    max_basis : stop at this many basis vectors; n by default
    modes : how many modes of a trajectory's projection error are added at a time
    batch : the most trajectories a step: at the worst training point, and at others that are far from those before
        (:func:`rbm.reduced.training_sweep.spread_out`); the basis depends on it
    executor : its workers march the trajectories, whose modes come back, and do Riesz solves (docs/scale.md): process
        and thread pools, Dask, MPI, loky. The result depends neither on it nor on the number of workers
    dual : names of outputs, or "all": their dual problems (:func:`rbm.time.adjoint.adjoint_in_time`) get a basis each,
        by the same greedy on the impulse, and the outputs are corrected, with the product of both residuals as bound
        (:class:`rbm.time.dual.ReducedDual`). The tolerance is the same share of the largest bound with an empty basis.
        The results are in `dual` of the result; files hold the basis for u only, and a run that goes on from one makes
        the others anew. A run that goes on without `dual` has none
    control : of the training, None for the model's own, (K,) or "impulse": the answer to the impulse 1, 0, 0, ... holds
        those to all controls, by superposition, so that a basis made for it serves controls that are not known yet
    progress : show a progress bar
    resume, checkpoint : a PODGreedyResult, or the path of one that was saved, of the same model and control (checked);
        a path to which the run is written after every step
    workspace : a folder, empty or new, for tall matrices, as in :func:`rbm.greedy`; the result is the same, bit for bit

    Returns
    -------
    PODGreedyResult; `stopped` is "tolerance", "max_basis" or "round-off", as of :func:`rbm.greedy`.

    Raises
    ------
    Interrupted
        Ctrl-C; its `result` is the result so far.
    WorkersLost
        workers that died more than once, an executor that was shut down; its `solution` is the result so far.
    WorkspaceError
        a workspace that is full, read-only, in use or of another model; its `result` is the result so far.
    ParameterError, ModelError, StabilityError
        a bad training set or control, a basis that does not fit into memory, a singular system, a coercivity bound that
        is not positive or is too large: where a bound is below the true error, known at each selected parameter.

    Notes
    -----
    Each step marches the truth at the worst parameter. Its projection error, projected twice, is compressed as it
    arrives (:class:`rbm.time.compression.SnapshotStream`): no trajectory is held as a whole.
    Cost of a step: one trajectory, a POD of at most 256 vectors, 4 (Qa + Qm) Riesz solves a mode, one batched sweep.
    Source: Haasdonk, Ohlberger, M2AN 42 (2008) 277-302; training on the impulse: Grepl, Patera, M2AN 39 (2005) 157-181.
    """
    if not isinstance(model, TimeModel):
        raise TypeError(f"the first argument of pod_greedy is the TimeModel, got {type(model).__name__}")
    check_training(training)
    if not (isinstance(tol, int | float | np.number) and np.isfinite(tol) and tol >= 0):
        raise ParameterError(f"tol must be a number >= 0, got {tol!r}")
    if isinstance(modes, bool) or not (isinstance(modes, int | np.integer) and modes >= 1):
        raise ParameterError(f"modes must be a whole number of at least 1, got {modes!r}")
    whole = isinstance(max_basis, int | np.integer) and not isinstance(max_basis, bool)
    limit = min(int(max_basis), model.dimension) if whole else model.dimension  # type: ignore[arg-type]
    if not (max_basis is None or whole) or limit < 1:
        raise ParameterError(f"max_basis must be a whole number of at least 1, got {max_basis!r}")
    if model.periodic:
        raise ModelError("a periodic model has no march; reduce space_time() with rbm.greedy")
    names = dual_names(model.spatial, dual)
    check_batch(batch)
    points = model.parameters.validate(training)
    with Crew(executor, model) as crew, opened(workspace, model) as store:
        held = min(model.steps + 1, WINDOW)
        said = None if max_basis is None else check_memory(model.joint, limit, modes * batch, store, held)
        before = resident_memory()
        run = _Run(model, points, modes, limit, control, resume, batch, crew, store)
        try:
            with riesz_by_workers(crew, model.joint):
                stopped = run.extended(StoppingRule(tol, limit), checkpoint, progress, said)
                run.solve_duals(names, resume, tol, progress)
                made = run.result(*stopped)
                used = memory_use(model.joint, run.size, modes * batch, store, before, held)
                return replace(made, memory=used)
        except (KeyboardInterrupt, WorkersLost) as error:
            ended = run.ended_by(error)
            raise ended from (None if ended is error else error)
        except WorkspaceError as error:
            error.result = run.out_of_room()
            raise


class _Run:
    """A POD-greedy run under way, a surrogate for :func:`weak_greedy`."""

    def __init__(
        self, model: TimeModel, training: np.ndarray, modes: int, limit: int, control: Any,
        resume: PODGreedyResult | str | os.PathLike[str] | None, batch: int = 1, crew: Crew | None = None,
        store: Workspace | None = None,
    ) -> None:  # fmt: skip
        self.batch, self.crew, self.store = batch, crew or Crew(None, model), store
        self.model, self.training, self.modes, self.limit = model, training, modes, limit
        self.start = time.perf_counter() - compile_seconds()
        self.control = checked_control(
            model.control if control is None else control, model.steps, None, model.spatial.constraints
        )
        if self.control.ndim != 1:
            raise ModelError(f"the control of the training must have the shape ({model.steps},)")
        self.theta, self.weights, self.phi, self.of_start = model.coefficients(training)
        self.alpha = coercivity(model.spatial.stability, training, self.theta, model.parameters)
        basis, selected, sizes, self.history = stored_run(resume, model, self.control)
        #: where trajectories were taken, and the size of the basis after each, of whole steps
        self.taken: list[tuple[np.ndarray, int]] = list(zip(selected, sizes, strict=True))
        self.reduction = self._reduced(basis)
        self.duals: dict[str, PODGreedyResult] = {}

    @property
    def size(self) -> int:
        """Number of basis vectors N."""
        return self.reduction.size

    def _reduced(self, basis: np.ndarray) -> Reduction:
        """Return the joint system on a basis, which came in the steps of the history: the same steps, the same bits."""
        sizes = [step.size for step in self.history]
        return Reduction(self.model.joint, basis, "galerkin", sizes=sizes, store=self.store)

    @property
    def selected(self) -> tuple[np.ndarray, np.ndarray]:
        """Where trajectories were taken (S, p), and the numbers of vectors (S,) after each of them."""
        return np.array([point for point, _ in self.taken]), np.array([size for _, size in self.taken], dtype=int)

    def extended(
        self, rule: StoppingRule, checkpoint: str | os.PathLike[str] | None, progress: bool, said: Memory | None
    ) -> tuple[Stopped, str]:
        """Extend the basis until the rule stops it, and say why it did."""
        self.rule = rule
        self.model.joint.prepare()  # before the workers, which would all do it
        stop, worst = weak_greedy(
            self,
            rule,
            "POD-greedy" if said is None else f"POD-greedy ({said})",
            shown=lambda bound: f"bound {bound:.1e}, tol {rule.tol:.1e}",
            progress=progress,
            after=lambda: None if checkpoint is None else self.save(checkpoint),
        )
        if stop == "tolerance":
            return stop, f"the largest bound {worst.value:.2e} is at most {rule.tol:.1e}"
        if stop == "limit":
            return "max_basis", f"the basis has {self.size} vectors"
        if stop == "exhausted":
            at = self.model.parameters.describe(self.training[worst.point])
            return "round-off", f"the trajectory at {at} adds nothing but round-off to the basis"
        return "round-off", f"none of {len(self.training)} training estimates is resolved any more"

    def sweep(self, rows: Any = slice(None), *, keep: bool = True) -> tuple[np.ndarray | None, Estimate]:
        """Return gamma, if it is kept, and the estimates in the energy norm of some training points."""
        model, reduction = self.model, self.reduction
        count = len(model.mass.terms)
        recursion = Recursion(
            reduction.operators[:-count], reduction.operators[-count:], reduction.rhs, model.dt, model.theta
        )
        certificate = TimeCertificate(Orthonormal.prepare(reduction, self.training), recursion)
        initial = reduce_initial(model.initial, model.mass.whole, reduction.basis)
        of_start, weights = self.of_start[rows], self.weights[rows]
        control = np.broadcast_to(self.control, (len(weights), model.steps))
        error = initial.error(of_start, weights * (1 + model.mass.slack))
        of = Coefficients(
            self.theta[rows], weights, self.phi[rows], self.alpha[rows], initial.gamma(of_start), error, control
        )
        found = certified(certificate, of, keep=keep)
        assert found.norms is not None
        return found.gamma, certificate.estimates(of, found.norms)[0]

    def evaluate(self) -> Worst:
        """Sweep the training set, and write down where the largest bound at the last time is."""
        _, estimate = self.sweep(keep=False)
        last = Estimate(estimate.value[:, -1], estimate.floor[:, -1], estimate.resolved[:, -1])
        self.bounds = last.bound
        worst = int(np.argmax(self.bounds))
        bound, resolved = float(self.bounds[worst]), int(last.resolved.sum())
        at, floor = tuple(float(x) for x in self.training[worst]), float(last.floor[worst])
        seconds = time.perf_counter() - compile_seconds() - self.start
        self.history.append(PODGreedyStep(self.size, at, bound, floor, resolved, seconds))
        return Worst(worst, bound, resolved > 0)

    def extend(self, point: int) -> bool:
        """Add the first modes of the projection errors of trajectories: at the worst training point, and at others."""
        room = self.limit - self.size
        rows = spread_out(self.model.parameters, self.training, self.bounds, self.batch, self.rule.tol)
        rows = rows[: -(-room // self.modes)]  # others would have no room
        gamma = self.sweep(np.array(rows))[0]
        assert gamma is not None
        basis, rank = self.reduction.basis, min(self.modes, room)
        tasks = ((self.training[row], g, basis, self.control, rank) for row, g in zip(rows, gamma, strict=True))
        found = list(self.crew.run(projection_error, tasks))
        for row, made in zip(rows, found, strict=True):
            if self.bounds[row] < made.error - made.uncertainty:
                at = self.model.parameters.describe(self.training[row])
                raise StabilityError(
                    f"the bound {self.bounds[row]:.3g} at {at} is below the true error {made.error:.3g}: the stability "
                    "bound is larger than the coercivity constant there. Lower it (rbm.stability.MinTheta, SCM and "
                    "Pencil compute one); verify() checks it"
                )
        worst = found[0]
        shown, effectivity = worst.eigenvalues[: self.modes + 1], worst.effectivity(self.bounds[rows[0]])
        self.history[-1] = replace(self.history[-1], eigenvalues=tuple(map(float, shown)), effectivity=effectivity)
        if worst.is_round_off:
            return False
        modes = np.concatenate([made.modes for made in found], axis=1)[:, :room]
        owners = np.repeat(rows, [made.modes.shape[1] for made in found])
        before, kept = self.size, self.reduction.extend_many(modes)
        last = {int(owners[j]): before + k for k, j in enumerate(kept, 1)}  # by trajectory, in the order of the vectors
        self.taken = [
            *self.taken,
            *((self.training[row], size) for row, size in sorted(last.items(), key=lambda e: e[1])),
        ]
        return bool(kept)

    def solve_duals(self, names: Sequence[str], resume: Any, tol: float, progress: bool) -> None:
        """Build the bases of dual problems, from those of the run that is resumed if there are any.

        What is finished is in `duals`, also after Ctrl-C.
        """
        known = resume.dual if isinstance(resume, PODGreedyResult) else {}
        if not names or not self.taken:
            return
        share = tol / self._largest(self.model, self.control)
        for name in names:
            dual = adjoint_in_time(self.model, name)
            size = self._largest(dual, dual.control)
            if size == 0:
                continue
            try:
                self.duals[name] = pod_greedy(
                    dual,
                    self.training,
                    tol=share * size,
                    max_basis=self.limit,
                    modes=self.modes,
                    batch=self.batch,
                    executor=self.crew.executor,
                    progress=progress,
                    resume=known.get(name),
                    workspace=self.store,  # type: ignore[arg-type]  # one that is open is used
                )
            except (WorkersLost, WorkspaceError):
                raise
            except ModelError as error:
                raise ModelError(f"the dual problem of {name!r}: {error}") from None

    def _largest(self, model: TimeModel, control: np.ndarray) -> float:
        """Return the largest bound of a solution on the training set: that with an empty basis."""
        empty = _Run(model, self.training, 1, 1, control, None)
        return float(empty.sweep(keep=False)[1].bound[:, -1].max())

    def ended_by(self, error: KeyboardInterrupt | WorkersLost) -> BaseException:
        """Return the error about Ctrl-C, or lost workers, with the result so far, if there is one."""
        lost = isinstance(error, WorkersLost)
        if not self.taken:
            return error if lost else KeyboardInterrupt("pod_greedy interrupted before the first basis vector")
        result = self.broken_off()
        where = (
            f"`{'solution' if lost else 'result'}` of this exception, and pod_greedy(..., resume=) goes on from them"
        )
        what = f"with {result.basis.shape[1]} basis vectors; they are in {where}"
        if not lost:
            return Interrupted(f"pod_greedy interrupted {what}", result)
        made = WorkersLost(f"{error}. pod_greedy ended {what}")
        made.solution = result
        return made

    def broken_off(self, reason: str = "interrupted") -> PODGreedyResult:
        """Return the result so far, of whole steps, all made anew: one may have been broken off, or have no room."""
        self.reduction = self._reduced(self.reduction.basis[:, : self.taken[-1][1]])
        return self.result("max_basis", reason)

    def out_of_room(self) -> PODGreedyResult | None:
        """Return the result so far of a run whose workspace failed, if there is one, and its files are whole."""
        if not (self.taken and (self.store is None or self.store.is_whole)):
            return None
        self.store = None  # it has no room for the same vectors once more
        return self.broken_off("the workspace failed")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what is needed to go on."""
        mark, basis = self.model.fingerprint(), self.reduction.basis
        write_run(path, mark, basis, self.selected, self.history, self.control)

    def result(self, stopped: Stopped, reason: str) -> PODGreedyResult:
        """Put the result together."""
        if not self.taken:
            raise ModelError(
                f"the largest bound with an empty basis is {self.history[-1].bound:.2e}, already at most tol, or the "
                "trajectories are zero: lower tol, or check the model and its control"
            )
        duals = {name: found.reduced_model for name, found in self.duals.items()}
        made, points, mark = finished(self.model, self.reduction, duals), len(self.training), self.model.fingerprint()
        basis, history, found = self.reduction.basis, tuple(self.history), dict(self.duals)
        made = with_record(made, mark, points, history, stopped, reason)
        return PODGreedyResult(made, basis, *self.selected, history, stopped, reason, mark, self.control, found)
