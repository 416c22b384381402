"""Trajectories cut into chunks of consecutive actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lowrank.arrays import refuse_hidden
from lowrank.limits import at_least

__all__ = ["checked_actions", "real_numbers", "split"]


def split(trajectories: Any, chunk: int, stride: int | None = None) -> np.ndarray:
    """Return all chunks (n, H, D) of trajectories: `chunk` consecutive actions from every `stride`-th one on.

    The actions after the last whole chunk of a trajectory are left out.

    Parameters
    ----------
    trajectories : one (T, D), several of one length (k, T, D), or a list of (T_i, D)
    chunk : H
    stride : actions between the beginnings of two chunks; by default H, so that chunks do not overlap

    Raises
    ------
    ValueError
        NaN, another number of dimensions, actions of different widths, and trajectories all shorter than a chunk.

    Examples
    --------
    >>> split(np.zeros((25, 3)), 10).shape, split(np.zeros((25, 3)), 10, 5).shape
    ((2, 10, 3), (4, 10, 3))
    """
    chunk = at_least("chunk", chunk, 1)
    stride = chunk if stride is None else at_least("stride", stride, 1)
    given = _listed(trajectories)
    if not given:
        raise ValueError("there are no trajectories: give at least one, of shape (T, D)")
    width = given[0].shape[1]
    for i, one in enumerate(given):
        if one.shape[1] != width:
            raise ValueError(
                f"trajectory {i} has actions of {one.shape[1]} numbers, trajectory 0 of {width}: all must have the same"
            )
    pieces = []
    for one in given:
        if len(one) >= chunk:
            windows = np.lib.stride_tricks.sliding_window_view(one, chunk, axis=0)[::stride]
            pieces.append(np.swapaxes(windows, 1, 2))
    if not pieces:
        longest = max(len(one) for one in given)
        raise ValueError(
            f"no trajectory is as long as one chunk of {chunk} actions, the longest has {longest}: take shorter chunks"
        )
    return np.ascontiguousarray(np.concatenate(pieces))


def _listed(trajectories: Any) -> list[np.ndarray]:
    if isinstance(trajectories, Sequence) and not isinstance(trajectories, str):
        return [_trajectory(f"trajectory {i}", one) for i, one in enumerate(trajectories)]
    found = checked_actions("trajectories", trajectories)
    if found.ndim == 3:
        return list(found)
    return [_trajectory("trajectories", found)]


def _trajectory(name: str, given: Any) -> np.ndarray:
    found = checked_actions(name, given)
    if found.ndim != 2 or not found.shape[1]:
        raise ValueError(f"{name} must be actions of shape (T, D), one a row, got shape {found.shape}")
    return found


def real_numbers(name: str, given: Any) -> np.ndarray:
    """Return real numbers in double precision, finite or not.

    Raises ValueError for anything else, TypeError for masked arrays that hide entries.
    """
    refuse_hidden(name, given)
    try:
        found = np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array of real numbers: {error}") from None
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be an array of real numbers, got entries of {found.dtype}")
    return found.astype(np.float64, copy=False)


def checked_actions(name: str, given: Any) -> np.ndarray:
    """Return real finite numbers in double precision. Raises ValueError for anything else."""
    found = real_numbers(name, given)
    bad = ~np.isfinite(found)
    if np.any(bad):
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} has {np.count_nonzero(bad)} entries that are NaN or infinite, the first at index {first}; remove "
            "or recompute them"
        )
    return found
