"""Dirichlet conditions by penalty and by identity rows: recognised, with what to do about them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import rbm
from problems import reaction_diffusion_1d, thermal_block

N = 14
ONE = np.ones(N)
K = (sp.diags_array([-ONE[1:], 2 * ONE, -ONE[1:]], offsets=[-1, 0, 1]) * (N + 1)).tocsr()
M = (sp.diags_array([ONE[1:], 4 * ONE, ONE[1:]], offsets=[-1, 0, 1]) / (6 * (N + 1))).tocsr()
F = ONE / (N + 1)
SPACE = rbm.ParameterSpace({"mu": (1.0, 100.0)})


def with_entry(matrix: Any, value: float, where: tuple[int, ...] = (0,)) -> Any:
    made = matrix.tolil()
    for i in where:
        made[i, i] = value
    return made.tocsr()


def identity_rows(matrix: Any, value: float, where: tuple[int, ...] = (0, N - 1)) -> Any:
    made = matrix.tolil()
    for i in where:
        made[i, :] = 0
        made[:, i] = 0
        made[i, i] = value
    return made.tocsr()


def greedy(operator: Any, product: Any, unit: float = 1.0) -> tuple[rbm.FullOrderModel, rbm.GreedyResult]:
    model = rbm.FullOrderModel(
        [(1.0, operator * unit), ("mu", M * unit)], [(1.0, F * unit)], product * unit, SPACE, 1.0
    )
    return model, rbm.greedy(model, SPACE.sample(20), progress=False)


@pytest.mark.every(7)
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("penalty", [1e12, 1e16, 1e30])
@pytest.mark.parametrize("where", [(0,), (0, N - 1), (2, 5, 7)], ids=str)
def test_a_penalty_that_the_product_does_not_carry_is_recognised(
    where: tuple[int, ...], penalty: float, unit: float, dense: bool
) -> None:
    kind = (lambda x: x.toarray()) if dense else (lambda x: x)
    operator = kind(with_entry(K, penalty, where))
    model = rbm.FullOrderModel(
        [(1.0, operator * unit), ("mu", kind(M) * unit)], [(1.0, F * unit)], kind(K) * unit, SPACE, 1.0
    )
    result = rbm.greedy(model, SPACE.sample(20), progress=False)
    named = "unknown 0 has" if where == (0,) else rf"{len(where)} unknowns \({', '.join(map(str, where))}\) have"
    message = (
        rf"{named} a diagonal entry in the operators that exceeds those of other unknowns by a factor of "
        r".*e\+\d\d, .*Eliminate these"
    )
    assert re.search(message, result.reason)
    assert re.search("caution: " + message, repr(model.verify(2)))


@pytest.mark.parametrize("penalty", [1e12, 1e30])
def test_the_remedies_make_the_bounds_sharp(penalty: float) -> None:
    """The same entry in the product, or no such unknown: bounds go down to round-off, and nothing is said."""
    alone, lost = greedy(with_entry(K, penalty), K)
    model, result = greedy(with_entry(K, penalty), with_entry(K, penalty))
    without = rbm.FullOrderModel([(1.0, K[1:, 1:]), ("mu", M[1:, 1:])], [(1.0, F[1:])], K[1:, 1:], SPACE, 1.0)
    assert lost.history[-1].bound > 1e6 * result.history[-1].bound
    assert result.history[-1].bound < 1e-14
    assert rbm.greedy(without, SPACE.sample(20), progress=False).history[-1].bound < 1e-14
    np.testing.assert_allclose(model.solve([[7.0]])[0, 1:], without.solve([[7.0]])[0], rtol=1e-9)
    assert "Eliminate" not in result.reason + repr(model.verify(2))
    assert "Eliminate" in lost.reason + repr(alone.verify(2))


def test_identity_rows_are_recognised_and_are_right_in_one_term() -> None:
    model = rbm.FullOrderModel(
        [(1.0, identity_rows(K, 1.0)), ("mu", identity_rows(M, 0.0))], [(1.0, F)], identity_rows(K, 1.0), SPACE, 1.0
    )
    text = repr(model.verify(2))
    assert (
        "2 unknowns (0, 13) have rows with a diagonal entry only: Dirichlet unknowns that were kept, right as they are"
        in text
    )
    assert "caution" not in text
    inner = slice(1, -1)
    without = rbm.FullOrderModel(
        [(1.0, K[inner, inner]), ("mu", M[inner, inner])], [(1.0, F[inner])], K[inner, inner], SPACE, 1.0
    )
    np.testing.assert_allclose(model.solve([[5.0]])[0, inner], without.solve([[5.0]])[0], rtol=1e-12)


def test_identity_rows_in_several_terms_make_boundary_values_that_depend_on_the_parameter() -> None:
    operators = [(1.0, identity_rows(K, 1.0)), ("mu", identity_rows(M, 1.0))]
    load = F.copy()
    load[[0, -1]] = 2.0  # meant as u = 2 there
    model = rbm.FullOrderModel(operators, [(1.0, load)], identity_rows(K, 1.0), SPACE, 1.0)
    assert model.solve([[3.0]])[0, 0] == pytest.approx(0.5)  # and is 2 / (1 + mu)
    text = repr(model.verify(2))
    assert (
        "2 unknowns (0, 13) with a right-hand side, and with coefficients in the operators that depend on the "
        "parameters" in text
    )
    assert "Keep the entry in one term with coefficient 1" in text
    load[[0, -1]] = 0.0
    model = rbm.FullOrderModel(operators, [(1.0, load)], identity_rows(K, 1.0), SPACE, 1.0)
    assert "right as they are" in repr(model.verify(2))


def test_identity_rows_out_of_proportion_are_recognised() -> None:
    """Young's modulus in pascal stands beside a one.

    In the operator alone it makes the stability constant small, beside small entries large.
    """
    stiff = 2e11 * K
    model = rbm.FullOrderModel([("mu", identity_rows(stiff, 1.0))], [(1.0, F)], stiff, SPACE, 1e-14)
    assert (
        "2 unknowns (0, 13) have a diagonal entry in the operators that falls short of those of other unknowns"
        in repr(model.verify(2))
    )
    small = 1e-12 * K
    model = rbm.FullOrderModel([("mu", identity_rows(small, 1.0))], [(1.0, F)], small, SPACE, 0.5)
    assert "exceeds those of other unknowns" in repr(model.verify(2))


@pytest.mark.parametrize(
    "make", [lambda: reaction_diffusion_1d(50), lambda: thermal_block((2, 2), 8)], ids=["1d", "thermal block"]
)
def test_ordinary_models_are_left_alone(make: Any) -> None:
    model = make()
    text = repr(model.verify(2)) + rbm.greedy(model, model.parameters.sample(20), progress=False).reason
    assert "caution" not in text
    assert "diagonal entry" not in text


def test_mixed_units_are_no_penalties() -> None:
    """Unknowns in units twelve digits apart, in operators and product alike."""
    units = sp.diags_array(np.where(np.arange(N) % 3, 1.0, 1e-12))
    model = rbm.FullOrderModel(
        [(1.0, units @ K @ units), ("mu", units @ M @ units)], [(1.0, units @ F)], units @ K @ units, SPACE, 1.0
    )
    assert "caution" not in repr(model.verify(2))


def test_operators_without_entries_are_left_out() -> None:
    operator = sp.linalg.aslinearoperator(with_entry(K, 1e30).toarray())
    model = rbm.FullOrderModel(
        [(1.0, operator), ("mu", M)], [(1.0, F)], K, SPACE, 1.0, solver=lambda a, b: np.linalg.solve(a @ np.eye(N), b)
    )
    assert "rows with" not in "".join(rbm.affine.penalties.held_unknowns(model, SPACE.sample(3)))


@pytest.mark.parametrize("stability", [2.0, "2"])
def test_a_hint_raises_no_error_where_a_coefficient_has_no_value(stability: Any) -> None:
    """The pole is at the middle of the ranges, where nobody asked for an answer."""
    space = rbm.ParameterSpace({"b": (1.0, 100.0)})
    model = rbm.FullOrderModel([("2+1/(b-50.5)**2", K), ("b", M)], [(1.0, F)], K, space, stability)
    result = rbm.greedy(model, space.sample(30), tol=1e-16, progress=False)
    assert result.stopped == "round-off"
    assert "stability bound" in repr(model.verify(3))
    pole = np.full((9, 1), 50.5)
    assert rbm.affine.penalties.penalty_hint(model, pole) is None


def test_ranges_near_the_largest_number_are_verified() -> None:
    space = rbm.ParameterSpace({"a": (1e308, 1.7e308)})
    model = rbm.FullOrderModel([("a*1e-308", K), (1.0, M)], [(1.0, F)], K, space, 1.0)
    assert "verified" in repr(model.verify(3))
    assert "real" in repr(model)


@pytest.mark.parametrize(
    ("in_operator", "in_load", "wrong"),
    [("mu", 1.0, True), ("mu", "mu", False), ("mu", "mu**2", True), (1.0, "mu", False), (3.0, 1.0, False)],
)
@pytest.mark.parametrize("samples", [1, 3])
def test_an_identity_row_with_a_coefficient_makes_the_value_depend_on_it(
    in_operator: Any, in_load: Any, wrong: bool, samples: int
) -> None:
    """Also in one term: u_0 = phi / theta."""
    only = sp.csr_array(([1.0], ([0], [0])), shape=(N, N))
    load, rest = np.zeros(N), F.copy()
    load[0], rest[0] = 5.0, 0.0
    model = rbm.FullOrderModel(
        [(1.0, identity_rows(K, 0.0, (0,))), (in_operator, only)], [(1.0, rest), (in_load, load)], K, SPACE, 0.01
    )
    text = repr(model.verify(samples))
    assert "unknown 0 has rows with a diagonal entry only" in text
    assert ("right as they are" in text) != wrong
    assert ("unknown 0 with a right-hand side, and with coefficients" in text) == wrong
