"""Parameters by name: never by position where names are there, and no container that hides entries."""

from __future__ import annotations

import dataclasses
import re
from collections import namedtuple
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.other_arrays import xp

import rbm
from rbm import ModelError, ParameterError, ParameterSpace
from rbm.parameters.coefficients import Coefficients

SPACE = ParameterSpace({"mu": (1.0, 100.0), "nu": (0.0, 2.0), "k": (-3.0, 3.0)})
ROWS = np.array([[1.5, 0.25, -2.0], [40.0, 1.0, 0.5], [99.0, 2.0, 3.0]])
COLUMNS = {name: ROWS[:, j] for j, name in enumerate(SPACE.names)}
SHUFFLED = {name: COLUMNS[name] for name in ("k", "mu", "nu")}
Point = namedtuple("Point", ["nu", "k", "mu"])


def structured(rows: np.ndarray) -> np.ndarray:
    made = np.zeros(len(rows), dtype=[("k", "f4"), ("nu", "f8"), ("mu", ">f8")])
    for j, name in enumerate(SPACE.names):
        made[name] = rows[:, j]
    return made


def pandas_frame(columns: dict[str, Any]) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


GIVEN: dict[str, Callable[[], Any]] = {
    "dictionary": lambda: SHUFFLED,
    "lists": lambda: {name: values.tolist() for name, values in SHUFFLED.items()},
    "list of dictionaries": lambda: [dict(zip(("nu", "k", "mu"), row, strict=True)) for row in ROWS[:, [1, 2, 0]]],
    "named tuples": lambda: [Point(mu=a, nu=b, k=c) for a, b, c in ROWS],
    "structured": lambda: structured(ROWS),
    "records": lambda: structured(ROWS).view(np.recarray),
    "list of records": lambda: list(structured(ROWS)),
    "pandas": lambda: pandas_frame(SHUFFLED),
    "pandas, other types": lambda: pandas_frame(SHUFFLED).convert_dtypes(),
    "pandas, row labels": lambda: pandas_frame(SHUFFLED).set_axis([7, 3, 5]),
    "polars": lambda: pytest.importorskip("polars").DataFrame(SHUFFLED),
    "pyarrow": lambda: pytest.importorskip("pyarrow").table(SHUFFLED),
    "xarray": lambda: pytest.importorskip("xarray").Dataset({n: ("case", v) for n, v in SHUFFLED.items()}),
    "xarray array": lambda: pytest.importorskip("xarray").DataArray(
        ROWS[:, [2, 0, 1]], dims=("case", "parameter"), coords={"parameter": ["k", "mu", "nu"]}
    ),
}


@dataclasses.dataclass
class Record:
    """A point whose fields are in another order."""

    k: float
    mu: float
    nu: float


def frame() -> Any:
    return pandas_frame(SHUFFLED)


def labelled() -> Any:
    return GIVEN["xarray array"]()


def xarray_array(values: Any, **options: Any) -> Any:
    return pytest.importorskip("xarray").DataArray(values, **options)


GIVEN |= {
    "rows of pandas": lambda: [row for _, row in frame().iterrows()],
    "rows of xarray": lambda: [labelled()[0], labelled()[1], labelled()[2]],
    "labels on the first dimension": lambda: labelled().T,
    "variables of a dataset": lambda: frame().to_xarray().to_array(),
    "datasets": lambda: [frame().to_xarray().isel(index=i) for i in range(3)],
    "series of one index": lambda: dict(frame()),
    "arrays of xarray": lambda: {n: xarray_array(v, dims="x") for n, v in SHUFFLED.items()},
    "data classes": lambda: [Record(k=c, mu=a, nu=b) for a, b, c in ROWS],
    "objects": lambda: np.array([{"nu": b, "mu": a, "k": c} for a, b, c in ROWS], dtype=object),
}


@pytest.mark.parametrize("kind", GIVEN)
def test_columns_are_taken_by_name(kind):
    assert SPACE.points(GIVEN[kind]()).tolist() == ROWS.tolist()
    assert SPACE.validate(GIVEN[kind]()).dtype == np.float64


