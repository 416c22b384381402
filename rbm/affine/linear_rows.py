"""Array-valued linear outputs: k functionals under one name, C u for a matrix C (k, n)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.entries import dense_entries, entries
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficients

__all__ = ["Linear", "LinearRows", "row_matrix"]


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear output with k values, s(mu) = C u(mu), for `outputs` of a :class:`rbm.FullOrderModel`.

    rows : C (k, n), sparse or dense, one functional a row; or [(psi_q, C_q), ...], for s = sum_q psi_q(mu) C_q u

    Values and bounds are (M, k): a residual norm for all, a dual norm for each. There is no conjugate. Offsets, numbers
    that are added, it has none.

    Examples
    --------
    >>> import numpy as np, rbm
    >>> rbm.Linear(np.eye(3)[:2])
    Linear(2 functionals of 3 unknowns)
    """

    rows: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """(k, n), of the first term."""
        first = (
            self.rows[0][1]
            if isinstance(self.rows, list | tuple) and len(self.rows) > 0 and _is_pair(self.rows[0])
            else self.rows
        )
        return tuple(getattr(first, "shape", np.shape(first)))

    def __repr__(self) -> str:
        shape = self.shape
        return f"Linear({shape[0]} functionals of {shape[1]} unknowns)" if len(shape) == 2 else f"Linear({shape})"


@dataclass(frozen=True)
class LinearRows:
    """An array-valued linear output of the full-order model: sum_q psi_q C_q u."""

    coefficients: Coefficients  #: psi
    terms: tuple[Any, ...]  #: C_q (k, n), sparse or dense
    offset = None  #: there is none
    quadratic = False

    @property
    def rows(self) -> int:
        """The number k of functionals."""
        return int(self.terms[0].shape[0])

    def row(self, i: int) -> tuple[np.ndarray, ...]:
        """Return functional number i of each term, (n,)."""
        return tuple(np.asarray(c[[i]].toarray() if sp.issparse(c) else c[i]).ravel() for c in self.terms)

    def __call__(self, mus: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return the values (M, k) for full-order vectors u (M, n)."""
        shape, u = (len(mus), self.terms[0].shape[1]), dense_entries("full-order vectors", u)
        if u.shape != shape:
            raise ModelError(
                f"an output needs full-order vectors of shape {shape}, one row a parameter point, got {u.shape}"
            )
        psi = self.coefficients(mus)
        return np.asarray(sum(psi[:, q, None] * (c @ u.T).T for q, c in enumerate(self.terms)))


def row_matrix(name: str, given: Any, n: int) -> Any:
    """Return C (k, n), sparse in rows or dense, in double precision; raise ModelError for another shape or NaN."""
    matrix = entries(name, given)
    if matrix.ndim != 2 or matrix.shape[1] != n or not matrix.shape[0]:
        turned = "; transpose it" if matrix.ndim == 2 and matrix.shape[0] == n else ""
        alone = "; for one functional give the vector itself" if matrix.ndim == 1 else ""
        raise ModelError(
            f"{name} has rows of shape {matrix.shape}, expected (k, {n}), one functional a row{turned}{alone}"
        )
    return sp.csr_array(matrix) if sp.issparse(matrix) else matrix


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple | list) and len(item) == 2 and np.ndim(item[0]) == 0
