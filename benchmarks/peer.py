"""Our full-order models as pyMOR models: the same matrices, vectors, coefficients and inner product."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from rbm import FullOrderModel

__all__ = ["parse", "reductor", "scattering_model", "thermal_block_model"]


def thermal_block_model(model: FullOrderModel) -> Any:
    """The thermal block as a pyMOR StationaryModel with one vector parameter "k"."""
    from pymor.core.logger import set_log_levels
    from pymor.models.basic import StationaryModel
    from pymor.operators.constructions import LincombOperator
    from pymor.operators.numpy import NumpyMatrixOperator
    from pymor.parameters.functionals import ProjectionParameterFunctional

    set_log_levels({"pymor": "ERROR"})
    blocks = len(model.parameters)
    # csc matrices: what pyMOR's sparse solver wants, so that it need not convert
    terms = [NumpyMatrixOperator(sp.csc_matrix(term)) for term in model.operator_terms]
    coefficients = [ProjectionParameterFunctional("k", size=blocks, index=i) for i in range(blocks)]
    operator = LincombOperator(terms, coefficients)
    return StationaryModel(operator, operator.range.from_numpy(model.rhs_terms))


def scattering_model(model: FullOrderModel) -> Any:
    """The scattering model with real admittances as a pyMOR StationaryModel with one vector parameter "b"."""
    from pymor.core.logger import set_log_levels
    from pymor.models.basic import StationaryModel
    from pymor.operators.constructions import LincombOperator
    from pymor.operators.numpy import NumpyMatrixOperator
    from pymor.parameters.functionals import ProjectionParameterFunctional

    set_log_levels({"pymor": "ERROR"})
    parts = len(model.parameters)
    coefficients = [1.0, *(ProjectionParameterFunctional("b", size=parts, index=i) for i in range(parts))]
    operator = LincombOperator([NumpyMatrixOperator(term) for term in model.operator_terms], coefficients)
    return StationaryModel(operator, operator.range.from_numpy(model.rhs_terms))


def reductor(model: FullOrderModel, fom: Any, basis: np.ndarray | None = None, constant: float | None = None) -> Any:
    """CoerciveRBReductor (the round-off-stable estimator) in our inner product.

    beta(mu) is min_i k_i, or a constant. Both are GenericParameterFunctionals, the cheapest of pyMOR's ways to say it.
    """
    from pymor.operators.numpy import NumpyMatrixOperator
    from pymor.parameters.functionals import GenericParameterFunctional
    from pymor.reductors.coercive import CoerciveRBReductor

    size = len(model.parameters)
    smallest = (
        GenericParameterFunctional(lambda mu: mu["k"].min(), {"k": size})
        if constant is None
        else GenericParameterFunctional(lambda mu: constant, {"b": size})
    )
    product = NumpyMatrixOperator(sp.csc_matrix(model.product) if sp.issparse(model.product) else model.product)
    vectors = None if basis is None else fom.solution_space.from_numpy(basis)
    return CoerciveRBReductor(fom, RB=vectors, product=product, coercivity_estimator=smallest)


def parse(fom: Any, mus: np.ndarray, name: str = "k") -> list[Any]:
    """Parameter points (M, p) as pyMOR's Mu objects, so that no timing includes their making."""
    return [fom.parameters.parse({name: mu}) for mu in mus]
