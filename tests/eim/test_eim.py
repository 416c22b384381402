"""Empirical interpolation.

Exact at its points, triangular to eps, never the same point twice, and it knows when to stop.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from helpers.other_arrays import xp

from eim import EmpiricalInterpolation, empirical_interpolation
from lowrank.arrays import to_numpy

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
FORMS = {
    "incremental": {},
    "stabilised from scratch": {"stabilized": True, "incremental": False},
    "textbook": {"stabilized": False},
}
STABLE = ["incremental", "stabilised from scratch"]


def grid(nx: int, ny: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.linspace(0, 1, nx), np.linspace(0, 1, ny), indexing="ij"), axis=-1).reshape(-1, 2)


def inverse_distance(x: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """g(x; mu) = 1 / |x - mu| at points x (n, 2) for mu (k, 2) in [-1, -0.2]^2.

    It is the family of Grepl and others, 2007.
    """
    return 1 / np.linalg.norm(x[:, None] - mu[None], axis=2)


def training(k: int) -> np.ndarray:
    return -1 + 0.8 * grid(k, k)


@cache
def family(dtype: type) -> np.ndarray:
    g = inverse_distance(grid(15, 12), training(11))
    return (g * np.exp(5j * g) if np.dtype(dtype).kind == "c" else g).astype(dtype)


@cache
def saturated(dtype: type, form: str) -> EmpiricalInterpolation:
    return empirical_interpolation(family(dtype), **FORMS[form])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_form_interpolates_at_its_points_and_reproduces_the_training_set_to_round_off(dtype, form):
    g, interpolation = family(dtype), saturated(dtype, form)
    unit = np.finfo(dtype).eps * abs(g).max()
    interpolant = interpolation.interpolate(g[interpolation.points])
    assert interpolant.dtype == dtype
    assert abs(interpolant - g)[interpolation.points].max() <= 15 * unit
    assert abs(interpolant - g).max() <= 30 * unit


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_form_picks_a_point_or_a_snapshot_twice_and_all_stop_at_saturation(dtype, form):
    interpolation = saturated(dtype, form)
    assert len(set(interpolation.points)) == len(set(interpolation.snapshots)) == interpolation.rank
    assert interpolation.stopped == "round-off"
    assert interpolation.rank < min(family(dtype).shape)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_family_of_full_rank_is_exhausted_and_rounding_errors_of_computed_entries_are_left(dtype, form):
    noise = np.random.default_rng(0).standard_normal((80, 60)).astype(dtype)
    interpolation = empirical_interpolation(noise, **FORMS[form])
    assert (interpolation.rank, interpolation.stopped) == (60, "round-off")
    x, y = np.linspace(0, 1, 120), 60 * np.linspace(0, 1, 100)
    real = np.finfo(dtype).dtype
    phase = np.outer(x.astype(real), y.astype(real))
    waves = np.exp(1j * phase) if np.dtype(dtype).kind == "c" else np.cos(phase)
    interpolation = empirical_interpolation(waves, **FORMS[form])
    assert interpolation.stopped == "round-off"
    assert interpolation.rank <= 45


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_incremental_form_is_unit_lower_triangular_to_the_last_bit(dtype):
    triangle = saturated(dtype, "incremental").triangle
    assert np.array_equal(np.triu(triangle), np.eye(len(triangle)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_stabilised_form_is_unit_lower_triangular_to_eps(dtype):
    triangle = saturated(dtype, "stabilised from scratch").triangle
    assert abs(np.triu(triangle) - np.eye(len(triangle))).max() <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_textbook_form_loses_triangularity(dtype):
    assert abs(np.triu(saturated(dtype, "textbook").triangle, 1)).max() > 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_three_forms_agree_while_round_off_is_far_away(dtype):
    eps, g = np.finfo(dtype).eps, family(dtype)
    first, *others = (empirical_interpolation(g, rtol=1e4 * eps, rank=15, **form) for form in FORMS.values())
    for other in others:
        assert np.array_equal(first.points, other.points)
        assert np.array_equal(first.snapshots, other.snapshots)
        assert first.stopped == other.stopped
        # entries of a basis function are relative to its pivot, round-off is relative to the largest snapshot
        unit = eps * abs(g).max() / abs(first.pivots).min()
        assert abs(first.basis - other.basis).max() <= 20 * unit
        assert abs(first.expansion - other.expansion).max() <= 20 * eps * abs(g).max() * first.rank


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_lu_with_complete_pivoting(dtype):
    eps, rng = np.finfo(dtype).eps, np.random.default_rng(0)
    g = (rng.standard_normal((20, 12)) + (1j * rng.random((20, 12)) if np.dtype(dtype).kind == "c" else 0)).astype(
        dtype
    )
    interpolation = empirical_interpolation(g)
    rows = np.concatenate([interpolation.points, np.setdiff1d(np.arange(20), interpolation.points)])
    permuted = g[rows][:, interpolation.snapshots].astype(np.complex128)
    assert abs(interpolation.basis[rows] @ interpolation.expansion - permuted).max() <= 10 * eps * abs(g).max()
    for k in range(12):  # each pivot is the largest entry of the Schur complement that is left
        leading, row, column = permuted[:k, :k], permuted[:k, k:], permuted[k:, :k]
        schur = permuted[k:, k:] - column @ np.linalg.solve(leading, row)
        assert abs(schur[0, 0]) >= abs(schur).max() * (1 - 50 * eps)
        assert abs(interpolation.pivots[k] - schur[0, 0]) <= 50 * eps * abs(g).max()
        assert abs(interpolation.expansion[k, k] - schur[0, 0]) <= 50 * eps * abs(g).max()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_coefficients_are_weights_of_the_selected_snapshots(dtype, form):
    eps, g, rtol = np.finfo(dtype).eps, family(dtype), 1e-3
    interpolation = empirical_interpolation(g, rtol=rtol, **FORMS[form])
    assert interpolation.stopped == "tolerance"
    values = g[interpolation.points]
    weights = interpolation.coefficients(values)
    assert abs(weights[:, interpolation.snapshots] - np.eye(interpolation.rank)).max() <= 30 * eps / rtol
    combined = g[:, interpolation.snapshots] @ weights
    size = abs(g).max() * abs(weights).sum(axis=0)
    assert np.all(abs(combined - interpolation.interpolate(values)) <= 10 * eps * np.maximum(size, abs(g).max()))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_lebesgue_constant_is_that_of_the_cardinal_functions(dtype, form):
    interpolation = empirical_interpolation(family(dtype), rank=20, **FORMS[form])
    q = interpolation.basis.astype(np.complex128)
    explicit = abs(q @ np.linalg.inv(np.tril(q[interpolation.points]))).sum(axis=1).max()
    assert interpolation.lebesgue_constant == pytest.approx(explicit, rel=float(100 * np.finfo(dtype).eps), abs=0)


@pytest.mark.parametrize("form", STABLE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_error_is_at_most_one_plus_lebesgue_times_that_of_any_other_approximation(dtype, form):
    wide = np.complex128 if np.dtype(dtype).kind == "c" else np.float64
    interpolation = empirical_interpolation(family(dtype), rtol=1e-4, **FORMS[form])
    x, mu = grid(15, 12), np.random.default_rng(0).uniform(-1, -0.2, (30, 2))
    unseen = inverse_distance(x, mu)
    unseen = (unseen * np.exp(5j * unseen) if np.dtype(dtype).kind == "c" else unseen).astype(dtype)
    q = interpolation.basis.astype(wide)
    fitted = q @ np.linalg.lstsq(q, unseen.astype(wide), rcond=None)[0]
    best = abs(unseen - fitted).max(axis=0)
    error = abs(unseen - interpolation.interpolate(unseen[interpolation.points])).max(axis=0)
    floor = 10 * np.finfo(dtype).eps * abs(unseen).max()
    assert np.all(error <= (1 + interpolation.lebesgue_constant) * (best + floor))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_truncation_is_the_selection_stopped_earlier(dtype, form):
    shorter = empirical_interpolation(family(dtype), rank=6, **FORMS[form])
    truncated = empirical_interpolation(family(dtype), rank=11, **FORMS[form]).truncate(6)
    assert truncated.stopped == shorter.stopped == "rank"
    for name in ("basis", "points", "snapshots", "triangle", "pivots", "residual_history"):
        assert np.array_equal(getattr(truncated, name), getattr(shorter, name)), name
    unit = (
        np.finfo(dtype).eps * abs(family(dtype)).max()
    )  # the last bits of a blocked triangular solve depend on its size
    assert abs(truncated.expansion - shorter.expansion).max() <= 4 * unit


@pytest.mark.parametrize("form", FORMS)
def test_residual_history_says_how_good_each_rank_is_and_stops_at_the_tolerance(form):
    g, rtol = family(np.float64), 1e-5
    interpolation = empirical_interpolation(g, rtol=rtol, **FORMS[form])
    history = interpolation.residual_history
    assert history[-1] <= rtol * abs(g).max() < history[-2]
    for k in range(interpolation.rank + 1):
        part = interpolation.truncate(k)
        error = abs(g - part.interpolate(g[part.points])).max()
        assert error == pytest.approx(history[k], abs=20 * np.finfo(float).eps * abs(g).max())
    assert repr(interpolation) == (
        f"EmpiricalInterpolation({interpolation.rank} points, largest residual {history[-1]:.1e}, stopped by tolerance)"
    )


def test_on_the_published_family_the_error_at_unseen_parameters_is_no_worse_than_that_of_pymor():
    # pyMOR 2026.1.1, largest error over these 200 unseen mu, published to two digits: half a unit of the last is
    # allowed. At 100 points rounding decides the last points and moves the error by some 20 % (6.4e-13 and 7.1e-13 seen
    # here).
    published = {20: 7.85e-6, 40: 8.15e-9, 60: 1.95e-10, 80: 1.65e-11, 100: 1.2 * 7.3e-13}
    x = grid(50, 40)
    unseen = inverse_distance(x, np.random.default_rng(0).uniform(-1, -0.2, (200, 2)))
    interpolation = empirical_interpolation(inverse_distance(x, training(20)))
    for size, error in published.items():
        part = interpolation.truncate(size)
        assert abs(unseen - part.interpolate(unseen[part.points])).max() <= error, size


def test_on_the_published_family_it_stops_at_saturation_at_the_level_that_fitting_noise_ends_at():
    # pyMOR goes on to 150 points and 5.0e-13; the points beyond ours fit rounding errors of the snapshots, and the
    # error at unseen mu wanders between 4e-13 and 7e-13 on either side: the same snapshots by two formulas give 5.4e-13
    # and 5.9e-13
    x = grid(50, 40)
    unseen = inverse_distance(x, np.random.default_rng(0).uniform(-1, -0.2, (200, 2)))
    interpolation = empirical_interpolation(inverse_distance(x, training(20)))
    assert interpolation.stopped == "round-off"
    assert interpolation.rank <= 110
    assert abs(unseen - interpolation.interpolate(unseen[interpolation.points])).max() <= 1.5 * 5.0e-13


@pytest.mark.parametrize("form", FORMS)
def test_zero_empty_one_by_one_and_rank_deficient_families_are_ordinary(form):
    for shape in ((3, 2), (3, 0), (0, 2)):
        interpolation = empirical_interpolation(np.zeros(shape), **FORMS[form])
        assert (interpolation.rank, interpolation.stopped, interpolation.lebesgue_constant) == (0, "round-off", 0.0)
        assert np.array_equal(interpolation.interpolate(np.zeros((0, 4))), np.zeros((shape[0], 4)))
    one = empirical_interpolation(np.array([[2j]]), **FORMS[form])
    assert one.interpolate(np.array([[5j]])) == 5j
    assert empirical_interpolation(np.outer([1.0, 3, 2], [1, 4]), **FORMS[form]).rank == 1
    assert empirical_interpolation(family(np.float64), rank=0, **FORMS[form]).stopped == "rank"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"snapshots": np.ones(3)}, r"snapshots must be a matrix of shape \(n, m\), got an array of shape \(3,\)"),
        ({"snapshots": np.array([[1, np.inf]])}, r"snapshots has 1 entries .* the first at index \(0, 1\)"),
        ({"snapshots": np.eye(2), "rtol": -2.5}, "rtol must be a number >= 0, got -2.5"),
        ({"snapshots": np.eye(2), "rtol": np.nan}, "rtol must be a number >= 0, got nan"),
        ({"snapshots": np.eye(2), "rank": -1}, "rank must be an integer >= 0, got -1"),
    ],
)
def test_bad_input_is_named(form, arguments, message):
    with pytest.raises(ValueError, match=message):
        empirical_interpolation(**arguments, **FORMS[form])


def test_values_must_fit_the_points():
    interpolation = empirical_interpolation(np.eye(3))
    for method in (interpolation.interpolate, interpolation.coefficients):
        with pytest.raises(ValueError, match=r"values must have shape \(3, M\), one row per point, got \(2, 4\)"):
            method(np.ones((2, 4)))
        with pytest.raises(ValueError, match="values has 1 entries that are NaN"):
            method(np.array([[1.0], [np.nan], [0.0]]))
    with pytest.raises(ValueError, match="cannot truncate 3 points to 4"):
        interpolation.truncate(4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_another_module_stay_in_it(dtype, form):
    g = family(dtype)
    other, expected = (empirical_interpolation(a, rank=9, **FORMS[form]) for a in (xp.asarray(g), g))
    values = xp.asarray(g[expected.points])
    results = (other.basis, other.triangle, other.expansion, other.interpolate(values), other.coefficients(values))
    assert {type(a) for a in results} == {type(values)}
    assert {a.dtype for a in results} == {values.dtype}
    assert np.array_equal(other.points, expected.points)
    unit = np.finfo(dtype).eps * abs(g).max()
    assert abs(to_numpy(results[3]) - expected.interpolate(g[expected.points])).max() <= 30 * unit
    assert other.lebesgue_constant == pytest.approx(
        expected.lebesgue_constant, rel=float(1000 * np.finfo(dtype).eps), abs=0
    )


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("exponent", [1019, 700, -700, -940])
@pytest.mark.parametrize("options", [{}, {"incremental": False}, {"stabilized": False}])
def test_snapshots_of_any_size_have_the_same_points(dtype, exponent, options):
    x, mu = np.linspace(0, 1, 60), np.linspace(1, 5, 25)
    g = (np.exp(1j * np.outer(x, mu)) if np.dtype(dtype).kind == "c" else np.cos(np.outer(x, mu))) / 2
    plain, unit = empirical_interpolation(g, rank=6, **options), 2.0**exponent
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = empirical_interpolation(g * unit, rank=6, **options)
    assert np.array_equal(found.points, plain.points)
    assert np.array_equal(found.snapshots, plain.snapshots)
    assert np.array_equal(found.basis, plain.basis)
    assert np.allclose(found.pivots, plain.pivots * unit, rtol=1e-12, atol=0)
    assert np.allclose(found.residual_history, plain.residual_history * unit, rtol=1e-10, atol=0)
    values = g[:, 7:9] * unit
    assert np.allclose(found.interpolate(values[found.points]) / unit, plain.interpolate(g[:, 7:9][plain.points]))
    assert np.allclose(found.coefficients(values[found.points]), plain.coefficients(g[:, 7:9][plain.points]))


def test_overflow_is_named():
    x = np.linspace(0, 1, 40)
    with pytest.raises(ValueError, match="residuals of the snapshots overflow; scale the snapshots"):
        empirical_interpolation(1.75e308 * np.cos(5 * np.outer(x, x) + 1))
    found = empirical_interpolation(np.cos(5 * np.outer(x, x) + 1), rank=4)
    with pytest.raises(ValueError, match="the interpolant overflows; scale the values"):
        found.interpolate(1.7e308 * np.array([[1.0], [-1], [1], [-1]]))
