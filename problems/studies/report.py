"""The text of a study on a terminal: sentences wrapped to its width, and the table of estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lowrank.terminal import wrapped
from problems.studies.comparison import Comparison

__all__ = ["table", "wrapped"]


def table(comparison: Comparison) -> str:
    """The comparison as text of less than 80 columns: largest true error, then the largest value of each estimator.

    A percentage is the share of test parameters at which the estimate is resolved, where that is not all of them; =
    stands for the value on its left, - for an estimator that was not prepared.
    """
    methods = [m for m, per in comparison.estimates.items() if per]
    lines = ["  N true error" + "".join(f"{m:>13}" for m in methods)]
    marks = set()
    for n, error in comparison.errors.items():
        cells, left = [], ""
        for m in methods:
            e = comparison.estimates[m].get(n)
            value = "-" if e is None else f"{e.value.max():.1e}"
            share = "" if e is None or e.resolved.all() else f"{min(e.resolved.mean(), 0.99):.0%}"
            shown = "=" if e is not None and value == left else value
            cells.append(f"{shown:>8} {share:<4}")
            left = left if e is None else value
            marks |= {shown, "%" if share else ""} & {"=", "-", "%"}
        lines.append(f"{n:>3}   {error.max():8.2e}" + "".join(cells).rstrip())
    meanings = {"=": "=: as on the left", "%": "%: share that is resolved, if not all", "-": "-: not prepared"}
    lines.append(f"    largest values{''.join(f'; {meanings[m]}' for m in meanings if m in marks)}")
    lines.append("effectivity of bounds, smallest to largest over N and test parameters:")
    for m in methods:
        rows = [row[m] for row in comparison.rows if "smallest_effectivity" in row.get(m, {})]
        low, high = min(r["smallest_effectivity"] for r in rows), max(r["largest_effectivity"] for r in rows)
        below = sum(r["bounds_below_true_error"] for r in rows)
        lines.append(f"  {m:<13}{low:9.3g} to {high:<9.3g}{below} bounds below the true error")
    lines += _terms(methods, comparison.rows)
    return "\n".join(lines)


def _terms(methods: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[str]:
    """How many of the products E3 and E4 keep, one line per count: both keep as many where both are there."""
    said: dict[str, list[str]] = {}
    for m in methods:
        found = [(r["N"], r[m]) for r in rows if "terms" in r.get(m, {})]
        if found:
            counts = ", ".join(f"N={n}: {r['terms']} of {r['products']}" for n, r in found)
            said.setdefault(counts, []).append(m)
    return [wrapped(f"  {' and '.join(names)}, terms of products: {counts}", 80) for counts, names in said.items()]
