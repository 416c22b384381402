"""What is known of single engines: which kind an executor is, how many workers it has, how a broken one is replaced."""

from __future__ import annotations

import importlib
import os
import socket
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Literal

from rbm.errors import ModelError
from rbm.solvers.user_code import check_executor

__all__ = ["Kind", "check_workers", "is_local", "kind_of", "replacement", "worker_count"]

#: "here": no executor. "map": one that has no method submit, which gets the model with each task.
Kind = Literal["here", "threads", "processes", "loky", "dask", "mpi", "map", "other"]
#: Seconds that a cluster has until its first worker is there.
PATIENCE = 30.0
_OF_PACKAGES: dict[str, Kind] = {"loky": "loky", "distributed": "dask", "mpi4py": "mpi"}


def kind_of(executor: Any) -> Kind:
    """Return which kind of executor it is; raise ModelError for what is none."""
    if check_executor(executor) is None:
        return "here"
    if isinstance(executor, ThreadPoolExecutor):
        return "threads"
    for base in type(executor).__mro__:
        names = base.__module__.split(".")
        for package in (names[0], *names[2:3] * (names[:2] == ["joblib", "externals"])):
            if package in _OF_PACKAGES:
                return _OF_PACKAGES[package]
    if isinstance(executor, ProcessPoolExecutor):
        return "processes"
    return "other" if callable(getattr(executor, "submit", None)) else "map"


def worker_count(executor: Any) -> int:
    """Return the number of workers, as far as the executor tells it; else that of processors here."""
    if kind_of(executor) == "dask":
        return max(1, sum(worker["nthreads"] for worker in _dask_workers(executor).values()))
    return int(getattr(executor, "_max_workers", 0) or os.cpu_count() or 1)


def check_workers(executor: Any) -> None:
    """Raise ModelError for a Dask client without workers, and for MPI with one process: they would wait for ever.

    A cluster that has none yet has some time to start them.
    """
    kind = kind_of(executor)
    if kind == "dask":
        client = executor._client
        if client.status != "running":
            raise ModelError(f"the executor is shut down: its Dask client is {client.status}")
        if not _dask_workers(executor):
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except Exception as error:
                raise ModelError(
                    f"the executor has no workers: none came within {PATIENCE:g} s; start some (dask worker "
                    f"{client.scheduler.address})"
                ) from error
    elif kind == "mpi":
        try:
            workers = executor.num_workers
        except Exception as error:
            raise ModelError(f"the executor has no workers ({error}){_MPIEXEC}") from error
        if workers < 1:
            raise ModelError(f"the executor has no workers{_MPIEXEC}")


_MPIEXEC = ": start the script with mpiexec -n 3 python -m mpi4py.futures SCRIPT, one process and its workers"


def is_local(executor: Any) -> bool:
    """Return True if all workers are processes of this machine, as far as that is known."""
    kind = kind_of(executor)
    if kind != "dask":
        return kind in ("processes", "loky")
    own = {"127.0.0.1", "::1", "localhost", socket.gethostname()}
    return all(worker["host"] in own for worker in _dask_workers(executor).values())


def replacement(executor: Any) -> Executor | None:
    """Return a new executor like one whose worker has died; None if it is not known how that one was made."""
    kind = kind_of(executor)
    if kind == "loky":
        # of the same number of workers; a broken one is not used again
        return importlib.import_module("loky").get_reusable_executor(max_workers=executor._max_workers)
    if type(executor) is not ProcessPoolExecutor:
        return None
    made = vars(executor)
    return ProcessPoolExecutor(
        made["_max_workers"],
        mp_context=made["_mp_context"],
        initializer=made["_initializer"],
        initargs=made["_initargs"],
    )


def _dask_workers(executor: Any) -> dict[str, Any]:
    client = executor._client
    try:
        return client.scheduler_info(n_workers=-1)["workers"]
    except TypeError:  # of older releases
        return client.scheduler_info()["workers"]
