"""A cluster on paper: what 10^8 unknowns on 100 nodes and 10^12 queries cost, from constants and counted messages.

    python -m benchmarks.cluster_cost

Constants of a core are measured here; those of a network are assumed, and named so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

__all__ = ["Constants", "cost", "measured"]


@dataclass(frozen=True)
class Constants:
    """What a node and the network between nodes do in a second."""

    copied: float  #: bytes a core reads and writes in a second (measured)
    query: float  #: seconds of a core per certified query, N = 30, Qa = 9 (measured)
    cores: int = 32  #: of a node (assumed)
    shared: float = 8.0  #: how many times a core's bandwidth a whole node has (assumed)
    latency: float = 2e-6  #: seconds of a message (assumed)
    network: float = 1e10  #: bytes of a node's connection in a second (assumed)
    iterations: int = 25  #: of conjugate gradients with multigrid, to 1e-10 (estimated)
    cycle: float = 6.0  #: matrix passes of a multigrid cycle and its share of an iteration (estimated)


def measured(query: float = 1.2e-6) -> Constants:
    """Return constants with the bandwidth of this core."""
    a = np.ones(1 << 25)
    b = np.empty_like(a)
    best = np.inf
    for _ in range(5):
        start = time.perf_counter()
        np.copyto(b, a)
        best = min(best, time.perf_counter() - start)
    return Constants(2 * a.nbytes / best, query)


def cost(
    c: Constants,
    n: float = 1e8,
    nodes: int = 100,
    vectors: int = 20,
    terms: int = 9,
    queries: float = 1e12,
    row: int = 15,
) -> dict[str, float]:
    """Return bytes, messages and seconds of an offline stage whose solves run on all nodes, and of an online stage.

    n unknowns, N vectors, Qa terms, `row` entries in a row. Offline: N truth solves and 4 Qa N Riesz solves by a solver
    on all nodes (PETSc), each with `iterations` products, cycles and two sums over all nodes; Gram-Schmidt over the
    residual's range, m = Qa N functionals, 4 n m^2 flops as passes over it. Online: blocks of 131072 points, of
    9 + 2 + 2 numbers each, one message there and one back.
    """
    bandwidth = c.copied * c.shared
    mine, m = n / nodes, terms * vectors
    solves = vectors + 4 * m
    passes = row * 12 * mine * c.cycle
    face = 6 * (mine ** (2 / 3)) * 8
    levels = max(1.0, np.log2(n) / 3)
    sums = 2 * np.log2(nodes) * c.latency
    iteration = passes / bandwidth + face / c.network + 12 * levels * c.latency + sums
    gram = 2 * 8 * mine * m * m / bandwidth / 16  # panels of 16 columns share a pass over the range
    block = 1 << 17
    blocks = queries / block
    online = queries * c.query / (nodes * c.cores)
    sent = block * 13 * 8
    return {
        "solves": solves,
        "seconds_solve": c.iterations * iteration,
        "seconds_solves": solves * c.iterations * iteration,
        "messages_of_a_node_offline": solves * c.iterations * (12 * levels + 2 * np.log2(nodes)),
        "seconds_orthonormalisation": gram,
        "bytes_of_a_node_range": 2 * 8 * mine * (m + vectors),
        "bytes_of_a_node_factors": 3 * row * 12 * mine,
        "hours_offline": (solves * c.iterations * iteration + gram) / 3600,
        "messages_online": 2 * blocks,
        "share_of_messages_online": blocks * (2 * c.latency + sent / c.network) / nodes / online,
        "hours_online": online / 3600,
        "bytes_of_the_answers": queries * 8 * 3,
    }


if __name__ == "__main__":
    constants = measured()
    print(constants)
    for key, value in cost(constants).items():
        print(f"{key:32s} {value:.3g}")
