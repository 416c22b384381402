"""Inner products that are none, with every kind of solver; and what is measured is said to be."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from helpers.grids import laplacian

import rbm
from rbm.affine import inner_product
from rbm.affine.inner_product import InnerProduct
from rbm.affine.units import bent_down
from rbm.command_line import main
from rbm.errors import ModelError
from rbm.reduction.adjoint import adjoint_model
from rbm.solvers import Auto


class Own:
    """An object that keeps factors, and proves nothing."""

    def factorize(self, matrix: Any) -> Any:
        return spla.splu(sp.csc_array(matrix)).solve


def own(matrix: Any, rhs: np.ndarray) -> np.ndarray:
    return spla.splu(sp.csc_array(matrix)).solve(rhs)


SOLVERS: dict[str, Any] = {
    "none": None, "superlu": "superlu", "pardiso": "pardiso", "amg": "amg", "function": own, "object": Own(),
}  # fmt: skip
PACKAGES = {"pardiso": "pypardiso", "amg": "pyamg"}


def solver_of(name: str) -> Any:
    pytest.importorskip(PACKAGES.get(name, "scipy"))
    return SOLVERS[name]


def built(product: Any, solver: Any) -> rbm.FullOrderModel:
    n = product.shape[0]
    terms: list[Any] = [(1.0, laplacian(n, 1)), ("mu", sp.eye_array(n, format="csr"))]
    return rbm.FullOrderModel(terms, [(1.0, np.ones(n))], product, {"mu": (0.1, 1.0)}, 1e-3, solver=solver)


def zeroed(matrix: Any) -> Any:
    keep = sp.diags_array(np.r_[0.0, np.ones(matrix.shape[0] - 1)])
    return sp.csr_array(keep @ matrix @ keep)


def bad_products() -> dict[str, tuple[Any, str]]:
    k = laplacian(12)
    n, definite = k.shape[0], "the product is not positive definite"
    spoiled = k.copy()
    spoiled.data[5] = np.nan
    path = sp.csr_array(sp.diags_array(np.asarray(abs(k - sp.diags_array(k.diagonal())).sum(axis=1)).ravel()))
    neumann = sp.csr_array(path + k - sp.diags_array(k.diagonal()))
    twice = sp.lil_array(k)
    twice[0] = twice[[1]]
    turn = sp.diags_array(np.exp(1j * np.arange(n)))
    return {
        "-K": (-k, definite),
        "complex -K": (sp.csr_array(-(turn @ k @ turn.conj())), definite),
        "dense -K": (-k.toarray(), definite),
        "indefinite": (sp.csr_array(k - 0.5 * sp.eye_array(n)), definite),
        "zero row": (zeroed(k), r"diagonal entry 0 is 0"),
        "Neumann": (neumann, "maps constant vectors to zero"),
        "not Hermitian": (sp.csr_array(k + 0.3 * sp.eye_array(n, k=1)), "the product is not Hermitian"),
        "NaN": (spoiled, "1 entries that are NaN or infinite"),
        "1 x 1 negative": (sp.csr_array([[-2.0]]), definite),
        "1 x 1 zero": (sp.csr_array((1, 1)), definite),
    }


@pytest.mark.parametrize("name", SOLVERS)
def test_a_product_that_is_none_is_refused_when_the_model_is_made(name: str) -> None:
    solver = solver_of(name)
    for product, message in bad_products().values():
        with pytest.raises(ModelError, match=message):
            built(product, solver)


@pytest.mark.parametrize("name", SOLVERS)
def test_products_of_one_unknown_and_complex_ones_are_taken(name: str) -> None:
    solver = solver_of(name)
    turn = sp.diags_array(np.exp(1j * np.arange(9)))
    for product in (sp.csr_array([[2.0]]), sp.csr_array(turn @ laplacian(3) @ turn.conj())):
        model = built(product, solver)
        result = rbm.greedy(model, model.parameters.sample(5), max_basis=2)
        bound = result.reduced_model.solve([0.5])
        assert model.error_norm([0.5], bound.coefficients, result.basis)[0] <= bound.bound[0]


@pytest.mark.parametrize("name", ["amg", "function", "object"])
def test_a_large_indefinite_product_is_refused_without_factors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    solver = solver_of(name)
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 50)
    k = laplacian(12)
    for product in (-k, sp.csr_array(k - 0.5 * sp.eye_array(144)), zeroed(k)):
        with pytest.raises(ModelError, match="the product is not positive definite"):
            InnerProduct(product, solver).check()
    InnerProduct(k, solver).check()
    # a negative eigenvalue that forty products do not show is near zero, and the inverse shows it
    hidden = sp.csr_array(laplacian(400, 1) - 7e-5 * sp.eye_array(400))
    inner = InnerProduct(hidden, own)
    assert not bent_down(inner)
    with pytest.raises(ModelError, match="the product is not positive definite"):
        _ = inner.smallest_eigenvalue


def test_a_singular_product_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 50)
    k = sp.lil_array(laplacian(9))
    k[0] = k[[1]]
    with pytest.raises(ModelError, match=r"a solve with the product failed: the solver raised RuntimeError: Factor is"):
        InnerProduct(sp.csr_array(k @ k.T), own).check()  # when the model is made


@pytest.mark.parametrize("name", SOLVERS)
def test_what_is_measured_is_said_once(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    solver = solver_of(name)
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 50)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = built(laplacian(12), solver)
        result = rbm.greedy(model, model.parameters.sample(5), max_basis=2)
        pickle.loads(pickle.dumps(model))
    measured = name in ("amg", "function", "object")
    about = [w for w in caught if "measured" in str(w.message)]
    assert len(about) == measured
    assert model.inner_product.proved is not measured
    assert ("definiteness measured, not proved" in repr(model)) is measured
    result.reduced_model.save(tmp_path / "a.rbm")
    again: Any = rbm.load(tmp_path / "a.rbm")
    assert ("definiteness measured, not proved" in repr(again)) is measured
    assert again.measured == model.inner_product.measured
    if measured:
        assert about[0].filename == __file__  # the line that made the model
        called = {"amg": "AMG", "function": "the function own", "object": "Own"}[name]
        assert f"was measured with {called} and not proved" in str(about[0].message)
        assert "bounds rest on that" in str(about[0].message)


def test_a_model_in_time_says_it_where_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 50)
    k = laplacian(12)
    with pytest.warns(UserWarning, match="was measured with the function own and not proved") as caught:
        rbm.TimeModel(
            sp.eye_array(144, format="csr"), [("mu", k)], [(1.0, np.ones(144))], k, {"mu": (1.0, 10.0)}, 1.0,
            dt=0.2, steps=3, solver=own,
        )  # fmt: skip
    assert [w.filename for w in caught] == [__file__]


def test_dual_problems_do_not_say_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 50)
    k = laplacian(12)
    with pytest.warns(UserWarning, match="was measured"):
        model = rbm.FullOrderModel(
            [(1.0, k), ("mu", sp.eye_array(144, format="csr"))], [(1.0, np.ones(144))], k, {"mu": (0.1, 1.0)}, 1.0,
            outputs={"s": np.arange(144.0)}, solver=own,
        )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adjoint_model(model, "s")


def test_info_says_what_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for limit, said in ((50, True), (500, False)):
        monkeypatch.setattr(inner_product, "PROOF_LIMIT", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = built(laplacian(12), own)
        rbm.greedy(model, model.parameters.sample(5), max_basis=1).reduced_model.save(tmp_path / "a.rbm")
        assert main(["info", str(tmp_path / "a.rbm")]) == 0
        shown = " ".join(capsys.readouterr().out.split())  # however the lines were broken
        assert ("not proved: the definiteness of the product" in shown) is said


def test_dense_products_of_named_solvers_are_proved_by_lapack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_product, "PROOF_LIMIT", 50)
    product = laplacian(12).toarray()
    for solver, proved in (("superlu", True), ("pardiso", True), (Auto(), True), (own, False)):
        assert InnerProduct(product, solver).proved is proved
    inner = InnerProduct(product, "superlu")
    exact = float(np.linalg.eigvalsh(inner.balanced)[0])
    assert 0.85 * exact < inner.smallest_eigenvalue <= exact
