"""Stability bounds that are too large.

They are found by the greedy at each selected parameter, and by verify() for models of any size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
from helpers.models import complex_model, two_parameter_model
from scipy.sparse.linalg import LinearOperator, eigsh, splu

import rbm
from problems import reaction_diffusion_1d, thermal_block
from rbm.stability.check import effectivity, inf_sup_above
from rbm.storage.archive import read_archive, write_archive

EPS = np.finfo(float).eps
MODELS = {"real": reaction_diffusion_1d, "complex": complex_model, "two parameters": two_parameter_model}


def with_stability(base: rbm.FullOrderModel, stability: Any, **options: Any) -> rbm.FullOrderModel:
    """The same model, whose user claims another bound."""
    terms = zip(base.operator_coefficients.sources, base.operator_terms, strict=True)
    rhs = zip(base.rhs_coefficients.sources, base.rhs_terms.T, strict=True)
    return rbm.FullOrderModel(list(terms), list(rhs), base.product, base.parameters, stability, **options)


def run(model: rbm.FullOrderModel, **options: Any) -> rbm.GreedyResult:
    return rbm.greedy(model, model.parameters.sample(60), progress=False, **options)


def true_ratios(model: rbm.FullOrderModel, result: rbm.GreedyResult, projection: Any = None) -> np.ndarray:
    """bound / true error at the selected parameters.

    By projection onto the first N vectors and extended-precision solutions.
    """
    ratios = []
    for n, mu in enumerate(result.parameters):
        gamma, bound = np.zeros((1, 0)), result.history[0].bound
        if n:
            solution = rbm.project(model, result.basis[:, :n], projection=projection).solve(mu[None])
            gamma, bound = solution.coefficients, solution.bound[0]
        ratios.append(bound / model.error_norm(mu[None], gamma, result.basis[:, :n])[0])
    return np.array(ratios)


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
@pytest.mark.parametrize("name", MODELS)
def test_the_history_holds_bound_over_true_error(name: str, projection: Any, relative: bool) -> None:
    model = MODELS[name](60)
    result = run(model, projection=projection, relative=relative, tol=1e-9)
    found = np.array([step.effectivity for step in result.history])
    assert np.isnan(found[-1])  # no snapshot was taken there
    np.testing.assert_allclose(found[:-1], true_ratios(model, result, projection), rtol=1e-3)
    assert np.all(found[:-1] >= 1)
    assert np.all(found[:-1] <= 12)


def test_an_error_that_is_round_off_gives_no_effectivity_and_no_alarm() -> None:
    for base in (reaction_diffusion_1d(), complex_model(), thermal_block((2, 2), 8)):
        found = [step.effectivity for step in run(base).history]
        assert np.all(np.isnan(found[-1:]))
        known = np.array(found)[np.isfinite(found)]
        assert len(known) >= 6
        assert known.min() >= 1 - 1e-6


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_bounds_of_effectivity_one_are_not_accused(kind: Any, shift: float) -> None:
    """A(mu) = (mu + shift) P: the bound is the error, to the last bits, and rounding decides which is larger."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 30))
    product = x @ np.diag(np.geomspace(1, 1e7, 30)) @ x.T
    product = (product + product.T) / 2
    space = rbm.ParameterSpace({"mu": (1.0, 2.0)})
    for seed in range(6):
        rhs = [("mu", np.random.default_rng(seed).standard_normal(30)), ("sin(9*mu)", rng.standard_normal(30))]
        model = rbm.FullOrderModel([(f"mu + {shift}", kind(product))], rhs, kind(product), space, f"mu + {shift}")
        found = [step.effectivity for step in run(model).history if np.isfinite(step.effectivity)]
        np.testing.assert_allclose(found[:2], 1.0, rtol=1e-5)  # the floor of a product with condition 1e11
        assert min(found) >= 0.9


@pytest.mark.parametrize("estimator", ["orthonormal", "direct", "expanded", "sampled", "interpolated"])
@pytest.mark.parametrize(("stability", "factor"), [(1.2, "1.091"), (5.0, "4.546"), (50.0, "45.46")])
def test_a_bound_that_is_too_large_is_found_by_the_greedy(stability: float, factor: str, estimator: str) -> None:
    model = with_stability(reaction_diffusion_1d(60), stability)
    with pytest.raises(rbm.StabilityError) as caught:
        rbm.greedy(model, [[1.0], [4.0], [30.0], [100.0]], estimators=(estimator,), progress=False)
    message = str(caught.value)
    assert f"the stability bound {stability:g} at mu = 1 is too large by a factor of {factor[:4]}" in message
    assert "verify() checks it at other parameters" in message


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
def test_a_bound_that_is_too_large_somewhere_is_found_where_the_greedy_comes_by(
    projection: Any, relative: bool
) -> None:
    """The second bound is right at the first parameter."""
    with pytest.raises(rbm.StabilityError, match=r"bound 1.3 at a = .* is too large by a factor of 1\.\d+ or more"):
        run(with_stability(complex_model(60), 1.3), relative=relative, projection=projection)
    model = with_stability(reaction_diffusion_1d(60), "1 + mu/90")  # mu/9.9 for the first mode, mu/89 for the third
    with pytest.raises(
        rbm.StabilityError, match=r"too large by a factor of 1\.\d+ or more: the inf-sup constant there is at most"
    ):
        run(model, relative=relative, projection=projection)


