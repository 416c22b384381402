"""Numbers rounded to a few bits: integers, or levels of a normal, times a scale per row, column or group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from lowrank.arrays import (
    all_true,
    beside,
    namespace,
    numpy_dtype,
    plain,
    refuse_hidden,
    to_numpy,
)  # fmt: skip
from lowrank.blocks import Blocks, blocks_of, spread
from lowrank.gaussian_levels import MAX_GAUSSIAN_BITS, Levels
from lowrank.packing import MAX_BITS, bytes_of, pack
from lowrank.quantized import CHUNK, Quantized, level_table, steps_of
from lowrank.scale_search import best_scales, binary_exponents, powers, scaled, times

__all__ = ["checked_bits", "quantize"]

Scales = Literal["float16", "float32", "float64"]


class _Rule(NamedTuple):
    """What all blocks have in common."""

    levels: Levels
    dtype: np.dtype  #: real type of the numbers
    stored: np.dtype  #: type of the scales
    exponent: int  #: of the unit of the scales
    gamma: float | None  #: None: searched


def quantize(
    a: Any,
    bits: Any,
    *,
    axis: int | None = 0,
    group: int | None = None,
    gamma: float | Literal["search"] = 1.0,
    weights: Any = None,
    levels: Levels = "uniform",
    scales: Scales | None = None,
) -> Quantized:
    """Round an array to a few bits per number.

    q(w) = s clip(round(w / s), -m, m) with m = 2^{bits - 1} - 1 and s = gamma max |w| / m, over a row, a column, a
    group of neighbours in a row, or all.

    Parameters
    ----------
    a : (n, m), or (n,) or more dimensions, real or complex, NumPy, CuPy, ...; a complex number is two real ones
    bits : 0 (dropped: zeros) or 2 to 24; one integer, or one per row, column or group (k,), see
        :func:`lowrank.allocate_bits`
    axis : 0, a scale for every row (index of the first axis); 1, for every column of a matrix; None, one for all
    group : entries of one scale, a divisor of the length of a row
    gamma : a number, or "search": the scale with the least sum_j h_j (w_j - q(w_j))^2 that is found in each block,
        never a worse one than that of 1. At 2 to 4 bits it halves the error of bell-shaped numbers, at 8 it gains a
        few percent
    weights : h >= 0 of the search, of the shape of `a` or of one row of it, (m,); for inputs x_j of a layer E x_j^2
    levels : "uniform"; or "gaussian": the 2^bits levels that are best for normal numbers (2 to 12 bits), where s =
        gamma rms w. At 2 bits they leave 0.117 of the variance, uniform ones 0.190
    scales : type of the scales, by default (and at most) that of `a`; narrower ones are held in a common power of two

    Returns
    -------
    Quantized, with `to_dense()`, `rows(i)`, `nbytes`, `error(a)`, `arrays()`

    Raises
    ------
    ValueError
        bits of 1 or beyond 24, NaN or infinite entries, groups that do not divide, weights that do not fit.
    TypeError
        what is no array of numbers.

    Notes
    -----
    With u the round-off of the type of `a`, uniform levels and gamma = 1, proved for every entry:

        |w - q(w)| <= s / 2 + (2 m + 1) u s,

    the second term the rounding of w / s and of the product s q; it is far below the first one but for 24 bits in
    single precision. s is the scale as it is stored. It is rounded to nearest where m roundings of a scale stay below s
    / 4, else upwards, so that nothing is cut off; scales below the normal numbers of their type (half precision: 6e-5
    of the largest one) may be off by tau, half the distance of two neighbours there, which adds m tau. With gamma < 1
    entries beyond (m + 1/2) s are cut off to m s.

    Cost: a few operations per number; with a search some 60 times as many, 0.4 us a number, and 0.1 us where millions
    are searched, see :mod:`lowrank.scale_kernels`.

    Examples
    --------
    >>> import numpy as np
    >>> found = quantize(np.array([[7.0, -3.2, 0.4, 0.0]]), bits=4)
    >>> found, found.to_dense()
    (Quantized(1 x 4, 4 bits, 10 bytes of 32), array([[ 7., -3.,  0.,  0.]]))
    """
    a = _checked(a)
    dtype = numpy_dtype(a)
    blocks = blocks_of(tuple(a.shape), axis, group, dtype.kind == "c")
    units = checked_bits(bits, blocks, levels)
    real = np.dtype(np.float32 if dtype.name in ("float32", "complex64") else np.float64)
    kept = real if scales is None else min(_scale_type(scales, a), real, key=lambda t: t.itemsize)
    gamma_value = _checked_gamma(gamma)
    h = None if weights is None else _checked_weights(weights, a, blocks)
    w = blocks.split(a)
    base = _base_scales(w, units, blocks, levels) * (1.0 if gamma_value is None else gamma_value)
    exponent = 0
    if kept.itemsize < real.itemsize:
        exponent = int(np.frexp(np.max(base, initial=0.0))[1]) - 1
    rule = _Rule(levels, real, kept, exponent, gamma_value)
    codes, stored = _encoded(w, h, base, units, blocks, rule)
    return Quantized(blocks, dtype, units, codes, stored, exponent, levels)


def checked_bits(bits: Any, blocks: Blocks, levels: Levels = "uniform") -> np.ndarray:
    """Return the bits as uint8 (1,), or (k,) where they differ, one per row, column or group.

    Raises ValueError for others than 0 and 2 to 24, and for another number of them.
    """
    if levels not in ("uniform", "gaussian"):
        raise ValueError(f'levels must be "uniform" or "gaussian", got {levels!r}')
    refuse_hidden("bits", bits)
    given = np.asarray(to_numpy(bits) if hasattr(bits, "shape") else bits)
    if given.dtype.kind not in "iu" or given.ndim > 1:
        raise ValueError(f"bits must be an integer, or integers (k,), got {bits!r}")
    most = MAX_BITS if levels == "uniform" else MAX_GAUSSIAN_BITS
    wrong = (given != 0) & ((given < 2) | (given > most))
    if np.any(wrong):
        one = "; one bit has no levels but zero: take 0 or 2" if given[wrong][0] == 1 else ""
        raise ValueError(f"bits must be 0 or 2 .. {most} for {levels} levels, got {given[wrong][0]}{one}")
    if given.ndim and len(given) not in (blocks.lines, blocks.count):
        number = f"{blocks.lines}" if blocks.count == blocks.lines else f"{blocks.lines} or {blocks.count}"
        raise ValueError(f"bits must be one integer, or {number} (one per row, column or group), got {len(given)}")
    flat = given.reshape(-1).astype(np.uint8)
    return flat[:1] if len(flat) and np.all(flat == flat[0]) else flat if len(flat) else np.zeros(1, np.uint8)


def _checked(a: Any) -> Any:
    a = plain("a", a)
    xp = namespace(a)
    if not xp.isdtype(a.dtype, ("real floating", "complex floating")):
        a = xp.astype(a, xp.float64)
    finite = xp.isfinite(a)
    if not all_true(finite):
        bad = np.argwhere(~to_numpy(finite))
        raise ValueError(
            f"a has {len(bad)} entries that are NaN or infinite, the first at index "
            f"{tuple(int(i) for i in bad[0])}; remove or recompute them"
        )
    return a


def _scale_type(name: Any, a: Any) -> np.dtype:
    names = ("float16", "float32", "float64")
    try:
        found = np.dtype(name).name
    except TypeError:
        found = ""
    if found not in names:
        raise ValueError(f"scales must be one of {', '.join(names)}, got {name!r}")
    if not hasattr(namespace(a), found):
        raise ValueError(f"{namespace(a).__name__} has no {found}: take another type for the scales")
    return np.dtype(found)


def _checked_gamma(gamma: Any) -> float | None:
    if isinstance(gamma, str) and gamma == "search":
        return None
    if not isinstance(gamma, int | float | np.floating | np.integer) or not 1e-6 <= gamma <= 1e6:
        raise ValueError(f'gamma must be "search" or a number from 1e-6 to 1e6, got {gamma!r}')
    return float(gamma)


def _checked_weights(weights: Any, a: Any, blocks: Blocks) -> Any:
    """Return the weights as blocks (count, length), or (1, length) where all blocks have the same, double precision."""
    h = plain("weights", weights)
    xp, shape = namespace(a), tuple(a.shape)
    if numpy_dtype(h).kind == "c":
        raise ValueError(f"weights must be real numbers, got {numpy_dtype(h)}")
    if tuple(h.shape) not in (shape, shape[1:]) or not h.ndim:
        raise ValueError(f"weights must have the shape {shape} of a, or {shape[1:]} of a row, got {tuple(h.shape)}")
    if not all_true(xp.isfinite(h) & (h >= 0)):
        raise ValueError("weights must be finite and >= 0, got NaN, infinite or negative ones")
    h = xp.astype(h, xp.float64)
    if 0 not in shape and (largest := float(xp.max(h))) > 0:
        h = h / largest
    h = xp.broadcast_to(h, shape)
    if blocks.complex:
        return blocks.split(xp.astype(h, xp.complex128) * (1 + 1j))  # both parts of a number have its weight
    return blocks.split(h)


def _base_scales(w: Any, units: np.ndarray, blocks: Blocks, levels: Levels) -> np.ndarray:
    """Return the scales (count,) for gamma = 1, exact to double precision, on the host; 0 where the bits are."""
    if not blocks.count:
        return np.zeros(0)
    xp, step = namespace(w), max(1, CHUNK // blocks.length)
    found = []
    for first in range(0, blocks.count, step):
        part = xp.astype(w[first : min(first + step, blocks.count), :], xp.float64)
        largest = to_numpy(xp.max(xp.abs(part), axis=1))
        if levels == "gaussian":
            exponents = binary_exponents(largest)
            unit = scaled(part, -exponents)
            largest = np.ldexp(to_numpy(xp.sqrt(xp.mean(unit * unit, axis=1))), exponents)
        found.append(largest)
    bits = _bits_of_blocks(units, blocks)
    top = np.maximum(2.0 ** (bits - 1) - 1, 1) if levels == "uniform" else 1.0
    return np.where(bits == 0, 0.0, np.concatenate(found) / top)


def _bits_of_blocks(units: np.ndarray, blocks: Blocks) -> np.ndarray:
    per_unit = blocks.count // len(units) if len(units) > 1 else blocks.count
    return np.repeat(units.astype(np.int64), per_unit)


def _encoded(w: Any, h: Any, base: np.ndarray, units: np.ndarray, blocks: Blocks, rule: _Rule) -> tuple[Any, Any]:
    """Return packed codes, unit after unit, and stored scales."""
    xp = namespace(w)
    kind = getattr(xp, rule.stored.name)
    if not blocks.count:
        return xp.zeros(0, dtype=xp.uint8), xp.zeros(0, dtype=kind)
    total = len(units) if len(units) > 1 else blocks.lines
    per_unit, bits = blocks.count // total, spread(units, total)
    step = max(1, CHUNK // (blocks.length * per_unit))
    order = np.argsort(bits, kind="stable")
    codes, scales = [], []
    for b in np.unique(bits).tolist():
        which = order[bits[order] == b]
        for first in range(0, len(which), step):
            part = which[first : first + step]
            inside = (part[:, None] * per_unit + np.arange(per_unit)).reshape(-1)
            numbers, weights = _taken(w, inside), None if h is None else _taken(h, inside)
            stored = _stored(numbers, weights, base[inside], b, rule)
            whole = xp.reshape(_numbers(numbers, stored, b, rule), (len(part), -1))
            codes.append(xp.reshape(pack(whole, b), (-1,)))
            scales.append(stored)
    flat, stored = (x[0] if len(x) == 1 else xp.concat(x) for x in (codes, scales))
    if len(units) == 1:
        return flat, stored
    back = np.empty(total, dtype=np.int64)  # from the order of the bits to that of the units
    back[order] = np.arange(total)
    lengths = np.array([bytes_of(blocks.length * per_unit, int(b)) for b in bits])
    starts = (np.cumsum(lengths[order]) - lengths[order])[back]
    places = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(np.sum(lengths))
    by_unit = xp.take(xp.reshape(stored, (total, per_unit)), xp.asarray(back), axis=0)
    return xp.take(flat, xp.asarray(places)), xp.reshape(by_unit, (-1,))


def _taken(array: Any, rows: np.ndarray) -> Any:
    """Return some rows; those that follow each other are not copied."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return array[int(rows[0]) : int(rows[-1]) + 1, :]
    xp = namespace(array)
    return xp.take(array, xp.asarray(rows), axis=0)


