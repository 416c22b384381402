"""A greedy and a million queries on the workers of Dask: python on_dask.py [SCHEDULER].

Without the address of a scheduler, on a local cluster of two.
"""

from __future__ import annotations

import sys

import dask.array as da
from distributed import Client

import problems
import rbm


def main(scheduler: str | None = None, points: int = 1_000_000) -> None:
    local = {} if scheduler else {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with Client(scheduler, **local) as client:
        model = problems.thermal_block((3, 3), 60)
        training = model.parameters.sample(500)
        result = rbm.greedy(model, training, tol=1e-2, batch=4, executor=client.get_executor())
        mus = da.from_array(model.parameters.sample(points, rng=1), chunks=(1 << 17, -1))
        answers = rbm.dask_solve(result.reduced_model, mus)
        print(f"N = {len(result.parameters)}, largest bound of {points} queries {float(answers['bound'].max()):.17e}")


if __name__ == "__main__":
    main((sys.argv[1:2] or [""])[0] or None, *map(int, sys.argv[2:3]))
