"""The figure of the study of consistency: scores of sets, and of a model's answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lowrank.optional import require

__all__ = ["draw"]


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """Write the scores of sets and of answers as .png and .pdf; parts that are missing are left out.

    Raises ImportError where Matplotlib is missing.
    """
    parts = [part for part in ("sets", "answers") if "missing" not in summary[part]]
    if not parts:
        return
    require("matplotlib", "matplotlib", "figures")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(1, len(parts), figsize=(4.6 * len(parts), 3.4), squeeze=False)
    for axis, part in zip(axes[0], parts, strict=True):
        rng = np.random.default_rng(0)
        for k, scores in enumerate(summary[part]["scores"].values()):
            values = np.array([v for v in scores if v is not None])
            axis.plot(k + 0.3 * (rng.random(len(values)) - 0.5), values, ".", alpha=0.4, markersize=4)
            axis.plot([k - 0.25, k + 0.25], 2 * [values.mean()], "k-")
        names = list(summary[part]["scores"])
        axis.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
        axis.set(ylim=(-1.05, 1.05), ylabel="HaloCheck")
        axis.set_title("sets made by code" if part == "sets" else "answers of SmolLM2, one dot a question", fontsize=9)
        axis.grid(alpha=0.3, axis="y")
    drawing.tight_layout()
    for suffix in (".png", ".pdf"):
        drawing.savefig(path.with_suffix(suffix), dpi=150)
    pyplot.close(drawing)
