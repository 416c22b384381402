"""Small models and matrices that tests of several rooms take."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

import rbm

N = 14


def fragile_model(stability: object = "3 - c") -> rbm.FullOrderModel:
    """A(mu) = diag(a, 1, 1): singular at a = 0; the bound fails for c >= 3, the coefficient for b <= 0."""
    first = np.diag([1.0, 0, 0])
    return rbm.FullOrderModel(
        [("a", first), (1.0, np.diag([0, 1.0, 1.0])), ("0 * log(b)", np.eye(3))],
        [(1.0, np.array([1.0, 2.0, 3.0]))],
        np.eye(3),
        rbm.ParameterSpace({"a": (-1.0, 1.0), "b": (-1.0, 1.0), "c": (0.0, 4.0)}),
        stability,
        outputs={"first": np.array([1.0, 0, 0])},
    )


def matrices(kind: str) -> tuple[Any, Any, np.ndarray]:
    """Stiffness and mass, sparse or dense, and a load; complex if asked for."""
    one = np.ones(N)
    stiffness = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1], format="csr") * (N + 1)
    mass = sp.diags_array([one[1:], 4 * one, one[1:]], offsets=[-1, 0, 1], format="csr") / (6 * (N + 1))
    load = one / (N + 1)
    if "complex" in kind:
        turn = sp.diags_array(np.exp(1j * np.arange(N)), format="csr")
        stiffness, mass = (sp.csr_array(turn @ a @ turn.conj()) for a in (stiffness, mass))
        load = turn @ load
    if "dense" in kind:
        stiffness, mass = stiffness.toarray(), mass.toarray()
    return stiffness, mass, load
