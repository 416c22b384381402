"""What the online stage is set beside: batched NumPy, the matrix product; and the share of points evaluated twice."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import rbm
from benchmarks.harness import fastest
from rbm.online.batches import thread_count
from rbm.online.reference import residual_coefficients

__all__ = ["CHUNK", "bare_numpy", "evaluated_again", "gemm", "in_chunks", "in_threads"]

#: Points that NumPy answers at once.
CHUNK = 1_000


def bare_numpy(reduced: rbm.ReducedModel) -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """The same arithmetic written out, no checks, no floors: batched assembly, numpy.linalg.solve, norm(R c)."""
    q, n, _ = reduced.operators.shape
    flat, sources = reduced.operators.reshape(q, n * n), reduced.rhs
    transposed = np.ascontiguousarray(reduced.estimators["orthonormal"].factor.T)  # type: ignore[attr-defined]
    qf = len(sources)

    def solve(mus: np.ndarray) -> np.ndarray:
        theta, phi = reduced.operator_coefficients(mus), reduced.rhs_coefficients(mus)
        return np.linalg.solve((theta @ flat).reshape(-1, n, n), (phi @ sources)[..., None])[..., 0]

    def estimate(mus: np.ndarray) -> np.ndarray:
        gamma, theta = solve(mus), reduced.operator_coefficients(mus)
        c = np.empty((len(mus), qf + n * q), dtype=gamma.dtype)
        c[:, :qf] = reduced.rhs_coefficients(mus)
        np.multiply(-gamma[:, :, None], theta[:, None, :], out=c[:, qf:].reshape(-1, n, q))
        return np.linalg.norm(c @ transposed, axis=1)

    return solve, estimate


def in_chunks(function: Callable[[np.ndarray], np.ndarray], mus: np.ndarray) -> None:
    """One Python thread; the library may use its own."""
    for i in range(0, len(mus), CHUNK):
        function(mus[i : i + CHUNK])


def in_threads(function: Callable[[np.ndarray], np.ndarray], mus: np.ndarray) -> None:
    """As many Python threads as processors, one BLAS thread each."""
    chunks = [mus[i : i + CHUNK] for i in range(0, len(mus), CHUNK)]
    with threadpool_limits(1), ThreadPoolExecutor(thread_count()) as pool:
        list(pool.map(function, chunks))


def gemm(dtype: type, n: int = 2000) -> float:
    """GFLOP/s of the machine's matrix product, all processors; a complex product is four real ones."""
    a = np.random.default_rng(0).standard_normal((n, n)).astype(dtype)
    return (4 if np.iscomplexobj(a) else 1) * 2e-9 * n**3 / fastest({"": lambda: a @ a}, 5)[""]


def evaluated_again(reduced: rbm.ReducedModel, mus: np.ndarray) -> float:
    """Share of the points that were evaluated twice, by their floors, which are below those of plain sums."""
    state: Any = reduced.estimators["orthonormal"]
    solution = reduced.solve(mus)
    assert solution.estimate is not None
    theta, phi = reduced.operator_coefficients(mus), reduced.rhs_coefficients(mus)
    c = residual_coefficients(theta, phi, solution.coefficients)
    plain = np.abs(c) @ state.floor_weights(c.dtype) / reduced.stability(mus, theta)
    return float(np.mean(solution.estimate.floor < 0.99 * plain))