def _stored(w: Any, h: Any, base: np.ndarray, bits: int, rule: _Rule) -> Any:
    """Return the scales of some blocks as they are stored."""
    xp = namespace(w)
    first = _rounded_scales(base, bits, rule)
    if rule.gamma is not None or not bits:
        return beside(first, w)
    exponents = np.frexp(base)[1] + (bits - 1 if rule.levels == "uniform" else 2)  # all numbers below 1 then
    unit, kind = scaled(xp.astype(w, xp.float64), -exponents), getattr(xp, rule.stored.name)
    down, up = powers(exponents - rule.exponent, w), powers(rule.exponent - exponents, w)

    def stored(scales: Any) -> Any:
        return times(xp.astype(xp.astype(times(scales, down), kind), xp.float64), up)

    start = scaled(beside(first.astype(np.float64), w), rule.exponent - exponents)
    between = (start / 4, 2 * start) if rule.levels == "gaussian" else (_lowest(unit, h, start, bits), start)
    top = _top(bits, rule) if rule.levels == "uniform" else None
    best = best_scales(unit, h, start, between, lambda t: _nearest(t, bits, rule)[0], stored, top)
    kept = xp.astype(times(best, down), kind)
    return xp.where(_overflows(kept, bits, rule), beside(first, w), kept)


