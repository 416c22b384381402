"""The arrays of a reduced model in the order in which the kernels read them; made once per model."""

from __future__ import annotations

import numpy as np

from rbm.online.forms import Finish, NormForm, ProductForm, SquareForm
from rbm.online.kernels import arguments
from rbm.online.kernels.arguments import (
    MarchFactor,
    MarchSystem,
    PackedFactor,
    PackedFinish,
    PackedProducts,
    PackedSplit,
    PackedSystem,
)
from rbm.online.marching import Recursion
from rbm.online.splitting import split_matrix

#: Number of rows of the factor that are multiplied together, and the multiple to which its columns are padded.
ROWS = 4


def pack_system(operators: np.ndarray, rhs: np.ndarray, hermitian: bool) -> PackedSystem:
    """Pack operators (Qa, k, N) and right-hand sides (Qf, k); `hermitian` stores lower triangles only."""
    qa, k, n = operators.shape
    kind = arguments.LDL if hermitian else arguments.LU if k == n else arguments.QR
    if k == n or n == 0:
        entries = operators[(slice(None), *np.tril_indices(n))] if hermitian else operators.reshape(qa, k * n)
        empty = np.zeros(n + 1, dtype=np.int64)
        return PackedSystem(kind, _interleaved(entries), _interleaved(rhs), empty, empty, entries.shape[1])
    used = np.any(operators != 0, axis=0)  # (k, N)
    last = np.where(used.any(axis=0), k - np.argmax(used[::-1], axis=0), 0)
    of_rhs = k - int(np.argmax(np.any(rhs != 0, axis=0)[::-1])) if rhs.any() else 0
    # a column is as high as the reflections before it reach, and reaches its own diagonal
    height = np.maximum.accumulate(np.maximum(last, np.minimum(np.arange(1, n + 1), k)))
    height = np.append(height, max(of_rhs, height[-1]))
    start = np.concatenate([[0], np.cumsum(height)[:-1]])
    columns = np.concatenate([operators[:, : height[j], j] for j in range(n)], axis=1)
    sources = _interleaved(rhs[:, : height[n]])
    return PackedSystem(kind, _interleaved(columns), sources, start, height, int(start[n] + height[n]))


def no_system(real: np.dtype) -> PackedSystem:
    """Return the system of a kernel that is given gamma: there is nothing to solve."""
    none, zero = np.zeros(0, real), np.zeros(1, np.int64)
    return PackedSystem(arguments.GIVEN, none, none, zero, zero, 0)


