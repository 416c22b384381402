"""Scale: memory and CPU time of a greedy up to a million unknowns, solvers in space, two workers beside one process.

Every part keeps its figures in a file of its own and goes on where it was stopped: scale_memory.json,
scale_solvers.json, scale_workers.json. All together take about two hours; the machine must be quiet.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from benchmarks import scale_memory, scale_solvers, scale_workers
from benchmarks.harness import THREADS, text_table

__all__ = ["run", "table"]


def run() -> dict[str, Any]:
    """All figures; those that are not kept are measured."""
    env = os.environ | dict.fromkeys(THREADS, "1")
    subprocess.run([sys.executable, "-m", "benchmarks.scale_workers", "large"], env=env, check=True)
    scale_memory.scale_memory((708,), kinds=("memory pardiso", "workspace pardiso"))
    scale_memory.scale_memory((66,), kinds=("space pardiso",))
    memory = scale_memory.scale_memory()
    return {
        "memory": memory,
        "solvers": scale_solvers.run(),
        "workers": scale_workers.measure("large"),
    }


def table(result: dict[str, Any]) -> str:
    """Return the tables of memory and of solvers, CPU seconds and GiB, and the figures of workers in lines below."""
    rows = []
    for name, r in sorted(result["memory"].items(), key=lambda case: case[1]["n"]):
        solves = r["truth"] + r["riesz"]
        row = [name, r["n"], r["cpu"], solves, r["cpu"] / solves, r["peak"] / 2**30, r["anonymous"] / 2**30]
        rows.append([f"{x:.2f}" if isinstance(x, float) else str(x) for x in row])
    head = ["cells, kind", "unknowns", "greedy, CPU s", "truth and Riesz solves", "ratio", "peak GiB", "anonymous GiB"]
    memory = text_table("Greedy of 20 vectors, one thread", head, rows)
    workers = "\n".join(scale_workers.lines(result["workers"]))
    return "\n\n".join([memory, scale_solvers.table(result["solvers"]), workers])
