"""The joint growth of several terms at an anchor, proved by a count: never below the exact one, and close to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from flint import ctx
from helpers.elimination import negative_pivots, rows_of

from rbm.affine.inner_product import InnerProduct
from rbm.solvers.inertia import Inertia
from rbm.stability import certificates as module
from rbm.stability.certificates import Certifier

#: What rounding of the dense reference may take, relative.
REFERENCE = 1e-9


def grid(m: int, complex_valued: bool, units: np.ndarray | None = None) -> tuple[Any, Any, list[Any]]:
    """A product, an anchor and three terms on an m x m grid, which are not Hermitian."""
    h = 1 / (m + 1)
    k = sp.diags_array([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1]) / h
    w = sp.diags_array([np.ones(m - 1), 4 * np.ones(m), np.ones(m - 1)], offsets=[-1, 0, 1]) * h / 6
    stiffness, mass = sp.kron(k, w) + sp.kron(w, k), sp.kron(w, w)
    wall = sp.diags_array(np.where(np.arange(m * m) % m == 0, 1.0, 0.0)) / m
    wind = sp.diags_array([0.4 * h * np.ones(m * m - 1), -0.1 * h * np.ones(m * m - 1)], offsets=[1, -1])
    factor = 1j if complex_valued else 1.0
    made = [stiffness + mass, stiffness - 60 * mass + 8 * factor * wall + wind, mass, 0.1 * stiffness + wind]
    made.append(wall * (1 + factor) + 5 * wind)
    s = sp.diags_array(np.ones(m * m) if units is None else units)
    product, anchor, *terms = (sp.csr_array(s @ a @ s) for a in made)
    return product, anchor, terms


def exact(product: Any, anchor: Any, terms: list[Any]) -> tuple[float, float]:
    """beta(A_k) and J, by dense singular values with the symmetric root of P."""
    p, a, *b = (x.toarray() if sp.issparse(x) else np.asarray(x) for x in (product, anchor, *terms))
    units = 1 / np.sqrt(p.diagonal().real)
    p, a, *b = (units[:, None] * x * units for x in (p, a, *b))
    values, vectors = np.linalg.eigh(p)
    root = (vectors / np.sqrt(values)) @ vectors.conj().T
    a, *b = (root @ x @ root for x in (a, *b))
    row = np.concatenate([np.linalg.solve(a, x) for x in b], axis=1)
    return float(np.linalg.svd(a, compute_uv=False)[-1]), float(np.linalg.norm(row, 2))


def growth(product: Any, anchor: Any, terms: list[Any], factor: float = 1.0) -> tuple[float | None, float]:
    """What is proved from an estimate that is off by a factor, and the exact J."""
    beta, joint = exact(product, anchor, terms)
    certifier = Certifier(InnerProduct(product), (anchor, *terms))
    return certifier.growth(terms, anchor, beta * (1 - 1e-9), joint * factor), joint


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_it_is_above_the_exact_growth_and_close(complex_valued: bool, dense: bool) -> None:
    product, anchor, terms = grid(5 if dense else 7, complex_valued)
    if dense:
        product, anchor, *terms = (a.toarray() for a in (product, anchor, *terms))
    for factor in (0.5, 1 - 1e-3, 1 - 1e-9, 1.0, 1 + 1e-6, 1.3, 10.0):
        shown, joint = growth(product, anchor, terms, factor)
        if shown is None:
            assert factor == 0.5
            continue
        assert shown >= joint * (1 - REFERENCE), factor
        assert shown >= joint * max(factor, 1) * (1 - REFERENCE)
    shown, joint = growth(product, anchor, terms)
    assert shown is not None
    assert shown <= joint * (1 + 1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_holds_for_all_sums_of_the_terms(count: int) -> None:
    product, anchor, terms = grid(6, True)
    shown, _ = growth(product, anchor, terms[:count])
    assert shown is not None
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal(count) + 1j * rng.standard_normal(count)
        total = sum(c * b for c, b in zip(x / np.linalg.norm(x), terms, strict=False))
        assert exact(product, anchor, [total])[1] <= shown * (1 + REFERENCE)


def blocks(product: Any, anchor: Any, terms: list[Any], g: float, c: float) -> np.ndarray:
    """The block matrix of the docstring, dense, from its formula."""
    p, a, *b = (x.toarray() for x in (product, anchor, *terms))
    n, count = len(p), len(b)
    made = np.zeros(((count + 2) * n,) * 2, dtype=np.result_type(a, *b))
    for i in range(count):
        made[i * n : (i + 1) * n, i * n : (i + 1) * n] = p
        made[-n:, i * n : (i + 1) * n] = c * b[i]
    made[count * n : -n, count * n : -n] = -p
    made[-n:, count * n : -n] = c * g * a
    made[:-n, -n:] = made[-n:, :-n].conj().T
    return made


@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_count_decides_as_ball_arithmetic_does(complex_valued: bool) -> None:
    """The criterion itself, counted without rounding, on either side of the exact growth."""
    product, anchor, terms = grid(3, complex_valued)
    beta, joint = exact(product, anchor, terms)
    n, twice = product.shape[0], 2 if complex_valued else 1
    for margin, below in ((1e-6, True), (-1e-6, False)):
        g = joint * (1 + margin)
        with ctx.workprec(200):
            count = negative_pivots(rows_of(blocks(product, anchor, terms, g, 1 / (g * beta))))
        assert (count == twice * n) is below
        assert count >= twice * n


def test_what_is_claimed_holds_for_any_matrix_within_the_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    """An elimination that is wrong by all that its error allows: what was counted has a growth up to the claim.

    The matrix whose growth is J is shifted against the claim in all blocks; the count for a smaller g then still comes
    out right, and only the shift term keeps the claim above J.
    """
    product, anchor, terms = grid(4, True)
    beta, joint = exact(product, anchor, terms)
    inner = InnerProduct(product)
    certifier = Certifier(inner, (anchor, *terms))
    honest = module.inertia
    for error in (1e-6, 1e-5, 1e-4):

        def shifted(matrix: Any, order: Any = None, e: float = error) -> Inertia | None:
            found = honest(sp.csc_array(matrix + e * sp.eye_array(matrix.shape[0])), order)
            return None if found is None else Inertia(found.negative, found.error + e)

        monkeypatch.setattr(module, "inertia", shifted)
        for margin in -np.geomspace(1e-6, 0.1, 10):
            shown = certifier.growth(terms, anchor, beta * (1 - 1e-9), joint * (1 + margin))
            assert shown is None or shown >= joint * (1 - REFERENCE), (error, margin)


@pytest.mark.parametrize("small", [1e-4, 1e-7, 1e-10])
def test_nearly_singular_anchors(small: float) -> None:
    rng = np.random.default_rng(1)
    for seed in range(5):
        u, _, v = np.linalg.svd(rng.standard_normal((12, 12)))
        anchor = (u * np.append(np.linspace(2, 1, 11), small)) @ v
        terms = [rng.standard_normal((12, 12)) for _ in range(2)]
        row = np.concatenate([(v.T / np.append(np.linspace(2, 1, 11), small)) @ (u.T @ b) for b in terms], axis=1)
        joint = float(np.linalg.norm(row, 2))
        certifier = Certifier(InnerProduct(np.eye(12)), (anchor, *terms))
        for factor in (0.99, 1.0, 1.01):
            shown = certifier.growth(terms, anchor, small * (1 - 1e-5), joint * factor)
            assert shown is None or shown >= joint * (1 - 1e-16 / small), (seed, factor)


def test_mixed_units_change_nothing() -> None:
    units = 10.0 ** np.random.default_rng(2).uniform(-6, 6, 36)
    here, joint = growth(*grid(6, True))
    there, same = growth(*grid(6, True, units))
    assert here is not None
    assert there is not None
    assert same == pytest.approx(joint, rel=1e-8)
    assert joint * (1 - 1e-8) <= there <= joint * (1 + 1e-5)


def test_exchanged_rows_and_wrong_counts_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    product, anchor, terms = grid(4, True)
    certifier = Certifier(InnerProduct(product), (anchor, *terms))
    honest = module.inertia
    assert certifier.growth(terms, anchor, 0.1, 50.0) is not None
    for change in (-1, 1):
        monkeypatch.setattr(
            module, "inertia", lambda *x, d=change: honest(*x)._replace(negative=honest(*x).negative + d)
        )
        assert certifier.growth(terms, anchor, 0.1, 50.0) is None
    monkeypatch.setattr(module, "inertia", lambda *_: None)
    assert certifier.growth(terms, anchor, 0.1, 50.0) is None


@pytest.mark.parametrize("estimate", [0.0, -1.0, np.nan, np.inf])
def test_estimates_that_are_none(estimate: float) -> None:
    product, anchor, terms = grid(3, False)
    assert Certifier(InnerProduct(product), (anchor, *terms)).growth(terms, anchor, 0.1, estimate) is None
