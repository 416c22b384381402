"""Solvers by name: they solve, prove, refuse, travel, and leave the certificate as it is."""

from __future__ import annotations

import gc
import pickle
import sys
import types
import weakref
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from helpers.grids import laplacian

import rbm
from rbm.affine.inner_product import InnerProduct
from rbm.affine.system import AffineSystem
from rbm.errors import ModelError
from rbm.solvers import AMG, Auto, Cholmod, Pardiso, PETSc, SuperLU
from rbm.solvers.choice import NAMED, read_solver
from rbm.solvers.user_code import FactorizedSolver

EPS = np.finfo(float).eps
PACKAGES = {"superlu": "scipy", "pardiso": "pypardiso", "amg": "pyamg", "auto": "scipy"}


def rotated(matrix: Any) -> Any:
    """A Hermitian matrix with the same eigenvalues, complex."""
    turn = sp.diags_array(np.exp(1j * np.arange(matrix.shape[0])))
    return sp.csr_array(turn @ matrix @ turn.conj())


def matrices(name: str) -> dict[str, Any]:
    k = laplacian(12)
    n = k.shape[0]
    step = sp.eye_array(n, k=1, format="csr")
    made = {
        "definite": k,
        "complex definite": rotated(k),
        "convection": sp.csr_array(k + 0.3 * (step - step.T)),
        "absorbing": sp.csr_array(k + 0.4j * sp.eye_array(n)),
        "unsymmetric pattern": sp.csr_array(k + 0.2 * sp.eye_array(n, k=5)),
        "complex": sp.csr_array(rotated(k) + 0.2 * sp.eye_array(n, k=5)),
        "dense": k.toarray(),
        "units": sp.csr_array(
            sp.diags_array(10.0 ** (np.arange(n) % 9)) @ k @ sp.diags_array(10.0 ** (np.arange(n) % 9))
        ),
    }
    if name != "amg":  # which is not for indefinite matrices, and says so
        made["indefinite"] = sp.csr_array(k - 2.3 * sp.eye_array(n))
        made["complex indefinite"] = rotated(made["indefinite"])
        made["saddle point"] = sp.csr_array(sp.block_array([[k, step[:, 1:10]], [step[:, 1:10].T, None]]))
        made["cyclic"] = sp.csr_array(sp.eye_array(n, format="csr")[np.roll(np.arange(n), 1)])
    return made


@pytest.mark.parametrize("name", PACKAGES)
def test_a_named_solver_solves_with_matrices_of_all_kinds(name: str) -> None:
    pytest.importorskip(PACKAGES[name])
    rng = np.random.default_rng(1)
    for kind, matrix in matrices(name).items():
        for rhs in (rng.standard_normal((matrix.shape[0], 40)), rng.standard_normal((matrix.shape[0], 2)) * (1 + 2j)):
            x = FactorizedSolver(read_solver(name), matrix)(rhs)
            assert x.dtype == np.result_type(rhs, matrix.dtype), kind
            left = np.abs(matrix @ x - rhs) / (abs(matrix) @ np.abs(x) + np.abs(rhs)).max(axis=0)
            assert left.max() <= (1e-9 if name == "amg" else 1e-12), (name, kind)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_singular_matrix_is_an_error(name: str) -> None:
    pytest.importorskip(PACKAGES[name])
    neumann = sp.csr_array(sp.diags_array(np.r_[1.0, np.full(98, 2.0), 1.0]) - abs(laplacian(100, 1)))
    empty = sp.csr_array(([1.0, 1.0], ([0, 1], [0, 1])), (3, 3))
    rhs = np.random.default_rng(0).standard_normal((100, 1))
    for matrix, right in ((neumann, rhs), (empty, np.ones((3, 1)))):
        matrix = sp.csr_array(matrix)
        with pytest.raises(ModelError, match=r"singular|did not converge|could not be set up"):
            FactorizedSolver(read_solver(name), matrix)(right)


def small_model(solver: Any, complex_valued: bool = False, convection: float = 0.0) -> rbm.FullOrderModel:
    k = laplacian(14)
    n = k.shape[0]
    step = sp.eye_array(n, k=1, format="csr")
    first, second = k, sp.csr_array(sp.diags_array(np.linspace(0, 1, n)))
    if complex_valued:
        first, second = rotated(first), rotated(second)
    terms: list[Any] = [(1.0, first), ("mu", second)]
    if convection:
        terms.append((convection, sp.csr_array(step - step.T)))
    load = np.ones(n) * (1 + 0.5j if complex_valued else 1.0)
    return rbm.FullOrderModel(
        terms, [(1.0, load)], first, {"mu": (0.1, 10.0)}, rbm.stability.MinTheta([1.0]),
        outputs={"s": np.ones(n)}, solver=solver,
    )  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.parametrize("kind", ["real", "complex", "convection"])
