"""Training without gradients, ``python -m benchmarks mezo``: 101 weights on film reviews, drift, steps, memory.

Results are kept case by case in mezo.json: a run goes on where the last one stopped; remove the file, or a case in it,
to measure anew. Takes some minutes on one core. Memory is measured by benchmarks.mezo_memory, a sentence encoder is
trained by benchmarks.mezo_reviews.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import fresh
from ml.chunks.kept_cases import KeptCases
from ml.studies.mezo import WHOLE, measure, report

RESULTS = Path(__file__).with_name("mezo.json")


def run() -> dict[str, Any]:
    """All cases that are not kept, in a fresh process with one thread of every library."""
    return {"mezo": fresh("benchmarks.mezo:measure_all")}


def measure_all() -> dict[str, Any]:
    """The summary of all cases; what is done is said on standard error."""
    return measure(KeptCases(RESULTS), WHOLE, lambda text: print(text, file=sys.stderr, flush=True))


def table(result: dict[str, Any]) -> str:
    """Accuracies, drift and steps."""
    return report(result["mezo"])


if __name__ == "__main__":
    print(report(measure_all()))
