"""A whole trajectory as one linear system, for operators that are not coercive, few steps and periodic states.

All steps together, each scaled by dt, are one affine system for U = (u^1 .. u^K): with S the shift to the step before,

    sum_q m_q (I - S) x M_q U + dt sum_q theta_q (theta I + (1 - theta) S) x A_q U = dt g x f + what u^0 brings,

x the Kronecker product; S has zeros in its first row, or is the circulant shift for a periodic state u^0 = u^K. Errors
are measured in ||U||^2 = dt sum_k ||u^k||_P^2; the dual norm of the residual is (dt sum_k ||r^k||_{P'}^2)^{1/2}. Where
the energy bound of :class:`rbm.TimeModel` grows with the number of steps, or does not exist, the inf-sup constant of
this system is exact: :class:`rbm.stability.NaturalNorm`. It costs a model of K n unknowns.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

from rbm.errors import ModelError
from rbm.full_order import FullOrderModel
from rbm.parameters.coefficients import Coefficient
from rbm.parameters.space import ParameterSpace
from rbm.stability import NaturalNorm
from rbm.time.initial import InitialValue
from rbm.time.mass import Mass

__all__ = ["Recursive", "product_of", "space_time"]


class Recursive(Protocol):
    """What is asked of a time-dependent model (:class:`rbm.TimeModel`)."""

    @property
    def parameters(self) -> ParameterSpace:
        """The parameter space."""

    spatial: FullOrderModel
    mass: Mass
    initial: InitialValue
    control: np.ndarray
    steps: int
    dt: float
    theta: float
    periodic: bool


def space_time(model: Recursive, stability: Any = None) -> FullOrderModel:
    """Return the trajectories of a time-dependent model as one full-order model of K n unknowns, least squares.

    stability : of the whole system; :class:`rbm.stability.NaturalNorm` by default
    Outputs of the time-dependent model become two each: NAME_end at the last time, NAME_mean over all steps. The right
    hand side has the control of the model itself.

    Raises ModelError for operators without entries. Cost: memory for K times the entries of all terms.
    """
    spatial, mass, steps, theta, dt = model.spatial, model.mass, model.steps, model.theta, model.dt
    if spatial.black_box or spatial.low_rank_terms:
        raise ModelError("space_time needs the entries of all terms: give sparse or dense matrices")
    one = sp.eye_array(steps, format="csr")
    shift = sp.csr_array(sp.diags_array(np.ones(steps - 1), offsets=-1, shape=(steps, steps)))
    if model.periodic:
        shift = sp.csr_array(shift + sp.coo_array(([1.0], ([0], [steps - 1])), shape=(steps, steps)))
    of_stiffness, of_mass = dt * (theta * one + (1 - theta) * shift), one - shift

    def whole(of_time: Any, matrix: Any) -> Any:
        return sp.csr_array(sp.kron(of_time, sp.csr_array(matrix)))

    sources = spatial.operator_coefficients.sources, mass.coefficients.sources
    operators = [(c, whole(of_stiffness, a)) for c, a in zip(sources[0], spatial.operator_terms, strict=True)]
    operators += [(c, whole(of_mass, m)) for c, m in zip(sources[1], mass.terms, strict=True)]
    of_rhs = zip(spatial.rhs_coefficients.sources, spatial.rhs_terms.T, strict=True)
    rhs = [(c, np.kron(dt * model.control, f)) for c, f in of_rhs]
    if model.initial.present:
        first = np.eye(steps)[0]
        for c, v in zip(model.initial.coefficients.sources, model.initial.vectors.T, strict=True):
            rhs += [(product_of(c, m), np.kron(first, t @ v)) for m, t in zip(sources[1], mass.terms, strict=True)]
            if theta < 1:
                terms = zip(sources[0], spatial.operator_terms, strict=True)
                rhs += [(product_of(c, a), np.kron(-dt * (1 - theta) * first, t @ v)) for a, t in terms]
    outputs = {}
    for name, output in spatial.outputs.items():
        pairs = list(zip(output.coefficients.sources, output.terms, strict=True))
        outputs[f"{name}_end"] = [(c, np.kron(np.eye(steps)[-1], v)) for c, v in pairs]
        outputs[f"{name}_mean"] = [(c, np.kron(np.full(steps, 1 / steps), v)) for c, v in pairs]
    product = sp.csr_array(sp.kron(dt * one, sp.csr_array(spatial.product)))
    return FullOrderModel(
        operators, rhs, product, model.parameters, NaturalNorm() if stability is None else stability,
        outputs=outputs or None, solver=spatial.solver, projection="least-squares",
    )  # fmt: skip


def product_of(first: Coefficient, second: Coefficient) -> Coefficient:
    """Return the product of two coefficients: a number, an expression, or a function where one of them is one."""
    if not (isinstance(first, str | int | float | complex) and isinstance(second, str | int | float | complex)):
        raise ModelError(
            "an initial value and terms that both depend on the parameters need coefficients that are numbers or "
            "expressions in space_time; functions cannot be multiplied there"
        )
    if isinstance(first, str) or isinstance(second, str):
        parts = [one for one in (first, second) if one != 1]
        return " * ".join(f"({one})" for one in parts) if parts else 1.0
    return first * second