def test_the_certificate_is_that_of_every_solver(name: str, kind: str) -> None:
    pytest.importorskip(PACKAGES[name])
    options: Any = {"complex_valued": kind == "complex", "convection": 0.2 * (kind == "convection")}
    expected, model = small_model(None, **options), small_model(name, **options)
    assert model.fingerprint() == expected.fingerprint()
    training, tests = model.parameters.sample(30), model.parameters.sample(7, "random", rng=2)
    results = [rbm.greedy(m, training, max_basis=4, progress=False) for m in (expected, model)]
    np.testing.assert_array_equal(results[0].parameters, results[1].parameters)
    answers = [r.reduced_model.solve(tests) for r in results]
    np.testing.assert_allclose(answers[1].bound, answers[0].bound, rtol=1e-6, atol=1e-12)
    error = model.error_norm(tests, answers[1].coefficients, results[1].basis)
    assert np.all(error <= answers[1].bound)
    truth = [np.stack(m.solve_extended(tests)).sum(axis=0) for m in (expected, model)]
    np.testing.assert_allclose(truth[1], truth[0], rtol=0, atol=4 * EPS * np.abs(truth[0]).max())


class Counted:
    """A solver with factors that counts what it is asked for."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def factorize(self, matrix: Any) -> Any:
        self.made.append(matrix.copy())
        lu = spla.splu(sp.csc_array(matrix))
        matrix.data[:] = np.nan  # its own copy
        return lu.solve


def test_one_factorisation_of_the_product_and_one_for_each_point() -> None:
    solver = Counted()
    model = small_model(solver)
    training = model.parameters.sample(20)
    result = rbm.greedy(model, training, max_basis=4, progress=False)
    of_product = [a for a in solver.made if (a != model.product).nnz == 0]
    assert len(of_product) == 1
    assert len(solver.made) == 1 + result.basis.shape[1]


def test_an_object_without_a_solve_function_and_a_class_are_refused() -> None:
    class Nothing:
        def factorize(self, matrix: Any) -> None:
            return None

    with pytest.raises(ModelError, match=r"factorize of the solver Nothing must return a function .* returned None"):
        small_model(Nothing()).solve([1.0])
    with pytest.raises(ModelError, match=r"solver must be an object, got the class Pardiso: write Pardiso\(\)"):
        small_model(Pardiso)

    class Flat:
        def factorize(self, matrix: Any) -> Any:
            return lambda rhs: spla.spsolve(sp.csc_array(matrix), rhs[:, 0])

    with pytest.raises(ModelError, match=r"the solver returned shape \(196,\) for a right-hand side of shape \(196, 1"):
        small_model(Flat()).solve([1.0])


def test_options_are_checked() -> None:
    for make, message in (
        (lambda: SuperLU(ordering="best"), "ordering of SuperLU must be one of"),
        (lambda: Pardiso(threads=0), "threads of Pardiso must be a whole number"),
        (lambda: AMG(rtol=0), "rtol of AMG must be a number between 0 and 1, got 0"),
        (lambda: AMG(max_iterations=0), "max_iterations of AMG must be"),
        (lambda: PETSc(options=3), "options of PETSc must be a text"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ModelError, match=message):
            make()


@pytest.mark.parametrize(
    ("name", "module"),
    [("pardiso", "pypardiso"), ("amg", "pyamg"), ("cholmod", "sksparse.cholmod"), ("petsc", "petsc4py")],
)
def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rbm.solvers import mkl

    mkl.library.cache_clear()
    for part in {module.split(".")[0], module, "petsc4py.PETSc"}:
        monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(ImportError, match=rf'solver="{name}" needs the package .*pip install'):
        FactorizedSolver(read_solver(name), laplacian(5))(np.ones((25, 1)))
    mkl.library.cache_clear()


def test_multigrid_that_does_not_converge_says_so() -> None:
    pytest.importorskip("pyamg")
    matrix = sp.csr_array(laplacian(30) - 1.7 * sp.eye_array(900))
    with pytest.raises(ModelError, match=r"AMG did not converge: after 20 iterations .* It diverges, or is slow"):
        AMG(max_iterations=20).factorize(matrix)(np.random.default_rng(0).standard_normal((900, 1)))
    with pytest.raises(ModelError, match=r"AMG did not converge: after 1 iterations"):
        small_model(AMG(max_iterations=1), convection=0.2)  # whose bound solves with P
    with pytest.raises(ModelError, match=r"near_null_space of AMG has shape \(3, 1\), the matrix has 25 rows"):
        AMG(near_null_space=np.ones((3, 1))).factorize(laplacian(5))


def test_refinement_sees_a_solver_with_an_absolute_tolerance() -> None:
    """It answers to the first right-hand side only, and takes those of corrections for zero."""

    def absolute(matrix: Any, rhs: np.ndarray) -> np.ndarray:
        x = spla.splu(sp.csc_array(matrix)).solve(rhs)
        return np.round(x, 9)  # what is smaller is lost

    k = laplacian(14)
    system = AffineSystem([(1.0, k)], [(1.0, np.ones(196))], k, rbm.ParameterSpace({"mu": (0.0, 1.0)}), None)
    from rbm.affine.truth_solves import solutions

    expected = np.add(*solutions(system, np.ones((1, 1)), np.inf, False, None))
    system.solver = absolute
    with pytest.raises(ModelError, match="it must solve to a tolerance relative to its right-hand side"):
        solutions(system, np.ones((1, 1)), np.inf, False, None)
    # a solver that only halves the error needs as many corrections as there are bits, and gets there
    system.solver = lambda a, b: 0.6 * spla.splu(sp.csc_array(a)).solve(b)
    found = np.add(*solutions(system, np.ones((1, 1)), np.inf, False, None))
    np.testing.assert_allclose(found, expected, rtol=8 * EPS)


def test_solvers_and_models_travel_without_factors() -> None:
    for made in (SuperLU(), Pardiso(threads=2), Cholmod(), AMG(rtol=1e-8), PETSc("-ksp_type cg"), Auto()):
        assert repr(pickle.loads(pickle.dumps(made))) == repr(made)
    model = small_model("superlu")
    model.solve([1.0])
    model.inner_product.dual_norm(np.ones((196, 1)))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.solve([1.0]), model.solve([1.0]))
    assert "solver SuperLU(ordering='auto')" in repr(model)
    assert "SuperLU(ordering='auto'): 196 unknowns are few" in repr(small_model("auto"))


def test_pardiso_gives_the_same_bits_again_and_frees_its_memory() -> None:
    pytest.importorskip("pypardiso")
    from rbm.solvers import mkl

    rhs = np.random.default_rng(0).standard_normal((1000, 50))
    for matrix in (
        laplacian(10, 3),
        rotated(laplacian(10, 3)),
        sp.csr_array(laplacian(10, 3) + sp.eye_array(1000, k=1)),
    ):
        mkl._orders.clear()
        first: Any = Pardiso().factorize(matrix)
        others = [Pardiso().factorize(matrix), Pardiso().factorize(matrix)]
        assert len(mkl._orders) <= 1  # the order was found once
        for other in others:
            np.testing.assert_array_equal(first(rhs.astype(matrix.dtype)), other(rhs.astype(matrix.dtype)))
        memory, gone = first._memory, weakref.ref(first)
        assert np.any(memory)
        del first, other
        gc.collect()
        assert gone() is None
        assert not np.any(memory)


def test_a_product_that_is_not_definite_is_refused() -> None:
    for name in ("superlu", "pardiso"):
        pytest.importorskip(PACKAGES[name])
        with pytest.raises(ModelError, match="the product is not positive definite"):
            InnerProduct(sp.csr_array(laplacian(10) - 0.5 * sp.eye_array(100)), name).check()


def fake_cholmod(monkeypatch: pytest.MonkeyPatch) -> None:
    """The part of scikit-sparse's documented interface that is used."""
    library = types.ModuleType("sksparse.cholmod")

    class CholmodNotPositiveDefiniteError(Exception):
        pass

    def cholesky(matrix: Any, mode: str = "auto") -> Any:
        assert sp.issparse(matrix)
        assert matrix.format == "csc"
        assert mode == "supernodal"
        try:
            factor = np.linalg.cholesky(matrix.toarray())
        except np.linalg.LinAlgError as error:
            raise CholmodNotPositiveDefiniteError from error
        return lambda rhs: np.linalg.solve(factor.conj().T, np.linalg.solve(factor, rhs))

    library.cholesky, library.CholmodNotPositiveDefiniteError = cholesky, CholmodNotPositiveDefiniteError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sksparse", types.ModuleType("sksparse"))
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", library)


def test_cholmod_by_its_documented_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cholmod(monkeypatch)
    rhs = np.random.default_rng(0).standard_normal((144, 3))
    for kind in ("definite", "complex definite", "indefinite", "convection", "dense"):
        matrix = matrices("cholmod")[kind]
        np.testing.assert_allclose(matrix @ Cholmod().factorize(matrix)(rhs.astype(matrix.dtype)), rhs, atol=1e-10)
    assert Cholmod().cholesky(matrices("cholmod")["indefinite"]) is None
    found = Cholmod().cholesky(laplacian(12))
    assert found is not None
    assert found[1] is not None
    assert 0 < found[1] < 1e-9
    assert np.all(np.isfinite(small_model("cholmod").solve([2.0])))


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_linear_operator_is_not_for_named_solvers(name: str) -> None:
    operator = spla.aslinearoperator(laplacian(5))
    with pytest.raises(ModelError, match="which shows no entries: give solver=, a function"):
        rbm.FullOrderModel([(1.0, operator)], [(1.0, np.ones(25))], laplacian(5), {"mu": (0.0, 1.0)}, 1.0, solver=name)
