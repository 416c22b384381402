"""What the factorisations of other libraries prove, the order of SuperLU, and the choice of a solver."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.grids import laplacian

import rbm
from rbm.affine import inner_product, units
from rbm.affine.inner_product import InnerProduct
from rbm.errors import ModelError
from rbm.solvers import AMG, Auto, Pardiso, SuperLU, automatic, mkl
from rbm.solvers.cholesky_proof import cholesky_error
from rbm.solvers.definite import definiteness_error, semidefinite_slack
from rbm.solvers.factorization import symmetric_lu
from rbm.solvers.graph import dimension, groups, symmetric_order, symmetric_pattern
from rbm.stability.coercive_terms import measured_slack

EPS = np.finfo(float).eps


def elasticity(count: int) -> Any:
    """Three unknowns a node, all coupled to those of the neighbours."""
    coupling = np.array([[2.0, 0.3, 0.1], [0.3, 2.0, 0.2], [0.1, 0.2, 2.0]])
    return sp.csr_array(sp.kron(laplacian(count, 3), coupling))


def smallest(count: int, dimensions: int) -> float:
    return dimensions * 4 * np.sin(np.pi / (2 * (count + 1))) ** 2


def test_the_error_bound_covers_that_of_a_factorisation() -> None:
    """The backward error of LAPACK's factors, exact to 400 bits, is below the bound, and the bound small."""
    flint = pytest.importorskip("flint")
    rng = np.random.default_rng(0)
    for n in (5, 30):
        root = rng.standard_normal((n, n))
        matrix = root @ root.T + 1e-3 * np.eye(n)
        matrix = (matrix + matrix.T) / 2
        factor = np.linalg.cholesky(matrix)
        with flint.ctx.workprec(400):
            exact = flint.arb_mat(factor.tolist()) * flint.arb_mat(factor.T.tolist()) - flint.arb_mat(matrix.tolist())
            error = np.array([[float(x.mid()) for x in row] for row in exact.tolist()])
        bound = cholesky_error(sp.csr_array(matrix))
        assert bound is not None
        assert np.linalg.norm(error, 2) <= bound <= 1e-10
        assert np.linalg.norm(error, 2) > 1e-6 * bound
    assert cholesky_error(sp.csr_array(1e-250 * np.eye(3))) is None
    half, full = (cholesky_error(laplacian(20, 2), entries) for entries in (1000, None))
    assert half is not None
    assert full is not None
    assert half < full / 20  # 1000 entries and not 80 200


def test_pardiso_counts_no_fewer_entries_than_the_factor_has() -> None:
    pytest.importorskip("pypardiso")
    for matrix in (laplacian(30, 2), laplacian(9, 3), elasticity(6)):
        solve = Pardiso().factorize(matrix)
        order = solve._order - 1  # type: ignore[attr-defined]
        exact = symmetric_lu(sp.csr_array(matrix)[order][:, order], "NATURAL").L.nnz
        assert exact <= solve.entries <= 2 * exact  # type: ignore[attr-defined]


@pytest.mark.parametrize("solver", [SuperLU(), Pardiso()])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_a_proof_stands_just_below_the_smallest_eigenvalue_and_not_above(solver: Any, complex_valued: bool) -> None:
    if isinstance(solver, Pardiso):
        pytest.importorskip("pypardiso")
    matrix = laplacian(10, 3)
    if complex_valued:
        turn = sp.diags_array(np.exp(1j * np.arange(1000)))
        matrix = sp.csr_array(turn @ matrix @ turn.conj())
        matrix = sp.csr_array((matrix + matrix.conj().T) / 2)
    for share, definite in ((1 - 1e-9, True), (1 + 1e-9, False)):
        error = definiteness_error(matrix - share * smallest(10, 3) * sp.eye_array(1000), solver.cholesky)
        assert (error is not None) is definite
        assert error is None or 0 < error < 1e-9
    neumann = sp.csr_array(matrix - smallest(10, 3) * sp.eye_array(1000))
    slack = semidefinite_slack(neumann, solver.cholesky)
    assert slack is not None
    assert 0 < slack < 1e-9
    assert semidefinite_slack(sp.csr_array(neumann - 1e-6 * sp.eye_array(1000)), solver.cholesky) is None


