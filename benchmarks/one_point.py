"""Single points: ``python -m benchmarks.one_point [FOLDER]``, beside pyMOR, and the commit that FOLDER has checked out.

Microseconds a query with its bound and outputs: thermal block, N = 30, Q = 9, of 1105 unknowns (online the number does
not matter), one thread. The sides take turns, each in a process of its own that waits; medians and smallest of ROUNDS.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, THREADS, require_pymor, text_table

ROUNDS, LOOP, SIZE = 21, 200, 30


def main(folders: list[str]) -> None:
    """Measure all sides in turns, and print microseconds a point."""
    require_pymor()
    with tempfile.TemporaryDirectory() as scratch:
        path = str(Path(scratch) / "block.rbm")
        roots = [str(ROOT), *folders]
        sides = [_side(root, path, own=k == 0) for k, root in enumerate(roots)]
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for name, side in zip(("here", *folders), sides, strict=True):
                assert side.stdin is not None
                assert side.stdout is not None
                side.stdin.write("\n")
                side.stdin.flush()
                for what, seconds in json.loads(side.stdout.readline()).items():
                    shown = "before" if name != "here" else "ours"
                    times.setdefault(what if "pyMOR" in what else f"{shown}, {what}", []).append(seconds / LOOP * 1e6)
        for side in sides:
            side.communicate()
    best = times["ours, evaluator"]
    rows = [
        (name, f"{statistics.median(t):.1f}", f"{min(t):.1f}", f"{statistics.median(t) / statistics.median(best):.2f}")
        for name, t in times.items()
    ]
    print(text_table("One point: thermal block, N = 30, Q = 9", ("", "us, median", "smallest", "/ evaluator"), rows))


def _side(root: str, path: str, own: bool) -> Any:
    """Start a process that times a loop for each line that it is given; the first one makes the model."""
    env = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": os.pathsep.join((root, str(ROOT)))}
    command = [sys.executable, str(Path(__file__)), "--side", path, "own" if own else "other"]
    side = subprocess.Popen(command, cwd=root, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert side.stdout is not None
    assert side.stdout.readline() == "ready\n", "the process that measures has failed; its error is above"
    return side


def _measure(path: str, own: bool) -> None:
    import rbm
    from problems import thermal_block

    loops: dict[str, Any] = {}
    if own:
        from benchmarks import peer

        model = thermal_block((3, 3), 24)
        result = rbm.greedy(model, model.parameters.sample(500, "random", rng=0), max_basis=SIZE, progress=False)
        result.reduced_model.save(path)
        mus = model.parameters.sample(LOOP, "random", rng=2)
        full = peer.thermal_block_model(model)
        rom = peer.reductor(model, full, result.basis).reduce()
        loops["pyMOR"] = (rom.estimate_error, peer.parse(full, mus))
    reduced: Any = rbm.load(path)
    mus = reduced.parameters.sample(LOOP, "random", rng=2)
    loops["solve"] = (reduced.solve, mus)
    if hasattr(reduced, "evaluator"):
        loops["evaluator"] = (reduced.evaluator(), mus)
    for call, points in loops.values():
        call(points[0])
    print("ready", flush=True)
    for _ in sys.stdin:
        seconds = {}
        for name, (call, points) in loops.items():
            start = time.perf_counter()
            for mu in points:
                call(mu)
            seconds[name] = time.perf_counter() - start
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        _measure(sys.argv[2], sys.argv[3] == "own")
    else:
        main(sys.argv[1:])
