"""Figures: they are drawn, labelled, and show what they are given."""

from __future__ import annotations

import copy
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from conftest import Case
from helpers.scattering_models import scattering

import rbm
from problems import thermal_block
from problems.acoustics import scattering_figures
from rbm import plots
from rbm.estimate import Estimate

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def estimates(diffusion: Case) -> dict[str, dict[int, Estimate]]:
    methods = ("orthonormal", "direct", "expanded")
    reduced = {n: diffusion.result.reduced_model.truncate(n) for n in range(1, 9)}
    return {m: {n: r.estimate(diffusion.tests, method=m) for n, r in reduced.items()} for m in methods}


def drawn(ax: object) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata()) for line in ax.lines if len(line.get_ydata())]  # type: ignore[attr-defined]


def test_estimators_over_size_draws_the_largest_values(estimates: dict[str, dict[int, Estimate]]) -> None:
    sizes, errors = list(range(1, 9)), [10.0**-n for n in range(1, 9)]
    ax = plots.estimators_over_size(sizes, errors, estimates)
    curves = drawn(ax)
    for per_size in estimates.values():
        assert any(np.array_equal(c, [per_size[n].value.max() for n in sizes]) for c in curves)
    assert any(np.array_equal(c, errors) for c in curves)
    assert ax.get_yscale() == "log"
    assert "N" in ax.get_xlabel()
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "true error" in labels
    assert any("floor" in text for text in labels)


def test_points_that_are_not_resolved_are_hollow(estimates: dict[str, dict[int, Estimate]]) -> None:
    ax = plots.estimators_over_size([3, 8], [1e-4, 1e-14], {"expanded": estimates["expanded"]})
    (points,) = [c for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection)]
    assert points.get_facecolors()[1].tolist() == [1, 1, 1, 1]
    assert points.get_facecolors()[0].tolist() != [1, 1, 1, 1]

    def legend(sizes: list[int]) -> list[str]:
        of = {"expanded": {n: estimates["expanded"][n] for n in sizes}}
        ax = plots.estimators_over_size(sizes, [1e-4] * len(sizes), of)
        return [text.get_text() for text in ax.get_legend().get_texts()]

    assert "hollow: not resolved" in legend([3, 8])
    assert "hollow: not resolved" not in legend([3])  # where none is


def test_estimators_over_parameter_sorts_the_parameters(
    diffusion: Case, estimates: dict[str, dict[int, Estimate]]
) -> None:
    mu = diffusion.tests[:, 0]
    ax = plots.estimators_over_parameter(mu, np.ones(len(mu)), {"direct": estimates["direct"][3]}, log=True)
    x = np.asarray(ax.lines[0].get_xdata())
    assert np.all(np.diff(x) >= 0)
    np.testing.assert_array_equal(np.asarray(ax.lines[0].get_ydata()), estimates["direct"][3].value[np.argsort(mu)])


def test_effectivity_and_decay_and_solutions() -> None:
    ax = plots.effectivity([1, 2], {"orthonormal": {1: np.array([1.0, 2.0, 4.0]), 2: np.array([1.0, 3.0, 5.0])}})
    assert any(np.array_equal(c, [2.0, 3.0]) for c in drawn(ax))
    assert [t.get_text() for t in ax.get_legend().get_texts()].count("smallest to largest") == 1
    ax = plots.eim_decay({"a": np.array([1.0, 1e-3])}, round_off=1e-16)
    assert any(np.array_equal(c, [1.0, 1e-3]) for c in drawn(ax))
    ax = plots.solutions(np.array([0.0, 1.0]), np.array([[1.0, 2.0]]), ["u"])
    assert ax.get_legend().get_texts()[0].get_text() == "u"


def test_selected_parameters_in_one_and_many_dimensions(diffusion: Case) -> None:
    ax = plots.selected_parameters(diffusion.result.parameters, diffusion.model.parameters)
    assert ax.get_xlabel() == r"$\mu$"
    space = thermal_block((2, 2), 4).parameters
    ax = plots.selected_parameters(space.sample(5), space)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["$k_{1}$", "$k_{2}$", "$k_{3}$", "$k_{4}$"]
    log = rbm.ParameterSpace({"alpha2": (1.0, 100.0)}, scale="log")
    assert plots.selected_parameters(log.sample(3), log).get_xscale() == "log"


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_selected_parameters_lie_inside_the_frame(p: int, scale: str) -> None:
    """Also those at the ends of the ranges, whose marks the frame would cut in half."""
    space = rbm.ParameterSpace({f"k{i}": (1.0, 5.0) for i in range(p)}, scale=scale)
    ends = np.stack([np.full(p, 1.0), np.full(p, 5.0), np.full(p, 2.0)])
    ax = plots.selected_parameters(ends, space)
    shown = np.concatenate([c.get_offsets() for c in ax.collections])
    for (low, high), values in zip((ax.get_xlim(), ax.get_ylim()), shown.T, strict=True):
        assert low < values.min()
        assert values.max() < high
    assert len(ax.figure.axes) == (1 if p == 1 else 2)  # the colour bar would repeat the y axis for one parameter
    if p == 2:
        np.testing.assert_array_equal(shown, ends)  # pairs stay pairs
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("$k_{0}$", "$k_{1}$")


