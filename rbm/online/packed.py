"""The arrays of a reduced model in the order in which the compiled kernels read them; made once per model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ROWS", "Residual", "System", "pack_factor", "pack_square", "pack_system"]

#: Rows of the factor that are multiplied together, and the multiple to which its columns are padded.
ROWS = 4


@dataclass(frozen=True)
class System:
    """The reduced system: entries of a matrix one after the other, the Qa numbers of each entry together."""

    terms: np.ndarray  #: (entries * Qa,): lower triangles (LDL), whole matrices (LU), or the staircase of columns (QR)
    sources: np.ndarray  #: (k * Qf,)
    start: np.ndarray  #: (N + 1,) first entry of each column of [A | f]; QR only
    height: np.ndarray  #: (N + 1,) number of leading entries of each column that may differ from zero; QR only
    entries: int


def pack_system(operators: np.ndarray, rhs: np.ndarray, hermitian: bool) -> System:
    """From operators (Qa, k, N) and right-hand sides (Qf, k); `hermitian` stores lower triangles only."""
    qa, k, n = operators.shape
    if k == n or n == 0:
        entries = operators[(slice(None), *np.tril_indices(n))] if hermitian else operators.reshape(qa, k * n)
        empty = np.zeros(n + 1, dtype=np.int64)
        return System(_interleaved(entries), _interleaved(rhs), empty, empty, entries.shape[1])
    used = np.any(operators != 0, axis=0)  # (k, N)
    last = np.where(used.any(axis=0), k - np.argmax(used[::-1], axis=0), 0)
    of_rhs = k - int(np.argmax(np.any(rhs != 0, axis=0)[::-1])) if rhs.any() else 0
    # a column is as high as the reflections before it reach, and reaches its own diagonal
    height = np.maximum.accumulate(np.maximum(last, np.minimum(np.arange(1, n + 1), k)))
    height = np.append(height, max(of_rhs, height[-1]))
    start = np.concatenate([[0], np.cumsum(height)[:-1]])
    columns = np.concatenate([operators[:, : height[j], j] for j in range(n)], axis=1)
    return System(_interleaved(columns), _interleaved(rhs[:, : height[n]]), start, height, int(start[n] + height[n]))


def _interleaved(terms: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(terms.T).ravel()


@dataclass(frozen=True)
class Residual:
    """A real matrix F, blocks of four rows, each from its first column that is not zero on, entry by entry of its rows."""

    factor: np.ndarray
    first: np.ndarray  #: (2, blocks): first column, first element
    columns: int  #: padded to a multiple of four


def pack_factor(factor: np.ndarray, complex_valued: bool) -> Residual:
    """For ||F c||_2, F (k, m); `complex_valued`: the coefficients are complex, and F becomes the real matrix (2 k, 2 m) of pairs."""
    return _blocks(_of_pairs(factor) if complex_valued else factor)


def pack_square(gram: np.ndarray, complex_valued: bool) -> Residual:
    """For c^H G c = 2 c^T T c, T the upper triangle of the real form of G with half its diagonal."""
    real = _of_pairs(gram) if complex_valued else gram
    return _blocks(np.triu(real, 1) + np.diag(np.diag(real) / 2).astype(real.dtype))


def _of_pairs(matrix: np.ndarray) -> np.ndarray:
    """The real matrix (2 k, 2 m) that multiplies (re c_1, im c_1, re c_2, ...)."""
    k, m = matrix.shape
    pairs = np.empty((k, 2, m, 2), dtype=matrix.real.dtype)
    pairs[:, 0, :, 0] = pairs[:, 1, :, 1] = matrix.real
    pairs[:, 0, :, 1] = -matrix.imag
    pairs[:, 1, :, 0] = matrix.imag
    return pairs.reshape(2 * k, 2 * m)


def _blocks(factor: np.ndarray) -> Residual:
    k, m = factor.shape
    columns = -(-max(m, 1) // ROWS) * ROWS
    padded = np.zeros((-(-k // ROWS) * ROWS, columns), dtype=factor.dtype)
    padded[:k, :m] = factor
    parts, first, place = [], [], 0
    for block in padded.reshape(-1, ROWS, columns):
        used = np.flatnonzero(np.any(block != 0, axis=0))
        begin = int(used[0]) // ROWS * ROWS if len(used) else columns
        first.append((begin, place))
        parts.append(block[:, begin:].T.ravel())
        place += parts[-1].size
    flat = np.concatenate([*parts, np.zeros(0, dtype=factor.dtype)])
    return Residual(flat, np.array(first, dtype=np.int64).reshape(-1, 2).T.copy(), columns)
