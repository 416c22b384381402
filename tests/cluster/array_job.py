"""Snapshots as an array job of SLURM, one file a task, merged by a last command.

    sbatch --array=0-3 --wrap "python array_job.py FOLDER 4"        # SLURM sets SLURM_ARRAY_TASK_ID
    python array_job.py FOLDER 4 merge

Tasks that failed are run again alone; merge says which are missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

import lowrank
import problems
import rbm


def main(folder: str, tasks: int, merge: bool = False) -> None:
    model = problems.thermal_block((3, 3), 60)
    mus = model.parameters.sample(20)
    parts = [Path(folder) / f"part-{k}.npy" for k in range(tasks)]
    if not merge:
        mine = int(os.environ["SLURM_ARRAY_TASK_ID"])
        made = model.solve(mus[mine::tasks])
        with open(partial := parts[mine].with_suffix(".partial"), "wb") as file:
            np.save(file, made)
        os.replace(partial, parts[mine])  # whole or not at all
        return
    if missing := [str(k) for k, part in enumerate(parts) if not part.exists()]:
        sys.exit(f"parts are missing: sbatch --array={','.join(missing)}")
    snapshots = np.empty((len(mus), model.dimension))
    for k, part in enumerate(parts):
        snapshots[k::tasks] = np.load(part)
    modes = lowrank.pod(snapshots.T, product=model.product, rank=12).modes
    reduced = rbm.project(model, modes)
    reduced.save(Path(folder) / "model.rbm")
    print(f"N = {reduced.size}, largest bound {reduced.solve(mus).bound.max():.17e}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:] == ["merge"])
