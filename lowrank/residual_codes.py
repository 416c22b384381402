"""Samples as a few integers: sums of code vectors, one of each level."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import plain
from lowrank.nearest import Codebooks, codebooks_of, encode

__all__ = ["Coordinates", "ResidualCodes", "samples"]

VERSION = 1
DOUBLE = np.dtype(np.float64)
KEYS = frozenset({"centres", "error_per_level", "header"})


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Real coordinates in which distances are Euclidean, of samples (n, d)."""

    width: int  #: d
    dtype: np.dtype  #: of samples
    basis: np.ndarray | None = None  #: Q (d, r), P-orthonormal; None without a product
    dual: np.ndarray | None = None  #: P Q (d, r)

    @property
    def size(self) -> int:
        """Number of real coordinates."""
        return (self.width if self.basis is None else self.basis.shape[1]) * (2 if self.dtype.kind == "c" else 1)

    @functools.cached_property
    def plain(self) -> bool:
        """Whether the coordinates are the numbers of the sample."""
        return self.dual is None and self.dtype.kind != "c"

    def of(self, x: np.ndarray) -> np.ndarray:
        """Return the coordinates Q^H P x, complex ones as pairs, in double precision."""
        z = x if self.dual is None else x @ self.dual.conj()
        if self.dtype.kind == "c":
            return np.ascontiguousarray(z, dtype=np.complex128).view(np.float64)
        return np.asarray(z, dtype=np.float64)

    def back(self, z: np.ndarray) -> np.ndarray:
        """Return the samples (..., d) with these coordinates (..., r)."""
        x = np.ascontiguousarray(z).view(np.complex128) if self.dtype.kind == "c" else z
        return (x if self.basis is None else x @ self.basis.T).astype(self.dtype)


