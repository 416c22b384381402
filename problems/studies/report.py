"""The text of a study on a terminal: sentences wrapped to its width, and the table of estimators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lowrank.terminal import terminal_width, wrapped
from problems.studies.comparison import Comparison

__all__ = ["table", "wrapped"]


def table(comparison: Comparison, width: int | None = None) -> str:
    """The comparison as text that fits `width` columns, by default the terminal's.

    First the largest true error and the largest value of each estimator, for each N; of five estimators in two blocks
    where the terminal has less than 80 columns. A percentage is the share of test parameters at which the estimate is
    resolved, where that is not all of them; = stands for the value on its left, - for an estimator that was not
    prepared.
    """
    methods = [m for m, per in comparison.estimates.items() if per]
    width = terminal_width() if width is None else width
    lines, marks = [], set[str]()
    for block in _blocks(methods, max((width - 14) // 13, 1)):
        lines.append("  N true error" + "".join(f"{m:>13}" for m in block))
        for n, error in comparison.errors.items():
            cells, seen = _cells(comparison, n, block, methods)
            lines.append(f"{n:>3}   {error.max():8.2e}" + cells)
            marks |= seen
    meanings = {"=": "=: as on the left", "%": "%: share that is resolved, if not all", "-": "-: not prepared"}
    legend = f"    largest values{''.join(f'; {meanings[m]}' for m in meanings if m in marks)}"
    lines.append(wrapped(legend, width))
    lines.append(wrapped("effectivity of bounds, smallest to largest over N and test parameters:", width))
    for m in methods:
        rows = [row[m] for row in comparison.rows if "smallest_effectivity" in row.get(m, {})]
        low, high = min(r["smallest_effectivity"] for r in rows), max(r["largest_effectivity"] for r in rows)
        below = sum(r["bounds_below_true_error"] for r in rows)
        lines.append(wrapped(f"  {m:<13}{low:9.3g} to {high:<9.3g}{below} below the true error", width))
    lines += _terms(methods, comparison.rows, width)
    return "\n".join(lines)


def _blocks(methods: Sequence[str], most: int) -> list[Sequence[str]]:
    """The methods in blocks of at most so many; one empty block for none."""
    return [methods[k : k + most] for k in range(0, len(methods), most)] or [methods]


def _cells(comparison: Comparison, n: int, block: Sequence[str], methods: Sequence[str]) -> tuple[str, set[str]]:
    """The values of the methods of a block for one N, and the marks that are among them."""
    cells, left, marks = [], "", set[str]()
    for m in methods:
        e = comparison.estimates[m].get(n)
        value = "-" if e is None else f"{e.value.max():.1e}"
        share = "" if e is None or e.resolved.all() else f"{min(e.resolved.mean(), 0.99):.0%}"
        # what stands in the block before is not on the left
        shown = "=" if e is not None and value == left and m != block[0] else value
        left = left if e is None else value
        if m in block:
            cells.append(f"{shown:>8} {share:<4}")
            marks |= {shown, "%" if share else ""} & {"=", "-", "%"}
    return "".join(cells).rstrip(), marks


def _terms(methods: Sequence[str], rows: Sequence[dict[str, Any]], width: int) -> list[str]:
    """How many of the products E3 and E4 keep, one line per count: both keep as many where both are there."""
    said: dict[str, list[str]] = {}
    for m in methods:
        found = [(r["N"], r[m]) for r in rows if "terms" in r.get(m, {})]
        if found:
            counts = ", ".join(f"N={n}: {r['terms']} of {r['products']}" for n, r in found)
            said.setdefault(counts, []).append(m)
    return [wrapped(f"  {' and '.join(names)}, terms of products: {counts}", width) for counts, names in said.items()]
