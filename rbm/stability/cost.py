"""What stability bounds that take long have in common: they say so before, and keep what they did."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from rbm.errors import Interrupted
from rbm.storage.archive import read_archive, write_archive

__all__ = ["LONG", "announce", "interrupted", "proving_sources", "read_kept", "write_kept"]

Kept = TypeVar("Kept")

#: Seconds from which the cost is a warning.
LONG = 60.0
#: Rooms of rbm/ whose sources decide what a cached constant is worth.
PROVING = ("affine", "arithmetic", "solvers", "stability")


def proving_sources() -> list[bytes]:
    """Return the sources on which the proof of a constant rests: what others certified is not for these."""
    return [p.read_bytes() for room in PROVING for p in sorted((Path(__file__).parents[1] / room).glob("*.py"))]


def announce(what: str, seconds: float, cheaper: str, *, progress: bool = False) -> None:
    """Say what is about to be computed and about how long it takes.

    A warning over a minute, which also says how to make it cheaper; a line on the error stream with `progress`.
    """
    if seconds > LONG:
        warnings.warn(f"{what} will take about {seconds / 60:.0f} min; {cheaper}", UserWarning, stacklevel=4)
    elif progress:
        print(f"{what}: about {seconds:.1g} s", file=sys.stderr)


def read_kept(path: Path | None, kind: str, what: str, make: Callable[[dict[str, np.ndarray]], Kept]) -> Kept | None:
    """Return what an earlier run kept in a file of the cache, made from its arrays.

    None if there is no file or, with a warning, if nothing can be made of it.
    """
    if path is None or not path.exists():
        return None
    try:
        return make(read_archive(path, kind, key=path.stem)[1])
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        warnings.warn(f"cached {what} are not used and will be computed again: {error}", UserWarning, stacklevel=4)
        return None


def write_kept(path: Path | None, kind: str, what: str, arrays: dict[str, np.ndarray]) -> None:
    """Keep arrays in a file of the cache; warn where that is not possible."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_archive(path, {"kind": kind, "key": path.stem}, arrays)
    except OSError as error:
        warnings.warn(f"{what} could not be cached: {error}", UserWarning, stacklevel=4)


def interrupted(done: str, path: Path | None, result: object, more: str = "") -> Interrupted:
    """Return the error of a run that Ctrl-C ended: what is done, and where it is."""
    kept = "they are in the cache" if path else "with a cache= folder they would be kept"
    return Interrupted(f"interrupted with {done} done; {kept}{more}", result)
