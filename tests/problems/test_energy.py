"""The optical theorem on a mesh.

Its defect is measured once per model, estimated for each answer, and warned of where it matters.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from helpers.scattering_models import scattering, wavenumber_model

import rbm
from problems.acoustics.energy import EnergyBalance, radiated_power, warn_of_defect
from problems.acoustics.surface_fields import sphere_rule

K = 2.0


def test_scattering_from_the_far_field_is_the_integral_over_all_directions() -> None:
    for model, count in ((scattering(), 12), (wavenumber_model(), 8)):
        mus = model.parameters.sample(4, "random", rng=3)
        u = model.solve(mus)
        directions, weights = sphere_rule(count)
        expected = np.abs(model.far_field(mus, u, directions)) ** 2 @ weights
        np.testing.assert_allclose(model.scattering_cross_section(mus, u), expected, rtol=1e-9)
        assert np.all(expected > 0)


def test_the_rule_for_the_far_field_is_fine_enough_for_any_size() -> None:
    """A monopole on the surface of a small sphere, and many wavelengths on the same mesh: against a finer rule."""
    mesh = scattering().mesh
    rng = np.random.default_rng(0)
    pressures = rng.standard_normal((2, 66)) + 1j * rng.standard_normal((2, 66))
    betas = np.full((2, 2), 0.5 + 0.2j)
    from problems.acoustics.surface_fields import far_field

    for k in (1e-4, 0.5, 4.0, 12.0):
        directions, weights = sphere_rule(50)
        exact = np.abs(far_field(mesh, k, directions, pressures, betas)) ** 2 @ weights
        np.testing.assert_allclose(radiated_power(mesh, k, pressures, betas)[:, 0], exact, rtol=1e-8)


def test_the_balance_is_measured_at_the_ends_and_the_middle_once() -> None:
    model = scattering(complex_valued=True)
    balance = model.energy_balance
    assert balance is model.energy_balance
    np.testing.assert_array_equal(balance.mus, [[0, -1, 0, -1], [1, 0, 1, 0], [2, 1, 2, 1]])
    u = model.solve(balance.mus)
    np.testing.assert_allclose(
        balance.extinction, 2 * np.pi * model.outputs["forward"](balance.mus, u).imag, rtol=1e-12
    )
    np.testing.assert_allclose(balance.absorption, model.outputs["absorption"](balance.mus, u), rtol=1e-12)
    defect = np.abs(balance.extinction - balance.absorption - model.scattering_cross_section(balance.mus, u))
    np.testing.assert_allclose(balance.defect, defect, atol=1e-13)
    assert 1e-5 < balance.share < 1e-2
    assert "optical theorem off by up to" in repr(balance)
    assert wavenumber_model().energy_balance.share < 1e-2


def test_the_estimate_at_other_points_is_about_the_defect_there() -> None:
    model = scattering()
    result = rbm.greedy(model, model.parameters.sample(60), tol=1e-8, relative=True, progress=False)
    mus = model.parameters.sample(20, "random", rng=4)
    solution = result.reduced_model.solve(mus)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        sections = model.cross_sections(solution)
    scattered = model.scattering_cross_section(mus, result.reduced_model.reconstruct(solution.coefficients))
    defect = np.abs(sections["scattering"][0] - scattered)
    assert np.all(defect < 2 * model.energy_defect(solution))
    assert np.all(sections["scattering"][1] < 1e-2 * defect.max())  # the bounds alone do not tell


def fake(extinction: float, defect: float, parameters: int = 1) -> EnergyBalance:
    one = np.ones(1)
    return EnergyBalance(np.zeros((1, parameters)), extinction * one, 0 * one, (extinction - defect) * one, one)


def test_only_a_defect_above_a_hundredth_is_warned_of() -> None:
    def describe(mu: np.ndarray) -> str:
        return f"beta = {mu[0]:g}"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_defect(fake(1.0, 1e-3), np.array([1e-3, 0.0]), np.array([0.2, 0.0]), describe)
    with pytest.warns(
        UserWarning,
        match=r"of 1 of 3 points are off by about 0\.5 of the extinction .*"
        r"row 1: -0\.02, off by about 0\.01.*at beta = 0",
    ):
        warn_of_defect(fake(1.0, 1e-2), np.array([1e-2, 1e-2, np.nan]), np.array([5.0, -0.02, np.nan]), describe)


def test_cross_sections_warn_where_waves_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rigid sphere at ka = 0.01.

    Its extinction is all error of the mesh. Here with the balance of that case, as measured.
    """
    model = scattering()
    reduced = rbm.project(model, np.linalg.qr(model.solve([[0.0, 0.0], [1.0, 1.0]]).T)[0])
    solution = reduced.solve([[0.0, 0.0], [1.0, 1.0]])
    monkeypatch.setitem(model.__dict__, "energy_balance", fake(5.8e-7, 5.6e-7, 2))
    monkeypatch.setitem(solution.outputs, "forward", np.array([1e-6j, 1.0 + 1e-9j]))
    with pytest.warns(
        UserWarning, match=r"does not hold well on this mesh: extinction and scattering of 1 of 2 points"
    ):
        model.cross_sections(solution)
    with pytest.raises(rbm.ModelError, match="energy_balance has it at three parameter points"):
        wavenumber_model().energy_defect(solution)
