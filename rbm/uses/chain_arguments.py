"""Arguments of a Markov chain, checked before it walks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from rbm.errors import ModelError
from rbm.uses.measurements import plain_array

__all__ = ["check_whole", "checkpoint_file", "widths"]


def check_whole(**given: tuple[Any, int]) -> None:
    """Raise ModelError for what is no whole number of at least so much."""
    for name, (number, least) in given.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
            raise ModelError(f"{name} must be a whole number of at least {least}, got {number!r}")


def checkpoint_file(given: Any) -> Path | None:
    """Return the path of the checkpoint; raise ModelError now, and not after the walk, if none can be written there."""
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike):
        raise ModelError(f"checkpoint must be the name of a file, got {given!r:.60}")
    file = Path(given)
    if file.is_dir() or not file.parent.is_dir():
        why = "is a folder" if file.is_dir() else "is in a folder that does not exist"
        raise ModelError(f"checkpoint {os.fspath(given)!r} {why}; give the name of a file in a folder that exists")
    return file


def widths(given: Any, p: int) -> np.ndarray:
    """Return the standard deviations (p,) of proposals."""
    width = plain_array("step", given)
    if width.dtype.kind not in "iuf" or width.shape not in ((), (p,)):
        raise ModelError(f"step must be a number or ({p},), one for each parameter, got {given!r:.60}")
    if not (np.all(np.isfinite(width)) and np.all(width > 0)):
        raise ModelError(
            f"step must be positive, in probabilities of the prior (0.1 is a tenth of them), got {given!r:.60}"
        )
    return np.broadcast_to(width.astype(float), (p,)).copy()
