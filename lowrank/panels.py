"""The steps of a pass of block Gram-Schmidt over a panel of columns: projection, Gram matrix, tests, small factors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import scipy.linalg

from lowrank.arrays import namespace, to_numpy
from lowrank.dense import adjoint

__all__ = [
    "Each", "Products", "dispensable_norms", "finished_columns", "gram_of", "in_turn", "independent_columns",
    "inverse_of", "norms_from", "project_out", "refuse_indefinite", "rejection_norms", "select_columns", "tall_slices",
    "weighted_squares",
]  # fmt: skip

#: Calls a function for all of some slices, perhaps several at a time.
Each = Callable[[Callable[[slice], None], Sequence[slice]], None]

#: A vector is accepted if its remainder exceeds this many times the round-off of the vector itself: four bits of
#: signal.
SIGNAL = 16.0
#: Within a panel, a column whose remainder falls below this fraction of itself is not normalised in this pass, so that
#: the Gram matrix that is factorised has a condition number of order 1/INDEPENDENT^2 at most and Cholesky is safe.
INDEPENDENT = 0.03
#: A column is done when its last pass amplified the round-off of what it was made of by no more than this,
AMPLIFIED = 2.0
#: and removed no more than this of it: what the basis lacks in orthogonality enters times that, so that with a number
#: below one it does not grow as the basis does (with 10 it grew from 6e-14 to 5e-9 in thirty blocks).
REMOVED = 0.5
#: Rows of a tall matrix that are worked on together, and those that one thread takes.
ROWS, TALL = 4096, 1 << 14
#: Passes in which a column is normalised. Two do for columns with digits of their own, three where these are few; more
#: are of no use: the product is then not applied accurately enough for better.
MAX_PASSES = 4


def dispensable_norms(threshold: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """Return the norms below which columns of the panel may be given up, as all original columns can spare them."""
    share = np.abs(mixing)
    return np.divide(threshold, share, out=np.full(share.shape, np.inf), where=share > 0).min(axis=1)


def finished_columns(inverse: np.ndarray, totals: np.ndarray, removed: np.ndarray, passes: np.ndarray) -> int:
    """Return how many of the normalised columns need no further pass, from the first one on, so that R is triangular.

    inverse : T^-1; totals, removed : squared norms of what the columns were made of, and of what was projected out
    """
    weights = np.abs(inverse).T
    more = (weights @ norms_from(totals) > AMPLIFIED) | (weights @ norms_from(removed) > REMOVED)
    more &= passes < MAX_PASSES
    return int(np.argmax(np.append(more, True)))


def select_columns(array: Any, columns: np.ndarray) -> Any:
    """Return some columns of an array."""
    if isinstance(array, np.ndarray):
        return array if np.array_equal(columns, np.arange(array.shape[1])) else array[:, columns]
    xp = namespace(array)
    return xp.take(array, xp.asarray(columns), axis=1)


def in_turn(work: Callable[[slice], None], slices: Sequence[slice]) -> None:
    """Call work(rows) for all slices, one after the other."""
    for rows in slices:
        work(rows)


def tall_slices(n: int) -> list[slice]:
    """Return the rows of tall matrices in slices that may be worked on at a time; they depend on n alone."""
    return [slice(start, min(start + TALL, n)) for start in range(0, n, TALL)]


class Products:
    """Products with a panel X (n, m) of a few long columns; a class of yours may compute them otherwise.

    each : calls work(rows) for all slices of a list: blocks of rows of NumPy arrays with more than 16384, which threads
        may work on at a time; one after the other by default. The result does not depend on it
    """

    def __init__(self, each: Each = in_turn) -> None:
        self.each = each

    def adjoint(self, panel: Any, matrices: Sequence[Any]) -> list[Any]:
        """Return Y^H X (k, m) for each of some matrices Y (n, k).

        They are asked for transposed: with few columns in X and many in Y, stored column by column, that takes two
        thirds of the time. Sums over more than 16384 rows are sums over slices of that many, whoever works on them.
        """
        rows = adjoint(panel)
        slices = tall_slices(len(panel)) if isinstance(panel, np.ndarray) else []
        if len(slices) < 2:
            return [adjoint(rows @ y) for y in matrices]
        shape = len(slices), panel.shape[1]
        parts = [np.empty((*shape, y.shape[1]), np.result_type(panel.dtype, y.dtype)) for y in matrices]

        def work(some: slice) -> None:
            for part, y in zip(parts, matrices, strict=True):
                np.matmul(rows[:, some], y[some], out=part[some.start // TALL])

        self.each(work, slices)
        return [adjoint(part.sum(axis=0)) for part in parts]

    def without(self, panel: Any, matrices: Sequence[Any], factors: Sequence[Any]) -> Any:
        """Return X - sum Q H for matrices Q (n, k) and H (k, m); X may be overwritten.

        It is subtracted by blocks of rows, which stay in cache: there is no other tall matrix.
        """
        some = list(zip(matrices, factors, strict=True))
        if not isinstance(panel, np.ndarray) or not some:
            for q, h in some:
                panel = panel - (h.T @ q.T).T
            return panel
        made = np.empty_like(panel, dtype=np.result_type(panel, *(a for pair in some for a in pair)))

        def work(rows: slice) -> None:
            for start in range(rows.start, rows.stop, ROWS):
                block = slice(start, min(start + ROWS, rows.stop))
                rest = panel[block]
                for q, h in some:
                    rest = rest - (h.T @ q[block].T).T
                made[block] = rest

        self.each(work, tall_slices(len(panel)))
        return made

    def times(self, panel: Any, small: np.ndarray) -> Any:
        """Return X S (n, r), with columns stored one after the other."""
        if not isinstance(panel, np.ndarray) or len(panel) <= TALL:
            return (namespace(panel).asarray(small.T, dtype=panel.dtype) @ panel.T).T
        made, factor = np.empty((small.shape[1], len(panel)), panel.dtype), small.T.astype(panel.dtype)

        def work(rows: slice) -> None:
            np.matmul(factor, panel[rows].T, out=made[:, rows])

        self.each(work, tall_slices(len(panel)))
        return made.T


def project_out(panel: Any, against: list[tuple[Any, Any]], products: Products) -> tuple[Any, np.ndarray]:
    """Return X - Q H and H = (P Q)^H X, with Q given in pieces; X may be overwritten."""
    found = products.adjoint(panel, [pq for _, pq in against])
    some = [(q, h) for (q, _), h in zip(against, found, strict=True) if q.shape[1]]
    panel = products.without(panel, [q for q, _ in some], [h for _, h in some])
    return panel, np.concatenate([to_numpy(h) for h in found])


def gram_of(x: Any, px: Any, products: Products) -> np.ndarray:
    """Return X^H P X, made Hermitian. Raises ValueError if it is not finite."""
    gram = to_numpy(products.adjoint(px, [x])[0])
    gram = (gram + gram.conj().T) / 2
    if not np.all(np.isfinite(gram)):
        raise ValueError("the product gives NaN or infinite entries; check it for NaN and for its scale")
    return gram


def norms_from(squares: np.ndarray) -> np.ndarray:
    """Return norms from squared norms; zero or a negative rounding residue of a zero vector counts as zero length."""
    norms = np.zeros_like(squares)
    np.sqrt(squares, out=norms, where=squares > 0)
    return norms


def refuse_indefinite(bad: np.ndarray, squares: np.ndarray, columns: np.ndarray, scales: np.ndarray) -> None:
    """Raise ValueError if the squared norm of any column is not what a positive definite product gives."""
    if np.any(bad):
        j = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"the product is not positive definite: vector {columns[j]} or its remainder has v^H P v = "
            f"{squares[j] * scales[columns[j]] ** 2:.3g}; pass a Hermitian positive definite inner product"
        )


def weighted_squares(panel: Any, product: Any, rtol: float | None) -> np.ndarray | None:
    """Return sum_i P_ii |v_i|^2 of each column, None where it is not asked for or P shows no diagonal."""
    if rtol is not None or product is None or not hasattr(product, "diagonal"):
        return None
    return to_numpy(product.diagonal().real @ namespace(panel).abs(panel) ** 2)


def rejection_norms(sizes: np.ndarray | None, squares: np.ndarray, signal: float, rtol: float | None) -> np.ndarray:
    """Return the P-norms below which remainders of columns are round-off.

    sizes : of :func:`weighted_squares`; squares : squared P-norms of the columns; signal : round-off, with a margin
    """
    if rtol is not None:
        return rtol * norms_from(squares)
    return signal * (norms_from(squares) if sizes is None else np.sqrt(sizes))


def independent_columns(gram: np.ndarray, norms: np.ndarray, threshold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns, in order, that may safely be normalised together, and T with T^H T = their Gram matrix.

    The remainder of each against those before it is above INDEPENDENT times itself and above its threshold.
    """
    schur, chosen = gram / np.outer(norms, norms), []
    smallest = np.maximum(INDEPENDENT, threshold / norms) ** 2
    with suppress(np.linalg.LinAlgError):  # all of them, as a rule
        lower = np.linalg.cholesky(schur)
        if np.all(np.diag(lower).real ** 2 > smallest):
            return np.arange(len(gram)), lower.conj().T * norms
    for j in range(len(gram)):
        pivot = schur[j, j].real
        if pivot > smallest[j]:
            chosen.append(j)
            schur[j + 1 :, j + 1 :] -= np.outer(schur[j + 1 :, j], schur[j, j + 1 :]) / pivot
    places = np.array(chosen, dtype=int)
    return places, np.linalg.cholesky(gram[np.ix_(places, places)]).conj().T


def inverse_of(t: np.ndarray) -> np.ndarray:
    """Return the inverse of a small, well-conditioned (see INDEPENDENT) triangular matrix."""
    (trtri,) = scipy.linalg.get_lapack_funcs(("trtri",), (t,))
    return np.triu(trtri(t)[0])
