"""Orthonormal bases in a weighted inner product, by repeated block Gram-Schmidt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank import panels
from lowrank.arrays import as_matrix, namespace, plain, to_numpy, unit_roundoff
from lowrank.operators import as_product

__all__ = ["GramSchmidt", "gram_schmidt"]

#: Columns orthonormalised together; the small Gram matrices stay in cache, the products stay matrix-matrix.
PANEL = 32


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
    products: panels.Products | None = None,
) -> GramSchmidt:
    """Orthonormalise the columns of V in (x, y)_P = y^H P x, against a given basis and among themselves.

    Block classical Gram-Schmidt and CholeskyQR, in panels of 32 columns::

        V <- V - Q (PQ)^H V,   V = Q' T with T^H T = V^H P V,   again with Q' in place of V

    until a pass has changed a column so little that it is orthogonal to a few u: the norms of what column j is made of,
    sum_i |T^-1_ij| ||v_i||_P before the projection, are at most 2, and what the projection removed from them at most
    1/2. That takes two passes as a rule, and one for columns that were nearly orthonormal. Columns that depend too
    strongly on others of their panel are only projected in one pass and normalised in the next. A column whose
    remainder is round-off is rejected: ||remainder||_P <= 16 u (sum_i P_ii |v_i|^2)^{1/2}, the expected P-norm of a
    relative rounding error u in every entry of v (16 u ||v||_P if P is a callable), or <= rtol ||v||_P if `rtol` is
    given.

    Parameters
    ----------
    vectors : (n, m) array, real or complex, float32 or float64; NumPy, CuPy, ...
    product : Hermitian positive definite P, anything with ``@`` (sparse, dense), a callable X -> P X, or None for the
        identity
    basis, product_basis : (n, k) P-orthonormal vectors Q0 to be orthogonal to, and P Q0 (computed if not given); both
        may be lists of matrices that stand side by side
    rtol : rejection threshold relative to ||v||_P; by default the round-off of v (above). Raise it to drop vectors that
        are nearly dependent, too
    products : what multiplies tall matrices (:class:`lowrank.panels.Products`): threads of yours, or code of yours. By
        default the library of the arrays does, on one block of rows after the other

    Returns
    -------
    GramSchmidt(basis (n, r), coefficients (k + r, m), kept (r,), product_basis (n, r))

    Raises
    ------
    ValueError
        shapes that do not fit, NaN or infinite entries, or a product that is not positive definite on the vectors.

    Notes
    -----
    Cost of a pass: 4 n m (k + m) flops in matrix products and one application of P per vector. Orthonormal to a few u,
    for any condition number of V. Sources: Barlow and Smoktunowicz, Numer. Math. 123 (2013) 395-423; the test for a
    further pass is that of Daniel, Gragg, Kaufman, Stewart, Math. Comp. 30 (1976) 772-795, taken over to blocks.

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
    multiply = panels.Products() if products is None else products
    growing = _GrowingBasis(vectors, _given(basis, product_basis, apply, vectors), apply, multiply)
    for start in range(0, m, PANEL):
        growing.add(slice(start, min(start + PANEL, m)), product, rtol)
    return growing.result()