def test_the_share_of_an_interpolation_is_no_excuse_and_no_accusation() -> None:
    """The bound of an interpolated model is for u'; what is known here is the error against its own u."""
    base = reaction_diffusion_1d(60)
    loose = with_stability(base, 1.0, interpolation_error=(0.5, 0.1))
    result = run(loose, max_basis=4)
    assert result.history[1].bound > 5 * run(base, max_basis=4).history[1].bound
    found = [step.effectivity for step in result.history[:-1]]
    assert all(1 <= e <= 12 for e in found), found
    with pytest.raises(rbm.StabilityError, match="too large by a factor of 4"):
        rbm.greedy(with_stability(base, 5.0, interpolation_error=(0.5, 1.0)), [[1.0]], progress=False)


def test_effectivities_survive_files_and_older_files_have_none(tmp_path: Path) -> None:
    model = two_parameter_model(60)
    whole = run(model, tol=1e-6)
    path = tmp_path / "run.greedy"
    part = run(model, max_basis=3)
    part.save(path)
    for resume in (part, path):
        result = run(model, tol=1e-6, resume=resume)
        assert [s.effectivity for s in result.history[:-1]] == [s.effectivity for s in whole.history[:-1]]
        assert [s.parameter for s in result.history] == [s.parameter for s in whole.history]
    header, arrays = read_archive(path, "greedy run")
    assert arrays.pop("effectivity").shape == (4,)
    header.pop("sha256"), header.pop("header_sha256")
    write_archive(path, header, arrays)
    result = run(model, tol=1e-6, resume=path)
    assert np.isnan([s.effectivity for s in result.history[:3]]).all()
    assert [s.effectivity for s in result.history[3:-1]] == [s.effectivity for s in whole.history[3:-1]]
    assert [(s.size, s.bound, s.parameter) for s in result.history] == [
        (s.size, s.bound, s.parameter) for s in whole.history
    ]
    write_archive(path, header, arrays | {"effectivity": np.ones(7)})
    with pytest.raises(rbm.FileFormatError, match="greedy run: its arrays do not fit"):
        run(model, resume=path)


def test_an_estimate_that_is_too_small_is_not_blamed_on_stability() -> None:
    model = reaction_diffusion_1d(60)
    mu, u = np.array([3.0]), model.solve([3.0])[0]
    theta = model.operator_coefficients(mu[None])[0]
    assert effectivity(model, mu, theta, 1.0, u, 0.9 * u, 1e-3) == pytest.approx(
        1e-2 / model.inner_product.norm(u[:, None])[0]
    )
    assert np.isnan(effectivity(model, mu, theta, 1.0, u, u, 1e-16))
    assert np.isnan(effectivity(model, mu, theta, 1.0, u, u * (1 + EPS), 0.0))


def convection(n: int, *, turn: complex = 1.0) -> tuple[list[tuple[Any, Any]], Any]:
    """-div grad u + b d/dx u + c u on the unit square, n x n five-point stencil; P is the stiffness. Not Hermitian."""
    one, eye = np.ones(n), sp.eye_array(n, format="csr")
    second = sp.diags_array([-one[1:], 2 * one, -one[1:]], offsets=[-1, 0, 1])
    first = sp.diags_array([-one[1:], one[1:]], offsets=[-1, 1]) / (2 * (n + 1))
    stiffness = sp.csr_array(sp.kron(second, eye) + sp.kron(eye, second))
    mass = sp.eye_array(n * n, format="csr") / (n + 1) ** 2
    return [(1.0, stiffness), ("b", sp.csr_array(sp.kron(eye, first))), ("c", turn * mass)], stiffness


