"""Natural mistakes with parameters, answers and coefficients.

Each message says what is wrong, the value, and a remedy that works.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import rbm

A = np.diag([2.0, 3.0])
RANGES = {"mu": (1.0, 100.0)}


def model(**others: Any) -> rbm.FullOrderModel:
    arguments = {"operators": [(1.0, A), ("mu", np.eye(2))], "rhs": [(1.0, np.ones(2))], "product": A}
    return rbm.FullOrderModel(**{**arguments, "parameters": RANGES, "stability": 1.0, **others})


@pytest.fixture(scope="module")
def full() -> rbm.FullOrderModel:
    return model(outputs={"mean": np.ones(2)})


@pytest.fixture(scope="module")
def reduced(full: rbm.FullOrderModel) -> rbm.ReducedModel:
    return rbm.project(full, np.eye(2)[:, :1], training=[[2.0], [50.0]])


class Mistake(NamedTuple):
    """A mistake (of a full-order model and its reduced one), what its message holds, and what it advises."""

    make: Callable[[rbm.FullOrderModel, rbm.ReducedModel], Any]
    wrong: str
    value: str
    remedy: str
    right: Callable[[rbm.FullOrderModel, rbm.ReducedModel], Any]


def singular(coefficient: str = "mu - 3") -> rbm.ReducedModel:
    made = model(operators=[(coefficient, np.eye(2))], product=np.eye(2), stability="abs(mu - 3) + 1e-9")
    return rbm.project(made, np.array([[1.0], [0.0]]), training=[[2.0], [50.0]])


def with_coefficient(source: Any) -> rbm.ReducedModel:
    made = model(operators=[(1.0, A), (source, np.eye(2))], parameters={"mu": (-50.0, 100.0)}, stability=1e-9)
    return rbm.project(made, np.eye(2)[:, :1], training=[[3.0], [50.0]])


def stored_run(full: rbm.FullOrderModel) -> Path:
    path = Path(tempfile.mkdtemp()) / "run.rbm"
    rbm.greedy(full, [[2.0], [50.0]], max_basis=1, progress=False).save(path)
    return path


def stored_model(reduced: rbm.ReducedModel) -> Path:
    path = Path(tempfile.mkdtemp()) / "model.rbm"
    reduced.save(path)
    return path


MISTAKES = {
    "scalar mu": Mistake(
        lambda f, r: r.solve(3.5),
        r"shape \(M, 1\) for \(mu\)",
        r"got shape \(\): the number 3.5",
        r"write \[3.5\] for one point",
        lambda f, r: r.solve([3.5]),
    ),
    "training is a number": Mistake(
        lambda f, r: rbm.greedy(f, 500, progress=False),
        "one row a point",
        "the number 500",
        r"parameters.sample\(500\) for 500 points",
        lambda f, r: rbm.greedy(f, f.parameters.sample(500), max_basis=1, progress=False),
    ),
    "training outside": Mistake(
        lambda f, r: rbm.greedy(f, [[2.0], [0.0]], progress=False),
        "is outside",
        r"mu = 0 \(row 1\) is outside \[1, 100\]",
        "leave such points out, or make the range of the parameter wider$",
        lambda f, r: rbm.greedy(f, [[2.0]], progress=False),
    ),
    "training of a projection outside": Mistake(
        lambda f, r: rbm.project(f, np.eye(2)[:, :1], training=[[2.0], [0.5]]),
        "is outside",
        r"mu = 0.5 \(row 1\)",
        "leave such points out, or make the range",
        lambda f, r: rbm.project(f, np.eye(2)[:, :1], training=[[2.0], [1.5]]),
    ),
    "mu outside": Mistake(
        lambda f, r: r.solve([200.0]),
        "is outside",
        r"mu = 200 \(row 0\) is outside \[1, 100\]",
        "pass extrapolate=True to allow it$",
        lambda f, r: r.solve([200.0], extrapolate=True),
    ),
    "mu outside, full model": Mistake(
        lambda f, r: f.solve([200.0]),
        "is outside",
        "mu = 200",
        "pass extrapolate=True to allow it$",
        lambda f, r: f.solve([200.0], extrapolate=True),
    ),
    "a flat list": Mistake(
        lambda f, r: r.solve([3.5, 4.0]),
        "one row a point",
        r"got shape \(2,\)",
        r"mus\[:, None\] or reshape\(-1, 1\)",
        lambda f, r: r.solve(np.array([3.5, 4.0])[:, None]),
    ),
    "a row too long": Mistake(
        lambda f, r: r.solve([[3.5, 4.0, 5.0]]),
        "one row a point",
        r"got shape \(1, 3\)",
        r"did you mean mus.T\?",
        lambda f, r: r.solve(np.array([[3.5, 4.0, 5.0]]).T),
    ),
    "a dictionary without a name": Mistake(
        lambda f, r: r.solve({"nu": 3.0}),
        "points given by name need mu",
        "missing: mu; no parameters: nu",
        "need mu and nothing else",
        lambda f, r: r.solve({"mu": 3.0}),
    ),
    "texts": Mistake(
        lambda f, r: r.solve([["3.5"]]),
        "parameters must be numbers",
        r"\[\['3.5'\]\]",
        r"convert them by np.array\(mus\).astype\(float\)",
        lambda f, r: r.solve(np.array([["3.5"]]).astype(float)),
    ),
    "objects": Mistake(
        lambda f, r: r.solve(np.array([[3.5]], dtype=object)),
        "parameters must be numbers",
        "dtype object",
        r"convert them by .astype\(float\)",
        lambda f, r: r.solve(np.array([[3.5]], dtype=object).astype(float)),
    ),
    "masked": Mistake(
        lambda f, r: r.solve(np.ma.masked_greater([[3.5], [90.0]], 50)),
        "behind a mask",
        r"1 of 2 entries .* index \(1, 0\)",
        r"leave those points out, or fill the entries \(.filled\)",
        lambda f, r: r.solve(np.ma.masked_greater([[3.5], [90.0]], 50).filled(50.0)),
    ),
    "parameters is a list": Mistake(
        lambda f, r: model(parameters=["mu"]),
        "parameters must be",
        "got list",
        r"an rbm.ParameterSpace or a dictionary \{'name': \(low, high\)\}",
        lambda f, r: (model(parameters=RANGES), model(parameters=rbm.ParameterSpace(RANGES))),
    ),
    "a range in words": Mistake(
        lambda f, r: model(parameters={"mu": "19"}),
        "range of mu must be two numbers",
        "got '19'",
        r"\(low, high\)",
        lambda f, r: model(parameters={"mu": (1, 9)}),
    ),
    "a range reversed": Mistake(
        lambda f, r: model(parameters={"mu": (9.5, 1.0)}),
        "range of mu must be finite with low <= high",
        r"got \(9.5, 1.0\)",
        r"write \(1, 9.5\)",
        lambda f, r: model(parameters={"mu": (1, 9.5)}),
    ),
    "a power of other languages": Mistake(
        lambda f, r: model(operators=[(1.0, A), ("mu^2", np.eye(2))]),
        "is not allowed",
        r"'mu \^ 2' in coefficient expression 'mu\^2'",
        r"a power is written mu \*\* 2",
        lambda f, r: model(operators=[(1.0, A), ("mu ** 2", np.eye(2))]),
    ),
    "a function with its module": Mistake(
        lambda f, r: model(operators=[(1.0, A), ("np.exp(mu)", np.eye(2))]),
        "is not allowed",
        r"call 'np.exp\(mu\)'",
        r"write exp\(...\) without a module",
        lambda f, r: model(operators=[(1.0, A), ("exp(mu)", np.eye(2))]),
    ),
    "a greedy run loaded as a model": Mistake(
        lambda f, r: rbm.load(stored_run(f)),
        "not a reduced model",
        "run.rbm holds a greedy run",
        r"rbm.greedy\(model, training, resume=file\) goes on with it",
        lambda f, r: rbm.greedy(f, [[2.0], [50.0]], max_basis=1, resume=stored_run(f), progress=False).reduced_model,
    ),
    "a model taken up as a greedy run": Mistake(
        lambda f, r: rbm.greedy(f, [[2.0]], resume=stored_model(r), progress=False),
        "not a greedy run",
        "model.rbm holds a reduced model",
        r"rbm.load\(file\) reads it",
        lambda f, r: rbm.load(stored_model(r)),
    ),
    "reconstruct without coefficients": Mistake(
        lambda f, r: r.reconstruct(r.solve([3.5], coefficients=False)),
        "has none",
        "coefficients=False",
        r"call solve\(mus\) again without it",
        lambda f, r: r.reconstruct(r.solve([3.5])),
    ),
    "more basis vectors than there are": Mistake(
        lambda f, r: r.truncate(99),
        r"cannot truncate a model of \d basis vectors to 99",
        r"an integer from 1 to \d",
        "a larger max_basis",
        lambda f, r: r.truncate(1),
    ),
    "an operator of another size": Mistake(
        lambda f, r: model(operators=[(1.0, np.eye(3))]),
        r"operator term 0 has shape \(3, 3\)",
        r"the product has shape \(2, 2\)",
        r"give a matrix \(2, 2\) .* the same ones eliminated",
        lambda f, r: model(operators=[(1.0, np.eye(2))]),
    ),
    "a callable that takes the table": Mistake(
        lambda f, r: with_coefficient(lambda mus: mus**2).solve([[2.0], [3.0]]),
        r"must return numbers of shape \(2,\)",
        r"got shape \(2, 1\)",
        r"write mus\[:, 0\] \*\* 2, not mus \*\* 2",
        lambda f, r: with_coefficient(lambda mus: mus[:, 0] ** 2).solve([[2.0], [3.0]]),
    ),
    "a logarithm of a negative number": Mistake(
        lambda f, r: with_coefficient("log(mu - 2)").solve([[1.5], [3.0], [50.0]]),
        r"coefficient 'log\(mu - 2\)' is nan",
        r"at mu = 1.5 \(row 0\): log of -0.5",
        "of the points given it is finite at 2, from mu = 3 to 50",
        lambda f, r: with_coefficient("log(mu - 2)").solve([[3.0], [50.0]]),
    ),
    "a division by zero": Mistake(
        lambda f, r: with_coefficient("1 / (mu - 3.5)").solve([3.5]),
        r"coefficient '1 / \(mu - 3.5\)' is inf",
        r"at mu = 3.5 \(row 0\): 1 / 0",
        "keep to parameters where it is defined, by the ranges of the ParameterSpace",
        lambda f, r: with_coefficient("1 / (mu - 3.5)").solve([4.5]),
    ),
    "a root of a negative number": Mistake(
        lambda f, r: with_coefficient("2 + (mu - 4)**0.5").solve([3.0]),
        "is nan",
        r"at mu = 3 \(row 0\): -1 \*\* 0.5",
        "keep to parameters where it is defined",
        lambda f, r: with_coefficient("2 + (mu - 4)**0.5").solve([5.0]),
    ),
    "a singular system": Mistake(
        lambda f, r: singular().solve([[2.0], [3.0], [4.0]]),
        "is singular",
        r"the reduced system at mu = 3 \(row 1\)",
        "leave this parameter out, .* check the stability bound",
        lambda f, r: singular().solve([[2.0], [4.0]]),
    ),
    "a matrix for a coefficient": Mistake(
        lambda f, r: model(operators=[(np.eye(2), 1.0)]),
        "in the wrong order",
        r"term 0 of operators is \(ndarray, 1.0\)",
        r"pairs are \(coefficient, array\), write \(1.0, array\)",
        lambda f, r: model(operators=[(1.0, np.eye(2))]),
    ),
    "an output called like another's bound": Mistake(
        lambda f, r: model(outputs={"s": np.ones(2), "s_bound": np.ones(2)}),
        "output 's_bound' may need the column 's_bound'",
        "which the output 's' has",
        "choose another name",
        lambda f, r: model(outputs={"s": np.ones(2), "limit": np.ones(2)}),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_message_says_what_is_wrong_the_value_and_a_remedy_that_works(
    full: rbm.FullOrderModel, reduced: rbm.ReducedModel, mistake: Mistake
) -> None:
    with pytest.raises(ValueError, match=mistake.wrong) as caught:
        mistake.make(full, reduced)
    assert caught.match(mistake.value)
    assert caught.match(mistake.remedy)
    mistake.right(full, reduced)
