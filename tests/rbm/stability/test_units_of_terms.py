"""Inf-sup bounds do not depend on the units of terms and unknowns, and terms may be zero or the same twice."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

import rbm
from rbm.stability import Anchored, NaturalNorm

SPACE = rbm.ParameterSpace({"k": (1.0, 3.5)})


def plane(m: int) -> tuple[sp.csr_array, sp.csr_array]:
    """Stiffness and mass of bilinear elements of the unit square, zero on the boundary, m^2 unknowns."""
    h, one = 1 / (m + 1), np.ones(m)
    k = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1]) / h
    w = sp.diags_array([one[1:], 4 * one, one[1:]], offsets=[-1, 0, 1]) * h / 6
    return sp.csr_array(sp.kron(k, w) + sp.kron(w, k)), sp.csr_array(sp.kron(w, w))


def bound_of(operators: list[Any], product: Any, bound: type) -> rbm.FullOrderModel:
    space = (
        SPACE
        if not any("z" in str(c) for c, _ in operators)
        else rbm.ParameterSpace({"k": (1.0, 3.5), "z": (0.1, 1.0)})
    )
    stability = bound(training=space.sample(8, rng=0), ratio=0.3)
    load = np.ones(product.shape[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return rbm.FullOrderModel(operators, [(1.0, load)], product, space, stability, projection="least-squares")


@pytest.mark.parametrize("exponent", [540, 700, -400])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_a_term_in_other_units_costs_what_it_did(kind: str, exponent: int) -> None:
    """2^-540 times a mass: its square is zero in double precision, its norm is not."""
    k, m = plane(5)
    factor = 2.0**exponent
    given = [a.toarray() if kind == "dense" else a for a in (k, sp.csr_array(m / factor), sp.csr_array(k + m))]
    model = bound_of([("1", given[0]), (f"-k**2*{factor!r}", given[1])], given[2], Anchored)
    mus = np.array([[1.0], [2.2], [3.5]])
    root = scipy.linalg.cholesky((k + m).toarray(), lower=True)
    for mu, beta in zip(mus, model.stability.best(model.operator_coefficients(mus)), strict=True):  # type: ignore[attr-defined]
        half = scipy.linalg.solve_triangular(root, (k - mu[0] ** 2 * m).toarray(), lower=True)
        exact = scipy.linalg.svdvals(scipy.linalg.solve_triangular(root, half.T, lower=True))[-1]
        assert 0.2 * exact < beta <= exact


@pytest.mark.parametrize("bound", [Anchored, NaturalNorm])
@pytest.mark.parametrize("kind", ["zero", "twice"])
def test_terms_that_add_nothing(bound: type, kind: str) -> None:
    """More than 400 unknowns: eigenvalues are those of iterations, which have no zero matrix."""
    k, m = plane(21)
    third = sp.csr_array(k.shape) if kind == "zero" else m
    model = bound_of([("1", k), ("-k**2", m), ("z*z", third)], sp.csr_array(k + m), bound)
    assert np.all(model.stability(SPACE_OF_BOTH, model.operator_coefficients(SPACE_OF_BOTH)) > 0)


SPACE_OF_BOTH = np.array([[1.0, 0.3], [3.0, 1.0]])


@pytest.mark.parametrize("bound", [Anchored, NaturalNorm])
def test_units_of_unknowns(bound: type) -> None:
    """Every second unknown in units of 2^-60: the same model, about the same number of anchors."""
    k, m = plane(6)
    units = sp.diags_array(np.where(np.arange(36) % 2, 1.0, 2.0**-60))
    made = []
    for s in (sp.eye_array(36), units):
        operators = [("1", sp.csr_array(s @ k @ s)), ("-k**2", sp.csr_array(s @ m @ s))]
        made.append(bound_of(operators, sp.csr_array(s @ (k + m) @ s), bound))
    mus = SPACE.sample(5)
    one, other = (model.stability(mus, model.operator_coefficients(mus)) for model in made)
    np.testing.assert_allclose(other, one, rtol=0.3)
