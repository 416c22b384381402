"""What signs of pivots prove of inf-sup and natural-norm constants: never more than is true, and nearly all of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from rbm.affine.inner_product import InnerProduct
from rbm.stability import certificates as module
from rbm.stability.certificates import Certifier


def pair(m: int, kind: str, complex_valued: bool) -> tuple[Any, Any, Any]:
    """A product and two indefinite operators with impedance walls, on an m x m grid."""
    h = 1 / (m + 1)
    k = sp.diags_array([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1]) / h
    w = sp.diags_array([np.ones(m - 1), 4 * np.ones(m), np.ones(m - 1)], offsets=[-1, 0, 1]) * h / 6
    stiffness, mass = sp.kron(k, w) + sp.kron(w, k), sp.kron(w, w)
    wall = sp.diags_array(1.0 * (np.arange(m * m) % m == 0)) / m
    wind = sp.diags_array([0.3 * h * np.ones(m * m - 1), -0.3 * h * np.ones(m * m - 1)], offsets=[1, -1])
    factor = 1j if complex_valued else 1.0
    made = (
        stiffness + mass,
        stiffness - 50 * mass + factor * (7 * wall + wind),
        stiffness - 60 * mass + 8 * factor * wall,
    )
    return tuple(sp.csr_array(a) if kind == "sparse" else a.toarray() for a in made)  # type: ignore[return-value]


def exact(product: Any, a: Any, anchor: Any) -> tuple[float, float, float, float, float]:
    """beta(A), beta(A_k), the natural-norm constant, ||(A - A_k) A_k^-1|| and ||A||, by dense decompositions."""
    p, a, k = (x.toarray() if sp.issparse(x) else x for x in (product, a, anchor))
    inverse = np.linalg.inv(np.linalg.cholesky(p))
    a, k = (inverse @ x @ inverse.conj().T for x in (a, k))
    of_a, of_k = (np.linalg.svd(x, compute_uv=False) for x in (a, k))
    ratio = a @ np.linalg.inv(k)
    natural = np.linalg.eigvalsh((ratio + ratio.conj().T) / 2)[0]
    return of_a[-1], of_k[-1], natural, float(np.linalg.norm(ratio - np.eye(len(k)), 2)), of_a[0]


@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_it_proves_nearly_all_and_never_more(kind: str, complex_valued: bool) -> None:
    """Estimates right, too small and too large by little and by much."""
    product, a, anchor = pair(9, kind, complex_valued)
    beta, of_anchor, natural, apart, size = exact(product, a, anchor)
    certifier = Certifier(InnerProduct(product), (a, anchor))
    for factor in (1 - 1e-4, 1.0, 1 + 1e-7, 1 + 1e-3, 1.5):
        assert 0 <= certifier.inf_sup(a, beta * factor) <= beta * (1 + 1e-12)
        shown = certifier.natural(a, anchor, of_anchor * (1 - 1e-9), (1.0, apart * 1.01), natural + factor - 1, 1.0)
        assert shown is None or shown <= natural + 1e-12
        assert certifier.norm(a, size * factor) >= size * (1 - 1e-12)
    assert certifier.inf_sup(a, beta) >= beta * (1 - 1e-5)
    shown = certifier.natural(a, anchor, of_anchor * (1 - 1e-9), (1.0, apart * 1.01), natural, 1.0)
    assert shown is not None
    assert shown >= natural - 1e-3
    assert certifier.norm(a, size) <= 1.02 * size


def test_the_decision_is_right_on_both_sides() -> None:
    """At a relative distance of 1e-6 of the constant on either side."""
    product, a, anchor = pair(12, "sparse", True)
    beta = exact(product, a, anchor)[0]
    certifier = Certifier(InnerProduct(product), (a, anchor))
    scaled = certifier.in_units(a)
    p = certifier.product

    def shown(t: float) -> bool:
        return certifier._shift([[p, scaled / t], [scaled.conj().T / t, p]], 1, 10 / t) is not None

    assert all(shown(beta * (1 - 10.0**-d)) for d in range(1, 7))
    assert not any(shown(beta * (1 + 10.0**-d)) for d in range(1, 7))


def test_exchanged_rows_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    product, a, anchor = pair(5, "sparse", True)
    certifier = Certifier(InnerProduct(product), (a, anchor))
    monkeypatch.setattr(module, "inertia", lambda *_: None)
    assert certifier.inf_sup(a, 0.1) == 0.0
    assert certifier.natural(a, anchor, 0.1, (1.0, 1.0), 0.5, 0.1) is None
    assert certifier.norm(a, 1.0) >= exact(product, a, anchor)[4]


def test_a_count_that_is_off_by_one_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    product, a, anchor = pair(5, "sparse", True)
    certifier = Certifier(InnerProduct(product), (a, anchor))
    right = module.inertia
    monkeypatch.setattr(module, "inertia", lambda *x: right(*x)._replace(negative=right(*x).negative - 1))
    assert certifier.inf_sup(a, 0.01) == 0.0
    assert certifier.natural(a, anchor, 0.1, (1.0, 1.0), 0.5, 0.1) is None
