"""An exploration: what sliders and choices say, the numbers that are drawn, and both fronts, without a screen."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import matplotlib.figure
import numpy as np
import pytest
from helpers.small_models import fragile_model
from matplotlib.backend_bases import MouseEvent

import problems
import rbm
from rbm.show.digits import rounded_up, with_bound
from rbm.show.explore import Explorer
from rbm.show.explore.picture import agg_figure
from rbm.show.explore.state import ERROR
from rbm.show.explore.window import Window

mpl.use("Agg")


@pytest.fixture(scope="module")
def block() -> Any:
    """Nine parameters."""
    model = problems.thermal_block((3, 3), 6)
    return rbm.greedy(model, model.parameters.sample(40), max_basis=5).reduced_model


@pytest.fixture(scope="module")
def fin() -> Any:
    """Five parameters on a logarithmic scale."""
    model = problems.thermal_fin(1)
    return rbm.greedy(model, model.parameters.sample(40), max_basis=5).reduced_model


@pytest.fixture(scope="module")
def wave() -> Any:
    """A complex output, an output with two rows, units, and a parameter that is fixed."""
    rng = np.random.default_rng(0)
    stiffness, mass = np.diag(np.arange(1.0, 9)), np.eye(8)
    space = rbm.ParameterSpace({"c": (2.0, 2.0), "k": (0.0, 3.0)}, units={"k": "1/m"})
    load = rng.standard_normal(8)
    outputs = {"p": load + 1j * rng.standard_normal(8), "both": rng.standard_normal((2, 8))}
    outputs = {"p": outputs["p"], "q": rng.standard_normal(8)}
    model = rbm.FullOrderModel(
        [("c", stiffness), ("1j * k", mass)], [(1.0, load)], stiffness, space, 2.0, outputs=outputs,
        output_units={"p": "Pa"},
    )  # fmt: skip
    return rbm.greedy(model, space.sample(40), max_basis=3).reduced_model


@pytest.fixture(scope="module")
def heat() -> Any:
    model = problems.cooling_fin(1, steps=8)
    return rbm.pod_greedy(model, model.parameters.sample(4), max_basis=6).reduced_model


def test_curves_and_bands_are_the_answers_of_the_model(fin: Any) -> None:
    explorer = Explorer(fin)
    explorer.move(0, 0.2)
    explorer.move(4, 0.9)
    explorer.over = 4
    curve = explorer.curve(explorer.answers)
    mus = np.repeat(explorer.point[None], len(curve.x), axis=0)
    mus[:, 4] = curve.x
    solution = fin.solve(mus)
    np.testing.assert_allclose(curve.middle, solution.outputs["T_root"], rtol=1e-12)
    bound = solution.output_bounds["T_root"]
    np.testing.assert_allclose(curve.high - curve.middle, bound, rtol=1e-6)
    np.testing.assert_allclose(curve.middle - curve.low, bound, rtol=1e-6)
    np.testing.assert_array_equal(curve.x[[0, -1]], fin.parameters.bounds[4])
    np.testing.assert_allclose(np.diff(np.log(curve.x)), np.log(100) / 80, rtol=1e-9)
    own = fin.solve(explorer.point)
    assert curve.at[:2] == (explorer.point[4], own.outputs["T_root"][0])
    assert curve.at[3] - curve.at[2] == pytest.approx(2 * own.output_bounds["T_root"][0], rel=1e-6)
    assert (curve.xlabel, curve.ylabel, curve.log_x, curve.log_y) == ("Bi", "T_root", True, False)
    explorer.output = explorer.outputs.index(ERROR)
    error = explorer.curve(explorer.answers)
    np.testing.assert_allclose(error.middle, solution.bound, rtol=1e-9)
    assert error.log_y
    assert not np.isfinite(error.high).any()


def test_a_curve_is_asked_for_only_when_another_coordinate_moves(fin: Any, monkeypatch: Any) -> None:
    explorer, asked = Explorer(fin), []
    answers = explorer.source.answers
    monkeypatch.setattr(explorer.source, "answers", lambda points: asked.append(len(points)) or answers(points))
    explorer.curve(explorer.answers)
    assert asked == [1, 81]
    explorer.move(0, 0.7)  # along the curve
    explorer.curve(explorer.answers)
    assert asked == [1, 81, 1]
    explorer.move(1, 0.7)
    explorer.curve(explorer.answers)
    assert asked == [1, 81, 1, 1, 81]


def test_the_answer_in_words(wave: Any) -> None:
    explorer = Explorer(wave)
    solution = wave.solve(explorer.point)
    first, second, last = explorer.sentences(explorer.answers)
    said = re.fullmatch(r"p = (\S+) ([+-]) (\S+)i ± (\S+) Pa", first)
    value = complex(float(said[1]), float(said[2] + said[3]))
    p, bound = solution.outputs["p"][0], solution.output_bounds["p"][0]
    assert abs(value - p) + bound <= float(said[4]) <= 1.2 * bound
    said = re.fullmatch(r"q = (\S+) ([+-]) (\S+)i ± (\S+)", second)
    assert said is not None
    assert last == f"error of the solution ≤ {rounded_up(solution.bound[0])} in the P-norm"
    assert explorer.outputs == ("p", "q", ERROR)
    assert explorer.label(1) == "k [1/m]"


@pytest.mark.parametrize(("part", "function"), [("modulus", np.abs), ("real", np.real), ("imag", np.imag)])
def test_parts_of_a_complex_output(wave: Any, part: str, function: Any) -> None:
    explorer = Explorer(wave)
    assert explorer.complex_valued
    assert explorer.over == 1  # the first that is not fixed
    explorer.part = part
    curve = explorer.curve(explorer.answers)
    solution = wave.solve(np.column_stack([np.full(81, 2.0), curve.x]))
    p, bound = solution.outputs["p"], solution.output_bounds["p"]
    np.testing.assert_allclose(curve.middle, function(p), rtol=1e-12)
    np.testing.assert_allclose(curve.high, function(p) + bound, rtol=1e-12)
    low = function(p) - bound
    np.testing.assert_allclose(curve.low, np.maximum(low, 0) if part == "modulus" else low, rtol=1e-12)
    assert curve.ylabel == f"p [Pa], {part}"


def test_the_band_of_a_modulus_ends_at_zero(wave: Any) -> None:
    explorer = Explorer(wave)
    explorer.part = "modulus"
    known = explorer.answers
    middle, low, high, _ = explorer._band(replace(known, bounds={"p": np.abs(known.values["p"]) + 1}), "p")
    np.testing.assert_array_equal(low, 0)
    np.testing.assert_allclose(high, 2 * middle + 1)


@pytest.mark.parametrize("position", [-1e-9, 1 + 1e-9, np.nan])
def test_points_outside_are_impossible(fin: Any, position: float) -> None:
    explorer = Explorer(fin)
    before = explorer.point.copy()
    with pytest.raises(rbm.ParameterError, match=r"outside \[0, 1\]"):
        explorer.move(0, position)
    with pytest.raises(rbm.ParameterError, match=r"k1 = .* is outside \[0.1, 10\]"):
        explorer.put(0, 20 * position)
    np.testing.assert_array_equal(explorer.point, before)
    for s in (0.0, 0.123, 1.0):
        explorer.move(0, s)
        assert explorer.position(0) == pytest.approx(s, rel=1e-12, abs=1e-14)
        assert 0.1 <= explorer.point[0] <= 10


def test_points_without_an_answer_are_a_sentence_and_a_gap() -> None:
    """A(mu) is singular at a = 0, the bound not positive for c >= 3, a coefficient not there for b <= 0."""
    model = fragile_model()
    reduced = rbm.project(model, np.eye(3)[:, :2])
    explorer = Explorer(reduced)
    assert "No answer here" in explorer.sentences(explorer.answers)[0]  # the middle of the ranges: a = b = 0
    assert explorer.outputs == ("first", ERROR)
    explorer.put(1, 0.5)
    explorer.put(2, 1.0)
    curve = explorer.curve(explorer.answers)
    assert curve.x[40] == 0
    assert np.array_equal(np.flatnonzero(np.isnan(curve.middle)), [40])
    assert "singular" in curve.missing
    assert "row" not in curve.missing
    explorer.put(0, 0.5)
    explorer.over = 2
    curve = explorer.curve(explorer.answers)
    assert np.array_equal(np.isnan(curve.middle), curve.x >= 3)
    assert "stability bound" in curve.missing
    window = Window(explorer, agg_figure)
    window.sliders[2].set_val(1.0)
    assert "No answer here: the stability bound" in window.picture.words.get_text()
    assert "no answer at 21 of 81 points" in window.picture.note.get_text().replace("\n", " ")
    assert len(window.picture.dot.get_xdata()) == 0
    window.sliders[2].set_val(0.1)
    assert "first =" in window.picture.words.get_text()
    assert len(window.picture.dot.get_xdata()) == 1


def test_time_is_one_more_coordinate(heat: Any) -> None:
    explorer = Explorer(heat, problems.thermal_fin_basis(1))
    assert explorer.names == ("k1", "k2", "k3", "k4", "Bi", "t")
    assert explorer.over == 5
    answer = heat.solve(explorer.point[:-1])
    curve = explorer.curve(explorer.answers)
    np.testing.assert_array_equal(curve.x, heat.times)
    np.testing.assert_allclose(curve.middle, answer.outputs["T_root"][0], rtol=1e-12)
    np.testing.assert_allclose(curve.high, (answer.outputs["T_root"] + answer.output_bounds["T_root"])[0], rtol=1e-12)
    explorer.put(5, heat.times[3])
    np.testing.assert_allclose(explorer.field(), heat.reconstruct(answer)[0, 3], rtol=1e-12)
    assert explorer.answers.error[0] == answer.bound_l2[0, 3]
    explorer.over = 0
    curve = explorer.curve(explorer.answers)
    mus = np.repeat(explorer.point[None, :-1], 81, axis=0)
    mus[:, 0] = curve.x
    np.testing.assert_allclose(curve.middle, heat.solve(mus).outputs["T_root"][:, 3], rtol=1e-12)
    assert not explorer.log_scale(5)
    assert explorer.log_scale(0)
    for k, time in enumerate(heat.times):  # the nearest step, also where time / dt is rounded down, and between steps
        for moved in (0.0, -0.4, 0.4):
            explorer.put(5, float(np.clip(time + moved * heat.dt, 0, heat.times[-1])))
            assert explorer.point[5] == heat.times[k]


def test_the_field_has_its_fixed_values(block: Any) -> None:
    basis = problems.thermal_block_basis(6)
    explorer = Explorer(block, basis)
    explorer.move(4, 0.0)
    np.testing.assert_array_equal(explorer.field(), rbm.fields(block, explorer.point, basis).values[0])
    edge = basis.get_dofs().flatten()
    assert np.all(explorer.field()[edge] == 0)
    with pytest.raises(rbm.ModelError, match="the model has 85 unknowns"):
        Explorer(block, problems.thermal_block_basis(9))
    bracket = problems.elastic_bracket(1)
    bent = rbm.greedy(bracket, bracket.parameters.sample(4), max_basis=2).reduced_model
    explorer = Explorer(bent, problems.elastic_bracket_basis(1))
    whole = rbm.fields(bent, explorer.point, problems.elastic_bracket_basis(1)).values[0]
    np.testing.assert_allclose(explorer.field(), np.linalg.norm(whole, axis=1), rtol=1e-12)
    with pytest.raises(rbm.ModelError, match="this mesh is one in space"):
        Window(explorer, agg_figure)


def press(window: Window, ax: Any, x: float, y: float = 0.5) -> None:
    """Press, and let go, the mouse at a place of axes, in shares of their size."""
    canvas = window.figure.canvas
    at = ax.transAxes.transform((x, y))
    for name in ("button_press_event", "button_release_event"):
        canvas.callbacks.process(name, MouseEvent(name, canvas, *at, button=1))


def drag(window: Window, ax: Any, places: list[float]) -> None:
    canvas = window.figure.canvas
    for k, x in enumerate(places):
        at = ax.transAxes.transform((x, 0.5))
        name = "motion_notify_event" if k else "button_press_event"
        canvas.callbacks.process(name, MouseEvent(name, canvas, *at, button=1))
    name = "button_release_event"
    canvas.callbacks.process(name, MouseEvent(name, canvas, *at, button=1))


@pytest.mark.parametrize("with_field", [False, True])
def test_a_slider_moves_point_numbers_and_picture(fin: Any, with_field: bool) -> None:
    mesh = problems.thermal_fin_basis(1) if with_field else None
    window = Window(Explorer(fin, mesh), agg_figure)
    before = window.picture.image().copy()
    drag(window, window.sliders[4].ax, [0.5, 0.6, 0.7, 0.8])
    explorer = window.explorer
    assert explorer.position(4) == pytest.approx(0.8, abs=0.01)
    np.testing.assert_array_equal(np.delete(explorer.point, 4), 1.0)
    curve = explorer.curve(explorer.answers)
    np.testing.assert_array_equal(window.picture.line.get_ydata(), curve.middle)
    np.testing.assert_array_equal(window.picture.dot.get_ydata(), [curve.at[1]])
    band = window.picture.band.get_paths()[0].vertices
    np.testing.assert_array_equal(band[:81, 1], curve.low)
    assert window.sliders[4].valtext.get_text() == f"{explorer.point[4]:.4g}"
    assert window.picture.words.get_text().startswith("T_root = ")
    after = window.picture.image().copy()
    assert not np.array_equal(before, after)
    window.figure.canvas.draw()  # all anew: what was drawn over the background is the same picture
    np.testing.assert_array_equal(window.picture.image(), after)
    drag(window, window.sliders[4].ax, [0.8, 5.0])  # far beyond the end of the slider
    assert explorer.point[4] == 1.0


def test_back_and_forth_is_the_same_picture(block: Any) -> None:
    """Nothing of an old picture is left over: the point, numbers at axes, curve and field."""
    window = Window(Explorer(block, problems.thermal_block_basis(6)), agg_figure)
    drag(window, window.sliders[0].ax, [0.5, 0.0])
    first = window.picture.image().copy()
    drag(window, window.sliders[0].ax, [0.0, 0.03])
    drag(window, window.sliders[0].ax, [0.03, 0.0])
    np.testing.assert_array_equal(window.picture.image(), first)


def test_a_canvas_is_not_asked_to_show_itself_while_it_is_drawn(fin: Any, monkeypatch: Any) -> None:
    """Qt draws while it paints, and warns of a second paint in the first."""
    window = Window(Explorer(fin), agg_figure)
    shown: list[Any] = []
    monkeypatch.setattr(window.figure.canvas, "blit", shown.append, raising=False)
    window.figure.canvas.draw()
    assert shown == []
    window.sliders[4].set_val(0.7)
    assert len(shown) == 2  # the slider and the picture


def test_the_pixels_of_a_field_end_at_its_outline(block: Any) -> None:
    """At any size of the window no white line is between them, and none of them is outside."""
    window = Window(Explorer(block, problems.thermal_block_basis(6)), agg_figure)
    wide, high = window.figure.get_size_inches()
    for k in range(12):
        window.figure.set_size_inches(wide + 0.137 * k, high + 0.053 * k)
        window.figure.canvas.draw()
        image = window.picture.image()[::-1, :, :3].astype(int)
        box = window.picture.panel._pixels.axes.get_window_extent()
        (left, bottom), (right, top) = np.rint(box.get_points()).astype(int)
        for line in (
            image[(bottom + top) // 2, left + 2 : right - 2],
            image[bottom + 2 : top - 2, (left + right) // 2],
        ):
            (coloured,) = np.nonzero(np.any(line < 200, axis=1))
            (outline,) = np.nonzero(np.all(np.abs(line - 0.35 * 255) < 30, axis=1))
            assert (coloured[0], coloured[-1]) == (outline[0], outline[-1])
            assert len(coloured) == coloured[-1] - coloured[0] + 1


def test_canvases_that_keep_no_background_are_drawn_in_full(fin: Any) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    class Plain(FigureCanvasAgg):
        supports_blit = False

    def make(size: tuple[float, float]) -> Any:
        figure = mpl.figure.Figure(figsize=size)
        Plain(figure)
        return figure

    window = Window(Explorer(fin, problems.thermal_fin_basis(1)), make)
    for position in (0.5, 0.9):
        window.sliders[4].set_val(position)
        seen = {tuple(color) for color in window.picture.image().reshape(-1, 4)}
        assert {(0xD5, 0x5E, 0x00, 255), (0x00, 0x72, 0xB2, 255)} <= seen  # the point, the curve


def test_buttons_choose_output_coordinate_and_part(wave: Any, fin: Any) -> None:
    window = Window(Explorer(wave), agg_figure)
    explorer, picture = window.explorer, window.picture
    assert window.buttons["next part"].ax.get_visible()
    press(window, window.buttons["next part"].ax, 0.5)
    assert (explorer.part, picture.ax.get_title(loc="left")) == ("real", "p [Pa], real")
    press(window, window.buttons["last output"].ax, 0.5)
    assert explorer.outputs[explorer.output] == ERROR
    assert picture.ax.get_yscale() == "log"
    assert not window.buttons["next part"].ax.get_visible()
    press(window, window.buttons["next over"].ax, 0.5)
    assert explorer.over == 1  # the other parameter is fixed
    window.sliders[0].set_val(0.9)
    assert explorer.point[0] == 2.0
    window = Window(Explorer(fin), agg_figure)
    press(window, window.buttons["last over"].ax, 0.5)
    assert window.picture.ax.get_xlabel() == "Bi"
    assert window.picture.ax.get_xscale() == "log"


def overlaps(window: Window) -> list[tuple[str, str]]:
    """Pairs of texts that lie on each other, and texts that leave the figure."""
    renderer = window.figure.canvas.get_renderer()
    texts = [t for t in window.figure.findobj(mpl.text.Text) if t.get_text().strip() and t.get_visible()]
    texts = [t for t in texts if t.axes is None or t.axes.get_visible()]
    numbers = {t for axis in window.figure.findobj(mpl.axis.Axis) for t in axis.findobj(mpl.text.Text)}
    labels = {axis.label for axis in window.figure.findobj(mpl.axis.Axis)}
    shown = {t.get_text(): t.get_window_extent(renderer) for t in texts if t not in numbers - labels}
    width, height = window.figure.canvas.get_width_height()
    bad = [(n, "the edge") for n, b in shown.items() if b.x0 < 0 or b.y0 < 0 or b.x1 > width or b.y1 > height]
    names = list(shown)
    for i, one in enumerate(names):
        bad += [(one, other) for other in names[i + 1 :] if shown[one].padded(-1).overlaps(shown[other].padded(-1))]
    return bad


def test_nothing_overlaps(block: Any, fin: Any, wave: Any, heat: Any) -> None:
    rng = np.random.default_rng(0)
    names = [f"conductivity_of_part_{k}" for k in range(17)]
    space = rbm.ParameterSpace(dict.fromkeys(names, (1.0, 2.0)))
    terms = [(name, np.diag(np.eye(17)[k])) for k, name in enumerate(names)]
    outputs = {f"temperature_of_the_part_{k}": rng.standard_normal(17) for k in range(23)}
    many = rbm.FullOrderModel(terms, [(1.0, np.ones(17))], np.eye(17), space, 1.0, outputs=outputs)
    large = rbm.project(many, np.linalg.qr(rng.standard_normal((17, 3)))[0])
    for reduced, mesh in (
        (block, problems.thermal_block_basis(6)),
        (fin, None),
        (wave, None),
        (heat, problems.thermal_fin_basis(1)),
        (large, None),
    ):
        window = Window(Explorer(reduced, mesh), agg_figure)
        assert overlaps(window) == []
        window.choose("output", 7)
        assert overlaps(window) == []


def test_widgets_in_a_notebook(fin: Any, wave: Any) -> None:
    widgets = pytest.importorskip("ipywidgets")
    from rbm.show.explore.notebook import Notebook

    made = Notebook(Explorer(fin, problems.thermal_fin_basis(1)))
    assert isinstance(made.widget, widgets.HBox)
    first = bytes(made.image.value)
    assert first.startswith(b"\x89PNG")
    made.sliders[4].value = 0.5
    assert made.explorer.point[4] == pytest.approx(0.5, rel=1e-12)
    assert made.picture.dot.get_ydata()[0] == fin.solve(made.explorer.point).outputs["T_root"][0]
    assert bytes(made.image.value) != first
    made.sliders[4].value = 7.0  # beyond the range: the end of it
    assert made.explorer.point[4] == 1.0
    made.choices["over"].value = 4
    made.choices["output"].value = 1
    assert made.picture.ax.get_xlabel() == "Bi"
    assert made.picture.ax.get_title(loc="left") == ERROR
    assert made.choices["part"].layout.display == "none"
    waves = Notebook(Explorer(wave))
    assert waves.choices["part"].layout.display == ""
    assert waves.choices["over"].options == (("k", 1),)
    waves.choices["part"].value = "imag"
    assert waves.picture.ax.get_title(loc="left") == "p [Pa], imag"


def test_a_cell_of_a_notebook_shows_the_widget() -> None:
    pytest.importorskip("ipywidgets")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    code = """
