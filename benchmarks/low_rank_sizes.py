"""Low rank at sizes from 100 to 5000: CPU time and error of ours and of the peers, in one run.

    python -m benchmarks.low_rank_sizes       # cases in low_rank_sizes.json are not measured again

Square matrices of rank min(64, n / 4): "flat", singular values k^{-1/2}, "decay", exp(-k / 8), and "kernel", 1 / r
between two clouds of points. A peer counts where its error is at most a hundredth above ours. Routines take turns;
the ratio is the median of those of all turns, with its 95 % interval.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg.interpolative as sli
import scipy.sparse.linalg as spla

import lowrank
from benchmarks.harness import fresh, in_turns, median_with_interval, text_table
from ml.chunks.kept_cases import KeptCases

__all__ = ["measure", "run", "table"]

RESULTS = Path(__file__).with_name("low_rank_sizes.json")
SIZES = (100, 200, 500, 1000, 2000, 5000)
KINDS = ("flat", "decay", "kernel")
#: LAPACK's SVD is not asked of larger ones, where it takes thirty times as long as the others.
LARGEST_DIRECT = 1000
#: Turns that are timed, by the largest size they are taken at.
TURNS = {200: 61, 500: 31, 2000: 9, 5000: 3}
EQUAL = 1.01


def matrix(kind: str, n: int) -> np.ndarray:
    """Return the matrix (n, n)."""
    rng = np.random.default_rng(0)
    if kind == "kernel":
        x, y = rng.random((n, 3)), rng.random((n, 3)) + np.array([1.5, 0.0, 0.0])
        return 1 / np.sqrt(((x[:, None] - y[None]) ** 2).sum(axis=2))
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    k = np.arange(1, n + 1)
    return (left * (k**-0.5 if kind == "flat" else np.exp(-k / 8.0))) @ right


def turns_of(n: int) -> int:
    """Return how often a matrix (n, n) is timed."""
    return next(turns for largest, turns in TURNS.items() if n <= largest)


def measure(kind: str, n: int) -> dict[str, Any]:
    """CPU seconds and errors of all routines for one matrix."""
    a, rank = matrix(kind, n), min(64, n // 4)
    turns = turns_of(n)

    def triple(u: Any, s: Any, v: Any) -> float:
        return float(np.linalg.norm(a - (u * s) @ v))

    def columns(index: Any, coefficients: Any) -> float:
        return float(np.linalg.norm(a - a[:, index] @ coefficients))

    def peer_columns(rand: bool) -> Any:
        index, projection = sli.interp_decomp(a, rank, rand=rand, rng=np.random.default_rng(0))
        return index[:rank], sli.reconstruct_interp_matrix(index, projection)

    def ours(function: Callable[..., Any]) -> Any:
        made = function(a, rank)
        return made.U, made.s, made.V.conj().T

    routines: dict[str, dict[str, tuple[Callable[[], Any], Any]]] = {
        "svd": {
            "ours": (lambda: ours(lowrank.truncated_svd), triple),
            "scipy svds": (lambda: spla.svds(a, rank, rng=0), triple),
        },
        "id": {
            "ours": (lambda: tuple(lowrank.interpolative_decomposition(a, rank)), columns),
            "scipy": (lambda: peer_columns(False), columns),
            "scipy rand": (lambda: peer_columns(True), columns),
        },
    }
    if n <= LARGEST_DIRECT:

        def full() -> Any:
            u, s, v = np.linalg.svd(a, full_matrices=False)
            return u[:, :rank], s[:rank], v[:rank]

        routines["svd"]["numpy"] = (full, triple)
    try:
        from sklearn.utils.extmath import randomized_svd
    except ImportError:
        pass
    else:
        routines["svd"]["scikit-learn"] = (lambda: randomized_svd(a, rank, random_state=0), triple)
    size, made = float(np.linalg.norm(a)), {}
    for group, members in routines.items():
        seconds = in_turns({name: call for name, (call, _) in members.items()}, turns, time.process_time)
        errors = {name: of(*call()) / size for name, (call, of) in members.items()}
        made[group] = {
            name: {
                "cpu": min(seconds[name]),
                "error": errors[name],
                "ratio": median_with_interval(np.divide(seconds[name], seconds["ours"])),
            }
            for name in members
        }
    return made


def run() -> dict[str, Any]:
    """All cases that are not kept, in a fresh process with one thread."""
    return fresh("benchmarks.low_rank_sizes:measure_all")


def measure_all() -> dict[str, Any]:
    """All cases, those that are kept taken from the file."""
    warnings.simplefilter("ignore")
    kept = KeptCases(RESULTS)
    made = {}
    for n in SIZES:
        for kind in KINDS:
            name = f"{kind} {n}"
            print(f"  low rank: {name}", file=sys.stderr, flush=True)
            settings = {"rank": min(64, n // 4), "turns": turns_of(n)}
            made[name] = kept.case(name, settings, lambda kind=kind, n=n: measure(kind, n))
    return made


def table(result: dict[str, Any]) -> str:
    """Return one row a matrix and routine: ours, and the fastest peer of equal error."""
    rows = []
    for name, groups in result.items():
        for group, members in groups.items():
            mine = members["ours"]
            equal = {k: v for k, v in members.items() if k != "ours" and v["error"] <= EQUAL * mine["error"]}
            best = min(equal, key=lambda k: equal[k]["ratio"][0]) if equal else None
            median, low, high = (None,) * 3 if best is None else equal[best]["ratio"]
            ratio = "" if best is None else f"{median:.2f} ({low:.2f} to {high:.2f})"
            rows.append([name, group, f"{1e3 * mine['cpu']:.2f}", f"{mine['error']:.3e}", best or "none", ratio])
    head = ["matrix", "routine", "ours, CPU ms", "error", "fastest peer of equal error", "peer / ours (95 %)"]
    return text_table("low rank by size", head, rows, [])


if __name__ == "__main__":
    print(table(run()))
