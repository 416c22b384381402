"""Affine expansions: coefficients for all parameter points at once, and the terms they multiply."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from rbm import FullOrderModel, ModelError, ParameterError, ParameterSpace
from rbm.parameters.coefficients import Coefficients

SPACE = ParameterSpace({"mu": (0.0, 5.0), "k": (0.0, 5.0)})
MUS = np.array([[1.0, 2.0], [3.0, 0.0], [4.0, 0.5]])


def numbers_of(mus: np.ndarray) -> np.ndarray:
    return mus[:, 0] ** 2


@pytest.mark.parametrize(
    ("source", "column"),
    [
        (2, [2, 2, 2]),
        (-0.5, [-0.5, -0.5, -0.5]),
        (1 + 2j, [1 + 2j] * 3),
        (np.float32(0.25), [0.25] * 3),
        (np.int64(3), [3, 3, 3]),
        (np.complex64(1j), [1j] * 3),
        ("mu", [1, 3, 4]),
        ("mu + 1j*k", [1 + 2j, 3, 4 + 0.5j]),
        ("3", [3, 3, 3]),
        (numbers_of, [1, 9, 16]),
        (lambda mus: 7, [7, 7, 7]),
        (lambda mus: mus[:, 1].astype(np.float32), [2, 0, 0.5]),
        (lambda mus: mus[:, 0] > 2, [0, 1, 1]),
        (lambda mus: 1j * mus[:, 0], [1j, 3j, 4j]),
    ],
)
def test_each_kind_of_coefficient_gives_one_double_or_complex_value_a_point(source, column):
    values = Coefficients([source], SPACE)(MUS)
    assert values.shape == (3, 1)
    assert values.dtype == (np.complex128 if np.iscomplexobj(column) else np.float64)
    assert np.array_equal(values[:, 0], column)


def test_columns_stand_in_the_order_of_the_sources_and_one_complex_makes_all_complex():
    real = Coefficients(["k", 2, numbers_of], SPACE)
    assert len(real) == 3
    assert np.array_equal(real(MUS), [[2, 2, 1], [0, 2, 9], [0.5, 2, 16]])
    mixed = Coefficients(["k", 2j], SPACE)(MUS)
    assert mixed.dtype == np.complex128
    assert np.array_equal(mixed, [[2, 2j], [0, 2j], [0.5, 2j]])
    assert Coefficients([], SPACE)(MUS).shape == (3, 0)


def test_callables_are_called_once_for_the_whole_batch():
    shapes = []

    def record(mus):
        shapes.append(mus.shape)
        return mus[:, 0]

    Coefficients([record], SPACE)(np.ones((1000, 2)))
    assert shapes == [(1000, 2)]


def test_only_callables_are_not_portable_and_numbers_are_kept_as_plain_ones():
    coefficients = Coefficients([True, np.float32(0.5), np.complex64(2), 2 + 0j, 3j, "mu"], SPACE)
    assert coefficients.portable
    assert coefficients.sources == (1.0, 0.5, 2.0, 2 + 0j, 3j, "mu")
    assert [type(s) for s in coefficients.sources] == [float, float, float, complex, complex, str]
    assert not Coefficients(["mu", numbers_of], SPACE).portable


@pytest.mark.parametrize(
    ("source", "point", "message"),
    [
        ("1/mu", [0.0, 1.0], r"coefficient '1/mu' is inf at mu = 0, k = 1 \(row 1\)"),
        ("log(mu - 2)", [1.5, 0.5], r"coefficient 'log\(mu - 2\)' is nan at mu = 1.5, k = 0.5 \(row 1\)"),
        ("9**9**9**9", None, r"coefficient '9\*\*9\*\*9\*\*9' is inf at mu = 3, k = 2 \(row 0, 3 such points\)"),
        (float("nan"), None, r"coefficient nan is nan at mu = 3, k = 2 \(row 0, 3 such points\)"),
        (lambda mus: np.where(mus[:, 0] < 1, np.inf, 1), [0.5, 0.0], r"is inf at mu = 0.5, k = 0 \(row 1\)"),
    ],
)
def test_values_that_are_not_finite_are_named_with_their_point(source, point, message):
    mus = np.array([[3.0, 2.0], point or [3.0, 2.0], [4.0, 1.0]])
    with pytest.raises(ParameterError, match=message):
        Coefficients([1.0, source], SPACE)(mus)


@pytest.mark.parametrize("source", [None, [1.0, 2.0], np.ones(2), {}, object()])
def test_anything_else_is_no_coefficient(source):
    message = f"number, an expression string or a vectorised callable, got {type(source).__name__}"
    with pytest.raises(ModelError, match=message):
        Coefficients([source], SPACE)


def test_bad_expressions_are_refused_when_the_coefficients_are_made():
    with pytest.raises(ModelError, match=r"unknown name 'nu' .* the names are mu, k, pi"):
        Coefficients([1.0, "nu"], SPACE)


@pytest.mark.parametrize(
    ("function", "shape", "dtype"),
    [
        (lambda mus: mus, r"\(3, 2\)", "float64"),
        (lambda mus: mus[:1, 0], r"\(1,\)", "float64"),
        (lambda mus: mus[:, :1], r"\(3, 1\)", "float64"),
        (lambda mus: "a", r"\(\)", "<U1"),
        (lambda mus: None, r"\(\)", "object"),
    ],
)
def test_callables_must_return_one_number_a_point(function, shape, dtype):
    message = (
        rf"callable '<lambda>' must return numbers of shape \(3,\) .* \(3, 2\), got shape {shape} and dtype {dtype}"
    )
    with pytest.raises(ModelError, match=message):
        Coefficients([function], SPACE)(MUS)


def model(operators=None, rhs=None, product=None, stability=1.0, **others) -> FullOrderModel:
    """diag(2, 3) + mu I on two unknowns, with what a test replaces."""
    operators = [(1.0, np.diag([2.0, 3.0])), ("mu", np.eye(2))] if operators is None else operators
    rhs, product = [(1.0, np.ones(2))] if rhs is None else rhs, np.eye(2) if product is None else product
    return FullOrderModel(operators, rhs, product, ParameterSpace({"mu": (0.0, 5.0)}), stability, **others)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"operators": [(1.0, np.eye(3))]}, r"operator term 0 has shape \(3, 3\), the product has shape \(2, 2\)"),
        ({"operators": [(1, np.eye(2)), (1, np.diag([1, np.nan]))]}, "operator term 1 has 1 entries that are NaN"),
        ({"operators": [(1, sp.csr_array([[np.inf]]))]}, "operator term 0 has 1 entries that are NaN or infinite"),
        (
            {"operators": [(1, np.array([["a"]]))]},
            "operator term 0 must be a matrix or a vector of numbers, got a ndarray of dtype <U1",
        ),
        ({"rhs": [(1, np.ones(2)), (1, np.ones(3))]}, r"right-hand side term 1 has shape \(3,\), expected \(2,\)"),
        ({"rhs": [(1, np.ones((2, 2)))]}, r"right-hand side term 0 has shape \(2, 2\), expected \(2,\)"),
        ({"rhs": [(1, [1.0, np.nan])]}, "right-hand side term 0 has 1 entries that are NaN"),
        ({"outputs": {"mean": np.ones(3)}}, r"output 'mean' has shape \(3,\), expected \(2,\)"),
        ({"product": np.ones((2, 3))}, r"the product must be square, got shape \(2, 3\)"),
        ({"product": np.array([[1, 0.5], [0, 1]])}, r"not Hermitian: max \|P - P\^H\| = 0.5"),
        ({"product": np.array([[np.nan, 0], [0, 1]])}, "the product has 1 entries that are NaN"),
        ({"stability": "nu"}, "unknown name 'nu'"),
        ({"operators": []}, r"operators must be a list of pairs \[\(coefficient, array\), ...\].* empty"),
        ({"rhs": []}, r"rhs must be a list of pairs \[\(coefficient, array\), ...\].* empty"),
        ({"rhs": np.ones(2)}, r"rhs must be a list of pairs .* got ndarray"),
        ({"operators": [np.eye(2)]}, "operators must be a list of pairs .* term 0 is a ndarray"),
        ({"outputs": np.ones(2)}, "outputs must be a dictionary .* got ndarray"),
        ({"outputs": {"mu": np.ones(2)}}, "output 'mu' has the name of a parameter"),
    ],
)
def test_bad_models_are_named(replaced, message):
    with pytest.raises(ModelError, match=message):
        model(**replaced)


def test_integers_lists_and_single_precision_become_double():
    m = model([(1, [[2, 0], [0, 4]]), ("mu", np.eye(2, dtype=np.float32))], [(1, [1, 1])], product=[[1, 0], [0, 1]])
    assert np.array_equal(m.solve([[0], [4]]), [[1 / 2, 1 / 4], [1 / 6, 1 / 8]])
    one = model([("mu", [[2.0]])], [(1, [4.0])], product=np.eye(1), outputs={"s": [("mu", [1.0]), (1j, [1.0])]})
    assert np.array_equal(one.solve([[1], [2]]), [[2], [1]])
    assert len(one.outputs["s"].coefficients) == 2
    assert "1 unknowns, real, 1 operator and 1 right-hand side terms, ParameterSpace(mu in [0, 5]" in repr(one)
