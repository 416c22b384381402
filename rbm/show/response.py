"""A certified frequency response as a figure: intervals, poles, and what is excluded."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.show.axes import axes, finished
from rbm.uses.frequency_response import FrequencyResponse

__all__ = ["frequency_response"]


def frequency_response(response: FrequencyResponse, *, truth: Any = None, ax: Any = None) -> Any:
    """Draw the modulus of an output over the parameter, with its certified intervals as a band.

    Poles are lines with their intervals, dashed where the reduced model does not see them, dotted for resonances of a
    damped model; excluded intervals are grey, and curves end there.

    truth : (x, s), points of the parameter and the full model's output there, if known
    """
    ax = axes(ax)
    for a, b in response.excluded:
        ax.axvspan(a, b, color="0.85", lw=0, zorder=0)
    if len(response.excluded):
        ax.plot([], [], color="0.85", lw=8, label="excluded")
    x, middle, radius = _broken(response)
    band = {"color": "#56B4E9", "alpha": 0.5, "lw": 0, "label": "certified interval"}
    ax.fill_between(x, np.maximum(middle - radius, np.finfo(float).tiny), middle + radius, **band)
    ax.plot(x, middle, color="#0072B2", lw=1.2, label="reduced model")
    if (poles := response.poles) is not None:
        for a, b in poles.intervals:
            ax.axvspan(a, b, color="#D55E00", alpha=0.3, lw=0, zorder=0)
        for k, value in enumerate(poles.values):
            label = ("resonance" if poles.damped else "pole") if k == 0 else None
            ax.axvline(value, color="#D55E00", lw=0.8, ls=":" if poles.damped else "-", label=label, zorder=1)
        for k, value in enumerate(poles.missing.mean(axis=1) if poles.missing is not None else ()):
            ax.axvline(value, color="#D55E00", lw=0.8, ls="--", label="not in the basis" if k == 0 else None, zorder=1)
    if truth is not None:
        ax.plot(truth[0], np.abs(truth[1]), ls="none", marker="x", ms=4, color="black", label="full model")
    ax.set(xlabel=response.parameter, ylabel=f"|{response.output}|", yscale="log")
    size = middle[middle > 0]
    if len(size):
        ax.set_ylim(size.min() / 3, size.max() * 3)
    return finished(ax)


def _broken(response: FrequencyResponse) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points, moduli and bounds, NaN where not certified, and one more NaN inside each excluded interval."""
    middle = np.where(response.certified, np.abs(response.values), np.nan)
    radius = np.where(response.certified, response.bounds, np.nan)
    cuts = response.excluded.mean(axis=1)
    at = np.searchsorted(response.mus, cuts)
    return np.insert(response.mus, at, cuts), np.insert(middle, at, np.nan), np.insert(radius, at, np.nan)
