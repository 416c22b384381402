"""What stability bounds that take long have in common: they say so before, and keep what they did."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

__all__ = ["LONG", "announce", "proving_sources"]

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
