"""Terms of an affine model, and its outputs, as the user gives them, checked and brought to double precision."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import scipy.sparse as sp

from lowrank import LowRankMatrix
from rbm.affine.entries import dense_entries, entries
from rbm.affine.inner_product import InnerProduct
from rbm.affine.linear_rows import Linear, LinearRows, row_matrix
from rbm.affine.low_rank_terms import double_factors
from rbm.affine.offsets import Offset
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficient, Coefficients
from rbm.parameters.interpolated_family import InterpolatedCoefficient
from rbm.parameters.space import ParameterSpace
from rbm.solvers.definite import hermitian_part

__all__ = [
    "Output", "Terms", "is_coefficient", "is_number", "operator_term", "output_pairs", "read_outputs", "term_pairs",
    "vector_term",
]  # fmt: skip

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
    """Return A_q (n, n), sparse, dense or low-rank factors in double precision, or a LinearOperator as it is.

    Raises ModelError for another shape or NaN.
    """
    if isinstance(matrix, LowRankMatrix):
        matrix = double_factors(name, matrix)
    black_box = not (sp.issparse(matrix) or isinstance(matrix, np.ndarray | list)) and hasattr(matrix, "matvec")
    if not (black_box or isinstance(matrix, LowRankMatrix)):
        matrix = entries(name, matrix)
    shape = tuple(getattr(matrix, "shape", ()))
    if shape != (n, n):
        hint = f": give a matrix {(n, n)} in the unknowns of the product, with the same ones eliminated"
        if shape in ((n,), (n, 1), (1, n)):
            hint = "; for a diagonal matrix write scipy.sparse.diags_array(vector)"
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
        return (
            "several functionals: write rbm.Linear(array) for an output of so many values, or give each a name, "
            "{f's{k}': row for k, row in enumerate(array)}"
        )
    return (
        "several right-hand sides: rbm.LoadCases makes load cases of them, each with its weight as a parameter, as in "
        "[('w0', array[:, 0]), ('w1', array[:, 1]), ...]"
    )


@dataclass(frozen=True)
class Output:
    """An output of the full-order model: sum_q psi_q l_q^T u (linear) or sum_q psi_q u^H Q_q u (quadratic).

    An offset, which needs no solution, may be added to a linear one.
    """

    coefficients: Coefficients  #: psi
    terms: tuple[Any, ...]  #: l_q (n,) or Q_q (n, n)
    offset: Offset | None = None

    @property
    def quadratic(self) -> bool:
        """True if the terms are matrices."""
        return self.terms[0].ndim == 2

    def __call__(self, mus: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return the values (M,) for full-order vectors u (M, n)."""
        shape, u = (len(mus), self.terms[0].shape[0]), dense_entries("full-order vectors", u)
        if u.shape != shape:
            raise ModelError(
                f"an output needs full-order vectors of shape {shape}, one row a parameter point, got {u.shape}"
            )
        psi = self.coefficients(mus)
        if not self.quadratic:
            made = np.sum((psi @ np.stack(self.terms)) * u, axis=1)
            return made if self.offset is None else made + self.offset(mus)
        return sum(psi[:, q] * np.sum(u.conj() * (m @ u.T).T, axis=1).real for q, m in enumerate(self.terms))