@pytest.mark.parametrize("name", ["superlu", "pardiso", "amg"])
def test_a_large_product_is_proved_by_its_solver_or_said_to_be_measured(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"superlu": "scipy", "pardiso": "pypardiso", "amg": "pyamg"}[name])
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 500)
    product = laplacian(10, 3)
    inner = InnerProduct(product, name)
    exact = smallest(10, 3) * float(inner.balance[0]) ** 2
    assert inner.proved is (name != "amg")
    assert 0.4 * exact < inner.smallest_eigenvalue < exact
    if inner.proved:
        assert inner.smallest_eigenvalue > 0.85 * exact
    assert InnerProduct(product).prove is None
    assert InnerProduct(product).proved
    w = np.random.default_rng(0).standard_normal((1000, 3))
    exact_norms = InnerProduct(product).dual_norm(w)
    np.testing.assert_allclose(inner.dual_norm(w), exact_norms, rtol=8 * EPS)
    assert np.all(inner.dual_norm_upper(w) >= exact_norms * (1 - 4 * EPS))


def block_model(solver: Any) -> rbm.FullOrderModel:
    """Two halves of a body, trilinear-like terms: no dominant diagonals, so that definiteness wants a factorisation."""
    n = 8**3
    k = laplacian(8, 3)
    first = sp.diags_array((np.arange(n) < n // 2).astype(float))
    root = sp.csr_array(sp.eye_array(n) + 0.7 * sp.eye_array(n, k=1) + 0.7 * sp.eye_array(n, k=9))
    parts = [sp.csr_array(root.T @ first @ root), sp.csr_array(root.T @ (sp.eye_array(n) - first) @ root), k]
    terms: list[Any] = [sp.csr_array((a + a.T) / 2) for a in parts]
    product = sp.csr_array(2.0 * terms[0] + terms[1] + terms[2] + 0.1 * sp.eye_array(n))
    return rbm.FullOrderModel(
        [("a", terms[0]), ("b", terms[1]), (1.0, terms[2])], [(1.0, np.ones(n))], product,
        {"a": (0.5, 2.0), "b": (0.5, 2.0)}, rbm.stability.MinTheta([1.0, 1.0]), solver=solver,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["superlu", "pardiso", "amg"])
def test_min_theta_takes_the_proofs_of_the_solver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip({"superlu": "scipy", "pardiso": "pypardiso", "amg": "pyamg"}[name])
    expected = block_model(None)
    from rbm.stability import coercive_terms

    for module in (inner_product, coercive_terms, units):
        monkeypatch.setattr(module, "PROOF_LIMIT", 100)
    monkeypatch.setattr(coercive_terms, "DENSE_LIMIT", 100)
    calls: list[int] = []
    kind: Any = {"superlu": SuperLU, "pardiso": Pardiso}.get(name)
    if kind is not None:
        honest = kind.cholesky

        def counted(self: Any, matrix: Any, prove: bool = True) -> Any:
            calls.append(matrix.shape[0])
            return honest(self, matrix, prove)

        monkeypatch.setattr(kind, "cholesky", counted)
    model = block_model(name)
    assert (len(calls) >= 5) is (name != "amg")  # P twice, and the terms, and the constant
    mus = model.parameters.sample(6, "random", rng=0)
    found, wanted = (m.stability(mus, m.operator_coefficients(mus)) for m in (model, expected))
    assert np.all(found > 0)
    if name == "amg":
        assert np.all(found <= wanted * (1 + 1e-6))
        assert np.all(found >= 0.4 * wanted)
    else:
        np.testing.assert_allclose(found, wanted, rtol=0.01)
    assert "verified" in repr(model.verify())
    bad: list[Any] = [
        (c, -a if q == 0 else a) for q, (c, a) in enumerate(zip(("a", "b", 1.0), model.operator_terms, strict=True))
    ]
    with pytest.raises(rbm.StabilityError, match="operator term 0 is not positive semi-definite"):
        rbm.FullOrderModel(
            bad, [(1.0, np.ones(512))], model.product, model.parameters, rbm.stability.MinTheta([1.0, 1.0]), solver=name
        )


def test_a_measured_slack_sees_negative_eigenvalues() -> None:
    k = laplacian(30, 2)
    n = k.shape[0]
    root = sp.csr_array(sp.eye_array(n) + 0.7 * sp.eye_array(n, k=1))
    part = sp.csr_array(root.T @ sp.diags_array((np.arange(n) < 200).astype(float)) @ root)
    slack = measured_slack(part)
    assert slack is not None
    assert 0 < slack < 1e-12 * n
    for shift in (1e-3, 1e-8):
        assert measured_slack(sp.csr_array(part - shift * sp.eye_array(n))) is None
    assert measured_slack(sp.csr_array(-part)) is None


def test_the_order_makes_no_more_fill_than_that_of_unknowns() -> None:
    matrix = elasticity(9)
    assert np.array_equal(groups(symmetric_pattern(matrix)), np.arange(matrix.shape[0]) // 3)
    assert np.array_equal(groups(symmetric_pattern(laplacian(6, 3))), np.arange(216))
    order = symmetric_order(matrix)
    assert np.array_equal(np.sort(order), np.arange(len(order)))
    ordered = symmetric_lu(matrix[order][:, order], "NATURAL").L.nnz
    assert ordered <= 1.05 * symmetric_lu(matrix).L.nnz
    shuffled = np.random.default_rng(0).permutation(400)
    plane = sp.csr_array(laplacian(20, 2))[shuffled][:, shuffled]
    order = symmetric_order(plane)
    assert symmetric_lu(plane[order][:, order], "NATURAL").L.nnz <= 1.05 * symmetric_lu(plane).L.nnz


def test_every_ordering_solves() -> None:
    for ordering in ("auto", "NATURAL", "MMD_AT_PLUS_A", "MMD_ATA", "COLAMD"):
        for matrix in (laplacian(12, 2), sp.csr_array(laplacian(12, 2) + sp.eye_array(144, k=3))):
            x = SuperLU(ordering).factorize(matrix)(np.ones((144, 2)))
            np.testing.assert_allclose(matrix @ x, 1.0, atol=1e-12)


def test_the_dimension_of_graphs() -> None:
    for matrix, low, high in (
        (laplacian(5000, 1), 0.9, 1.1),
        (laplacian(90, 2), 1.8, 2.1),
        (laplacian(24, 3), 2.3, 3.1),
        (elasticity(14), 2.3, 3.1),
    ):
        assert low <= dimension(matrix) <= high
    assert dimension(sp.csr_array(np.ones((60, 60)))) > 3
    assert dimension(sp.eye_array(60, format="csr")) == 0


def test_auto_says_what_it_takes_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    body, plane = laplacian(18, 3), laplacian(75, 2)
    installed = {"pypardiso", "pyamg"}
    monkeypatch.setattr(automatic, "_installed", installed.__contains__)
    assert str(Auto().choice(laplacian(10, 2))) == "SuperLU(ordering='auto'): 100 unknowns are few"
    assert Auto().choice(np.eye(3)).reason == "the matrix is dense: LAPACK"
    choice = Auto().choice(body)
    assert isinstance(choice.solver, Pardiso)
    assert "5832 unknowns, a graph of dimension 2" in choice.reason
    assert "pypardiso is installed" in choice.reason
    assert Auto().proving(body) is not None
    monkeypatch.setattr(automatic, "_memory", lambda: 1e7)
    choice = Auto().choice(body)
    assert isinstance(choice.solver, AMG)
    assert "factors would take about" in choice.reason
    assert Auto().proving(body) is None  # and the product is then measured
    assert isinstance(Auto().choice(sp.csr_array(body + sp.eye_array(5832, k=1))).solver, Pardiso)
    installed.clear()
    choice = Auto().choice(plane)
    assert isinstance(choice.solver, SuperLU)
    assert choice.reason.endswith("pypardiso is not installed")
    assert "several times faster" in Auto().choice(body).reason


@pytest.mark.parametrize("name", ["superlu", "pardiso", "amg"])
def test_a_model_in_time_marches_with_every_solver(name: str) -> None:
    pytest.importorskip({"superlu": "scipy", "pardiso": "pypardiso", "amg": "pyamg"}[name])
    k = laplacian(9, 2)

    def model(solver: Any) -> rbm.TimeModel:
        return rbm.TimeModel(
            mass=sp.csr_array(sp.eye_array(81) / 10), operators=[("a", k)], rhs=[(1.0, np.ones(81))], product=k,
            parameters={"a": (1.0, 2.0)}, stability="a", dt=0.1, steps=4, outputs={"s": np.ones(81)}, solver=solver,
        )  # fmt: skip

    found, expected = (m.solve([1.5]) for m in (model(name), model(None)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * EPS * np.abs(expected).max())
    np.testing.assert_allclose(model(name).decay, model(None).decay, rtol=1e-3)


def test_a_name_that_there_is_none_of() -> None:
    with pytest.raises(ModelError, match="solver='mumps' is not known; names are 'superlu', 'pardiso', 'cholmod'"):
        block_model("mumps")


@pytest.mark.parametrize("wrong", ["perturbed", "solves"])
def test_factors_of_another_matrix_prove_nothing(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PARDISO may make pivots larger, and says so; factors that do not solve with H are not those of H."""
    pytest.importorskip("pypardiso")
    matrix = laplacian(12, 2)
    assert Pardiso().cholesky(matrix) is not None

    class Other(mkl.Factors):
        def __init__(self, given: Any, kind: int, threads: int | None) -> None:
            super().__init__(given if wrong == "perturbed" else 2 * given, kind, threads)
            self.perturbed = int(wrong == "perturbed")

    monkeypatch.setattr(mkl, "Factors", Other)
    assert Pardiso().cholesky(matrix) is None