@pytest.mark.parametrize("wrong", ["missing", "surplus", "renamed", "twice"])
@pytest.mark.parametrize("kind", ["dictionary", "list", "structured", "pandas", "polars", "xarray"])
def test_names_that_do_not_fit_are_refused_with_both_lists(kind, wrong):
    names = {"missing": "k mu", "surplus": "k mu nu age", "renamed": "k mu Nu", "twice": "k mu nu nu"}[wrong].split()
    said = {
        "missing": "missing: nu$",
        "surplus": "no parameters: age",
        "renamed": "missing: nu; no parameters: Nu",
        "twice": "twice: nu",
    }[wrong]
    if wrong == "twice":
        if kind != "pandas":
            pytest.skip("it cannot have a name twice")
        given = pandas_frame({str(j): [1.0] for j in range(4)}).set_axis(names, axis=1)
    else:
        make = {
            "dictionary": dict,
            "list": lambda columns: [{name: values[0] for name, values in columns.items()}],
            "structured": lambda columns: np.ones(1, dtype=[(name, float) for name in columns]),
            "pandas": pandas_frame,
            "polars": lambda columns: pytest.importorskip("polars").DataFrame(columns),
            "xarray": lambda columns: pytest.importorskip("xarray").Dataset({n: ("p", v) for n, v in columns.items()}),
        }[kind]
        given = make({name: [1.0] for name in names})
    with pytest.raises(ParameterError, match=f"need mu, nu, k and nothing else; {said}"):
        SPACE.points(given)


