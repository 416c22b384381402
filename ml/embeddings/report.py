"""The errors of an approximate embedding table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.arrays import as_matrix, numpy_dtype, refuse_hidden, to_numpy
from ml.embeddings.factors import exponent

__all__ = ["EmbeddingReport", "checked_frequencies", "embedding_report"]

#: Rows compared at a time: what is formed of the approximation fits into the cache.
ROWS = 4096


@dataclass(frozen=True)
class EmbeddingReport:
    """Result of :func:`embedding_report`; the weighted numbers are None without frequencies."""

    relative_error: float
    cosine: float
    weighted_error: float | None
    weighted_cosine: float | None
    size_ratio: float

    def __repr__(self) -> str:
        text = f"{self.size_ratio:.2f} times smaller, relative error {self.relative_error:.3f}"
        text += f", cosine {self.cosine:.3f}"
        if self.weighted_error is not None:
            text += f"; by frequency {self.weighted_error:.3f}, {self.weighted_cosine:.3f}"
        return f"EmbeddingReport({text})"


def checked_frequencies(frequencies: Any, count: int) -> np.ndarray:
    """Return (count,) finite numbers >= 0, not all zero, in double precision. Raises ValueError for others."""
    refuse_hidden("frequencies", frequencies)
    given = np.asarray(to_numpy(frequencies) if hasattr(frequencies, "shape") else frequencies)
    if given.dtype.kind not in "biuf":
        raise ValueError(f"frequencies must be real numbers, got dtype {given.dtype}")
    p = given.astype(float)
    if p.shape != (count,):
        raise ValueError(f"frequencies must be {count} numbers, one per token, got shape {p.shape}")
    bad = ~(np.isfinite(p) & (p >= 0))
    if np.any(bad):
        i = int(np.argmax(bad))
        raise ValueError(f"frequencies must be finite and >= 0, got {p[i]:g} for token {i}")
    if count and not np.any(p):
        raise ValueError("frequencies are all zero; pass None for equal weights")
    return p


def embedding_report(table: Any, approximation: Any, frequencies: Any = None) -> EmbeddingReport:
    """Return the errors of an approximate embedding, plain and weighted by frequency.

    With the rows e_i (H,) of the table, their approximations e'_i and frequencies p_i,

        relative error = (sum_i p_i ||e_i - e'_i||^2 / sum_i p_i ||e_i||^2)^{1/2}
        cosine         = sum_i p_i Re(e_i^H e'_i) / (||e_i|| ||e'_i||) / sum_i p_i

    with p_i = 1 in the plain ones. The cosine of two zero rows is 1, of a zero row with another one 0.

    Parameters
    ----------
    table : (V, H), NumPy, CuPy, ...
    approximation : anything with ``lookup(ids (n,)) -> (n, H)`` and ``nbytes``
    frequencies : (V,) >= 0, in any scale, or None

    Returns
    -------
    EmbeddingReport, its `size_ratio` the bytes of the table divided by those of the approximation

    Raises
    ------
    ValueError
        shapes that do not fit, NaN, negative or no positive frequencies.

    Notes
    -----
    Cost: one lookup of every token. Sums are in double precision.

    Examples
    --------
    >>> import numpy as np
    >>> from ml import FactorizedEmbedding
    >>> table = np.array([[3.0, 4.0], [0.0, 1.0]])
    >>> FactorizedEmbedding(table[:, 1:], np.array([[0.0, 1.0]])).report(table, frequencies=[0, 1])
    EmbeddingReport(1.00 times smaller, relative error 0.588, cosine 0.900; by frequency 0.000, 1.000)
    """
    table = as_matrix("table", table)
    v, _ = table.shape
    if tuple(table.shape) != tuple(approximation.shape):
        raise ValueError(f"table has shape {tuple(table.shape)}, the approximation {tuple(approximation.shape)}")
    p = None if frequencies is None else checked_frequencies(frequencies, v)
    if p is not None:
        p = p / np.max(p, initial=0.0) if v else p  # sums of frequencies do not overflow
    unit = 2.0 ** exponent(table)
    squares, errors, cosines = np.empty(v), np.empty(v), np.empty(v)
    for start in range(0, v, ROWS):
        part = slice(start, min(start + ROWS, v))
        e = _double(table[part, :])
        a = _double(approximation.lookup(np.arange(part.start, part.stop)))
        squares[part] = np.sum(abs(e / unit) ** 2, axis=1)
        errors[part] = np.sum(abs(e / unit - a / unit) ** 2, axis=1)
        cosines[part] = _cosines(e, a)
    bytes_of_table = int(np.prod(table.shape)) * numpy_dtype(table).itemsize
    return EmbeddingReport(
        _ratio(errors, squares, None),
        _mean(cosines, None),
        None if p is None else _ratio(errors, squares, p),
        None if p is None else _mean(cosines, p),
        bytes_of_table / approximation.nbytes if approximation.nbytes else (np.inf if bytes_of_table else 1.0),
    )


def _cosines(e: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return the cosines of rows of two tables; of two zero rows 1, of a zero row and another one 0."""
    largest = [np.max(abs(x), axis=1, initial=0.0) for x in (e, a)]
    e, a = (x / np.where(size > 0, size, 1.0)[:, None] for x, size in zip((e, a), largest, strict=True))
    norms = np.linalg.norm(e, axis=1) * np.linalg.norm(a, axis=1)
    zero = np.where((largest[0] == 0) & (largest[1] == 0), 1.0, 0.0)
    return np.divide(np.sum((e.conj() * a).real, axis=1), norms, out=zero, where=norms > 0)


def _double(rows: Any) -> np.ndarray:
    host = to_numpy(rows)
    return host.astype(np.complex128 if host.dtype.kind == "c" else np.float64)


def _ratio(errors: np.ndarray, squares: np.ndarray, p: np.ndarray | None) -> float:
    error, whole = (float(np.sum(x if p is None else p * x)) for x in (errors, squares))
    return float(np.sqrt(error / whole)) if whole > 0 else (np.inf if error > 0 else 0.0)


def _mean(values: np.ndarray, p: np.ndarray | None) -> float:
    return float(np.average(values, weights=p)) if len(values) else 1.0
