"""A stability bound that is not positive, or not finite, makes no error bound."""

from __future__ import annotations

import numpy as np
import pytest

import rbm
from rbm.stability.positive import positive


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_it_names_the_rows(wrong: float) -> None:
    beta = np.array([1.0, wrong, 2.0])
    with pytest.raises(rbm.StabilityError, match=r"beta is .* at row 1") as caught:
        positive(beta, lambda i, value, where: f"beta is {value} at {where}")
    assert list(caught.value.rows) == [1]
    assert positive(beta[::2], lambda *_: "").tolist() == [1.0, 2.0]


@pytest.mark.parametrize("points", [1, 3, 400])
def test_an_infinite_bound_is_no_certificate(points: int) -> None:
    """The error bound would be residual / inf = 0, on the compiled way, too."""
    model = rbm.FullOrderModel(
        [("10**k", np.eye(3))],
        [(1, np.ones(3))],
        1e10 * np.eye(3),
        parameters={"k": (-300.0, 305.0)},
        stability=rbm.stability.MinTheta(reference=[-300.0]),
    )
    reduced = rbm.project(model, np.eye(3)[:, :1])
    mus = np.zeros((points, 1))
    mus[-1] = 300.0
    with pytest.raises(rbm.StabilityError, match=rf"min-theta bound is inf at k = 300 \(row {points - 1}"):
        reduced.solve(mus)
    assert np.all(reduced.solve(mus, on_error="mark").failed == [points - 1])
