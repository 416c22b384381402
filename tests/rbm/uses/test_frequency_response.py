"""Certified responses with the neighbourhoods of poles left out, training sets that are refined, and the figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rbm
from problems import frequency_sweep, resonant_wavenumbers
from rbm.uses import away_from_poles, refined_greedy, training_between

SHORT = (2.0, 9.0)


def cavity(damping: float = 0.0, n: int = 300, **options: Any) -> rbm.FullOrderModel:
    return frequency_sweep("cavity", n=n, damping=damping, wavenumbers=SHORT, **options)


def reduced(model: rbm.FullOrderModel, size: int = 20) -> rbm.ReducedModel:
    return rbm.greedy(model, away_from_poles(model, np.linspace(*SHORT, 100)), max_basis=size, tol=1e-6).reduced_model


@pytest.mark.parametrize("size", [6, 9, 20])
def test_every_pole_is_excluded_and_every_certified_interval_is_true(size: int) -> None:
    model = cavity()
    k = np.linspace(*SHORT, 300)
    found = rbm.frequency_response(reduced(model, size), k, "receiver", rtol=0.5)
    poles = np.sqrt(np.maximum(1 / model.stability.eigenvalues - 1, 0))  # type: ignore[attr-defined]
    poles = poles[(poles > 2) & (poles < 9)]
    inside = (poles[:, None] > found.excluded[:, 0]) & (poles[:, None] < found.excluded[:, 1])
    assert np.all(inside.sum(axis=1) == 1)
    assert np.all(found.excluded[1:, 0] >= found.excluded[:-1, 1])
    truth = model.outputs["receiver"](k[:, None], model.solve(k[:, None]))
    low, high = found.intervals.T
    assert np.all((low <= truth) & (truth <= high))
    assert np.all((high - low)[found.certified] <= 1.01 * np.abs(found.values[found.certified]))
    # what is not certified is in an excluded interval
    left = k[~found.certified]
    assert np.all(((left[:, None] >= found.excluded[:, 0]) & (left[:, None] <= found.excluded[:, 1])).any(axis=1))
    assert len(found) == 300
    assert f"{found.certified.sum()} certified" in repr(found)


def test_at_a_pole_there_is_no_bound_and_no_error() -> None:
    model = cavity()
    small = reduced(model)
    pole = rbm.poles(small).values[2]
    k = np.array([pole - 0.1, pole, pole + 0.1])
    found = rbm.frequency_response(small, k, "source")
    if found.certified[1]:  # the double nearest to the pole need not be singular to working precision
        assert found.bounds[1] > 1e3 * found.bounds[0]
    assert found.excluded.tolist() == [[k[0], k[2]]]
    one = rbm.frequency_response(small, [pole - 0.1], "source")
    assert one.poles is None
    assert len(one.excluded) == 0


def test_nothing_is_certified_where_no_bound_is_small_enough() -> None:
    found = rbm.frequency_response(reduced(cavity(), 2), np.linspace(*SHORT, 50), "source", rtol=1e-9)
    assert not found.certified.any()
    assert found.excluded.tolist() == [[2.0, 9.0]]


def test_a_damped_model_has_resonances_and_excludes_none() -> None:
    model = cavity(0.01)
    k = np.linspace(*SHORT, 200)
    found = rbm.frequency_response(reduced(model), k, "receiver")
    assert found.poles is not None
    assert found.poles.damped
    assert len(found.poles) == np.sum(resonant_wavenumbers((1.0, 0.8), 8.9) > 2)
    assert found.certified.all()
    assert len(found.excluded) == 0
    truth = np.abs(model.outputs["receiver"](k[:, None], model.solve(k[:, None])))
    assert np.all((found.intervals[:, 0] <= truth) & (truth <= found.intervals[:, 1]))
    assert np.all(found.intervals[:, 0] >= 0)


def test_a_model_that_is_no_pencil_has_a_response_without_poles() -> None:
    model = frequency_sweep("duct", n=60, damping=0.05, admittance=0.5, wavenumbers=(2.0, 4.0))
    small = rbm.greedy(model, model.parameters.sample(40), tol=1e-3).reduced_model
    found = rbm.frequency_response(small, np.linspace(2, 4, 30), "receiver")
    assert found.poles is None
    assert found.certified.all()
    assert "poles not known" in repr(found)


def test_bad_input_is_one_clear_error() -> None:
    model = cavity()
    small = reduced(model, 4)
    with pytest.raises(rbm.ModelError, match="output must be one of 'source', 'receiver', got 'ear'"):
        rbm.frequency_response(small, [3.0, 4.0], "ear")
    with pytest.raises(rbm.ModelError, match="output must be one of"):
        rbm.frequency_response(small, [3.0, 4.0])
    small_range = rbm.poles(reduced(model), (3.0, 4.5))
    with pytest.raises(rbm.ModelError, match=r"the poles given are those of k in \[3, 4.5\], and the points are k in"):
        rbm.frequency_response(small, [3.0, 5.0], "source", poles=small_range)
    with pytest.raises(rbm.ModelError, match=r"poles must be what .* returned, got ndarray"):
        rbm.frequency_response(small, [3.0, 5.0], "source", poles=small_range.values)  # type: ignore[arg-type]
    given = rbm.frequency_response(small, [3.0, 3.1, 4.2], "source", poles=small_range)
    assert given.poles is small_range
    assert given.excluded.tolist() == [[3.1, 4.2]]
    for bad in (0.0, -1.0, np.nan, True):
        with pytest.raises(rbm.ModelError, match="rtol must be a positive number"):
            rbm.frequency_response(small, [3.0, 4.0], "source", rtol=bad)
    with pytest.raises(rbm.ParameterError):
        rbm.frequency_response(small, [1.0, 4.0], "source")
    with pytest.raises(rbm.ModelError, match="asks a reduced model"):
        rbm.frequency_response(model, [3.0], "source")  # type: ignore[arg-type]
    two = frequency_sweep("duct", n=60, admittance=(0.1, 0.5), damping=0.1, wavenumbers=(2.0, 4.0))
    with pytest.raises(rbm.ModelError, match="one parameter, and the model has 2, k, admittance"):
        rbm.frequency_response(rbm.greedy(two, two.parameters.sample(5), max_basis=2).reduced_model, [3.0], "source")


@pytest.mark.parametrize("damping", [0.0, 1e-4])
def test_a_refined_training_set_meets_the_tolerance_between_its_points(damping: float) -> None:
    """A uniform one of as many points does not: peaks are narrower than its spacing."""
    model = cavity(damping)
    result, mus = refined_greedy(model, np.linspace(*SHORT, 9), tol := 1e-3, relative=True)
    assert result.stopped == "tolerance"
    near = np.array(rbm.poles(result.reduced_model, damped=damping > 0).values)[:, None]
    test = np.concatenate([np.linspace(*SHORT, 5000), (near + np.array([-1e-3, 1e-4, 2e-5, 1e-3])).ravel()])
    test = away_from_poles(model, test)

    def largest(small: rbm.ReducedModel) -> float:
        answers = small.solve(test)
        return float(np.max(answers.bound / np.linalg.norm(answers.coefficients, axis=1)))

    uniform = rbm.greedy(model, away_from_poles(model, np.linspace(*SHORT, 9)), tol=tol, relative=True)
    assert largest(result.reduced_model) < 5 * tol
    assert largest(uniform.reduced_model) > 50 * tol
    assert len(mus) < 60
    np.testing.assert_array_equal(training_between(result.reduced_model, mus, tol, relative=True), mus)


def test_poles_that_nothing_excites_are_excluded_too() -> None:
    model = frequency_sweep("duct", n=300, damping=0.0, wavenumbers=(2.0, 6.0), size=(2.0, 0.9))
    training = away_from_poles(model, np.linspace(2, 6, 100))
    small = rbm.greedy(model, training, max_basis=12, tol=1e-6).reduced_model
    found = rbm.frequency_response(small, np.linspace(2, 6, 200), "receiver")
    assert found.poles is not None
    assert found.poles.missing is not None
    exact = resonant_wavenumbers((2.0, 0.9), 5.87)
    assert len(found.poles.missing) == np.sum(exact > 2) - np.sum(np.arange(4) * np.pi / 2 > 2)
    for a, b in (*found.poles.missing, *found.poles.intervals):
        assert np.sum((found.excluded[:, 0] < a) & (found.excluded[:, 1] > b)) == 1


def test_narrow_peaks_are_looked_for_at_the_resonances() -> None:
    model = cavity(1e-6)
    small = reduced(model, 8)
    grown = training_between(small, mus := np.linspace(*SHORT, 12), 1e-3)[:, 0]
    new = np.setdiff1d(grown, mus)
    at = rbm.poles(small, damped=True).values
    gaps = np.unique(np.searchsorted(mus, at))
    for point in new[np.isin(np.searchsorted(mus, new), gaps)]:
        assert np.min(np.abs(at - point)) < 5e-3


def test_points_are_added_between_those_that_are_there() -> None:
    small = reduced(cavity(), 4)
    mus = np.linspace(*SHORT, 12)
    grown = training_between(small, mus, 1e-3)[:, 0]
    assert set(mus) <= set(grown)
    assert 12 < len(grown) <= 12 + 11
    assert np.array_equal(training_between(small, mus, 1e9)[:, 0], mus)
    beta = np.asarray(small.stability(away_from_poles(small, grown), small.operator_coefficients(grown[:, None])))
    assert np.all(beta > 0)
    with pytest.raises(rbm.ParameterError, match="two training points or more, got 1"):
        training_between(small, [3.0], 1.0)
    with pytest.raises(rbm.ModelError, match="resumes by itself"):
        refined_greedy(cavity(), mus, 1e-3, resume=None)
    with pytest.raises(rbm.ModelError, match="rounds must be at least 1"):
        refined_greedy(cavity(), mus, 1e-3, rounds=0)
    with pytest.raises(rbm.ModelError, match="needs the full-order model"):
        refined_greedy(small, mus, 1e-3)  # type: ignore[arg-type]


def test_points_on_a_pole_are_left_out() -> None:
    model = rbm.FullOrderModel(
        [(1.0, np.diag([1.0, 4.0])), ("-w**2", np.eye(2))], [(1.0, np.ones(2))], np.diag([2.0, 5.0]), {"w": (0.5, 3.0)},
        rbm.stability.Pencil(), projection="least-squares",
    )  # fmt: skip
    assert away_from_poles(model, [0.6, 1.0, 1.5, 2.0, 2.5]).ravel().tolist() == [0.6, 1.5, 2.5]


def test_the_figure_shows_poles_bands_and_what_is_excluded(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = cavity()
    k = np.linspace(*SHORT, 200)
    found = rbm.frequency_response(reduced(model, 6), k, "receiver", rtol=0.5)
    ax = rbm.plots.frequency_response(found, truth=(k[::20], np.ones(10)))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"excluded", "certified interval", "reduced model", "full model"} <= set(texts)
    assert ax.get_ylabel() == "|receiver|"
    curve = next(line for line in ax.lines if line.get_label() == "reduced model")
    x, y = curve.get_data()
    for a, b in found.excluded:
        assert np.isnan(y[(x > a) & (x < b)]).all()
    assert np.isnan(y).sum() >= len(found.excluded)
    rbm.plots.save(ax, tmp_path / "response")
    damped = replace(found, poles=None, excluded=np.zeros((0, 2)), certified=np.ones(200, dtype=bool))
    rbm.plots.frequency_response(damped)
