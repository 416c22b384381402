"""Codes of a few bits for the derivative of an elementwise function: thresholds in x, levels of f'(x)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank.packing import bytes_of

__all__ = ["MAX_CODE_BITS", "NAMED", "DerivativeCode", "derivative_code"]

MAX_CODE_BITS = 8
#: Cells of the line on which densities are summed and changes of the code are looked for.
CELLS = 1 << 16
#: The line reaches from -REACH to REACH at least; a unit normal has 1e-15 of its mass beyond.
REACH = 8.0
MAX_ITERATIONS = 200_000
#: Derivatives that differ by less, relatively, are one: difference quotients have an error of 1e-12.
ROUNDING = 1e-10
#: Up to so many levels the start is searched, on so many groups of values.
MOST_SEARCHED, GROUPS = 16, 1024


@dataclass(frozen=True, eq=False)
class DerivativeCode:
    """Result of :func:`derivative_code`: interval i of x has the code codes[i], and f' is levels[codes[i]] there."""

    name: str
    bits: int  #: of a code; fewer than were asked for where f' has fewer values
    thresholds: np.ndarray  #: (t,) ascending; interval i is thresholds[i - 1] < x <= thresholds[i]
    codes: np.ndarray  #: (t + 1,) uint8; where f' is not monotone, several intervals have one code
    levels: np.ndarray  #: (K,) ascending, K <= 2^bits
    relative_error: float  #: (E (f' - level)^2 / E f'^2)^{1/2} under the density it was made for

    def encode(self, x: Any) -> np.ndarray:
        """Return the codes of inputs x (...,), uint8 of the same shape. Raises ValueError for NaN."""
        x = np.asarray(x, dtype=float)
        if np.isnan(x).any():
            raise ValueError("x has NaN entries, which have no code: look where they come from")
        return np.asarray(self.codes[np.searchsorted(self.thresholds, x, side="left")])

    def decode(self, codes: Any) -> np.ndarray:
        """Return the levels of codes (...,), in the same shape."""
        return np.asarray(self.levels[np.asarray(codes)])

    def derivative(self, x: Any) -> np.ndarray:
        """Return f'(x) as it is after coding, for x (...,), in the same shape."""
        return self.decode(self.encode(x))

    def nbytes(self, count: int) -> int:
        """Return the bytes that the codes of `count` inputs take, ceil(count bits / 8)."""
        return bytes_of(count, self.bits)


def derivative_code(
    f: str | Callable[[np.ndarray], np.ndarray],
    bits: int = 4,
    density: Literal["normal"] | np.ndarray = "normal",
    *,
    derivative: Callable[[np.ndarray], np.ndarray] | None = None,
) -> DerivativeCode:
    """Return the code of f' in so many bits, for the backward pass of y = f(x) without x.

    The levels l_k and their cells minimise E (f'(X) - l(X))^2 in the sense of Lloyd: each level is the mean of f' over
    its cell, and borders of cells are the middles of neighbouring levels. A cell of f' is a union of intervals of x;
    their ends are found on a line of 65 536 cells and then by bisection to round-off. Intervals narrower than a cell of
    that line (2.4e-4 for a unit normal) are not seen.

    Parameters
    ----------
    f : "gelu", "gelu_tanh", "silu", "tanh", "relu", "sigmoid", "softplus", or a function of arrays
    bits : 1 to 8. Where f' has no more than 2^b values, b bits are taken and the code is exact: ReLU has 1 bit
    density : of X: "normal" (unit), or samples (n,), each of which counts the same
    derivative : f' of your own function; without it f' is a difference quotient of fourth order, with an error of about
        1e-12 where f is smooth

    Raises
    ------
    ValueError
        unknown name, bits outside 1 .. 8, samples that are empty or not finite, f or f' that is not finite somewhere
        on the line, or returns another shape.
    RuntimeError
        Lloyd's iteration did not come to rest.

    Cost: tens of milliseconds at 4 bits, a second at 8. The error about halves with each bit.

    Source: Novikov and others, arXiv 2202.00441.

    Examples
    --------
    >>> code = derivative_code("relu")
    >>> code.bits, code.thresholds, code.levels, code.relative_error
    (1, array([0.]), array([0., 1.]), 0.0)
    >>> code = derivative_code("gelu", 4)
    >>> len(code.levels), len(code.codes), round(code.relative_error, 4)
    (16, 20, 0.0318)
    """
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or not 1 <= bits <= MAX_CODE_BITS:
        raise ValueError(f"bits must be an integer, 1 .. {MAX_CODE_BITS}, got {bits!r}")
    name, slope = _slope(f, derivative)
    if isinstance(density, str):
        if density != "normal":
            raise ValueError(f'density must be "normal" or samples (n,), got {density!r}')
        line = np.linspace(-REACH, REACH, CELLS + 1)
        x = (line[1:] + line[:-1]) / 2
        w = np.exp(-(x**2) / 2)
    else:
        x = np.asarray(density, dtype=float).reshape(-1)
        if not len(x):
            raise ValueError("density has no samples: give one or more")
        if not np.isfinite(x).all():
            raise ValueError(
                f"{np.count_nonzero(~np.isfinite(x))} of {len(x)} samples are NaN or infinite: leave them out"
            )
        # of two widths of cells: samples that lie far away must not make all cells wide
        wide = np.linspace(min(-REACH, x.min()), max(REACH, x.max()), CELLS + 1)
        line = np.unique(np.concatenate([wide, np.linspace(-REACH, REACH, CELLS + 1)]))
        w = np.ones(len(x))
    values, inverse = np.unique(slope(x), return_inverse=True)
    weights = np.bincount(inverse, weights=w / np.sum(w), minlength=len(values))
    levels, off = _lloyd(values, weights, 2 ** int(bits))
    scale = float(weights @ values**2)
    error = math.sqrt(off / scale) if scale else 0.0
    thresholds, codes = _intervals(slope, (levels[1:] + levels[:-1]) / 2, line)
    used = max(1, math.ceil(math.log2(len(levels))))
    return DerivativeCode(name, used, thresholds, codes, levels, error)