def _lowest(unit: Any, h: Any, start: Any, bits: int) -> Any:
    """Return the lowest scales worth trying: those that cut off at half of the mean size."""
    xp = namespace(unit)
    if h is None:
        mean = xp.mean(xp.abs(unit), axis=1)
    else:
        mass = xp.sum(h + xp.zeros_like(unit), axis=1)
        mean = xp.sum(h * xp.abs(unit), axis=1) / xp.where(mass > 0, mass, 1.0)
    lowest = xp.minimum(0.5 * mean / (2 ** (bits - 1) - 1), start)
    return xp.where(lowest > 0, lowest, start)


def _rounded_scales(base: np.ndarray, bits: int, rule: _Rule) -> np.ndarray:
    """Return scales (k,) in their type and unit: to nearest or upwards, but not so that a decoded number overflows."""
    stored = np.ldexp(base, -rule.exponent).astype(rule.stored)
    if rule.levels == "uniform" and _top(bits, rule) * float(np.finfo(rule.stored).eps) / 2 > 0.25:
        low = stored.astype(np.float64) < np.ldexp(base, -rule.exponent)  # m roundings are no small part of a step
        stored = np.where(low, np.nextafter(stored, rule.stored.type(np.inf)), stored)
    return np.where(_overflows(stored, bits, rule), np.nextafter(stored, rule.stored.type(0)), stored)


