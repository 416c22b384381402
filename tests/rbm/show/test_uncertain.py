"""Figures of chains and Sobol indices: what is drawn is what is there."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

import rbm
from rbm.uses import Chain

pytest.importorskip("matplotlib")


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_marginal_has_the_area_one_and_the_prior_beside_it(scale: str) -> None:
    space = rbm.ParameterSpace({"k": scipy.stats.beta(2, 5, 1, 9), "v": (0.5, 2.0)}, scale)
    points = space.sample(4000, "random").reshape(4, 1000, 2)
    chain = Chain(space.names, points, np.ones((3, 1000), dtype=bool), np.zeros((3, 1000), dtype=int), 0)
    ax = rbm.plots.marginal(chain, space, "k", discard=1)
    values, edges, _ = ax.patches[0].get_data()
    width = np.diff(np.log10(edges) if scale == "log" else edges)
    assert np.sum(values * width) == pytest.approx(1.0, rel=1e-12)
    x, y = ax.lines[0].get_data()
    assert np.trapezoid(y, np.log10(x) if scale == "log" else x) == pytest.approx(1.0, rel=1e-12)
    # samples of the prior: both curves say the same
    middle = (edges[1:] + edges[:-1]) / 2
    assert np.mean(np.abs(np.interp(middle, x, y) - values)) < 0.1 * y.max()
    with pytest.raises(ValueError, match="no parameter; they are k, v"):
        rbm.plots.marginal(chain, space, "q")


def test_indices_are_drawn_with_both_errors() -> None:
    one, ends = np.array([0.2, 0.7]), np.array([[0.1, 0.3], [0.6, 0.8]])
    found = rbm.SobolIndices("s", ("a", "b"), one, one, ends, ends, one / 9, one / 9, 8)
    ax = rbm.plots.sobol_intervals(found)
    bars = [segment for c in ax.collections[:1] for segment in c.get_segments()]
    assert np.array(bars)[:, :, 1].tolist() == ends.tolist()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]