def _interleaved(terms: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(terms.T).ravel()


def pack_factor(form: NormForm, dtype: np.dtype) -> PackedFactor:
    """Pack F for ||F c||_2; for complex coefficients F becomes the real matrix (2 k, 2 m) of pairs."""
    factor = form.factor.astype(precision(form.factor, dtype))
    real = _of_pairs(factor) if dtype.kind == "c" else factor
    starts, columns, refined = _starts(real), _padded(real.shape[1]), form.refined is not None
    made = split_matrix(real.astype(float)) if refined else None
    parts = [real] if made is None else [real, made.head, made.tail]  # blocks of all start where those of R do
    flat = _flat(np.stack(parts, dtype=real.dtype, casting="same_kind"), starts)
    weights = np.stack([form.weights, form.weights if form.refined is None else form.refined]).astype(real.dtype)
    floor, split = (float(form.relative), float(form.absolute)), _no_split(real.dtype)
    if made is not None:
        scales, shifts = (np.append(a, np.ones(columns - len(a))) for a in (made.scales, made.shifts))
        split = tuple(PackedSplit(flat[1:], scales.astype(real.dtype), shifts.astype(real.dtype)))
    return PackedFactor(arguments.NORM, refined, flat[0], _first(starts, columns), columns, weights, *floor, split)


def _no_split(real: np.dtype) -> tuple[np.ndarray, ...]:
    return tuple(PackedSplit(np.zeros((2, 0), real), np.zeros(0, real), np.zeros(0, real)))


def pack_square(form: SquareForm, dtype: np.dtype) -> PackedFactor:
    """Pack G for c^H G c = 2 c^T T c, T the upper triangle of the real form of G with half its diagonal."""
    gram = form.gram.astype(precision(form.gram, dtype))
    real = _of_pairs(gram) if dtype.kind == "c" else gram
    matrix, first, columns = _blocks(np.triu(real, 1) + np.diag(np.diag(real) / 2).astype(real.dtype))
    weights = np.stack([form.weights, form.weights]).astype(matrix.dtype)
    floor = float(form.factor), float(form.absolute)
    return PackedFactor(arguments.EXPANDED, False, matrix, first, columns, weights, *floor, _no_split(matrix.dtype))


def pack_forms(matrices: np.ndarray, pairs: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Pack Hermitian matrices (Q, N, N) for c^H G c = 2 x^T T x: upper triangles T of real forms, half their diagonals.

    pairs : x (2 N,) are the pairs of complex c; otherwise c is real, and only real parts of G count

    Returns triangles (Q, entries), first columns and elements (2, blocks), and the padded number of columns.
    """
    real = np.stack([_of_pairs(g) if pairs else g.real for g in matrices])
    lower, diagonal = np.tril(np.ones(real.shape[1:], bool), -1), np.eye(real.shape[1])
    triangles = np.where(lower, 0.0, real) * (1 - diagonal / 2)
    starts, columns = _starts(np.ones_like(real[0]) * ~lower), _padded(real.shape[2])
    return _flat(triangles, starts), _first(starts, columns), columns


def no_factor(real: np.dtype) -> PackedFactor:
    """Return the factor for a query without residual norms."""
    none, first = np.zeros(0, real), np.zeros((2, 0), np.int64)
    return PackedFactor(arguments.NOTHING, False, none, first, 0, np.zeros((2, 0), real), 0.0, 0.0, _no_split(real))


def pack_finish(finish: Finish, dtype: np.dtype) -> PackedFinish:
    """Pack the stability bound and the outputs."""
    real = dtype.type(0).real.dtype
    functionals = finish.functionals.astype(precision(finish.functionals, dtype)).ravel()
    stability, magnitudes, norms = (a.astype(real) for a in (finish.stability, finish.magnitudes, finish.norms))
    return PackedFinish(stability, functionals, magnitudes, norms, *_pack_energies(finish, real))


def _pack_energies(finish: Finish, real: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return energy, skew and mismatch of :class:`PackedFinish`; compliant outputs are all about one load."""
    energies = finish.energies or (None,) * len(finish.norms)
    known = [e for e in energies if e is not None]
    if not known:
        return np.zeros((0, 0), real), np.zeros(0, real), np.full(len(energies), -1.0, real)
    mismatch = np.array([-1.0 if e is None else e.mismatch for e in energies], real)
    energy = np.vstack([known[0].weights, np.max([e.magnitudes for e in known], axis=0)])
    return energy.astype(real), np.append(known[0].size, known[0].skew).astype(real), mismatch


def no_finish(real: np.dtype) -> PackedFinish:
    """Return the finish for a query without error bounds and outputs."""
    none = np.zeros(0, real)
    table = np.zeros((0, 0), real)
    return PackedFinish(none, none, table, none, table, none, none)


def pack_products(form: ProductForm, dtype: np.dtype) -> PackedProducts:
    """Pack E4's selected products, and its triangular matrices column by column."""
    real = dtype.type(0).real.dtype
    scales, squares, errors, weights = (a.astype(real) for a in (form.scales, form.squares, form.errors, form.weights))
    lower, upper = (np.asarray(m, dtype=real).ravel(order="F") for m in (form.lower, form.upper))
    products, floor = form.products.astype(np.int64), (float(form.deviation), float(form.absolute))
    return PackedProducts(products, scales, lower, upper, squares, errors, weights, *floor)


def pack_recursion(recursion: Recursion, hermitian: bool, dtype: np.dtype) -> MarchSystem:
    """Pack a reduced recursion; `hermitian` stores lower triangles of the mass only."""
    operators, mass, rhs = (a.astype(precision(a, dtype)) for a in recursion[:3])
    n, kind = operators.shape[1], arguments.LDL if hermitian else arguments.LU
    mass = mass[(slice(None), *np.tril_indices(n))] if hermitian else mass.reshape(len(mass), n * n)
    stiffness = _interleaved(operators.reshape(len(operators), n * n))
    return MarchSystem(
        kind, stiffness, _interleaved(mass), _interleaved(rhs), float(recursion.dt), float(recursion.theta)
    )


def pack_time_factor(
    factor: np.ndarray, weights: np.ndarray, shape: tuple[int, int, int, int], dtype: np.dtype
) -> tuple[MarchFactor, int]:
    """Pack R (k, m) and w (m,) for (Qf, Qa, Qm, N) terms; return also the number of entries of R_mu."""
    qf, qa, qm, n = shape
    k, m = factor.shape
    matrix = np.zeros((-(-k // 2) * 2, m), precision(factor, dtype))
    matrix[:k] = factor
    widths = np.array([qf] + [qa, qm] * n)
    ends = np.cumsum(widths)
    parts, first, place, element = [], [], 0, 0
    for rows in matrix.reshape(-1, 2, m):
        used = np.flatnonzero(np.any(rows != 0, axis=0))
        group = int(np.searchsorted(ends, used[0], side="right")) if len(used) else len(widths)
        first.append((group, place, element))
        parts.append(rows[:, ends[group] - widths[group] if len(used) else m :].T.ravel())
        place, element = place + 2 * (len(widths) - group), element + parts[-1].size
    flat = np.concatenate([*parts, np.zeros(0, matrix.dtype)])
    places = np.array(first, np.int64).reshape(-1, 3).T.copy()
    return MarchFactor(flat, places, weights.astype(dtype.type(0).real.dtype)), place


def precision(array: np.ndarray, dtype: np.dtype) -> np.dtype:
    """Return `dtype`, or its real type for a real array."""
    return dtype if array.dtype.kind == "c" else dtype.type(0).real.dtype


def _of_pairs(matrix: np.ndarray) -> np.ndarray:
    """Return the real matrix (2 k, 2 m) that multiplies (re c_1, im c_1, re c_2, ...)."""
    k, m = matrix.shape
    pairs = np.empty((k, 2, m, 2), dtype=matrix.real.dtype)
    pairs[:, 0, :, 0] = pairs[:, 1, :, 1] = matrix.real
    pairs[:, 0, :, 1] = -matrix.imag
    pairs[:, 1, :, 0] = matrix.imag
    return pairs.reshape(2 * k, 2 * m)


def _blocks(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return entries, first columns and elements, and the padded number of columns of :class:`PackedFactor`."""
    starts, columns = _starts(factor), _padded(factor.shape[1])
    return _flat(factor[None], starts)[0], _first(starts, columns), columns


def _first(starts: np.ndarray, columns: int) -> np.ndarray:
    """Return first columns and elements (2, blocks) of blocks that start so."""
    sizes = ROWS * (columns - starts)
    return np.stack([starts, np.cumsum(sizes) - sizes]).astype(np.int64)


def _padded(columns: int) -> int:
    return -(-max(columns, 1) // ROWS) * ROWS


def _starts(factor: np.ndarray) -> np.ndarray:
    """Return where each block of four rows starts: at its first column that is not zero, or up to three before it."""
    k, m = factor.shape
    begin = np.full(-(-k // ROWS) * ROWS, _padded(m), dtype=np.int64)
    if m:
        used = factor != 0
        begin[:k] = np.where(used.any(axis=1), used.argmax(axis=1) // ROWS * ROWS, _padded(m))
    return begin.reshape(-1, ROWS).min(axis=1)


def _flat(factors: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the entries of all blocks of factors (a, k, m) from their first columns on, rows interleaved (a, ...)."""
    count, _, m = factors.shape
    sizes = ROWS * (_padded(m) - starts)
    made, end = np.zeros((count, int(sizes.sum())), factors.dtype), 0
    for block, (begin, size) in enumerate(zip(starts.tolist(), sizes.tolist(), strict=True)):
        rows = factors[:, ROWS * block : ROWS * (block + 1), begin:]
        to = made[:, end : end + size].reshape(count, -1, ROWS)
        to[:, : rows.shape[2], : rows.shape[1]] = rows.swapaxes(1, 2)
        end += size
    return made
