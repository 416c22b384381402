"""The reduced model online: batches, shapes, truncation, outputs, errors."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from conftest import Case, make_case

import rbm
from problems import reaction_diffusion_1d

EPS = np.finfo(float).eps


@pytest.mark.parametrize("name", ["real", "complex", "two parameters"])
def test_a_batch_gives_what_single_calls_give(name: str) -> None:
    case = make_case(name)
    reduced = case.result.reduced_model
    batch = reduced.solve(case.tests[:20])
    for i, mu in enumerate(case.tests[:20]):
        single = reduced.solve(mu)
        assert single.coefficients.shape == (1, reduced.size)
        scale = np.abs(batch.coefficients[i]).max()
        assert np.abs(single.coefficients[0] - batch.coefficients[i]).max() <= 1e4 * EPS * scale
        assert abs(single.bound[0] - batch.bound[i]) <= 1e-2 * batch.bound[i] + 1e-15


@pytest.mark.parametrize("name", ["real", "complex", "two parameters"])
def test_coefficients_solve_the_galerkin_system(name: str) -> None:
    case = make_case(name)
    z = case.result.basis
    for mu, gamma in zip(case.tests[:5], case.result.reduced_model.solve(case.tests[:5]).coefficients, strict=True):
        theta, phi = case.model.operator_coefficients(mu[None])[0], case.model.rhs_coefficients(mu[None])[0]
        residual = z.conj().T @ (case.model.rhs_terms @ phi - case.model.assemble(theta) @ (z @ gamma))
        assert np.abs(residual).max() <= 1e4 * EPS


def test_tiles_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch, diffusion: Case) -> None:
    """Not by a bit: no lane knows of the others, and no piece of the others."""
    from rbm.online import chunks

    monkeypatch.setattr(chunks, "PIECE", (1024, 8192))
    whole = diffusion.result.reduced_model.solve(diffusion.tests)
    assert len(chunks.pieces(len(diffusion.tests), 100)) == 1
    monkeypatch.setattr(chunks, "PIECE", (32, 64))
    assert len(chunks.pieces(len(diffusion.tests), 100)) > 10
    for threads in "124":
        monkeypatch.setenv("RBM_NUM_THREADS", threads)
        pieces = diffusion.result.reduced_model.solve(diffusion.tests)
        np.testing.assert_array_equal(pieces.coefficients, whole.coefficients)
        np.testing.assert_array_equal(pieces.bound, whole.bound)
        np.testing.assert_array_equal(pieces.outputs["mean"], whole.outputs["mean"])


@pytest.mark.parametrize("name", ["real", "complex", "two parameters"])
@pytest.mark.parametrize("n", [1, 3, 6])
def test_truncation_is_projection(name: str, n: int) -> None:
    case = make_case(name)
    cut = case.result.reduced_model.truncate(n)
    made = rbm.project(case.model, case.result.basis[:, :n], ("E_onb", "E1", "E2"))
    np.testing.assert_array_equal(cut.operators, made.operators)
    for method in ("orthonormal", "direct", "expanded"):
        a, b = (r.estimate(case.tests[:50], method=method) for r in (cut, made))
        np.testing.assert_allclose(a.value, b.value, rtol=1e-6, atol=2 * float(a.floor.max()))
    assert cut.size == n
    np.testing.assert_array_equal(cut.selected, case.result.parameters[:n])


def test_outputs_are_within_their_bounds() -> None:
    case = make_case("complex")
    mus = case.tests[:30]
    exact = case.model.solve(mus) @ case.model.outputs["mean"].terms[0]
    for n in (2, 5):
        solution = case.result.reduced_model.truncate(n).solve(mus)
        error = np.abs(solution.outputs["mean"] - exact)
        assert np.all(error <= solution.output_bounds["mean"])
        assert error.max() > 1e-12  # the claim is not empty


def test_output_functionals_with_coefficients() -> None:
    base = reaction_diffusion_1d(50)
    rng = np.random.default_rng(0)
    l1, l2 = rng.standard_normal(49), rng.standard_normal(49)
    model = rbm.FullOrderModel(
        [(1.0, base.operator_terms[0]), ("mu", base.operator_terms[1])],
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        1.0,
        outputs={"s": [("mu", l1), (2.0, l2)], "one": l1},
    )
    reduced = rbm.greedy(model, model.parameters.sample(50), max_basis=3, progress=False).reduced_model
    mus = model.parameters.sample(20, "random", rng=3)
    u, solution = model.solve(mus), reduced.solve(mus)
    exact = mus[:, 0] * (u @ l1) + 2 * (u @ l2)
    assert np.all(np.abs(solution.outputs["s"] - exact) <= solution.output_bounds["s"])
    # the dual norm of mu l1 + 2 l2, by another way
    inverse = np.linalg.inv(model.product.toarray())
    for mu, total, bound in zip(mus[:, 0], solution.output_bounds["s"], solution.bound, strict=True):
        functional = mu * l1 + 2 * l2
        norm = np.sqrt(functional @ inverse @ functional)
        assert norm * bound <= total <= norm * bound * (1 + 1e-6) + 1e-12


def test_project_accepts_a_basis_that_is_not_orthonormal(diffusion: Case) -> None:
    z = diffusion.result.basis[:, :4]
    mixed = z @ (np.eye(4) + np.triu(np.ones((4, 4)), 1))
    a, b = (rbm.project(diffusion.model, basis).solve(diffusion.tests[:20]) for basis in (z, mixed))
    np.testing.assert_allclose(a.bound, b.bound, rtol=1e-6)


def test_project_with_a_pod_basis_of_snapshots(diffusion: Case) -> None:
    import lowrank

    snapshots = diffusion.model.solve(diffusion.training[::50]).T
    modes = lowrank.pod(snapshots, product=diffusion.model.product, rank=4).modes
    solution = rbm.project(diffusion.model, modes).solve(diffusion.tests[:50])
    assert np.all(solution.bound >= diffusion.model.error_norm(diffusion.tests[:50], solution.coefficients, modes))
    assert solution.bound.max() < 1e-4


def test_project_refuses_bad_bases(diffusion: Case) -> None:
    z = diffusion.result.basis
    with pytest.raises(rbm.ModelError, match=r"shape \(198, 8\), expected \(199, N\)"):
        rbm.project(diffusion.model, z[1:])
    with pytest.raises(rbm.ModelError, match=r"1 basis vectors depend on the others.*numbers 2"):
        rbm.project(diffusion.model, np.column_stack([z[:, :2], z[:, 0] + z[:, 1]]))
    with pytest.raises(ValueError, match="NaN"):
        rbm.project(diffusion.model, np.where(z == z[0, 0], np.nan, z))


@pytest.mark.parametrize(
    ("mus", "message"),
    [
        (np.array([[0.5]]), r"mu = 0.5 \(row 0\) is outside \[1, 100\].*extrapolate=True"),
        (np.array([[5.0], [np.inf]]), r"mu = inf \(row 1\) is not a finite number"),
        (np.ones((2, 3)), r"shape \(M, 1\).*got shape \(2, 3\)"),
        (np.ones(4), r"did you mean mus\[:, None\]"),
        (np.array([[1 + 1j]]), "real numbers, got complex"),
        (np.array([["a"]]), "must be numbers"),
        (np.zeros((0, 1)), r"got shape \(0, 1\)"),
    ],
)
def test_bad_parameters(diffusion: Case, mus: np.ndarray, message: str) -> None:
    with pytest.raises(rbm.ParameterError, match=message):
        diffusion.result.reduced_model.solve(mus)


def test_extrapolation_is_allowed_on_request_and_stays_certified(diffusion: Case) -> None:
    mus = np.array([[0.5], [150.0]])
    solution = diffusion.result.reduced_model.solve(mus, extrapolate=True)
    u = diffusion.model.solve_extended(mus, extrapolate=True)
    assert np.all(solution.bound >= diffusion.model.error_norm(mus, solution.coefficients, diffusion.result.basis, u))


def test_extrapolation_to_where_the_problem_is_not_coercive_is_refused(diffusion: Case) -> None:
    reduced = diffusion.result.reduced_model.truncate(4)
    mus = np.array([[-5.0], [-9.0]])  # -pi^2 is where coercivity ends; beta = 1 would be false here
    solution = reduced.solve(mus, extrapolate=True)
    assert np.all(solution.bound >= diffusion.model.error_norm(mus, solution.coefficients, reduced.basis))
    with pytest.raises(rbm.StabilityError, match=r"at mu = -10 .*beta > 0"):
        reduced.solve([-10.0], extrapolate=True)


def test_bad_coefficients_and_methods(diffusion: Case) -> None:
    reduced = diffusion.result.reduced_model
    with pytest.raises(ValueError, match=r"shape \(1, 8\).*got \(1, 3\)"):
        reduced.estimate([2.0], np.ones((1, 3)))
    with pytest.raises(ValueError, match="NaN"):
        reduced.estimate([2.0], np.full((1, 8), np.nan))
    with pytest.raises(rbm.ModelError, match="unknown estimator 'best'"):
        reduced.estimate([2.0], method="best")
    with pytest.raises(rbm.ModelError, match=r"no estimator 'sampled'.*estimators="):
        reduced.estimate([2.0], method="E3")
    with pytest.raises(ValueError, match="estimate=False"):
        _ = reduced.solve([2.0], estimate=False).bound


def test_a_singular_reduced_system_names_the_parameter() -> None:
    eye = np.eye(2)
    model = rbm.FullOrderModel(
        [("mu - 3", eye)],
        [(1.0, np.array([1.0, 2.0]))],
        eye,
        rbm.ParameterSpace({"mu": (1.0, 9.0)}),
        stability="abs(mu - 3) + 1e-9",
    )
    reduced = rbm.project(model, np.array([[1.0], [0.0]]))
    with pytest.raises(rbm.ModelError, match=r"mu = 3 \(row 1\) is singular"):
        reduced.solve([[2.0], [3.0], [4.0]])
    with pytest.raises(rbm.ModelError, match=r"mu = 3 \(row 1\) failed.*singular"):
        model.solve([[2.0], [3.0]])


def test_a_coefficient_that_is_not_finite_names_itself_and_the_parameter() -> None:
    eye = np.eye(2)
    model = rbm.FullOrderModel(
        [(1.0, eye), ("1/mu", eye)], [(1.0, np.ones(2))], eye, rbm.ParameterSpace({"mu": (0.0, 1.0)}), stability=1.0
    )
    with pytest.raises(rbm.ParameterError, match=r"coefficient '1/mu' is inf at mu = 0 \(row 0\)"):
        model.solve([[0.0]])


def test_reprs_answer_the_first_question(diffusion: Case) -> None:
    reduced = diffusion.result.reduced_model
    assert repr(reduced).startswith(
        "ReducedModel(N = 8 for 199 unknowns, 2 operator and 1 right-hand side terms, float64"
    )
    solution = reduced.solve(diffusion.tests)
    assert repr(solution).startswith("Solution(1000 points, N = 8, error bound up to 1.7")
    assert "1000 points" in repr(solution.estimate)
    assert "resolved" in repr(reduced.solve([3.5]).estimate)


def test_what_an_estimate_says_of_itself() -> None:
    e = rbm.Estimate.from_norm(np.array([10.9, 11.1, 0.0]), np.array([1.0, 1.0, 0.0]))
    assert e.resolved.tolist() == [
        False,
        True,
        True,
    ]  # a deviation of a floor is then less than 10 % of the exact value
    e = rbm.Estimate.from_square(np.array([4.0, -4.0, 0.0, 400.0]), np.ones(4))
    assert e.value.tolist() == [2.0, 1.0, 1.0, 20.0]
    assert e.bound.tolist() == [3.0, 2.0, 2.0, 21.0]
    assert e.resolved.tolist() == [False, False, False, True]


def test_estimates_slice_like_arrays(diffusion: Case) -> None:
    e = diffusion.result.reduced_model.solve(diffusion.tests).estimate
    assert len(e[:7]) == 7
    np.testing.assert_array_equal(e[:7].bound, e.bound[:7])


def test_reconstruct_needs_the_basis(diffusion: Case) -> None:
    from dataclasses import replace

    bare = replace(diffusion.result.reduced_model, basis=None)
    with pytest.raises(rbm.ModelError, match="basis=True"):
        bare.reconstruct(np.ones((1, 8)))
    with pytest.raises(ValueError, match=r"shape \(M, 8\)"):
        diffusion.result.reduced_model.reconstruct(np.ones((1, 7)))


def test_the_bound_of_an_output_includes_the_rounding_of_its_sum() -> None:
    """A reduced solution without any error: what is left of the output's error is the rounding of the sum."""
    n, functional = 6, np.array([0.1, -0.3, 0.7, -0.9, 1.1, -0.7])
    model = rbm.FullOrderModel(
        [(1.0, np.eye(n))],
        [("mu", np.ones(n))],
        np.eye(n),
        rbm.ParameterSpace({"mu": (1.0, 2.0)}),
        stability=1.0,
        outputs={"s": functional},
    )
    reduced = rbm.project(model, np.eye(n), ("E1",))  # whose own floor is far smaller
    mus = model.parameters.sample(200)
    solution = reduced.solve(mus)
    exact = [sum(Fraction(x) for x in functional.tolist()) * Fraction(mu) for mu in mus[:, 0].tolist()]
    error = np.array([abs(float(Fraction(s) - x)) for s, x in zip(solution.outputs["s"].tolist(), exact, strict=True)])
    assert error.max() > 1e3 * solution.bound.max()
    assert np.all(error <= solution.output_bounds["s"])
