"""The terms of an affine model as the user gives them, checked and brought to double precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.coefficients import Coefficient
from rbm.errors import ModelError

__all__ = ["Terms", "matrix_entries", "operator_term", "term_pairs", "vector_term"]

Terms = Sequence[tuple[Coefficient, Any]]


def term_pairs(name: str, terms: Any) -> Terms:
    """The affine terms as a list of pairs, or an error that shows the form."""
    form = f"{name} must be a list of pairs [(coefficient, array), ...], one a term"
    if not isinstance(terms, list | tuple):
        raise ModelError(f"{form}, got {type(terms).__name__}; for a single term write [(1.0, array)]")
    if not terms:
        raise ModelError(f"{form}; the list is empty")
    for k, term in enumerate(terms):
        if not (isinstance(term, tuple | list) and len(term) == 2):
            raise ModelError(f"{form}; term {k} is a {type(term).__name__}")
    return terms


def matrix_entries(name: str, matrix: Any) -> Any:
    """A sparse or dense matrix in double precision, checked for NaN."""
    if sp.issparse(matrix):
        matrix = sp.csr_array(matrix)
        values = matrix.data
    else:
        matrix = values = np.asarray(matrix)
    if values.dtype.kind not in "biufc":
        raise ModelError(
            f"{name} must be a scipy sparse matrix or an array of numbers, got {type(matrix).__name__} of {values.dtype}"
        )
    if not np.all(np.isfinite(values)):
        raise ModelError(f"{name} has {int((~np.isfinite(values)).sum())} entries that are NaN or infinite")
    return matrix.astype(np.result_type(values.dtype, np.float64))


def operator_term(name: str, matrix: Any, n: int) -> Any:
    """A_q (n, n): sparse or dense in double precision, or a LinearOperator as it is. Raises ModelError for another shape or NaN."""
    black_box = not (sp.issparse(matrix) or isinstance(matrix, np.ndarray | list)) and hasattr(matrix, "matvec")
    if not black_box:
        matrix = matrix_entries(name, matrix)
    if tuple(matrix.shape) != (n, n):
        raise ModelError(f"{name} has shape {tuple(matrix.shape)}, the product has shape {(n, n)}; they must agree")
    return matrix


def vector_term(name: str, vector: Any, n: int) -> np.ndarray:
    """f_q or an output functional (n,) in double precision. Raises ModelError for another shape or NaN."""
    array = matrix_entries(name, vector.toarray().ravel() if sp.issparse(vector) else vector)
    if array.shape != (n,):
        raise ModelError(f"{name} has shape {array.shape}, expected ({n},) to match the product")
    return array
