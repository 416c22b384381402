"""Solutions as people hold them.

With their points, sliced, as tables with units, reconstructed; and names that make columns.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.other_arrays import xp

import rbm
from rbm.command_line import main

MUS = np.array([[1.5, 0.25], [40.0, 1.0], [99.0, 2.0], [7.0, 0.5]])


def make_model(**others: object) -> rbm.FullOrderModel:
    arguments = {
        "operators": [(1.0, np.diag([2.0, 3.0, 4.0])), ("mu + 1j*nu", np.diag([1.0, 2.0, 1.0]))],
        "rhs": [(1.0, np.ones(3))],
        "product": np.diag([2.0, 3.0, 4.0]),
        "parameters": rbm.ParameterSpace({"mu": (1.0, 100.0), "nu": (0.0, 2.0)}, units={"mu": "W/m/K"}),
        "stability": 1.0,
        "outputs": {"mean": np.ones(3), "energy": np.eye(3)},
        "output_units": {"mean": "K"},
    }
    return rbm.FullOrderModel(**{**arguments, **others})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def reduced() -> rbm.ReducedModel:
    model = make_model()
    return rbm.greedy(model, model.parameters.sample(20), max_basis=2, progress=False).reduced_model


@pytest.fixture(scope="module")
def solution(reduced: rbm.ReducedModel) -> rbm.Solution:
    return reduced.solve(MUS)


def test_a_solution_knows_its_points_whatever_becomes_of_the_array_given(reduced: rbm.ReducedModel) -> None:
    for count in (1, 4, 200, 5000):  # one point, one piece, several pieces
        mus = np.tile(MUS, (count // 4 + 1, 1))[:count]
        solution = reduced.solve(mus)
        np.testing.assert_array_equal(solution.mus, mus)
        assert not np.shares_memory(solution.mus, mus)
        assert solution.names == ("mu", "nu")
        assert solution.units == {"mu": "W/m/K", "mean": "K"}
        assert solution.method == "orthonormal"
    failing = mus.copy()
    failing[[3, 4000]] = np.nan
    marked = reduced.solve(failing, on_error="mark")
    np.testing.assert_array_equal(marked.mus, failing)
    with pytest.raises(rbm.ParameterError) as caught:
        reduced.solve(failing)
    np.testing.assert_array_equal(caught.value.solution.mus, failing)
    nothing = reduced.solve(np.full((300, 2), np.nan), on_error="mark")
    assert nothing.mus.shape == (300, 2)
    assert nothing.names == ("mu", "nu")
    assert reduced.solve([2.0, 1.0]).mus.tolist() == [[2.0, 1.0]]
    assert reduced.solve({"nu": 1.0, "mu": [2.0, 3.0]}, estimate=False).mus.tolist() == [[2.0, 1.0], [3.0, 1.0]]
    parts = list(reduced.stream(mus, size=2000))
    np.testing.assert_array_equal(np.concatenate([p.mus for p in parts]), mus)


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        slice(1, 3),
        slice(None, None, -2),
        [2, 0, 2],
        np.array([3]),
        MUS[:, 0] > 5,
        np.zeros(4, dtype=bool),
        range(2),
    ],
    ids=str,
)
def test_points_are_taken_out_of_a_solution(solution: rbm.Solution, index: object) -> None:
    part, rows = solution[index], np.atleast_1d(np.arange(4)[index])  # type: ignore[index]
    assert len(part) == len(rows)
    assert part.estimate is not None
    for got, whole in (
        (part.mus, solution.mus),
        (part.coefficients, solution.coefficients),
        (part.bound, solution.bound),
        (part.estimate.resolved, solution.estimate.resolved),  # type: ignore[union-attr]
        *((part.outputs[name], solution.outputs[name]) for name in solution.outputs),
        *((part.output_bounds[name], solution.output_bounds[name]) for name in solution.outputs),
    ):
        np.testing.assert_array_equal(got, whole[rows])
    assert part.names == solution.names
    assert (part.failed.tolist(), part.reasons) == ([], ())
    if len(part):
        assert f"Solution({len(part)} points" in repr(part)


def test_failed_points_stay_marked_in_a_part(reduced: rbm.ReducedModel) -> None:
    mus = MUS.copy()
    mus[1] = np.nan
    marked = reduced.solve(mus, on_error="mark")
    assert marked[1:].failed.tolist() == [0]
    assert marked[[3, 1, 1]].failed.tolist() == [1, 2]
    assert marked[[3, 1]].reasons == marked.reasons
    assert marked[2:].reasons == ()
    assert [len(point.failed) for point in marked] == [0, 1, 0, 0]


@pytest.mark.parametrize("index", [4, -5, [4], np.zeros(3, dtype=bool), np.zeros((2, 2), dtype=int), True, 1.5, None])
def test_indices_that_are_none(solution: rbm.Solution, index: object) -> None:
    with pytest.raises(IndexError):
        solution[index]
    with pytest.raises(TypeError, match=r"indexed by points, got 'mean'; outputs are in solution.outputs"):
        solution["mean"]


def test_a_dictionary_has_the_columns_of_the_command_line(
    reduced: rbm.ReducedModel, solution: rbm.Solution, tmp_path: Path
) -> None:
    reduced.save(tmp_path / "m.rbm")
    (tmp_path / "in.csv").write_text("mu,nu\n" + "".join(f"{a!r},{b!r}\n" for a, b in MUS.tolist()))
    assert (
        main(["query", str(tmp_path / "m.rbm"), "--csv", str(tmp_path / "in.csv"), "-o", str(tmp_path / "out.csv")])
        == 0
    )
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    columns = solution.to_dict()
    assert list(columns) == list(rows[0])
    assert list(columns)[:6] == ["mu", "nu", "mean_re", "mean_im", "mean_bound", "energy"]
    for name, values in columns.items():
        assert [float(row[name]) for row in rows] == values.astype(float).tolist(), name
    assert columns["resolved"].dtype == bool
    bare = reduced.solve(MUS, estimate=False).to_dict()
    assert list(bare) == ["mu", "nu", "mean_re", "mean_im", "energy"]


def test_a_model_in_few_bits_has_a_column_for_their_share(reduced: rbm.ReducedModel) -> None:
    solution = reduced.quantize(6).solve(MUS)
    columns = solution.to_dict()
    assert list(columns)[-4:] == ["error_bound", "floor", "quantization_error", "resolved"]
    np.testing.assert_array_equal(columns["quantization_error"], solution.quantization_error)
    assert np.all(columns["quantization_error"] > 0)
    pytest.importorskip("xarray")
    data = solution.to_xarray()
    np.testing.assert_array_equal(data["quantization_error"], solution.quantization_error)
    assert "few bits" in data["quantization_error"].attrs["long_name"]
    assert "quantization_error" not in reduced.solve(MUS).to_dict()


def test_data_frames(solution: rbm.Solution) -> None:
    pytest.importorskip("pandas")
    frame = solution.to_dataframe()
    assert list(frame.columns) == list(solution.to_dict())
    assert frame["mean_im"].tolist() == solution.outputs["mean"].imag.tolist()
    assert frame["error_bound"].tolist() == solution.bound.tolist()


def test_datasets_have_coordinates_units_and_meaning(reduced: rbm.ReducedModel, solution: rbm.Solution) -> None:
    pytest.importorskip("xarray")
    data = solution.to_xarray()
    assert data.sizes == {"point": 4, "basis": 2}
    assert set(data.coords) == {"mu", "nu"}
    assert data["mu"].attrs == {"units": "W/m/K"}
    assert data["nu"].attrs == {}
    assert data["mean"].dtype == complex
    np.testing.assert_array_equal(data["mean"], solution.outputs["mean"])
    assert data["mean"].attrs == {"units": "K"}
    assert data["mean_bound"].attrs["units"] == "K"
    assert "at most this" in data["mean_bound"].attrs["long_name"]
    np.testing.assert_array_equal(data["coefficients"], solution.coefficients)
    assert data.attrs["estimator"] == "orthonormal"
    assert "||u(mu) - Z gamma(mu)||_P" in data.attrs["error_bound"]
    assert (
        "the full-order model, round-off included; the error of the discretisation is not" in data.attrs["error_bound"]
    )
    bare = reduced.solve([[np.nan, 1.0], [2.0, 1.0]], coefficients=False, on_error="mark").to_xarray()
    assert "coefficients" not in bare
    assert "is not a finite number" in bare.attrs["failed"]
    assert set(reduced.solve(MUS, estimate=False).to_xarray().data_vars) == {"mean", "energy", "coefficients"}


@pytest.mark.parametrize(("package", "method"), [("pandas", "to_dataframe"), ("xarray", "to_xarray")])
def test_a_missing_package_gives_the_pip_line(
    solution: rbm.Solution, package: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"Solution.{method}\(\) needs the package {package}, .*pip install"):
        getattr(solution, method)()


def test_solutions_on_a_device_are_moved_by_the_user(reduced: rbm.ReducedModel, solution: rbm.Solution) -> None:
    there = reduced.to(xp).solve(MUS)
    assert type(there.mus) is type(there.coefficients)
    for table in (there.to_dict, there.to_dataframe, there.to_xarray):
        with pytest.raises(ValueError, match=r'on a device \(arrays of .*\): take solution.to\("numpy"\)'):
            table()
    back = there[[2, 0]].to("numpy")
    np.testing.assert_array_equal(back.mus, MUS[[2, 0]])
    np.testing.assert_allclose(back.to_dict()["energy"], solution.outputs["energy"][[2, 0]], rtol=1e-12)
    np.testing.assert_array_equal(there[1:3].to("numpy").mus, MUS[1:3])
    full = reduced.to(xp).reconstruct(there[:2])
    np.testing.assert_allclose(np.asarray(xp.asarray(full)), reduced.reconstruct(solution[:2]), rtol=1e-12)


def test_full_vectors_of_a_solution(reduced: rbm.ReducedModel, solution: rbm.Solution) -> None:
    np.testing.assert_array_equal(reduced.reconstruct(solution), reduced.reconstruct(solution.coefficients))
    assert reduced.reconstruct(solution[1]).shape == (1, 3)
    np.testing.assert_array_equal(
        reduced.estimate(MUS, solution).bound, reduced.estimate(MUS, solution.coefficients).bound
    )
    with pytest.raises(ValueError, match="made with coefficients=False and has none; call solve"):
        reduced.reconstruct(reduced.solve(MUS, coefficients=False))
    for use in (reduced.reconstruct, lambda gamma: reduced.estimate(MUS, gamma)):
        with pytest.raises(ValueError, match="coefficients hide 1 entries behind a mask"):
            use(np.ma.masked_equal(solution.coefficients, solution.coefficients[1, 1]))


def test_solutions_are_copied_pickled_and_sent(reduced: rbm.ReducedModel, solution: rbm.Solution) -> None:
    for made in (pickle.loads(pickle.dumps(solution)), copy.deepcopy(solution), copy.copy(solution)):
        np.testing.assert_array_equal(made.mus, solution.mus)
        assert made.to_dict().keys() == solution.to_dict().keys()
        assert made.units == solution.units
    other = pickle.loads(pickle.dumps(reduced)).solve(MUS)
    np.testing.assert_array_equal(other.bound, solution.bound)
    assert other.units == solution.units


def test_units_go_into_the_file_and_through_every_change_of_the_model(
    reduced: rbm.ReducedModel, tmp_path: Path
) -> None:
    reduced.save(tmp_path / "m.rbm")
    again = rbm.load(tmp_path / "m.rbm")
    for model in (again, reduced.truncate(1), reduced.compress(), reduced.to(xp)):
        assert model.output_units == {"mean": "K"}
        assert model.parameters == reduced.parameters
        assert model.solve([2.0, 1.0]).units == {"mu": "W/m/K", "mean": "K"}
    assert reduced.astype("float32").output_units == {"mean": "K"}
    assert "mu in [1, 100] W/m/K" in repr(again)
    with pytest.raises(rbm.ParameterError, match="units name 'flux', which is no output; the names are mean, energy"):
        make_model(output_units={"flux": "W"})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("mean", "mean_bound"), "output 'mean_bound' may need the column 'mean_bound', which the output 'mean' has"),
        (("mean_bound", "mean"), "output 'mean' may need the column 'mean_bound', which the output 'mean_bound' has"),
        (("s", "s_re"), "output 's_re' may need the column 's_re', which the output 's' has"),
        (("s_im", "s"), "output 's' may need the column 's_im', which the output 's_im' has"),
        (("s_bound_bound", "s_bound"), "output 's_bound' may need the column 's_bound_bound'"),
        (("floor",), "output 'floor' may need the column 'floor', which every table has"),
        (("error",), "output 'error' may need the column 'error_bound', which every table has"),
        (("resolved",), "which every table has; choose another name"),
        ((3,), "the name of an output must be a text, got 3; write '3'"),
        ((None,), "the name of an output must be a text, got None"),
        (("",), "output name '' cannot head a column"),
        ((" s",), "output name ' s' cannot head a column"),
        (("a\nb",), r"output name 'a\\nb' cannot head a column"),
    ],
)
def test_outputs_whose_columns_would_collide_are_refused_with_the_model(
    names: tuple[object, ...], message: str
) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        make_model(outputs=dict.fromkeys(names, np.ones(3)), output_units=None)


def test_outputs_may_collide_with_parameters_neither() -> None:
    space = {"s_re": (1.0, 100.0), "nu": (0.0, 2.0)}
    operators = [(1.0, np.diag([2.0, 3.0, 4.0])), ("s_re", np.eye(3))]
    with pytest.raises(rbm.ModelError, match="output 's' may need the column 's_re', which the parameter s_re has"):
        make_model(parameters=space, operators=operators, outputs={"s": np.ones(3)}, output_units=None)
    names = ["temperature (top, left)", "s2", "T°"]
    made = make_model(outputs=dict.fromkeys(names, np.ones(3)), output_units={"T°": "K"})
    assert list(made.outputs) == names


@pytest.mark.parametrize("name", ["floor", "resolved", "error_bound", "coefficients", "point", "basis"])
def test_parameters_called_like_a_column_are_refused_with_the_model(name: str) -> None:
    operators = [(1.0, np.diag([2.0, 3.0, 4.0])), (name, np.eye(3))]
    with pytest.raises(
        rbm.ModelError, match=f"parameter '{name}' would need the column '{name}', which every table has"
    ):
        make_model(parameters={name: (1.0, 2.0)}, operators=operators, output_units=None)


def test_a_parameter_of_an_old_file_keeps_its_column(solution: rbm.Solution) -> None:
    columns = dataclasses.replace(solution, names=("floor", "nu")).to_dict()
    np.testing.assert_array_equal(columns["parameter_floor"], MUS[:, 0])
    np.testing.assert_array_equal(columns["floor"], solution.estimate.floor)  # type: ignore[union-attr]


def test_a_part_has_the_reasons_of_its_own_points(reduced: rbm.ReducedModel) -> None:
    mus = np.concatenate([MUS, [[500.0, 1.0], [np.nan, 1.0], [600.0, 1.0]]])
    marked = reduced.solve(mus, on_error="mark")
    assert len(marked.reasons) == 2
    for row, word in ((4, "outside"), (5, "not a finite"), (6, "outside")):
        assert len(marked[row].reasons) == 1
        assert word in marked[row].reasons[0]
        assert marked[row][0].reasons == marked[row].reasons
    assert marked[:4].reasons == ()
    assert marked[[6, 0, 5]].reasons == marked.reasons


def test_types_do_not_depend_on_failures() -> None:
    terms = [(1.0, np.diag([2.0, 3.0, 4.0])), ("mu", np.eye(3)), ("nu", np.eye(3))]
    model = make_model(operators=terms, outputs={"z": 1j * np.ones(3), "r": np.ones(3)}, output_units=None)
    reduced = rbm.project(model, np.eye(3)[:, :2], training=MUS)
    good, bad = reduced.solve(MUS), reduced.solve([[500.0, 1.0]], on_error="mark")
    assert list(good.to_dict()) == list(bad.to_dict())
    assert good.coefficients.dtype == bad.coefficients.dtype


def test_a_later_change_of_the_points_does_not_reach_the_answer(reduced: rbm.ReducedModel) -> None:
    mus = MUS.copy()
    solutions = [reduced.solve(mus), reduced.solve(mus[0]), *reduced.stream(mus, size=2)]
    mus[:] = 2.0
    assert [s.mus[0, 0] for s in solutions] == [1.5, 1.5, 1.5, 99.0]


def test_what_masks_in_lists_hide_is_no_coefficient(reduced: rbm.ReducedModel, solution: rbm.Solution) -> None:
    rows = [np.ma.array(row, mask=[False, i == 2]) for i, row in enumerate(solution.coefficients)]
    for use in (reduced.reconstruct, lambda gamma: reduced.estimate(MUS, gamma)):
        with pytest.raises(ValueError, match="coefficients hide 1 entries behind a mask"):
            use(rows)


def test_a_solution_of_another_model_is_not_reconstructed(reduced: rbm.ReducedModel, solution: rbm.Solution) -> None:
    for other in (dataclasses.replace(solution, names=("x", "nu")), dataclasses.replace(solution, outputs={})):
        with pytest.raises(ValueError, match="this solution is of another model"):
            reduced.reconstruct(other)


def twin(first: float, **others: object) -> rbm.ReducedModel:
    """Equal names and an equal N as `reduced` has, in a basis of its own."""
    model = make_model(operators=[(1.0, np.diag([first, 3.0, 4.0])), ("mu + 1j*nu", np.diag([1.0, 2.0, 1.0]))])
    return rbm.greedy(model, model.parameters.sample(20), max_basis=2, progress=False, **others).reduced_model  # type: ignore[arg-type]


def test_a_solution_of_another_model_with_equal_names_and_size_is_refused(
    reduced: rbm.ReducedModel, solution: rbm.Solution
) -> None:
    other = twin(2.5)
    assert other.size == reduced.size
    for given in (solution, solution[1:3], pickle.loads(pickle.dumps(solution)), solution.to(xp).to("numpy")):
        mus = given.mus
        for use in (
            other.reconstruct,
            lambda s, mus=mus: other.estimate(mus, s),
            lambda s: other.to(xp).reconstruct(s.to(xp)),
        ):
            with pytest.raises(rbm.ModelError, match=r"another model: .* another basis.*pass solution\.coefficients"):
                use(given)
        assert np.array_equal(other.reconstruct(given.coefficients), given.coefficients @ other.basis.T)
    failing = other.solve(np.array([[500.0, 1.0]]), on_error="mark")
    with pytest.raises(rbm.ModelError, match="another basis"):
        reduced.reconstruct(failing)
    unmarked = dataclasses.replace(solution, origin="")  # of an older file, or made by hand
    assert np.array_equal(other.reconstruct(unmarked), other.reconstruct(solution.coefficients))


def test_what_has_the_same_basis_is_the_same_model(
    reduced: rbm.ReducedModel, solution: rbm.Solution, tmp_path: Path
) -> None:
    whole = reduced.reconstruct(solution)
    models = {"pickled": pickle.loads(pickle.dumps(reduced)), "copied": copy.deepcopy(reduced), "again": twin(2.0)}
    for basis in (True, False):
        reduced.save(tmp_path / "model.rbm", basis=basis)
        models[f"loaded, basis={basis}"] = rbm.load(tmp_path / "model.rbm")
    models["single"], models["compressed"] = reduced.astype("float32"), reduced.compress()
    models["sketched"], models["moved"] = reduced.sketch(), reduced.to(xp).to("numpy")
    single = reduced.astype("float32")
    single.save(tmp_path / "single.rbm", basis=False)
    models["single, loaded without basis"] = rbm.load(tmp_path / "single.rbm")
    for name, model in models.items():
        if model.basis is not None:
            np.testing.assert_array_equal(model.reconstruct(solution), whole, err_msg=name)
        assert np.isfinite(model.estimate(MUS, solution).bound).all(), name
        np.testing.assert_allclose(reduced.reconstruct(model.solve(MUS)), whole, rtol=1e-5, err_msg=name)
    # the same basis projected otherwise: coefficients mean the same
    least = rbm.project(make_model(), reduced.basis, training=MUS, projection="least-squares")
    np.testing.assert_allclose(least.basis, reduced.basis, rtol=0, atol=0)
    assert np.array_equal(least.reconstruct(solution), whole)


def test_truncated_models_are_told_apart_by_their_size(reduced: rbm.ReducedModel, solution: rbm.Solution) -> None:
    small = reduced.truncate(1)
    made = small.solve(MUS)
    assert np.array_equal(reduced.astype("float32").truncate(1).reconstruct(made), small.reconstruct(made))
    for model, given in ((small, solution), (reduced, made)):
        with pytest.raises(ValueError, match=r"coefficients must have shape \(M, "):
            model.reconstruct(given)
    with pytest.raises(rbm.ModelError, match="another basis"):
        twin(2.5).truncate(1).reconstruct(made)
