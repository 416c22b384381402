"""Reduced coefficients of many points, a trajectory or a sweep, in few bits per number.

Two codes, of which the one with the smaller error at the same size is taken:

    "bits"       the coordinates d = W^H gamma in principal axes of the data, each in its own number of bits
                 (:func:`lowrank.allocate_bits`)
    "residual"   a sum of one vector of each of L codebooks (:class:`lowrank.ResidualQuantizer`): one byte a level

Bytes count all that is stored: codes, scales, axes or codebooks. ||gamma - decoded||_2 is known for every point when it
is encoded; it is kept in one byte, rounded up by at most 9 % or to 2^-32 of the largest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lowrank import Quantized, ResidualCodes, ResidualQuantizer, allocate_bits, quantize
from rbm.arithmetic.precision import ROUND_OFF, row_norms, widened
from rbm.errors import FileFormatError, ModelError
from rbm.reduced.coded_basis import check_mean, principal_axes
from rbm.reduced.origin import BETWEEN
from rbm.storage.archive import read_archive, write_archive

__all__ = ["CodedCoefficients", "encoded"]

Method = Literal["auto", "bits", "residual"]
KIND = "reduced coefficients"
#: Vectors of a codebook: a code is a byte.
CODES = 256
#: Steps of the error's byte per power of two.
STEPS = 8
#: Of numbers in double precision.
LARGEST_EXPONENT = 1100
#: So that a bound in single precision, in its unit, is a number in double precision.
SMALLEST_EXPONENT = -900
#: Points that codebooks are fitted to, and levels of one, at most.
SAMPLES, MOST_LEVELS = 20_000, 64


@dataclass(frozen=True, eq=False)
class CodedCoefficients:
    """Coefficients gamma (M, N) of a reduced model in few bits; :meth:`rbm.ReducedModel.decode` makes them again."""

    codes: Quantized | np.ndarray  #: d^T (N, M), or uint8 (M, L)
    axes: np.ndarray | ResidualCodes  #: W (N, N), or (0, 0) for the identity; or the codebooks
    largest: float  #: the largest error
    steps: np.ndarray  #: uint8 (M,): the error of point i is at most largest 2^(-steps_i / 8)
    origin: str  #: the mark of the basis (:func:`rbm.reduced.origin.mark`)
    #: float32 (M,), rounded up: error bounds of the points, in the unit 2^exponent, if they were known
    bounds: np.ndarray | None = None
    exponent: int = 0

    @property
    def method(self) -> str:
        """Which code it is, "bits" or "residual"."""
        return "bits" if isinstance(self.codes, Quantized) else "residual"

    @property
    def error(self) -> np.ndarray:
        """Bounds (M,) of ||gamma - decoded||_2."""
        return self.largest * 2.0 ** (-self.steps.astype(float) / STEPS)

    @property
    def error_bounds(self) -> np.ndarray | None:
        """Error bounds (M,) of the coefficients that were encoded, in double precision; None if they were not known."""
        return None if self.bounds is None else np.ldexp(self.bounds.astype(float), self.exponent)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        parts = self.axes.arrays().values() if isinstance(self.axes, ResidualCodes) else [self.axes]
        bounds = 0 if self.bounds is None else self.bounds.nbytes
        return int(self.codes.nbytes + sum(np.asarray(a).nbytes for a in parts) + self.steps.nbytes + 8 + bounds)

    def __len__(self) -> int:
        return len(self.steps)

    def coefficients(self) -> np.ndarray:
        """Return the decoded coefficients (M, N)."""
        if isinstance(self.codes, Quantized):
            assert isinstance(self.axes, np.ndarray)
            return _in_axes(self.codes, self.axes)
        assert isinstance(self.axes, ResidualCodes)
        return np.asarray(self.axes.decode(self.codes.astype(np.int64)))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file, whole or not at all; :meth:`load` reads it."""
        whole = {"codes": self.codes} if isinstance(self.codes, np.ndarray) else {}
        arrays = whole | {"steps": self.steps} | ({} if self.bounds is None else {"bounds": self.bounds})
        for name, part in (("codes", self.codes), ("axes", self.axes)):
            if not isinstance(part, np.ndarray):
                arrays |= {f"{name}/{key}": np.asarray(a) for key, a in part.arrays().items()}
            else:
                arrays[name] = part
        header = {"kind": KIND, "method": self.method, "largest": self.largest, "origin": self.origin}
        header |= {"exponent": self.exponent}
        write_archive(Path(path), header, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CodedCoefficients:
        """Read what :meth:`save` wrote; nothing in the file is run. Raises FileFormatError, FileNotFoundError."""
        header, arrays = read_archive(path, KIND)
        try:
            for name, a in arrays.items():
                if a.dtype.kind in "fc" and a.dtype not in (float, complex) and name != "bounds":
                    raise ValueError(f"{name} is in {a.dtype}, not in double precision")
            inside = {
                part: {k.removeprefix(part): a for k, a in arrays.items() if k.startswith(part)}
                for part in ("codes/", "axes/")
            }
            bits = {"bits": True, "residual": False}[header["method"]]
            made = cls(
                codes=Quantized.from_arrays(inside["codes/"]) if bits else arrays["codes"],
                axes=arrays["axes"] if bits else ResidualCodes.from_arrays(inside["axes/"]),
                largest=float(header["largest"]),
                steps=arrays["steps"],
                origin=str(header["origin"]),
                bounds=arrays.get("bounds"),
                exponent=int(header["exponent"]),
            )
            made._check()
            return made
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            message = f"{os.fspath(path)} does not hold coded coefficients: {type(error).__name__} {error}"
            raise FileFormatError(message) from error

    def _check(self) -> None:
        if isinstance(self.codes, Quantized):
            count, points = self.codes.shape
            axes = np.asarray(self.axes)
            good = axes.shape in ((0, 0), (count, count)) and bool(np.all(np.isfinite(axes)))
        else:
            points, good = len(self.codes), self.codes.ndim == 2 and self.codes.dtype == np.uint8
        good = (
            good
            and self.origin.count(BETWEEN) == 1
            and abs(self.exponent) <= LARGEST_EXPONENT
            and self.steps.dtype == np.uint8
            and self.steps.shape == (points,)
            and np.isfinite(self.largest)
            and self.largest >= 0
            and (self.bounds is None or (self.bounds.shape == (points,) and self.bounds.dtype == np.float32))
            and (self.bounds is None or bool(np.all(self.bounds >= 0)))  # not NaN; infinity says nothing
        )
        if not good or not np.all(np.isfinite(self.coefficients())):
            raise ValueError("the arrays do not fit each other")

    def __repr__(self) -> str:
        per_point = f"{self.nbytes / max(len(self), 1):.3g} bytes each"
        return f"CodedCoefficients({len(self)} points, {per_point}, by {self.method}, error up to {self.largest:.2g})"


def encoded(
    gamma: np.ndarray, bits: float, method: Method, origin: str, bounds: np.ndarray | None, rng: int
) -> CodedCoefficients:
    """Return coefficients gamma (M, N) in about `bits` bits per number; see :meth:`rbm.ReducedModel.encode`.

    bounds : of their errors, float64 (M,)
    """
    if method not in ("auto", "bits", "residual"):
        raise ModelError(f'method must be "auto", "bits" or "residual", got {method!r}')
    check_mean(bits)
    gamma = widened(gamma)
    budget = bits * gamma.size * (2 if gamma.dtype.kind == "c" else 1) / 8  # bytes
    made = []
    if method != "residual":
        made.append(_by_bits(gamma, budget))
    if method != "bits":
        made.append(_by_residual(gamma, budget, rng))
    found = [m for m in made if m is not None]
    if not found:
        raise ModelError(f"{bits} bits for {gamma.shape} numbers, {budget:.0f} bytes, hold no code: give more bits")
    best = min(found, key=_whole)
    largest = float(best[2].max(initial=0.0))
    with np.errstate(divide="ignore"):
        steps = np.floor(STEPS * np.log2(largest / best[2])) if largest > 0 else np.zeros(len(gamma))
    steps = np.clip(steps, 0, 255)
    steps = np.where(largest * 2.0 ** (-steps / STEPS) < best[2], np.maximum(steps - 1, 0), steps).astype(np.uint8)
    return CodedCoefficients(best[0], best[1], largest, steps, origin, *_in_single(bounds))


def _in_single(bounds: np.ndarray | None) -> tuple[np.ndarray | None, int]:
    """Return bounds (M,) in single precision, rounded up, and the exponent of a unit in which they are at most one."""
    if bounds is None:
        return None, 0
    exponent = max(int(np.frexp(bounds[np.isfinite(bounds)].max(initial=0.0))[1]), SMALLEST_EXPONENT)
    small = (
        np.ldexp(bounds, -exponent) * (1 + 2.0**-20) + 2.0**-140
    )  # of what is denormal in one precision or the other
    return np.nextafter(small.astype(np.float32), np.float32(np.inf)), exponent


#: What a code is made of: codes, axes, and the errors (M,).
_Made = tuple[Any, Any, np.ndarray]


def _by_bits(gamma: np.ndarray, budget: float) -> _Made | None:
    """Quantise coordinates in the principal axes, or as they are where the axes would not pay."""
    largest = np.abs(gamma).max()
    rotated = principal_axes(gamma / largest if largest > 0 else gamma)[0]
    found = [_quantized(gamma, axes, budget) for axes in (rotated, np.zeros((0, 0)))]
    return min((m for m in found if m is not None), key=_whole, default=None)


def _whole(made: _Made) -> float:
    return float(row_norms(made[2][None])[0])


def _quantized(gamma: np.ndarray, axes: np.ndarray, budget: float) -> _Made | None:
    """Return the code in the axes W (N, N), or (0, 0) for gamma itself; None if the budget does not hold it."""
    (points, count), parts = gamma.shape, 2 if gamma.dtype.kind == "c" else 1
    d = gamma @ axes.conj() if axes.size else gamma
    left = budget - axes.nbytes - points - 8
    scales = 9  # a scale and the number of bits
    if left <= scales * count:
        return None
    largest = np.abs(d).max()
    variance = np.mean(np.abs(d / largest if largest > 0 else d) ** 2, axis=0) / parts
    sizes = np.full(count, points * parts)
    shared = allocate_bits(variance=variance, sizes=sizes, budget=8 * left, overhead=8 * scales, model="gaussian")
    codes = quantize(np.ascontiguousarray(d.T), np.array(shared.bits), axis=0, gamma="search")
    decoded = _in_axes(codes, axes)
    return codes, axes, _distance(gamma, decoded)


def _in_axes(codes: Quantized, axes: np.ndarray) -> np.ndarray:
    d = codes.to_dense().T
    return d @ axes.T if axes.size else d


def _by_residual(gamma: np.ndarray, budget: float, rng: int) -> _Made | None:
    """Return the residual code; None if the budget does not hold the codebooks of a level."""
    (points, count), parts = gamma.shape, 2 if gamma.dtype.kind == "c" else 1
    levels = int((budget - points - 8) // (points + 8 * CODES * count * parts))
    if levels < 1 or points < CODES:
        return None
    some = np.random.default_rng(rng).permutation(points)[:SAMPLES]
    books = ResidualQuantizer(min(levels, MOST_LEVELS), CODES, rng=rng).fit(gamma[some])
    codes = books.encode(gamma).astype(np.uint8)
    return codes, books, _distance(gamma, np.asarray(books.decode(codes.astype(np.int64))))


def _distance(gamma: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Return ||gamma - decoded||_2 (M,), with what another order of the same sums may change."""
    # d W^T sums N products: |fl - exact| <= (N + 2) u |d| |W|^T, || |W| ||_2 <= N^(1/2); complex numbers: four times
    width = gamma.shape[1]
    rounding = 8 * (width + 8) * width**0.5 * ROUND_OFF * (row_norms(gamma) + row_norms(decoded))
    return np.asarray((1 + 2.0**-20) * row_norms(gamma - decoded) + rounding)
