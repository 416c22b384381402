"""Quantities of interest as the user gives them: linear and quadratic functionals of the full-order solution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbm.affine.entries import dense_entries, entries
from rbm.affine.inner_product import InnerProduct
from rbm.affine.terms import Terms, operator_term, term_pairs, vector_term
from rbm.errors import ModelError
from rbm.parameters.coefficients import Coefficients
from rbm.parameters.space import ParameterSpace
from rbm.solvers.definite import hermitian_part

__all__ = ["Output", "output_pairs", "read_outputs"]


@dataclass(frozen=True)
class Output:
    """An output of the full-order model: sum_q psi_q l_q^T u (linear) or sum_q psi_q u^H Q_q u (quadratic)."""

    coefficients: Coefficients  #: psi
    terms: tuple[Any, ...]  #: l_q (n,) or Q_q (n, n)

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
            return np.sum((psi @ np.stack(self.terms)) * u, axis=1)
        return sum(psi[:, q] * np.sum(u.conj() * (m @ u.T).T, axis=1).real for q, m in enumerate(self.terms))


def read_outputs(outputs: Any, parameters: ParameterSpace, product: InnerProduct) -> dict[str, Output]:
    """Return the outputs of a model, which the user gives as {name: array} or {name: [(coefficient, array), ...]}."""
    if outputs is not None and not isinstance(outputs, Mapping):
        raise ModelError(f"outputs must be a dictionary {{name: vector}}, got {type(outputs).__name__}")
    known, n = {}, product.shape[0]
    for name, given in (outputs or {}).items():
        if name in parameters.names:
            raise ModelError(f"output {name!r} has the name of a parameter; give it another one")
        pairs = output_pairs(f"output {name!r}", given)
        arrays = [_term(f"output {name!r}", a, n, product) for _, a in pairs]
        if len({a.ndim for a in arrays}) > 1:
            raise ModelError(f"output {name!r} mixes vectors (linear) and matrices (quadratic); make two outputs of it")
        known[name] = Output(Coefficients([c for c, _ in pairs], parameters), tuple(arrays))
    return known


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


def _term(name: str, given: Any, n: int, product: InnerProduct) -> Any:
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
