"""Adapters beside full fine-tuning with the same effort, on film reviews: accuracy, numbers trained, seconds.

Results are kept run by run in adapters.json: a benchmark goes on where the last one stopped. All of it takes hours on
one core; the arguments `methods` and `sizes` of :func:`measure_all` take a part. What it needs: `make material`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import fresh
from ml.chunks.kept_cases import KeptCases
from ml.studies.adapters import METHODS, SMALL, Sizes, measure, table
from ml.tasks.reviews import classifier, review_task

RESULTS = Path(__file__).with_name("adapters.json")

__all__ = ["measure_all", "run", "table"]


def run() -> dict[str, Any]:
    """All runs that are not kept, in a fresh process with one thread of every library."""
    return fresh("benchmarks.adapters:measure_all")


def measure_all(names: tuple[str, ...] = (), sizes: Sizes = SMALL) -> dict[str, Any]:
    """The summary of all methods, or of those that are named; what is done is said on standard error."""
    methods = [m for m in METHODS if not names or m.name in names]
    task = review_task(held_out=sizes.held_out)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    return measure(KeptCases(RESULTS), task, sizes, methods, say, lambda rng: classifier(rng=rng))