@pytest.mark.parametrize(
    ("ratios", "labels"),
    [
        ([1.2, 2.5, 5.8], ["1", "2", "3", "5"]),
        ([1.3, 8.0, 20.0], ["1", "2", "3", "5", "10", "20"]),
        ([1.0, 1e3, 1e8], []),
    ],
)
def test_short_log_axes_have_plain_ticks(ratios: list[float], labels: list[str]) -> None:
    ax = plots.effectivity([1, 2], {"orthonormal": {n: np.array(ratios) for n in (1, 2)}})
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    ticks = [*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks()]
    shown = [t.label1.get_text() for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()]
    assert shown == labels if labels else all("10^" in text for text in shown)


def test_the_legend_of_effectivity_hides_no_line() -> None:
    ax = plots.effectivity(
        [1, 30], {m: {n: np.array([1.3, 2.5, 4.0]) for n in (1, 30)} for m in ("expanded", "direct")}
    )
    ax.figure.draw_without_rendering()
    assert not ax.get_legend().get_window_extent().overlaps(ax.get_window_extent())


def test_floors_far_below_all_curves_leave_no_empty_decades(estimates: dict[str, dict[int, Estimate]]) -> None:
    sizes = [1, 2]
    few = {m: {n: estimates[m][n] for n in sizes} for m in estimates}
    low, high = plots.estimators_over_size(sizes, [1e-2, 1e-3], few, floors=("expanded",)).get_ylim()
    assert max(few["expanded"][n].floor.max() for n in sizes) / 20 < low < 1e-3 < high
    low, _ = plots.estimators_over_size(sizes, [1e-2, 1e-3], few, floors=()).get_ylim()
    assert low >= 1e-5


def test_one_parameter_that_varies_is_a_colour_bar_of_the_far_field() -> None:
    model = scattering()
    reduced = rbm.greedy(model, model.parameters.sample(60), max_basis=2, progress=False).reduced_model
    figure = scattering_figures.far_field_pattern(
        model, reduced, np.array([[0.0, 0.5], [1.0, 0.5], [2.0, 0.5]]), angles=9
    )
    assert figure.axes[0].get_legend() is None
    assert figure.axes[1].get_ylabel() == r"$\beta_{1}$   ($\beta_{2}$ = 0.5)"
    assert figure.axes[1].get_ylim() == (0, 2)


@pytest.mark.parametrize("d", np.vstack([np.eye(3), -np.eye(3), [[0.6, 0.0, 0.8], [1 / 3, 2 / 3, -2 / 3]]]))
def test_the_wave_comes_from_the_left_whatever_its_direction(d: np.ndarray) -> None:
    model = scattering()
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=1, progress=False).reduced_model
    model = copy.copy(model)  # the original belongs to other tests, too
    model.problem = replace(model.problem, direction=d)
    ax = scattering_figures.surface_pressure(model, reduced, np.array([[0.5, 0.5]])).axes[0]
    ax.figure.draw_without_rendering()
    from mpl_toolkits.mplot3d.proj3d import proj_transform

    (x0, y0, _), (x1, y1, _) = (proj_transform(*(t * d), ax.get_proj()) for t in (-1.0, 1.0))
    assert x1 - x0 > 5 * abs(y1 - y0)


def test_save_writes_both_formats_and_the_same_bytes_again(tmp_path: Path) -> None:
    ax = plots.solutions(np.array([0.0, 1.0]), np.array([[1.0, 2.0]]), ["u"])
    first = [p.read_bytes() for p in plots.save(ax, tmp_path / "figure")]
    assert [p.name for p in plots.save(ax, tmp_path / "figure")] == ["figure.png", "figure.pdf"]
    assert [(tmp_path / f"figure.{k}").read_bytes() for k in ("png", "pdf")] == first


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m.split(".")[0] in ("matplotlib", "skfem")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "skfem", None)
    with pytest.raises(ImportError, match=r"drawing a figure needs the package matplotlib.*pip install matplotlib"):
        plots.solutions(np.zeros(2), np.zeros((1, 2)), ["u"])
    with pytest.raises(ImportError, match=r"thermal_block needs the package scikit-fem.*pip install scikit-fem"):
        thermal_block((2, 2), 4)


