"""Workers against one process: snapshots, a greedy in batches, queries on Dask, memory, workers that are killed.

    python -m benchmarks.scale_workers [SIZE]      # "large" (n = 100 801, 10^8 queries), "medium" or "small" (a trial)

Both cores must be quiet. What was measured is kept in scale_workers.json, and is not measured again while it is there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from benchmarks.harness import cpu_name
from problems import thermal_block, thermal_block_3d

KEPT = Path(__file__).with_name("scale_workers.json")
#: cells per side, snapshots, tolerance of the greedy, queries (a tenth of that: training points), repetitions of a
#: killed worker
SIZES = {
    "large": (225, 100, 0.15, 100_000_000, 20),
    "medium": (120, 40, 0.15, 10_000_000, 20),
    "small": (60, 12, 0.3, 500_000, 2),
}
BLOCK = 1 << 17
#: Cells per side in space, for those in the plane: about as many unknowns.
IN_SPACE = {225: 48, 120: 24, 60: 15}
#: Turns of the two sides, threads and Dask, and of greedy runs.
ROUNDS, ROUNDS_OF_A_GREEDY = 10, 5


def measure(size: str = "small") -> dict[str, Any]:
    """Return, and keep, all that was measured at a size."""
    found = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    here = found.setdefault(size, {})
    for name, work in MEASUREMENTS.items():
        if name not in here:
            here[name] = work(*SIZES[size]) | {"cpu": cpu_name(), "processors": os.cpu_count()}
            KEPT.write_text(json.dumps(found, indent=1) + "\n")
            print(name, here[name], flush=True)
    return here


def pool(start: str = "spawn") -> ProcessPoolExecutor:
    """Two processes that have loaded everything; forked ones, of a process of one thread, have it at once."""
    made = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(start))
    list(made.map(_warm if start == "spawn" else time.sleep, [0] * 8))
    return made


def _warm(_: int) -> None:
    model = thermal_block((2, 2), 12)
    rbm.greedy(model, model.parameters.sample(20), max_basis=3).reduced_model.solve([[0.5] * 4])
    time.sleep(0.2)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return wall seconds and the answer."""
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer


def snapshots(cells: int, count: int, *_: Any) -> dict[str, Any]:
    """`count` solves in turn, and on two workers: efficiency = t_1 / (2 t_2)."""
    model = thermal_block((3, 3), cells)
    mus = model.parameters.sample(count)
    model.solve(mus[:1])
    alone, expected = timed(lambda: model.solve(mus))
    with pool() as workers:
        together, found = timed(lambda: model.solve(mus, executor=workers))
        memory = _peaks(workers)
    return {
        "unknowns": model.dimension,
        "snapshots": count,
        "seconds_one": alone,
        "seconds_two": together,
        "efficiency": alone / together / 2,
        "same_bits": bool(np.array_equal(found, expected)),
        "worker_peak_gb": memory,
    }


def greedy(cells: int, _: int, tol: float, *__: Any) -> dict[str, Any]:
    """A greedy to one tolerance in the plane: batch 1 in one process of one thread; batch 4 on two workers.

    While these wait, the process that asked works with two threads, and does the Riesz solves. ROUNDS_OF_A_GREEDY
    times in turns, the first one cold.
    """
    _warm(0)
    return _batches([thermal_block((3, 3), cells) for _ in range(2)], tol, ROUNDS_OF_A_GREEDY)


def greedy_in_space(cells: int, _: int, tol: float, *__: Any) -> dict[str, Any]:
    """The same in space, by PARDISO, whose solves, Riesz solves too, all go to the workers."""
    _warm(0)
    return _batches([thermal_block_3d(IN_SPACE[cells], solver="pardiso") for _ in range(2)], tol, 1)


def _batches(models: list[rbm.FullOrderModel], tol: float, rounds: int) -> dict[str, Any]:
    training, seconds = models[0].parameters.sample(1000), []
    for _ in range(rounds):
        alone, one = timed(lambda: rbm.greedy(models[0], training, tol=tol))
        with pool() as workers:
            os.environ["RBM_NUM_THREADS"] = "2"  # of this process; the workers are there already
            together, four = timed(lambda: rbm.greedy(models[1], training, tol=tol, batch=4, executor=workers))
            del os.environ["RBM_NUM_THREADS"]
            memory = _peaks(workers)
        seconds.append([alone, together])
    ratios = [alone / together for alone, together in seconds]
    return {
        "unknowns": models[0].dimension,
        "tol": tol,
        "vectors": [len(one.parameters), len(four.parameters)],
        "sweeps": [len(one.history), len(four.history)],
        "seconds": seconds,
        "faster": ratios,
        "median": float(np.median(ratios)),
        "worker_peak_gb": memory,
    }