def inf_sup_reference(matrix: Any, product: Any) -> float:
    """The smallest s with A^H P^-1 A x = s^2 P x, to ten digits, by ARPACK for the inverse."""
    n = product.shape[0]
    a, p = splu(sp.csc_array(matrix)), sp.csc_array(product)
    dtype = np.result_type(matrix.dtype, float)
    hermitian = LinearOperator(
        (n, n), dtype=dtype, matvec=lambda v: p @ a.solve(p @ a.solve((p @ v).astype(dtype), "H"))
    )
    back = splu(p)

    def minv(v: np.ndarray) -> np.ndarray:
        return back.solve(v.real) + 1j * back.solve(v.imag) if np.iscomplexobj(v) else back.solve(v)

    start = np.random.default_rng(5).standard_normal(n).astype(dtype)
    largest = eigsh(
        hermitian,
        k=1,
        M=p,
        Minv=LinearOperator((n, n), matvec=minv, dtype=dtype),
        v0=start,
        tol=1e-10,
        return_eigenvectors=False,
    )
    return float(1 / np.sqrt(largest[0].real))


@pytest.mark.parametrize("turn", [-1.0, -1.0 + 0.5j], ids=["real", "complex"])
@pytest.mark.parametrize("n", [12, 46])
def test_verify_finds_bounds_one_percent_too_large_at_any_size(n: int, turn: complex) -> None:
    """n^2 = 144 by a dense decomposition, 2116 by Lanczos."""
    terms, product = convection(n, turn=turn)
    space = rbm.ParameterSpace({"b": (0.0, 60.0), "c": (10.0, 15.0)})

    def make(stability: Any) -> rbm.FullOrderModel:
        return rbm.FullOrderModel(terms, [(1.0, np.ones(n * n))], product, space, stability)

    probe = make(1.0)
    mus = space.sample(2, method="random", rng=3)
    true = np.array([inf_sup_reference(probe.assemble(t), product) for t in probe.operator_coefficients(mus)])
    assert np.all(true < 0.98)  # at high frequencies it tends to 1

    def claimed(factor: float) -> Any:
        return lambda points: factor * np.array([true[np.argmin(abs(mus[:, 0] - b))] for b in points[:, 0]])

    said = repr(make(claimed(1 - 1e-9)).verify(samples=2, rng=3))
    assert ("the true inf-sup constant: at least 1 of it" in said) == (n == 12)
    assert ("an upper estimate of the inf-sup constant (Lanczos): at least" in said) == (n == 46)
    share = float(said.split("at least ")[1].split()[0])
    assert 0.995 <= share <= 1
    with pytest.raises(
        rbm.StabilityError, match=r"at b = .* is above the true inf-sup constant 0\.\d+.*, by a factor of 1\.0"
    ):
        make(claimed(1.01)).verify(samples=2, rng=3)


def test_verify_proves_coercive_models_by_pivots_and_refutes_them_by_a_vector() -> None:
    model = thermal_block((2, 2), 32)
    assert model.dimension == 1985
    assert "not above the coercivity constant, by the signs of pivots, on 5 samples" in repr(model.verify())
    false = with_stability(model, lambda mus: 1.01 * mus.min(axis=1))
    with pytest.raises(rbm.StabilityError, match=r"constant 0\.\d+ or less, by a factor of 1\.0[01]"):
        false.verify()


def test_verify_uses_the_solver_of_the_user_for_the_adjoint_too_and_does_without_where_it_cannot() -> None:
    terms, product = convection(25, turn=-1.0)
    space = rbm.ParameterSpace({"b": (30.0, 60.0), "c": (10.0, 15.0)})
    rhs = [(1.0, np.ones(25 * 25))]
    forward = terms[1][1]
    without = LinearOperator(forward.shape, matvec=lambda x: forward @ x, matmat=lambda x: forward @ x, dtype=float)
    with_adjoint = LinearOperator(
        forward.shape,
        matvec=lambda x: forward @ x,
        matmat=lambda x: forward @ x,
        rmatvec=lambda x: forward.T @ x,
        rmatmat=lambda x: forward.T @ x,
        dtype=float,
    )

    def solver(a: Any, b: np.ndarray) -> np.ndarray:
        if not hasattr(a, "factor"):
            a.factor = splu(sp.csc_array(a if sp.issparse(a) else a @ np.eye(25 * 25)))
        return a.factor.solve(b)

    def only_forward(a: Any, b: np.ndarray) -> np.ndarray:
        if a[0, 1] < a[1, 0]:
            raise RuntimeError("this preconditioner is for A")
        return solver(a, b)

    for operator, solve, how in (
        (forward, solver, "Lanczos"),
        (forward, only_forward, "inverse iteration, without adjoint"),
        (with_adjoint, solver, "Lanczos"),
        (without, solver, "inverse iteration, without adjoint"),
    ):
        changed = [terms[0], ("b", operator), terms[2]]
        model = rbm.FullOrderModel(changed, rhs, product, space, 0.2, solver=solve)
        assert f"an upper estimate of the inf-sup constant ({how}): at least 0." in repr(model.verify(samples=1))
        with pytest.raises(rbm.StabilityError, match="is above the true inf-sup constant"):
            rbm.FullOrderModel(changed, rhs, product, space, 1.3, solver=solve).verify(samples=1)


