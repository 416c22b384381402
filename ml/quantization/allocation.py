"""Bits of the weights of a module under one budget, by what rounding each of them costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from lowrank.bits import allocate_bits
from lowrank.gaussian_levels import gaussian_losses
from ml.quantization.sites import Site, sites_of

__all__ = ["allocate_weight_bits"]


def allocate_weight_bits(
    module: Any,
    mean_bits: float,
    losses: Mapping[str, Any] | None = None,
    bits: Sequence[int] = (2, 3, 4, 6, 8),
    *,
    method: Literal["closed", "greedy", "exact", "variance"] = "greedy",
    lo: int = 2,
    hi: int = 8,
    skip: Sequence[str] = (),
) -> dict[str, int]:
    """Return {name: bits} with the least sum of losses for a mean number of bits, for :func:`ml.quantize_module`.

    min sum_i loss_i(b_i) subject to sum_i n_i b_i <= mean_bits sum_i n_i, n_i the numbers of weight i, tied ones once.
    Scales are not counted: there are as many whatever the bits.

    Parameters
    ----------
    module : torch.nn.Module
    mean_bits : mean bits of a number, from `lo` to `hi`
    losses : of :func:`ml.sensitivity`, {name: (len(bits),)}, each >= 0; not needed for "variance"
    bits : the numbers of bits of the losses; with 0 among them and lo=0 weights may be dropped
    method : "greedy" and "exact" take the losses as they are, between the measured bits geometrically interpolated:
        by gain per bit, or by :func:`lowrank.budget.choose` (seconds for 40 weights). "closed": each curve is fitted by
        one factor times what a quantiser leaves of a normal, and the closed form of :func:`lowrank.allocate_bits`
        shares the bits out. "variance": only the mean squares of the weights count
    lo, hi : fewest and most bits; for "greedy" and "exact" within the measured ones
    skip : as in :func:`ml.quantize_module`

    Raises
    ------
    ValueError
        weights without losses, losses that are negative or NaN, bits outside of the measured ones, a mean below lo or
        above hi.
    """
    sites = sites_of(module, skip)
    if method not in ("closed", "greedy", "exact", "variance"):
        raise ValueError(f'method must be "closed", "greedy", "exact" or "variance", got {method!r}')
    if isinstance(mean_bits, bool) or not isinstance(mean_bits, int | float) or not lo <= mean_bits <= hi:
        raise ValueError(f"mean_bits must be a number from lo={lo} to hi={hi}, got {mean_bits!r}")
    sizes = np.array([site.size for site in sites])
    budget = float(mean_bits) * float(np.sum(sizes))
    if method == "variance":
        variance = [float(np.mean(np.square(site.array(), dtype=np.float64))) for site in sites]
        found = allocate_bits(variance=variance, sizes=sizes, budget=budget, lo=lo, hi=hi, model="gaussian")
        return _by_name(sites, found.bits)
    table = _checked_losses(sites, losses, bits)
    measured = np.array(bits)
    if method == "closed":
        used = measured >= 2  # a dropped weight is no small change, and says nothing about the others
        model, rows = gaussian_losses(max(hi, int(measured.max())))[measured[used]], table[:, used]
        # losses of zero are below the rounding of the outputs, and have no logarithm: the others say how large it is
        factor = np.array([np.exp(np.mean(np.log(r[r > 0] / model[r > 0]))) if np.any(r > 0) else 0.0 for r in rows])
        found = allocate_bits(
            sensitivity=factor / sizes, sizes=sizes, budget=budget, lo=lo, hi=hi, model="gaussian", method="closed"
        )
        return _by_name(sites, found.bits)
    if not measured.min() <= lo <= hi <= measured.max():
        raise ValueError(
            f"lo={lo} and hi={hi} must be within the measured {measured.min()} to {measured.max()} bits, "
            'or take method="closed"'
        )
    curves = np.array([_curve(measured, row, hi) for row in table])
    found = allocate_bits(curves, sizes=sizes, budget=budget, lo=lo, hi=hi, method=method)
    return _by_name(sites, found.bits)


def _by_name(sites: Sequence[Site], bits: Sequence[int]) -> dict[str, int]:
    return {site.name: int(b) for site, b in zip(sites, bits, strict=True)}


def _checked_losses(sites: Sequence[Site], losses: Mapping[str, Any] | None, bits: Sequence[int]) -> np.ndarray:
    missing = [site.name for site in sites if losses is None or site.name not in losses]
    if losses is None or missing:
        raise ValueError(f"there are no losses of {missing[0]!r}: give those of ml.sensitivity, or put it into skip")
    given = np.array(bits)
    if given.ndim != 1 or len(given) < 2 or np.any(np.diff(given) <= 0) or given[0] < 0 or 1 in given:
        raise ValueError(f"bits must be two or more of 0, 2, 3, ..., in rising order, got {bits!r}")
    rows = [np.asarray(losses[site.name], dtype=float) for site in sites]
    for site, row in zip(sites, rows, strict=True):
        if row.shape != (len(given),):
            raise ValueError(f"the losses of {site.name} must be {len(given)}, one for each of {bits}, got {row.shape}")
        if not np.all(np.isfinite(row) & (row >= 0)):
            raise ValueError(
                f"the losses of {site.name} must be finite and >= 0, got {row.tolist()}: a loss of your own may fall "
                'by chance; measure with loss="output" or "kl", or on more batches'
            )
    return np.array(rows)


def _curve(measured: np.ndarray, losses: np.ndarray, hi: int) -> np.ndarray:
    """Return the losses (hi + 1,) in 0 .. hi bits: geometric means between the measured ones, 0 before (not read)."""
    at = np.arange(hi + 1)
    positive = bool(np.all(losses > 0))
    found = np.exp(np.interp(at, measured, np.log(losses))) if positive else np.interp(at, measured, losses)
    found[np.searchsorted(at, measured[measured <= hi])] = losses[measured <= hi]
    found[: measured[0]] = found[measured[0]]
    return found