def _slope(f: Any, derivative: Any) -> tuple[str, Callable[[np.ndarray], np.ndarray]]:
    """Return the name of a function, and its derivative, which checks what it returns."""
    if isinstance(f, str):
        if f not in NAMED:
            raise ValueError(f"f must be a function or one of {', '.join(NAMED)}, got {f!r}")
        if derivative is not None:
            raise ValueError(f"derivative is for a function of your own, and f is {f!r}: leave it out")
        return f, NAMED[f]
    if not callable(f) or not (derivative is None or callable(derivative)):
        raise ValueError(f"f and derivative must be functions of arrays, got {f!r} and {derivative!r}")

    def called(function: Any, x: np.ndarray, what: str) -> np.ndarray:
        with np.errstate(all="ignore"):
            y = np.asarray(function(x), dtype=float)
        if y.shape != x.shape:
            raise ValueError(f"{what} must act on each entry: it made shape {y.shape} of {x.shape}")
        if not np.isfinite(y).all():
            bad = float(x[~np.isfinite(y)][0])
            raise ValueError(f"{what} is NaN or infinite at x = {bad:.6g}: it must be finite where activations may be")
        return y

    def quotient(x: np.ndarray) -> np.ndarray:
        h = 1e-3 * np.maximum(1.0, np.abs(x))
        a, b, c, d = (called(f, x + k * h, "f") for k in (-2, -1, 1, 2))
        return (a - 8 * b + 8 * c - d) / (12 * h)

    name = getattr(f, "__name__", type(f).__name__)
    if derivative is None:
        return name, quotient
    return name, lambda x: called(derivative, x, "derivative")