import problems, rbm
model = problems.reaction_diffusion_1d(20)
reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=3).reduced_model
rbm.explore(reduced)
"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
    (shown,) = [o for o in book.cells[0].outputs if o["output_type"] == "execute_result"]
    assert "application/vnd.jupyter.widget-view+json" in shown["data"]


def test_explore_chooses_its_front(fin: Any, monkeypatch: Any) -> None:
    with pytest.raises(rbm.ModelError, match=r"no display .*rbm export MODEL --html page\.html"):
        rbm.explore(fin)
    with pytest.raises(rbm.ModelError, match="front must be one of 'notebook', 'window', got 'web'"):
        rbm.explore(fin, front="web")
    pytest.importorskip("ipywidgets")
    assert len(rbm.explore(fin, front="notebook").children) == 2


def test_numbers_never_say_less_than_their_bounds() -> None:
    rng = np.random.default_rng(0)
    for value, bound in zip(rng.standard_normal(300), 10.0 ** rng.uniform(-16, 3, 300), strict=True):
        said = float(rounded_up(bound))
        assert bound <= said <= 1.1 * bound
        text, _, error = with_bound(value, bound).partition(" ± ")
        assert abs(float(text) - value) + bound <= float(error) * (1 + 1e-15)
        assert float(error) <= 1.25 * bound or float(error) < 1e-14
