"""Sound in a duct and in a cavity: closed forms of resonances, constants and pressure, and certified sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rbm
from problems import duct_pressure, frequency_sweep, frequency_sweep_grid, resonant_wavenumbers
from problems.frequency_sweep import DOMAINS


def of_elements(nodes: np.ndarray) -> np.ndarray:
    """The eigenvalues of linear elements with free ends, whose eigenvectors are the cosines: the closed form."""
    cells, h = len(nodes) - 1, nodes[1]
    c = np.cos(np.pi * np.arange(cells + 1) / cells)
    return 6 / h**2 * (1 - c) / (2 + c)


def eigenvalues(domain: Any, n: int) -> np.ndarray:
    """All eigenvalues of K v = lambda M v."""
    x, y = frequency_sweep_grid(domain, n)
    return np.add.outer(of_elements(x), of_elements(y)).ravel()


def constants(values: np.ndarray, k: np.ndarray, damping: float) -> np.ndarray:
    """Return min_j |lambda_j - k^2 (1 + i damping)| / (lambda_j + 1)."""
    return np.array([(np.abs(values - x**2 * (1 + 1j * damping)) / (values + 1)).min() for x in k])


@pytest.mark.parametrize("domain", ["duct", "cavity"])
@pytest.mark.parametrize("damping", [0.01, 0.0])
def test_the_bound_is_the_constant_over_all_resonances(domain: Any, damping: float) -> None:
    model = frequency_sweep(domain, n=3000, damping=damping)
    k = np.linspace(2, 20, 4000)[:, None]
    beta = model.stability.constant(model.operator_coefficients(k))
    values = eigenvalues(domain, 3000)
    outer = np.sort(1 / (values + 1))[-len(model.stability.eigenvalues) - 1 :]
    assert np.all(np.abs(outer[1:] - np.sort(model.stability.eigenvalues)) <= model.stability.radii.max() + 1e-11)
    assert outer[0] < model.stability.rest[1] < outer[1], "all others are beyond the cut"
    truth = constants(values, k[:, 0], damping)
    assert np.all(beta <= truth * (1 + 1e-9) + 1e-12)  # double precision on both sides
    assert np.all(beta >= truth - 1e-10)


@pytest.mark.slow
def test_the_bound_is_the_constant_at_a_hundred_thousand_unknowns() -> None:
    model = frequency_sweep("duct", n=100_000, wavenumbers=(2.0, 22.3))
    assert model.dimension > 100_000
    k = np.linspace(2, 22.3, 1000)[:, None]
    beta = model.stability.constant(model.operator_coefficients(k))
    values = eigenvalues("duct", 100_000)
    values = values[values < 2000]  # the others are far from all k^2
    truth = constants(values, k[:, 0], 0.01)
    assert np.all((beta <= truth * (1 + 1e-8)) & (beta >= truth - 1e-9))


def test_eigenvalues_converge_to_those_of_the_rectangle() -> None:
    size = DOMAINS["cavity"].size
    exact = resonant_wavenumbers(size, 20.0)
    assert exact[:3] == pytest.approx([0, np.pi, np.pi / 0.8])
    assert len(exact) == np.sum(np.pi * np.hypot.outer(np.arange(20), np.arange(20) / 0.8) <= 20)
    shares = []
    for n in (800, 3200):
        model = frequency_sweep("cavity", n=n, wavenumbers=(2.0, 20.0))
        t = np.sort(model.stability.eigenvalues)[::-1]
        found = np.sqrt(np.maximum(1 / t - 1, 0))[1 : len(exact)]
        share = found / exact[1:] - 1
        assert np.all(share > 0)
        assert np.all(share <= (found / np.sqrt(n / 0.8)) ** 2 / 24 * 1.2)
        shares.append(share.max())
    assert 3.5 < shares[0] / shares[1] < 4.5


@pytest.mark.parametrize(("damping", "admittance"), [(0.02, 0.0), (0.01, 0.7), (0.01, 1.0)])
def test_the_duct_converges_to_its_closed_form(damping: float, admittance: float) -> None:
    off = []
    for n in (400, 1600):
        model = frequency_sweep("duct", n=n, damping=damping, admittance=admittance, wavenumbers=(1.0, 6.0))
        k = np.linspace(1.0, 6.0, 7)[:, None]
        p = model.solve(k)
        x, y = frequency_sweep_grid("duct", n)
        along = p.reshape(len(k), len(y), len(x))
        assert np.abs(np.diff(along, axis=1)).max() < 1e-10  # a plane wave
        exact = duct_pressure(x, k, damping, admittance)
        off.append(np.abs(along[:, 0] - exact).max() / x[1] ** 2)
        ends = [(p @ model.outputs[name].terms[0]) for name in ("source", "receiver")]
        np.testing.assert_allclose(ends, [along[:, 0, 0], along[:, 0, -1]], rtol=1e-10)
    assert 0.8 < off[0] / off[1] < 1.25, f"not of second order: errors over h^2 are {off}"


def test_the_closed_form_satisfies_its_equations() -> None:
    k, damping, admittance, length, h = 3.0, 0.05, 0.4, 2.0, 1e-4

    def p(x: float) -> complex:
        return complex(duct_pressure(x, k, damping, admittance, length))

    assert (p(0) - p(h)) / h == pytest.approx(1, abs=1e-3)
    assert (p(length) - p(length - h)) / h == pytest.approx(1j * k * admittance * p(length), abs=1e-3)
    inside = (p(1 + h) - 2 * p(1) + p(1 - h)) / h**2
    assert inside == pytest.approx(-(k**2) * (1 + 1j * damping) * p(1), abs=1e-5)
    # an admittance of one lets a plane wave out: no reflection
    assert duct_pressure(0.7, k, 0.0, 1.0) == pytest.approx(1j / k * np.exp(0.7j * k))


@pytest.mark.parametrize("domain", ["duct", "cavity"])
def test_the_closed_bound_with_admittance_is_below_the_constant(domain: Any) -> None:
    model = frequency_sweep(domain, n=150, damping=0.05, admittance=(0.0, 2.0), wavenumbers=(2.0, 9.0))
    mus = model.parameters.sample(60, "random")
    mus[:30, 1] = 0.0
    mus[0, 0] = np.sqrt(np.pi**2 / DOMAINS[domain].size[1] ** 2 * 1.003)
    truth = rbm.stability.inf_sup(model, mus)
    beta = model.stability(mus, model.operator_coefficients(mus))
    assert np.all(beta <= truth)
    assert (beta / truth).max() > 0.9, "reached at resonances of hard walls"
    assert "the stability bound is positive" in repr(model.verify())


def test_without_damping_an_admittance_is_left_to_natural_norms() -> None:
    model = frequency_sweep("duct", n=100, damping=0.0, admittance=(0.5, 1.5), wavenumbers=(2.0, 3.0))
    assert isinstance(model.stability, rbm.stability.BoundNaturalNorm)
    mus = model.parameters.sample(30, "random", rng=2)
    truth = rbm.stability.inf_sup(model, mus)
    beta = model.stability(mus, model.operator_coefficients(mus))
    assert np.all((beta > 0.2 * truth) & (beta <= truth))


@pytest.mark.parametrize("admittance", [0.0, (0.1, 1.0)])
def test_a_sweep_is_certified(admittance: Any) -> None:
    model = frequency_sweep("cavity", n=800, admittance=admittance, wavenumbers=(2.0, 9.0))
    assert "the stability bound is positive" in repr(model.verify())
    result = rbm.greedy(model, model.parameters.sample(300), tol=1e-4, relative=True, max_basis=40, progress=False)
    assert result.stopped == "tolerance"
    mus = model.parameters.sample(40, "random", rng=1)
    answer, truth = result.reduced_model.solve(mus), model.solve(mus)
    assert np.all(model.error_norm(mus, answer.coefficients, result.basis) <= answer.bound)
    for name, output in model.outputs.items():
        assert np.all(np.abs(truth @ output.terms[0] - answer.outputs[name]) <= answer.output_bounds[name])


def test_an_undamped_resonance_is_named() -> None:
    model = frequency_sweep("duct", n=300, damping=0.0)
    mu = np.sqrt(1 / np.sort(model.stability.eigenvalues)[-4:-3, None] - 1)
    with pytest.raises(rbm.StabilityError, match=r"zero to working precision at k = .*: a resonance"):
        model.stability(mu, model.operator_coefficients(mu))


def test_the_number_of_unknowns_is_about_what_was_asked_for() -> None:
    for domain in ("duct", "cavity"):
        for n in (1000, 4000):
            model = frequency_sweep(domain, n=n, stability=1e-3)  # type: ignore[arg-type]
            assert abs(model.dimension / n - 1) < 0.05


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"domain": "room"}, "domain must be one of 'duct', 'cavity', got 'room'"),
        ({"n": 3}, "n must be at least 4, got 3"),
        ({"damping": -0.1}, r"damping must be a number of at least 0, got -0\.1"),
        ({"damping": float("nan")}, "damping must be a number of at least 0, got nan"),
        ({"admittance": -1.0}, r"admittance must be a number of at least 0, got -1\.0"),
        ({"admittance": (0.0, "1")}, "admittance must be a number of at least 0, got '1'"),
        ({"wavenumbers": (0.0, 5.0)}, r"wavenumbers must be positive, got \(0\.0, 5\.0\)"),
        ({"wavenumbers": 5.0}, r"wavenumbers must be a pair of numbers, got 5\.0"),
        ({"size": (1.0, 0.0)}, r"size must be positive, got \(1\.0, 0\.0\)"),
    ],
)
def test_bad_input_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        frequency_sweep(**given)
