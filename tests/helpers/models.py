"""Small models on which the estimators are tested: real, complex, two parameters."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

import rbm
from problems import reaction_diffusion_1d


def complex_model(n_elements: int = 200) -> rbm.FullOrderModel:
    """-u'' + (a + i b) u = 1 + i x: complex data, coercive with beta = 1 since a >= 0."""
    base = reaction_diffusion_1d(n_elements)
    stiffness, mass = base.operator_terms
    x = np.arange(1, n_elements) / n_elements
    return rbm.FullOrderModel(
        operators=[(1.0, stiffness), ("a + 1j*b", mass)],
        rhs=[(1.0, (1 + 1j * x) / n_elements)],
        product=stiffness,
        parameters=rbm.ParameterSpace({"a": (1.0, 100.0), "b": (-50.0, 50.0)}),
        stability=1.0,
        outputs={"mean": np.full(n_elements - 1, 1 / n_elements)},
    )


def two_parameter_model(n_elements: int = 200) -> rbm.FullOrderModel:
    """-u'' + c u = 1, c = a on the left half and b on the right: three affine terms, P = K, beta = 1."""
    base = reaction_diffusion_1d(n_elements)
    stiffness, mass = base.operator_terms
    # element mass matrices of the left half: both terms are positive semi-definite, which makes beta = 1 a lower bound
    left = np.arange(n_elements) < n_elements // 2
    h = 1 / n_elements
    diagonal = (h / 3) * (left[:-1].astype(float) + left[1:])
    off = (h / 6) * left[1:-1]
    left_mass = sp.diags_array([off, diagonal, off], offsets=[-1, 0, 1], format="csr")
    return rbm.FullOrderModel(
        operators=[(1.0, stiffness), ("a", left_mass), ("b", sp.csr_array(mass - left_mass))],
        rhs=[(1.0, np.full(n_elements - 1, 1 / n_elements))],
        product=stiffness,
        parameters=rbm.ParameterSpace({"a": (1.0, 100.0), "b": (1.0, 100.0)}),
        stability=1.0,
    )


MODELS = {"real": reaction_diffusion_1d, "complex": complex_model, "two parameters": two_parameter_model}
