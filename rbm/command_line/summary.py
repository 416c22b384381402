"""What every summary.json says of a greedy run, and of the versions that made it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rbm.files.greedy_result import GreedyResult
from rbm.files.partition_result import PartitionedResult
from rbm.storage.versions import versions

__all__ = ["greedy_summary"]


def greedy_summary(result: GreedyResult | PartitionedResult) -> dict[str, Any]:
    """Return basis_size, stopped, reason, history (as :class:`rbm.GreedyStep`, NaN as null) and versions, for JSON.

    Of a run that has cut the box of parameters also leaves, the number of vectors of each, and snapshots.
    """
    sizes, more = [len(result.parameters)], {}
    if isinstance(result, PartitionedResult):
        sizes = [len(run.parameters) for run in result.runs]
        more = {"leaves": sizes, "snapshots": len(result.parameters)}
    return {
        "basis_size": max(sizes),
        **more,
        "stopped": result.stopped,
        "reason": result.reason,
        "history": [{k: None if v != v else v for k, v in asdict(step).items()} for step in result.history],
        "versions": versions(),
    }
