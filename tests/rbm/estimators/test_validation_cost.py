"""The check of E3 and E4 at validation points.

It is cheap where it refuses, and makes no refusal because the residual vanishes somewhere.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from helpers.small_models import matrices
from test_training_sets import METHODS, basis_of, faults, two_parameters

import rbm
from rbm.estimators import interpolated_square as squares
from rbm.estimators import training
from rbm.estimators.interpolated_square import InterpolatedSquare


@pytest.mark.parametrize("method", METHODS)
def test_a_clear_refusal_costs_nothing_of_full_order(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_parameters()
    basis, few = basis_of(model, 3), model.parameters.sample(5, "random", rng=3)

    def full_order(*args: Any, **options: Any) -> np.ndarray:
        raise AssertionError("residual norms of full order were asked for")

    monkeypatch.setattr(model, "residual_norm", full_order)
    with pytest.raises(rbm.EstimatorUnusable, match=r"5 of 5 .* too few: at \d\d other points .* of at least"):
        rbm.project(model, basis, (method,), few)


@pytest.mark.parametrize("method", METHODS)
def test_the_number_named_is_a_bound_where_counting_would_be_long_and_is_enough(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = two_parameters()
    basis = basis_of(model, 3)
    monkeypatch.setattr(training, "RANK_OPERATIONS", 0.0)
    with pytest.raises(rbm.EstimatorUnusable, match=r"at most \d+ are enough") as refusal:
        rbm.project(model, basis, (method,), model.parameters.sample(5, "random", rng=3))
    found = re.search(r"at most (\d+) are enough", str(refusal.value))
    assert found is not None
    resolved, wrong, below = faults(model, rbm.project(model, basis, (method,), model.parameters.sample(int(found[1]))))
    assert (wrong, below) == (0, 0)
    assert resolved > 100


@pytest.mark.parametrize("method", METHODS)
def test_pieces_of_validation_points_give_the_same_state(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_parameters()
    low, high = model.parameters.bounds.T
    part = low + (high - low) * 0.6 * np.random.default_rng(2).random((200, 2))
    made = []
    for piece in (squares.PIECE, 1):
        monkeypatch.setattr(squares, "PIECE", piece)
        state = METHODS[method].prepare(rbm.Reduction(model, basis_of(model, 2)), part)
        made.append((state.mismatch, state.deviation))
    np.testing.assert_allclose(made[0], made[1], rtol=0.1, atol=1e-12)


@pytest.mark.parametrize("projection", ["galerkin", "least-squares"])
@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_residual_that_vanishes_at_an_end_is_estimated_there_and_elsewhere(size: int, projection: Any) -> None:
    """Rounding errors of the square do not vanish with s(mu).

    As a part of s they would leave nothing resolved at all.
    """
    stiffness, mass, load = matrices("sparse")
    model = rbm.FullOrderModel(
        [(1.0, stiffness), ("mu", mass)],
        [("mu - 1", load), ("(mu - 1)**2", load * np.arange(len(load))), (1.0, 0 * load)],
        stiffness,
        rbm.ParameterSpace({"mu": (1.0, 50.0)}),
        1.0,
    )
    points = np.concatenate([[[1.0]], model.parameters.sample(200)])
    basis = np.linalg.qr(model.solve([[50.0], [20.0]]).T)[0][:, :size]
    reduced = rbm.project(model, basis, ("E4",), points, projection=projection)
    state = reduced.estimators["interpolated"]
    assert isinstance(state, InterpolatedSquare)
    near = np.geomspace(1e-9, 1, 60)[:, None]
    mus = np.concatenate([model.parameters.sample(300, "random", rng=9), 1 + near, 50 - near])
    resolved, wrong, below = faults(model, reduced, mus)
    assert (wrong, below) == (0, 0)
    assert resolved > 300
