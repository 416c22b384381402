"""Arrays of dask keep imaginary parts, or say that they cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.grids import laplacian

import rbm
from rbm.errors import ModelError


def late(mus: np.ndarray) -> np.ndarray:
    """Complex numbers only where a point is above 3, as a root of the discriminant may be."""
    x = mus[:, 0]
    return np.where(x < 5, 1 + 1j * (x > 3), 1.0) if np.any((x > 3) & (x < 5)) else np.ones(len(x))


def always(mus: np.ndarray) -> np.ndarray:
    return late(mus) + 0j


def never(mus: np.ndarray) -> np.ndarray:
    """Complex type without imaginary parts, at some points."""
    return np.ones(len(mus), dtype=complex if np.any(mus[:, 0] > 3) else float)


def reduced(coefficient: Callable[[np.ndarray], np.ndarray]) -> rbm.ReducedModel:
    k = laplacian(30, 1)
    model = rbm.FullOrderModel(
        [(1.0, k), ("mu", np.eye(30))], [(1.0, np.ones(30))], k, {"mu": (0.1, 6.0)}, 1.0,
        outputs={"s": [(coefficient, np.ones(30))]},
    )  # fmt: skip
    return rbm.greedy(model, model.parameters.sample(20), max_basis=3).reduced_model


def test_an_output_that_is_complex_at_some_points_is_not_cut() -> None:
    da = pytest.importorskip("dask.array")
    points = np.linspace(0.1, 6.0, 40)[:, None]
    mus = da.from_array(points, chunks=(10, 1))
    found = rbm.dask_solve(reduced(late), mus)
    assert found["s"].dtype == float
    with pytest.raises(ModelError, match=r"'s' is complex at \[[34]\.\d+\] and was real where its type was told; let"):
        found["s"].compute(scheduler="synchronous")
    np.testing.assert_allclose(found["bound"].compute(scheduler="synchronous"), reduced(late).solve(points).bound)

    whole = rbm.dask_solve(reduced(always), mus)["s"]
    assert whole.dtype == complex
    answers: Any = whole.compute(scheduler="synchronous")
    assert answers.dtype == complex
    np.testing.assert_array_equal(answers, reduced(always).solve(points).outputs["s"])
    assert np.count_nonzero(answers.imag) == np.count_nonzero((points > 3) & (points < 5)) > 0

    real = rbm.dask_solve(reduced(never), mus)["s"]
    blocks = [block.compute(scheduler="synchronous") for block in real.to_delayed()]
    assert {block.dtype for block in blocks} == {np.dtype(float)}  # as announced, chunk by chunk
    np.testing.assert_array_equal(np.concatenate(blocks), reduced(never).solve(points).outputs["s"].real)