def read_outputs(outputs: Any, parameters: ParameterSpace, product: InnerProduct) -> dict[str, Any]:
    """Return the outputs of a model, which the user gives as {name: array} or {name: [(coefficient, array), ...]}.

    A number in the place of a vector is a term of the offset; :class:`rbm.Linear` makes an array-valued output.
    """
    if outputs is not None and not isinstance(outputs, Mapping):
        raise ModelError(f"outputs must be a dictionary {{name: vector}}, got {type(outputs).__name__}")
    known: dict[str, Any] = {}
    n = product.shape[0]
    for name, given in (outputs or {}).items():
        if name in parameters.names:
            raise ModelError(f"output {name!r} has the name of a parameter; give it another one")
        if isinstance(given, Linear):
            known[name] = _rows(f"output {name!r}", given, parameters, n)
            continue
        pairs = output_pairs(f"output {name!r}", given)
        constants = [(c, number(f"output {name!r}", b)) for c, b in pairs if is_number(b)]
        pairs = [pair for pair in pairs if not is_number(pair[1])]
        if not pairs:
            raise ModelError(f"output {name!r} is a number, which needs no solution; give a vector ({n},) as well")
        arrays = [_output_term(f"output {name!r}", a, n, product) for _, a in pairs]
        if len({a.ndim for a in arrays}) > 1:
            raise ModelError(f"output {name!r} mixes vectors (linear) and matrices (quadratic); make two outputs of it")
        if constants and arrays[0].ndim == 2:
            raise ModelError(f"output {name!r} adds a number to a quadratic form; only linear outputs have an offset")
        offset = None
        if constants:
            offset = Offset(Coefficients([c for c, _ in constants], parameters), np.array([b for _, b in constants]))
        known[name] = Output(Coefficients([c for c, _ in pairs], parameters), tuple(arrays), offset)
    return known


def _rows(name: str, given: Linear, parameters: ParameterSpace, n: int) -> LinearRows:
    """Return an array-valued output, checked."""
    pairs = output_pairs(name, given.rows)
    terms = tuple(row_matrix(name, c, n) for _, c in pairs)
    if len({c.shape for c in terms}) > 1:
        shapes = ", ".join(str(c.shape) for c in terms)
        raise ModelError(f"{name} has terms of different shapes, {shapes}; all must have the same k rows")
    return LinearRows(Coefficients([psi for psi, _ in pairs], parameters), terms)


def is_number(given: Any) -> bool:
    """Return whether a term of an output is a number, of its offset."""
    return isinstance(given, Number) or (isinstance(given, np.ndarray | np.generic) and np.ndim(given) == 0)


def number(name: str, given: Any) -> complex:
    """Return a term of an offset in double precision; raise ModelError for NaN, an infinite number, or a text."""
    array = np.asarray(given)
    if np.ma.is_masked(given):
        raise ModelError(f"{name} adds a masked number; give a finite one")
    if array.dtype.kind not in "biufc" or not np.isfinite(array):
        raise ModelError(f"{name} adds the number {given!r}; give a finite one")
    return complex(array) if array.dtype.kind == "c" else float(array)


def output_pairs(name: str, given: Any) -> Terms:
    """Return an output as [(coefficient, array), ...], also if it is given as one array."""
    return term_pairs(name, given) if _are_pairs(given) else [(1.0, given)]


def _are_pairs(given: Any) -> bool:
    """Return True for [(coefficient, array), ...], also with a tuple for the list or lists for the pairs.

    It is False for a matrix or a vector written as a list.
    """
    if not (isinstance(given, list | tuple) and given and isinstance(given[0], list | tuple) and len(given[0]) == 2):
        return False
    return isinstance(given[0], tuple) or np.ndim(given[0][0]) != np.ndim(given[0][1]) or isinstance(given[0][0], str)


def _output_term(name: str, given: Any, n: int, product: InnerProduct) -> Any:
    """Return a vector (n,), or a Hermitian matrix (n, n).

    Of a matrix that is not quite Hermitian it is the Hermitian part, which has the same real values.
    """
    given = entries(name, given)
    if given.shape != (n, n):
        return vector_term(name, given, n, functional=True)
    matrix = operator_term(name, given, n)
    in_units = product.in_units(matrix)
    asymmetry = abs(product.in_units(matrix - matrix.conj().T)).max()
    if asymmetry > 1e-12 * abs(in_units).max():
        raise ModelError(
            f"{name} has a matrix that is not Hermitian (|Q - Q^H| is up to {asymmetry / abs(in_units).max():.1e} of "
            "|Q|, in units of the product); a quadratic output is u^H Q u with Q = Q^H"
        )
    return hermitian_part(matrix) if asymmetry > 0 else matrix
