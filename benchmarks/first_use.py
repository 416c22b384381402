"""First use: ``python -m benchmarks.first_use [FOLDER]``, here and in the commit that FOLDER has checked out.

CPU seconds of new processes until the first answers: `import rbm`, the first batch and the first point of a model of
formulas (thermal block 3 x 3, N = 10), with an empty folder for compiled kernels (the first time ever) and with what
that left, and of ``rbm --help`` and ``rbm info``. Python's bytecode is there in all of them, as pip leaves it: a round
that is not counted writes it. "The first time ever" has no compiled kernels. The sides take turns, smallest of ROUNDS.
A loop in plain Python, timed in the same processes, tells how busy the machine was: what is printed is seconds, and
their ratio to that loop.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, THREADS, text_table

__all__ = ["main"]

ROUNDS = 3
RESULTS = Path(__file__).with_name("first_use.json")
CHILD = """
import json, sys, time
def spent(): return time.process_time()
start, x = spent(), 0
for i in range(5_000_000): x += i * i % 7
loop, start = spent() - start, spent()
import rbm
imported, path, what = spent(), sys.argv[1], sys.argv[2]
made = {"loop": loop, "import rbm": imported - start}
if what != "import":
    reduced = rbm.load(path)
    mus, start = reduced.parameters.sample(1000, "random", rng=0), spent()
    reduced.solve(mus if what == "batch" else mus[0])
    made[what] = spent() - start
print(json.dumps(made))
"""


def main(folders: list[str]) -> None:
    """Measure all sides in turns, print the table, and keep it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = str(Path(scratch) / "block.rbm")
        _make(path)
        roots = [("here", str(ROOT)), *(("before", str(Path(folder).resolve())) for folder in folders)]
        env = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPYCACHEPREFIX": str(Path(scratch) / "bytecode")}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        for _, root in roots:
            _once(root, path, env)  # writes the bytecode
        times: dict[str, dict[str, list[tuple[float, float]]]] = {}
        for _ in range(ROUNDS):
            for side, root in roots:
                for what, pair in _once(root, path, env).items():
                    times.setdefault(what, {}).setdefault(side, []).append(pair)
    kept = {
        what: {side: {"cpu": min(t)[0], "loops": min(cpu / loop for cpu, loop in t)} for side, t in sides.items()}
        for what, sides in times.items()
    }
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    head = ("", *(f"{side}: {unit}" for side in next(iter(kept.values())) for unit in ("CPU s", "/ loop")))
    rows = [
        (what, *(f"{value:.2f}" for made in sides.values() for value in (made["cpu"], made["loops"])))
        for what, sides in kept.items()
    ]
    print(text_table("First use: CPU seconds of new processes, smallest", head, rows))


def _once(root: str, path: str, env: dict[str, str]) -> dict[str, tuple[float, float]]:
    """Return CPU seconds, and those of the loop in plain Python, of each part once."""
    made: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as cache:
        env = {**env, "PYTHONPATH": root, "RBM_CACHE_DIR": cache}

        def child(what: str) -> dict[str, Any]:
            command = [sys.executable, "-c", CHILD, path, what]
            done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, check=True)
            return dict(json.loads(done.stdout.splitlines()[-1]))

        found = child("import")
        made["import rbm"] = found["import rbm"], found["loop"]
        for when in ("the first time ever", "in a new process"):
            for what in ("batch", "point"):
                found = child(what)
                made[f"{what}, {when}"] = found[what], found["loop"]
        for what, arguments in (("rbm --help", ["--help"]), ("rbm info", ["info", path])):
            command, before = [sys.executable, "-m", "rbm.command_line", *arguments], os.times()
            subprocess.run(command, cwd=root, env=env, stdout=subprocess.PIPE, check=True)
            after = os.times()
            spent = after.children_user + after.children_system - before.children_user - before.children_system
            made[what] = spent, found["loop"]
    return made


def _make(path: str) -> None:
    import rbm
    from problems import thermal_block

    model = thermal_block((3, 3), 24)
    rbm.greedy(model, model.parameters.sample(100, "random", rng=0), max_basis=10).reduced_model.save(path)


if __name__ == "__main__":
    main(sys.argv[1:])
