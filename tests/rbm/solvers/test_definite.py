"""What a floating-point elimination proves about definiteness: true against exact inertia, and close to it."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from flint import ctx
from helpers.elimination import pivots, rows_of

from rbm.solvers.definite import (
    definiteness_error,
    dominance_slack,
    eigenvalue_from_inverse,
    hermitian_part,
    norm_bound,
    semidefinite_slack,
)

U = np.finfo(float).eps / 2
KINDS = [np.asarray, sp.csr_array]


@pytest.fixture(autouse=True)
def _bits():
    ctx.prec = 300
    yield
    ctx.prec = 53


def is_definite(matrix: np.ndarray, shift: float) -> bool:
    """Whether H + shift I is positive definite: exact elimination of the real form [[re, -im], [im, re]]."""
    return all(pivot > 0 for pivot in pivots(rows_of(matrix, shift)))


def random_hermitian(seed: int, values: np.ndarray, cplx: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = len(values)
    q = np.linalg.qr(rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if cplx else 0))[0]
    return hermitian_part((q * values) @ q.conj().T)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cplx", [False, True])
@pytest.mark.parametrize("smallest", [1e-2, 1e-9, 1e-13, 1e-15, 1e-16])
def test_a_succeeding_elimination_proves_what_it_says(kind, cplx, smallest):
    succeeded = 0
    for seed in range(8):
        h = random_hermitian(seed, np.geomspace(smallest, 1, 6), cplx)
        error = definiteness_error(kind(h))
        if error is not None:
            succeeded += 1
            assert is_definite(h, error)
            assert error <= 1000 * U
    assert succeeded or smallest < 1e-14


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_term_is_not_idle(kind):
    """Matrices with an eigenvalue of -1e-17 that eliminations find positive definite: true only with the error term."""
    fooled = 0
    for seed in range(200):
        values = np.append(np.linspace(0.5, 1, 5), -1e-17)
        h = random_hermitian(seed, values, False)
        error = definiteness_error(kind(h))
        if error is not None:
            fooled += not is_definite(h, 0.0)
            assert is_definite(h, error)
    assert fooled > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.diag([1.0, -1e-12]), np.array([[0.0, 1], [1, 0]]), np.array([[1, 2j], [-2j, 1]])])
def test_indefinite_matrices_are_no_proof(kind, bad):
    assert definiteness_error(kind(bad)) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cplx", [False, True])
def test_semidefinite_matrices_are_proved_up_to_a_slack(kind, cplx):
    for seed in range(8):
        for rank in (1, 3, 5):
            rng = np.random.default_rng(seed)
            x = rng.standard_normal((7, rank)) + (1j * rng.standard_normal((7, rank)) if cplx else 0)
            h = hermitian_part(x @ x.conj().T)
            slack = semidefinite_slack(kind(h))
            assert slack is not None
            assert is_definite(h, slack * (1 + 4 * U))
            assert slack <= 1e-13 * norm_bound(h)
            # a part of it that is not semi-definite beyond round-off is refused
            assert semidefinite_slack(kind(hermitian_part(h - 1e-8 * norm_bound(h) * np.eye(7)))) is None


@pytest.mark.parametrize("kind", KINDS)
def test_slack_that_is_forgiven_is_returned(kind):
    assert semidefinite_slack(kind(np.zeros((2, 2)))) == 0
    assert semidefinite_slack(kind(np.diag([1.0, 0.0, 3.0]))) == 0  # dominant: nothing to forgive
    assert semidefinite_slack(kind(np.array([[1.0, -1.0], [-1.0, 1.0]]))) <= 8 * U
    for negative in (1e-16, 1e-15, 1e-12):
        slack = semidefinite_slack(kind(np.diag([1.0, -negative])))
        assert negative <= slack <= max(1e-10, 1e3 * negative)
    assert semidefinite_slack(kind(np.diag([1.0, -1e-9]))) is None


def test_matrices_at_the_ends_of_the_range_are_not_decided():
    for size in (1e-310, 5e-324, 1e308):
        for h in (np.array([[1.0, 2], [2, 1]]), np.array([[4.0, 2], [2, 1]]), np.array([[1.0, 1], [1, 1]])):
            with np.errstate(over="ignore", invalid="ignore"):
                slack = semidefinite_slack(h * size)
            assert slack is None or slack >= 0


def test_dominance_in_the_units_of_assembly_or_in_those_of_the_product():
    laplacian = sp.diags_array([-np.ones(4), np.full(5, 2.0), -np.ones(4)], offsets=[-1, 0, 1], format="csr")
    units = np.array([1.0, 2.0, 1.0, 0.5, 2.0])
    assert dominance_slack(laplacian, units) <= 64 * U
    assert dominance_slack(sp.csr_array(sp.diags_array(units) @ laplacian @ sp.diags_array(units))) > 0.1
    assert dominance_slack(np.array([[1.0, 2.0], [2.0, 1.0]])) == pytest.approx(1, rel=1e-5)


def test_norms_are_bounded():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        a = rng.standard_normal((6, 6)) + 1j * rng.standard_normal((6, 6))
        assert np.linalg.norm(a, 2) <= norm_bound(a) <= 6**0.5 * np.linalg.norm(a, 2) * 1.01
        assert norm_bound(sp.csr_array(a)) == pytest.approx(norm_bound(a), rel=1e-12)
    assert norm_bound(sp.csr_array((3, 3))) == 0


@pytest.mark.parametrize("cplx", [False, True])
@pytest.mark.parametrize("smallest", [1e-6, 1e-12, 1e-15, 1e-16])
def test_inverses_prove_eigenvalues_beyond_double_precision(cplx, smallest):
    for seed in range(5):
        h = random_hermitian(seed, np.geomspace(smallest, 1, 8), cplx)
        bound = eigenvalue_from_inverse(h)
        assert bound == 0 or is_definite(h, -bound)
        if smallest >= 1e-15:
            assert bound >= 0.1 * smallest
    assert eigenvalue_from_inverse(np.diag([1.0, -1.0])) == 0
