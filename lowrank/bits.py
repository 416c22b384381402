"""The bits of several blocks of numbers that leave the least error under one budget."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank.arrays import plain, to_numpy
from lowrank.budget import Options, by_gain, choose
from lowrank.gaussian_levels import gaussian_losses
from lowrank.packing import MAX_BITS

__all__ = ["BitAllocation", "allocate_bits", "water_filling"]

Method = Literal["closed", "greedy", "exact"]
Model = Literal["rate", "gaussian"]


@dataclass(frozen=True)
class BitAllocation:
    """Result of :func:`allocate_bits`, which unpacks into bits, loss and spent."""

    bits: tuple[int, ...]  #: of every block
    loss: float  #: sum of the losses, by the table or the model
    spent: int  #: bits of all blocks, overhead included; at most the budget
    real: tuple[float, ...] | None = None  #: b_i of the closed form before they were made integers

    def __iter__(self) -> Iterator[Any]:
        return iter((self.bits, self.loss, self.spent))


def allocate_bits(
    losses: Any = None,
    *,
    sensitivity: Any = None,
    variance: Any = None,
    sizes: Any,
    budget: float,
    lo: int = 0,
    hi: int | None = None,
    overhead: Any = 0,
    method: Method | None = None,
    model: Model = "rate",
) -> BitAllocation:
    """Return the bits of several blocks of numbers, so that their total loss is least within a budget.

    min sum_i loss_i(b_i) subject to sum_i (n_i b_i + overhead_i) <= budget, b_i of lo .. hi without 1.

    Losses come from a table, or from a model: d_i T(b) with d_i = n_i alpha_i sigma_i^2. For T(b) = 4^-b and real b the
    solution is b_i = B + 1/2 log2((d_i / n_i) / G), clipped to [lo, hi], where B is the mean number of bits and G the
    mean of d_i / n_i, geometric and weighted by n_i: reverse water-filling.

    Parameters
    ----------
    losses : (k, hi + 1), >= 0: what block i loses in b bits, all its numbers together; column 1 is not read. Or None
    sensitivity : alpha_i >= 0 (k,), by how much the square of an error counts; ones where only `variance` is given
    variance : sigma_i^2 >= 0 (k,), mean square of the numbers of a block; ones where only `sensitivity` is given
    sizes : n_i >= 1, integers (k,)
    budget : bits in all, overhead included; n B for a mean of B
    lo, hi : fewest and most bits, 0 or 2 to 24; hi is 24, or what the table has
    overhead : bits of a block besides its codes, in any number of bits (its scales): one integer, or (k,)
    method : "closed": the closed form, rounded down, and what is left is spent by gain per bit; needs the model.
        "greedy": by gain per bit from `lo` on. "exact": :func:`lowrank.budget.choose`, the solver that shares out
        ranks too. By default closed for the model, exact for a table
    model : "rate": T(b) = 4^-b. "gaussian": what a uniform quantiser with the best gamma leaves of normal numbers, by
        integration (:func:`lowrank.gaussian_losses`): three times 4^-b at 2 bits, six times at 8

    Returns
    -------
    BitAllocation

    Raises
    ------
    ValueError
        both or neither of table and model, shapes that do not fit, negative or NaN entries, bits of 1 or beyond 24, a
        budget below the overhead or below `lo` bits each.

    Source: Shoham, Gersho, IEEE Trans. Acoust. Speech Signal Process. 36 (1988) 1445-1453.

    Notes
    -----
    Greedy is optimal for convex losses and blocks of equal size, up to the step from 0 to 2 bits; so is the closed form
    for its model. Both cost k log k; the exact method may cost much more where sizes differ. Packed codes end at whole
    bytes, see :class:`lowrank.Quantized`: up to 7 bits a row are not in `spent`.

    Examples
    --------
    >>> allocate_bits(sensitivity=[1, 1, 1], variance=[1.0, 16.0, 1e-6], sizes=[10, 10, 10], budget=120)
    BitAllocation(bits=(5, 7, 0), loss=0.01954125, spent=120, real=(5.0, 7.0, 0.0))
    """
    n = _integers("sizes", sizes, least=1)
    fixed = np.broadcast_to(_integers("overhead", overhead, least=0, scalar=True), n.shape)
    table = None if losses is None else _numbers("losses", losses)
    lo, hi = _limits(lo, hi, table)
    method = ("exact" if table is not None else "closed") if method is None else method
    if method not in ("closed", "greedy", "exact") or model not in ("rate", "gaussian"):
        raise ValueError(
            f'method must be "closed", "greedy" or "exact" and model "rate" or "gaussian", got {method!r} and {model!r}'
        )
    left = _left(budget, n, fixed, lo)
    density = None
    if (table is None) == (sensitivity is None and variance is None):
        which = "both" if table is not None else "none"
        raise ValueError(f"give either losses or sensitivity and variance, got {which} of them")
    if table is None:
        density = _density(sensitivity, variance, len(n))
        table = n[:, None] * density[:, None] * (_rate(hi) if model == "rate" else gaussian_losses(hi))
    elif method == "closed":
        raise ValueError('method="closed" needs sensitivity and variance; for a table take "greedy" or "exact"')
    offered = np.array([b for b in range(lo, hi + 1) if b != 1])
    if table.shape != (len(n), hi + 1) or not np.all((table[:, offered] >= 0) & np.isfinite(table[:, offered])):
        raise ValueError(f"losses must be finite and >= 0 of shape {(len(n), hi + 1)}, got shape {table.shape}")
    options = [Options(int(size) * offered, row[offered]) for size, row in zip(n, table, strict=True)]
    real = None
    if method == "exact":
        chosen = choose(options, left)
    elif density is None or method == "greedy":
        chosen = by_gain(options, left)
    else:
        real = water_filling(density, n, left, lo, hi)
        whole = np.floor(real * (1 + 4e-16))  # 3 - 1e-15 is three
        start = np.searchsorted(offered, np.where((whole == 1) & (lo == 0), 0, whole))
        chosen = by_gain(options, left, start.tolist() if int(np.sum(n * offered[start])) <= left else None)
    bits = offered[np.array(chosen, dtype=int)]
    total = math.fsum(float(table[i, b]) for i, b in enumerate(bits))
    spent = int(sum(int(a) * int(b) for a, b in zip(n, bits, strict=True)) + int(np.sum(fixed)))
    return BitAllocation(
        tuple(int(b) for b in bits), total, spent, None if real is None else tuple(float(b) for b in real)
    )


def water_filling(density: np.ndarray, sizes: np.ndarray, budget: float, lo: float, hi: float) -> np.ndarray:
    """Return the real b_i in [lo, hi] that minimise sum_i n_i delta_i 4^{-b_i} subject to sum_i n_i b_i = budget.

    b_i = clip(1/2 log2(delta_i) - theta, lo, hi): theta is found by bisection, and then, as it is known which blocks
    are clipped, by the mean over the others.

    density : delta_i >= 0 (k,), loss per number; `lo` where it is zero
    sizes : n_i > 0 (k,)
    budget : between sum n_i lo and, where there is more, sum n_i hi

    >>> water_filling(np.array([4.0, 1.0]), np.array([1, 1]), 5, 0, 24)
    array([3., 2.])
    """
    n = np.asarray(sizes, dtype=float)
    with np.errstate(divide="ignore"):
        height = np.log2(density) / 2
    some = np.isfinite(height)
    if not np.any(some):
        return np.full(len(n), float(lo))

    def clipped(theta: float) -> np.ndarray:
        return np.where(some, np.clip(np.where(some, height, 0.0) - theta, lo, hi), float(lo))

    below, above = float(np.min(height[some])) - hi, float(np.max(height[some])) - lo  # all at hi, all at lo
    for _ in range(200):
        middle = (below + above) / 2
        if not below < middle < above:
            break
        below, above = (middle, above) if float(n @ clipped(middle)) > budget else (below, middle)
    found = clipped(above)
    inside = some & (found > lo) & (found < hi)
    if np.any(inside):
        rest = budget - float(n[~inside] @ found[~inside])
        theta = (float(n[inside] @ height[inside]) - rest) / float(np.sum(n[inside]))
        found = np.where(inside, np.clip(np.where(inside, height, 0.0) - theta, lo, hi), found)
    return found


def _rate(hi: int) -> np.ndarray:
    return 4.0 ** -np.arange(hi + 1)


def _left(budget: Any, n: np.ndarray, fixed: np.ndarray, lo: int) -> int:
    """Return the bits for codes."""
    if not isinstance(budget, int | float | np.integer | np.floating) or not (0 <= budget < math.inf):
        raise ValueError(f"budget must be a finite number of bits >= 0, got {budget!r}")
    whole, scales, least = math.floor(budget), int(np.sum(fixed)), lo * int(np.sum(n))
    if whole < scales:
        raise ValueError(
            f"the budget of {whole} bits is below the {scales} bits of overhead (scales) of {len(n)} blocks"
        )
    if whole - scales < least:
        raise ValueError(f"the budget of {whole} bits is below the {least + scales} that lo={lo} and overhead need")
    return whole - scales


def _limits(lo: Any, hi: Any, table: np.ndarray | None) -> tuple[int, int]:
    if table is not None and table.ndim != 2:
        raise ValueError(f"losses must be a table (k, hi + 1), got shape {table.shape}")
    if hi is None:
        hi = MAX_BITS if table is None else table.shape[1] - 1
    try:
        lo, hi = operator.index(lo), operator.index(hi)
    except TypeError:
        raise ValueError(f"lo and hi must be integers, got {lo!r} and {hi!r}") from None
    for name, bits in (("lo", lo), ("hi", hi)):
        if bits == 1 or not 0 <= bits <= MAX_BITS:
            raise ValueError(f"{name} must be 0 or 2 .. {MAX_BITS} bits, got {bits}")
    if lo > hi:
        raise ValueError(f"lo must not be above hi, got {lo} and {hi}")
    return lo, hi


def _numbers(name: str, given: Any) -> np.ndarray:
    array = to_numpy(plain(name, given))
    if array.dtype.kind == "c":
        raise ValueError(f"{name} must be real numbers, got {array.dtype}")
    return array.astype(np.float64)


def _density(sensitivity: Any, variance: Any, count: int) -> np.ndarray:
    found = np.ones(count)
    for name, given in (("sensitivity", sensitivity), ("variance", variance)):
        if given is None:
            continue
        values = _numbers(name, given)
        if values.shape != (count,) or not np.all(np.isfinite(values) & (values >= 0)):
            bad = values[~(np.isfinite(values) & (values >= 0))]
            what = f"{bad[0]:g}" if values.shape == (count,) else f"shape {values.shape}"
            raise ValueError(f"{name} must be {count} finite numbers >= 0, one per block, got {what}")
        with np.errstate(over="ignore"):
            found = found * values
    if not np.all(np.isfinite(found)):
        raise ValueError("sensitivity times variance is beyond double precision: scale one of them")
    return found


def _integers(name: str, given: Any, *, least: int, scalar: bool = False) -> np.ndarray:
    array = np.asarray(to_numpy(given) if hasattr(given, "shape") else given)
    array = array.astype(np.int64) if not array.size else array
    if array.dtype.kind not in "iu" or array.ndim > 1 or (array.ndim == 0 and not scalar):
        raise ValueError(f"{name} must be integers, one per block, got {given!r}")
    if np.any(array < least):
        raise ValueError(f"{name} must be at least {least}, got {np.min(array)}")
    return array.astype(np.int64)
