"""A greedy on MPI processes: mpiexec -n 3 python -m mpi4py.futures on_mpi.py FILE, one process and two workers.

It goes on from its checkpoint where an earlier run was stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mpi4py.futures import MPIPoolExecutor

import problems
import rbm


def main(path: str, size: int = 12) -> None:
    model = problems.thermal_block((3, 3), 60)
    checkpoint = Path(path).with_suffix(".steps")
    resume = checkpoint if checkpoint.exists() else None
    training = model.parameters.sample(500)
    with MPIPoolExecutor() as executor:
        result = rbm.greedy(
            model, training, max_basis=size, batch=4, executor=executor, checkpoint=checkpoint, resume=resume
        )
    result.reduced_model.save(path)
    print(f"N = {len(result.parameters)}, bound {result.history[-1].bound:.17e}, from {resume or 'the start'}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:3]))
