"""In files of reduced models: how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rbm.reduced.record import COLUMNS, Record

__all__ = ["read_record", "write_record"]

#: Entries of the header, beside the versions.
TEXTS = ("date", "fingerprint", "evidence", "stopped")
HISTORY = "record/history"


def write_record(record: Record | None, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the entry of the header, {"record": {..}}, and put the history into `arrays`; nothing for no record."""
    if record is None:
        return {}
    if record.history is not None:
        arrays[HISTORY] = record.history
    texts = {name: getattr(record, name) for name in TEXTS}
    numbers = {"training": record.training, "relative": record.relative}
    changed = {"changed": list(record.changed)} if record.changed else {}
    return {"record": {**texts, **numbers, **changed, "versions": dict(record.versions)}}


def read_record(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], parameters: int) -> Record | None:
    """Return the record, None of files from before there were any.

    Raises ValueError or KeyError for entries that do not fit each other.
    """
    entry = header.get("record")
    if entry is None:
        return None
    history = arrays.get(HISTORY)
    if history is not None:
        wanted = len(COLUMNS) + parameters
        if history.ndim != 2 or history.shape[1] != wanted or history.dtype != float:
            raise ValueError(f"its history is {history.dtype} {history.shape}, not of {wanted} columns")
        if not np.all(np.isfinite(history[:, [0, 1, 3]])):
            raise ValueError("its history has numbers that are not finite")
    date, fingerprint, evidence, stopped = (str(entry[name]) for name in TEXTS)
    known = {str(name): str(version) for name, version in entry["versions"].items()}
    training, relative = int(entry["training"]), bool(entry["relative"])
    changed = entry.get("changed", [])  # of models as they were made, and in older files, there is none
    if not (isinstance(changed, list) and all(isinstance(text, str) for text in changed)):
        raise ValueError(f"what was done to it since is {changed!r}, not texts")
    return Record(date, known, fingerprint, evidence, history, training, relative, stopped, tuple(changed))
