"""Partitioned models: the interface of a reduced model, leaf by leaf; faces, files, errors."""

from __future__ import annotations

import itertools
import json
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.other_arrays import xp

import rbm
from problems import convection_diffusion
from rbm.command_line import main
from rbm.errors import ModelError
from rbm.reduced.box_tree import BoxTree
from rbm.storage.archive import read_archive, write_archive

#: A bound at a snapshot is round-off, some 7e-15, whose last digits depend on the points that are solved beside it
#: (docs/online.md).
LAST = 1e-22


@pytest.fixture(scope="module")
def model() -> rbm.FullOrderModel:
    return convection_diffusion(12)


@pytest.fixture(scope="module")
def reduced(model: rbm.FullOrderModel) -> rbm.PartitionedModel:
    training = model.parameters.sample(441, "grid")
    made: Any = rbm.greedy(model, training, tol=2e-2, max_basis=9, split=True).reduced_model
    assert len(made.leaves) > 4
    return made


@pytest.fixture(scope="module")
def mus(model: rbm.FullOrderModel, reduced: rbm.PartitionedModel) -> np.ndarray:
    """Points inside, and all corners of all boxes."""
    corners = [list(itertools.product(*box)) for box in reduced.boxes]
    return np.concatenate([model.parameters.sample(300, "random", rng=5), *map(np.array, corners)])


