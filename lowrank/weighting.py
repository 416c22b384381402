"""Inner products and row weights as factors that the matrix is multiplied with, and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lowrank.arrays import all_true, as_matrix, beside, is_complex, namespace, plain, real_part, to_numpy, unit_roundoff
from lowrank.dense import adjoint, cholesky, qr, solve_triangular, svd
from lowrank.operands import is_array, sample
from lowrank.operators import as_product

__all__ = ["Side", "compose", "root_weights", "scale_rows", "side", "weighted_factor"]

#: Rows whose root of weight is below this fraction of the largest are projected.
LIGHT = 0.01


class Side(NamedTuple):
    """The inner product on one side of the matrix: its triangular factor L, P = unit^2 L L^H, or P itself.

    P itself is kept where a factor would cost more than it saves.
    """

    factor: Any = None
    product: Any = None
    #: a power of two, so that neither L nor what is multiplied with it overflows or vanishes
    unit: float = 1.0

    @property
    def adjoint_factor(self) -> Any:
        """The adjoint factor L^H, or None."""
        return None if self.factor is None else adjoint(self.factor)

    def back(self, x: Any) -> Any:
        """Return (unit L)^-H X: orthonormal vectors become P-orthonormal."""
        if self.factor is None:
            return x
        return solve_triangular(self.factor, x, lower=True, conjugate_transposed=True) / self.unit

    def forth(self, x: Any) -> Any:
        """Return P back(X) / unit for vectors that `back` has not been applied to."""
        if self.factor is not None:
            return self.factor @ x
        if self.product is None:
            return x
        return self.product(x) if callable(self.product) else self.product @ x


def side(name: str, product: Any, n: int, others: int, a: Any, method: str) -> Side:
    """Return the product as a factor if it is a matrix smaller than the number of vectors to orthonormalise."""
    if product is None or (callable(product) and not hasattr(product, "shape")):
        return Side(product=product)
    product = as_product(name, product)
    if tuple(product.shape) != (n, n):
        raise ValueError(
            f"{name} must have shape ({n}, {n}) for a matrix of shape {tuple(a.shape)}, got {tuple(product.shape)}"
        )
    if hasattr(product, "matvec"):
        return Side(product=lambda x: product @ x)
    _refuse_not_hermitian(name, product)
    if n >= others and method not in ("gram", "lanczos"):
        return Side(product=product)
    dense = product.toarray() if hasattr(product, "toarray") else as_matrix(name, product)
    xp = namespace(dense)
    unit = float(np.ldexp(1.0, int(np.frexp(float(xp.max(xp.abs(dense))))[1]) // 2))
    try:
        factor = cholesky(dense / unit / unit)
    except np.linalg.LinAlgError:
        lowest = float(xp.min(xp.linalg.eigvalsh(dense)))
        raise ValueError(
            f"{name} is not positive definite: its smallest eigenvalue is {lowest:.3g}; pass a Hermitian positive "
            "definite matrix"
        ) from None
    like = sample(a)
    kind = xp.result_type(like.dtype, xp.complex64) if is_complex(dense) else like.dtype
    return Side(factor=xp.astype(factor, kind), unit=unit)


def _refuse_not_hermitian(name: str, product: Any) -> None:
    """Raise ValueError for NaN, infinite or unsymmetric entries of a dense or sparse matrix."""
    if hasattr(product, "nnz"):
        entries, gap = product.data, (product - product.conj().T).tocsr().data
        if not all_true(namespace(entries).isfinite(entries)):
            raise ValueError(f"{name} has entries that are NaN or infinite; remove or recompute them")
    else:
        entries = as_matrix(name, product)
        gap = entries - adjoint(entries)
    xp = namespace(entries)
    largest, size = (float(xp.max(xp.abs(x))) if 0 not in x.shape else 0.0 for x in (gap, entries))
    if largest > 100 * unit_roundoff(entries) * size:
        raise ValueError(f"{name} is not Hermitian: entries differ from their mirror images by up to {largest:.3g}")


def root_weights(weights: Any, m: int, a: Any) -> tuple[Any, float]:
    """Return w^{1/2} / unit (m,) and unit, a power of two near the largest root."""
    w = to_numpy(plain("row_weights", weights))
    if w.dtype.kind not in "biuf":
        raise ValueError(f"row_weights must be real numbers, got {w.dtype}")
    if w.shape != (m,):
        raise ValueError(f"row_weights must be {m} numbers, one per row, got shape {w.shape}")
    good = np.isfinite(w) & (w >= 0)
    if not np.all(good):
        raise ValueError(f"row_weights must be finite numbers >= 0, got {w[~good][0]:g} in row {int(np.argmin(good))}")
    roots = np.sqrt(w.astype(float))
    unit = float(np.ldexp(1.0, int(np.frexp(roots.max())[1])))
    like = sample(a)
    return namespace(like).astype(beside(roots / unit, like), real_part(like).dtype), unit


def scale_rows(roots: Any, a: Any) -> Any:
    """Return diag(w)^{1/2} A; A itself without weights."""
    if roots is None:
        return a
    if is_array(a):
        return roots[:, None] * a
    from scipy.sparse import diags_array

    return compose(diags_array(roots), a)


def compose(x: Any, y: Any) -> Any:
    """Return X Y, where one of the two is the matrix and the other a factor or None."""
    if x is None or y is None:
        return y if x is None else x
    if hasattr(x, "rmatmat") or hasattr(y, "rmatmat"):
        from scipy.sparse.linalg import aslinearoperator

        return aslinearoperator(x) @ aslinearoperator(y)
    return x @ y


def weighted_factor(x: Any, roots: Any) -> tuple[Any, Any, Any]:
    """Return U, s and a unitary W with X W = U diag(s) and diag(w)^{1/2} U orthonormal.

    roots : the diagonal of diag(w)^{1/2}, which may have zeros

    From diag(w)^{1/2} X = Q R and the SVD of R. A row of ordinary weight is one of Q divided by its root, orthonormal
    to a few u; one of small weight is projected instead, X R^-1, right to a few u of its own size and never divided by
    its weight.
    """
    xp = namespace(x)
    q, r = qr(roots[:, None] * x)
    inner, s, wh = svd(r)
    light = roots < LIGHT * xp.max(roots)
    safe = xp.where(light, xp.ones_like(roots), roots)
    projected = (x @ adjoint(wh)) / s
    return xp.where(light[:, None], projected, (q / safe[:, None]) @ inner), s, adjoint(wh)
