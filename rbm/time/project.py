"""Makes a reduced model in time from a basis, with the dual problems of outputs that have one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rbm.arithmetic import extended
from rbm.errors import ModelError
from rbm.project import finish
from rbm.reduced.projected_outputs import reduce_output
from rbm.reduced.record import Record
from rbm.reduction.projected_system import Reduction, formed
from rbm.stability.evidence import evidence
from rbm.time.adjoint import adjoint_in_time
from rbm.time.dual import ReducedDual, Start
from rbm.time.initial import orthonormal_frame, reduce_initial
from rbm.time.lost_digits import lost_digits
from rbm.time.model import TimeModel
from rbm.time.reduced import ReducedTimeModel

__all__ = ["finished", "project_time"]


def project_time(model: TimeModel, basis: Any, dual: Mapping[str, Any] | None = None) -> ReducedTimeModel:
    """Make a reduced model in time from a basis that comes from elsewhere.

    model : the full model
    basis : Z (n, N), an array or what :func:`lowrank.pod` returns; orthonormalised in P if it is not P-orthonormal
    dual : {name of an output: basis Z* (n, N*) for its dual problem (:func:`rbm.time.adjoint.adjoint_in_time`)}

    Raises ModelError for a basis of the wrong shape, or with dependent vectors, for a dual basis of an output that is
    not there, and for a periodic model.
    Cost: N products and 4 (Qa + Qm) N Riesz solves, and 2 n m^2 flops, m = Qf + (Qa + Qm) N; the same for Z*.

    Source: Grepl, Patera, M2AN 39 (2005) 157-181.
    """
    if basis is None:
        raise ModelError("basis is None; give Z (n, N), one basis vector a column")
    if dual is not None and not isinstance(dual, Mapping):
        raise ModelError(f"dual must be a dictionary {{name of an output: basis (n, N*)}}, got {type(dual).__name__}")
    duals = {}
    for name, columns in (dual or {}).items():
        problem = adjoint_in_time(model, name)
        try:
            duals[name] = project_time(problem, columns)
            if not duals[name].size:
                raise ModelError("it has no columns")
        except ModelError as error:
            raise ModelError(f"the dual basis of {name!r} is refused: {error}") from None
    return finished(model, Reduction(model.joint, basis, "galerkin"), duals)


def finished(
    model: TimeModel, reduction: Reduction, duals: Mapping[str, ReducedTimeModel] | None = None
) -> ReducedTimeModel:
    """Return the reduced model of a projection of the joint system.

    duals : reduced models of the dual problems of some outputs, with their bases
    """
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
        record=Record(evidence=evidence(model.spatial)),
    )
    initial = reduce_initial(model.initial, model.mass.whole, basis)
    of_mass = model.mass.coefficients
    times = model.control, model.dt, model.theta
    lost = lost_digits(reduction)
    made = {name: _reduced_dual(model, reduction, dual) for name, dual in (duals or {}).items()}
    return ReducedTimeModel(terms, of_mass, initial, *times, model.mass.slack, lost, model.decay, made)


def _reduced_dual(model: TimeModel, reduction: Reduction, dual: ReducedTimeModel) -> ReducedDual:
    """Return what a model needs of a reduced dual problem."""
    basis, span = dual.basis, reduction.residual_range
    assert basis is not None
    correction, off = span.seen_by(basis)
    return ReducedDual(
        recursion=dual.recursion,
        state=dual.certificate.state,
        correction=correction,
        correction_error=off,
        orthonormality=dual.terms.orthonormality,
        lost=dual.lost,
        decay=dual.decay,
        start=_start(model, reduction.basis, basis) if model.initial.present else None,
    )


def _start(model: TimeModel, basis: np.ndarray, dual: np.ndarray) -> Start:
    """Return Z*^H M_q D (Qm, N*, N + Q0) for the frame D of [Z, V]."""
    adjoint = extended.SplitMatrix(dual.conj().T, 1 / model.inner_product.balance)
    frame, _ = orthonormal_frame(np.concatenate([basis, model.initial.vectors], axis=1), model.mass.whole)
    masses, errors = [], []
    for split in model.mass.split:
        made, off = formed(adjoint, extended.product(split, frame))
        masses.append(made)
        # what the images M_q D are off by, seen by the dual basis
        errors.append(off + float(np.linalg.norm(np.abs(dual).T @ extended.rounding(split, frame))))
    return Start(np.stack(masses), np.array(errors) * (1 + 2.0**-20))
