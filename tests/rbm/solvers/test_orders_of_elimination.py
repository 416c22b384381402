"""What `solver=None` eliminates in which order: found from the graph, and the same proofs in each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.grids import laplacian

import rbm
from problems import thermal_block_3d
from rbm.affine import sums
from rbm.affine.sums import SparseSum
from rbm.solvers import graph
from rbm.solvers.factorization import factorize_positive_definite, symmetric_lu
from rbm.solvers.graph import Elimination, elimination
from rbm.solvers.inertia import inertia


def displacements(matrix: Any, count: int = 3) -> Any:
    """Several coupled components at each node."""
    return sp.csr_array(sp.kron(matrix, np.eye(count) + 0.2 * np.ones((count, count))))


@pytest.fixture
def all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "SMALL", 100)
    graph._kept.clear()


def test_small_matrices_and_plane_ones_keep_the_order_of_unknowns() -> None:
    for matrix in (laplacian(17, 3), laplacian(80, 2), displacements(laplacian(60, 2), 2)):
        assert elimination(matrix) == Elimination(None, False)
    assert elimination(laplacian(18, 3)) == Elimination(None, True)  # 5832 unknowns in space
    order, wide = elimination(displacements(laplacian(13, 3)))  # 6591 unknowns, three at a node
    assert wide
    assert order is not None
    np.testing.assert_array_equal(np.sort(order), np.arange(6591))
    np.testing.assert_array_equal(order.reshape(-1, 3) % 3, np.tile([0, 1, 2], (2197, 1)))  # a node together


@pytest.mark.usefixtures("all_sizes")
@pytest.mark.parametrize("turned", [False, True])
def test_factors_in_the_order_of_nodes_are_those_of_the_matrix(turned: bool) -> None:
    matrix = displacements(laplacian(5, 3))
    n = matrix.shape[0]
    if turned:
        turn = sp.diags_array(np.exp(1j * np.arange(n)))
        matrix = sp.csr_array(turn @ matrix @ turn.conj())
    assert elimination(matrix).order is not None
    lu = symmetric_lu(matrix)
    # SuperLU's own words: Pr A Pc = L U, where row i of A is row perm_r[i] of L U
    product = (lu.L @ lu.U).toarray()[np.ix_(lu.perm_r, lu.perm_c)]
    np.testing.assert_allclose(product, matrix.toarray(), atol=1e-12)
    rhs = np.random.default_rng(0).standard_normal((n, 20))
    solve: Any = factorize_positive_definite(matrix)
    np.testing.assert_allclose(matrix @ solve(rhs), rhs, atol=1e-12)
    of_sum = SparseSum([matrix])
    np.testing.assert_allclose(matrix @ of_sum.factorize(of_sum.assemble(np.ones(1)))(rhs), rhs, atol=1e-12)


@pytest.mark.usefixtures("all_sizes")
def test_proofs_count_the_same_in_every_order() -> None:
    matrix = displacements(laplacian(5, 3))
    n, values = matrix.shape[0], np.linalg.eigvalsh(matrix.toarray())
    shifted = sp.csr_array(matrix - 3.1 * sp.eye_array(n))
    found = inertia(shifted)
    assert found is not None
    assert found.negative == np.count_nonzero(values < 3.1) > 0
    assert 0 < found.error < 1e-8
    assert factorize_positive_definite(shifted) is None
    again = inertia(shifted, np.random.default_rng(0).permutation(n))  # an order that the caller has
    assert again is not None
    assert again.negative == found.negative


@pytest.mark.parametrize("solver", [None, "superlu", "pardiso", "amg"])
def test_no_order_is_found_for_solvers_that_have_their_own(solver: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a factorisation by SuperLU, which may not fit."""
    pytest.importorskip({"pardiso": "pypardiso", "amg": "pyamg"}.get(str(solver), "scipy"))
    pytest.importorskip("skfem")
    found, whole = [], sums.symmetric_lu
    monkeypatch.setattr(sums, "symmetric_lu", lambda *a: found.append(0) or whole(*a))  # type: ignore[func-returns-value]
    model = thermal_block_3d(6, solver=solver)
    with ThreadPoolExecutor(2) as pool:
        rbm.greedy(model, model.parameters.sample(10), max_basis=2, executor=pool)
    rbm.greedy(model, model.parameters.sample(10), max_basis=1)
    assert bool(found) is (solver is None)
