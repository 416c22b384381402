"""A weight changed by a matrix of low rank, held as its two factors; NumPy, CuPy and other arrays of the standard."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np

from lowrank import LowRankMatrix, truncated_svd
from lowrank.arrays import all_true, as_matrix, beside, is_complex, namespace, numpy_dtype, plain

__all__ = ["LowRankUpdate"]


@dataclass(frozen=True, eq=False)
class LowRankUpdate:
    """The change W -> W + scale B A of a weight W (d, k), in (d + k) r numbers.

    Layers multiply rows, y = x W^T, and so does :meth:`apply`. The update is a :class:`lowrank.LowRankMatrix` after
    :meth:`delta`, with all that such a matrix can do.

    A : (r, k), B : (d, r), real or complex arrays of one module; half precision is widened to single
    scale : a real number, alpha / r of LoRA

    Raises ValueError for shapes that do not fit, NaN, or a scale that is no finite real number; TypeError for arrays
    that hide entries.

    Source: Hu et al., LoRA: low-rank adaptation of large language models, 2021.

    Examples
    --------
    >>> import numpy as np
    >>> update = LowRankUpdate(np.array([[1.0, 2.0]]), np.array([[1.0], [0.0], [-1.0]]), scale=0.5)
    >>> update
    LowRankUpdate(3 x 2, rank 1, scale 0.5, float64)
    >>> update.apply(np.array([2.0, 1.0]))
    array([ 2.,  0., -2.])
    >>> update.merge(np.ones((3, 2)))
    array([[1.5, 2. ],
           [1. , 1. ],
           [0.5, 0. ]])
    """

    A: Any  #: (r, k)
    B: Any  #: (d, r)
    scale: float = 1.0

    def __post_init__(self) -> None:
        a, b = (as_matrix(name, _widened(getattr(self, name))) for name in ("A", "B"))
        if a.shape[0] != b.shape[1]:
            raise ValueError(
                f"A must have shape (r, k) and B (d, r), for an update B A of shape (d, k); got {tuple(a.shape)} and "
                f"{tuple(b.shape)}"
            )
        namespace(a, b)  # of one module
        scale = self.scale
        if isinstance(scale, bool) or not isinstance(scale, Real) or not math.isfinite(scale):
            raise ValueError(f"scale must be a finite real number, got {scale!r}; put phases into A or B")
        for name, value in (("A", a), ("B", b), ("scale", float(scale))):
            object.__setattr__(self, name, value)

    @property
    def rank(self) -> int:
        """The number r of terms."""
        return int(self.A.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d, k) of the weight."""
        return int(self.B.shape[0]), int(self.A.shape[1])

    @property
    def dtype(self) -> Any:
        """The type of the entries of B A."""
        return namespace(self.A, self.B).result_type(self.A.dtype, self.B.dtype)

    @property
    def nbytes(self) -> int:
        """The bytes of A and B."""
        return sum(int(np.prod(a.shape)) * numpy_dtype(a).itemsize for a in (self.A, self.B))

    def apply(self, x: Any) -> Any:
        """Return scale (x A^T) B^T (..., d) for rows x (..., k); O((d + k) r) a row.

        Raises ValueError for rows of another width.
        """
        x = _widened(plain("x", x))
        if not x.ndim or x.shape[-1] != self.shape[1]:
            raise ValueError(f"x has shape {tuple(x.shape)}, expected (..., {self.shape[1]}) for this update")
        return self.scale * ((x @ self.A.T) @ self.B.T)

    def delta(self) -> LowRankMatrix:
        """Return scale B A as a low-rank matrix U diag(s) V^H: U = B, s = scale, V = A^H, without rounding."""
        xp = namespace(self.A)
        adjoint = xp.conj(self.A).T if is_complex(self.A) else self.A.T
        s = beside(np.full(self.rank, self.scale), self.A)
        return LowRankMatrix(self.B, s, adjoint)

    def to_dense(self) -> Any:
        """Return scale B A as an array (d, k)."""
        return self.scale * (self.B @ self.A)

    def merge(self, weight: Any) -> Any:
        """Return W + scale B A, a new array of the type of W (d, k), summed in the wider of both types.

        Raises ValueError for another shape, whole numbers, a complex update of a real weight, and entries out of range.
        """
        return self._added(weight, 1.0)

    def unmerge(self, weight: Any) -> Any:
        """Return W - scale B A: what :meth:`merge` was given, up to 2 u (|W| + 2 |scale B A|), u of the type of W.

        Raises as :meth:`merge`.
        """
        return self._added(weight, -1.0)

    def _added(self, weight: Any, sign: float) -> Any:
        given = weight if hasattr(weight, "dtype") and hasattr(weight, "ndim") else np.asarray(weight)
        kind = numpy_dtype(given)
        if kind.kind not in "fc":
            raise ValueError(f"the weight must be of floating-point numbers, got {kind}; write .astype(float)")
        wide = plain("the weight", _widened(given))
        if tuple(wide.shape) != self.shape:
            hint = "; transpose it" if tuple(wide.shape) == self.shape[::-1] else ""
            raise ValueError(f"the weight has shape {tuple(wide.shape)}, the update {self.shape}{hint}")
        if is_complex(self.B @ self.A[:, :0]) and kind.kind == "f":
            raise ValueError("the update is complex and the weight real; give the weight a complex type")
        xp = namespace(wide, self.A)
        with np.errstate(over="ignore", invalid="ignore"):
            made = xp.astype(wide + sign * self.to_dense(), given.dtype)
        if not all_true(xp.isfinite(made)):
            raise ValueError(f"the sum, or B A, has entries beyond the range of {kind}; give a weight of a wider type")
        return made

    @classmethod
    def extract(
        cls,
        difference: Any,
        rank: int | None = None,
        *,
        rtol: float | None = None,
        product: Any = None,
        method: Any = "auto",
        rng: int | np.random.Generator = 0,
    ) -> Self:
        """Return the best update of a rank, or of a relative error, for a difference W1 - W0 (d, k) of two weights.

        Best in ||E C^{1/2}||_F: with C = E x x^H, the mean over inputs, that is the error of what the layer returns.

        difference : array, sparse matrix, LinearOperator, or LowRankMatrix
        rank, rtol : at most so many terms; the fewest with an error of at most rtol. None: what is above round-off
        product : C (k, k), Hermitian positive definite; None for the identity
        method, rng : of :func:`lowrank.truncated_svd`, which says the cost

        Raises ValueError as :func:`lowrank.truncated_svd` does.
        """
        if isinstance(difference, LowRankMatrix):
            if product is None:
                return cls._of(difference.recompress(rank, rtol=rtol))
            difference = difference.aslinearoperator()
        elif hasattr(difference, "dtype") and numpy_dtype(difference) == np.float16:
            difference = _widened(difference)
        options = {"rtol": rtol, "right_product": product, "method": method, "rng": rng}
        return cls._of(truncated_svd(difference, rank, **options))

    @classmethod
    def _of(cls, matrix: LowRankMatrix) -> Self:
        """Return the update of an SVD, its singular values shared out evenly between the factors."""
        b, right = matrix.balanced()
        xp = namespace(right)
        return cls((xp.conj(right) if is_complex(right) else right).T, b)

    def __repr__(self) -> str:
        d, k = self.shape
        return f"LowRankUpdate({d} x {k}, rank {self.rank}, scale {self.scale:g}, {numpy_dtype(self.B)})"


def _widened(array: Any) -> Any:
    """Return half precision as single, without rounding; anything else as it is."""
    if hasattr(array, "dtype") and hasattr(array, "ndim") and str(array.dtype).endswith("float16"):
        return namespace(array).astype(array, namespace(array).float32)
    return array
