"""Figures over time: bands and curves are what they are given, and films show each time on one scale."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PolyCollection

import lowrank
import rbm
from problems import moving_heat, moving_heat_nodes
from rbm import plots
from rbm.time.model import ErrorNorms

image = pytest.importorskip("PIL.Image")
mpl.use("Agg")
N, STEPS = 5, 8


@pytest.fixture(scope="module")
def case() -> tuple[Any, Any, Any, ErrorNorms]:
    """A model, its reduced model with three answers, and their true errors."""
    model = moving_heat(N, steps=STEPS)
    paths = model.solve(model.parameters.sample(4)).reshape(-1, model.dimension)
    reduced = rbm.project_time(model, lowrank.pod(paths.T, rank=4, product=model.inner_product.matrix))
    answer = reduced.solve(model.parameters.sample(3, "random", rng=1))
    return model, reduced, answer, model.error_norms(answer.mus, answer.coefficients, reduced.basis)


def bands(ax: Any) -> list[np.ndarray]:
    return [c.get_paths()[0].vertices for c in ax.collections if isinstance(c, PolyCollection) and c.get_paths()]


def curves(ax: Any) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata()) for line in ax.lines]


def labels(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_an_output_lies_in_its_band(case: tuple[Any, Any, Any, ErrorNorms]) -> None:
    model, _, answer, _ = case
    truth = model.solve(answer.mus[[2, 0]]) @ model.outputs["below"].terms[0]
    ax = plots.outputs_over_time(answer, "below", points=[2, 0], labels=["a", "b"], truth=truth)
    values, bounds = answer.outputs["below"], answer.output_bounds["below"]
    for row, line, i in zip((0, 1), bands(ax)[:2], (2, 0), strict=True):
        low, high = values[i] - bounds[i], values[i] + bounds[i]
        corners = {tuple(v) for v in line}
        assert {*zip(answer.times, low, strict=True), *zip(answer.times, high, strict=True)} <= corners
        np.testing.assert_array_equal(curves(ax)[row], values[i])
        np.testing.assert_array_equal(curves(ax)[2 + row], truth[row])
        assert np.all((low <= truth[row]) & (truth[row] <= high))
    assert labels(ax) == ["a", "b", "true output", "certified band"]
    assert ax.get_ylabel() == "below"


def test_an_answer_without_bounds_has_no_bands(case: tuple[Any, Any, Any, ErrorNorms]) -> None:
    _, reduced, answer, _ = case
    ax = plots.outputs_over_time(reduced.solve(answer.mus, estimate=False), "ahead")
    assert bands(ax) == []
    assert labels(ax) == [", ".join(f"{x:.3g}" for x in mu) for mu in answer.mus]


def test_outputs_that_do_not_fit_are_refused(case: tuple[Any, Any, Any, ErrorNorms]) -> None:
    answer = case[2]
    with pytest.raises(rbm.ModelError, match="no output 'T' in this answer; it has ahead, below, behind, beside"):
        plots.outputs_over_time(answer, "T")
    with pytest.raises(rbm.ModelError, match="there are 1 labels, for 3 points"):
        plots.outputs_over_time(answer, "below", labels=["a"])
    with pytest.raises(rbm.ModelError, match="there are 2 rows of the truth, for 1 points"):
        plots.outputs_over_time(answer, "below", points=[1], truth=np.zeros((2, STEPS + 1)))


def test_errors_and_bounds_are_drawn_where_they_are_positive(case: tuple[Any, Any, Any, ErrorNorms]) -> None:
    _, reduced, answer, errors = case
    ax = plots.errors_over_time(answer, errors, point=1)
    wanted = [answer.bound[1], errors.energy[1], answer.bound_l2[1], errors.l2[1]]
    for line, values in zip(curves(ax), wanted, strict=True):
        assert np.isnan(line[0])  # u^0 = 0 is known, and has no place on the axis
        np.testing.assert_array_equal(line[1:], values[1:])
    assert ax.get_yscale() == "log"
    assert ax.get_ylim()[0] < min(w[1:].min() for w in wanted)
    assert bands(ax) == [], "floors far below the curves are not in the figure"
    assert len(curves(plots.errors_over_time(answer))) == 2
    with pytest.raises(rbm.ModelError, match="no error estimate"):
        plots.errors_over_time(reduced.solve(answer.mus, estimate=False))


def test_floors_that_hide_the_error_are_seen(case: tuple[Any, Any, Any, ErrorNorms]) -> None:
    model, _, answer, _ = case
    whole = rbm.project_time(model, np.eye(model.dimension))
    exact = whole.solve(answer.mus)
    assert not exact.estimate.resolved[:, -1].any()
    ax = plots.errors_over_time(exact)
    assert [len(set(band[:, 0])) for band in bands(ax)] == [STEPS + 1, STEPS + 1]
    assert labels(ax).count("its floor") == 2


def test_a_film_shows_each_time_on_one_scale(case: tuple[Any, Any, Any, ErrorNorms], tmp_path: Path) -> None:
    _, reduced, answer, _ = case
    points, u = moving_heat_nodes(N), reduced.reconstruct(answer)[0]
    path = plots.film(tmp_path / "heat.gif", points, None, u, answer.times, every=2, fps=10, title="plate")
    assert [p.name for p in tmp_path.iterdir()] == ["heat.gif"]
    film = image.open(path)
    assert (film.format, film.n_frames, film.info["duration"], film.info["loop"]) == ("GIF", 5, 100, 0)
    pictures = []
    for k in range(film.n_frames):
        film.seek(k)
        pictures.append(np.asarray(film.convert("RGB"), dtype=int))
    assert tuple(pictures[0][0, 0]) == (255, 255, 255)
    field = slice(60, -60), slice(60, 480)
    brightness = [p[field].sum(axis=2) for p in pictures]
    colder = np.array([b[b < 700].mean() for b in brightness])  # what is not white: the field
    assert np.all(np.diff(colder) > 0), "the plate gets warmer, and warm is bright"
    np.testing.assert_array_equal(pictures[0][:, 560:], pictures[-1][:, 560:])  # the colour bar
    again = plots.film(tmp_path / "again.gif", points, None, u, answer.times, every=2, fps=10, title="plate")
    assert again.read_bytes() == path.read_bytes()


def test_a_film_is_on_the_triangles_that_are_given(tmp_path: Path) -> None:
    """A domain with a hole in it: the hole stays white, and is filled where the nodes are joined anew."""
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0))
    points = np.array([x.ravel(), y.ravel()])
    squares = [4 * j + i for j in range(3) for i in range(3) if (i, j) != (1, 1)]
    triangles = np.array([[s, s + 1, s + 5] for s in squares] + [[s, s + 5, s + 4] for s in squares]).T
    u, white = np.stack([points[0], points[0] + points[1]]), []
    for given in (triangles, None):
        film = image.open(plots.film(tmp_path / "hole.gif", points, given, u, np.array([0.0, 1.0])))
        picture = np.asarray(film.convert("RGB"), dtype=int)
        white.append(np.mean(picture.sum(axis=2) == 765))
    assert white[0] > white[1] + 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": np.zeros((3, 6))}, r"u must have the shape \(2, 6\), times and nodes; got \(3, 6\)"),
        ({"every": 0}, "every must be a whole number of at least 1, got 0"),
        ({"fps": 0.0}, r"fps must be a positive number, pictures a second, got 0\.0"),
        ({"u": np.full((2, 6), np.nan)}, "u holds numbers that are not finite"),
    ],
)
def test_films_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    points = np.array([[0.0, 1, 2, 0, 1, 2], [0.0, 0, 0, 1, 1, 1]])
    given: dict[str, Any] = {"u": np.zeros((2, 6)), "every": 1, "fps": 20.0} | change
    with pytest.raises(rbm.ModelError, match=message):
        plots.film(tmp_path / "a.gif", points, None, given.pop("u"), np.array([0.0, 1.0]), **given)
    assert list(tmp_path.iterdir()) == []


def test_a_field_that_does_not_change_is_filmed(tmp_path: Path) -> None:
    points = np.array([[0.0, 1, 2, 0, 1, 2], [0.0, 0, 0, 1, 1, 1]])
    assert image.open(plots.film(tmp_path / "a.gif", points, None, np.ones((2, 6)), np.arange(2.0))).format == "GIF"


def test_pillow_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    points = np.array([[0.0, 1, 0], [0.0, 0, 1]])
    with pytest.raises(ImportError, match="writing a film needs the package pillow, which is not installed"):
        plots.film(tmp_path / "a.gif", points, None, np.ones((1, 3)), np.arange(1.0))
