"""The result of a greedy run, and how a stored one is taken up again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rbm.errors import ModelError
from rbm.files.greedy_file import load_greedy, save_greedy
from rbm.full_order import FullOrderModel, Projection, check_projection
from rbm.reduced.model import ReducedModel
from rbm.reduction.memory import MemoryUse

__all__ = ["GreedyResult", "GreedyStep", "Stopped", "history_rows", "stored"]

Stopped = Literal["tolerance", "max_basis", "round-off"]


@dataclass(frozen=True)
class GreedyStep:
    """What the training sweep found with N basis vectors."""

    size: int  #: N
    parameter: tuple[float, ...]  #: (p,), where the error bound is largest
    bound: float  #: the largest error bound on the training set, in the P-norm (relative to ||u_N||_P if so asked)
    floor: float  #: its floor
    resolved: int  #: number of training points whose estimate is resolved
    #: since the start of the run that made this step, without the compilation of kernels on the first run of all
    seconds: float
    #: bound / true error at `parameter`, 1 or more if bound and stability are right (without the share of an
    #: interpolation error); NaN where no solution was computed, as in the last step, or the true error is not known to
    #: ten percent
    effectivity: float = float("nan")


@dataclass(frozen=True)
class GreedyResult:
    """Result of :func:`rbm.greedy`."""

    reduced_model: ReducedModel
    basis: np.ndarray  #: Z (n, N), P-orthonormal
    parameters: np.ndarray  #: (N, p), where the snapshots were taken
    history: tuple[GreedyStep, ...]  #: one step for each sweep: for each N, or each batch
    stopped: Stopped
    reason: str  #: the same in a sentence
    fingerprint: str = ""  #: of the full-order model, so that a run goes on with the same model only
    projection: Projection = "galerkin"
    relative: bool = False  #: the history is about bounds relative to the norm of the solution
    #: {output: the greedy run of its dual problem}, for outputs named by `dual`
    dual: Mapping[str, GreedyResult] = field(default_factory=dict)
    memory: MemoryUse | None = field(default=None, compare=False)  #: what was expected, and the most that was used

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write basis, parameters and history to one file.

        ``greedy(..., resume=path)`` goes on from there, bit for bit. Dual runs are not in it: they start anew.
        """
        rows = history_rows(self.history, self.parameters.shape[1])
        save_greedy(self.basis, self.parameters, rows, self.fingerprint, path, self.projection, self.relative)

    def __repr__(self) -> str:
        size, bound = len(self.parameters), self.history[-1].bound
        return f"GreedyResult(N = {size}, largest bound {bound:.2e}, stopped by {self.stopped}: {self.reason})"


def history_rows(history: Sequence[GreedyStep], p: int) -> np.ndarray:
    """Return the history as numbers (k, 6 + p): size, bound, floor, resolved, seconds, effectivity, parameter."""
    rows = [[s.size, s.bound, s.floor, s.resolved, s.seconds, s.effectivity, *s.parameter] for s in history]
    return np.array(rows, dtype=float).reshape(len(rows), 6 + p)


def stored(
    resume: GreedyResult | str | os.PathLike[str] | None, model: FullOrderModel
) -> tuple[np.ndarray, np.ndarray, tuple[GreedyStep, ...], Projection, bool]:
    """Return basis, parameters and history to go on from, their projection, and whether the history is relative."""
    if resume is None:
        return np.zeros((model.dimension, 0)), np.zeros((0, len(model.parameters))), (), model.projection, False
    if isinstance(resume, GreedyResult):
        _refuse_other_model("this greedy run", resume.basis, resume.parameters, resume.fingerprint, model)
        return resume.basis, resume.parameters, resume.history, resume.projection, resume.relative
    basis, parameters, rows, fingerprint, projection, relative = load_greedy(resume)
    _refuse_other_model(os.fspath(resume), basis, parameters, fingerprint, model)
    steps = tuple(
        GreedyStep(int(row[0]), tuple(row[6:]), float(row[1]), float(row[2]), int(row[3]), float(row[4]), float(row[5]))
        for row in rows.tolist()
    )
    return basis, parameters, steps, check_projection(projection), relative


def _refuse_other_model(
    name: str, basis: np.ndarray, parameters: np.ndarray, fingerprint: str, model: FullOrderModel
) -> None:
    if basis.shape[0] != model.dimension or parameters.shape[1] != len(model.parameters):
        raise ModelError(
            f"{name} is for {basis.shape[0]} unknowns and {parameters.shape[1]} parameters, "
            f"this model has {model.dimension} and {len(model.parameters)}"
        )
    if fingerprint != model.fingerprint():
        raise ModelError(
            f"{name} was made with another full-order model (its matrices, coefficients, outputs, stability bound or "
            "parameter ranges differ); to use its basis all the same, give it to rbm.project"
        )
