"""Adapters beside full fine-tuning with the same effort, on keywords and film reviews: accuracy, numbers, seconds.

Results are kept run by run in adapters.json: a benchmark goes on where the last one stopped. All of it takes some
twenty hours of one core, or minutes of a GPU; the arguments of :func:`measure_all` take a part. What it needs:
`make material`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import fresh
from ml.chunks.kept_cases import KeptCases
from ml.studies import adapters
from ml.studies.adapter_methods import METHODS, WHOLE

RESULTS = Path(__file__).with_name("adapters.json")

__all__ = ["measure_all", "run", "table"]


def run() -> dict[str, Any]:
    """All runs that are not kept, in a fresh process with one thread of every library."""
    return fresh("benchmarks.adapters:measure_all")


def table(result: dict[str, Any]) -> str:
    """One table a task, with accuracy, interval, seconds and bytes of each method."""
    return "\n\n".join(f"{name}\n{adapters.table(found)}" for name, found in result.items())


def measure_all(
    tasks: tuple[str, ...] = tuple(WHOLE), methods: tuple[str, ...] = (), folder: str = "out/adapters"
) -> dict[str, Any]:
    """The summary of all methods, or of those that are named; what is done is said on standard error.

    folder : where the clips of speech are kept
    """
    chosen = [m for m in METHODS if not methods or m.name in methods]

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    sizes = {name: WHOLE[name] for name in tasks}
    return adapters.measure_tasks(KeptCases(RESULTS), Path(folder), sizes, chosen, say)
