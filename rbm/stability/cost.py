"""What a stability bound will cost, said before it starts."""

from __future__ import annotations

import sys
import warnings

__all__ = ["LONG", "announce"]

#: Seconds from which the cost is a warning.
LONG = 60.0


def announce(what: str, seconds: float, cheaper: str, *, progress: bool = False) -> None:
    """Say what is about to be computed and about how long it takes.

    A warning over a minute, which also says how to make it cheaper; a line on the error stream with `progress`.
    """
    if seconds > LONG:
        warnings.warn(f"{what} will take about {seconds / 60:.0f} min; {cheaper}", UserWarning, stacklevel=4)
    elif progress:
        print(f"{what}: about {seconds:.1g} s", file=sys.stderr)
