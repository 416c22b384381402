"""The dual problem of an output in time, as a model in time of its own."""

from __future__ import annotations

from rbm.affine.terms import Output
from rbm.errors import ModelError
from rbm.reduction.adjoint import adjoint_system, check_dual
from rbm.time.control import impulse
from rbm.time.initial import read_initial
from rbm.time.model import TimeModel

__all__ = ["adjoint_in_time"]


def adjoint_in_time(model: TimeModel, name: str) -> TimeModel:
    """Return the dual model of an output s = l(mu)^T u, an answer to an impulse.

        M (w^i - w^{i-1}) + dt A^H (theta w^i + (1 - theta) w^{i-1}) = dt delta_{i1} conj l,    w^0 = 0

    M, A and l do not change in time, so that one march serves the output at all times: for any trajectory v with
    residuals r^j, and e = u - v,

        l^T e^k = (1 / dt) sum_{j<=k} (w^{k-j+1})^H (dt r^j)  +  what becomes of e^0,

    which for the implicit Euler method is (1 / dt) (w^k)^H M e^0. It is used offline only and cannot be saved.

    Raises ModelError for an output that has no dual problem (:func:`rbm.reduction.adjoint.check_dual`), and for a
    periodic model.
    """
    if model.periodic:
        raise ModelError("a periodic model has no march; the outputs of space_time() have dual problems")
    output: Output = check_dual(model.spatial, name)
    made: TimeModel = object.__new__(TimeModel)
    vars(made).update(vars(model))
    made.spatial = adjoint_system(model.spatial, output)
    made.joint = adjoint_system(model.joint, output)
    # fixed unknowns are zero here, whatever they are in the model
    made.spatial.constraints = made.joint.constraints = None
    made.initial = read_initial(None, model.parameters, model.dimension)
    made.control = impulse(model.steps)
    return made
