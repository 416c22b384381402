"""Figures of uncertainty: what a chain says of each parameter beside the prior, and Sobol indices with both errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbm.parameters.space import ParameterSpace
from rbm.show.axes import axes, finished
from rbm.uses.exact_chain import Chain
from rbm.uses.sobol_indices import SobolIndices

__all__ = ["marginal", "sobol_intervals"]


def marginal(
    chain: Chain, space: ParameterSpace, name: str, *, discard: int = 0, bins: int = 40, ax: Any = None
) -> Any:
    """Draw the density of a parameter by the chain, beside that of the prior; on a logarithmic scale per decade.

    space : with the distributions of the prior, ``posterior.space``; discard : steps of each chain that are left out

    Raises ValueError for a name that is no parameter.
    """
    ax = axes(ax)
    if name not in space.names:
        raise ValueError(f"{name!r} is no parameter; they are {', '.join(space.names)}")
    j = space.names.index(name)
    low, high = space.bounds[j]
    log = space.scale == "log"
    edges, x = (np.geomspace(low, high, n) if log else np.linspace(low, high, n) for n in (bins + 1, 400))
    count, _ = np.histogram(chain.samples(discard)[:, j], edges)
    width = np.diff(np.log10(edges) if log else edges)
    ax.stairs(count / (count.sum() * width), edges, fill=True, color="#56B4E9", label="posterior, full model")
    middle = np.tile(space.prior.points(np.full((1, len(space)), 0.5)), (len(x), 1))
    middle[:, j] = x
    density = np.exp(space.prior.log_density(middle)) * (x if log else 1.0)  # parameters are independent
    area = np.trapezoid(density, np.log10(x) if log else x)
    ax.plot(x, density / area, color="#D55E00", lw=1.4, label="prior")
    ax.set(xlabel=name, ylabel=f"density{' per decade' if log else ''}", xscale="log" if log else "linear")
    ax.set_ylim(0, None)
    return finished(ax)


def sobol_intervals(indices: SobolIndices, *, ax: Any = None) -> Any:
    """Draw first-order and total indices: wide bars are intervals of the full model, thin lines SALib's confidence."""
    ax = axes(ax)
    place = np.arange(len(indices.names))
    rows = (
        ("first order", indices.first, indices.first_interval, indices.first_confidence, "#0072B2", "o", -0.15),
        ("total", indices.total, indices.total_interval, indices.total_confidence, "#D55E00", "^", 0.15),
    )
    for label, value, (low, high), spread, color, marker, shift in (
        (label, value, ends.T, spread, color, marker, shift)
        for label, value, ends, spread, color, marker, shift in rows
    ):
        ax.vlines(place + shift, low, high, color=color, lw=9, alpha=0.45)
        ax.errorbar(
            place + shift, value, spread, color=color, marker=marker, ms=4, ls="none", lw=0.9, capsize=3, label=label
        )
    ax.set_xticks(place, indices.names)
    ax.axhline(0, color="0.7", lw=0.6, zorder=0)
    ax.set(ylabel=f"share of the variance of {indices.output}")
    return finished(ax)
