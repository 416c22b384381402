"""Certified bounds on models that are not kind.

Ill-conditioned and complex products, mixed units, black boxes, bad solvers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from conftest import make_case
from helpers.models import complex_model
from helpers.oracle import Oracle

import rbm
from problems import reaction_diffusion_1d
from rbm.arithmetic import extended
from rbm.estimators import Interpolated, Orthonormal

EPS = np.finfo(float).eps


def assert_certified(
    model: rbm.FullOrderModel, basis: np.ndarray, mus: np.ndarray, gamma: np.ndarray | None = None
) -> None:
    """No bound of E1, E_onb, E2 below the exact residual norm, and no deviation beyond its floor."""
    reduced = rbm.project(model, basis, ("E_onb", "E1", "E2"))
    theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
    gamma = reduced.solve(mus, estimate=False).coefficients if gamma is None else gamma
    exact = Oracle(model, reduced.basis).norm(theta, phi, gamma)
    for name, state in reduced.estimators.items():
        e = state.evaluate(theta, phi, gamma)
        assert np.all(e.bound >= exact), name
        assert np.all(np.abs(e.value - exact) <= e.floor * (1 + 1e-9)), name


@pytest.mark.parametrize("n", [6, 8, 10, 11])
@pytest.mark.parametrize("whole", [False, True], ids=["N=3", "N=n"])
def test_hilbert_products(n: int, whole: bool) -> None:
    """Condition numbers 1e7 to 1e15, and an inverse with entries of both signs.

    |e| <= s does not bound ||e||_{P^-1} by ||s||.
    """
    p = scipy.linalg.hilbert(n)
    space = rbm.ParameterSpace({"mu": (1e-3, 0.1)})
    model = rbm.FullOrderModel(
        [(1.0, p), ("mu", np.diag(np.arange(1, n + 1) ** -6.0))], [(1.0, np.ones(n))], p, space, stability=1.0
    )
    basis = np.eye(n) if whole else np.random.default_rng(n).standard_normal((n, 3))
    # coefficients of any kind will do: the bound is one for all of them
    size = basis.shape[1]
    gamma = np.random.default_rng(0).standard_normal((30, size))
    assert_certified(model, basis, space.sample(30), gamma)


@pytest.mark.parametrize("condition", [1e2, 1e8, 1e12])
def test_complex_dense_products(condition: float) -> None:
    rng = np.random.default_rng(1)
    n = 20
    q = np.linalg.qr(rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))[0]
    p = (q * np.geomspace(1, condition, n)) @ q.conj().T
    p = (p + p.conj().T) / 2
    a = rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n))
    model = rbm.FullOrderModel(
        [(1.0, p), ("0.01*mu*exp(1j*mu)", a)],
        [("exp(1j*mu)", rng.standard_normal(n)), (1.0, rng.standard_normal(n) + 1j)],
        p,
        rbm.ParameterSpace({"mu": (0.5, 2.0)}),
        stability=0.5,
        outputs={
            "s": rng.standard_normal(n) + 1j * rng.standard_normal(n),
            "t": [("exp(1j*mu)", rng.standard_normal(n) + 2j), (1j, rng.standard_normal(n) * (1 + 1j))],
        },
    )
    basis = rng.standard_normal((n, 4)) + 1j * rng.standard_normal((n, 4))
    assert_certified(model, basis, model.parameters.sample(20))
    # |l^T v| <= ||l||_{P'} ||v||_P is attained at v = P^{-1} conj(l)
    reduced = rbm.project(model, basis)
    functional = model.outputs["s"].terms[0]
    norm = np.sqrt((functional.conj() @ np.linalg.solve(p.conj(), functional)).real)
    other = np.sqrt((functional.conj() @ np.linalg.solve(p, functional)).real)
    # the reference is no better than its plain solve; what D lacks in orthogonality is part of the norm
    solved = 1e-12 + 100 * condition * EPS
    assert np.linalg.norm(reduced.outputs["s"].dual @ np.ones(1)) == pytest.approx(norm, rel=solved, abs=0.0)
    assert abs(other / norm - 1) > 1e-3  # the conjugate matters here
    psi = np.array([np.exp(0.7j), 1j])
    functional = np.stack(model.outputs["t"].terms, axis=1) @ psi
    norm = np.sqrt((functional.conj() @ np.linalg.solve(p.conj(), functional)).real)
    assert np.linalg.norm(reduced.outputs["t"].dual @ psi) == pytest.approx(norm, rel=solved, abs=0.0)


@pytest.mark.parametrize("exponent", [10, 20, 25, 30])
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
def test_mixed_units(exponent: int, dense: bool) -> None:
    """Every second unknown is in a unit 2^e times smaller.

    The exact residual norms stay the same, and so must the bounds.
    """
    base = reaction_diffusion_1d(60)
    n = base.dimension
    s = np.where(np.arange(n) % 2, 2.0**exponent, 1.0)

    def change(a: sp.csr_array) -> object:
        scaled = sp.csr_array(sp.diags_array(s) @ a @ sp.diags_array(s))
        return scaled.toarray() if dense else scaled

    model = rbm.FullOrderModel(
        [(1.0, change(base.operator_terms[0])), ("mu", change(base.operator_terms[1]))],
        [(1.0, s * base.rhs_terms[:, 0])],
        change(base.product),
        base.parameters,
        1.0,
    )
    result = rbm.greedy(model, model.parameters.sample(100), progress=False)
    assert len(result.parameters) in (7, 8, 9)
    for size in (3, 6, len(result.parameters)):
        assert_certified(model, result.basis[:, :size], model.parameters.sample(60, "random", rng=2))


def test_complex_right_hand_side_coefficients_with_real_reduced_coefficients() -> None:
    base = reaction_diffusion_1d(30)
    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), ("mu", base.operator_terms[1])],
        [("mu + 20j*mu", base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
    )
    basis = base.solve([[1.0], [50.0]]).T
    mus = model.parameters.sample(5)
    assert_certified(model, basis, mus, np.zeros((5, 2)))
    assert_certified(model, basis, mus)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_rounding_of_theta_gamma_is_not_lost(complex_valued: bool) -> None:
    """phi - theta gamma with phi = fl(theta gamma): the residual *is* the rounding error of a product."""
    rng = np.random.default_rng(0)
    theta, gamma = (
        rng.standard_normal((100, 1)) + 1j * complex_valued * rng.standard_normal((100, 1)) for _ in range(2)
    )
    theta, gamma = (x if complex_valued else x.real for x in (theta, gamma))
    phi = theta * gamma
    state = Orthonormal(np.ones((1, 2)), np.ones(2), np.zeros(2), 0.0)
    e = state.evaluate(theta, phi, gamma)

    def parts(x: complex) -> tuple[Fraction, Fraction]:
        return Fraction(float(np.real(x))), Fraction(float(np.imag(x)))

    exact = []
    for t, p, g in zip(theta[:, 0], phi[:, 0], gamma[:, 0], strict=True):
        (tr, ti), (pr, pi), (gr, gi) = parts(t), parts(p), parts(g)
        exact.append(np.hypot(float(pr - (tr * gr - ti * gi)), float(pi - (tr * gi + ti * gr))))
    assert 0 < np.median(exact) < EPS
    assert np.all(e.bound >= exact)
    assert np.all(np.abs(e.value - exact) <= e.floor)
    assert e.floor.max() < 1e-3 * EPS


@pytest.mark.parametrize("given", [False, True], ids=["reduced", "full"])
def test_complex_residuals_at_the_level_of_round_off(given: bool) -> None:
    """Greedy to the end.

    What is left of the residual is the rounding of gamma, and c = theta gamma is a rounded product.
    """
    model = complex_model(60)
    result = rbm.greedy(model, model.parameters.sample(200), progress=False)
    assert result.stopped == "round-off"
    mus = model.parameters.sample(200, "random", rng=3)
    gamma = (model.solve(mus) @ (model.product @ result.basis.conj())) if given else None
    assert_certified(model, result.basis, mus, gamma)
    e = result.reduced_model.estimate(mus, gamma)
    assert e.floor.max() < 1e-15  # in double precision alone (m + 4) u s: several times that
    assert e.value.max() < 1e-13


def test_given_coefficients_widen_the_floor_of_interpolated_squares() -> None:
    case = make_case("real")
    reduced = case.projected(5)
    theta, phi, gamma = case.query(5)
    for size in (1e-3, 1.0):
        other = gamma[:50] * (1 + size * np.random.default_rng(0).standard_normal((50, 5)))
        exact = case.oracle.norm(theta[:50], phi[:50], other)
        for method in ("E3", "E4"):
            e = reduced.estimate(case.tests[:50], other, method)
            assert np.all(e.bound >= exact)
            assert np.all(np.abs(e.value - exact) <= e.floor)


def test_operators_without_entries() -> None:
    base = reaction_diffusion_1d(40)
    mass = base.operator_terms[1]
    operator = spla.LinearOperator(mass.shape, matvec=lambda x: mass @ x, matmat=lambda x: mass @ x, dtype=float)

    def solver(matrix: object, rhs: np.ndarray) -> np.ndarray:
        entries = matrix if sp.issparse(matrix) else np.asarray(matrix @ np.eye(39))  # type: ignore[operator]
        return np.linalg.solve(entries.toarray() if sp.issparse(entries) else entries, rhs)

    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), ("mu", operator)],
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
        solver=solver,
    )
    assert model.black_box
    result = rbm.greedy(model, model.parameters.sample(50), progress=False, estimators=("E_onb", "E1", "E2"))
    mus = model.parameters.sample(50, "random", rng=1)
    exact = Oracle(base, result.basis)
    for size in (2, 5, len(result.parameters)):
        reduced = result.reduced_model.truncate(size)
        theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
        gamma = reduced.solve(mus, estimate=False).coefficients
        for name, state in reduced.estimators.items():
            assert np.all(state.evaluate(theta, phi, gamma).bound >= exact.norm(theta, phi, gamma)), (name, size)


def test_the_rounding_of_a_black_box_is_seen_even_for_vectors_of_few_bits() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((64, 64))
    a[:, -1] -= a.sum(axis=1)
    operator = spla.LinearOperator(a.shape, matvec=lambda x: a @ x, matmat=lambda x: a @ x, dtype=float)
    x = np.ones((64, 1)) / 8
    exact = np.array([[float(sum(map(Fraction, row.tolist()))) / 8] for row in a])
    assert np.all(np.abs(extended.product(operator, x)[0] - exact) <= extended.rounding(operator, x) + 64 * EPS)
    assert extended.rounding(operator, x).max() >= EPS


def test_the_rounding_of_a_single_precision_operator_is_seen() -> None:
    """The operator rounds to single precision; its entries are those of an exact matrix, which is the truth."""
    base = reaction_diffusion_1d(40)
    mass = base.operator_terms[1].astype(np.float32)

    def apply(x: np.ndarray) -> np.ndarray:
        return (mass @ x.astype(np.float32)).astype(float)

    operator = spla.LinearOperator(mass.shape, matvec=apply, matmat=apply, dtype=float)
    terms, rhs = (1.0, base.operator_terms[0]), [(1.0, base.rhs_terms[:, 0])]
    model = rbm.FullOrderModel(
        [terms, ("mu", operator)], rhs, base.product, base.parameters, 1.0, solver=lambda a, b: b
    )
    exact = rbm.FullOrderModel([terms, ("mu", mass.astype(float))], rhs, base.product, base.parameters, 1.0)
    model.inner_product = exact.inner_product
    basis = rbm.greedy(exact, exact.parameters.sample(30), progress=False).basis
    mus = exact.parameters.sample(40, "random", rng=4)
    for size in (2, 4, basis.shape[1]):
        gamma = rbm.project(exact, basis[:, :size]).solve(mus, estimate=False).coefficients
        theta, phi = exact.operator_coefficients(mus), exact.rhs_coefficients(mus)
        norm = Oracle(exact, basis[:, :size]).norm(theta, phi, gamma)
        for name, state in rbm.project(model, basis[:, :size], ("E_onb", "E1")).estimators.items():
            assert np.all(state.evaluate(theta, phi, gamma).bound >= norm), (name, size)


@pytest.mark.parametrize("rtol", [1e-5, 1e-7, 1e-9])
def test_a_loose_interpolation_says_how_loose_it_is(rtol: float) -> None:
    """E4 with too few terms undershoots; the deviation measured on the training set tells."""
    case = make_case("real")
    undershoots = 0
    for size in (3, 5, 7):
        state = Interpolated.prepare(rbm.Reduction(case.model, case.result.basis[:, :size]), case.training, rtol=rtol)
        e, exact = state.evaluate(*case.query(size)), case.exact(size)
        undershoots += int(np.sum(e.value < 0.9 * exact))
        assert np.all(e.bound >= exact)
        assert not np.any(e.resolved & (np.abs(e.value - exact) > 0.1 * exact))
    assert undershoots > 0


@pytest.mark.parametrize(
    ("solver", "accurate"),
    [
        (lambda a, b: 0.5 * spla.spsolve(sp.csc_array(a), b).reshape(b.shape), False),
        (lambda a, b: b / a.diagonal()[:, None], False),
        (lambda a, b: spla.spsolve(sp.csc_array(a), b).reshape(b.shape) * (1 + 1e-4), True),
    ],
    ids=["half", "Jacobi", "four digits"],
)
def test_a_solver_that_is_not_accurate_is_refined_or_refused(solver: object, accurate: bool) -> None:
    base = reaction_diffusion_1d(40)
    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), ("mu", base.operator_terms[1])],
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
        solver=solver,  # type: ignore[arg-type]
    )
    basis = base.solve([[1.0], [50.0]]).T
    if accurate:
        assert_certified(model, basis, model.parameters.sample(10))
    else:
        with pytest.raises(rbm.ModelError, match=r"solver is not accurate|not positive definite"):
            assert_certified(model, basis, model.parameters.sample(10))


def test_measured_defects_and_orthogonality_enter_the_floor() -> None:
    """An E_onb whose factor is wrong by a known amount: the floor covers it because the amount is in its state."""
    case = make_case("real")
    honest = case.result.reduced_model.truncate(4).estimators["orthonormal"]
    assert isinstance(honest, Orthonormal)
    query, exact = case.query(4), case.exact(4)
    cut = honest.factor.copy()
    cut[2:] = 0.0
    lost = np.linalg.norm(honest.factor[2:], axis=0)
    state = Orthonormal(cut, honest.norms, honest.defects + lost, honest.orthogonality)
    e = state.evaluate(*query)
    assert np.median(exact / e.value) > 2
    assert np.all(e.bound >= exact)
    stretched = Orthonormal(honest.factor / (1 + 1e-3), honest.norms, honest.defects, 2e-3)
    e = stretched.evaluate(*query)
    assert np.all(e.value < exact)
    assert np.all(e.bound >= exact)


def test_measurements_are_measurements() -> None:
    """Defects and orthogonality of the residual range, against exact arithmetic."""
    case = make_case("complex")
    reduction = rbm.Reduction(case.model, case.result.basis[:, :3])
    rng = reduction.residual_range
    d, k = rng.functionals, rng.functionals.shape[1]
    p = case.model.product.toarray()
    gram = d.conj().T @ np.linalg.solve(p, d)
    assert np.linalg.norm(gram - np.eye(k)) <= rng.orthogonality + 1e-11  # np.linalg.solve is no better than cond(P) u
    assert 0 < rng.orthogonality < 1e-9
    shifted = rng.factor.copy()
    shifted[0, 1] += 1e-6
    assert np.linalg.norm(shifted[:, 1] - rng.factor[:, 1]) == pytest.approx(1e-6)
    assert np.all(rng.defects < 1e-14)
    assert np.all(rng.defects > 0)


def test_the_greedy_selects_by_error_not_by_residual() -> None:
    """beta varies by a factor 100: where the residual is largest is not where the error bound is."""
    base = reaction_diffusion_1d(60)
    model = rbm.FullOrderModel(
        [("0.01 + 0.0099*mu", base.operator_terms[0]), ("100 - mu", base.operator_terms[1])],
        [("mu", base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        stability="0.01 + 0.0099*mu",
    )
    training = model.parameters.sample(100, "grid")
    result = rbm.greedy(model, training, max_basis=3, progress=False)
    differs = False
    for n in (1, 2):
        e = result.reduced_model.truncate(n).estimate(training)
        np.testing.assert_array_equal(result.parameters[n], training[np.argmax(e.bound)])
        beta = 0.01 + 0.0099 * training[:, 0]
        differs |= bool(np.argmax(e.bound) != np.argmax(e.bound * beta))
    assert differs


def test_a_tiny_stability_bound_gives_an_error_and_no_infinity() -> None:
    base = complex_model(20)
    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), ("a", base.operator_terms[1])],
        [(1.0, base.rhs_terms[:, 0].real)],
        base.product,
        rbm.ParameterSpace({"a": (1.0, 2.0)}),
        5e-324,
    )
    reduced = rbm.project(model, np.ones((19, 1)))
    with pytest.raises(
        rbm.ParameterError, match=r"error bound at a = 1 \(row 0\) is not finite.*stability bound 4\.94e-324"
    ):
        reduced.solve([1.0])


@pytest.mark.parametrize("where", ["gram_schmidt", "riesz_with_error", "dual_norm_upper", "residual", "solve"])
@pytest.mark.parametrize("call", [3, 8, 13])
def test_an_interrupt_anywhere_leaves_a_whole_result(where: str, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from rbm.affine import functional_range
    from rbm.affine.inner_product import InnerProduct
    from rbm.online import reference
    from rbm.reduction import projected_system as reduction

    model = reaction_diffusion_1d(50)
    training = model.parameters.sample(50)
    calls = 0

    def interrupting(honest):  # type: ignore[no-untyped-def]
        def wrapped(*args: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt
            return honest(*args, **options)

        return wrapped

    with monkeypatch.context() as patch:
        if where == "gram_schmidt":
            patch.setattr(functional_range, where, interrupting(functional_range.gram_schmidt))
            patch.setattr(reduction, where, interrupting(reduction.gram_schmidt))
        elif where == "residual":
            patch.setattr(rbm.FullOrderModel, where, interrupting(rbm.FullOrderModel.residual))
        elif where == "solve":
            patch.setattr(reference, where, interrupting(reference.solve))
        else:
            patch.setattr(InnerProduct, where, interrupting(getattr(InnerProduct, where)))
        try:
            rbm.greedy(model, training, max_basis=6, progress=False)
        except rbm.Interrupted as interrupt:
            result = interrupt.result
        except KeyboardInterrupt:
            return  # before the first vector: nothing to keep
        else:
            return  # fewer calls than that
    size = len(result.parameters)
    assert size >= 1
    assert result.basis.shape == (49, size)
    assert result.reduced_model.size == size
    assert np.all(np.isfinite(result.reduced_model.solve(training).bound))
    whole = rbm.greedy(model, training, max_basis=6, progress=False)
    np.testing.assert_array_equal(
        rbm.greedy(model, training, max_basis=6, progress=False, resume=result).basis, whole.basis
    )


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_in_a_study_ends_with_status_130_and_one_line(tmp_path: Path) -> None:
    code = (
        # a process started in the background of a shell ignores the interrupt, and its children do
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from rbm.command_line import main; print('ready', flush=True); sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code, "study", "thermal-block", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()  # the study's title: the model is built
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err


def test_resuming_with_other_matrices_is_refused() -> None:
    model = reaction_diffusion_1d(50)
    training = model.parameters.sample(20)
    part = rbm.greedy(model, training, max_basis=2, progress=False)
    other = rbm.FullOrderModel(
        [(3.0, model.operator_terms[0]), ("mu", model.operator_terms[1])],
        [(1.0, model.rhs_terms[:, 0])],
        model.product,
        model.parameters,
        1.0,
    )
    with pytest.raises(rbm.ModelError, match=r"made with another full-order model.*rbm\.project"):
        rbm.greedy(other, training, progress=False, resume=part)
    assert model.fingerprint() == reaction_diffusion_1d(50).fingerprint() != other.fingerprint()
