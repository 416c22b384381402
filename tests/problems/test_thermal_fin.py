"""The thermal fin: the published root temperature, identities of its geometry, and bounds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import rbm
from problems import thermal_fin, thermal_fin_mesh
from problems.studies import run

#: T_root on three triangulations of other people (1333, 4760 and 17 899 nodes), at (k1, .., k4, Bi).
PUBLISHED = {
    (1.5, 1.5, 1.5, 1.5, 0.1): (1.53107, 1.535071, 1.536266),
    (0.4, 0.6, 0.8, 1.2, 0.15): (1.51276, 1.51561, 1.51640),
}


@lru_cache
def fin(refinement: int) -> rbm.FullOrderModel:
    return thermal_fin(refinement)


def root(refinement: int, mu: tuple[float, ...]) -> float:
    model = fin(refinement)
    return float(model.solve(mu)[0] @ model.outputs["T_root"].terms[0])


def limit(a: float, b: float, c: float) -> float:
    """Extrapolate three values whose differences fall by one factor."""
    return c + (c - b) ** 2 / ((b - a) - (c - b))


@pytest.mark.parametrize("mu", PUBLISHED)
def test_the_root_temperature_is_the_published_one(mu: tuple[float, ...]) -> None:
    ours = [root(refinement, mu) for refinement in (1, 2, 4)]
    rise = np.diff(ours)
    assert np.all(rise > 0), "a compliant output rises when elements are halved"
    assert 2.0 < rise[0] / rise[1] < 4.0, f"order {np.log2(rise[0] / rise[1]):.2f}, not that of corners: 4/3 to 2"
    theirs = PUBLISHED[mu]
    error = limit(*ours) - ours[-1]  # of ours, up to what the extrapolation leaves
    assert np.all(np.abs(np.array(theirs) - ours[-1]) < 1.5 * error)


def test_the_published_limit_is_met_to_five_digits() -> None:
    for mu, theirs in PUBLISHED.items():
        assert limit(*(root(refinement, mu) for refinement in (2, 4, 8))) == pytest.approx(limit(*theirs), abs=1e-4)


def test_the_geometry_is_that_of_the_fin() -> None:
    model = fin(1)
    x, y = thermal_fin_mesh(1).p
    post, *pairs, air = model.operator_terms
    for a, area in ((post, 4.0), *((p, 1.25) for p in pairs)):
        assert [x @ a @ x, y @ a @ y, x @ a @ y] == pytest.approx([area, area, 0.0])
        np.testing.assert_allclose(a @ np.ones(len(x)), 0, atol=1e-13)
    for i, a in enumerate(pairs, start=1):
        heights = y[abs(a).sum(axis=0) > 0]
        assert (heights.min(), heights.max()) == (i - 0.25, i)
    assert np.sum(air) == pytest.approx(6 + 1 + 8 * 5.25)  # the post's sides between fins, its top, the fins
    assert np.sum(model.rhs_terms) == pytest.approx(1.0)
    assert x @ model.rhs_terms[:, 0] == pytest.approx(0.0)


def test_what_flows_in_flows_out() -> None:
    model = fin(1)
    mus = model.parameters.sample(5, "random")
    lost = mus[:, -1] * (model.operator_terms[-1] @ model.solve(mus).T).sum(axis=0)
    np.testing.assert_allclose(lost, 1.0, rtol=1e-12)


def test_it_is_verified_and_its_bounds_hold() -> None:
    model = fin(1)
    assert "the stability bound is positive" in repr(model.verify())
    mus = model.parameters.sample(50, "random", rng=1)
    beta = model.stability(mus, model.operator_coefficients(mus))
    np.testing.assert_allclose(beta, np.minimum(1, np.minimum(mus[:, :4].min(axis=1), mus[:, 4] / 0.1)), rtol=1e-10)
    reduced = rbm.greedy(model, model.parameters.sample(200), max_basis=10, progress=False).reduced_model
    answer, truth = reduced.solve(mus), model.solve(mus)
    assert np.all(model.error_norm(mus, answer.coefficients, reduced.basis) <= answer.bound)
    f = model.rhs_terms[:, 0]
    off = truth @ f - answer.outputs["T_root"]
    assert np.all(np.abs(off) <= answer.output_bounds["T_root"])
    # the output is compliant: what the reduced solution misses of it is the energy of its error
    errors = truth - reduced.reconstruct(answer.coefficients)
    energy = [e @ (model.assemble(t) @ e) for e, t in zip(errors, model.operator_coefficients(mus), strict=True)]
    np.testing.assert_allclose(errors @ f, energy, rtol=1e-8, atol=1e-12)


def test_eight_published_samples_give_an_output_to_ten_digits() -> None:
    """A compliant output is off by at most ||r||^2 / beta, by far less than by the plain bound ||l|| ||r|| / beta."""
    model = fin(1)
    samples = [0.1, 10, 0.19179103, 3.9442061, 0.12618569, 0.38535286, 2.1544347, 0.10974988]
    reduced = rbm.project(model, model.solve([[k] * 4 + [0.1] for k in samples]).T)
    mu = np.array([[1.5] * 4 + [0.1]])
    answer = reduced.solve(mu)
    f = model.rhs_terms[:, 0]
    missing = (model.solve(mu) - reduced.reconstruct(answer.coefficients)) @ f
    bound = answer.output_bounds["T_root"]
    assert np.all(missing > 0)
    assert np.all((model.solve(mu) @ f >= answer.outputs["T_root"]) & (missing <= bound))
    assert bound[0] < 1e-9
    assert bound[0] < 1e-4 * model.inner_product.dual_norm(model.rhs_terms)[0] * answer.bound[0]


@pytest.mark.slow
def test_its_study_runs(tmp_path: Path) -> None:
    summary = run("thermal-fin", tmp_path, tol=1.0, progress=False, say=lambda text: None)
    assert summary["stopped"] == "tolerance"
    assert (tmp_path / "solutions.png").exists()
    assert all(row["orthonormal"]["bounds_below_true_error"] == 0 for row in summary["sizes"])


def test_a_refinement_that_is_none_is_refused() -> None:
    with pytest.raises(rbm.ModelError, match="refinement must be at least 1, got 0"):
        thermal_fin(0)
    with pytest.raises(rbm.ModelError, match="refinement must be a whole number, got '2'"):
        thermal_fin_mesh("2")  # type: ignore[arg-type]
