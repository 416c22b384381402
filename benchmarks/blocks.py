"""Far-field blocks of boundary element matrices.

Low-rank from a few kernel values against all entries; and one very large block.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from benchmarks.harness import fastest, fresh, text_table
from lowrank import cross_approximation
from problems import compress_far_field, surface
from problems.acoustics.kernel_blocks import green

WAVENUMBER, RTOL, LEAF, ETA = 2.0, 1e-6, 64, 2.0
#: (operator, levels of refinement of the sphere)
CASES = (("double_layer", (4, 5)), ("single_layer", (4,)), ("hypersingular", (4,)))
#: The entries of all far blocks are timed on a sample of so many of them, and scaled by the kernel values.
DENSE_BLOCKS = 60
CLOUD = 20_000
TOLERANCES = (1e-4, 1e-6, 1e-8)
CHECKED_ROWS = 20


def run() -> dict[str, Any]:
    """Surface operators, then the block of two clouds, each in a fresh process with one thread."""
    return {"surface": fresh("benchmarks.blocks:measure"), "cloud": fresh("benchmarks.blocks:cloud")}


def table(result: dict[str, Any]) -> str:
    """One row for each operator and mesh; one for each tolerance of the large block."""
    rows = [
        (
            f"{r['operator']}, n = {r['unknowns']}",
            f"{100 * r['far_share']:.0f} %",
            str(r["far_blocks"]),
            f"{r['mean_rank']:.1f}",
            f"{r['values_read'] / 1e6:.1f} M",
            f"{100 * r['share_read']:.1f} %",
            f"{100 * r['share_of_bytes']:.0f} %",
            f"{r['error']:.1e}",
            f"{r['seconds']:.2f}",
            f"{r['dense_seconds']:.2f}",
            f"{r['dense_seconds'] / r['seconds']:.1f}",
        )
        for r in result["surface"]
    ]
    header = ("", "far", "blocks", "rank", "values read", "share", "memory", "rel. error", "CPU s", "dense s", "ratio")
    notes = [
        f"sphere, k = {WAVENUMBER:g}, rtol = {RTOL:g}, eta = {ETA:g}, leaves of at most {LEAF}; values read, "
        "share and memory: of the far blocks.",
        f"dense s: all entries of the far blocks by the same kernel, scaled from {DENSE_BLOCKS} blocks; error: "
        "1000 entries at random.",
    ]
    first = text_table("Far field: low-rank blocks against full ones", header, rows, notes)
    clouds = [
        (
            f"rtol = {r['rtol']:g}",
            str(r["crosses"]),
            str(r["rank"]),
            f"{r['entries_read'] / 1e6:.2f} M",
            f"{100 * r['share']:.2f} %",
            f"{r['error']:.1e}",
            f"{r['seconds']:.2f}",
        )
        for r in result["cloud"]["rows"]
    ]
    size = result["cloud"]["points"]
    notes = [
        f"exp(ikr) / (4 pi r), k = {WAVENUMBER:g}, between two unit cubes at distance 1; full: "
        f"{16 * size**2 / 1e9:.1f} GB. Peak memory of the "
        f"process {result['cloud']['peak'] / 1e6:.0f} MB, of which {result['cloud']['before'] / 1e6:.0f} MB before.",
        f"error: {CHECKED_ROWS} full rows at random, Frobenius. All entries would take "
        f"{result['cloud']['dense']:.1f} s, scaled from {CHECKED_ROWS} rows.",
    ]
    header = ("", "crosses", "rank", "entries read", "share", "rel. error", "CPU s")
    return f"{first}\n\n{text_table(f'One block of {size} x {size}', header, clouds, notes)}"


def measure() -> list[dict[str, Any]]:
    """Compression and full evaluation of the far blocks of every case."""
    compress_far_field(surface("sphere", 3), "single_layer", WAVENUMBER, leaf=16, progress=False)  # imports
    return [_case(operator, level) for operator, levels in CASES for level in levels]


def cloud() -> dict[str, Any]:
    """The large block at several tolerances, in a process whose peak memory is that of this block."""
    rng = np.random.default_rng(0)
    x, y = rng.random((CLOUD, 3)), rng.random((CLOUD, 3)) + np.array([2.0, 0.0, 0.0])

    def values(i: Any, j: Any) -> np.ndarray:
        return green(cdist(x[i], y[j]), WAVENUMBER)

    everything = slice(None)
    before = _peak()
    found = []
    for rtol in TOLERANCES:
        start = time.process_time()
        cross = cross_approximation(
            (lambda i: values(i, everything), lambda j: values(everything, j)),
            shape=(CLOUD, CLOUD),
            rtol=rtol,
            entries=lambda i, j: green(np.linalg.norm(x[i] - y[j], axis=1), WAVENUMBER),
        )
        matrix = cross.recompress()
        seconds = time.process_time() - start
        some = rng.integers(0, CLOUD, CHECKED_ROWS)
        exact = values(some, everything)
        found.append(
            {
                "rtol": rtol,
                "crosses": cross.rank,
                "rank": matrix.rank,
                "entries_read": cross.entries_read,
                "share": cross.entries_read / CLOUD**2,
                "error": float(np.linalg.norm(matrix.rows(some) - exact) / np.linalg.norm(exact)),
                "seconds": seconds,
            }
        )
    dense = fastest({"rows": lambda: values(np.arange(CHECKED_ROWS), everything)}, 5, time.process_time)["rows"]
    return {"points": CLOUD, "rows": found, "dense": dense * CLOUD / CHECKED_ROWS, "before": before, "peak": _peak()}


def _case(operator: str, level: int) -> dict[str, Any]:
    mesh = surface("sphere", level)
    start = time.process_time()
    found = compress_far_field(mesh, operator, WAVENUMBER, rtol=RTOL, eta=ETA, leaf=LEAF, progress=False)
    seconds = time.process_time() - start
    kernel, tree = found.kernel, found.tree
    sample = np.random.default_rng(0).permutation(len(found.far))[:DENSE_BLOCKS]
    sides = [[kernel.quadrature.side(tree.items(c)) for c in found.partition.far[b]] for b in sample]
    start = time.process_time()
    for left, right in sides:
        kernel.integrate(left, right)
    dense = (time.process_time() - start) * float(found.values_dense.sum() / found.values_dense[sample].sum())
    scale = float(np.linalg.norm([np.linalg.norm(block.s) for block in found.far]))
    return {
        "operator": operator,
        "unknowns": found.shape[0],
        **found.statistics(),
        "error": found.estimate_error().value / scale,
        "seconds": seconds,
        "dense_seconds": dense,
    }


def _peak() -> int:
    """Largest resident set of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
