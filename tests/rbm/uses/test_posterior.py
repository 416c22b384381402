"""A certified likelihood against 300 bits, expectations against closed forms and full models, and bad data."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.exact_likelihood import beam, exact_log_likelihood_errors

import rbm
from rbm.uses.enclosed_means import enclosed_mean, enclosed_sum
from rbm.uses.observations import Observations


@cache
def made(size: int, complex_valued: bool = False) -> tuple[rbm.FullOrderModel, rbm.ReducedModel]:
    model = beam(complex_valued=complex_valued)
    return model, rbm.greedy(model, model.parameters.sample(60), max_basis=size).reduced_model


def data_of(complex_valued: bool, sigma: float = 0.01) -> dict[str, Any]:
    turn = (1 - 0.03j) if complex_valued else 1.0
    return {
        "mean": (0.083 * turn, sigma),
        "at": (np.array([0.36, 0.33, 0.35]) * turn, [4 * sigma, 8 * sigma, 4 * sigma]),
    }


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("size", "sigma"), [(2, 0.01), (4, 0.01), (12, 0.01), (12, 1e-6)])
def test_the_likelihood_of_the_full_model_is_within_the_bound(size: int, sigma: float, complex_valued: bool) -> None:
    """At 1000 points, against 300 bits; with twelve vectors of twelve all that is left is rounding."""
    model, reduced = made(size, complex_valued)
    found = rbm.posterior(reduced, data_of(complex_valued, sigma))
    mus = model.parameters.sample(1000, "random", rng=7)
    value, bound = found.log_likelihood(mus)
    data = dict(data_of(complex_valued, sigma).items())
    error = exact_log_likelihood_errors(model, data, mus, value, complex_valued)
    assert np.all(error <= bound)
    if size == 12:
        assert np.all(bound <= 1e-11 * (1 + np.abs(value)) / min(sigma, 1.0) ** 0.5)
    else:
        assert np.median(bound / error) < 200
    assert np.any(error > bound / 1e4)


def test_no_error_of_the_reduced_model_leaves_rounding_alone() -> None:
    """Outputs that are exact doubles, sums of many terms: the bound is rounding and holds against fractions."""
    from fractions import Fraction

    rng = np.random.default_rng(2)
    y, s = rng.standard_normal(60), rng.standard_normal(20)
    sigma = rng.uniform(0.5, 2.0, 60)
    seen = Observations(("s",), np.zeros(60, dtype=int), y, sigma, 0.0, 0.0)
    found = seen.log_likelihood({"s": s})
    for value, low, high, one in zip(found.value, found.low, found.high, s, strict=True):
        exact = (
            -sum(((Fraction(a) - Fraction(float(one))) / Fraction(b)) ** 2 for a, b in zip(y, sigma, strict=True)) / 2
        )
        assert Fraction(low) <= exact <= Fraction(high)
        assert high - low <= 1e-12 * abs(value)
        assert float(abs(exact - Fraction(value))) > 0 or value == exact


def gaussian_model() -> rbm.FullOrderModel:
    """Outputs that are linear in two parameters with normal distributions, cut nine deviations away from the middle."""
    stiffness = beam().product
    n = stiffness.shape[0]
    rng = np.random.default_rng(3)
    space = rbm.ParameterSpace(
        {"a": scipy.stats.truncnorm(-9, 9, 1.0, 0.5), "b": scipy.stats.truncnorm(-9, 9, -2.0, 1.0)}
    )
    loads = rng.standard_normal((n, 2))
    return rbm.FullOrderModel(
        [(1.0, stiffness)], [("a", loads[:, 0]), ("b", loads[:, 1])], stiffness, space, 1.0,
        outputs={f"s{j}": rng.standard_normal(n) for j in range(3)},
    )  # fmt: skip


@pytest.mark.parametrize(("size", "sharp"), [(1, False), (2, True)])
def test_the_linear_gaussian_posterior_is_enclosed(size: int, sharp: bool) -> None:
    """Mean, variance and evidence from the closed form (Gauss-Legendre nodes for the points)."""
    model = gaussian_model()
    matrix = np.array(
        [model.outputs[f"s{j}"](np.zeros((2, 2)), np.linalg.solve(model.product.toarray(), f).T) for j, f in
         enumerate([model.rhs_terms] * 3)]
    )  # fmt: skip
    sigma = np.array([0.3, 0.5, 0.4])
    y = matrix @ [1.2, -1.5] + 0.1
    basis = np.linalg.qr(np.linalg.solve(model.product.toarray(), model.rhs_terms))[0]
    if not sharp:
        reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=1).reduced_model
    else:
        from lowrank import gram_schmidt

        reduced = rbm.project(model, gram_schmidt(basis, product=model.product).basis)
    found = rbm.posterior(reduced, {f"s{j}": (y[j], sigma[j]) for j in range(3)})

    mean, prior = np.array([1.0, -2.0]), np.diag([0.5**2, 1.0])
    precision = np.linalg.inv(prior) + matrix.T @ (matrix / sigma[:, None] ** 2)
    cov = np.linalg.inv(precision)
    middle = cov @ (np.linalg.solve(prior, mean) + matrix.T @ (y / sigma**2))
    evidence = scipy.stats.multivariate_normal(matrix @ mean, np.diag(sigma**2) + matrix @ prior @ matrix.T).logpdf(y)

    nodes, weights = np.polynomial.legendre.leggauss(160)
    low, high = model.parameters.bounds.T
    axes = [(a + b) / 2 + (b - a) / 2 * nodes for a, b in zip(low, high, strict=True)]
    mus = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    w = np.multiply.outer(weights, weights).ravel() * np.prod((high - low) / 2)
    w = w * np.exp(found.space.prior.log_density(mus))
    assert w.sum() == pytest.approx(1.0, rel=1e-12)

    quadrature = 1e-10  # what the nodes themselves leave
    for function, exact in (
        (lambda q: q[:, 0], middle[0]),
        (lambda q: q[:, 1], middle[1]),
        (lambda q: (q[:, 0] - middle[0]) * (q[:, 1] - middle[1]), cov[0, 1]),
    ):
        a, b = found.expectation(function, mus, w)
        assert a - quadrature <= exact <= b + quadrature
        assert (b - a < 1e-9) == sharp
    a, b = found.log_evidence(mus, w)
    assert a - quadrature <= evidence <= b + quadrature
    assert (b - a < 1e-9) == sharp


@pytest.mark.parametrize("drawn", ["prior", "posterior"])
def test_expectations_of_the_full_model_are_enclosed(drawn: Any) -> None:
    model, reduced = made(3)
    found = rbm.posterior(reduced, data_of(False))
    mus = model.parameters.sample(1000, "random", rng=5)
    if drawn == "posterior":
        share = np.exp(found.log_likelihood(mus)[0])
        mus = mus[np.random.default_rng(1).choice(1000, 1000, p=share / share.sum())]
    outputs = {name: model.outputs[name](mus, model.solve(mus)) for name in ("mean", "at")}
    truth = found.observations.log_likelihood(outputs).value
    w = np.random.default_rng(0).random(1000)
    base = found.log_likelihood(mus)[0] if drawn == "posterior" else 0.0
    full = w * np.exp(truth - base)
    few = 1.0 * (mus[:, 1] < 1)
    for function, h in ((lambda q: q[:, 0] - 20, mus[:, 0] - 20), ("at", outputs["at"]), (few, few)):
        a, b = found.expectation(function, mus, w, drawn=drawn)
        assert a <= np.sum(full * h) / np.sum(full) <= b
        assert b - a < 0.5 * (h.max() - h.min())
    a, b = found.log_evidence(mus, w)
    assert a <= np.log(np.sum(w * np.exp(truth)) / w.sum()) <= b


def test_both_ends_of_an_enclosed_mean_are_attained() -> None:
    """Against all 2^8 corners of the weights, and the sums in fractions of the corners that the formula picks."""
    rng = np.random.default_rng(1)
    for _ in range(30):
        h, logs, width = rng.standard_normal(8), rng.standard_normal(8), rng.random(8)
        corners = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
        weights = np.exp(logs[:, None] + corners * width[:, None])
        means = (weights * h[:, None]).sum(axis=0) / weights.sum(axis=0)
        low, high = enclosed_mean(h, h, logs - width, logs + width, np.ones(8))
        assert low <= means.min()
        assert high >= means.max()
        assert low == pytest.approx(means.min(), rel=1e-13, abs=1e-13)
        assert high == pytest.approx(means.max(), rel=1e-13, abs=1e-13)
        sums = np.log(weights.mean(axis=0))
        low, high = enclosed_sum(logs - width, logs + width, np.ones(8))
        assert low <= sums.min()
        assert sums.max() <= high
        assert high - sums.max() < 1e-13 * 10


def test_means_survive_likelihoods_beyond_the_range_of_numbers() -> None:
    h, w = np.array([1.0, 2.0, 3.0]), np.ones(3)
    logs = np.array([-1e5, -1e5 + 1, -2e5])
    exact = (1 + 2 * np.e) / (1 + np.e)
    assert enclosed_mean(h, h, logs, logs, w) == pytest.approx((exact, exact), rel=1e-10)
    assert enclosed_mean(h, h, np.full(3, -np.inf), np.array([0.0, 0.0, np.inf]), w) == (1.0, 3.0)
    assert enclosed_mean(h, h, np.full(3, -np.inf), np.zeros(3), w) == (1.0, 3.0)
    assert enclosed_mean(h, h, logs, logs, np.array([0.0, 0.0, 1.0])) == (3.0, 3.0)


def test_means_of_small_values_are_not_lost_below_the_range_of_numbers() -> None:
    """L_0 = e^-720 and L_1 = e^-3000 are allowed, so that the mean may be h_0 in full."""
    least, most = np.array([-3000.0, -3000.0]), np.array([-720.0, 0.0])
    for size in (1e-30, 1e-20, 1e-308, 1.0, 1e200):
        h = np.array([size, 0.0])
        low, high = enclosed_mean(h, h, least, most, np.ones(2))
        assert low <= 0.0
        assert high == pytest.approx(size, rel=1e-13, abs=0)
        assert high >= size * (1 - 1e-15)
        low, high = enclosed_mean(-h, -h, least, most, np.ones(2))
        assert low <= -size * (1 - 1e-15)
        assert high >= 0.0


def test_weights_of_any_size_are_taken() -> None:
    """Weights of zero do not count, whatever the likelihood there, and a common factor of all drops out."""
    logs = np.array([0.0, 1000.0, 0.5])
    low, high = enclosed_sum(logs, logs + 0.1, np.array([1.0, 0.0, 1.0]))
    assert (low, high) == pytest.approx((np.log((1 + np.exp(0.5)) / 2), np.log((1 + np.exp(0.5)) / 2) + 0.1), rel=1e-13)
    unknown = np.where(logs > 100, np.inf, logs + 0.1)
    assert enclosed_sum(logs, unknown, np.array([1.0, 0.0, 1.0])) == (low, high)
    h = np.arange(5.0)
    for size in (5e-324, 1e-300, 1.0, 3.0, 1e308):
        w = np.full(5, size)
        low, high = enclosed_mean(h, h, np.zeros(5), np.zeros(5), w)
        assert low <= 2.0 <= high
        assert (low, high) == pytest.approx((2.0, 2.0), rel=1e-13)
        assert enclosed_sum(np.zeros(5), np.ones(5), w) == pytest.approx((0.0, 1.0), rel=0, abs=1e-13)
    large = np.arange(-2.0, 3.0) * 8e307
    low, high = enclosed_mean(large, large, np.zeros(5), np.zeros(5), np.ones(5))
    assert low <= 0.0 <= high < 1e294


def test_a_sampler_sees_the_prior_and_is_kept_inside() -> None:
    model = beam(parameters=rbm.ParameterSpace({"k": scipy.stats.beta(2, 5, 1, 59), "v": (0.0, 2.0)}))
    reduced = rbm.greedy(model, model.parameters.sample(60), max_basis=4).reduced_model
    found = rbm.posterior(reduced, data_of(False))
    mus = np.array([[20.0, 1.0], [0.5, 1.0], [20.0, 2.5], [61.0, 3.0]])
    made_of = found.log_probability(mus)
    value, _ = found.log_likelihood(mus[0])
    exact = value[0] + np.log(scipy.stats.beta(2, 5, 1, 59).pdf(20.0)) - np.log(2.0)
    assert made_of[0] == pytest.approx(exact, rel=1e-14, abs=0)
    assert np.all(np.isneginf(made_of[1:]))
    assert found.log_probability(mus[0]) == made_of[0]
    other = rbm.posterior(reduced, data_of(False), prior={"v": scipy.stats.uniform(0.5, 1.0)})
    assert other.log_probability(mus[0]) == pytest.approx(made_of[0] + np.log(2.0), rel=1e-14)
    assert np.isneginf(other.log_probability([20.0, 0.25]))
    with pytest.raises(rbm.ModelError, match="NaN"):
        found.log_probability([np.nan, 1.0])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([1.0, 2.0], "must be a dictionary"),
        ({}, "nothing is observed"),
        ({"drag": (1.0, 0.1)}, r"does not have; its outputs are 'mean', 'at'"),
        ({"mean": 1.0}, r"pair \(value, sigma\)"),
        ({"mean": (1.0, 0.0)}, "must be positive"),
        ({"mean": (1.0, -1.0)}, "must be positive"),
        ({"mean": (1.0, np.nan)}, "sigma of 'mean' have 1 entries that are NaN"),
        ({"mean": (np.nan, 1.0)}, "data of 'mean' have 1 entries that are NaN"),
        ({"mean": ([1.0, 2.0], [0.1, 0.1, 0.1])}, r"sigma of 'mean' has shape \(3,\), its 2 data"),
        ({"mean": ([[1.0, 2.0]], 0.1)}, r"number or \(m,\), got shape \(1, 2\)"),
        ({"mean": ([], 0.1)}, r"got shape \(0,\)"),
        ({"mean": (1.0 + 1j, 0.1)}, "are complex, and the output is real"),
        ({"mean": ("one", 0.1)}, "must be numbers"),
    ],
)
def test_bad_data_are_one_clear_error(data: Any, said: str) -> None:
    with pytest.raises(rbm.ModelError, match=said):
        rbm.posterior(made(3)[1], data)


def test_real_data_of_a_complex_output_are_refused() -> None:
    reduced = made(3, True)[1]
    with pytest.raises(rbm.ModelError, match="are real, and the output is complex"):
        rbm.posterior(reduced, {"mean": (0.02, 0.01)})
    found = rbm.posterior(reduced, data_of(True))
    with pytest.raises(rbm.ModelError, match="is complex; an interval of its mean needs a real one"):
        found.expectation("mean", reduced.parameters.sample(4))


def test_bad_questions_are_one_clear_error() -> None:
    found = rbm.posterior(made(3)[1], data_of(False))
    mus = found.space.sample(4)
    with pytest.raises(rbm.ParameterError, match=r"k = 61 .* outside"):
        found.log_likelihood([61.0, 1.0])
    with pytest.raises(rbm.ParameterError, match="outside"):
        found.expectation(lambda q: q[:, 0], [[20.0, 3.0]])
    for options, said in (
        ({"function": "drag", "mus": mus}, "does not have"),
        ({"function": lambda q: q, "mus": mus}, "must give 4 values"),
        ({"function": lambda q: 1j * q[:, 0], "mus": mus}, "are complex"),
        ({"function": lambda q: np.log(-q[:, 0]) if False else np.full(4, np.nan), "mus": mus}, "NaN"),
        ({"function": "mean", "mus": mus, "weights": [1, 2]}, r"weights must be real numbers \(4,\)"),
        ({"function": "mean", "mus": mus, "weights": [1, 2, -1, 1]}, "not be negative"),
        ({"function": "mean", "mus": mus, "weights": np.zeros(4)}, "one of them positive"),
        ({"function": "mean", "mus": mus, "drawn": "nowhere"}, "drawn must be"),
    ):
        with pytest.raises(rbm.ModelError, match=said):
            found.expectation(**options)
    with pytest.raises(rbm.ModelError, match="asks a reduced model"):
        rbm.posterior(made(3)[0], data_of(False))  # type: ignore[arg-type]
    with pytest.raises(rbm.ParameterError, match="unbounded"):
        rbm.posterior(made(3)[1], data_of(False), prior={"k": scipy.stats.norm(0, 1)})
    with pytest.raises(rbm.ModelError, match="prior must be a dictionary"):
        rbm.posterior(made(3)[1], data_of(False), prior=[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_interval_of_the_likelihood_is_attained(complex_valued: bool) -> None:
    """Outputs at the ends of their bounds, along the difference from the datum: both ends, and nothing beyond them."""
    rng = np.random.default_rng(4)
    turn = np.exp(1j * rng.random(500)) if complex_valued else np.sign(rng.standard_normal(500))
    y = (0.7 + 0.2j) if complex_valued else 0.7
    seen = Observations(("s",), np.zeros(2, dtype=int), np.array([y, y]), np.array([0.5, 2.0]), 1.25, 0.0)
    away, b = rng.random(500), rng.random(500)
    s = y + away * turn
    found = seen.log_likelihood({"s": s}, {"s": b})
    far = seen.log_likelihood({"s": y + (away + b) * turn}).value
    near = seen.log_likelihood({"s": y + np.maximum(away - b, 0) * turn}).value
    assert np.all(found.low <= far)
    assert np.all(found.high >= near)
    assert found.low == pytest.approx(far, rel=1e-13, abs=1e-13)
    assert found.high == pytest.approx(near, rel=1e-13, abs=1e-13)
    other = seen.log_likelihood({"s": s + b * (np.exp(6.28j * rng.random(500)) if complex_valued else -turn)}).value
    assert np.all((found.low <= other) & (other <= found.high))
    assert np.all(np.abs(other - found.value) <= found.bound)
    assert found.bound == pytest.approx(found.value - found.low, rel=1e-12)


def test_an_end_is_proved_by_the_last_sum_and_not_by_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that stops too low is no bound: the sum says so, and the end goes up until it is one."""
    rng = np.random.default_rng(3)
    values, least = rng.standard_normal(30), rng.uniform(-3, 0, 30)
    most, weights = least + rng.uniform(0, 0.5, 30), np.ones(30)
    exact = enclosed_mean(values, values, least, most, weights)
    found = np.nanmax
    monkeypatch.setattr(np, "nanmax", lambda a: found(a) - 0.1)
    low, high = enclosed_mean(values, values, least, most, weights)
    assert low <= exact[0] + 1e-12
    assert high >= exact[1] - 1e-12