def test_a_point_is_answered_by_its_leaf_and_by_no_other(reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    solution, leaf_of = reduced.solve(mus), reduced.tree.locate(mus)
    for k, leaf in enumerate(reduced.leaves):
        own = leaf_of == k
        alone, some = leaf.solve(mus[own], extrapolate=True), solution[own]
        np.testing.assert_array_equal(some.bound, alone.bound)
        np.testing.assert_array_equal(some.coefficients[:, : leaf.size], alone.coefficients)
        assert not some.coefficients[:, leaf.size :].any()
        for name in reduced.outputs:
            np.testing.assert_array_equal(some.outputs[name], alone.outputs[name])
            np.testing.assert_array_equal(some.output_bounds[name], alone.output_bounds[name])
    assert solution.coefficients.shape == (len(mus), reduced.size)


def test_points_on_faces_belong_to_one_leaf_always_the_same(reduced: rbm.PartitionedModel) -> None:
    """The upper one, in any order, alone or in a batch, whatever the batch is cut into."""
    faces = np.array([[a, b] for box in reduced.boxes for a in box[0] for b in (*box[1], box[1].mean())])
    number = reduced.tree.locate(faces)
    boxes = reduced.boxes[number]
    upper = reduced.parameters.bounds[:, 1]
    assert np.all(boxes[:, :, 0] <= faces)
    assert np.all((faces < boxes[:, :, 1]) | ((faces == upper) & (boxes[:, :, 1] == upper)))
    inside = [
        np.all((b[:, 0] <= mu) & ((mu < b[:, 1]) | ((mu == upper) & (b[:, 1] == upper))))
        for mu in faces
        for b in reduced.boxes
    ]
    assert np.count_nonzero(inside) == len(faces)
    assert [reduced.tree.locate_one(mu) for mu in faces.tolist()] == number.tolist()
    whole = reduced.solve(faces)
    order = np.random.default_rng(0).permutation(len(faces))
    np.testing.assert_array_equal(reduced.solve(faces[order]).bound, whole.bound[order])
    for mu, bound, coefficients in zip(faces[:20], whole.bound, whole.coefficients, strict=False):
        alone = reduced.solve(mu)
        assert alone.bound[0] == pytest.approx(bound, rel=1e-12, abs=LAST)
        np.testing.assert_allclose(alone.coefficients[0], coefficients, rtol=1e-9, atol=1e-12)


def test_bounds_hold(model: rbm.FullOrderModel, reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    solution = reduced.solve(mus)
    reference = model.solve_extended(mus)
    exact = (reference[0] + reference[1]).T
    errors = model.inner_product.norm((exact - reduced.reconstruct(solution)).T)
    assert np.all(errors <= solution.bound)
    assert np.median(solution.bound / errors) < 20
    for name, output in model.outputs.items():
        assert np.all(np.abs(output(mus, exact) - solution.outputs[name]) <= solution.output_bounds[name])


def test_gradients_are_those_of_leaves(
    model: rbm.FullOrderModel, reduced: rbm.PartitionedModel, mus: np.ndarray
) -> None:
    made = reduced.gradient(mus, ["upper_left"])
    values, bounds = made
    number = reduced.tree.locate(mus)
    for k in np.unique(number):
        alone = reduced.leaves[k].gradient(mus[number == k], "upper_left")
        np.testing.assert_allclose(values["upper_left"][number == k], alone.values["upper_left"], rtol=1e-12)
        np.testing.assert_allclose(bounds["upper_left"][number == k], alone.bounds["upper_left"], rtol=1e-12)
    assert made.names == ("vx", "vy")
    np.testing.assert_array_equal(made.mus, mus)
    step = 1e-6
    moved = [mus[:4] + np.array([s, 0.0]) for s in (step, -step)]
    exact = [model.outputs["upper_left"](at, model.solve(at, extrapolate=True)) for at in moved]
    off = np.abs((exact[0] - exact[1]) / (2 * step) - values["upper_left"][:4, 0])
    assert np.all(off <= bounds["upper_left"][:4, 0] + 1e-7)


def test_given_coefficients_are_estimated_in_the_basis_of_their_leaf(
    reduced: rbm.PartitionedModel, mus: np.ndarray
) -> None:
    solution = reduced.solve(mus)
    np.testing.assert_array_equal(reduced.estimate(mus).bound, solution.bound)
    for given in (solution, solution.coefficients):
        np.testing.assert_allclose(reduced.estimate(mus, given).bound, solution.bound, rtol=1e-9)
    moved = 1.5 * solution.coefficients
    assert np.all(reduced.estimate(mus, moved).bound > 2 * solution.bound)
    with pytest.raises(ValueError, match=r"coefficients must have shape"):
        reduced.estimate(mus, solution.coefficients[:, :2])


def test_fields_need_the_points(model: rbm.FullOrderModel, reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    solution = reduced.solve(mus)
    fields = reduced.reconstruct(solution)
    for k in (0, len(mus) - 1):
        leaf = reduced.leaves[reduced.tree.locate(mus[k : k + 1])[0]]
        np.testing.assert_allclose(
            fields[k], leaf.basis @ solution.coefficients[k, : leaf.size], rtol=1e-12, atol=1e-15
        )
    with pytest.raises(rbm.ModelError, match="give the Solution, which knows its points"):
        reduced.reconstruct(solution.coefficients)
    other = rbm.greedy(model, mus, max_basis=reduced.size).reduced_model.solve(mus)
    with pytest.raises(rbm.ModelError, match="of another model"):
        reduced.reconstruct(other)


def test_an_evaluator_is_that_of_the_leaf(reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    evaluate = reduced.evaluator()
    with pytest.raises(ValueError, match="no coefficients yet"):
        evaluate.coefficients  # noqa: B018
    for mu in mus[::40]:
        answer, alone = evaluate(mu.tolist()), reduced.solve(mu)
        assert answer.bound == alone.bound[0]
        assert answer.outputs == {name: values[0] for name, values in alone.outputs.items()}
        np.testing.assert_array_equal(evaluate.coefficients, alone.coefficients[0, : len(evaluate.coefficients)])
    assert evaluate({"vy": 0.5, "vx": 1.0}) == evaluate([1.0, 0.5])
    assert pickle.loads(pickle.dumps(evaluate))([1.0, 0.5]) == evaluate([1.0, 0.5])
    with pytest.raises(rbm.ParameterError, match=r"vx = 3 \(row 0\) is outside \[-2, 2\]"):
        evaluate([3.0, 0.0])
    with pytest.raises(rbm.ParameterError, match="one point at a time, got 2"):
        evaluate(mus[:2])


def test_blocks_and_workers(reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    whole = reduced.solve(mus)
    with ThreadPoolExecutor(2) as executor:
        for workers in (None, executor):
            parts = list(reduced.stream(mus, size=97, executor=workers))
            np.testing.assert_allclose(np.concatenate([p.bound for p in parts]), whole.bound, rtol=1e-12, atol=LAST)
            assert {p.origin for p in parts} == {whole.origin}


def test_bad_points_are_named_by_their_row(reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    wrong = mus[:60].copy()
    wrong[7, 1], wrong[41, 0] = 5.0, np.nan
    with pytest.raises(
        rbm.ParameterError, match=r"vy = 5 \(row 7\) is outside \[-2, 2\].*vx = nan \(row 41\)"
    ) as caught:
        reduced.solve(wrong)
    np.testing.assert_array_equal(caught.value.rows, [7, 41])
    marked = reduced.solve(wrong, on_error="mark")
    np.testing.assert_array_equal(marked.failed, [7, 41])
    good = np.delete(np.arange(60), [7, 41])
    np.testing.assert_allclose(marked.bound[good], reduced.solve(mus[good]).bound, rtol=1e-12, atol=LAST)
    assert np.isnan(marked.outputs["upper_left"][[7, 41]]).all()


def test_points_that_fail_in_a_leaf_are_named_by_their_row_in_the_batch() -> None:
    model = rbm.FullOrderModel(
        operators=[(1.0, np.diag([1.0, 2.0, 3.0])), ("mu", np.diag([1.0, 0.5, 2.0]))],
        rhs=[(1.0, np.ones(3))],
        product=np.eye(3),
        parameters={"mu": (0.0, 10.0)},
        stability="(abs(mu - 7) + abs(mu - 2) - 5) / 100",  # zero between 2 and 7
    )
    good = np.array([[0.5], [1.0], [1.5], [1.9], [7.5], [8.0], [9.0], [9.5]])
    made: Any = rbm.greedy(model, good, tol=1e-9, max_basis=2, split=True).reduced_model
    assert len(made.leaves) > 1
    mus = np.array([[9.0], [3.0], [1.0], [6.5], [0.5], [4.0]])
    with pytest.raises(rbm.StabilityError, match=r"mu = 3 \(row 1") as caught:
        made.solve(mus)
    np.testing.assert_array_equal(caught.value.rows, [1, 3, 5])
    assert np.all(np.isfinite(caught.value.solution.bound[[0, 2, 4]]))


def test_beyond_the_ranges_the_leaves_go_on(reduced: rbm.PartitionedModel, model: rbm.FullOrderModel) -> None:
    mus = np.array([[2.5, -2.5], [-3.0, 0.0]])
    with pytest.raises(rbm.ParameterError, match="pass extrapolate=True"):
        reduced.solve(mus)
    solution = reduced.solve(mus, extrapolate=True)
    exact = model.solve(mus, extrapolate=True)
    errors = model.inner_product.norm((exact - reduced.reconstruct(solution)).T)
    assert np.all(errors <= solution.bound)


@pytest.mark.parametrize("how", ["float32", "few bits", "compressed", "sketched", "shorter", "elsewhere"])
def test_other_forms_of_a_model(
    how: str, reduced: rbm.PartitionedModel, model: rbm.FullOrderModel, mus: np.ndarray
) -> None:
    made = {
        "float32": lambda: reduced.astype("float32"),
        "few bits": lambda: reduced.quantize(10),
        "compressed": lambda: reduced.compress(0.05, training=mus),
        "sketched": lambda: reduced.sketch(20),
        "shorter": lambda: reduced.truncate(6),
        "elsewhere": lambda: reduced.to(xp),
    }[how]()
    assert isinstance(made, rbm.PartitionedModel)
    method = "sketched" if how == "sketched" else None
    solution = made.solve(mus, method=method).to("numpy")
    fields = made.to("numpy").reconstruct(solution)
    errors = model.inner_product.norm((model.solve(mus) - fields).T)
    assert np.all(errors <= solution.bound)
    assert made.size == (6 if how == "shorter" else reduced.size)
    if how == "elsewhere":
        np.testing.assert_allclose(solution.bound, reduced.solve(mus).bound, rtol=1e-6, atol=1e-13)


def test_one_file_gives_the_same_bits(
    reduced: rbm.PartitionedModel, mus: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reduced.save(tmp_path / "model.rbm")
    loaded, solution = rbm.load(tmp_path / "model.rbm"), reduced.solve(mus)
    again = loaded.solve(mus)
    for a, b in ((again.bound, solution.bound), (again.coefficients, solution.coefficients)):
        np.testing.assert_array_equal(a, b)
    assert again.origin == solution.origin
    np.testing.assert_array_equal(loaded.reconstruct(solution), reduced.reconstruct(solution))
    np.testing.assert_array_equal(loaded.boxes, reduced.boxes)
    assert repr(loaded) == repr(reduced)
    assert loaded.leaves[1].product is loaded.leaves[0].product
    with zipfile.ZipFile(tmp_path / "model.rbm") as file:
        assert sum("product/data" in name for name in file.namelist()) == 1
    copy = pickle.loads(pickle.dumps(reduced))
    np.testing.assert_array_equal(copy.solve(mus).bound, solution.bound)
    with pytest.raises(FileExistsError):
        reduced.save(tmp_path / "model.rbm", overwrite=False)
    capsys.readouterr()
    assert main(["info", str(tmp_path / "model.rbm")]) == 0
    shown = capsys.readouterr().out
    assert f"{len(reduced.leaves)} leaves" in " ".join(shown.split())
    last, (west, east) = len(reduced.leaves) - 1, reduced.boxes[-1, 0]
    row = next(line for line in shown.splitlines() if line.split()[:2] == [str(last), str(reduced.leaves[-1].size)])
    assert f"vx in [{west:g}, {east:g}]" in row
    assert main(["query", str(tmp_path / "model.rbm"), "--mu", "1.0", "0.5"]) == 0
    alone = reduced.solve([1.0, 0.5])
    printed = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["error_bound"])
    assert float(printed.split()[2]) == alone.bound[0]
    reduced.save(tmp_path / "small.rbm", basis=False)
    np.testing.assert_array_equal(rbm.load(tmp_path / "small.rbm").solve(mus).bound, solution.bound)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("tree/cut", lambda a: a * 100, "outside of the box"),
        ("tree/cut", lambda a: np.full_like(a, np.nan), "cuts do not fit"),
        ("tree/axis", lambda a: a + 5, "parameters that it does not have"),
        ("tree/below", lambda a: np.zeros_like(a), "reached twice"),
        ("tree/above", lambda a: a[:-1], "cuts do not fit"),
        ("leaves/1/basis", lambda a: a[:, :-1], "wrong shape"),
        ("leaves/1/operators", lambda a: a[:, :-1], "wrong shapes"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    key: str, change: Any, message: str, reduced: rbm.PartitionedModel, tmp_path: Path
) -> None:
    reduced.save(tmp_path / "model.rbm")
    header, arrays = read_archive(tmp_path / "model.rbm", "partitioned model")
    arrays[key] = change(arrays[key])
    write_archive(tmp_path / "other.rbm", json.loads(json.dumps(header)), arrays)
    with pytest.raises(rbm.FileFormatError, match=message):
        rbm.load(tmp_path / "other.rbm")


@pytest.mark.parametrize("drop", ["leaves", "shared"])
def test_headers_that_lack_leaves_are_refused(drop: str, reduced: rbm.PartitionedModel, tmp_path: Path) -> None:
    reduced.save(tmp_path / "model.rbm")
    header, arrays = read_archive(tmp_path / "model.rbm", "partitioned model")
    header[drop] = header[drop][:-1]
    write_archive(tmp_path / "other.rbm", header, arrays)
    with pytest.raises(rbm.FileFormatError, match="not a complete partitioned model"):
        rbm.load(tmp_path / "other.rbm")


def test_what_has_no_meaning_is_refused(reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    with pytest.raises(rbm.ModelError, match="no common code"):
        reduced.encode(reduced.solve(mus))
    with pytest.raises(rbm.ModelError, match="cannot truncate"):
        reduced.truncate(reduced.size + 1)
    with pytest.raises(rbm.ModelError, match=r"the tree has \d+ leaves, there are 2"):
        rbm.PartitionedModel(reduced.parameters, reduced.tree, reduced.leaves[:2])
    with pytest.raises(rbm.ModelError, match="has no estimator 'expanded'"):
        reduced.solve(mus, method="expanded")
    with pytest.raises(rbm.ModelError, match="poles asks a reduced model, got a PartitionedModel"):
        rbm.poles(reduced, (0, 1))  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match="has a basis for each of its boxes"):
        rbm.calibrate(reduced, np.ones(1), sensors=[0], noise=0.1)


def test_minimise_and_calibrate_take_it(reduced: rbm.PartitionedModel, model: rbm.FullOrderModel) -> None:
    least = rbm.minimize(reduced, "upper_right")
    grid = model.parameters.sample(400, "grid")
    assert least.value <= reduced.solve(grid).outputs["upper_right"].min() + least.error
    mu = np.array([[0.7, -1.1]])
    exact = model.solve(mu)
    data = {name: float(output(mu, exact)[0]) for name, output in model.outputs.items()}
    found = rbm.calibrate(reduced, data, noise=1e-3)
    np.testing.assert_allclose(list(found.parameters.values()), mu[0], atol=0.1)


def test_a_tree_without_cuts_has_one_leaf() -> None:
    none = np.zeros(0, int)
    tree = BoxTree(none, np.zeros(0), none, none)
    assert tree.count == 1
    np.testing.assert_array_equal(tree.locate(np.ones((3, 2))), 0)
    assert tree.locate_one([1.0]) == 0
    np.testing.assert_array_equal(tree.boxes(np.array([[0.0, 1.0]])), [[[0.0, 1.0]]])


def test_a_chunk_of_dask_is_answered(reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    da = pytest.importorskip("dask.array")
    made = rbm.dask_solve(reduced, da.from_array(mus, chunks=(100, 2)))
    solution = reduced.solve(mus)
    np.testing.assert_allclose(made["bound"].compute(scheduler="synchronous"), solution.bound, rtol=1e-12, atol=LAST)
    assert made["coefficients"].shape == solution.coefficients.shape


def test_a_solution_of_other_leaves_is_no_solution_here(reduced: rbm.PartitionedModel) -> None:
    low, high = reduced.boxes[:, :, 0], reduced.boxes.mean(axis=2)
    solution = reduced.solve(high)
    np.testing.assert_allclose(reduced.estimate(high, solution).value, solution.estimate.value, rtol=1e-9)
    assert np.all(reduced.estimate(low, solution).bound > 0)  # other points of the same leaves
    with pytest.raises(ModelError, match=r"belongs to leaf \d+, and .* lies in leaf"):
        reduced.estimate(high[::-1], solution)


def test_no_points_are_an_empty_answer(reduced: rbm.PartitionedModel, mus: np.ndarray) -> None:
    none = reduced.solve(mus)[np.zeros(0, dtype=int)]
    assert reduced.reconstruct(none).shape == (0, reduced.unknowns)


def test_what_is_about_one_basis_names_the_leaves(reduced: rbm.PartitionedModel, tmp_path: Path) -> None:
    for ask in (rbm.poles, lambda r: rbm.frequency_response(r, [1.0])):
        with pytest.raises(ModelError, match="each of its leaves"):
            ask(reduced)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="each of its leaves"):
        rbm.show.write_page(reduced, tmp_path / "page.html")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_leaves_of_different_kinds_make_no_model(reduced: rbm.PartitionedModel) -> None:
    single = (reduced.leaves[0].astype("float32"), *reduced.leaves[1:])
    with pytest.raises(ModelError, match="the same dtype"):
        rbm.PartitionedModel(reduced.parameters, reduced.tree, single)
