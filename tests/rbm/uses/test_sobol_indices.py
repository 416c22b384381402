"""Sobol indices: SALib's, with intervals that hold those of the full model at the same points."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import scipy.stats
from helpers.exact_likelihood import beam

import rbm
from rbm.uses.sobol_indices import interval_of_indices


def reduced_beam(size: int, **options: Any) -> tuple[rbm.FullOrderModel, rbm.ReducedModel]:
    model = beam(**options)
    return model, rbm.greedy(model, model.parameters.sample(60), max_basis=size).reduced_model


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_indices_of_the_full_model_are_in_the_intervals(size: int) -> None:
    points = pytest.importorskip("SALib.sample.sobol")
    analysis = pytest.importorskip("SALib.analyze.sobol")
    space = rbm.ParameterSpace({"k": scipy.stats.beta(2, 5, 1, 59), "v": (0.0, 2.0)})
    model, reduced = reduced_beam(size, parameters=space)
    problem = {"num_vars": 2, "names": ["k", "v"], "bounds": [[0, 1]] * 2}
    mus = space.prior.points(points.sample(problem, 128, calc_second_order=False, seed=5))
    u = model.solve(mus)
    for name in model.outputs:
        found = rbm.sobol_indices(reduced, name, 128, rng=5)
        full = analysis.analyze(problem, model.outputs[name](mus, u), calc_second_order=False, seed=1)
        assert found.evaluations == len(mus) == 512
        for key, (low, high) in (("S1", found.first_interval.T), ("ST", found.total_interval.T)):
            assert np.all((full[key] >= low) & (full[key] <= high))
        assert np.all(np.ptp(found.total_interval, axis=1) < {2: 1.0, 3: 0.05, 4: 3e-3}[size])
        assert np.all((found.first >= found.first_interval[:, 0]) & (found.first <= found.first_interval[:, 1]))
        assert found.first_confidence == pytest.approx(
            analysis.analyze(problem, reduced.solve(mus).outputs[name], calc_second_order=False, seed=6)["S1_conf"]
        )


def test_indices_of_a_sum_are_known() -> None:
    """s = a + 2 b + 3 c with a, b, c uniform: shares 1, 4 and 9 of 14; c's distribution has another variance."""
    pytest.importorskip("SALib")
    eye = np.eye(3)
    for last, parts in (((0.0, 1.0), (1, 4, 9)), (scipy.stats.beta(2, 2), (1, 4, 9 * 12 / 20))):
        model = rbm.FullOrderModel(
            [(1.0, eye)], [("a", eye[0]), ("b", eye[1]), ("c", eye[2])], eye,
            rbm.ParameterSpace({"a": (0.0, 1.0), "b": (0.0, 1.0), "c": last}), 1.0, {"s": np.array([1.0, 2.0, 3.0])},
        )  # fmt: skip
        found = rbm.sobol_indices(rbm.project(model, eye), "s", 4096)
        exact = np.array(parts) / sum(parts)
        assert found.first == pytest.approx(exact, abs=0.01)
        assert found.total == pytest.approx(exact, abs=0.01)
        assert np.all(np.ptp(found.first_interval, axis=1) < 1e-10)


def test_intervals_hold_for_values_anywhere_within_the_bounds() -> None:
    """Random data with large means, corners of the bounds; the intervals are not much too wide either."""
    rng = np.random.default_rng(0)
    widest = 0.0
    for _ in range(1000):
        p, n = int(rng.integers(1, 4)), 2 ** int(rng.integers(1, 7))
        y = rng.standard_normal(n * (p + 2)) + rng.choice([0, 1e3])
        b = rng.choice([1e-12, 1e-6, 1e-2]) * rng.random(len(y))
        values, first, total = interval_of_indices(y, b, p)
        moved, _, _ = interval_of_indices(y + b * rng.choice([-1, 1], len(y)), np.zeros_like(b), p)
        for made, (low, high) in zip(moved, (first.T, total.T), strict=True):
            assert np.all((made >= low) & (made <= high))
        with np.errstate(divide="ignore", invalid="ignore"):
            widest = max(widest, float(np.nanmax(np.abs(moved[0] - values[0]) / np.ptp(first, axis=1) * 2)))
    assert 0.2 < widest <= 1


def test_bounds_that_leave_no_variance_say_so() -> None:
    y = np.array([0.0, 1.0, 0.5, 0.2, 0.3, 0.9])
    _, first, total = interval_of_indices(y, np.full(6, 2.0), 1)
    assert np.isinf(first[0, 1])
    assert np.isinf(total[0, 1])
    assert total[0, 0] == 0
    with pytest.raises(rbm.ModelError, match="same value at all points"):
        interval_of_indices(np.ones(6), np.zeros(6), 1)


def test_bad_questions_are_one_clear_error() -> None:
    pytest.importorskip("SALib")
    model, reduced = reduced_beam(3)
    for options, said in (
        ({"output": "drag"}, "no output 'drag'; its outputs are 'mean', 'at'"),
        ({"output": "mean", "count": 100}, "power of two"),
        ({"output": "mean", "rng": -1}, "rng must be a seed"),
        ({"output": "mean", "confidence": 95}, "between 0 and 1"),
    ):
        with pytest.raises(rbm.ModelError, match=said):
            rbm.sobol_indices(reduced, **options)
    with pytest.raises(rbm.ModelError, match="asks a reduced model"):
        rbm.sobol_indices(model, "mean")  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match="is complex"):
        rbm.sobol_indices(reduced_beam(3, complex_valued=True)[1], "mean")


def test_other_formulas_of_salib_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    analysis = pytest.importorskip("SALib.analyze.sobol")
    plain = analysis.analyze

    def other(*arguments: Any, **options: Any) -> Any:
        made = plain(*arguments, **options)
        made["S1"] = made["S1"] * 1.001
        return made

    monkeypatch.setattr(analysis, "analyze", other)
    with pytest.raises(rbm.ModelError, match="by other formulas"):
        rbm.sobol_indices(reduced_beam(3)[1], "mean", 64)


def test_without_salib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "SALib", None)
    monkeypatch.setitem(sys.modules, "SALib.sample.sobol", None)
    with pytest.raises(ImportError, match=r"pip install SALib.*\[uncertainty\]"):
        rbm.sobol_indices(reduced_beam(3)[1], "mean", 64)
