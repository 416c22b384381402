"""The result of a greedy run that cuts the box of parameters, and its file: the snapshots that all parts share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rbm.errors import FileFormatError, ModelError
from rbm.files.greedy_result import GreedyResult, GreedyStep, Stopped
from rbm.full_order import FullOrderModel, Projection
from rbm.reduced.partitioned import PartitionedModel
from rbm.storage.archive import SideBySide, read_archive, write_archive
from rbm.storage.versions import making

__all__ = ["KIND", "PartitionedResult", "read_snapshots", "save_snapshots", "stored_snapshots"]

KIND = "partitioned greedy run"


@dataclass(frozen=True)
class PartitionedResult:
    """Result of :func:`rbm.greedy` with ``split=True``: a partitioned model, and the run of each of its leaves.

    It has the names of a :class:`rbm.GreedyResult` but `basis`, for which `runs` has one for each leaf.
    """

    reduced_model: PartitionedModel
    runs: tuple[GreedyResult, ...]  #: one for each leaf, in the order of ``reduced_model.leaves``
    parameters: np.ndarray  #: (K, p), where the full model was solved, each point once
    snapshots: np.ndarray  #: (n, K), the solutions there
    solved: int  #: how many of these this call has solved; the others came from `resume`
    stopped: Stopped
    reason: str  #: the same in a sentence
    fingerprint: str = ""  #: of the full-order model
    relative: bool = False  #: the history is about bounds relative to the norm of the solution

    @property
    def history(self) -> tuple[GreedyStep, ...]:
        """The largest bound of all leaves for each number of vectors; a leaf that has no more counts with its last."""
        sizes = sorted({step.size for run in self.runs for step in run.history})
        found = []
        for size in sizes:
            steps = [[s for s in run.history if s.size <= size] or [run.history[0]] for run in self.runs]
            worst = max((s[-1] for s in steps), key=lambda step: step.bound)
            found.append(
                GreedyStep(
                    size,
                    worst.parameter,
                    worst.bound,
                    worst.floor,
                    sum(s[-1].resolved for s in steps),
                    sum(s[-1].seconds for s in steps),
                    worst.effectivity,
                )
            )
        return tuple(found)

    @property
    def dual(self) -> Mapping[str, GreedyResult]:
        """Empty: each of `runs` has the dual runs of its leaf."""
        return {}

    @property
    def projection(self) -> Projection:
        """How the reduced models were made."""
        return self.runs[0].projection

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the snapshots to one file: ``greedy(..., split=True, resume=path)`` solves none of them again.

        The runs are not in it. They are made again from the snapshots, the same bit for bit.
        """
        save_snapshots(path, self.parameters, [self.snapshots], self.fingerprint)

    def __repr__(self) -> str:
        sizes = [len(run.parameters) for run in self.runs]
        bound = max(run.history[-1].bound for run in self.runs)
        return (
            f"PartitionedResult({len(sizes)} leaves, N = {min(sizes)} to {max(sizes)}, {len(self.parameters)} "
            f"snapshots, largest bound {bound:.2e}, stopped by {self.stopped}: {self.reason})"
        )


def save_snapshots(
    path: str | os.PathLike[str], parameters: np.ndarray, pieces: Sequence[np.ndarray], fingerprint: str
) -> None:
    """Write solutions of a full model, in pieces (n, k) that lie side by side, and their points (K, p)."""
    vectors = pieces[0] if len(pieces) == 1 else SideBySide(pieces)
    header = {"kind": KIND, "fingerprint": fingerprint, "record": making()}
    write_archive(Path(path), header, {"parameters": parameters, "snapshots": vectors})


def stored_snapshots(
    resume: PartitionedResult | str | os.PathLike[str] | None, model: FullOrderModel
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (K, p) and solutions (n, K) that a run goes on from; raise ModelError for another model's."""
    n, p = model.dimension, len(model.parameters)
    if resume is None:
        return np.zeros((0, p)), np.zeros((n, 0))
    if isinstance(resume, PartitionedResult):
        name, parameters, vectors, mark = "this run", resume.parameters, resume.snapshots, resume.fingerprint
    else:
        name = os.fspath(resume)
        parameters, vectors, mark = read_snapshots(resume)
    if vectors.shape[0] != n or parameters.shape[1] != p or mark != model.fingerprint():
        raise ModelError(
            f"{name} was made with another full-order model (its matrices, coefficients, outputs, stability bound or "
            "parameter ranges differ); start without it"
        )
    return parameters, vectors


def read_snapshots(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, str]:
    """Return points (K, p), solutions (n, K) and fingerprint of a file; raise FileFormatError where they do not fit."""
    name = os.fspath(path)
    header, arrays = read_archive(path, KIND)
    try:
        parameters, vectors, mark = arrays["parameters"], arrays["snapshots"], str(header["fingerprint"])
    except KeyError as error:
        raise FileFormatError(f"{name} is not a complete {KIND}: {error} is missing") from error
    if parameters.ndim != 2 or vectors.ndim != 2 or vectors.shape[1] != len(parameters):
        raise FileFormatError(f"{name} is not a {KIND}: {vectors.shape} snapshots at {parameters.shape} points")
    if not (np.all(np.isfinite(vectors)) and np.all(np.isfinite(parameters))):
        raise FileFormatError(f"{name} holds snapshots that are not finite")
    return parameters, vectors, mark
