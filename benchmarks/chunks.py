"""Chunks of actions as tokens: errors at equal bits, encoder, clock, and walks of tuned gaits in the simulator.

Results are kept case by case in chunks.json: a run goes on where the last one stopped; remove the file, or a case in
it, to measure anew. All of them take about an hour on one core. The walks need dm_control; scikit-learn is a peer of
the encoder.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import fresh
from ml.chunks.kept_cases import KeptCases
from ml.chunks.study import WHOLE, measure, report

RESULTS = Path(__file__).with_name("chunks.json")


def run() -> dict[str, Any]:
    """All cases that are not kept, in a fresh process with one thread of every library."""
    summary = fresh("benchmarks.chunks:measure_all")
    for methods in summary["walks"].get("gaits", {}).values():
        for row in methods.values():
            del row["distances"]  # they are in chunks.json
    return {"chunks": summary}


def measure_all() -> dict[str, Any]:
    """The summary of all cases; what is done is said on standard error."""
    return measure(KeptCases(RESULTS), WHOLE, lambda text: print(text, file=sys.stderr, flush=True))


def table(result: dict[str, Any]) -> str:
    """Errors, encoder, clock and walks."""
    return report(result["chunks"])