class _GrowingBasis:
    """The new directions found so far, and the coefficients of all vectors in them."""

    def __init__(
        self, vectors: Any, given: list[tuple[Any, Any]], apply: Callable[[Any], Any], products: panels.Products
    ) -> None:
        xp, (n, m) = namespace(vectors), vectors.shape
        self.vectors, self.given, self.apply, self.products = vectors, given, apply, products
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
        given, threshold = to_numpy(xp.any(panel != 0, axis=0)), None
        sizes = panels.weighted_squares(panel, product, rtol)
        #: the columns of `original` are [basis, new] @ coefficients + panel @ mixing
        mixing = np.eye(len(columns), dtype=self.coefficients.dtype)
        passes = np.zeros(len(columns), dtype=int)
        while len(columns):
            r = len(self.kept)
            so_far = self.new[:, :r], self.new_product[:, :r]
            panel, h = panels.project_out(panel, [*self.given, so_far], self.products)
            self.coefficients[: self.size + r, where] += h @ mixing
            image = self.apply(panel)
            gram = panels.gram_of(panel, image, self.products)
            squares = np.diag(gram).real
            removed = np.sum(np.abs(h) ** 2, axis=0)
            totals = squares + removed  # before this pass, by Pythagoras
            if threshold is None:
                panels.refuse_indefinite((totals <= 0) & given, totals, columns, self.scales)
                threshold = panels.rejection_norms(sizes, totals, panels.SIGNAL * unit_roundoff(panel), rtol)
            spare = panels.dispensable_norms(threshold, mixing)
            panels.refuse_indefinite(squares < -(spare**2), squares, columns, self.scales)
            norms = panels.norms_from(squares)
            alive = np.flatnonzero(norms > spare)
            if not len(alive):
                break
            places, t = panels.independent_columns(gram[np.ix_(alive, alive)], norms[alive], spare[alive])
            chosen, waiting = alive[places], np.delete(alive, places)
            passes[chosen] += 1
            inverse = panels.inverse_of(t)
            done = panels.finished_columns(inverse, totals[chosen], removed[chosen], passes[chosen])
            q = self.products.times(panels.select_columns(panel, chosen), inverse)
            self.new[:, r : r + done] = q[:, :done]
            if done:
                images = panels.select_columns(image, chosen)
                self.new_product[:, r : r + done] = self.products.times(images, inverse[:, :done])
            if done == len(columns):
                self.coefficients[self.size + r : self.size + r + done, where] = t @ mixing[chosen]
                self.kept.extend(columns[chosen].tolist())
                break
            b = inverse.conj().T @ gram[np.ix_(chosen, waiting)]
            expressed = t @ mixing[chosen] + b @ mixing[waiting]
            self.coefficients[self.size + r : self.size + r + done, where] = expressed[:done]
            self.kept.extend(columns[chosen[:done]].tolist())
            unfinished = q[:, done:]
            if len(waiting):
                left = panels.select_columns(panel, waiting) - self.products.times(q, b)
                unfinished = xp.concat([unfinished.T, left.T]).T
            panel = unfinished
            mixing = np.concatenate([expressed[done:], mixing[waiting]])
            rest = np.concatenate([chosen[done:], waiting])
            columns, passes = columns[rest], passes[rest]

    def result(self) -> GramSchmidt:
        """Return the basis and the coefficients, in the units of the vectors."""
        r = len(self.kept)
        coefficients = self.coefficients[: self.size + r] * self.scales
        return GramSchmidt(
            self.new[:, :r],
            namespace(self.vectors).asarray(coefficients, dtype=self.dtype),
            np.array(self.kept, dtype=int),
            self.new_product[:, :r],
        )


def _scales(vectors: Any) -> np.ndarray:
    """Return the power of two of the size of the largest entry of each column; one for a zero column."""
    if not vectors.shape[0] * vectors.shape[1]:
        return np.ones(vectors.shape[1])
    largest = to_numpy(namespace(vectors).max(namespace(vectors).abs(vectors), axis=0)).astype(np.float64)
    return np.where(largest > 0, np.ldexp(1.0, np.frexp(largest)[1]), 1.0)


def _product(product: Any, n: int) -> Callable[[Any], Any]:
    if product is None:
        return lambda x: x
    if callable(product) and not hasattr(product, "shape"):

        def apply(x: Any) -> Any:
            image = product(x)
            if tuple(image.shape) != tuple(x.shape):
                raise ValueError(f"product(X) has shape {tuple(image.shape)}, X has {tuple(x.shape)}: they must agree")
            return image

        return apply
    if tuple(product.shape) != (n, n):
        raise ValueError(f"product has shape {tuple(product.shape)}, vectors have {n} rows: it must be ({n}, {n})")
    return lambda x: product @ x


def _given(basis: Any, product_basis: Any, apply: Callable[[Any], Any], vectors: Any) -> list[tuple[Any, Any]]:
    """Return pieces of Q0 and P Q0, checked.

    Where both are given, NaN shows in the Gram matrices: a long basis is read once less.
    """
    xp, n = namespace(vectors), vectors.shape[0]
    pieces = [plain("basis", q) for q in _pieces(basis)]
    for q in pieces:
        if q.ndim != 2 or q.shape[0] != n:
            raise ValueError(
                f"basis has shape {tuple(q.shape)}, vectors have shape {tuple(vectors.shape)}: the first dimensions "
                "differ"
            )
    if product_basis is None:
        pieces = [as_matrix("basis", q) for q in pieces]
        given = [(q, apply(q)) for q in pieces]
    else:
        images = [plain("product_basis", q) for q in _pieces(product_basis)]
        shapes = [[tuple(q.shape) for q in some] for some in (images, pieces)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"product_basis has shapes {shapes[0]}, basis has {shapes[1]}: they must agree")
        given = list(zip(pieces, images, strict=True))
    if not given:  # the type of P Q0 is that of what comes
        empty = xp.zeros((n, 0), dtype=vectors.dtype)
        given = [(empty, apply(empty))]
    return given


def _pieces(basis: Any) -> list[Any]:
    """Return the matrices that stand side by side, from a list of arrays, one array, or a matrix as a list of rows."""
    if basis is None:
        return []
    return basis if isinstance(basis, list) and all(hasattr(q, "shape") for q in basis) else [basis]