@pytest.mark.parametrize("corner", [0.0, 1e-300, 1e-20])
def test_verify_exchanges_rows_where_it_must(corner: float) -> None:
    """Blocks [[c, 1], [1, 1]], whose first pivot is of no use; the constants are their singular values."""
    block = np.array([[corner, 1.0], [1.0, 1.0]])
    matrix = sp.csr_array(sp.block_diag([block] * 350))
    for stability, right in ((0.618, True), (0.6182, False)):
        terms = [("mu", matrix)]
        space = rbm.ParameterSpace({"mu": (1.0, 1.0001)})
        model = rbm.FullOrderModel(terms, [(1.0, np.ones(700))], sp.eye_array(700, format="csr"), space, stability)
        if right:
            assert "(Lanczos): at least 1 of it on 2 samples" in repr(model.verify(samples=2))
        else:
            with pytest.raises(rbm.StabilityError, match=r"constant 0\.6180\d+ or less, by a factor of 1\.000"):
                model.verify(samples=2)


@pytest.mark.parametrize("n", [8, 10, 12])
def test_bounds_that_are_right_are_not_accused_for_an_ill_conditioned_product(n: int) -> None:
    """Hilbert matrices, condition 1e10 to 1e16.

    A = mu P has the constant mu, which no decomposition in doubles gives.
    """
    product = scipy.linalg.hilbert(n)
    space = rbm.ParameterSpace({"mu": (1.0, 3.0)})
    for stability in ("mu", "0.999*mu"):
        model = rbm.FullOrderModel([("mu", product)], [(1.0, product @ np.ones(n))], product, space, stability)
        try:
            said = repr(model.verify())
        except rbm.ModelError:  # about the product itself; a StabilityError is none
            assert n > 8
            continue
        assert "the stability bound is not above" in said


@pytest.mark.parametrize("cplx", [False, True])
def test_every_vector_is_an_upper_bound_and_the_right_one_is_sharp(cplx: bool) -> None:
    model = (complex_model if cplx else reaction_diffusion_1d)(30)
    theta = model.operator_coefficients(model.parameters.sample(1))[0]
    p, a = model.product.toarray(), model.assemble(theta).toarray()
    square = a.conj().T @ np.linalg.solve(p, a)
    values, vectors = scipy.linalg.eigh((square + square.conj().T) / 2, p)
    rng = np.random.default_rng(0)
    for vector in (*vectors.T[:5], rng.standard_normal(len(p))):
        quotient = (vector.conj() @ square @ vector).real / (vector.conj() @ p @ vector).real
        assert inf_sup_above(model, theta, vector) == pytest.approx(np.sqrt(quotient), rel=1e-11, abs=0.0)
        assert inf_sup_above(model, theta, vector) >= np.sqrt(values[0]) * (1 - 1e-12)
    assert inf_sup_above(model, theta, vectors[:, 0]) == pytest.approx(np.sqrt(values[0]), rel=1e-11, abs=0.0)


@pytest.mark.parametrize(("n", "extended_ones"), [(50, 0), (5000, 0), (100_000, 1)])
def test_the_norm_of_an_error_is_formed_in_double_precision_where_that_leaves_six_digits(
    monkeypatch: pytest.MonkeyPatch, n: int, extended_ones: int
) -> None:
    """||x||^2 = sum (x_i+1 - x_i)^2 of a smooth vector: what is left of terms n^2 times as large."""
    p = sp.diags_array([-np.ones(n - 1), np.full(n, 2.0), -np.ones(n - 1)], offsets=[-1, 0, 1], format="csr")
    space, one = rbm.ParameterSpace({"a": (1.0, 2.0)}), np.ones(n)
    model = rbm.FullOrderModel([("a", p)], [(1.0, one)], p, space, "a")
    x = np.sin(np.pi * np.arange(1, n + 1) / (n + 1))
    exact, calls = model.inner_product.norm(x[:, None])[0], []
    monkeypatch.setattr(type(model.inner_product), "norm", lambda _, y: calls.append(y) or np.array([exact]))
    found = effectivity(model, np.array([1.0]), np.array([1.0]), 1.0, x, np.zeros(n), 10.0)
    assert len(calls) == extended_ones
    assert found == pytest.approx(10 / exact, rel=1e-6)
