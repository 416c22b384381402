"""Residual vector quantisation: code vectors for samples, for what these leave, and so on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lowrank.kmeans import kmeans, kmeans_start
from lowrank.limits import at_least
from lowrank.nearest import codebooks_of, encode
from lowrank.operators import as_product
from lowrank.orthogonal import gram_schmidt
from lowrank.residual_codes import Coordinates, ResidualCodes, samples

__all__ = ["ResidualQuantizer"]

#: Code vectors farther than so many times the samples would let squares overflow.
FAR = 1e100
#: Largest |P - P^H| in units of the largest entry of a product: assembled ones are symmetric up to round-off.
HERMITIAN = 1e-10


@dataclass(frozen=True)
class ResidualQuantizer:
    """How code vectors are to be found: `ResidualQuantizer(levels, codes).fit(X)` finds them.

    Each of `levels` codebooks has `codes` vectors, those of the first near the samples, those of the next near what is
    left of them. A sample then is `levels` integers. The error falls with each level; every level costs log2(codes)
    bits.

    Parameters
    ----------
    levels, codes : L and K
    method : "kmeans", Lloyd's iteration; "ema", moving averages of counts and sums, with the same fixed points
    rng : seed or generator of the start, k-means++
    max_iter : iterations of a level at most
    rtol : a level ends when an iteration lowers its loss by no more than that part of it; 0 to go on until no sample
        changes its code
    decay : of the moving averages, between 0 and 1

    Raises ValueError for numbers below 1, another method, a negative rtol, and a decay outside (0, 1).

    Source: of the start: Arthur, Vassilvitskii, SODA 2007; of moving averages: van den Oord, Vinyals, Kavukcuoglu,
    arXiv 1711.00937.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((500, 6))
    >>> found = ResidualQuantizer(levels=3, codes=16).fit(x)
    >>> found.bits, found.decode(found.encode(x)).shape
    (12, (500, 6))
    """

    levels: int
    codes: int
    method: Literal["kmeans", "ema"] = "kmeans"
    rng: Any = 0
    max_iter: int = 100
    rtol: float = 1e-5
    decay: float = 0.9

    def __post_init__(self) -> None:
        for name, value in (("levels", self.levels), ("codes", self.codes), ("max_iter", self.max_iter)):
            at_least(name, value, 1)
        if self.method not in ("kmeans", "ema"):
            raise ValueError(f'method must be "kmeans" or "ema", got {self.method!r}')
        if not (self.rtol >= 0 and 0 < self.decay < 1):
            raise ValueError(f"rtol must be >= 0 and decay between 0 and 1, got {self.rtol} and {self.decay}")

    def fit(self, X: Any, weights: Any = None, product: Any = None, start: Any = None) -> ResidualCodes:
        """Return codebooks for samples.

        Level after level K centres with a small sum_j w_j ||r_j - c||_P^2, r_j what the levels before have left.

        Parameters
        ----------
        X : samples (n, d), one a row, real or complex
        weights : w_j >= 0 (n,); samples of weight zero count as if they were not there
        product : Hermitian positive definite P (d, d), dense or sparse. Distances are (x^H P x)^{1/2}: work is done in
            coordinates of a P-orthonormal basis of the span of the samples, where they are Euclidean
        start : codebooks to start from, (L, K, d), instead of a random draw

        Raises
        ------
        ValueError
            fewer samples than codes, NaN or infinite entries, weights and starts that do not fit.

        Notes
        -----
        What is found is a local minimum. Copies of a sample count as samples: with fewer different ones than codes,
        some codes are never used. Cost: 2 n K r flops per iteration and level, with a basis 4 n d r.
        """
        x = samples("X", X)
        if x.ndim != 2 or not x.shape[1]:
            raise ValueError(f"X must be samples (n, d), one a row, got shape {x.shape}")
        _refuse_bad("X", x)
        w = _checked_weights(weights, len(x))
        x, w = x[w > 0], w[w > 0]
        if len(x) < self.codes:
            raise ValueError(
                f"there are {len(x)} samples (of positive weight) for {self.codes} codes: take fewer codes, or more "
                "samples"
            )
        coordinates = _coordinates(x, product)
        z = coordinates.of(x)
        size = float(np.max(np.abs(z), initial=0.0)) or 1.0
        unit = 2.0 ** -np.clip(np.frexp(size)[1], -1000, 1000)  # no square overflows or vanishes
        begin = None if start is None else self._checked_start(start, coordinates, float(unit))
        return self._levels(z * unit, w, coordinates, begin, float(unit))

    def _levels(
        self, z: np.ndarray, w: np.ndarray, coordinates: Coordinates, begin: np.ndarray | None, unit: float
    ) -> ResidualCodes:
        rng = np.random.default_rng(self.rng)
        whole, rest = float(np.sum(w[:, None] * z * z)), z
        centres, errors = np.empty((self.levels, self.codes, z.shape[1])), np.empty(self.levels)
        for level in range(self.levels):
            first = kmeans_start(rest, w, self.codes, rng) if begin is None else begin[level]
            found = kmeans(rest, w, first, method=self.method, max_iter=self.max_iter, rtol=self.rtol, decay=self.decay)
            centres[level] = found.centres
            chosen = encode(rest, codebooks_of(found.centres[None]))[:, 0]
            rest = rest - found.centres[chosen]
            left = float(np.sum(w[:, None] * rest * rest))
            errors[level] = np.sqrt(left / whole) if whole else 0.0
        return ResidualCodes(coordinates, centres / unit, errors)

    def _checked_start(self, start: Any, coordinates: Coordinates, unit: float) -> np.ndarray:
        given = samples("start", start)
        wanted = (self.levels, self.codes, coordinates.width)
        if given.shape != wanted:
            raise ValueError(f"start must have the shape {wanted} (levels, codes, d), got {given.shape}")
        _refuse_bad("start", given)
        if given.dtype.kind == "c" and coordinates.dtype.kind != "c":
            raise ValueError("start is complex, the samples are real")
        with np.errstate(over="ignore", invalid="ignore"):  # which is found as such
            found = coordinates.of(given.reshape(-1, given.shape[2])).reshape(self.levels, self.codes, -1) * unit
        if not np.all(np.abs(found) < FAR):
            raise ValueError(
                f"start has code vectors more than {FAR:g} times as large as the samples, where no distance is known: "
                "start from samples"
            )
        return found


def _coordinates(x: np.ndarray, product: Any) -> Coordinates:
    if product is None:
        return Coordinates(x.shape[1], x.dtype)
    kind = np.complex128 if x.dtype.kind == "c" else np.float64
    found = gram_schmidt(np.ascontiguousarray(x.T, dtype=kind), product=product)
    _refuse_skew(product)  # which the line before has taken for a matrix of numbers
    if x.dtype.kind != "c" and found.basis.dtype.kind == "c":
        raise ValueError("product is complex, the samples are real: pass them as complex numbers")
    return Coordinates(x.shape[1], x.dtype, found.basis, found.product_basis)


def _refuse_skew(product: Any) -> None:
    """Refuse matrices that are not Hermitian: of these, distances see the Hermitian part only, coordinates do not."""
    given = as_product("product", product)
    if not hasattr(given, "nnz") and not isinstance(given, np.ndarray):
        return  # an operator, whose entries are not there
    given = given.tocsr() if hasattr(given, "nnz") else given
    if not 0 < given.shape[0] == given.shape[1]:
        return  # which is said where it is used
    off, size = abs(given - given.conj().T).max(), abs(given).max()
    if off > HERMITIAN * size:
        raise ValueError(
            f"product is not Hermitian: it differs from its adjoint by {off:.3g}, at entries up to {size:.3g}; pass "
            "(P + P^H) / 2 if that is what is meant"
        )


def _checked_weights(weights: Any, count: int) -> np.ndarray:
    if weights is None:
        return np.ones(count)
    w = samples("weights", weights)
    if w.dtype.kind == "c" or w.shape != (count,) or not np.all(np.isfinite(w) & (w >= 0)):
        what = f"shape {w.shape}" if w.shape != (count,) else "NaN, infinite or negative ones"
        raise ValueError(f"weights must be {count} finite real numbers >= 0, one per sample, got {what}")
    w = w.astype(np.float64)
    return w / np.max(w) if count and np.max(w) > 0 else w


def _refuse_bad(name: str, x: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        raise ValueError(
            f"{name} has {len(bad)} entries that are NaN or infinite, the first at index "
            f"{tuple(int(i) for i in bad[0])}; remove or recompute them"
        )
