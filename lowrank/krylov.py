"""Block Krylov iteration: leading singular triples of a matrix whose singular values hardly decay."""

from __future__ import annotations

import numpy as np

from lowrank.arrays import unit_roundoff
from lowrank.dense import adjoint, adjoint_times, cholesky, eigh, norm, times
from lowrank.gram import ROUNDING, rayleigh_ritz
from lowrank.matrix import LowRankMatrix
from lowrank.panels import inverse_of

__all__ = ["krylov_block", "krylov_svd", "looks_flat"]

#: Share of the error that the last block may have gained when the iteration ends.
GAINED = 2e-3
#: The space grows to this many times the rank before it is looked at, and to at most this many times.
FIRST, LAST = 2.5, 5.0
#: The least of what a step brings, relative to the square of the least singular value asked for: below, the space is
#: nearly invariant. It then holds no more of singular values that coincide than a block has columns.
INVARIANT = 1e-3


def krylov_block(rank: int) -> int:
    """Return the number of columns of a block: about ten steps are taken, which cost less than fewer with more."""
    return max(8, rank // 4)


def looks_flat(image: np.ndarray, rank: int) -> bool:
    """Estimate whether (sum_i s_i^2)^2 > (rank / 4) sum_i s_i^4: so many equal singular values would do it.

    image : A W for normal numbers W (n, b). Squares of columns are sum_i s_i^2 on average, and squared products of
        different columns sum_i s_i^4, for complex A too

    This chooses the cheaper method only.
    """
    gram, columns = adjoint(image) @ image, image.shape[1]
    squares, products = float(np.trace(gram).real) / columns, np.abs(gram) ** 2
    fourth = float(products.sum() - np.trace(products)) / (columns * (columns - 1))
    return squares**2 > rank / 4 * fourth


def krylov_svd(a: np.ndarray, rank: int, image: np.ndarray) -> LowRankMatrix | None:
    """Return the leading `rank` terms, with an error that is mostly within 0.1 % of the optimum, or None.

    The space is that of U_1 = orth(A W) and U_{j+1} = orth(A A^H U_j), each made orthogonal to all before. With Z =
    A^H U the eigenvectors X of Z^H Z = U^H A A^H U give the best approximation with columns in it, U X (Z X)^H, and
    ||A||^2 less the eigenvalues is its squared error. For singular values k^{-1/2} a space of 2.25 rank dimensions
    does, where a subspace iteration takes ten products with 1.6 rank columns.

    a : (m, n)
    image : A W (m, b), the first block

    It ends when the last block has added less than GAINED of the error. None, so that another method is asked: where
    the space becomes nearly invariant, as of a matrix with a singular value of high multiplicity, of which a block
    Krylov space sees as many copies as a block has columns; where rounding errors are more than a thousandth of the
    squared error; where too large a space would be needed.

    Cost: 4 m n l flops for a space of l dimensions, and (4 m + 2 n) l^2 for its basis and Z^H Z. Source: Tropp and
    Webber, Randomized algorithms for low-rank matrix approximation, arXiv:2306.12418 (2023).
    """
    (m, n), width = a.shape, image.shape[1]
    most, first = int(min(LAST * rank, min(m, n) - width)) // width, int(np.ceil(FIRST * rank / width))
    if most < first:
        return None
    square, rounding = norm(a) ** 2, 2 * rank * ROUNDING * unit_roundoff(a)
    u, z = np.empty((m, most * width), a.dtype, order="F"), np.empty((n, most * width), a.dtype, order="F")
    gram = np.zeros((most * width, most * width), a.dtype)
    least, y = np.inf, image
    for step in range(most):
        known, now, size = slice(0, step * width), slice(step * width, (step + 1) * width), (step + 1) * width
        try:
            u[:, now], smallest = _orthonormal_to(u[:, known], y)
        except np.linalg.LinAlgError:  # its columns depend on one another
            return None
        least = min(least, smallest) if step else least
        z[:, now] = adjoint_times(a, u[:, now])
        gram[:size, now] = adjoint(adjoint(z[:, now]) @ z[:, :size])
        gram[now, known] = adjoint(gram[known, now])
        if step + 1 >= first:
            values, vectors = eigh(gram[:size, :size], rank)
            left = square - float(np.sum(values.astype(float)))
            gained = float(np.sum(values * np.sum(np.abs(vectors[now]) ** 2, axis=0)))
            if rounding * values[0] > 1e-3 * left or least < INVARIANT * values[-1]:
                return None
            if gained <= 2 * GAINED * left:
                return rayleigh_ritz(z[:, :size] @ vectors, u[:, :size] @ vectors).H
        if step + 1 < most:
            y = times(a, z[:, now])
    return None


def _orthonormal_to(basis: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, float]:
    """Return an orthonormal basis of what X has beyond a basis, and the smallest pivot of that.

    Twice Gram-Schmidt, with Cholesky QR. Raises LinAlgError where columns depend on one another.
    """
    smallest = np.inf
    for turn in range(2):
        rows = adjoint(x)
        if basis.shape[1]:
            rows = rows - (rows @ basis) @ adjoint(basis)
        factor = cholesky(rows @ adjoint(rows))
        x = adjoint(adjoint(inverse_of(adjoint(factor))) @ rows)
        if turn == 0:
            smallest = float(np.abs(np.diagonal(factor)).min())
    return x, smallest
