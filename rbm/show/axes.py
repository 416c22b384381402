"""What all figures share: axes with a grid, short ticks, a legend beside them, and colours."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.optional import require

__all__ = ["BESIDE", "axes", "colors", "drawing", "finished", "plain_log_ticks", "short_log_ticks"]

#: Options of legends, which stand beside the axes, where they hide nothing.
BESIDE: dict[str, Any] = {"fontsize": 8, "loc": "center left", "bbox_to_anchor": (1.01, 0.5), "frameon": False}


def axes(ax: Any) -> Any:
    """Return `ax`, or that of a new figure, with a grid."""
    if ax is None:
        ax = drawing("figure").Figure(figsize=(6.8, 4.2), layout="constrained").add_subplot()
    ax.grid(True, which="major", color="0.9", lw=0.6)
    ax.set_axisbelow(True)
    return ax


def finished(ax: Any, integers: bool = False) -> Any:
    """Return the axes with short ticks, whole numbers below them if so asked, and a legend beside them."""
    if integers:
        ax.xaxis.get_major_locator().set_params(integer=True)
    short_log_ticks(ax)
    ax.legend(**BESIDE)
    return ax


def short_log_ticks(ax: Any) -> None:
    """Label ticks at 1, 2, 3 and 5 in figures, not 2 x 10^0, on log axes of less than a decade and a half."""
    for axis in (ax.xaxis, ax.yaxis):
        low, high = sorted(axis.get_view_interval())
        if axis.get_scale() == "log" and high < 32 * low:
            plain_log_ticks(axis, low, high)


def plain_log_ticks(axis: Any, low: float, high: float) -> None:
    """Label a logarithmic axis by plain numbers, 0.1 and not 10^-1, where they are short."""
    ticker = drawing("ticker")
    if low >= 1e-3 and high < 1e4:
        if high < 32 * low:
            axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())


def drawing(module: str) -> Any:
    """Return a module of matplotlib; ImportError, with the line that installs it, where it is missing."""
    return require(f"matplotlib.{module}", "matplotlib", "drawing a figure")


def colors(count: int) -> Any:
    """Return colours from dark to bright (count, 4)."""
    return drawing("cm").ScalarMappable(cmap="cividis").get_cmap()(np.linspace(0, 0.9, count))