@dataclass(frozen=True, eq=False)
class ResidualCodes:
    """Result of :meth:`lowrank.ResidualQuantizer.fit`: x ~ sum_l c_{l, k_l}, k_l of 0 .. K - 1 for L levels."""

    coordinates: Coordinates
    centres: np.ndarray  #: (L, K, r), code vectors in the coordinates
    error_per_level: np.ndarray  #: (L,), relative error of the samples of the fit with 1 .. L levels

    @property
    def levels(self) -> int:
        """Number L of levels, integers of a sample."""
        return self.centres.shape[0]

    @property
    def codes(self) -> int:
        """Number of code vectors K of a level."""
        return self.centres.shape[1]

    @property
    def codebooks(self) -> np.ndarray:
        """Code vectors (L, K, d), as samples are."""
        return self.coordinates.back(self.centres)

    @property
    def bits(self) -> int:
        """Bits of a sample: L ceil(log2 K)."""
        return self.levels * math.ceil(math.log2(self.codes))

    @property
    def nbytes(self) -> int:
        """Bytes of code vectors and, with a product, of the basis and its dual."""
        given = (self.coordinates.basis, self.coordinates.dual)
        return self.centres.nbytes + sum(a.nbytes for a in given if a is not None)

    @functools.cached_property
    def _books(self) -> Codebooks:
        return codebooks_of(self.centres)

    def encode(self, x: Any) -> np.ndarray:
        """Return the codes (n, L) of samples (n, d), or (L,) of one sample (d,): int32.

        Level after level the code vector nearest to what is left, see :func:`lowrank.nearest.encode_plainly`. The code
        of a sample does not depend on the others. The first call compiles, for a few seconds.

        Raises ValueError for NaN, infinite entries and another width.
        """
        given, coordinates = samples("X", x), self.coordinates
        shape = given.shape
        if not 1 <= len(shape) <= 2 or shape[-1] != coordinates.width:
            d = coordinates.width
            raise ValueError(f"X must have the shape (n, {d}) or ({d},) of one sample, got {shape}")
        rows = given.reshape(1, -1) if len(shape) == 1 else given
        if not (coordinates.plain and rows.dtype == DOUBLE):  # what is plain already takes a microsecond less
            rows = self._coordinates_of(rows)
        found = encode(rows, self._books)
        return found[0] if len(shape) == 1 else found

    def encode_one(self, x: np.ndarray) -> np.ndarray:
        """Return the codes (L,) of one sample, an array of `width` entries in double precision, whatever its shape.

        As :meth:`encode`, without a check of what is given here; entries are looked at all the same.
        """
        if not self.coordinates.plain:
            return self.encode(x.reshape(-1))
        return encode(x.reshape(1, -1), self._books)[0]

    def _coordinates_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the coordinates (n, r) of samples (n, d) in double precision."""
        c = self.coordinates
        if rows.dtype.kind == "c" and c.dtype.kind != "c":
            raise ValueError("X is complex, the samples that the codes were made for are real")
        if c.plain:
            return rows.astype(np.float64)
        # one by one, so that no product sees how many there are
        return np.stack([c.of(row[None])[0] for row in rows]) if len(rows) else np.zeros((0, c.size))

    def decode(self, k: Any) -> np.ndarray:
        """Return the samples (n, d) of codes (n, l), or (d,) of one code (l,), l <= L: what l levels give.

        Raises ValueError for codes outside 0 .. K - 1 and more than L of them, TypeError for other than integers.
        """
        given = np.asarray(k)
        if given.dtype.kind not in "iu":
            raise TypeError(f"codes must be integers, got dtype {given.dtype}")
        if given.ndim not in (1, 2) or not 1 <= given.shape[-1] <= self.levels:
            raise ValueError(f"codes must have the shape (n, {self.levels}) or ({self.levels},), got {given.shape}")
        if given.size and (given.min() < 0 or given.max() >= self.codes):
            bad = given[(given < 0) | (given >= self.codes)][0]
            raise ValueError(f"codes must be 0 .. {self.codes - 1}, got {bad}")
        total = np.zeros((*given.shape[:-1], self.centres.shape[2]))
        for level in range(given.shape[-1]):
            total += self.centres[level][given[..., level]]
        return self.coordinates.back(total)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of a file, `centres` (L, K, d) and others; see docs/bits.md for the keys."""
        c = self.coordinates
        kinds = ("float32", "float64", "complex64", "complex128")
        found = {
            "centres": self.centres,
            "error_per_level": self.error_per_level,
            "header": np.array([VERSION, c.width, kinds.index(c.dtype.name)], dtype=np.int64),
        }
        return found if c.basis is None or c.dual is None else {**found, "basis": c.basis, "dual": c.dual}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> ResidualCodes:
        """Return what :meth:`arrays` gave, all of it checked. Raises ValueError for anything else."""
        keys = set(arrays)
        if keys != KEYS and keys != KEYS | {"basis", "dual"}:
            raise ValueError(
                f"residual codes have the arrays {', '.join(sorted(KEYS))} (and basis, dual), got {sorted(keys)}"
            )
        given = {key: np.asarray(a) for key, a in arrays.items()}
        header = given["header"]
        if header.shape != (3,) or header.dtype.kind not in "iu" or header[0] != VERSION or not 0 <= header[2] < 4:
            raise ValueError(f"the header {header.tolist()} is none of residual codes of version {VERSION}")
        dtype = np.dtype(("float32", "float64", "complex64", "complex128")[int(header[2])])
        c = Coordinates(int(header[1]), dtype, given.get("basis"), given.get("dual"))
        for key, a in given.items():
            numbers = "fc" if dtype.kind == "c" else "f"
            if a.dtype.kind not in (numbers if key in ("basis", "dual") else "f" if key != "header" else "iu"):
                raise ValueError(f"{key} has entries of {a.dtype}, which is none of residual codes")
            if not np.all(np.isfinite(a)):
                raise ValueError(f"{key} has entries that are NaN or infinite: it is damaged")
        centres, errors = given["centres"], given["error_per_level"]
        if c.basis is not None and c.dual is not None:
            shapes = c.basis.shape, c.dual.shape
            if c.basis.ndim != 2 or shapes[0] != shapes[1] or len(c.basis) != c.width:
                raise ValueError(f"basis and dual must have the shape ({c.width}, r), got {shapes[0]} and {shapes[1]}")
        if centres.ndim != 3 or 0 in centres.shape[:2] or centres.shape[2] != c.size or errors.shape != (len(centres),):
            raise ValueError(
                f"centres must have the shape (L, K, {c.size}) and error_per_level (L,), got {centres.shape} and "
                f"{errors.shape}"
            )
        if np.any(errors < 0):
            raise ValueError(f"error_per_level has the entry {errors.min()}: it is damaged")
        return cls(c, centres.astype(np.float64), errors.astype(np.float64))

    def __repr__(self) -> str:
        size = f"{self.levels} of {self.codes} codes, {self.bits} bits a sample of {self.coordinates.width}"
        return f"ResidualCodes({size}, relative error {self.error_per_level[-1]:.3g})"


def samples(name: str, x: Any) -> np.ndarray:
    """Return samples as a NumPy array of numbers. Raises TypeError for arrays of other modules."""
    found = plain(name, x)
    if not isinstance(found, np.ndarray):
        raise TypeError(f"{name} must be on the host, got {type(found).__name__}: convert it, by .get() of CuPy")
    return found
