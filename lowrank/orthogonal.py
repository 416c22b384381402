"""Orthonormal bases in a weighted inner product: block Gram-Schmidt, applied twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from lowrank.arrays import as_matrix, namespace, to_numpy, unit_roundoff

__all__ = ["GramSchmidt", "gram_schmidt"]

#: A vector is accepted if its remainder exceeds this many times the round-off of the vector itself: four bits of signal.
SIGNAL = 16.0
#: Columns orthonormalised together; the small Gram matrices stay in cache, the products stay matrix-matrix.
PANEL = 32
#: Within a panel, a column whose remainder falls below this fraction of itself waits for the next round, so that the
#: Gram matrix that is factorised has a condition number of order 1/INDEPENDENT^2 at most and Cholesky is safe.
INDEPENDENT = 0.03


class GramSchmidt(NamedTuple):
    """Result of :func:`gram_schmidt`: vectors = [basis0, basis] @ coefficients up to round-off."""

    basis: Any  #: Q (n, r), P-orthonormal and P-orthogonal to the given basis
    coefficients: Any  #: (k + r, m), rows ordered as [given basis (k), new basis (r)]
    kept: np.ndarray  #: (r,) which of the m vectors gave the new directions
    product_basis: Any  #: P Q (n, r)


def gram_schmidt(
    vectors: Any,
    *,
    product: Any = None,
    basis: Any = None,
    product_basis: Any = None,
    rtol: float | None = None,
) -> GramSchmidt:
    """Orthonormalise the columns of V in (x, y)_P = y^H P x, against a given basis and among themselves.

    Block classical Gram-Schmidt, twice (BCGS2 with CholeskyQR2 inside a panel of 32 columns)::

        V <- V - Q (PQ)^H V,   V = Q' T with T^H T = V^H P V,   both steps twice;

    columns that depend too strongly on others of their panel wait for a further round. A column whose remainder is
    round-off is rejected: ||remainder||_P <= 16 u (sum_i P_ii |v_i|^2)^{1/2}, the expected P-norm of a relative
    rounding error u in every entry of v (16 u ||v||_P if P is a callable), or <= rtol ||v||_P if `rtol` is given.

    Parameters
    ----------
    vectors : (n, m) array, real or complex, float32 or float64; NumPy, CuPy, ...
    product : Hermitian positive definite P, anything with ``@`` (sparse, dense), a callable X -> P X, or None for the identity
    basis, product_basis : (n, k) P-orthonormal vectors Q0 to be orthogonal to, and P Q0 (computed if not given)
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
    Cost: 4 n m (k + m) flops in matrix products and two applications of P per vector. Orthonormal to a few u, for
    any condition number of V. Source: Barlow and Smoktunowicz, Numer. Math. 123 (2013) 395-423.

    Examples
    --------
    >>> import numpy as np
    >>> q = gram_schmidt(np.array([[1.0, 1.0, 2.0], [0.0, 1.0, 1.0]]))
    >>> q.kept, np.round(q.coefficients, 12)
    (array([0, 1]), array([[1., 1., 2.],
           [0., 1., 1.]]))
    """
    vectors = as_matrix("vectors", vectors)
    xp = namespace(vectors)
    n, m = vectors.shape
    if rtol is not None and not rtol >= 0:
        raise ValueError(f"rtol must be a number >= 0, got {rtol}")
    if basis is None:
        basis = xp.zeros((n, 0), dtype=vectors.dtype)
    elif basis.ndim != 2 or basis.shape[0] != n:
        raise ValueError(
            f"basis has shape {tuple(basis.shape)}, vectors have shape {(n, m)}: the first dimensions differ"
        )
    else:
        basis = as_matrix("basis", basis)
    apply = _product(product, n)
    if product_basis is None:
        product_basis = apply(basis)
    k = basis.shape[1]
    dtype = xp.result_type(vectors.dtype, basis.dtype, product_basis.dtype)

    scales = _scales(vectors)
    coefficients = np.zeros((k + m, m), dtype=np.dtype(str(dtype).rpartition(".")[2]))
    new, new_product = xp.zeros((n, m), dtype=dtype), xp.zeros((n, m), dtype=dtype)
    kept: list[int] = []
    for start in range(0, m, PANEL):
        columns = np.arange(start, min(start + PANEL, m))
        # columns of size one, by powers of two: no rounding, and no squared norm overflows
        panel = xp.astype(vectors[:, start : int(columns[-1]) + 1], dtype)
        panel = panel / xp.asarray(scales[columns], dtype=panel.dtype)
        original, threshold = panel, None
        while len(columns):
            r = len(kept)
            against = [(basis, product_basis), (new[:, :r], new_product[:, :r])]
            panel, h = _project(panel, against)
            coefficients[: k + r, columns] += h
            gram = _gram(panel, apply(panel))
            if not np.all(np.isfinite(gram)):
                raise ValueError("the product gives NaN or infinite entries; check it for NaN and for its scale")
            squares = np.diag(gram).real
            if threshold is None:  # ||v||^2 by Pythagoras: no further product is needed
                totals = squares + np.sum(np.abs(h) ** 2, axis=0)
                _refuse_indefinite((totals <= 0) & to_numpy(xp.any(original != 0, axis=0)), totals, columns, scales)
                threshold = _threshold(original, totals, product, rtol)
            _refuse_indefinite(squares < -(threshold**2), squares, columns, scales)
            norms = _root(squares)
            alive = np.flatnonzero(norms > threshold)
            if not len(alive):
                break
            chosen = alive[_independent(gram[np.ix_(alive, alive)], norms[alive], threshold[alive])]
            q, pq, h, t = _orthonormal(_select(panel, chosen), gram[np.ix_(chosen, chosen)], against, apply)
            coefficients[: k + r, columns[chosen]] += h
            coefficients[k + r : k + r + len(chosen), columns[chosen]] = t
            new[:, r : r + len(chosen)] = q
            new_product[:, r : r + len(chosen)] = pq
            kept.extend(columns[chosen].tolist())
            waiting = np.setdiff1d(alive, chosen)
            panel, columns, threshold = _select(panel, waiting), columns[waiting], threshold[waiting]
    r = len(kept)
    return GramSchmidt(
        new[:, :r],
        xp.asarray(coefficients[: k + r] * scales, dtype=dtype),
        np.array(kept, dtype=int),
        new_product[:, :r],
    )


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


def _project(panel: Any, against: list[tuple[Any, Any]]) -> tuple[Any, np.ndarray]:
    """One pass: H = (P Q)^H X and X - Q H, with Q given in pieces."""
    pieces = [(q, _adjoint(pq) @ panel) for q, pq in against]
    for q, h in pieces:
        if q.shape[1]:
            panel = panel - q @ h
    return panel, np.concatenate([to_numpy(h) for _, h in pieces])


def _gram(x: Any, px: Any) -> np.ndarray:
    gram = to_numpy(_adjoint(x) @ px)
    return (gram + gram.conj().T) / 2


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


def _orthonormal(
    x: Any, gram: np.ndarray, against: list[tuple[Any, Any]], apply: Callable[[Any], Any]
) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """CholeskyQR, one more projection, one more CholeskyQR: Q', P Q', H, T with X = Q H + Q' T."""
    xp = namespace(x)
    t1 = scipy.linalg.cholesky(gram)
    x, h = _project(x @ _inverse(xp, t1, x.dtype), against)
    px = apply(x)
    try:
        t2 = scipy.linalg.cholesky(_gram(x, px))
    except np.linalg.LinAlgError:
        raise ValueError("the product is not positive definite to working precision on these vectors") from None
    inverse = _inverse(xp, t2, x.dtype)
    return x @ inverse, px @ inverse, h @ t1, t2 @ t1


def _inverse(xp: Any, t: np.ndarray, dtype: Any) -> Any:
    """Inverse of a small, well-conditioned (see INDEPENDENT) triangular matrix."""
    (trtri,) = scipy.linalg.get_lapack_funcs(("trtri",), (t,))
    return xp.asarray(trtri(t)[0], dtype=dtype)
