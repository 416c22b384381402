"""What a study prints: lines that fit a terminal, and a table in which differences stand out."""

from __future__ import annotations

import numpy as np
import pytest

from problems.studies import Comparison
from problems.studies.report import table, wrapped
from rbm.estimate import Estimate

METHODS = ("orthonormal", "direct", "expanded", "sampled", "interpolated")


def comparison(values: dict[str, list[float]], resolved: dict[str, list[bool]] | None = None) -> Comparison:
    """One basis size 2, two test parameters."""
    estimates = {}
    for m, v in values.items():
        r = (resolved or {}).get(m, [True, True])
        value = np.array(v)
        estimates[m] = {2: Estimate(value, value / 1e3, np.array(r))}
    row = {m: {"smallest_effectivity": 1.1, "largest_effectivity": 1.2e3, "bounds_below_true_error": 0} for m in values}
    for m in set(values) & {"sampled", "interpolated"}:
        row[m] |= {"terms": 11, "products": 16}
    return Comparison(np.ones((2, 1)), {2: np.array([1e-3, 2e-4])}, estimates, [{"N": 2, **row}], {})


def test_a_table_of_five_estimators_fits_eighty_columns() -> None:
    lines = table(
        comparison({m: [10.0**-k, 1e-120] for k, m in enumerate(METHODS)}, {key: [True, False] for key in METHODS})
    ).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == [
        "2",
        "1.00e-03",
        *["1.0e+00", "50%", "1.0e-01", "50%", "1.0e-02", "50%", "1.0e-03", "50%", "1.0e-04", "50%"],
    ]


@pytest.mark.parametrize(("width", "blocks"), [(79, 1), (78, 2), (60, 2), (40, 3)])
def test_narrow_terminals_get_the_estimators_in_blocks(width: int, blocks: int) -> None:
    shown = table(comparison({m: [1e-3, 2e-3] for m in METHODS}), width).splitlines()
    assert max(map(len, shown)) <= width
    heads = [line.split()[3:] for line in shown if line.startswith("  N true error")]
    assert len(heads) == blocks
    assert tuple(name for head in heads for name in head) == METHODS
    rows = [line.split()[2:] for line in shown if line.startswith("  2 ")]
    assert rows == [["2.0e-03", *"=" * (len(head) - 1)] for head in heads]  # nothing is on the left of a block's first


def test_equal_columns_and_full_resolution_are_not_repeated() -> None:
    head, row, legend, *rest = table(comparison({m: [1e-3, 2e-3] for m in METHODS})).splitlines()
    assert head.split() == ["N", "true", "error", *METHODS]
    assert row.split() == ["2", "1.00e-03", "2.0e-03", "=", "=", "=", "="]
    assert "=: as on the left" in legend
    assert "%" not in row + legend
    # E3 and E4 keep as many products: said once
    assert sum("terms of products" in line for line in rest) == 1
    assert "sampled and interpolated, terms of products: N=2: 11 of 16" in rest[-1]


def test_what_differs_is_shown() -> None:
    shown = table(comparison({"orthonormal": [1e-9, 2e-9], "expanded": [1e-7, 1e-7]}, {"expanded": [False, False]}))
    assert shown.splitlines()[1].split() == ["2", "1.00e-03", "2.0e-09", "1.0e-07", "0%"]
    assert "share that is resolved" in shown
    assert "=" not in shown


@pytest.mark.parametrize("width", [40, 80, 200])
def test_sentences_are_wrapped_under_their_beginning(width: int) -> None:
    text = "offline, 4.7 s\n  " + "FullOrderModel(7081 unknowns, real, 9 operator terms) " * 4
    lines = wrapped(text, width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0] == "offline, 4.7 s"
    assert lines[1].startswith("  Full")
    assert all(line.startswith("    ") for line in lines[2:])
    assert " ".join(wrapped(text, width).split()) == " ".join(text.split())
