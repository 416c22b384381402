"""Figures of the study of bits: error of the quantised network over its mean bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowrank.optional import require

__all__ = ["figure"]

#: Lines of the figures: gamma, allocation, and what they are called.
LINES = (
    ("1", "even", "even bits, gamma = 1"),
    ("searched", "even", "even bits, gamma searched"),
    ("outputs", "even", "even bits, gamma by outputs"),
    ("searched", "greedy", "allocated, measured curves"),
    ("searched", "closed", "allocated, closed form"),
    ("searched", "variance", "allocated by variance"),
)


def figure(summary: Mapping[str, Any], out: Path) -> None:
    """Write bits.png and bits.pdf to the folder: one panel a network, its error over the mean bits, both logarithmic.

    Raises ImportError where Matplotlib is missing.
    """
    require("matplotlib", "matplotlib", "figures")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    parts = {name: found for name, found in summary.items() if found.get("cases")}
    if not parts:
        return
    drawing, axes = pyplot.subplots(1, len(parts), figsize=(4.6 * len(parts), 3.8), squeeze=False)
    for axis, (name, found) in zip(axes[0], parts.items(), strict=True):
        for gamma, allocation, label in LINES:
            rows = [
                (int(case.split()[0]), row[found["error"]])
                for case, row in found["cases"].items()
                if case.endswith(f"gamma {gamma}, {allocation}") and row[found["error"]] > 0
            ]
            if rows:
                bits, errors = zip(*sorted(rows), strict=True)
                axis.semilogy(bits, errors, "o-", label=label, markersize=4)
        axis.set(title=name, xlabel="mean bits", ylabel=found["error"].replace("_", " "))
        axis.grid(alpha=0.3)
    if axes[0][0].get_legend_handles_labels()[0]:
        axes[0][0].legend(fontsize=7)
    drawing.tight_layout()
    for suffix in ("png", "pdf"):
        drawing.savefig(out / f"bits.{suffix}", dpi=150)
    pyplot.close(drawing)
