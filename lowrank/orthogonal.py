"""Orthonormal bases in a weighted inner product: block Gram-Schmidt, repeated until it is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from lowrank.arrays import as_matrix, namespace, plain, to_numpy, unit_roundoff
from lowrank.operators import as_product

__all__ = ["GramSchmidt", "gram_schmidt"]

#: A vector is accepted if its remainder exceeds this many times the round-off of the vector itself: four bits of signal.
SIGNAL = 16.0
#: Columns orthonormalised together; the small Gram matrices stay in cache, the products stay matrix-matrix.
PANEL = 32
#: Within a panel, a column whose remainder falls below this fraction of itself is not normalised in this pass, so that
#: the Gram matrix that is factorised has a condition number of order 1/INDEPENDENT^2 at most and Cholesky is safe.
INDEPENDENT = 0.03
#: A column is done when its last pass amplified the round-off of what it was made of by no more than this,
AMPLIFIED = 2.0
#: and removed no more than this of it: what the basis lacks in orthogonality enters times that, so that with a number below
#: one it does not grow as the basis does (with 10 it grew from 6e-14 to 5e-9 in thirty blocks).
REMOVED = 0.5
#: Passes in which a column is normalised. Two do for columns with digits of their own, three where these are few; more are of
#: no use: the product is then not applied accurately enough for better.
MAX_PASSES = 4


@dataclass(frozen=True, eq=False)
class GramSchmidt:
    """Result of :func:`gram_schmidt`, which unpacks into its four arrays.

    vectors = [basis0, basis] @ coefficients up to round-off.
    """

    basis: Any  #: Q (n, r), P-orthonormal and P-orthogonal to the given basis
    coefficients: Any  #: (k + r, m), rows ordered as [given basis (k), new basis (r)]
    kept: np.ndarray  #: (r,) which of the m vectors gave the new directions
    product_basis: Any  #: P Q (n, r)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.basis, self.coefficients, self.kept, self.product_basis))


def gram_schmidt(
    vectors: Any,
    *,
    product: Any = None,
    basis: Any = None,
    product_basis: Any = None,
    rtol: float | None = None,
) -> GramSchmidt:
    """Orthonormalise the columns of V in (x, y)_P = y^H P x, against a given basis and among themselves.

    Block classical Gram-Schmidt and CholeskyQR, in panels of 32 columns::

        V <- V - Q (PQ)^H V,   V = Q' T with T^H T = V^H P V,   again with Q' in place of V

    until a pass has changed a column so little that it is orthogonal to a few u: the norms of what column j is made of,
    sum_i |T^-1_ij| ||v_i||_P before the projection, are at most 2, and what the projection removed from them at most 1/2. That
    takes two passes as a rule, and one for columns that were nearly orthonormal. Columns that depend too strongly on others of
    their panel are only projected in one pass and normalised in the next. A column whose remainder is round-off is
    rejected: ||remainder||_P <= 16 u (sum_i P_ii |v_i|^2)^{1/2}, the expected P-norm of a relative rounding error u in every
    entry of v (16 u ||v||_P if P is a callable), or <= rtol ||v||_P if `rtol` is given.

    Parameters
    ----------
    vectors : (n, m) array, real or complex, float32 or float64; NumPy, CuPy, ...
    product : Hermitian positive definite P, anything with ``@`` (sparse, dense), a callable X -> P X, or None for the identity
    basis, product_basis : (n, k) P-orthonormal vectors Q0 to be orthogonal to, and P Q0 (computed if not given); both may be
        lists of matrices that stand side by side
    rtol : rejection threshold relative to ||v||_P; by default the round-off of v (above)

    Returns
    -------
    GramSchmidt(basis (n, r), coefficients (k + r, m), kept (r,), product_basis (n, r))

    Raises
    ------
    ValueError
        shapes that do not fit, NaN or infinite entries, or a product that is not positive definite on the vectors.

    Notes
    -----
    Cost of a pass: 4 n m (k + m) flops in matrix products and one application of P per vector. Orthonormal to a few u, for
    any condition number of V. Sources: Barlow and Smoktunowicz, Numer. Math. 123 (2013) 395-423; the test for a further
    pass is that of Daniel, Gragg, Kaufman, Stewart, Math. Comp. 30 (1976) 772-795, taken over to blocks.

    Examples
    --------
    >>> import numpy as np
    >>> q = gram_schmidt(np.array([[1.0, 1.0, 2.0], [0.0, 1.0, 1.0]]))
    >>> q.kept, np.round(q.coefficients, 12)
    (array([0, 1]), array([[1., 1., 2.],
           [0., 1., 1.]]))
    """
    vectors = as_matrix("vectors", vectors)
    n, m = vectors.shape
    if rtol is not None and not rtol >= 0:
        raise ValueError(f"rtol must be a number >= 0, got {rtol}")
    product = as_product("product", product)
    apply = _product(product, n)
    growing = _GrowingBasis(vectors, _given(basis, product_basis, apply, vectors), apply)
    for start in range(0, m, PANEL):
        growing.add(slice(start, min(start + PANEL, m)), product, rtol)
    return growing.result()


class _GrowingBasis:
    """The new directions found so far, and the coefficients of all vectors in them."""

    def __init__(self, vectors: Any, given: list[tuple[Any, Any]], apply: Callable[[Any], Any]) -> None:
        xp, (n, m) = namespace(vectors), vectors.shape
        self.vectors, self.given, self.apply = vectors, given, apply
        self.dtype = xp.result_type(vectors.dtype, *(a.dtype for pair in given for a in pair))
        self.scales = _scales(vectors)
        self.size = sum(q.shape[1] for q, _ in given)  # k, of the given basis
        kind = np.dtype(str(self.dtype).rpartition(".")[2])
        self.coefficients = np.zeros((self.size + m, m), dtype=kind)
        # transposed: columns are contiguous, and are appended and multiplied as such
        self.new, self.new_product = xp.zeros((m, n), dtype=self.dtype).T, xp.zeros((m, n), dtype=self.dtype).T
        self.kept: list[int] = []

    def add(self, where: slice, product: Any, rtol: float | None) -> None:
        """Orthonormalise the columns `where` of the vectors, pass by pass, and append what they add to the basis."""
        xp, columns = namespace(self.vectors), np.arange(where.start, where.stop)
        # columns of size one, by powers of two: no rounding, and no squared norm overflows
        panel = xp.astype(self.vectors[:, where], self.dtype)
        panel = panel / xp.asarray(self.scales[columns], dtype=panel.dtype)
        original, threshold = panel, None
        #: the columns of `original` are [basis, new] @ coefficients + panel @ mixing
        mixing = np.eye(len(columns), dtype=self.coefficients.dtype)
        passes = np.zeros(len(columns), dtype=int)
        while len(columns):
            r = len(self.kept)
            panel, h = _project(panel, [*self.given, (self.new[:, :r], self.new_product[:, :r])])
            self.coefficients[: self.size + r, where] += h @ mixing
            image = self.apply(panel)
            gram = _gram(panel, image)
            squares = np.diag(gram).real
            removed = np.sum(np.abs(h) ** 2, axis=0)
            totals = squares + removed  # before this pass, by Pythagoras
            if threshold is None:
                zero = (totals <= 0) & to_numpy(xp.any(original != 0, axis=0))
                _refuse_indefinite(zero, totals, columns, self.scales)
                threshold = _threshold(original, totals, product, rtol)
            spare = _spare(threshold, mixing)
            _refuse_indefinite(squares < -(spare**2), squares, columns, self.scales)
            norms = _root(squares)
            alive = np.flatnonzero(norms > spare)
            if not len(alive):
                break
            chosen = alive[_independent(gram[np.ix_(alive, alive)], norms[alive], spare[alive])]
            waiting = alive[~np.isin(alive, chosen)]
            passes[chosen] += 1
            t = scipy.linalg.cholesky(gram[np.ix_(chosen, chosen)])
            inverse = _inverse(t)
            done = _finished(inverse, totals[chosen], removed[chosen], passes[chosen])
            q = _times(_select(panel, chosen), inverse)
            self.new[:, r : r + done] = q[:, :done]
            if done:
                self.new_product[:, r : r + done] = _times(_select(image, chosen), inverse[:, :done])
            b = inverse.conj().T @ gram[np.ix_(chosen, waiting)]
            expressed = t @ mixing[chosen] + b @ mixing[waiting]
            self.coefficients[self.size + r : self.size + r + done, where] = expressed[:done]
            self.kept.extend(columns[chosen[:done]].tolist())
            panel = xp.concat([q[:, done:].T, (_select(panel, waiting) - _times(q, b)).T]).T
            mixing = np.concatenate([expressed[done:], mixing[waiting]])
            rest = np.concatenate([chosen[done:], waiting])
            columns, passes = columns[rest], passes[rest]

    def result(self) -> GramSchmidt:
        """The basis and the coefficients, in the units of the vectors."""
        r = len(self.kept)
        coefficients = self.coefficients[: self.size + r] * self.scales
        return GramSchmidt(
            self.new[:, :r],
            namespace(self.vectors).asarray(coefficients, dtype=self.dtype),
            np.array(self.kept, dtype=int),
            self.new_product[:, :r],
        )


def _spare(threshold: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """Norm below which a column of the panel may be given up: all original columns that contain it can spare it."""
    share = np.abs(mixing)
    return np.divide(threshold, share, out=np.full(share.shape, np.inf), where=share > 0).min(axis=1)


def _finished(inverse: np.ndarray, totals: np.ndarray, removed: np.ndarray, passes: np.ndarray) -> int:
    """How many of the columns that were normalised need no further pass, from the first one on: R is triangular.

    inverse : T^-1; totals, removed : squared norms of what the columns were made of, and of what was projected out
    """
    weights = np.abs(inverse).T
    more = (weights @ _root(totals) > AMPLIFIED) | (weights @ _root(removed) > REMOVED)
    more &= passes < MAX_PASSES
    return int(np.argmax(np.append(more, True)))


def _scales(vectors: Any) -> np.ndarray:
    """A power of two of the size of the largest entry of each column; one for a zero column."""
    if not vectors.shape[0] * vectors.shape[1]:
        return np.ones(vectors.shape[1])
    largest = to_numpy(namespace(vectors).max(namespace(vectors).abs(vectors), axis=0)).astype(np.float64)
    return np.where(largest > 0, np.ldexp(1.0, np.frexp(largest)[1]), 1.0)


def _select(array: Any, columns: np.ndarray) -> Any:
    if isinstance(array, np.ndarray):
        return array[:, columns]
    xp = namespace(array)
    return xp.take(array, xp.asarray(columns), axis=1)


def _times(array: Any, small: np.ndarray) -> Any:
    """X S with columns stored one after the other."""
    return (namespace(array).asarray(small.T, dtype=array.dtype) @ array.T).T


def _adjoint(array: Any) -> Any:
    xp = namespace(array)
    return xp.conj(array).T if xp.isdtype(array.dtype, "complex floating") else array.T


def _product(product: Any, n: int) -> Callable[[Any], Any]:
    if product is None:
        return lambda x: x
    if callable(product) and not hasattr(product, "shape"):
        return product
    if tuple(product.shape) != (n, n):
        raise ValueError(f"product has shape {tuple(product.shape)}, vectors have {n} rows: it must be ({n}, {n})")
    return lambda x: product @ x


def _given(basis: Any, product_basis: Any, apply: Callable[[Any], Any], vectors: Any) -> list[tuple[Any, Any]]:
    """Pieces of Q0 and P Q0, checked; where both are given NaN is left to the Gram matrices: a long basis is read once less."""
    xp, n = namespace(vectors), vectors.shape[0]
    pieces = [plain("basis", q) for q in _pieces(basis)]
    for q in pieces:
        if q.ndim != 2 or q.shape[0] != n:
            raise ValueError(
                f"basis has shape {tuple(q.shape)}, vectors have shape {tuple(vectors.shape)}: the first dimensions differ"
            )
    if product_basis is None:
        pieces = [as_matrix("basis", q) for q in pieces]
        given = [(q, apply(q)) for q in pieces]
    else:
        given = list(zip(pieces, (plain("product_basis", q) for q in _pieces(product_basis)), strict=True))
    if not given:  # the type of P Q0 is that of what comes
        empty = xp.zeros((n, 0), dtype=vectors.dtype)
        given = [(empty, apply(empty))]
    return given


def _pieces(basis: Any) -> list[Any]:
    """Matrices that stand side by side: a list of arrays, one array, or one matrix as a list of rows."""
    if basis is None:
        return []
    return basis if isinstance(basis, list) and all(hasattr(q, "shape") for q in basis) else [basis]


def _project(panel: Any, against: list[tuple[Any, Any]]) -> tuple[Any, np.ndarray]:
    """One pass: H = (P Q)^H X and X - Q H, with Q given in pieces.

    Both products are asked for transposed: with few columns in X and many in Q, stored column by column, they take two
    thirds of the time.
    """
    adjoint = _adjoint(panel)
    pieces = [(q, _adjoint(adjoint @ pq)) for q, pq in against]
    for q, h in pieces:
        if q.shape[1]:
            panel = panel - (h.T @ q.T).T
    return panel, np.concatenate([to_numpy(h) for _, h in pieces])


def _gram(x: Any, px: Any) -> np.ndarray:
    """X^H P X, made Hermitian. Raises ValueError if it is not finite."""
    gram = to_numpy(_adjoint(x) @ px)
    gram = (gram + gram.conj().T) / 2
    if not np.all(np.isfinite(gram)):
        raise ValueError("the product gives NaN or infinite entries; check it for NaN and for its scale")
    return gram


def _root(squares: np.ndarray) -> np.ndarray:
    """Norms from squared norms; zero or a negative rounding residue of a zero vector counts as zero length."""
    norms = np.zeros_like(squares)
    np.sqrt(squares, out=norms, where=squares > 0)
    return norms


def _refuse_indefinite(bad: np.ndarray, squares: np.ndarray, columns: np.ndarray, scales: np.ndarray) -> None:
    if np.any(bad):
        j = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"the product is not positive definite: vector {columns[j]} or its remainder has v^H P v = "
            f"{squares[j] * scales[columns[j]] ** 2:.3g}; pass a Hermitian positive definite inner product"
        )


def _threshold(panel: Any, squares: np.ndarray, product: Any, rtol: float | None) -> np.ndarray:
    """P-norm below which the remainder of each column is round-off, given the squared P-norms of the columns."""
    if rtol is not None:
        return rtol * _root(squares)
    if product is None or not hasattr(product, "diagonal"):
        return SIGNAL * unit_roundoff(panel) * _root(squares)
    diagonal = product.diagonal().real @ namespace(panel).abs(panel) ** 2
    return SIGNAL * unit_roundoff(panel) * np.sqrt(to_numpy(diagonal))


def _independent(gram: np.ndarray, norms: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Columns, in order, that a Cholesky factorisation of their Gram matrix may safely take together.

    The remainder of each against those before it is above INDEPENDENT times itself and above its threshold.
    """
    schur, chosen = gram / np.outer(norms, norms), []
    smallest = np.maximum(INDEPENDENT, threshold / norms) ** 2
    for j in range(len(gram)):
        pivot = schur[j, j].real
        if pivot > smallest[j]:
            chosen.append(j)
            schur[j + 1 :, j + 1 :] -= np.outer(schur[j + 1 :, j], schur[j, j + 1 :]) / pivot
    return np.array(chosen, dtype=int)


def _inverse(t: np.ndarray) -> np.ndarray:
    """Inverse of a small, well-conditioned (see INDEPENDENT) triangular matrix."""
    (trtri,) = scipy.linalg.get_lapack_funcs(("trtri",), (t,))
    return np.triu(trtri(t)[0])
