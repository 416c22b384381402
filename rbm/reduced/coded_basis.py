"""A basis in few bits per number, and the exact size of what this changes in a solution.

With W (N, N) unitary, S = diag(units) powers of two, Q the quantised S^{-1} Z W, and d = W^H gamma,

    Z gamma - S Q d  =  E d + (Z - S Q W^H) (I - W W^H) gamma,      E = (Z - S Q W^H) W.

E is known. Its columns are factorised as functionals P E = D R0, nearly orthonormal in the dual norm, and with the
Cholesky factor of D^H P^{-1} D = C C^H, which is known in extended precision, R = C^H R0. Hence

    ||Z gamma - S Q d||_P  =  ||R d||_2 + rounding,
    |rounding|  <=  o ||R d||_2 + sum_j delta_j |d_j| + (N + 4) u sum_j ||E_j|| (|W|^T |gamma|)_j
                    + ||E|| ||W|| / (1 - ||I - W W^H||) ||I - W W^H|| ||gamma||_2,

with o and delta measured in extended precision (:class:`rbm.affine.functional_range.FunctionalRange`): not a bound of
the error of rounding, but its value. W are the principal axes of the coefficients, E gamma gamma^H = W diag(v) W^H over
a sample. There v_i is what an error of vector i counts, so that the solver that shares out bits
(:func:`lowrank.allocate_bits`) leaves vectors out that hardly matter (0 bits) and gives many bits to the first ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, Self

import numpy as np

from lowrank import Quantized, allocate_bits, quantize
from lowrank.arrays import beside, conj, device, is_complex, namespace
from rbm.affine.functional_range import FunctionalRange
from rbm.affine.inner_product import InnerProduct
from rbm.arithmetic import extended
from rbm.arithmetic.precision import ROUND_OFF, column_norm_bounds, row_norms, underflow_of_sums, widened
from rbm.errors import ModelError

__all__ = ["CodedBasis", "check_mean", "principal_axes", "vector_bits"]

#: Most bits of a number (:func:`lowrank.quantize`).
MOST = 24
#: Numbers that are decoded at a time when solutions are reconstructed.
CHUNK = 1 << 24
#: Fields that are one number each.
NUMBERS = ("orthogonality", "skew", "largest")
#: Units of unknowns are roots of numbers in the range of double precision.
LARGEST_EXPONENT = 600
#: Room for the rounding of the sums that make a bound, which are sums of positive numbers.
UP = 1 + 2.0**-20


@dataclass(frozen=True, eq=False)
class CodedBasis:
    """A quantised basis S Q W^H (n, N), which stands for Z."""

    codes: Quantized  #: Q^T (N, n)
    exponents: np.ndarray  #: (n,) or (1,): S = diag(2^exponents), the units of the unknowns
    rotation: np.ndarray  #: W (N, N)
    factor: np.ndarray  #: R (k, N)
    defects: np.ndarray  #: delta (N,)
    norms: np.ndarray  #: ||E_j||_P (N,), rounded upwards
    orthogonality: float  #: o, of ||C C^H - D^H P^{-1} D||
    skew: float  #: ||E|| ||W|| / (1 - s) s with s = ||I - W W^H||, rounded upwards
    largest: float  #: the largest error on the sample
    origin: str  #: the mark of the basis that it stands for (:func:`rbm.reduced.origin.mark`)

    @classmethod
    def of(cls, basis: np.ndarray, inner: InnerProduct, bits: Any, rotation: np.ndarray, origin: str) -> CodedBasis:
        """Quantise Z (n, N): vector i of Z W in bits_i, of 0 and 2 to 24; a scale for each vector.

        bits : integers (N,). Cost: N Riesz solves, and 8 n N^2 flops.
        """
        rotation = rotation.astype(np.result_type(rotation, basis))
        exponents = np.frexp(inner.balance)[1] - 1
        same = bool(np.all(exponents == exponents[0]))
        exponents = exponents[:1] if same else exponents
        units = np.ldexp(1.0, exponents)[:, None]
        codes = quantize(np.ascontiguousarray(((basis @ rotation) / units).T), np.asarray(bits, dtype=np.int64), axis=0)
        left, off = _left(basis, codes.to_dense().T * units, rotation)
        image, tail = extended.product(inner.split, left)
        span = FunctionalRange(inner)
        span.append(image, tail, extended.rounding(inner.split, left))
        # ||e||_P for |e| <= off entry by entry
        of_entries = np.sqrt(inner.largest_eigenvalue) * column_norm_bounds(off / inner.balance[:, None])
        factor, of_factor, orthogonality = _orthonormal(span)
        norms = UP * (np.maximum(span.norms, column_norm_bounds(factor)) + of_entries)
        return cls(
            codes=codes,
            exponents=exponents.astype(np.int16),
            rotation=rotation,
            factor=factor,
            defects=UP * (span.defects + of_entries + of_factor),
            norms=norms,
            orthogonality=orthogonality,
            skew=float(column_norm_bounds(norms[:, None])[0]) * _of_skewness(rotation),
            largest=0.0,
            origin=origin,
        )

    def coordinates(self, gamma: Any) -> Any:
        """Return d = W^H gamma (M, N) from gamma (M, N)."""
        return widened(gamma) @ conj(beside(self.rotation, gamma))

    def error(self, gamma: Any) -> Any:
        """Return ||Z gamma - S Q d||_P (M,), rounded upwards by at most what rounding may hide.

        gamma : (M, N). Cost: 4 N^2 flops per row.
        """
        xp, d = namespace(gamma), self.coordinates(gamma)
        single = 4 if is_complex(d) or self.factor.dtype.kind == "c" else 1
        unit = single * (self.shape[1] + len(self.factor) + 4) * ROUND_OFF
        size = widened(xp.abs(gamma))
        value = row_norms(d @ beside(self.factor.T, d))
        of_coordinates = size @ beside(np.abs(self.rotation) @ self.norms, size) * unit
        of_product = xp.abs(d) @ beside(self.defects + 2 * unit * self.norms, size)
        rest = of_coordinates + of_product + self.skew * row_norms(size)
        made = (1 + 16 * ROUND_OFF) * ((1 + self.orthogonality + unit) * value + rest)
        made = made + xp.astype(row_norms(size) > 0, made.dtype) * underflow_of_sums(self.norms)
        return xp.where(made >= 0, made, xp.full_like(made, float("inf")))  # NaN: sums beyond the range of numbers

    def reconstruct(self, gamma: Any) -> Any:
        """Return S Q d (M, n), decoding a few vectors at a time."""
        d, n = self.coordinates(gamma), self.codes.shape[1]
        xp, step = namespace(d), max(1, CHUNK // max(n, 1))
        made = xp.zeros((d.shape[0], n), dtype=self._type(d), device=device(d))
        present = np.flatnonzero(self.bits)
        for start in range(0, len(present), step):
            some = present[start : start + step]
            made = made + xp.take(d, beside(some, d), axis=1) @ beside(self.codes.rows(some), d)
        return made * beside(np.ldexp(1.0, self.exponents.astype(int)), made)

    def _type(self, d: Any) -> Any:
        xp = namespace(d)
        return xp.complex128 if is_complex(d) or self.codes.dtype.kind == "c" else xp.float64

    def to_dense(self) -> np.ndarray:
        """Return the basis S Q W^H (n, N) that is reconstructed with, up to rounding."""
        units = np.ldexp(1.0, self.exponents.astype(int))[:, None]
        return (self.codes.to_dense().T @ self.rotation.conj().T) * units

    @property
    def bits(self) -> np.ndarray:
        """Bits of a number of each vector (N,)."""
        return np.broadcast_to(np.asarray(self.codes.bits), (self.codes.shape[0],))

    @property
    def nbytes(self) -> int:
        """Bytes of all that stands for the basis in a file."""
        return self.codes.nbytes + sum(a.nbytes for a in vars(self).values() if isinstance(a, np.ndarray))

    @property
    def shape(self) -> tuple[int, int]:
        """Unknowns and vectors (n, N)."""
        return self.codes.shape[1], self.rotation.shape[0]

    def truncate(self, size: int) -> CodedBasis:
        """Return what stands for the first `size` vectors of Z: the first rows of W."""
        return replace(self, rotation=self.rotation[:size])

    def placed(self, move: Callable[[Any], Any]) -> CodedBasis:
        """Return the same with its codes where `move` puts them."""
        codes = replace(self.codes, codes=move(self.codes.codes), scales=move(self.codes.scales))
        return replace(self, codes=codes)

    def arrays(self) -> dict[str, Any]:
        """Return all of it by name, for a file."""
        known = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("codes", "origin")}
        return {**known, **{f"codes/{name}": a for name, a in self.codes.arrays().items()}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], origin: str) -> Self:
        """Make the basis from :meth:`arrays`. Raises ValueError for arrays that do not fit each other."""
        prefix = "codes/"
        codes = Quantized.from_arrays({n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)})
        own = {name: a for name, a in arrays.items() if not name.startswith(prefix)}
        wanted = {f.name for f in fields(cls)} - {"codes", "origin"}
        if own.keys() != wanted:
            raise ValueError(f"the entries of the coded basis are {', '.join(sorted(own))}, not {', '.join(wanted)}")
        rotation, factor, exponents = own["rotation"], own["factor"], own["exponents"]
        size, n = codes.shape if len(codes.shape) == 2 else (-1, -1)
        single = [own.pop(name) for name in NUMBERS]
        numbers: dict[str, Any] = {name: float(a) for name, a in zip(NUMBERS, single, strict=True)}
        sizes = own["defects"], own["norms"]
        if not (
            rotation.ndim == factor.ndim == 2
            and rotation.shape[1] == factor.shape[1] == size >= rotation.shape[0] > 0
            and exponents.shape in ((1,), (n,))
            and codes.dtype in (float, complex)
            and codes.scales.dtype == float
            and codes.blocks.axis == 0
            and all(np.shape(a) == () and np.asarray(a).dtype == float for a in single)
            and exponents.dtype == np.int16
            and np.all(np.abs(exponents) <= LARGEST_EXPONENT)
            and all(a.shape == (size,) and a.dtype == float and np.all(a >= 0) for a in sizes)
            and all(a.dtype in (float, complex) for a in (rotation, factor))
            and all(np.all(np.isfinite(a)) for a in (rotation, factor, *sizes, *numbers.values()))
            and min(numbers.values()) >= 0
        ):
            raise ValueError("the arrays of the coded basis do not fit each other")
        return cls(codes, **own, **numbers, origin=origin)

    @property
    def summary(self) -> str:
        """Bits and added error, in words."""
        low, high = int(self.bits.min()), int(self.bits.max())
        spread = f" ({low} to {high})" if low < high else ""
        return f"basis in {self.bits.mean():.3g} bits{spread}, which add up to {self.largest:.2g} to the error"

    def __repr__(self) -> str:
        return f"CodedBasis({self.shape[1]} vectors of {self.shape[0]} numbers, {self.summary})"


def _left(basis: np.ndarray, stored: np.ndarray, rotation: np.ndarray) -> tuple[extended.Extended, np.ndarray]:
    """Return E = (Z - S Q W^H) W (n, N) as hi + lo, and what its entries may be off by, from Z, S Q and W.

    Its columns differ in size by many powers of two: what cancels does so in extended precision.
    """
    adjoint, columns = rotation.conj().T, extended.SplitMatrix(stored)
    hi, lo = extended.product(columns, adjoint)
    of_sum = 2 * ROUND_OFF * (np.abs(lo) + 2 * ROUND_OFF * (np.abs(basis) + np.abs(hi)))
    hi, lo = extended.add((basis + 0 * hi, np.zeros_like(hi)), (-hi, -lo))
    difference = extended.SplitMatrix(hi)
    left, rest = extended.product(difference, rotation)
    more = lo @ rotation
    size = np.abs(rotation)
    off = extended.rounding(difference, rotation) + (extended.rounding(columns, adjoint) + of_sum) @ size
    off = off + 4 * ROUND_OFF * (np.abs(rest) + np.abs(more) + (len(rotation) + 4) * (np.abs(lo) @ size))
    return extended.two_sum(left, rest + more), off


def _orthonormal(span: FunctionalRange) -> tuple[np.ndarray, np.ndarray, float]:
    """Return R = C^H R0 (k, N), what its columns may be off by (N,), and o.

    D^H P^{-1} D is close to I, and known better than that: where P is ill-conditioned by many digits. With G its
    computed value, g >= ||G - C C^H|| + what G is off by, and ||y||^2 <= ||C^H y||^2 / (1 - ||I - C C^H||),

        ||D y||_{P^-1}^2 <= (1 + o) ||C^H y||^2,    o = g / (1 - ||I - C C^H||).
    """
    gram, off = span.sharp_gram()
    one = np.eye(len(gram))
    for make in (np.linalg.cholesky, lambda _: one):
        try:
            root = make((gram + gram.conj().T) / 2)
        except np.linalg.LinAlgError:
            continue
        adjoint, split = root.conj().T, extended.SplitMatrix(root)
        hi, lo = extended.product(split, adjoint)
        rounding = float(np.linalg.norm(extended.rounding(split, adjoint)))
        far = UP * float(np.linalg.norm((hi - one) + lo)) + rounding
        if far <= 0.5:
            break
    single = 4 if gram.dtype.kind == "c" or span.factor.dtype.kind == "c" else 1
    of_factor = single * (len(gram) + 2) * ROUND_OFF * column_norm_bounds(np.abs(adjoint) @ np.abs(span.factor))
    orthogonality = UP * (float(np.linalg.norm((gram - hi) - lo)) + rounding + off) / (1 - far)
    return adjoint @ span.factor, of_factor, orthogonality


def _of_skewness(rotation: np.ndarray) -> float:
    """Return a bound of ||W|| / (1 - s) s with s = ||I - W W^H||_F.

    With T = Z - S Q W^H and E = T W, T = E W^H + T (I - W W^H), hence ||T|| <= ||E|| ||W|| / (1 - s). Raises ModelError
    for a W that is far from unitary.
    """
    split = extended.SplitMatrix(rotation)
    hi, lo = extended.product(split, rotation.conj().T)
    off = extended.rounding(split, rotation.conj().T)
    skewness = UP * float(np.linalg.norm((hi - np.eye(len(rotation))) + lo) + np.linalg.norm(off))
    if not skewness <= 0.5:
        raise ModelError(f"the rotation W must be unitary, ||I - W W^H|| is {skewness:.3g}")
    return UP * (1 + skewness) ** 0.5 / (1 - skewness) * skewness


def principal_axes(coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return W (N, N) unitary and v (N,), descending, with E gamma gamma^H = W diag(v) W^H over rows gamma (M, N)."""
    _, values, rows = np.linalg.svd(np.linalg.qr(coefficients, mode="r"), full_matrices=True)
    energies = np.zeros(coefficients.shape[1])
    energies[: len(values)] = values**2 / len(coefficients)
    return rows.T, energies


