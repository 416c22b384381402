"""Separation of variables: nodes and coefficients from a scalar family, Lagrange polynomials, and what the error is."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.scattering_models import wavenumber_model

import eim
import problems
import rbm
from rbm.errors import ModelError
from rbm.parameters.interpolated_family import InterpolatedCoefficient, InterpolatedFamily

R = np.linspace(0, 2, 60)
EPS = np.finfo(float).eps


def family(k: np.ndarray) -> np.ndarray:
    return np.exp(1j * np.outer(R, k))


def matrix(k: float) -> np.ndarray:
    return np.exp(1j * k * np.abs(np.subtract.outer(R, R))) / (1 + np.add.outer(R, R))


@pytest.mark.parametrize("rtol", [1e-4, 1e-8, 1e-12])
def test_matrices_are_reproduced_to_the_tolerance_of_the_scalar_family(rtol: float) -> None:
    separation = eim.separate(family, np.linspace(1, 4, 200), rtol=rtol)
    matrices = [matrix(k) for k in separation.nodes]
    for k in np.random.default_rng(0).uniform(1, 4, 20):
        error = np.abs(separation.combine(matrices, k) - matrix(k)).max()
        assert error <= 20 * separation.error(k)[0] + 100 * EPS
        assert error <= 100 * rtol


def test_it_is_exact_at_the_nodes() -> None:
    separation = eim.separate(family, np.linspace(1, 4, 100), rtol=1e-10)
    np.testing.assert_allclose(separation.coefficients(separation.nodes), np.eye(separation.rank), atol=1e-4)
    matrices = [matrix(k) for k in separation.nodes]
    for k, exact in zip(separation.nodes, matrices, strict=True):
        np.testing.assert_allclose(separation.combine(matrices, k), exact, atol=1e-13)


def test_lagrange_reproduces_polynomials_and_converges_for_entire_functions() -> None:
    separation = eim.lagrange(1.0, 4.0, 6)
    k = np.linspace(1, 4, 17)
    np.testing.assert_allclose(separation.coefficients(k) @ separation.nodes**5, k**5, rtol=1e-12)
    np.testing.assert_allclose(separation.coefficients(k).sum(axis=1), 1, rtol=1e-13)
    np.testing.assert_allclose(separation.coefficients(separation.nodes), np.eye(6), atol=1e-14)
    errors = []
    for count in (4, 8, 12):
        s = eim.lagrange(1.0, 4.0, count)
        matrices = [matrix(x) for x in s.nodes]
        errors.append(np.abs(s.combine(matrices, 2.22) - matrix(2.22)).max())
    assert errors[0] > 100 * errors[1] > 1e4 * errors[2]


def test_empirical_nodes_need_fewer_terms_than_polynomials() -> None:
    separation = eim.separate(family, np.linspace(1, 4, 200), rtol=1e-8)
    polynomial = eim.lagrange(1.0, 4.0, separation.rank)
    ks = np.random.default_rng(1).uniform(1, 4, 30)

    def worst(s: eim.Separation) -> float:
        matrices = [matrix(k) for k in s.nodes]
        return max(float(np.abs(s.combine(matrices, k) - matrix(k)).max()) for k in ks)

    assert worst(separation) < worst(polynomial)


def test_the_portable_family_gives_the_same_coefficients() -> None:
    separation = eim.separate(family, np.linspace(1, 4, 100), rtol=1e-10)
    it = separation.interpolation
    assert it is not None
    functions = tuple(f"exp(1j*k*({float(R[p])!r}))" for p in it.points)
    portable = InterpolatedFamily(functions, np.tril(it.triangle), np.triu(it.expansion)).compiled(("k",))
    k = np.linspace(1, 4, 13)
    weights = portable(k[:, None])
    # weights may each be off by cond u, but together they interpolate to round-off
    values = family(separation.nodes)
    np.testing.assert_allclose(values @ weights.T, values @ separation.coefficients(k).T, atol=200 * EPS)


def test_bad_families() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(60, 1\) for 5 candidates"):
        eim.separate(lambda k: family(k[:1]), np.linspace(1, 4, 5))
    with pytest.raises(ValueError, match="NaN or infinite"):
        eim.separate(lambda k: family(k) * np.nan, np.linspace(1, 4, 5))
    with pytest.raises(ValueError, match=r"candidates must have shape \(K,\)"):
        eim.separate(family, np.ones((2, 2)))
    with pytest.raises(ValueError, match="low < high"):
        eim.lagrange(4.0, 1.0, 3)
    with pytest.raises(ValueError, match="at least one node"):
        eim.lagrange(1.0, 4.0, 0)
    separation = eim.separate(family, np.linspace(1, 4, 50), rtol=1e-4)
    with pytest.raises(ValueError, match="matrices are needed, one per node, got 1"):
        separation.combine([matrix(1.0)], 2.0)
    with pytest.raises(ModelError, match=r"lower must be a finite matrix of shape \(1, 1\)"):
        InterpolatedFamily(("k",), np.eye(2), np.eye(1))
    with pytest.raises(ModelError, match="singular"):
        InterpolatedFamily(("k",), np.eye(1), np.zeros((1, 1)))


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_the_portable_polynomials_are_those_of_lagrange(count: int) -> None:
    separation = eim.lagrange(1.0, 4.0, count)
    portable = InterpolatedFamily.polynomial("k", separation.nodes).compiled(("beta", "k"))
    k = np.linspace(1, 4, 9)
    np.testing.assert_allclose(portable(np.column_stack([0 * k, k])), separation.coefficients(k), atol=1e-13 * count)


def test_a_model_interpolated_by_polynomials_is_certified_against_the_true_one() -> None:
    """A(k) = K + exp(-k) M, as if only matrices at nodes were known."""
    base = problems.reaction_diffusion_1d(40)
    stiffness, mass = base.operator_terms
    family = InterpolatedFamily.polynomial("k", eim.lagrange(0.0, 1.0, 4).nodes)
    nodes = eim.lagrange(0.0, 1.0, 4).nodes
    # |error of exp(-k)| <= max|fourth derivative| / 4! prod |k - k_m| <= 2 (1/4)^4 / 24, and ||M|| from P to P' is at
    # most 1 / pi^2
    eps = 2 * 0.25**4 / 24 / np.pi**2
    model = rbm.FullOrderModel(
        list(zip(family.terms(), [stiffness + np.exp(-k) * mass for k in nodes], strict=True)),
        [(1.0, base.rhs_terms[:, 0])],
        stiffness,
        rbm.ParameterSpace({"k": (0.0, 1.0)}),
        1.0,
        interpolation_error=(eps, 0.0),
    )
    print(model.verify(assembled=lambda mu: stiffness + np.exp(-mu[0]) * mass))
    reduced = rbm.greedy(model, model.parameters.sample(50), tol=1e-9, progress=False).reduced_model
    mus = model.parameters.sample(20, "random", rng=1)
    solution = reduced.solve(mus)
    u = reduced.reconstruct(solution.coefficients)
    worst = 0.0
    for i, mu in enumerate(mus):
        truth = np.linalg.solve((stiffness + np.exp(-mu[0]) * mass).toarray(), base.rhs_terms[:, 0])
        error = model.inner_product.norm((truth - u[i])[:, None])[0]
        assert error <= solution.bound[i]
        worst = max(worst, error / (solution.bound[i] - solution.estimate.interpolation[i]))
    assert worst > 1  # without its share for the interpolation the bound would be false
    with pytest.raises(ModelError, match=r"more than the interpolation error .* that the model claims"):
        model.verify(assembled=lambda mu: stiffness + 1.1 * np.exp(-mu[0]) * mass)


@pytest.mark.parametrize("nodes", [[], [1.0, 1.0], [np.nan]])
def test_bad_nodes(nodes: list) -> None:
    with pytest.raises(ModelError, match="nodes of an interpolation must be finite and differ"):
        InterpolatedFamily.polynomial("k", nodes)


def test_the_error_of_the_right_hand_side_and_the_smaller_stability_constant_enter_the_bound() -> None:
    """A' = A - eps I, f' = f + delta, chosen so that a bound which forgets either is false."""
    n, eps, delta = 5, 0.25, 0.1
    e = np.eye(n)[0]
    model = rbm.FullOrderModel(
        [(1.0, np.eye(n))],
        [(1.0, e)],
        np.eye(n),
        rbm.ParameterSpace({"k": (0.0, 1.0)}),
        1.0,
        interpolation_error=(eps, delta),
    )
    reduced = rbm.project(model, e[:, None])
    truth = (e + delta * e) / (1 - eps)
    error = np.linalg.norm(truth - reduced.reconstruct(reduced.solve([0.5]).coefficients)[0])
    bound = reduced.solve([0.5]).bound[0]
    assert error == pytest.approx((delta + eps) / (1 - eps), rel=1e-14, abs=0.0)
    assert error <= bound <= error * (1 + 1e-8)  # sharp: the residual is zero


def test_no_bound_is_given_where_the_interpolation_error_is_not_known() -> None:
    model = rbm.FullOrderModel(
        [("1 + 0*k", np.eye(2))],
        [(1.0, np.ones(2))],
        np.eye(2),
        rbm.ParameterSpace({"k": (1.0, 2.0)}),
        1.0,
        interpolation_error=(1e-9, 0.0),
    )
    reduced = rbm.project(model, np.eye(2)[:, :1])
    with pytest.raises(rbm.ParameterError, match=r"k = 2.5 \(row 1\) is outside .* not known"):
        reduced.solve([[1.5], [2.5]], extrapolate=True)
    assert reduced.solve([[2.5]], estimate=False, extrapolate=True).estimate is None


def test_the_greedy_certifies_with_the_interpolation_error() -> None:
    """Its bound is that of the model it makes; and it stops where that error is all that is left."""
    model = wavenumber_model()
    training = model.parameters.sample(60)
    result = rbm.greedy(model, training, progress=False)
    assert result.stopped == "round-off"
    assert "interpolation error" in result.reason or "adds nothing" in result.reason
    solution = result.reduced_model.truncate(result.history[-2].size).solve(training)
    assert result.history[-2].bound == pytest.approx(solution.bound.max(), rel=1e-6)
    shorter = rbm.greedy(model, training, tol=1e-6, progress=False)
    assert shorter.history[-1].bound == pytest.approx(shorter.reduced_model.solve(training).bound.max(), rel=1e-9)


def test_families_are_told_apart_by_a_short_name() -> None:
    one, other = (InterpolatedFamily.polynomial("k", nodes) for nodes in ([1.0, 2.0], [1.0, 2.5]))
    assert repr(one) == repr(InterpolatedFamily.polynomial("k", [1.0, 2.0])) != repr(other)
    assert repr(one.terms("beta")[1]).startswith("(beta) * lambda_1 of InterpolatedFamily(2 terms, ")
    models = [
        rbm.FullOrderModel(
            list(zip(f.terms(), [np.eye(2)] * 2, strict=True)),
            [(1.0, np.ones(2))],
            np.eye(2),
            rbm.ParameterSpace({"k": (1.0, 2.0)}),
            1.0,
        )
        for f in (one, other)
    ]
    assert models[0].fingerprint() != models[1].fingerprint()
    with pytest.raises(ModelError, match="term 2 of an interpolated family of 2 terms"):
        InterpolatedCoefficient(one, 2)