def _overflows(scales: Any, bits: int, rule: _Rule) -> Any:
    """Return where the largest level times the scale is beyond the largest number of the type."""
    xp = namespace(scales)
    with np.errstate(over="ignore"):
        return xp.isinf(steps_of(scales, rule.exponent, getattr(xp, rule.dtype.name)) * _top(bits, rule))


def _top(bits: int, rule: _Rule) -> float:
    """Return the largest level."""
    if not bits:
        return 0.0
    return float(2 ** (bits - 1) - 1) if rule.levels == "uniform" else float(level_table(bits)[-1])


def _numbers(w: Any, scales: Any, bits: int, rule: _Rule) -> Any:
    """Return the codes (k, n), int32, of blocks with stored scales."""
    xp = namespace(w)
    if not bits:
        return xp.zeros(w.shape, dtype=xp.int32)
    step = xp.astype(steps_of(scales, rule.exponent, getattr(xp, rule.dtype.name)), xp.float64)[:, None]
    with np.errstate(over="ignore"):  # of hardly a scale and gamma < 1: cut off below
        t = xp.astype(w, xp.float64) / xp.where(step > 0, step, 1.0)
    return _nearest(xp.where(step > 0, t, xp.zeros_like(t)), bits, rule)[1]()


def _nearest(t: Any, bits: int, rule: _Rule) -> tuple[Any, Callable[[], Any]]:
    """Return the levels nearest to t (k, n), and a function that returns their codes."""
    xp = namespace(t)
    if rule.levels == "uniform":
        m = 2 ** (bits - 1) - 1
        q = xp.clip(xp.round(t), -float(m), float(m))
        return q, lambda: xp.astype(xp.astype(q, xp.int64) + (m + 1), xp.int32)
    table = level_table(bits)
    borders = beside((table[1:] + table[:-1]) / 2, t)
    index = xp.searchsorted(borders, xp.reshape(t, (-1,)))
    q = xp.reshape(xp.take(beside(table, t), index), t.shape)
    return q, lambda: xp.astype(xp.reshape(index, t.shape), xp.int32)
