"""Local bases against one basis, for convection and diffusion in a square: ``python -m benchmarks.local_bases``.

The problem is the first reduced basis example of libMesh (:func:`problems.convection_diffusion`), with both velocities
in [-2, 2] and the tolerance 1e-3 on a grid of training points. Measured are the vectors, the truth solves, the largest
bounds on points that are no training points, and the CPU time of a query, both models in turns in one process. Points
on the faces of all boxes are answered twice, in two orders. Bounds are compared with true errors, against solutions
that are known beyond double precision.

Results go to local_bases.json, case by case; what is there is not done again, ``--again`` starts anew.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from benchmarks.harness import machine
from lowrank.writing import write_atomically
from problems import convection_diffusion

RESULTS = Path(__file__).with_suffix(".json")
#: Squares a side, training points a side, tolerance.
SIDE, GRID, TOL = 50, 41, 1e-3
#: Points of a timed batch, and how often each model answers it, in turns.
BATCH, TURNS = 1 << 17, 5
#: Points that are compared with the full model: inside, and on faces.
TRUE = 60


def main() -> None:
    """Measure what is not in the file yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    parser.add_argument("--times", action="store_true", help="measure the times of queries anew, and nothing else")
    options = parser.parse_args()
    known: dict[str, Any] = {}
    if RESULTS.exists() and not options.again:
        known = json.loads(RESULTS.read_text())
    model = convection_diffusion(SIDE)
    training = model.parameters.sample(GRID**2, "grid")
    one, whole = timed(lambda: rbm.greedy(model, training, tol=TOL))
    for most in (25,):
        key = f"max_basis = {most}"
        if key not in known:
            known[key] = {"machine": machine(), **compared(model, training, one, whole, most)}
            write_atomically(RESULTS, (json.dumps(known, indent=1) + "\n").encode())
        elif options.times:
            parts: Any = rbm.greedy(model, training, tol=TOL, max_basis=most, split=True).reduced_model
            mus = model.parameters.sample(BATCH, "random", rng=1)
            known[key] |= query_times(one.reduced_model, parts, mus)
            write_atomically(RESULTS, (json.dumps(known, indent=1) + "\n").encode())
        print(f"{key}: {json.dumps(known[key])}", flush=True)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what work() returns, and the CPU seconds that it took."""
    start = time.process_time()
    return work(), time.process_time() - start


def compared(
    model: rbm.FullOrderModel, training: np.ndarray, one: rbm.GreedyResult, whole: float, most: int
) -> dict[str, Any]:
    """Return all that is measured for one limit of the vectors of a leaf."""
    cut: Any
    cut, seconds = timed(lambda: rbm.greedy(model, training, tol=TOL, max_basis=most, split=True))
    single, parts = one.reduced_model, cut.reduced_model
    mus = model.parameters.sample(BATCH, "random", rng=1)
    bounds = [float(reduced.solve(mus).bound.max()) for reduced in (single, parts)]
    return {
        "one_basis": one.reduced_model.size,
        "leaves": len(parts.leaves),
        "vectors": [leaf.size for leaf in parts.leaves],
        "truth_solves": [len(one.parameters), len(cut.parameters)],
        "vectors_altogether": sum(leaf.size for leaf in parts.leaves),
        "offline_cpu_seconds": [whole, seconds],
        "largest_bound_on_training": [one.history[-1].bound, float(parts.solve(training).bound.max())],
        "largest_bound_elsewhere": bounds,
        **query_times(single, parts, mus),
        **on_faces(parts),
        **true_errors(model, parts, mus),
    }


def query_times(single: rbm.ReducedModel, parts: rbm.PartitionedModel, mus: np.ndarray) -> dict[str, Any]:
    """Return the least CPU time of two batches, both models in turns: what other work of the machine changes little."""
    made: dict[str, Any] = {}
    for some in (mus[: len(mus) // 8], mus):
        least = [np.inf, np.inf]
        for _ in range(TURNS):
            for k, reduced in enumerate((single, parts)):
                least[k] = min(least[k], timed(lambda reduced=reduced, some=some: reduced.solve(some))[1])  # type: ignore[misc]
        times = [1e6 * t / len(some) for t in least]
        made[f"batch of {len(some)}"] = {"cpu_microseconds_a_point": times, "faster": times[0] / times[1]}
    return made


def on_faces(parts: rbm.PartitionedModel) -> dict[str, Any]:
    """Return how many points on faces were answered, and whether each in one leaf, with the same bits in any order."""
    boxes, upper = parts.boxes, parts.parameters.bounds[:, 1]
    share = np.linspace(0, 1, 9)[:, None]
    faces = np.concatenate([b[:, 0] + share * side * (b[:, 1] - b[:, 0]) for b in boxes for side in np.eye(2)])
    low, high = boxes[:, None, :, 0], boxes[:, None, :, 1]
    below = (faces < high) | ((faces == upper) & (high == upper))
    inside = np.all((low <= faces) & below, axis=2)  # (leaves, points)
    order = np.random.default_rng(0).permutation(len(faces))
    first, second = parts.solve(faces), parts.solve(faces[order])
    same = np.array_equal(first.bound[order], second.bound) and np.array_equal(
        first.coefficients[order], second.coefficients
    )
    one_leaf = bool(np.all(inside.sum(axis=0) == 1) and np.all(inside.argmax(axis=0) == parts.tree.locate(faces)))
    return {"points_on_faces": len(faces), "one_leaf_each": one_leaf, "same_bits_in_any_order": bool(same)}


def true_errors(model: rbm.FullOrderModel, parts: rbm.PartitionedModel, mus: np.ndarray) -> dict[str, Any]:
    """Return how often a bound was below the true error, of solutions and outputs, and the least ratio of both."""
    points = np.concatenate([mus[:TRUE], parts.boxes[:, :, 0], parts.boxes.mean(axis=2)])
    violations, ratio = 0, np.inf
    for start in range(0, len(points), 100):
        some = points[start : start + 100]
        solution = parts.solve(some)
        hi, lo = model.solve_extended(some)
        z, exact = parts.reconstruct(solution), (hi + lo).T
        errors = model.inner_product.norm((hi - z.T) + lo)
        violations += int(np.count_nonzero(errors > solution.bound))
        ratio = min(ratio, float((solution.bound / errors).min()))
        for name, output in model.outputs.items():
            off = np.abs(output(some, exact) - solution.outputs[name])
            violations += int(np.count_nonzero(off > solution.output_bounds[name]))
    return {"points_with_true_errors": len(points), "violations": violations, "least_bound_over_error": ratio}


if __name__ == "__main__":
    main()
