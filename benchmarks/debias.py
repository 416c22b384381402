"""Three ways of asking SmolLM2 about groups of people, ``python -m benchmarks debias``: scores, intervals, letters.

Results are kept in debias.json, by model and items; transcripts are written to out/debias line by line, and a run goes
on from there. Takes about half an hour on one core. RBM_BBQ names a folder with the files of BBQ, which are asked,
too. There is no peer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import fresh
from ml.chunks.kept_cases import KeptCases
from ml.language.debiasing.study import measure, report

RESULTS = Path(__file__).with_name("debias.json")
TRANSCRIPTS = Path(__file__).parents[1] / "out" / "debias"


def run() -> dict[str, Any]:
    """All cases that are not kept, in a fresh process with one thread of every library."""
    return {"debias": fresh("benchmarks.debias:measure_all")}


def measure_all() -> dict[str, Any]:
    """The summary of all cases; what is done is said on standard error."""
    return measure(KeptCases(RESULTS), TRANSCRIPTS, lambda text: print(text, file=sys.stderr, flush=True))


def table(result: dict[str, Any]) -> str:
    """Scores, letters and groups."""
    return report(result["debias"])


if __name__ == "__main__":
    print(report(measure_all()))
