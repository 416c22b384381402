"""Makes a reduced model from a basis."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from rbm.affine.linear_rows import LinearRows
from rbm.affine.riesz_by_workers import riesz_by_workers
from rbm.errors import EstimatorUnusable, ModelError
from rbm.estimators import METHODS, Estimator
from rbm.full_order import FullOrderModel, Projection
from rbm.reduced.arrays import estimator_class
from rbm.reduced.compliant import as_compliant, compliant_terms, reduce_compliant
from rbm.reduced.model import ReducedModel
from rbm.reduced.output_rows import reduce_rows
from rbm.reduced.outputs import ReducedLinear, ReducedOutput
from rbm.reduced.primal_dual import reduce_primal_dual
from rbm.reduced.projected_outputs import reduce_output
from rbm.reduced.record import Record
from rbm.reduced.term_norms import term_norms
from rbm.reduction.adjoint import adjoint_model, check_dual
from rbm.reduction.projected_system import Reduction
from rbm.stability.evidence import evidence
from rbm.storage.workspace import opened
from rbm.workers.crew import Crew

__all__ = ["dual_names", "finish", "is_compliant", "project"]

#: Training parameters for E3 and E4 when none are given.
DEFAULT_TRAINING = 1024
#: Names, aliases or classes; the first is the default of the reduced model.
Estimators = Sequence[str | type[Estimator]]


def project(
    model: FullOrderModel,
    basis: Any,
    estimators: Sequence[str | type[Estimator]] = ("orthonormal",),
    training: Any = None,
    projection: Projection | None = None,
    *,
    dual: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    workspace: str | os.PathLike[str] | None = None,
) -> ReducedModel:
    """Make a reduced model from a basis that comes from elsewhere.

    POD, another code, or a greedy basis cut short, for example.

    Parameters
    ----------
    model : the full-order model
    basis : Z (n, N), an array, sparse or not, or what :func:`lowrank.pod` returns; orthonormalised in P if it is not
        P-orthonormal
    estimators : names or classes; the first is the default of the reduced model
    training : (M, p) parameters from which E3 and E4 select their points; by default 1024 points of a Sobol sequence
    projection : "galerkin" or "least-squares" (:class:`rbm.Reduction`); by default the model's own
    dual : {name of a linear output: basis Z* (n, N*) for its dual problem A(mu)^H z = conj l(mu)}, of solutions of that
        problem; the output is then corrected and has the product bound
        (:class:`rbm.reduced.primal_dual.ReducedPrimalDual`)
    executor : Riesz solves go to its workers, as in :func:`rbm.greedy`; the result does not depend on it
    workspace : a folder for tall matrices, as in :func:`rbm.greedy`

    Raises
    ------
    ModelError
        a basis of the wrong shape or with dependent vectors, an unknown estimator, a dual basis for an output that is
        unknown, quadratic or of an interpolated model.
    EstimatorUnusable
        the *first* estimator cannot be prepared (E3 with a singular T, E4 with too few training points); others that
        cannot are listed in `refused`.

    Cost: N products and 4 Qa N Riesz solves (each O(n) to O(n^1.5) with a sparse factorisation) and 2 n m^2 flops,
    m = Qf + Qa N.

    Source: Prud'homme, Rovas, Veroy, Machiels, Maday, Patera, Turinici, J. Fluids Eng. 124 (2002) 70-80.
    """
    if basis is None:
        example = "one basis vector a column, such as lowrank.pod(snapshots).modes"
        raise ModelError(f"basis is None; give Z (n, N), {example}")
    if training is None:
        training = model.parameters.sample(DEFAULT_TRAINING, method="sobol", rng=0)
    if dual is not None and not isinstance(dual, Mapping):
        raise ModelError(f"dual must be a dictionary {{name of an output: basis (n, N*)}}, got {type(dual).__name__}")
    with opened(workspace, model) as store, Crew(executor, model) as crew, riesz_by_workers(crew, model):
        reduction = Reduction(model, basis, projection, store=store)
        duals = {
            name: project(adjoint_model(model, name), columns, projection=reduction.projection, workspace=store)
            for name, columns in (dual or {}).items()
        }
        return finish(reduction, estimators, model.parameters.validate(training), duals=duals)


def finish(
    reduction: Reduction,
    estimators: Estimators,
    training: np.ndarray,
    selected: np.ndarray | None = None,
    duals: Mapping[str, ReducedModel] | None = None,
) -> ReducedModel:
    """Return the reduced model of a projection, with its estimators prepared.

    duals : reduced models of the dual problems of some outputs, with the estimator "orthonormal"
    """
    model = reduction.model
    states: dict[str, Estimator] = {}
    refused: dict[str, str] = {}
    for k, cls in enumerate(estimator_classes(estimators)):
        try:
            states[cls.kind] = cls.prepare(reduction, training)
        except EstimatorUnusable as error:
            if k == 0:
                raise
            refused[cls.kind] = str(error)
    return ReducedModel(
        parameters=model.parameters,
        operator_coefficients=model.operator_coefficients,
        rhs_coefficients=model.rhs_coefficients,
        stability=model.stability,
        interpolation_error=model.interpolation_error,
        orthonormality=reduction.deviation,
        projection=reduction.projection,
        operators=reduction.operators,
        rhs=reduction.rhs,
        outputs={name: _reduced(reduction, name, (duals or {}).get(name)) for name in model.outputs},
        estimators=states,
        refused=refused,
        basis=reduction.basis,
        selected=selected,
        output_units=model.output_units,
        constraints=model.constraints,
        product=model.inner_product.matrix,
        term_norms=term_norms(model, model.stability),
        measured=model.inner_product.measured,
        record=Record(evidence=evidence(model)),
    )


def _reduced(reduction: Reduction, name: str, dual: ReducedModel | None) -> ReducedOutput:
    """Return an output on the reduced basis: with its dual problem, or the sharper bound of compliant ones."""
    output, product = reduction.model.outputs[name], reduction.model.inner_product
    if isinstance(output, LinearRows):
        return reduce_rows(product, reduction.basis, output, name)
    linear = as_compliant(reduction, output) if dual is None else None
    places = None if linear is None else compliant_terms(reduction, linear)
    made = reduce_output(product, reduction.basis, output if linear is None or places is None else linear, name)
    if dual is not None:
        assert isinstance(made, ReducedLinear)
        return reduce_primal_dual(reduction, dual, made)
    if linear is None or places is None or not isinstance(made, ReducedLinear):
        return made
    return reduce_compliant(reduction, linear, made, places, output.quadratic)


def estimator_classes(estimators: Estimators) -> list[type[Estimator]]:
    """Return the classes of estimators given by name, alias or class, each once, in order.

    Raises ModelError for two of one kind, and for none.
    """
    if isinstance(estimators, str | type):
        estimators = (estimators,)
    classes: dict[str, type[Estimator]] = {}
    for given in estimators:
        cls = estimator_class(given)
        if classes.setdefault(cls.kind, cls) is not cls:
            raise ModelError(f"two estimators are of the kind {cls.kind!r}; give {cls.__name__} another kind")
    if not classes:
        raise ModelError(f"give at least one estimator: {', '.join(METHODS)}")
    return list(classes.values())


def dual_names(model: FullOrderModel, dual: Sequence[str] | str) -> tuple[str, ...]:
    """Return the names of the outputs whose dual problems are asked for; "all" stands for all that may have one.

    Raises ModelError for outputs that can have none (:func:`rbm.reduction.adjoint.check_dual`).
    """
    if isinstance(dual, str) and dual == "all" and "all" not in model.outputs:
        several = {name for name, output in model.outputs.items() if isinstance(output, LinearRows)}
        linear = [name for name, output in model.outputs.items() if not output.quadratic and name not in several]
        for name in linear[:1]:
            check_dual(model, name)
        return tuple(linear)
    if not isinstance(dual, str | list | tuple):
        raise ModelError(f'dual must be a tuple of names of outputs, or "all", got {dual!r}')
    names = (dual,) if isinstance(dual, str) else tuple(dual)
    for name in names:
        check_dual(model, name)
    return tuple(dict.fromkeys(names))


def is_compliant(reduction: Reduction, name: str) -> bool:
    """Return whether an output is its own dual problem, so that it gains nothing by another basis."""
    return compliant_terms(reduction, reduction.model.outputs[name]) is not None