def test_one_point_and_values_for_all_points():
    for one in (
        {"k": 1, "nu": 2.0, "mu": np.float32(3)},
        Point(mu=3, nu=2, k=1),
        structured(np.array([[3.0, 2, 1]]))[0],
    ):
        assert SPACE.points(one).tolist() == [[3.0, 2.0, 1.0]]
    many = SPACE.points({"k": [1, 2], "nu": 0.5, "mu": np.array([3.0])})
    assert many.tolist() == [[3.0, 0.5, 1.0], [3.0, 0.5, 2.0]]
    with pytest.raises(ParameterError, match="different lengths: mu 3, k 2"):
        SPACE.points({"k": [1, 2], "nu": 0.5, "mu": [3, 4, 5]})
    with pytest.raises(
        ParameterError, match=r"parameter nu must be a number or an array of shape \(M,\), got shape \(2, 2\)"
    ):
        SPACE.points({"k": 1, "nu": np.ones((2, 2)), "mu": 3})
    with pytest.raises(ParameterError, match=r"row 1: points given by name need mu, nu, k .*missing: nu"):
        SPACE.points([{"k": 1, "nu": 2.0, "mu": 3}, {"k": 1, "mu": 3}])
    with pytest.raises(
        ParameterError, match="row 1 of the points is a list without names, row 0 has names; give all by name"
    ):
        SPACE.points([{"k": 1, "nu": 2.0, "mu": 3}, [3, 2, 1]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: frame().T, "the names are in the index, take table.T"),
        (lambda: frame().set_index("nu"), "missing: nu; nu is in the index, call .reset_index()"),
        (lambda: frame().set_index(["k", "mu", "nu"]), "k, mu, nu are in the index, call .reset_index()"),
        (lambda: frame().rename(columns={"nu": " nu"}), "no parameters: ' nu'"),
        (
            lambda: [frame()["mu"], frame()["nu"], frame()["k"]],
            "row 0: a Series is a point if its index holds the names",
        ),
        (
            lambda: {"mu": frame()["mu"], "nu": frame()["nu"][::-1], "k": 0.0},
            "the Series of mu and nu have different indexes",
        ),
        (
            lambda: {
                "mu": xarray_array([1.0, 2.0], coords={"x": [0, 1]}),
                "nu": xarray_array([1.0, 2.0], coords={"x": [1, 0]}),
                "k": 0.0,
            },
            "the arrays of mu, nu have different coordinates",
        ),
        (lambda: xarray_array(ROWS, dims=("mu", "k")), "with the name mu among its dimensions or coordinates"),
        (lambda: xarray_array(ROWS[0], dims="x", name="mu"), "with the name mu among"),
        (
            lambda: [[1.0, 2.0, 3.0], {"mu": 1, "nu": 1, "k": 1}],
            "row 0 of the points is a list without names, row 1 has names",
        ),
        (lambda: [("nu", 2.0), ("mu", 1.0), ("k", 3.0)], "these are pairs (name, value): write dict(mus)"),
        (lambda: frame().itertuples(index=False), "write list(mus)"),
        (lambda: np.array([[{1}, 2, 3]], dtype=object), "give rows of numbers, or points by name"),
        (lambda: {"mu": [Decimal(2)], "nu": 1.0, "k": 0.0}, "of dtype object; convert them to float"),
        (lambda: rbm.Solution(np.ones((1, 2)), {}), "got a Solution; its points are solution.mus"),
    ],
)
def test_names_in_other_places_are_not_passed_over(given: Callable[[], Any], message: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        SPACE.points(given())


def test_arrays_of_different_dimensions_are_broadcast() -> None:
    given = {"mu": xarray_array([1.0, 2.0], dims="x"), "nu": xarray_array([0.5, 1.0], dims="y"), "k": 0.0}
    assert SPACE.points(given).tolist() == [[1, 0.5, 0], [1, 1, 0], [2, 0.5, 0], [2, 1, 0]]


def test_a_row_of_a_table_and_a_column_of_one():
    pandas = pytest.importorskip("pandas")
    assert SPACE.points(pandas_frame(SHUFFLED).iloc[1]).tolist() == ROWS[1:2].tolist()
    with pytest.raises(
        ParameterError, match="a Series is a point if its index holds the names mu, nu, k, but this one, named 'mu'"
    ):
        SPACE.points(pandas_frame(SHUFFLED)["mu"])
    line = ParameterSpace({"mu": (1.0, 100.0)})
    assert line.points(pandas_frame(SHUFFLED)["mu"]).tolist() == ROWS[:, :1].tolist()
    with pytest.raises(ParameterError, match="named 'nu'"):
        line.points(pandas_frame(SHUFFLED)["nu"])
    assert SPACE.points(pandas.DataFrame(ROWS)).tolist() == ROWS.tolist()  # numbered columns are no names
    with pytest.raises(ParameterError, match="no parameters: 0, 2, 1"):
        SPACE.points(pandas.DataFrame(ROWS)[[0, 2, 1]])


def test_variables_of_a_dataset_are_broadcast_by_dimension():
    xarray = pytest.importorskip("xarray")
    grid = xarray.Dataset(coords={"nu": [0.5, 1.0], "k": [1.0, 2.0, 3.0], "mu": 7.0, "run": 3})
    points = SPACE.points(grid)
    assert points.shape == (6, 3)
    assert {tuple(row) for row in points.tolist()} == {(7.0, n, k) for n in (0.5, 1.0) for k in (1.0, 2.0, 3.0)}


def test_arrays_on_a_device_stay_there():
    points = SPACE.points({name: xp.asarray(values) for name, values in SHUFFLED.items()} | {"nu": 0.5})
    assert type(points) is type(xp.asarray(ROWS))
    assert np.array_equal(np.asarray(points), np.column_stack([ROWS[:, 0], np.full(3, 0.5), ROWS[:, 2]]))
    with pytest.raises(ParameterError, match="different lengths"):
        SPACE.points({"mu": xp.asarray([1.0, 2.0]), "nu": xp.asarray([1.0, 2.0, 3.0]), "k": 1.0})


def masked(rows: Any = ROWS) -> np.ma.MaskedArray:
    return np.ma.masked_greater(rows, 98.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: masked(), r"mus hides 1 of 9 entries behind a mask, the first at index \(2, 0\)"),
        (lambda: masked(ROWS[2]), r"mus hides 1 of 3 entries behind a mask, the first at index \(0,\)"),
        (lambda: list(masked()), r"row 2 of mus hides 1 of 3 entries behind a mask"),
        (lambda: [[1.0, 1.0, np.ma.masked]], r"^entry 2 of row 0 of mus is masked; leave it out"),
        (lambda: {"mu": masked(ROWS[:, 0]), "nu": 1.0, "k": 0.0}, "parameter mu hides 1 of 3 entries behind a mask"),
        (lambda: np.ma.array(structured(ROWS), mask=[(0, 0, 0), (0, 1, 0), (0, 0, 0)]), "mus hides 1 of 9 entries"),
        (
            lambda: pandas_frame(COLUMNS | {"nu": [1, None, "x"]}),
            "parameter nu has 1 missing entries, the first in row 1",
        ),
        (lambda: pandas_frame(COLUMNS | {"nu": ["a", "b", "c"]}), "parameter nu must be real numbers, got"),
        (lambda: {"mu": [1.0, None], "nu": 1.0, "k": 0.0}, "parameter mu has 1 missing entries, the first in row 1"),
        (lambda: {"mu": 1 + 1j, "nu": 1.0, "k": 0.0}, "parameter mu must be real numbers, got"),
        (lambda: sp.csr_array(ROWS), r"mus is a sparse csr_array of shape \(3, 3\); call .toarray\(\)"),
        (lambda: ROWS.astype(object), r"must be numbers, got .* of dtype object; convert them by .astype\(float\)"),
        (lambda: set(ROWS[0]), "must be numbers, got .* of dtype object"),
        (lambda: (row for row in ROWS), "must be numbers, got .*generator"),
    ],
)
def test_containers_that_hide_entries_are_refused_by_name(given, message):
    with pytest.raises(ParameterError, match=message):
        SPACE.points(given())