def training(cells: int, _: int, __: float, count: int, *___: Any) -> dict[str, Any]:
    """A greedy of six vectors on a large training set: one thread of one process, and two workers."""
    _warm(0)
    model, count = thermal_block((2, 2), min(cells, 60)), count // 10
    points = model.parameters.sample(count, rng=0)
    before = _peak()
    alone, one = timed(lambda: rbm.greedy(model, points, max_basis=6))
    memory = _peak() - before
    with pool() as workers:
        together, two = timed(lambda: rbm.greedy(model, points, max_basis=6, executor=workers))
        peaks = _peaks(workers)
    return {
        "points": count,
        "points_gb": points.nbytes / 2**30,
        "sweeps": len(one.history),
        "seconds": [alone, together],
        "efficiency": alone / together / 2,
        "same_bits": bool(np.array_equal(one.basis, two.basis)) and one.history[-1].bound == two.history[-1].bound,
        "peak_beyond_points_gb": memory,
        "worker_peak_gb": peaks,
    }


def queries(cells: int, _: int, tol: float, count: int, *__: Any) -> dict[str, Any]:
    """Certified queries: two threads of one process, and a local Dask cluster of two workers of one thread."""
    import dask
    import dask.array as da
    from distributed import Client

    # Dask asks workers to give freed memory back at once, so each block is faulted in anew: 5 % of the time here
    dask.config.set({"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 1 << 30})
    model = thermal_block((3, 3), min(cells, 60))
    reduced = rbm.greedy(model, model.parameters.sample(500), max_basis=20).reduced_model
    options = {"coefficients": False}
    reduced.solve(_points(0, 10_000))
    alone, together, largest, found = [], [], 0.0, 0.0
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
        for part in range(ROUNDS):  # in turns
            starts = range(part * count // ROUNDS, (part + 1) * count // ROUNDS, BLOCK)
            sizes = tuple(min(BLOCK, starts.stop - start) for start in starts)
            blocks = (_points(*piece) for piece in zip(starts, sizes, strict=True))
            os.environ["RBM_NUM_THREADS"] = "2"
            seconds, most = timed(lambda b=blocks: max(float(s.bound.max()) for s in reduced.stream(b, **options)))
            alone, largest = [*alone, seconds], max(largest, most)
            del os.environ["RBM_NUM_THREADS"]
            mus = da.map_blocks(_chunk, chunks=(sizes, (9,)), dtype=float, first=starts.start)
            if not part:
                rbm.dask_solve(reduced, mus[: 2 * BLOCK], **options)["bound"].max().compute()
            answers = rbm.dask_solve(reduced, mus, **options)
            seconds, most = timed(lambda a=answers: float(a["bound"].max().compute()))
            together, found = [*together, seconds], max(found, most)
        memory = sorted(client.run(_peak).values())
    ratios = np.array(alone) / np.array(together)
    return {
        "queries": count,
        "vectors": 20,
        "seconds_threads": sum(alone),
        "seconds_dask": sum(together),
        "efficiency": sum(alone) / sum(together),
        "rounds": [float(ratio) for ratio in ratios],
        "same_bits": largest == found,
        "worker_peak_gb": memory,
    }


def _points(start: int, count: int) -> np.ndarray:
    return np.random.default_rng(start).uniform(0.1, 1.0, (count, 9))


def _chunk(first: int, block_info: Any = None) -> np.ndarray:
    start, stop = block_info[None]["array-location"][0]
    return _points(first + int(start), int(stop - start))


def killed(cells: int, count: int, tol: float, _: int, times: int) -> dict[str, Any]:
    """A worker is killed (-9) after a random time, in a greedy, in a sweep of queries, in a batch of snapshots."""
    model = thermal_block((3, 3), min(cells, 60))
    training, mus = model.parameters.sample(500), model.parameters.sample(max(count, 60))
    many = model.parameters.sample(400_000, rng=1)
    reduced = rbm.greedy(model, training, max_basis=12, batch=4).reduced_model
    works: dict[str, Callable[[Any], bytes]] = {
        "greedy": lambda e: _bytes(rbm.greedy(model, training, max_basis=16, batch=4, executor=e).basis),
        "sweep": lambda e: b"".join(_bytes(s.bound) for s in reduced.stream(many, size=20_000, executor=e)),
        "snapshots": lambda e: _bytes(model.solve(mus, executor=e)),
    }
    rng, made = np.random.default_rng(0), {}
    for name, work in works.items():
        seconds, expected = timed(partial(work, None))
        identical = hits = 0
        for _ in range(times):
            with pool("fork") as workers:
                victim = next(iter(workers._processes))
                timer = threading.Timer(rng.uniform(0.1, 0.6) * seconds, _kill, [victim])
                timer.start()
                identical += work(workers) == expected
                hits += not timer.is_alive()
                timer.cancel()
        made[name] = {"times": times, "killed_in_the_middle": hits, "identical": identical}
    return made


def _kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def _bytes(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _peak(_: Any = None) -> float:
    """Return the most memory of this process, in GB: getrusage would count that of the process it was forked from."""
    time.sleep(0.1)
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**20


def _peaks(workers: ProcessPoolExecutor) -> list[float]:
    return sorted(set(workers.map(_peak, range(8))))


MEASUREMENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "snapshots": snapshots,
    "greedy": greedy,
    "greedy in space": greedy_in_space,
    "training": training,
    "queries": queries,
    "killed": killed,
}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The figures in words."""
    for name, values in found.items():
        yield f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items())


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name) != "1":
            sys.exit(f"set {name}=1: one process with one thread is what workers are compared with")
    print(*lines(measure(*sys.argv[1:2])), sep="\n")
