"""Bodies in space, rendered off the screen by pyvista: colours, displacements, films."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import problems
import rbm

pyvista = pytest.importorskip("pyvista", exc_type=ImportError)
image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def bracket() -> Any:
    """Fields of a bracket that is bent downwards, and sideways."""
    model, basis = problems.elastic_bracket(1), problems.elastic_bracket_basis(1)
    reduced = rbm.greedy(model, model.parameters.sample(10), max_basis=5).reduced_model
    return rbm.fields(reduced, [[1, 1, 1, 0.0], [1, 1, 1, 1.57]], basis)


def pictures(figure: Any) -> list[np.ndarray]:
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]


def test_a_body_is_drawn_in_the_colours_of_its_field(bracket: Any) -> None:
    first, second = pictures(bracket.plot())
    assert first.shape == (675, 900, 3)
    assert tuple(first[3, 450]) == (255, 255, 255)
    body = np.any(first != 255, axis=2)
    assert 0.15 < body.mean() < 0.8
    yellow = (first[..., 0].astype(int) - first[..., 2]) > 60  # the far end of the arm moves most: bright in cividis
    _, columns = np.nonzero(yellow)
    assert columns.mean() > np.nonzero(body)[1].mean()
    assert np.array_equal(np.any(second != 255, axis=2), body)  # the same body at rest, one camera
    assert not np.array_equal(first, second)


def test_displacements_move_the_body(bracket: Any) -> None:
    rest, bent = pictures(bracket[0].plot())[0], pictures(bracket[0].plot(deform=0.01))[0]
    assert np.any(rest != 255, axis=2).mean() != np.any(bent != 255, axis=2).mean()


def test_a_film_of_a_body(bracket: Any, tmp_path: Path) -> None:
    film = image.open(bracket.film(tmp_path / "b.gif", component=2))
    assert film.n_frames == 2
    first = np.asarray(film.convert("RGB"), dtype=int)
    film.seek(1)
    assert np.abs(np.asarray(film.convert("RGB"), dtype=int) - first).max() > 50


def test_a_surface_in_space_and_curved_cells() -> None:
    import skfem

    for mesh, element in ((skfem.MeshTet().refined(1), skfem.ElementTetP2()), (skfem.MeshHex(), skfem.ElementHex2())):
        basis = skfem.Basis(mesh, element)
        n = basis.N
        model = rbm.FullOrderModel([("a", np.eye(n))], [(1.0, basis.doflocs[0])], np.eye(n), {"a": (1.0, 2.0)}, "a")
        reduced = rbm.greedy(model, [[1.0]], max_basis=1).reduced_model
        (picture,) = pictures(rbm.fields(reduced, [1.0], basis).plot())
        assert 0.15 < np.any(picture != 255, axis=2).mean() < 0.9
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
    model = rbm.FullOrderModel([("a", np.eye(4))], [(1.0, np.arange(4.0))], np.eye(4), {"a": (1.0, 2.0)}, "a")
    reduced = rbm.greedy(model, [[1.0]], max_basis=1).reduced_model
    (picture,) = pictures(rbm.fields(reduced, [1.0], (points, faces)).plot())
    assert 0.1 < np.any(picture != 255, axis=2).mean() < 0.9
