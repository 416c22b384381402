"""How long a certified query takes, beside a full-order solve."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import scipy.sparse as sp

import rbm
from rbm import FullOrderModel

__all__ = ["solver_name", "time_online"]


def solver_name(model: FullOrderModel) -> str:
    """The name, in words, of what full-order systems are solved with."""
    if model.solver is not None:
        return f"the model's own solver {getattr(model.solver, '__name__', type(model.solver).__name__)}"
    return "sparse LU" if all(sp.issparse(term) for term in model.operator_terms) else "dense LU"


def time_online(model: FullOrderModel, reduced: rbm.ReducedModel, batch: int = 10_000) -> dict[str, Any]:
    """Microseconds per certified query in one batch, and per full-order solve, the best of three runs each."""
    mus = model.parameters.sample(batch, "random", rng=2)
    reduced.solve(mus[:10])
    queries = _best(lambda: reduced.solve(mus)) / batch * 1e6
    full = _best(lambda: model.solve(mus[:5])) / 5 * 1e6
    return {
        "batch": batch,
        "microseconds_per_query": queries,
        "microseconds_per_full_solve": full,
        "speed_up": full / queries,
    }


def _best(call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
