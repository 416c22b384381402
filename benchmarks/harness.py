"""What all benchmarks share: fresh single-threaded processes, clocks, the machine's description, text tables."""

from __future__ import annotations

import datetime
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "cpu_name", "fastest", "fresh", "in_turns", "machine", "median_with_interval", "paired_ratio", "require_pymor",
    "text_table",
]  # fmt: skip

ROOT = Path(__file__).resolve().parent.parent
THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RBM_NUM_THREADS",
)


def require_pymor() -> None:
    """Say what to install if the peer is not there."""
    if importlib.util.find_spec("pymor") is None:
        raise ModuleNotFoundError("the benchmarks compare with pyMOR, which is not installed: pip install pymor")


def fresh(task: str, threads: int | None = 1) -> Any:
    """Result of "module:function", called without arguments in a new Python process.

    threads=None: as many as there are processors. With one thread CPU seconds are what the work costs; in a new process
    neither side runs on the other's caches.
    """
    command = [sys.executable, "-m", "benchmarks.harness", task]
    env = {name: value for name, value in os.environ.items() if name not in THREADS}
    if threads is not None:
        env.update(dict.fromkeys(THREADS, str(threads)))
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"benchmark {task} failed with exit status {done.returncode}; its error is above")
    return json.loads(done.stdout.splitlines()[-1])


def fastest(
    works: Mapping[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Smallest time in seconds of each piece of work, after one call that is not counted.

    The pieces take turns, so that a busy moment of the machine hits all of them and not one side of a ratio.
    """
    return {name: min(values) for name, values in in_turns(works, repeats, clock).items()}


def in_turns(
    works: Mapping[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """All times in seconds of each piece of work, which take turns, after one call that is not counted."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = clock()
            work()
            times[name].append(clock() - start)
    return times


def median_with_interval(ratios: Sequence[float] | np.ndarray) -> list[float]:
    """The median and its 95 % interval, that of order statistics, which no distribution is assumed for.

    Among 41 ratios these are the 14th and the 28th; of fewer than six the least and the largest, which say less.
    """
    values, turns = np.sort(ratios), len(ratios)
    reach = int(np.ceil(0.98 * np.sqrt(turns)))
    low, high = max((turns - 1) // 2 - reach, 0), min(turns // 2 + reach, turns - 1)
    return [float(np.median(values)), float(values[low]), float(values[high])]


def paired_ratio(plain: Callable[[], Any], other: Callable[[], Any], turns: int = 41) -> dict[str, Any]:
    """CPU time of `other` relative to that of `plain`, measured in turns: the median ratio and its 95 % interval.

    The interval is that of :func:`median_with_interval`. Times are the medians of both, in seconds.
    """
    works = plain, other
    for work in works:
        work()
    times = np.empty((turns, 2))
    for row in times:
        for side, work in enumerate(works):
            start = time.process_time()
            work()
            row[side] = time.process_time() - start
    ratio, *interval = median_with_interval(times[:, 1] / times[:, 0])
    return {
        "ratio": ratio,
        "ratio_95": interval,
        "seconds": [float(t) for t in np.median(times, axis=0)],
    }


def machine() -> dict[str, Any]:
    """Processor, cores, versions and date."""
    packages = {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "pymor")}
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "python": platform.python_version(), **packages, "date": date}


def text_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A table in plain text: first column to the left, the others to the right, notes below."""
    lines = [header, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(header))]
    rule = "-" * (sum(widths) + 2 * len(widths) - 2)
    cells = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    return "\n".join([title, rule, cells[0], rule, *cells[1:], rule, *notes])


def cpu_name() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    names = [x for x in info.read_text().splitlines() if x.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    module, _, function = sys.argv[1].partition(":")
    print(json.dumps(getattr(importlib.import_module(module), function)()))
