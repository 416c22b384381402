"""The dual problem of an output: A(mu)^H z = w, with w^H u = s, as a full-order model of its own."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np

from lowrank.arrays import conj
from rbm.affine.linear_rows import LinearRows
from rbm.affine.low_rank_terms import adjoint_term
from rbm.affine.terms import Output
from rbm.errors import ModelError
from rbm.full_order import FullOrderModel
from rbm.parameters.coefficients import Coefficients
from rbm.stability.bound import StabilityBound

__all__ = ["adjoint_model", "adjoint_system", "check_dual"]


def check_dual(model: FullOrderModel, name: str) -> Output:
    """Return the output of that name; raise ModelError where it can have no dual problem, with the reason."""
    if name not in model.outputs:
        known = ", ".join(map(repr, model.outputs)) or "none"
        raise ModelError(f"dual names the output {name!r}, which the model does not have; its outputs are {known}")
    output = model.outputs[name]
    if output.quadratic:
        raise ModelError(
            f"dual names the output {name!r}, which is quadratic: only linear outputs have a dual problem that does "
            "not depend on the solution; leave it out, its own bound stays as it is"
        )
    if isinstance(output, LinearRows):
        raise ModelError(
            f"dual names the output {name!r}, which has {output.rows} values, each with a dual problem of its own: "
            "give those that are meant as outputs of their own, {'one': C[i]}"
        )
    if model.interpolation_error is not None:
        raise ModelError(
            "dual outputs are for affine models; this one stands for another one (interpolation_error), of which the "
            "dual residual is not known: leave dual out"
        )
    if model.black_box:
        raise ModelError(
            "dual outputs need A(mu)^H, and an operator term is a LinearOperator, which shows no entries: give "
            "matrices, or leave dual out"
        )
    return output


def adjoint_model(model: FullOrderModel, name: str) -> FullOrderModel:
    """Return the model of the dual problem of a linear output s = l(mu)^T u.

        A(mu)^H z = w(mu),    w = conj l,    A^H = sum_q conj(theta_q) A_q^H,    w = sum_q conj(psi_q) conj(l_q)

    so that s = w^H u = z^H f. It has the same product, whose factorisation is shared, and the same constant beta:
    ||A^{-H}|| = ||A^{-1}||. Its coefficients are functions, so that it cannot be saved; it is used offline only.

    Raises ModelError (:func:`check_dual`).
    """
    return adjoint_system(model, check_dual(model, name))


def adjoint_system(model: FullOrderModel, output: Output) -> FullOrderModel:
    """Return the model of A(mu)^H z = conj l(mu) for an output l that need not be one of the model's own."""
    made: FullOrderModel = object.__new__(FullOrderModel)
    vars(made).update(vars(model))
    made.outputs, made.output_units = {}, {}
    made.operator_coefficients = _conjugates(model.operator_coefficients)
    made.rhs_coefficients = _conjugates(output.coefficients)
    made.rhs_terms = np.stack(output.terms, axis=1).conj()
    made.set_operators(tuple(adjoint_term(a) for a in model.operator_terms))
    made.stability = _OfAdjoint(model.stability)
    return made


def _conjugates(coefficients: Coefficients) -> Coefficients:
    return Coefficients([_Conjugate(coefficients, q) for q in range(len(coefficients))], coefficients.parameters)


class _Conjugate:
    """The complex conjugate of one coefficient, as a function of points (M, p)."""

    def __init__(self, coefficients: Coefficients, term: int) -> None:
        self.coefficients, self.term = coefficients, term
        self.__name__ = f"conjugate of {coefficients.sources[term]!r}"

    def __call__(self, mus: np.ndarray) -> np.ndarray:
        return conj(self.coefficients(mus)[:, self.term])


class _OfAdjoint:
    """The stability bound of A(mu)^H, from that of A(mu)."""

    kind: ClassVar[str] = "of the dual problem"

    def __init__(self, bound: StabilityBound) -> None:
        self.bound = bound

    def __call__(self, mus: Any, theta: Any) -> Any:
        return self.bound(mus, conj(theta))

    def arrays(self) -> dict[str, Any]:
        """Raise ModelError: there is no such file."""
        raise ModelError("the model of a dual problem is used offline only and cannot be saved; save the model itself")

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Raise ModelError: there is no such file."""
        raise ModelError("the model of a dual problem is in no file")
