"""The range of a matrix to a tolerance, from random blocks that are added to a basis."""

from __future__ import annotations

from typing import Any

import numpy as np

from lowrank.arrays import conj, device, namespace, plain, real_part, unit_roundoff
from lowrank.dense import adjoint, adjoint_times, norm, qr, svd, times
from lowrank.limits import Limits, check_limits, number_of_terms
from lowrank.matrix import LowRankMatrix
from lowrank.operands import checked, draw, first_product, is_array, sample, scaled_to_range, total_norm
from lowrank.operators import as_product
from lowrank.orthogonal import gram_schmidt

__all__ = ["randomized_range", "to_tolerance"]

#: Columns added at a time when a tolerance is asked for; as many probes say when it is reached.
BLOCK = 32
#: How often probes may say that the tolerance is reached where it is not.
WRONG = 5e-6
#: What 32 probes must stay below, as a fraction of the tolerance: see `trusted`.
PROBED = 0.5


def randomized_range(
    matrix: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    product: Any = None,
    n_power_iter: int = 1,
    test_matrix: Any = None,
    rng: int | np.random.Generator = 0,
) -> Any:
    """Return an orthonormal basis Q (m, l) of the range of A, to a tolerance or a rank.

    ||A - Q Q^H A||_F <= max(atol, rtol ||A||_F), or `rank` columns, whichever comes first.

    Columns are added 32 at a time, each block after `n_power_iter` orthonormalised power iterations on what the basis
    leaves of A; the remainder of the *next* random block, before its iterations, tells how much is left: it must be
    below half the tolerance (32 Gaussian probes say that wrongly with a probability of 5e-6 at most; fewer, of a test
    matrix, must be further below it). Of a matrix of up to 32 columns all columns are looked at instead.

    Parameters
    ----------
    matrix : A (m, n), as in :func:`randomized_svd`
    rank : largest number of columns
    rtol, atol : tolerance, see above; ||A||_F is estimated from the first block, from below (wrong with a probability
        of 5e-6), where it cannot be computed: of operators of more than 32 columns, and in a product
    product : Hermitian positive definite P (m, m): Q is P-orthonormal and the error is measured in it
    n_power_iter, test_matrix, rng : as in :func:`randomized_svd`; a test matrix is used up 32 columns at a time

    Raises
    ------
    ValueError
        neither rank nor tolerance, negative limits, NaN or infinite entries.

    Source: Halko, Martinsson, Tropp, SIAM Review 53 (2011) 217-288.

    Notes
    -----
    Cost: (2 n_power_iter + 1) products per column, one block more than is needed, O(m l^2) for Gram-Schmidt.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0, 1, 300)
    >>> a = 1 / (1 + np.add.outer(x, x))
    >>> q = randomized_range(a, rtol=1e-8)
    >>> bool(np.linalg.norm(a - q @ (q.T @ a)) <= 1e-8 * np.linalg.norm(a))
    True
    """
    check_limits(rank, rtol, atol)
    if rank is None and rtol is None and atol is None:
        raise ValueError("give a rank or a tolerance: rank=, rtol= or atol=")
    if not (isinstance(n_power_iter, int | np.integer) and n_power_iter >= 0):
        raise ValueError(f"n_power_iter must be an integer >= 0, got {n_power_iter}")
    a, scale = scaled_to_range(checked(matrix))
    finder = _RangeFinder(a, as_product("product", product), n_power_iter, test_matrix, rng)
    size = total_norm(a) if product is None else None
    widest = min(*a.shape, a.shape[0] if rank is None else rank)
    finder.reach(Limits(rank, rtol, atol).over(scale), size, widest)
    return finder.basis


def to_tolerance(
    a: Any,
    limits: Limits,
    n_power_iter: int = 1,
    test_matrix: Any = None,
    rng: int | np.random.Generator = 0,
    widest: int | None = None,
) -> LowRankMatrix | None:
    """Return the SVD cut at a tolerance, None if it takes a basis of more than `widest` columns.

    See :func:`lowrank.randomized_svd`.
    """
    m, n = a.shape
    limit = min(m, n, m if limits.rank is None else limits.rank + BLOCK)
    finder = _RangeFinder(a, None, n_power_iter, test_matrix, rng)
    size = total_norm(a)
    safety = PROBED
    while True:
        exhausted = finder.reach(limits, size, limit if widest is None else min(limit, widest), safety)
        q = finder.basis
        z = adjoint_times(a, q)
        found = norm(z)  # at most ||A||, and nearly that if the tolerance is met
        allowed = limits.allowed(found if size is None else size)
        if is_array(a):
            error = _residual_norm(a, q, z)
        elif size is not None and found < (1 - 1e-10) * size:
            error = (size - found) ** 0.5 * (size + found) ** 0.5  # Pythagoras, where the difference has digits
        else:
            error = finder.look() if finder.columns is not None else finder.remainder / finder.trusted
        if error <= allowed or exhausted:
            break
        safety /= 4
    if error > allowed and widest is not None and widest <= q.shape[1] < limit:
        return None
    other, r = qr(z)
    u, s, vh = svd(adjoint(r))
    # the residual is orthogonal to Q, what the cut drops is in its range: squares add up
    tail = (max(allowed - error, 0.0) * (allowed + error)) ** 0.5
    k = number_of_terms(s, max(m, n, 1) ** 0.5 * unit_roundoff(s), Limits(limits.rank, atol=tail))
    return LowRankMatrix(q @ u[:, :k], s[:k], other @ adjoint(vh[:k, :]), is_svd=True)


