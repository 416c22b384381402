"""The fin with length and thickness as parameters: that of the fixed fin, that of a mesh made anew, and bounds."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import skfem
from helpers import ROOT
from helpers.moved_fin import moved_fin
from skfem.models import poisson

import rbm
from problems import merged_terms, thermal_fin, thermal_fin_domain, thermal_fin_geometry
from problems.studies import run


@lru_cache
def fin(refinement: int = 1) -> rbm.FullOrderModel:
    return thermal_fin_geometry(refinement)


def remeshed(mu: np.ndarray, refinement: int = 1) -> Any:
    """The matrix that scikit-fem assembles on the moved mesh; its parts are found by where its elements are."""
    *k, biot, _, _ = mu
    domain = thermal_fin_domain(refinement)
    mesh = domain.mesh_at(mu)
    x, y = mesh.p[:, mesh.t].mean(axis=1)
    part = np.where(np.abs(x) < 0.5, 0, np.floor(y).astype(int) + 1)
    root = mesh.facets_satisfying(lambda x: x[1] < 1e-9, boundaries_only=True)
    air = np.setdiff1d(mesh.boundary_facets(), root)
    matrix = biot * poisson.mass.assemble(skfem.FacetBasis(mesh, domain.element, facets=air))
    for i, conductivity in enumerate([1.0, *k]):
        basis = skfem.Basis(mesh, domain.element, elements=np.flatnonzero(part == i))
        matrix = matrix + conductivity * poisson.laplace.assemble(basis)
    return sp.csr_array(matrix)


@pytest.mark.parametrize("refinement", [1, 2])
def test_it_is_the_fin_of_a_mesh_made_anew_to_round_off(refinement: int) -> None:
    model, domain = fin(refinement), thermal_fin_domain(refinement)
    for mu in model.parameters.sample(6, "random", rng=2):
        nodes, matrix, f = moved_fin(refinement, mu)
        np.testing.assert_allclose(domain.nodes(mu), nodes.astype(float), rtol=0, atol=1e-14)
        ours = model.assemble(model.operator_coefficients(mu[None])[0])
        assert abs(ours - matrix).max() <= 1e-15 * abs(matrix).max()
        np.testing.assert_allclose(model.rhs_terms[:, 0], f.astype(float), rtol=0, atol=1e-15)
        # scikit-fem knows the nodes as doubles: sides of elements are off by u times the size of the fin
        assert abs(remeshed(mu, refinement) - matrix).max() <= 1e-13 * abs(matrix).max()
        leading = matrix.astype(float)
        parts = [(1.0, leading), (1.0, (matrix - leading).astype(float))]
        there = rbm.FullOrderModel(parts, [(1.0, f.astype(float))], model.product, model.parameters, 1.0)
        exact, norm = there.solve(mu), model.inner_product.norm
        assert norm((model.solve(mu) - exact).T)[0] <= 1e-13 * norm(exact.T)[0]


def test_at_the_reference_it_is_the_fixed_fin() -> None:
    model, fixed = fin(1), thermal_fin(1)
    assert abs(model.product - fixed.product).max() <= 1e-14 * abs(fixed.product).max()
    mus = fixed.parameters.sample(5, "random")
    there = np.hstack([mus, np.tile([2.5, 0.25], (5, 1))])
    np.testing.assert_allclose(model.solve(there), fixed.solve(mus), rtol=1e-12)


def test_sixteen_terms_are_left() -> None:
    domain = thermal_fin_domain(1)
    air = np.setdiff1d(domain.mesh.boundary_facets(), domain.mesh.facets_satisfying(lambda x: x[1] < 1e-9, True))
    raw = domain.diffusion({"post": 1.0, **{f"pair{i}": f"k{i}" for i in range(1, 5)}}) + domain.boundary_mass(
        "Bi", air
    )
    assert len(raw) == 65
    assert len(merged_terms(raw)) == 16
    wanted = {"1 - t", "1/(1 - t)", "t", "1/t", "Bi*(1 - t)", "Bi", "Bi*L", "Bi*t"}
    wanted |= {text for i in range(1, 5) for text in (f"k{i}*t/L", f"L*k{i}/t")}
    assert set(fin().operator_coefficients.sources) == wanted


def test_what_flows_in_flows_out_and_the_surface_is_that_of_the_fin() -> None:
    model = fin()
    named = zip(map(str, model.operator_coefficients.sources), model.operator_terms, strict=True)
    air = {c: a for c, a in named if "Bi" in c}
    assert {c: pytest.approx(a.sum()) for c, a in air.items()} == {"Bi*(1 - t)": 8, "Bi": 1, "Bi*L": 16, "Bi*t": 8}
    mus = model.parameters.sample(5, "random")
    theta = model.operator_coefficients(mus)
    ones = np.ones(model.dimension)
    for mu, t in zip(mus, theta, strict=True):
        assert ones @ (model.assemble(t) @ model.solve(mu)[0]) == pytest.approx(1.0, rel=1e-11)


def test_it_is_verified_and_its_bounds_hold() -> None:
    model = fin()
    checks = model.verify(assembled=remeshed)
    assert "the stability bound is positive" in repr(checks)
    reduced = rbm.greedy(model, model.parameters.sample(200), max_basis=12, progress=False).reduced_model
    mus = model.parameters.sample(50, "random", rng=1)
    answer = reduced.solve(mus)
    assert reduced.basis is not None
    errors = model.error_norm(mus, answer.coefficients, reduced.basis)
    assert np.all(errors <= answer.bound)
    off = model.outputs["T_root"](mus, model.solve(mus)) - answer.outputs["T_root"]
    assert np.all((off >= 0) & (off <= answer.output_bounds["T_root"])), "compliant: the output rises with the basis"


def test_longer_fins_cool_better_and_thinner_ones_worse() -> None:
    model = fin()
    point = np.array([5.0, 5, 5, 5, 0.1, 2.5, 0.25])
    values = []
    for length, thickness in ((2.0, 0.25), (2.5, 0.25), (3.0, 0.25), (2.5, 0.1), (2.5, 0.4)):
        point[5:] = length, thickness
        values.append(float(model.outputs["T_root"](point[None], model.solve(point))[0]))
    assert values[0] > values[1] > values[2]
    assert values[3] > values[1] > values[4]


def test_a_refinement_that_is_none_is_refused() -> None:
    with pytest.raises(rbm.ModelError, match="refinement must be at least 1, got 0"):
        thermal_fin_geometry(0)


@pytest.mark.slow
def test_its_study_runs(tmp_path: Path) -> None:
    summary = run("thermal-fin-geometry", tmp_path, tol=5.0, progress=False, say=lambda text: None)
    assert summary["stopped"] == "tolerance"
    assert (tmp_path / "solution_long_and_thick.png").exists()
    assert all(row["orthonormal"]["bounds_below_true_error"] == 0 for row in summary["sizes"])
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["rbm.studies"]
    assert points["thermal-fin-geometry"] == "problems.studies:run"
