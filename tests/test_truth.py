"""Bounds of random small models in mixed units against exact arithmetic: no violation in 10^5 points.

A point is a parameter point of a model at which the error bound and all output bounds were compared with the exact values; residual
norms and stability constants are compared there, too. ``python -m benchmarks.truth`` does 10^6 and prints a table.
"""

from __future__ import annotations

import pytest

from benchmarks.random_models import FAMILIES
from benchmarks.truth import Tally, sweep

#: Points a model: more of them cost less each, fewer see more models.
POINTS = 150
#: Points of all families together.
ALL = 100_000


@pytest.mark.parametrize("name", FAMILIES)
def test_no_bound_is_below_the_exact_value(name: str) -> None:
    tally, share = Tally(), ALL / len(FAMILIES)
    while tally.points < share and tally.models * POINTS < 3 * share:
        sweep(name, tally, 1, POINTS)
    assert not tally.kinds, tally.examples
    assert not tally.crashed, tally.examples
    assert not tally.refused_kind, tally.examples
    assert tally.points > 0, tally.reasons