def _residual_norm(a: Any, q: Any, z: Any) -> float:
    """Return ||A - Q Z^H||_F of an array, by blocks of rows."""
    zh = adjoint(z)
    blocks = [norm(a[i : i + 512, :] - q[i : i + 512, :] @ zh) for i in range(0, a.shape[0], 512)]
    return float(np.linalg.norm(blocks))


def trusted(probes: int) -> float:
    """Return the fraction of a norm that so many Gaussian probes see at least, with probability 1 - WRONG.

    (chi^2_k / k)^{1/2}: 1/2 for 32 probes.

    That of a matrix of rank one, real; of all others they see more.
    """
    from scipy.special import gammaincinv  # not at the top: `import rbm` is light

    return float(min((2 * gammaincinv(probes / 2, WRONG) / probes) ** 0.5, PROBED))


def overrated(probes: int) -> float:
    """Return the multiple of a norm that so many probes see at most, with probability 1 - WRONG: 1.58 for 32."""
    from scipy.special import gammainccinv

    return float((2 * gammainccinv(probes / 2, WRONG) / probes) ** 0.5)


class _RangeFinder:
    """A basis under construction: random blocks are projected, measured, iterated and added."""

    def __init__(
        self, a: Any, product: Any, n_power_iter: int, test_matrix: Any, rng: int | np.random.Generator
    ) -> None:
        self.a, self.product, self.n_power_iter = a, product, n_power_iter
        self.test_matrix = None if test_matrix is None else plain("the test matrix", test_matrix)
        self.rng = np.random.default_rng(rng)
        self.pieces: list[Any] = []
        self.products: list[Any] = []
        self.used = 0
        #: A itself where it has no more columns than a block: then nothing is left to chance
        self.columns: Any = None
        #: estimates of norms from the last probes may be too small by this factor, with probability WRONG
        self.trusted = 1.0
        #: estimates of ||A - Q Q^H A|| and, from the first block, of ||A||, from below
        self.remainder = self.size = 0.0

    @property
    def width(self) -> int:
        return sum(q.shape[1] for q in self.pieces)

    @property
    def basis(self) -> Any:
        like = sample(self.a)
        if not self.pieces:
            return namespace(like).zeros((self.a.shape[0], 0), dtype=like.dtype)
        return self.pieces[0] if len(self.pieces) == 1 else namespace(like).concat(self.pieces, axis=1)

    def reach(self, limits: Limits, size: float | None, limit: int, safety: float = PROBED) -> bool:
        """Add blocks until the probes are below `safety` times the tolerance; True if no further column can be had."""
        while self.width < limit:
            block = self._probe()
            if limits.tolerant:
                allowed = limits.allowed(self.size if size is None else size)
                if self.remainder <= safety / PROBED * self.trusted * allowed:
                    return False
            if not self._extend(block, limit):
                return True
        return True

    def _probe(self) -> Any:
        """Return A W of a new random block W, after measuring what the basis leaves of it."""
        width, given = min(BLOCK, self.a.shape[1]), None
        if self.test_matrix is not None:
            given = self.test_matrix[:, self.used : self.used + width]
            if not given.shape[1]:
                raise ValueError(f"the test matrix has {self.used} columns, more are needed")
        omega = draw(self.a, width, given, self.rng)
        self.used += omega.shape[1]
        if self.columns is None and given is None and self.a.shape[1] <= BLOCK:
            like = sample(self.a)
            self.columns = first_product(self.a, namespace(like).eye(width, dtype=like.dtype, device=device(like)))
        if self.columns is not None:
            y = self.columns @ omega
            self.remainder = self.look()
        else:
            y = first_product(self.a, omega)
            self.remainder = self._left_of(y) / omega.shape[1] ** 0.5
            self.trusted = trusted(omega.shape[1])
        if not self.pieces:
            self.size = self.remainder if self.columns is not None else self.remainder / overrated(omega.shape[1])
        return y

    def look(self) -> float:
        """Return ||A - Q Q^H A||, of all columns."""
        return self._left_of(self.columns)

    def _left_of(self, rest: Any) -> float:
        """Return the norm of what the basis leaves of the columns."""
        for _ in range(2):
            for q, pq in zip(self.pieces, self.products, strict=True):
                rest = rest - q @ adjoint_times(pq, rest)
        if self.product is None:
            return norm(rest)
        image = self.product(rest) if callable(self.product) else self.product @ rest
        return max(float(namespace(rest).sum(real_part(conj(rest) * image))), 0.0) ** 0.5

    def _extend(self, y: Any, limit: int) -> bool:
        """Add the block after its power iterations; False if nothing of it is more than round-off."""
        for _ in range(self.n_power_iter):
            z, _ = qr(adjoint_times(self.a, self._against(y)[1]))
            y = times(self.a, z)
        q, pq = self._against(y)
        room = limit - self.width
        self.pieces.append(q[:, :room])
        self.products.append(pq[:, :room])
        return q.shape[1] > 0

    def _against(self, y: Any) -> tuple[Any, Any]:
        known = self.pieces or None
        result = gram_schmidt(y, product=self.product, basis=known, product_basis=self.products if known else None)
        return result.basis, result.product_basis