def _lloyd(values: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """Return the levels (ascending) where Lloyd's iteration rests, and the mean square error.

    values : (n,) ascending, all different, with weights (n,)
    """
    if len(values) <= count:
        return values, 0.0
    if values[-1] - values[0] <= ROUNDING * max(abs(values[0]), abs(values[-1])):  # a line, by difference quotients
        level = weights @ values
        return np.array([level]), float(weights @ (values - level) ** 2)
    levels = _start(values, weights, count)
    mass = np.concatenate([[0.0], np.cumsum(weights)])
    moment = np.concatenate([[0.0], np.cumsum(weights * values)])
    before = None
    for _ in range(MAX_ITERATIONS):
        ends = np.concatenate([[0], np.searchsorted(values, (levels[1:] + levels[:-1]) / 2, "right"), [len(values)]])
        if before is not None and np.array_equal(ends, before):
            break
        before = ends
        inside = np.diff(mass[ends])
        means = np.diff(moment[ends]) / np.where(inside > 0, inside, 1.0)
        # an empty cell keeps its level: it takes part again when a border passes it
        levels = np.where(inside > 0, np.clip(means, values[0], values[-1]), levels)
    else:
        raise RuntimeError(f"Lloyd's iteration did not come to rest in {MAX_ITERATIONS} steps: take fewer bits")
    cell = np.repeat(np.arange(count), np.diff(ends))
    # once more without differences of sums, which lose digits in cells of little mass
    sums, inside = np.bincount(cell, weights * values, count), np.bincount(cell, weights, count)
    levels = np.where(inside > 0, sums / np.where(inside > 0, inside, 1.0), levels)
    return levels, float(weights @ (values - levels[cell]) ** 2)


def _start(values: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Return levels to start from: Lloyd's iteration has several points of rest, and these lead to a good one.

    Up to 16 levels are the best ones for at most 1024 groups of neighbouring values, by dynamic programming: with
    e(i, j) the error of groups i .. j - 1 in one cell, E_k(j) = min_i E_{k-1}(i) + e(i, j). More levels are as dense as
    the cube root of the density, which is right in the limit (Panter and Dite, 1951).
    """
    bins, edges = np.histogram(values, bins=max(4096, 64 * count), weights=weights)
    dense = np.concatenate([[0.0], np.cumsum(np.cbrt(bins))]) / np.sum(np.cbrt(bins))
    if count > MOST_SEARCHED:
        return np.interp((np.arange(count) + 0.5) / count, dense, edges)
    place = np.minimum((np.interp(values, edges, dense) * GROUPS).astype(int), GROUPS - 1)
    mass, moment, square = (
        np.concatenate([[0.0], np.cumsum(np.bincount(place, weights * values**k, GROUPS))]) for k in range(3)
    )
    # [i, j]: groups i .. j - 1
    inside, first, second = (np.triu(s[None, :] - s[:, None]) for s in (mass, moment, square))
    error = np.where(inside > 0, second - first**2 / np.where(inside > 0, inside, 1.0), 0.0)
    error[np.tril_indices(GROUPS + 1, -1)] = np.inf
    best, froms = error[0], []
    for _ in range(count - 1):
        total = best[:, None] + error
        froms.append(np.argmin(total, axis=0))
        best = np.min(total, axis=0)
    ends = [GROUPS]
    for origin in reversed(froms):
        ends.append(int(origin[ends[-1]]))
    cuts = np.array([0, *ends[::-1]])
    part = np.diff(mass[cuts])
    levels = np.diff(moment[cuts])[part > 0] / part[part > 0]
    # cells may be empty where there are fewer groups with mass than levels: split what there is
    missing = count - len(levels)
    return np.sort(np.concatenate([levels, np.linspace(values[0], values[-1], missing + 2)[1:-1]]))


def _intervals(slope: Any, borders: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return thresholds (t,) and codes (t + 1,) of the intervals of the line on which the code of f' is constant."""

    def code(x: np.ndarray) -> np.ndarray:
        return np.searchsorted(borders, slope(x), side="left")

    at = code(line)
    changed = np.flatnonzero(at[1:] != at[:-1])
    a, b, left, right = line[changed], line[changed + 1], at[changed], at[changed + 1]
    ends: list[np.ndarray] = []
    after: list[np.ndarray] = []
    while len(a):
        lo, hi = a, b
        for _ in range(80):
            middle = lo + (hi - lo) / 2
            stays = code(middle) == left
            lo, hi = np.where(stays, middle, lo), np.where(stays, hi, middle)
        ends.append(lo)
        after.append(code(hi))
        # a steep f' may pass several codes within one cell
        more = after[-1] != right
        a, b, left, right = hi[more], b[more], after[-1][more], right[more]
    if not ends:
        return np.zeros(0), at[:1].astype(np.uint8)
    thresholds = np.concatenate(ends)
    order = np.argsort(thresholds, kind="stable")
    return thresholds[order], np.concatenate([at[:1], np.concatenate(after)[order]]).astype(np.uint8)


def _expit(x: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(x))


def _gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return np.asarray(ndtr(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi))


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    c, a = math.sqrt(2 / math.pi), 0.044715
    t = np.tanh(c * (x + a * x**3))
    return (1 + t) / 2 + x * (1 - t) * (1 + t) * c * (1 + 3 * a * x**2) / 2


#: Derivatives of the functions that are known by name.
NAMED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda x: _expit(x) * (1 + x * _expit(-x)),
    "tanh": lambda x: (1 - np.tanh(x)) * (1 + np.tanh(x)),
    "relu": lambda x: (x > 0).astype(float),
    "sigmoid": lambda x: _expit(x) * _expit(-x),
    "softplus": _expit,
}
