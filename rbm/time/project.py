"""Makes a reduced model in time from a basis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rbm.errors import ModelError
from rbm.project import finish
from rbm.reduced.outputs import reduce_output
from rbm.reduction.projected_system import Reduction
from rbm.time.initial import reduce_initial
from rbm.time.lost_digits import lost_digits
from rbm.time.model import TimeModel
from rbm.time.reduced import ReducedTimeModel

__all__ = ["finished", "project_time"]


def project_time(model: TimeModel, basis: Any) -> ReducedTimeModel:
    """Make a reduced model in time from a basis that comes from elsewhere.

    model : the full model
    basis : Z (n, N), an array or what :func:`lowrank.pod` returns; orthonormalised in P if it is not P-orthonormal

    Raises ModelError for a basis of the wrong shape, or with dependent vectors, and for a periodic model.
    Cost: N products and 4 (Qa + Qm) N Riesz solves, and 2 n m^2 flops, m = Qf + (Qa + Qm) N.
    """
    if basis is None:
        raise ModelError("basis is None; give Z (n, N), one basis vector a column")
    return finished(model, Reduction(model.joint, basis, "galerkin"))


def finished(model: TimeModel, reduction: Reduction) -> ReducedTimeModel:
    """Return the reduced model of a projection of the joint system."""
    if model.periodic:
        raise ModelError("a periodic model has no march; reduce space_time() with rbm.greedy")
    training = model.parameters.sample(1, "random", rng=0)  # the estimator selects no points
    terms = finish(reduction, ("orthonormal",), training)
    basis = reduction.basis
    outputs = {name: reduce_output(model.mass.whole, basis, out, name) for name, out in model.outputs.items()}
    terms = replace(
        terms,
        stability=model.spatial.stability,
        outputs=outputs,
        output_units=model.spatial.output_units,
        orthonormality=model.inner_product.orthonormality(basis),
    )
    initial = reduce_initial(model.initial, model.mass.whole, basis)
    of_mass = model.mass.coefficients
    times = model.control, model.dt, model.theta
    lost = lost_digits(reduction)
    return ReducedTimeModel(terms, of_mass, initial, *times, model.mass.slack, lost, model.decay)