@pytest.mark.parametrize("types", [{"nu": "Int64"}, {"nu": "Float64", "k": "float32"}])
def test_missing_entries_of_a_table_do_not_become_numbers(types):
    pandas = pytest.importorskip("pandas")
    table = pandas_frame(COLUMNS | {"nu": [1, None, 2]}).astype(types)
    with pytest.raises(ParameterError, match=r"nu = nan \(row 1\) is not a finite number|parameter nu has 1 missing"):
        SPACE.validate(table)
    assert len(SPACE.validate(table.dropna())) == 2
    assert pandas.isna(table["nu"]).sum() == 1


def test_a_mask_without_masked_entries_hides_nothing():
    assert SPACE.points(np.ma.array(ROWS)).tolist() == ROWS.tolist()
    assert type(SPACE.points(np.ma.array(ROWS))) is np.ndarray
    assert SPACE.points(sp.csr_matrix(ROWS).todense()).tolist() == ROWS.tolist()  # a numpy.matrix
    assert SPACE.points(ROWS.astype(np.longdouble)).dtype == np.float64
    assert SPACE.points(ROWS.astype(">f4")).dtype.isnative


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda mus: np.ma.masked_less(mus[:, 0], 2), "got 1 masked entries"),
        (lambda mus: sp.csr_array(mus[:, :1]), "got a sparse csr_array: return a dense array"),
        (lambda mus: np.array([1.0, None, 2.0]), r"dtype object \(a ndarray\); entries that are missing"),
        (lambda mus: [[1.0], [1.0, 2.0]], "got a list that is no array"),
    ],
)
def test_coefficients_that_hide_entries_are_refused_by_name(value, message):
    with pytest.raises(
        ModelError, match=rf"must return numbers of shape \(3,\) for mus of shape \(3, 3\), .*{message}"
    ):
        Coefficients([1.0, value], SPACE)(ROWS)
    with pytest.raises(ModelError, match="got a masked entry"):
        Coefficients([1.0, np.ma.masked], SPACE)


def test_every_door_takes_names():
    """A model whose parameters must not be mixed up.

    Every way in gives the same numbers as arrays in the right order.
    """
    terms = [(1.0, np.diag([2.0, 3.0, 4.0])), ("mu", np.eye(3)), ("nu", np.diag([0.0, 5.0, 1.0])), ("k**2", np.eye(3))]
    ranges = dict(zip(SPACE.names, SPACE.bounds.tolist(), strict=True))
    model = rbm.FullOrderModel(terms, [(1.0, np.ones(3))], np.eye(3), ranges, 2.0, outputs={"s": np.ones(3)})
    assert model.parameters == SPACE
    result = rbm.greedy(model, SHUFFLED, max_basis=2, progress=False)
    np.testing.assert_array_equal(result.basis, rbm.greedy(model, ROWS, max_basis=2, progress=False).basis)
    reduced = rbm.project(model, result.basis, training=SHUFFLED)
    for given in (SHUFFLED, structured(ROWS)):
        np.testing.assert_array_equal(model.solve(given), model.solve(ROWS))
        np.testing.assert_array_equal(reduced.solve(given).bound, reduced.solve(ROWS).bound)
        np.testing.assert_array_equal(reduced.estimate(given).bound, reduced.solve(ROWS).bound)
        parts = list(reduced.stream(given, size=2))
        assert [len(p) for p in parts] == [2, 1]
        np.testing.assert_array_equal(np.concatenate([p.outputs["s"] for p in parts]), reduced.solve(ROWS).outputs["s"])
    parts = list(reduced.stream(iter([SHUFFLED, {"k": 0.5, "nu": 1.0, "mu": 40.0}])))
    np.testing.assert_allclose(np.concatenate([p.bound for p in parts]), reduced.solve(ROWS[[0, 1, 2, 1]]).bound, 1e-12)
    gamma = reduced.solve(ROWS).coefficients
    np.testing.assert_array_equal(
        model.residual_norm(SHUFFLED, gamma, reduced.basis), model.residual_norm(ROWS, gamma, reduced.basis)
    )
    assert reduced.compress(training=SHUFFLED).solve(SHUFFLED).bound.shape == (3,)
    with pytest.raises(ParameterError, match="missing: nu"):
        reduced.solve({"mu": 1.0, "k": 2.0})
    with pytest.raises(
        ParameterError, match=r"an rbm.ParameterSpace or a dictionary \{'name': \(low, high\)\}, got list"
    ):
        rbm.FullOrderModel(terms, [(1.0, np.ones(3))], np.eye(3), ["mu"], 2.0)  # type: ignore[arg-type]
