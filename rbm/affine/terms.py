"""The terms of an affine model as the user gives them, checked and brought to double precision."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm.affine.entries import entries
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient
from rbm.parameters.interpolated_family import InterpolatedCoefficient

__all__ = ["Terms", "is_coefficient", "operator_term", "term_pairs", "vector_term"]

Terms = Sequence[tuple[Coefficient, Any]]


def term_pairs(name: str, terms: Any) -> Terms:
    """Return the affine terms as a list of pairs, or raise an error that shows the form and names the term."""
    form = f"{name} must be a list of pairs [(coefficient, array), ...], one a term"
    if not isinstance(terms, list | tuple):
        raise ModelError(f"{form}, got {type(terms).__name__}; {_as_pairs(name, terms)}")
    if not terms:
        raise ModelError(f"{form}; the list is empty")
    if len(terms) == 2 and is_coefficient(terms[0]) and not isinstance(terms[1], tuple):
        shown = repr(terms[0]) if isinstance(terms[0], str | Number) else "coefficient"
        raise ModelError(f"{form}, got one pair alone; for a single term write [({shown}, array)]")
    for k, term in enumerate(terms):
        if not (isinstance(term, tuple | list) and len(term) == 2):
            raise ModelError(f"{form}; term {k} is a {type(term).__name__}; for a single term write [(1.0, array)]")
        coefficient, array = term
        if is_coefficient(coefficient):
            continue
        kind = type(coefficient).__name__
        if is_coefficient(array):
            shown = repr(array) if isinstance(array, str | Number) else "function"
            raise ModelError(
                f"term {k} of {name} is ({kind}, {shown}), in the wrong order: pairs are (coefficient, array), write "
                f"({shown}, array)"
            )
        raise ModelError(
            f"the coefficient of term {k} of {name} is a {kind}; pairs are (coefficient, array), and a coefficient is "
            "a number, an expression string or a vectorised callable"
        )
    return terms


def _as_pairs(name: str, terms: Any) -> str:
    """Return what to write instead of something that is no list."""
    if isinstance(terms, Mapping):
        return f"write {name}=list(d.items()) for a dictionary d = {{coefficient: array}}"
    if isinstance(terms, Iterator | ItemsView):
        return f"write {name}=list(...)"
    return "for a single term write [(1.0, array)]"


def is_coefficient(given: Any) -> bool:
    """Return True for what may be a coefficient; operators, which are callable, may not."""
    if isinstance(given, str | Number | InterpolatedCoefficient):
        return True
    if sp.issparse(given) or hasattr(given, "matvec"):
        return False
    return callable(given) or (isinstance(given, np.ndarray) and given.ndim == 0 and given.dtype.kind in "biufc")


def operator_term(name: str, matrix: Any, n: int) -> Any:
    """Return A_q (n, n), sparse or dense in double precision, or a LinearOperator as it is.

    Raises ModelError for another shape or NaN.
    """
    black_box = not (sp.issparse(matrix) or isinstance(matrix, np.ndarray | list)) and hasattr(matrix, "matvec")
    if not black_box:
        matrix = entries(name, matrix)
    shape = tuple(getattr(matrix, "shape", ()))
    if shape != (n, n):
        hint = (
            "; for a diagonal matrix write scipy.sparse.diags_array(vector)"
            if shape in ((n,), (n, 1), (1, n))
            else f": give a matrix {(n, n)} in the unknowns of the product, with the same ones eliminated"
        )
        raise ModelError(f"{name} has shape {shape}, the product has shape {(n, n)}; they must agree{hint}")
    return matrix


def vector_term(name: str, vector: Any, n: int, *, functional: bool = False) -> np.ndarray:
    """Return f_q (n,) in double precision, from (n,), a column (n, 1) or a row (1, n).

    With `functional` it is l_q, of an output.

    Raises ModelError for another shape or NaN.
    """
    array = entries(name, vector)
    shape = array.shape
    if shape in ((n,), (n, 1), (1, n)):
        return (array.toarray() if sp.issparse(array) else array).ravel()
    hint = ""
    if len(shape) == 2 and n in shape:
        turned = shape[1] != n if functional else shape[0] != n
        hint = f"; transpose it; it holds {_several(functional)}" if turned else f"; it holds {_several(functional)}"
    raise ModelError(f"{name} has shape {shape}, expected ({n},) to match the product{hint}")


def _several(functional: bool) -> str:
    """Return what to do with an array of more than one vector."""
    if functional:
        return "several functionals: give each a name, {f's{k}': row for k, row in enumerate(array)}"
    return (
        "several right-hand sides: make a model of each, or give each its weight as a parameter, "
        "[('w0', array[:, 0]), ('w1', array[:, 1]), ...]"
    )
