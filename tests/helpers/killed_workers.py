"""Pools of processes, and models whose coefficients kill the worker that evaluates them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import rbm
from problems import thermal_block

__all__ = ["closed_at", "kill_always", "kill_once", "killed_at", "killing", "killing_once", "pool"]


def pool(workers: int = 2, **options: Any) -> ProcessPoolExecutor:
    """Return a pool of fresh processes."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), **options)


def _in_worker() -> bool:
    return multiprocessing.parent_process() is not None


def kill_once(path: Path, after: float, mus: np.ndarray) -> np.ndarray:
    """A coefficient, mu: the first worker that evaluates it at a point above `after` kills itself with -9, once."""
    if _in_worker() and np.any(mus[:, 0] > after) and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return np.asarray(mus[:, 0])


def kill_always(after: float, mus: np.ndarray, before: float = np.inf) -> np.ndarray:
    """The same at every such point, below `before`; other workers have the time to bring their answers home."""
    if _in_worker() and np.any((mus[:, 0] > after) & (mus[:, 0] < before)):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return np.asarray(mus[:, 0])


def killing(source: Any = "mu", n: int = 20) -> rbm.FullOrderModel:
    """A model of one parameter in (1, 50); the same whichever of the coefficients above it has."""
    block = thermal_block((1, 1), n)
    k, m = block.operator_terms[0], thermal_block((2, 1), n).operator_terms[1]
    space = rbm.ParameterSpace({"mu": (1.0, 50.0)})
    return rbm.FullOrderModel([(1.0, k), (source, m)], [(1.0, np.ones(k.shape[0]))], block.product, space, 1.0)


def killing_once(path: Path, after: float = 0.0, n: int = 20) -> rbm.FullOrderModel:
    """A model that kills one worker, the first at a parameter above `after`; `path` then exists."""
    return killing(partial(kill_once, path, after), n)


def _is(work: str, arguments: tuple[Any, ...]) -> bool:
    """Return True for a task of this name; of any, without one."""
    return not work or any(getattr(a, "__name__", "") == work for a in arguments)


def killed_at(executor: ProcessPoolExecutor, number: int, work: str = "") -> list[int]:
    """Kill a worker of the pool with -9 when task `number` is sent, and the first is done; return who was killed.

    work : the name of the function whose tasks count
    """
    submit, futures, killed = executor.submit, list[Any](), list[int]()

    def sent(*arguments: Any, **options: Any) -> Any:
        future = submit(*arguments, **options)
        if _is(work, arguments):
            futures.append(future)
            if len(futures) == number:
                futures[0].result()
                killed.append(next(iter(executor._processes)))
                os.kill(killed[0], signal.SIGKILL)
        return future

    executor.submit = sent  # type: ignore[method-assign]  # of this pool: the one that takes its place has its own
    return killed


def closed_at(executor: Any, number: int, work: str = "") -> None:
    """Shut the executor down when task `number` would be sent; `work`: the name of the function whose tasks count."""
    submit, count = executor.submit, [0]

    def sent(*arguments: Any, **options: Any) -> Any:
        count[0] += _is(work, arguments)
        if count[0] == number:
            executor.shutdown()
        return submit(*arguments, **options)

    executor.submit = sent
