"""Multigrid for elasticity: rigid body modes are what they are, and save iterations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg as spla

import rbm
from problems import elastic_bracket
from problems.elastic_bracket import elastic_bracket_mesh
from rbm.errors import ModelError
from rbm.solvers import AMG, rigid_body_modes


@pytest.mark.parametrize("dimension", [2, 3])
def test_an_elastic_body_that_nothing_holds_does_not_resist_them(dimension: int) -> None:
    skfem = pytest.importorskip("skfem")
    from skfem.models.elasticity import lame_parameters, linear_elasticity

    kind, element = (skfem.MeshTri, skfem.ElementTriP1()) if dimension == 2 else (skfem.MeshTet, skfem.ElementTetP1())
    mesh = kind().refined(2)
    stiffness = linear_elasticity(*lame_parameters(1.0, 0.3)).assemble(skfem.Basis(mesh, skfem.ElementVector(element)))
    modes = rigid_body_modes(mesh.p.T * 7 + 3)
    assert modes.shape == (stiffness.shape[0], dimension * (dimension + 1) // 2)
    assert np.linalg.matrix_rank(modes) == modes.shape[1]
    assert np.abs(stiffness @ modes).max() <= 1e-13 * abs(stiffness).max()
    values = np.linalg.eigvalsh(stiffness.toarray())
    assert np.count_nonzero(values < 1e-10 * values[-1]) == modes.shape[1]  # there are no others


def test_what_are_no_points_is_refused() -> None:
    for points, message in (
        (np.zeros((4, 1)), r"must have the shape \(m, 2\) or \(m, 3\), got \(4, 1\)"),
        (np.zeros((0, 3)), r"got \(0, 3\)"),
        (np.full((4, 3), np.nan), "must be finite numbers"),
    ):
        with pytest.raises(ModelError, match=message):
            rigid_body_modes(points)
    assert np.all(np.isfinite(rigid_body_modes([[1.0, 2.0]])))


def test_they_save_iterations_on_the_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyamg")
    pytest.importorskip("skfem")
    counts: list[int] = []
    whole = spla.cg

    def counting(*arguments: Any, **named: Any) -> Any:
        counts.append(0)

        def one_more(x: np.ndarray) -> None:
            counts[-1] += 1

        return whole(*arguments, **named, callback=one_more)

    monkeypatch.setattr(spla, "cg", counting)
    nodes = elastic_bracket_mesh(3).p.T
    modes = rigid_body_modes(nodes[nodes[:, 0] > 1e-9])
    matrix = elastic_bracket(3).product
    assert len(modes) == matrix.shape[0] == 1575
    rhs, found = np.random.default_rng(0).standard_normal((1575, 1)), {}
    for name, solver in (("constants", AMG()), ("rigid", AMG(near_null_space=modes))):
        x = solver.factorize(matrix)(rhs)
        np.testing.assert_allclose(matrix @ x, rhs, atol=1e-8)
        found[name] = counts[-1]
    assert 0 < found["rigid"] < found["constants"] / 2

    model = elastic_bracket(3, solver=AMG(near_null_space=modes))
    result = rbm.greedy(model, model.parameters.sample(50), max_basis=3)
    mus = model.parameters.sample(4, "random", rng=1)
    answers = result.reduced_model.solve(mus)
    assert np.all(model.error_norm(mus, answers.coefficients, result.basis) <= answers.bound)
