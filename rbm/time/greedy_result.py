"""What a POD-greedy run found, and what it needs to go on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from rbm.errors import ModelError
from rbm.reduced.record import recorded
from rbm.reduction.memory import MemoryUse
from rbm.time.files import load_run, save_run
from rbm.time.model import TimeModel
from rbm.time.reduced import ReducedTimeModel

__all__ = ["PODGreedyResult", "PODGreedyStep", "Stopped", "rows_of", "stored_run", "with_record", "write_run"]

Stopped = Literal["tolerance", "max_basis", "round-off"]


@dataclass(frozen=True)
class PODGreedyStep:
    """What the training sweep found with N basis vectors, and what was added to them."""

    size: int  #: N
    parameter: tuple[float, ...]  #: (p,), where the bound at the last time is largest
    bound: float  #: the largest bound on the training set, in the energy norm of the whole time
    floor: float  #: its floor
    resolved: int  #: number of training points whose estimate is resolved
    seconds: float  #: since the start of the run that made this step
    #: of the projection error of the trajectory at `parameter`, the mean of its squared P-norms over K + 1 times split
    #: into modes, largest first: those of the modes that were added, and the next one; empty where none was computed
    eigenvalues: tuple[float, ...] = ()
    effectivity: float = float("nan")  #: bound / true error at `parameter`; NaN where it is not known to ten percent


@dataclass(frozen=True)
class PODGreedyResult:
    """Result of :func:`rbm.pod_greedy`."""

    reduced_model: ReducedTimeModel
    basis: np.ndarray  #: Z (n, N), P-orthonormal
    parameters: np.ndarray  #: (S, p), whose trajectories were taken; one may be taken twice
    sizes: np.ndarray  #: (S,) number of basis vectors after each of them
    history: tuple[PODGreedyStep, ...]
    stopped: Stopped
    reason: str  #: the same in a sentence
    fingerprint: str = ""
    control: np.ndarray = field(default_factory=lambda: np.zeros(0))  #: (K,), that of the training
    #: {output: the run of its dual problem}, for outputs named by `dual`
    dual: Mapping[str, PODGreedyResult] = field(default_factory=dict)
    memory: MemoryUse | None = field(default=None, compare=False)  #: as in :class:`rbm.GreedyResult`

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write basis, parameters and history to one file; ``pod_greedy(..., resume=path)`` goes on from there."""
        write_run(path, self.fingerprint, self.basis, (self.parameters, self.sizes), self.history, self.control)

    def __repr__(self) -> str:
        bound = self.history[-1].bound
        return (
            f"PODGreedyResult(N = {self.basis.shape[1]} from {len(self.parameters)} trajectories, largest bound "
            f"{bound:.2e}, stopped by {self.stopped}: {self.reason})"
        )


def with_record(
    reduced: ReducedTimeModel, mark: str, training: int, history: Sequence[PODGreedyStep], stopped: Stopped, reason: str
) -> ReducedTimeModel:
    """Return the reduced model with the record of its run (:class:`rbm.reduced.record.Record`)."""
    made = recorded(reduced.terms.record, mark, history, training, f"{stopped}: {reason}")
    return replace(reduced, terms=replace(reduced.terms, record=made))


def write_run(
    path: str | os.PathLike[str],
    fingerprint: str,
    basis: np.ndarray,
    taken: tuple[np.ndarray, np.ndarray],
    history: Sequence[PODGreedyStep],
    control: np.ndarray,
) -> None:
    """Write what is needed to go on; `taken`: parameters (S, p) and sizes (S,)."""
    arrays = {
        "basis": basis,
        "selected": taken[0],
        "sizes": taken[1],
        "history": rows_of(history),
        "control": control,
    }
    save_run(path, fingerprint, arrays, {"eigenvalues": [list(s.eigenvalues) for s in history]})


def rows_of(history: Any) -> np.ndarray:
    """Return the history as numbers (k, 6 + p): size, bound, floor, resolved, seconds, effectivity, parameter."""
    rows = [[s.size, s.bound, s.floor, s.resolved, s.seconds, s.effectivity, *s.parameter] for s in history]
    return np.array(rows, dtype=float).reshape(len(rows), -1)


def stored_run(
    resume: Any, model: TimeModel, control: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], list[int], list[PODGreedyStep]]:
    """Return basis, selected points, sizes and history to go on from; the last sweep, which comes again, left out."""
    if resume is None:
        return np.zeros((model.dimension, 0)), [], [], []
    if isinstance(resume, PODGreedyResult):
        name, mark, basis = "this run", resume.fingerprint, resume.basis
        selected, sizes, history, trained = resume.parameters, resume.sizes, list(resume.history), resume.control
    else:
        name = os.fspath(resume)
        header, arrays = load_run(resume)
        mark, basis, selected, sizes = header["fingerprint"], arrays["basis"], arrays["selected"], arrays["sizes"]
        history = [
            PODGreedyStep(int(r[0]), tuple(r[6:]), r[1], r[2], int(r[3]), r[4], tuple(map(float, values)), r[5])
            for r, values in zip(arrays["history"].tolist(), header["eigenvalues"], strict=True)
        ]
        trained = arrays["control"]
    if mark != model.fingerprint():
        raise ModelError(
            f"{name} was made with another model (matrices, coefficients, outputs, stability bound, initial value, dt, "
            "steps or ranges differ); to use its basis all the same, give it to rbm.project_time"
        )
    if not np.array_equal(trained, control):
        raise ModelError(
            f"{name} was trained with another control, and its history is about that; pass the same control, or give "
            "its basis to rbm.project_time"
        )
    history = [step for step in history if step.size < basis.shape[1]]
    return basis, list(selected), [int(s) for s in sizes], history
