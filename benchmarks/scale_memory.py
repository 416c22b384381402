"""What a greedy takes as the number of unknowns grows: memory, and CPU time against that of its solves alone.

    python -m benchmarks.scale_memory [--largest 317605]     one line a size; goes on where it was broken off

Each size runs in a process of its own, twice: in memory, and with a workspace. Within a run truth solves and Riesz
solves are counted and timed, so that the ratio is one of the same run. Our Riesz solves are faster than
those of SuperLU from the same factors; a second ratio is to the solves as the library would do them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SIZES", "scale_memory", "slopes"]

#: Cells per side of the thermal block, for 1e4, 3e4, 1e5, 3.2e5 and 1e6 unknowns.
SIZES = (72, 123, 225, 399, 708)
N = 20
#: Training points.
TRAINING = 500
STORE = Path(__file__).with_name("scale_memory.json")


def scale_memory(
    sizes: tuple[int, ...] = SIZES, store: Path = STORE, kinds: tuple[str, ...] = ("memory", "workspace")
) -> dict[str, dict[str, Any]]:
    """Return figures by number of cells and kind of run; sizes that are in the file already are not run again."""
    known: dict[str, dict[str, Any]] = json.loads(store.read_text()) if store.exists() else {}
    for cells in sizes:
        for kind in kinds:
            if (name := f"{cells} {kind}") not in known:
                code = [sys.executable, "-m", "benchmarks.scale_memory", "--one", str(cells), "--kind", kind]
                done = subprocess.run(code, capture_output=True, text=True, check=True)
                known[name] = json.loads(done.stdout.splitlines()[-1])
                store.write_text(json.dumps(known, indent=1) + "\n")
                print(name, known[name], flush=True)
    return known


def slopes(known: dict[str, dict[str, Any]], key: str, kind: str = "memory") -> list[float]:
    """Return the powers of n by which a figure grows from one size to the next."""
    rows = sorted((r["n"], r[key]) for name, r in known.items() if name.split(maxsplit=1)[1] == kind)
    return [float(np.log(b[1] / a[1]) / np.log(b[0] / a[0])) for a, b in pairwise(rows)]


def one(cells: int, kind: str) -> dict[str, Any]:
    """Return the figures of one greedy in this process; `kind` is "memory" or "workspace", "space" and a solver."""
    import rbm
    from problems import thermal_block, thermal_block_3d

    solver = next((word for word in kind.split() if word in ("pardiso", "amg", "superlu")), None)
    warm(kind, solver)
    start = time.process_time()
    in_space = "space" in kind.split()
    model = thermal_block_3d(cells, solver=solver) if in_space else thermal_block((3, 3), cells, solver=solver)
    assembled = time.process_time() - start
    spent, counts = {"truth": 0.0, "riesz": 0.0}, {"truth": 0, "riesz": 0}

    def timed(name: str, work: Callable[..., Any], count: Callable[..., int]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            begun = time.process_time()
            made = work(*arguments, **named)
            spent[name] += time.process_time() - begun
            counts[name] += count(*arguments)
            return made

        return call

    model.solve = timed("truth", model.solve, len)  # type: ignore[method-assign]
    inner = model.inner_product
    solve = timed("riesz", inner.factorized(), lambda rhs: rhs.shape[1])
    inner.factorized = lambda: solve  # type: ignore[method-assign]
    before, peak_before = anonymous(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with tempfile.TemporaryDirectory() as folder, Watch() as watch:
        named = {"workspace": f"{folder}/run"} if "workspace" in kind else {}
        begun = time.process_time(), time.perf_counter()
        result = rbm.greedy(model, model.parameters.sample(TRAINING, rng=0), max_basis=N, **named)  # type: ignore[arg-type]
        cpu, wall = time.process_time() - begun[0], time.perf_counter() - begun[1]
    expected = rbm.expected_memory(model, N, workspace=named.get("workspace"))
    alone = spent["truth"] + spent["riesz"]
    of_library = spent["riesz"] if solver else counts["riesz"] * by_superlu(inner.matrix)
    return {
        "n": model.dimension,
        "N": len(result.parameters),
        "bound": result.history[-1].bound,
        "assembly": assembled,
        "cpu": cpu,
        "wall": wall,
        "truth": spent["truth"],
        "riesz": spent["riesz"],
        "columns": counts["riesz"],
        "ratio": cpu / alone,
        "riesz by SuperLU": of_library,
        "ratio by SuperLU": cpu / (spent["truth"] + of_library),
        "range": 8 * model.dimension * (1 + 9 * N),
        "anonymous before": before,
        "anonymous": watch.largest,
        "peak before": peak_before,
        "peak": result.memory.peak if result.memory else 0,
        "expected": expected.total,
        "expected files": expected.files,
        "expected in all": result.memory.expected if result.memory else 0,
    }


def warm(kind: str, solver: str | None) -> None:
    """Compile the kernels, those for tall matrices too."""
    import rbm
    from problems import thermal_block

    small = thermal_block((3, 3), 6)
    rbm.greedy(small, small.parameters.sample(TRAINING, rng=0), max_basis=3)
    with tempfile.TemporaryDirectory() as folder:
        tall = thermal_block((3, 3), 93, solver=solver)
        named = {"workspace": f"{folder}/run"} if "workspace" in kind else {}
        rbm.greedy(tall, tall.parameters.sample(TRAINING, rng=0), max_basis=2, **named)  # type: ignore[arg-type]


def by_superlu(matrix: Any) -> float:
    """Return the CPU seconds of a solve with P by SuperLU's own function, which is given 16 columns at a time."""
    from rbm.solvers.factorization import COLUMNS, positive_lu, solve_function

    solve, rhs = (
        solve_function(positive_lu(matrix), matrix),
        np.random.default_rng(0).random((matrix.shape[0], COLUMNS)),
    )
    spent = []
    for _ in range(3):
        begun = time.process_time()
        solve(rhs)
        spent.append(time.process_time() - begun)
    return min(spent) / COLUMNS


def anonymous() -> int:
    """Return the bytes of this process that no file is behind.

    The system keeps their number; to have it count them, in smaps_rollup, took a tenth of the CPU time of a run.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


class Watch:
    """Writes down the largest anonymous memory of this process, ten times a second."""

    def __enter__(self) -> Watch:
        self.largest, self._done = anonymous(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.1):
            self.largest = max(self.largest, anonymous())

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()


def main() -> None:
    """Run one size, or all up to the largest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", type=int)
    parser.add_argument("--kind", action="append")
    parser.add_argument("--cells", type=int, action="append", help="these sizes instead")
    parser.add_argument("--largest", type=int, default=10**6)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(one(options.one, options.kind[0])))
        return
    kinds = tuple(options.kind or ("memory", "workspace"))
    sizes = tuple(options.cells or (s for s in SIZES if 2 * s * (s - 1) + 1 <= 1.01 * options.largest))
    known = scale_memory(sizes, kinds=kinds)
    for key in ("cpu", "truth", "riesz", "peak"):
        print(f"slopes of {key}:", ", ".join(f"{s:.2f}" for s in slopes(known, key)))


if __name__ == "__main__":
    main()