def test_scattering_figures_show_the_numbers() -> None:
    model = scattering()
    result = rbm.greedy(model, model.parameters.sample(60), max_basis=6, progress=False)
    reduced = result.reduced_model
    mus = np.array([[0.0, 0.0], [1.5, 0.5]])
    figure = scattering_figures.surface_pressure(model, reduced, mus)
    faces = figure.axes[0].collections[0]
    u = np.abs(reduced.reconstruct(reduced.solve(mus).coefficients))
    corners = u[0][model.mesh.triangles]
    pieces = faces.get_array().reshape(corners.shape[1], -1).T  # of each triangle, cut for smooth colours
    np.testing.assert_allclose(pieces.mean(axis=0), corners.mean(axis=0))
    assert np.all(pieces <= corners.max(axis=0))
    assert np.all(pieces >= corners.min(axis=0))
    assert np.any(pieces > corners.mean(axis=0) + 1e-3)
    assert figure.axes[1].get_title() == r"$\beta_{1}$ = 1.5, $\beta_{2}$ = 0.5"
    pattern = scattering_figures.far_field_pattern(model, reduced, mus, angles=5).axes[0]
    forward = np.abs(reduced.solve(mus).outputs["forward"])
    np.testing.assert_allclose([line.get_ydata()[0] for line in pattern.lines], forward, rtol=1e-10)
    inf_sup = scattering_figures.inf_sup_constant(model, points=3).axes
    assert pattern.get_legend() is not None  # two parameters vary
    truth, bound = inf_sup[0].lines
    assert np.all(np.interp(truth.get_xdata(), bound.get_xdata(), bound.get_ydata()) <= truth.get_ydata())
    assert len(inf_sup[1].collections[-1].get_offsets()) == len(model.stability.constants)
    field = scattering_figures.near_field(model, reduced, mus[:1], side=20).axes[0]
    values = np.ma.filled(field.collections[0].get_array().astype(float), np.nan)
    assert 0 < np.isnan(values).sum() < values.size / 4  # the obstacle
    (path,) = (patch.get_path() for patch in field.patches)
    distance = np.linalg.norm(path.vertices[path.codes != path.CLOSEPOLY], axis=1)
    assert 0.8 < distance.min() <= distance.max() <= 1 + 1e-12  # the surface itself, not a wide line around it
    assert path.contains_points([[0.0, 0.0], [0.7, 0.0], [1.05, 0.0]]).tolist() == [True, True, False]
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("mu", r"$\mu$"),
        ("k3", "$k_{3}$"),
        ("beta_2", r"$\beta_{2}$"),
        ("beta_1_re", r"$\mathrm{Re}\,\beta_{1}$"),
        ("beta_1_im", r"$\mathrm{Im}\,\beta_{1}$"),
        ("k", "$k$"),
        ("Bi", r"$\mathrm{Bi}$"),
        ("gap_2", r"$\mathrm{gap}_{2}$"),
    ],
)
def test_parameter_names_as_formulas(name: str, shown: str) -> None:
    assert plots.symbol(name) == shown


def test_the_near_field_is_continued_from_outside_where_the_quadrature_fails() -> None:
    values = np.arange(49.0).reshape(7, 7)
    values[2:5, 2:5] = np.nan  # the obstacle
    near = np.zeros((7, 7), dtype=bool)
    near[1:6, 1:6] = True
    wrong = np.where(near & np.isfinite(values), 1e9, values)
    shown = scattering_figures._continued(wrong, near)
    outside = ~near
    np.testing.assert_array_equal(shown[outside], values[outside])
    assert shown[1, 3] == pytest.approx(np.mean([2, 3, 4]))  # of its neighbours that can be trusted
    assert np.nanmax(shown) < 49
    assert np.isnan(shown[3, 3])


@pytest.mark.parametrize("count", [1, 2])
def test_selected_parameters_of_three_with_one_fixed_are_all_drawn(count: int) -> None:
    space = rbm.ParameterSpace({"a": (0.0, 1.0), "b": (2.0, 2.0), "c": (1.0, 3.0)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plots.selected_parameters(space.sample(count), space)
    drawn = ax.collections[0]
    assert np.all(np.isfinite(drawn.get_offsets()))
    assert list(drawn.get_array()) == [step for step in range(1, count + 1) for _ in range(3)]
