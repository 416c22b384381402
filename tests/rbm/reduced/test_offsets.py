"""Outputs that read fixed unknowns: what these bring is added, exactly known, with its rounding in the bound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
import scipy.sparse as sp
from helpers.small_models import N, matrices

import rbm
from rbm.reduced.outputs import ReducedLinear

FIXED = [0, 5, N - 1]
SPACE = rbm.ParameterSpace({"k": (1.0, 4.0), "T": (-1.0, 2.0)})
VALUES = [("T", np.array([1.0, 0.0, 0.5])), (2.0, np.array([0.0, 1.0, -0.25]))]
KINDS = {"linear": "linear", "compliant": "compliant", "dual": "primal-dual", "inside": "linear"}


def functional(n: int = N) -> np.ndarray:
    return np.linspace(0.3, 2.0, n)


def constrained(kind: str) -> rbm.FullOrderModel:
    """Heat with fixed temperatures, and outputs that read them."""
    stiffness, mass, load = matrices(kind)
    operators = [("k", stiffness), (1.0, mass)]
    turn = 1.0 if "complex" not in kind else np.exp(0.3j * np.arange(N))
    values = [(c, g * np.broadcast_to(turn, N)[FIXED]) for c, g in VALUES]
    outputs: dict[str, Any] = {
        "linear": [("1 + k", functional()), (0.5, turn * functional()[::-1])],
        "dual": functional() * turn,
        "inside": np.where(np.isin(np.arange(N), FIXED), 0.0, 1.0),
    }
    made = rbm.constrain(operators, [(1.0, load)], stiffness + mass, FIXED, values, outputs=outputs)
    # the right-hand side of what is left, lifting terms included, and a number as well
    outputs = {**made.outputs, "compliant": [*((c, f.conj()) for c, f in made.rhs), ("T", 3.0)]}
    return rbm.FullOrderModel(**{**made.arguments, "outputs": outputs}, parameters=SPACE, stability=1.0)


def exact(kind: str, mus: np.ndarray, model: rbm.FullOrderModel) -> dict[str, np.ndarray]:
    """The outputs from full solutions, all unknowns put in; nothing of an offset is used."""
    turn = 1.0 if "complex" not in kind else np.exp(0.3j * np.arange(N))
    u = model.solve(mus)
    whole = model.constraints.expand(u, mus)
    free = np.delete(np.arange(N), FIXED)
    rhs = sum(phi[:, None] * f.conj() for phi, f in zip(model.rhs_coefficients(mus).T, model.rhs_terms.T, strict=True))
    return {
        "linear": (1 + mus[:, 0]) * (whole @ functional()) + 0.5 * (whole @ (turn * functional()[::-1])),
        "dual": whole @ (functional() * turn),
        "inside": whole[:, free].sum(axis=1),
        "compliant": (rhs * u).sum(axis=1) + 3 * mus[:, 1],
    }


@pytest.mark.parametrize("kind", ["sparse", "complex sparse"])
def test_outputs_read_all_unknowns(kind: str, tmp_path: Path) -> None:
    model = constrained(kind)
    assert model.fingerprint() != without_offsets(model).fingerprint()
    mus = SPACE.sample(40, "random", rng=1)
    truth = exact(kind, mus, model)
    for name, output in model.outputs.items():
        np.testing.assert_allclose(output(mus, model.solve(mus)), truth[name], rtol=1e-12)
        assert (output.offset is None) == (name == "inside")
    for tol in (3e-2, 0.0):
        reduced = rbm.greedy(model, SPACE.sample(30), tol=tol, dual=("dual",)).reduced_model
        assert {name: output.kind for name, output in reduced.outputs.items()} == KINDS
        solution = reduced.solve(mus)
        for name, values in truth.items():
            error = np.abs(solution.outputs[name] - values)
            assert np.all(error <= solution.output_bounds[name] + 1e-13 * np.abs(values)), name
        reduced.save(tmp_path / "m.rbm")
        again = rbm.load(tmp_path / "m.rbm").solve(mus)
        cut = reduced.truncate(1).solve(mus)
        for name in truth:
            np.testing.assert_array_equal(again.outputs[name], solution.outputs[name])
            np.testing.assert_array_equal(again.output_bounds[name], solution.output_bounds[name])
            assert np.all(np.abs(cut.outputs[name] - truth[name]) <= cut.output_bounds[name] + 1e-13)
    other = reduced.to(array_api_strict).solve(array_api_strict.asarray(mus))
    for name in truth:
        np.testing.assert_allclose(np.asarray(other.outputs[name]), solution.outputs[name], rtol=1e-10)
        assert np.all(np.abs(np.asarray(other.outputs[name]) - truth[name]) <= 1e-12 + other.output_bounds[name])


def without_offsets(model: rbm.FullOrderModel) -> rbm.FullOrderModel:
    outputs = {
        name: list(zip(output.coefficients.sources, output.terms, strict=True))
        for name, output in model.outputs.items()
    }
    return rbm.FullOrderModel(
        list(zip(model.operator_coefficients.sources, model.operator_terms, strict=True)),
        list(zip(model.rhs_coefficients.sources, model.rhs_terms.T, strict=True)),
        model.product,
        model.parameters,
        1.0,
        outputs,
        constraints=model.constraints,
    )


def test_the_offset_of_an_output_that_is_compliant_or_dual_keeps_the_sharp_bound() -> None:
    model = constrained("sparse")
    plain = without_offsets(model)
    training, mus = SPACE.sample(30), SPACE.sample(20, "random", rng=2)
    one, other = (rbm.greedy(m, training, tol=1e-2, dual=("dual",)).reduced_model.solve(mus) for m in (model, plain))
    for name in KINDS:
        np.testing.assert_allclose(one.output_bounds[name], other.output_bounds[name], rtol=1e-6, atol=1e-12)
        assert name not in ("compliant", "dual") or np.all(one.output_bounds[name] < 1e-2 * one.output_bounds["inside"])


@pytest.mark.parametrize("kind", ["sparse", "complex sparse"])
def test_arrays_of_torch_give_the_same(kind: str) -> None:
    """Its matrix products take one type: real coefficients with complex functionals, for outputs of every kind."""
    torch = pytest.importorskip("torch")
    model, mus = constrained(kind), SPACE.sample(20, "random", rng=4)
    reduced = rbm.greedy(model, SPACE.sample(30), tol=3e-2, dual=("dual",)).reduced_model
    made, truth = reduced.to(torch).solve(torch.asarray(mus)), exact(kind, mus, model)
    for name, values in reduced.solve(mus).outputs.items():
        np.testing.assert_allclose(made.outputs[name].numpy(), values, rtol=1e-10)
        error = np.abs(made.outputs[name].numpy() - truth[name])
        assert np.all(error <= made.output_bounds[name].numpy() + 1e-13 * np.abs(values))


@pytest.mark.parametrize("constant", [True, False])
def test_the_rounding_of_the_offset_is_in_the_bound(constant: bool) -> None:
    """Against exact numbers, for an error of zero: offsets that cancel, and some far larger than the rest."""
    rng = np.random.default_rng(0)
    model = rbm.FullOrderModel(
        [("k", np.eye(3))], [(1.0, np.ones(3))], np.eye(3), SPACE, 1.0,
        {
            "s": [(1.0 if constant else "k", rng.standard_normal(3)), ("T", 1e8), (-1.0, 1e8), ("k", 1 / 3)],
        },
    )  # fmt: skip
    output = rbm.project(model, np.eye(3)[:, :2]).outputs["s"]
    assert isinstance(output, ReducedLinear)
    assert output.simple() is None
    mus, gamma = SPACE.sample(200, "random", rng=3), rng.standard_normal((200, 2))
    mus[100:, 1] = 1 + 1e-9 * rng.standard_normal(100)  # the offset cancels
    value, bound = output.value(mus, gamma), output.bound(mus, gamma, np.zeros(200))
    assert np.all(bound < 1e-5)
    terms = [float(x) for x in output.offset]
    for i in range(200):
        k, t = (Fraction(float(x)) for x in mus[i])
        psi = Fraction(1) if constant else k
        s = psi * sum(Fraction(float(v)) * Fraction(float(g)) for v, g in zip(output.vectors[0], gamma[i], strict=True))
        s += t * Fraction(terms[0]) - Fraction(terms[1]) + k * Fraction(terms[2])
        assert abs(Fraction(float(value[i])) - s) <= Fraction(float(bound[i]))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([("k", 2.0)], r"output 's' is a number, which needs no solution; give a vector \(3,\) as well"),
        ([(1.0, np.ones(3)), ("k", np.nan)], r"output 's' adds the number nan; give a finite one"),
        ([(1.0, np.ones(3)), ("k", np.ma.masked)], r"output 's' adds a masked number"),
        ([(1.0, np.ones(3)), ("k", np.array("x"))], r"output 's' adds the number"),
        ([(1.0, sp.eye_array(3)), ("k", 2.0)], r"output 's' adds a number to a quadratic form"),
    ],
)
def test_numbers_that_cannot_be_added(output: Any, message: str) -> None:
    with pytest.raises(rbm.ModelError, match=message):
        rbm.FullOrderModel([("k", np.eye(3))], [(1.0, np.ones(3))], np.eye(3), SPACE, 1.0, {"s": output})
