"""Problems in space: the thermal block in a cube, and the elastic bracket."""

import numpy as np
import pytest

import rbm
from problems import elastic_bracket, elastic_bracket_mesh, thermal_block_3d, thermal_block_3d_mesh


def mean_in_the_cube() -> float:
    """The integral of u over the unit cube, -Lap u = 1, u = 0 on the boundary, by its sine series."""
    k = np.arange(1, 200, 2.0)  # terms fall like the eighth power
    a, b, c = k[:, None, None], k[:, None], k
    return float(np.sum(512 / (np.pi**8 * (a * b * c) ** 2 * (a**2 + b**2 + c**2))))


@pytest.mark.parametrize("element", ["tetrahedra", "hexahedra"])
def test_the_mean_temperature_tends_to_that_of_the_series_at_second_order(element):
    exact = mean_in_the_cube()
    found = [
        float(np.squeeze(model.solve(np.ones((1, 9)))[0] @ model.rhs_terms[:, 0]))
        for model in (thermal_block_3d(n, element=element) for n in (6, 12))
    ]
    errors = np.abs(np.array(found) - exact)
    assert errors[1] < 0.05 * exact
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2.0, abs=0.3)


def test_blocks_are_numbered_along_x_then_y_then_z():
    model = thermal_block_3d(6, (3, 2, 1))
    mesh = thermal_block_3d_mesh(6)
    nodes = mesh.p[:, mesh.interior_nodes()]
    # the block (2, 1, 0) is number 5, k6; the node in its middle has entries in that term only
    i = int(np.argmin(np.sum((nodes - np.array([[5 / 6], [2 / 3], [1 / 2]])) ** 2, axis=0)))
    assert [q for q, a in enumerate(model.operator_terms) if a[[i]].count_nonzero()] == [5]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_bracket_has_as_many_unknowns_as_its_docstring_says(n):
    assert elastic_bracket(n).dimension == 3 * n * (2 * n + 1) * (7 * n + 4)


def test_the_bracket_answers_as_an_elastic_body_does():
    model = elastic_bracket(2)
    soft, hard = (model.solve([[e, e, e, 0.0]])[0] for e in (1.0, 2.0))
    np.testing.assert_allclose(hard, soft / 2, rtol=1e-11, atol=1e-13 * np.abs(soft).max())
    down, sideways = model.rhs_terms.T
    # it is symmetric about the middle of its width, so that a load downwards moves its end downwards only
    assert down @ soft > 0
    assert abs(sideways @ soft) < 1e-10 * (down @ soft)
    # reciprocity, and the energy of one load is its work
    other = model.solve([[1.0, 1.0, 1.0, np.pi / 2]])[0]
    assert abs(down @ other) < 1e-10 * (down @ soft)
    assert soft @ (model.product @ soft) == pytest.approx(down @ soft, rel=1e-10)


def test_a_finer_bracket_gives_way_more():
    """Meshes are nested, so that the energy of the discrete solution grows towards the exact one."""
    work = [float(m.solve([[1.0, 1.0, 1.0, 0.0]])[0] @ m.rhs_terms[:, 0]) for m in map(elastic_bracket, (1, 2, 4))]
    assert work[0] < work[1] < work[2]
    assert work[2] - work[1] < 0.6 * (work[1] - work[0])


def test_a_stiff_rod_under_tension_has_the_strain_of_hooke():
    """The term of the arm alone, for u = x e_x - nu (y e_y + z e_z): uniaxial stress of size one, by hand."""
    mesh, model = elastic_bracket_mesh(2), elastic_bracket(2)
    free = np.flatnonzero(mesh.p[0] > 1e-9)
    x, y, z = mesh.p[:, free]
    u = np.stack([x, -0.3 * y, -0.3 * z]).T.ravel()
    # u^T A u of the arm is twice its energy: strain one times stress one times its volume 3 * 2 * 1
    assert u @ (model.operator_terms[2] @ u) == pytest.approx(6.0, rel=1e-12)


@pytest.mark.parametrize("make", [lambda: thermal_block_3d(6), lambda: elastic_bracket(1)])
def test_bounds_hold_and_bad_input_is_named(make):
    model = make()
    result = rbm.greedy(model, model.parameters.sample(60), max_basis=6)
    answer = result.reduced_model.solve(model.parameters.sample(20, "random", rng=3))
    error = model.error_norm(answer.mus, answer.coefficients, result.basis)
    assert np.all(answer.bound >= error)
    assert np.all(answer.bound < 10 * error)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: thermal_block_3d(7), "multiple of all block numbers"),
        (lambda: thermal_block_3d(6, (3, 3)), "three positive whole numbers"),
        (lambda: thermal_block_3d(6, (3, 0, 1)), "three positive whole numbers"),
        (lambda: thermal_block_3d(6, element="prisms"), "'tetrahedra', 'hexahedra'"),
        (lambda: thermal_block_3d("six"), "n_elements"),
        (lambda: elastic_bracket(0), "n must"),
        (lambda: elastic_bracket(1.5), "n must"),
    ],
)
def test_what_does_not_fit_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()