def check_mean(mean: Any) -> None:
    """Raise ModelError for what is no mean number of bits."""
    if not isinstance(mean, Real) or isinstance(mean, bool) or not 0 < float(mean) <= MOST:
        raise ModelError(f"bits must be a mean number of bits in (0, {MOST}], got {mean!r}")


def vector_bits(rotated: np.ndarray, weights: np.ndarray, inner: InnerProduct, mean: float) -> np.ndarray:
    """Return the bits (N,) of vectors Z W (n, N) that leave the least mean square error in the P-norm.

    weights : v (N,), mean squares of their coefficients; mean : bits per number

    Rounding to the grid of step s leaves s^2 / 12 per number, in units of the unknowns, and independent for different
    ones: ||E_i||_P^2 = s_i^2 / 12 trace(S P S). Raises ModelError for a mean outside 0 to 24.
    """
    check_mean(mean)
    n, count = rotated.shape
    parts = [rotated.real, rotated.imag] if rotated.dtype.kind == "c" else [rotated]
    largest = np.max([np.abs(part / inner.balance[:, None]).max(axis=0) for part in parts], axis=0)
    trace = float(np.sum(np.asarray(inner.balanced.diagonal()).real)) * len(parts)
    bits = np.arange(MOST + 1)
    steps = largest[:, None] / np.maximum(2.0 ** (bits - 1) - 1, 0.5)
    losses = weights[:, None] * steps**2 * trace / 12
    losses[:, 0] = weights * inner.norm(rotated) ** 2
    found = allocate_bits(losses, sizes=np.full(count, n), budget=mean * n * count, method="greedy")
    return np.array(found.bits)
