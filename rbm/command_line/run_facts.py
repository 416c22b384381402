"""What ``rbm info`` says of files that greedy runs leave, to go on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rbm.command_line.facts import Facts, made, of_record
from rbm.files.greedy_file import load_greedy
from rbm.files.partition_result import KIND as PARTITIONED
from rbm.files.partition_result import read_snapshots
from rbm.reduced.record import Record
from rbm.time.files import RUN, load_run

__all__ = ["RUNS", "of_run"]

STATIONARY = "greedy run"
RUNS = (STATIONARY, RUN, PARTITIONED)
#: What takes such a file up again.
RESUMED = {
    STATIONARY: "rbm.greedy(model, training, resume=file)",
    RUN: "rbm.pod_greedy(model, training, resume=file)",
    PARTITIONED: "rbm.greedy(model, training, ..., split=True, resume=file)",
}


def of_run(header: dict[str, Any], path: Path) -> Facts:
    """Return what is known of the file of a run; its arrays are read and checked."""
    facts, kind, more = Facts(), str(header["kind"]), []
    of_kind: dict[str, Any] = {}
    made(facts, None, header)
    record = None
    if kind == PARTITIONED:
        parameters, snapshots, _ = read_snapshots(path)
        count, size = len(parameters), f"{len(parameters)} snapshots of {len(snapshots)} unknowns, {snapshots.dtype}"
        unknowns = len(snapshots)
        of_kind = {"dtype": str(snapshots.dtype)}
    elif kind == RUN:
        arrays = load_run(path)[1]
        basis, parameters = arrays["basis"], arrays["selected"]
        unknowns, count = basis.shape
        size = f"N = {count} from {len(parameters)} trajectories, {unknowns} unknowns, {basis.dtype}"
        record = _record(arrays["history"], False)
        more = [("steps in time", str(len(arrays["control"])))]
        of_kind = {"dtype": str(basis.dtype), "projection": "galerkin", "steps": len(arrays["control"])}
    else:
        basis, parameters, rows, _, projection, relative = load_greedy(path)
        unknowns, count = basis.shape
        size = f"N = {count} for {unknowns} unknowns, {basis.dtype}, {projection}"
        record = _record(rows, relative)
        of_kind = {"dtype": str(basis.dtype), "projection": projection}
    p = parameters.shape[1]
    rows_said = [("size", size), *more, ("parameters", f"{p}, whose names and ranges are not stored")]
    facts.say("", [*rows_said, ("goes on with", RESUMED[kind]), ("stability bound", "that of the full model")])
    facts.values |= {"basis_size": None if kind == PARTITIONED else count, "unknowns": unknowns}
    facts.values |= {"selected_parameters": parameters.tolist(), **of_kind}
    of_record(facts, record, [str(k) for k in range(p)])
    return facts


def _record(rows: np.ndarray, relative: bool) -> Record:
    """Return a record of the history of a run (k, 6 + p), which has seconds in the fifth column."""
    return Record(history=np.delete(rows, 4, axis=1), relative=relative)
