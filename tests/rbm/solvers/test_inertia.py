"""Counts of negative pivots: enclosed by those of the shifted matrices, in exact arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from flint import ctx
from helpers.elimination import negative_pivots, rows_of

from rbm.solvers import inertia as module
from rbm.solvers.inertia import inertia

KINDS = [np.asarray, sp.csr_array]


@pytest.fixture(autouse=True)
def _bits():
    ctx.prec = 400
    yield
    ctx.prec = 53


def negative_eigenvalues(matrix: np.ndarray, shift: float) -> int:
    """The number for H + shift I: 400-bit elimination of the real form, whose eigenvalues are double."""
    return negative_pivots(rows_of(matrix, shift)) // (2 if np.iscomplexobj(matrix) else 1)


def hermitian(n: int, complex_valued: bool, seed: int) -> np.ndarray:
    """A banded matrix of both signs."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if complex_valued else 0)
    a = np.triu(np.tril(a, 3), -3)
    return (a + a.conj().T) / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_count_is_enclosed(kind: type, complex_valued: bool) -> None:
    for seed in range(4):
        h = hermitian(14, complex_valued, seed)
        # an eigenvalue as near to zero as double precision can put it
        h = h - np.eye(len(h)) * np.linalg.eigvalsh(h)[5 + seed]
        found = inertia(kind(h))
        if found is None:  # a pivot of size u, whose sign says nothing, is reported as an error as large
            continue
        assert negative_eigenvalues(h, found.error) <= found.negative <= negative_eigenvalues(h, -found.error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("complex_valued", [False, True])
def test_away_from_eigenvalues_the_count_is_exact(kind: type, complex_valued: bool) -> None:
    h = hermitian(60, complex_valued, 7)
    values = np.linalg.eigvalsh(h)
    for k in (0, 17, 30, 59):
        shift = values[k] + 0.4 * (values[k + 1] - values[k] if k < 59 else 1.0)
        found = inertia(kind(h - shift * np.eye(60)))
        assert found is not None
        assert found.negative == k + 1
        assert found.error < 1e-9


def test_what_cannot_be_counted_is_refused() -> None:
    assert inertia(sp.csr_array(np.zeros((3, 3)))) is None
    assert inertia(np.zeros((3, 3))) is None
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert inertia(sp.csr_array(swap)) is None  # needs an exchange of rows
    found = inertia(swap)  # a block of two
    assert found is not None
    assert found.negative == 1
    assert inertia(sp.csr_array([[1e-200, 1e200], [1e200, 1.0]])) is None  # beyond the range of numbers


def test_an_order_of_elimination_changes_nothing_but_the_fill() -> None:
    h = sp.csr_array(hermitian(60, True, 3) + 0.3 * np.eye(60))
    order = np.random.default_rng(0).permutation(60)
    given, found = inertia(h, order), inertia(h)
    assert given is not None
    assert found is not None
    assert given.negative == found.negative == np.count_nonzero(np.linalg.eigvalsh(h.toarray()) < 0)


def test_exchanged_rows_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signs on the diagonal of U are then not those of a symmetric elimination."""
    lu = module.symmetric_lu(sp.csc_array(np.diag([1.0, -2.0, 3.0])))

    class Exchanged:
        L, U, perm_r, perm_c = lu.L, lu.U, np.array([1, 0, 2]), np.array([0, 1, 2])

    monkeypatch.setattr(module, "symmetric_lu", lambda *_: Exchanged())
    assert inertia(sp.csr_array(np.diag([1.0, -2.0, 3.0]))) is None


def test_small_and_large_matrices_have_an_error_too() -> None:
    """The enclosure has the size of the matrix; below 1e-200 there is none."""
    h = sp.csr_array(hermitian(20, False, 1))
    plain = inertia(h)
    assert plain is not None
    for exponent in (-600, -400, 400, 600):
        found = inertia(h * 2.0**exponent)
        assert found is not None
        assert found.negative == plain.negative
        assert found.error == pytest.approx(plain.error * 2.0**exponent, rel=1e-9)
    assert inertia(h * 2.0**-700) is None
