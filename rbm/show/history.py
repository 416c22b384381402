"""The course of a greedy run as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lowrank.optional import require
from rbm.files.greedy_result import GreedyStep

__all__ = ["greedy_history"]


def greedy_history(history: Sequence[GreedyStep], *, tol: float = 0.0, relative: bool = False, ax: Any = None) -> Any:
    """Draw the largest error bound on the training set, and its floor, against the number N of basis vectors."""
    if ax is None:
        figure = require("matplotlib.figure", "matplotlib", "drawing a figure").Figure
        ax = figure(figsize=(6.8, 4.2), layout="constrained").add_subplot()
    steps = [step for step in history if step.bound > 0]
    ax.plot([s.size for s in steps], [s.bound for s in steps], marker="o", lw=1.6, label="largest bound")
    floors = [step for step in steps if step.floor > 0]
    ax.plot([s.size for s in floors], [s.floor for s in floors], ls=":", lw=1.4, color="0.4", label="its floor")
    if tol > 0:
        ax.axhline(tol, color="0.6", lw=1, ls="--", label="tolerance")
    of = "relative error bound" if relative else "error bound in the $P$-norm"
    ax.set(yscale="log", xlabel="basis size $N$", ylabel=of)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(True, which="major", color="0.9", lw=0.6)
    ax.legend()
    return ax
