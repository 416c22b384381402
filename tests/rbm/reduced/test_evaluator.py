"""Single points by compiled code of their own: the bits and the errors of the general way."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.models import complex_model, two_parameter_model

import rbm
from problems import convection_diffusion, reaction_diffusion_1d, thermal_block
from rbm.online.compiled import CompiledModel
from rbm.online.compiled_point import CompiledPoint
from rbm.online.forms import Energy, Finish, NormForm, SquareForm
from rbm.online.programs import COLUMN, program
from rbm.reduced.evaluator import Evaluator
from rbm.reduced.online_query import Query


def general(monkeypatch: pytest.MonkeyPatch, call: Callable[[], Any]) -> Any:
    """What comes out where no point has a way of its own."""
    with monkeypatch.context() as patch:
        patch.setattr(Query, "one_point", lambda self, state, extrapolate: None)
        return call()


def same(answer: Any, solution: rbm.Solution, gamma: np.ndarray) -> None:
    """All numbers of an evaluator are those of a solution, and floats."""
    error = solution.estimate
    assert error is not None
    assert (answer.bound, answer.value, answer.floor) == (error.bound[0], error.value[0], error.floor[0])
    assert type(answer.bound) is type(answer.value) is type(answer.floor) is float
    assert answer.resolved is bool(error.resolved[0])
    assert answer.outputs == {name: values[0] for name, values in solution.outputs.items()}
    assert answer.output_bounds == {name: values[0] for name, values in solution.output_bounds.items()}
    assert all(type(x) in (float, complex) for x in answer.outputs.values())
    assert all(type(x) is float for x in answer.output_bounds.values())
    np.testing.assert_array_equal(gamma, solution.coefficients[0])


def identical(a: rbm.Solution, b: rbm.Solution) -> None:
    tables = a.to_dict(), b.to_dict()
    assert tables[0].keys() == tables[1].keys()
    for name, values in tables[0].items():
        np.testing.assert_array_equal(values, tables[1][name], err_msg=name)
        assert values.dtype == tables[1][name].dtype
    np.testing.assert_array_equal(a.coefficients, b.coefficients)
    assert (a.method, a.origin, a.names, a.units) == (b.method, b.origin, b.names, b.units)
    assert a.coefficients.shape == b.coefficients.shape


def problem(rng: np.random.Generator, n: int, qa: int, qf: int, outputs: int) -> Any:
    """Random definite terms, and everything that a kernel is told about a residual and outputs."""
    roots = rng.standard_normal((qa, n, n))
    m = qf + qa * n
    left_out = np.where(np.arange(qa) % 3 == 1, np.inf, 0.0)  # terms that the minimum of min-theta leaves out
    energy = Energy(
        rng.uniform(0, 1e-8, (qa, n)), rng.uniform(0, 1e-9, qa), 1.1, 1e-9, rng.uniform(0, 1e-9, n)
    )  # fmt: skip
    finish = Finish(
        np.concatenate([[0.9], rng.uniform(0.5, 2, qa), rng.uniform(0, 1e-3, qa), left_out]),
        rng.standard_normal((outputs, n)),
        rng.uniform(0, 1e-15, (outputs, n)),
        rng.uniform(0, 2, outputs),
        tuple(energy if o % 2 else None for o in range(outputs)),
    )
    factor = np.triu(rng.standard_normal((m, m)))
    return roots @ roots.transpose(0, 2, 1) + np.eye(n), rng.standard_normal((qf, n)), factor, finish


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 15, 16, 17, 30, 33])
@pytest.mark.parametrize("kind", ["norm", "refined", "square"])
def test_a_point_has_the_bits_of_a_tile(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    qa, qf = int(rng.integers(1, 5)), int(rng.integers(1, 3))
    operators, rhs, factor, finish = problem(rng, n, qa, qf, n % 4)
    weights = rng.uniform(0, 1e-3, factor.shape[1])  # large: most points are weak
    form: NormForm | SquareForm
    if kind == "square":
        form = SquareForm(factor.T @ factor, weights, 0.3, 1e-4)
    else:
        form = NormForm(factor, weights, 1e-9 * weights if kind == "refined" else None, 1e-12, 1e-13)
    columns = qa + qf
    formulas = program([(q, [(COLUMN, q)]) for q in range(columns)], columns)
    limits = np.array([[-1e9], [1e9]]).repeat(columns, 1)
    tile = CompiledModel(operators, rhs)
    one = CompiledPoint(operators, rhs, form, finish, limits, formulas)
    scratch = one.scratch()
    for k in range(20):
        theta, phi = rng.uniform(0.1, 3, (1, qa)), rng.standard_normal((1, qf)) * (k % 5 > 0)
        whole = tile.answer(theta, phi, form, None, finish)
        scratch.inputs[:] = np.concatenate([theta[0], phi[0]])
        assert one.answer(scratch) == (k % 5 > 0)  # no right-hand side, no residual: left to the tile
        if k % 5:
            assert whole.failed is None
            numbers = [whole.value, whole.floor, whole.resolved, whole.outputs[0], whole.output_bounds[0]]
            np.testing.assert_array_equal(scratch.answers, np.concatenate(numbers))
            np.testing.assert_array_equal(scratch.gamma, whole.gamma[0])


def test_what_a_point_leaves_to_the_tile() -> None:
    """An indefinite matrix, a singular one, beta that is not positive, numbers that are not finite, a limit passed."""
    rng = np.random.default_rng(0)
    operators, rhs, factor, finish = problem(rng, 5, 2, 1, 1)
    formulas = program([(q, [(COLUMN, q)]) for q in range(3)], 3)
    limits = np.array([[-1.0, -1.0, -1.0], [2.0, 2.0, np.inf]])
    one = CompiledPoint(operators, rhs, NormForm(factor, np.full(11, 1e-9), None, 0.0, 0.0), finish, limits, formulas)
    scratch = one.scratch()

    def answers(*inputs: float) -> bool:
        scratch.inputs[:] = inputs
        return one.answer(scratch)

    assert answers(1.0, 2.0, 1.0)
    for wrong in ((-1, 1, 1), (0, 0, 1), (1e-9, 1, 1), (np.nan, 1, 1), (1, 2.1, 1), (1, 1, np.inf), (1, 1, 1e300)):
        assert not answers(*wrong), wrong
    assert answers(1.0, 2.0, 1.0)


def models() -> dict[str, Callable[[], rbm.ReducedModel]]:
    """One of each kind, with the way that a point has."""

    def made(full: rbm.FullOrderModel, size: int = 5, **options: Any) -> rbm.ReducedModel:
        training = full.parameters.sample(40)
        return rbm.greedy(full, training, max_basis=size, progress=False, **options).reduced_model

    def formulas(stability: Any = "1 + sqrt(mu)**2 / (2 + mu**3)", rhs: Any = "abs(mu - 3)**-2") -> rbm.FullOrderModel:
        base = reaction_diffusion_1d(60)
        return rbm.FullOrderModel(
            [("1 + mu**2/4", base.operator_terms[0]), ("mu*sqrt(mu) - -2.5", base.operator_terms[1])],
            [(rhs, base.rhs_terms[:, 0])],
            base.product,
            rbm.ParameterSpace({"mu": (1.0, 2.0)}),
            stability,
            outputs={"mean": np.full(59, 1 / 60)},
        )

    def called(mus: np.ndarray) -> np.ndarray:
        return 1.0 / mus[:, 0]

    return {
        "block": lambda: made(thermal_block((2, 2), 8), 9),
        "diffusion": lambda: made(reaction_diffusion_1d(80), 6, estimators=("orthonormal", "expanded")),
        "formulas": lambda: made(formulas()),
        "callable": lambda: made(formulas(stability=lambda mus: 0.5 + 0 * mus[:, 0], rhs=called)),
        "functions": lambda: made(formulas("1 - exp(-mu)", "sin(mu)")),
        "complex": lambda: made(complex_model(60)),
        "two": lambda: made(two_parameter_model(60)),
        "least squares": lambda: rbm.project(two_parameter_model(60), np.eye(59)[:, ::8], projection="least-squares"),
        "single": lambda: made(thermal_block((2, 2), 8), 5).astype("float32"),
        "coded": lambda: made(reaction_diffusion_1d(80)).quantize(8),
        "not symmetric": lambda: made(convection_diffusion(16)),
    }


WITH_A_WAY = {"block", "diffusion", "formulas", "callable", "functions", "two"}


@pytest.mark.parametrize("name", models())
def test_evaluators_and_solve_have_the_bits_of_the_general_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reduced = models()[name]()
    for method in reduced.estimators:
        evaluate = reduced.evaluator(method)
        assert isinstance(evaluate, Evaluator)
        assert (evaluate._one is not None) == (name in WITH_A_WAY)
        for mu in reduced.parameters.sample(30, "random", rng=4):
            expected = general(monkeypatch, lambda mu=mu, method=method: reduced.solve(mu, method=method))
            same(evaluate(mu), expected, evaluate.coefficients)
            same(evaluate(mu.tolist()), expected, evaluate.coefficients)
            identical(reduced.solve(mu, method=method), expected)
            short = general(
                monkeypatch, lambda mu=mu, method=method: reduced.solve(mu, method=method, coefficients=False)
            )
            identical(reduced.solve(mu, method=method, coefficients=False), short)


def test_primal_dual_outputs_go_the_general_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convection_diffusion(12)
    outputs = rbm.greedy(model, model.parameters.sample(30), max_basis=4, progress=False, dual="all")
    reduced = outputs.reduced_model
    evaluate = reduced.evaluator()
    for mu in reduced.parameters.sample(5, "random", rng=1):
        same(evaluate(mu), general(monkeypatch, lambda mu=mu: reduced.solve(mu)), evaluate.coefficients)


@pytest.fixture(scope="module")
def block() -> rbm.ReducedModel:
    return models()["block"]()


WRONG = [
    [0.5, 0.5, 0.5],
    [[0.5, 0.5, 0.5, 0.5, 0.5]],
    0.5,
    "0.5",
    None,
    [0.5, 0.5, 0.5, np.nan],
    [0.5, np.inf, 0.5, 0.5],
    [0.5, 0.5, 7.0, 0.5],
    [0.5, 0.5, 0.5, 0.5j],
    [0.5, "a", 0.5, 0.5],
    {"k1": 0.5},
    np.ma.masked_greater([0.1, 0.2, 0.3, 0.9], 0.5),
]


@pytest.mark.parametrize("mu", WRONG, ids=str)
def test_a_bad_point_is_refused_as_solve_refuses_it(block: rbm.ReducedModel, mu: Any) -> None:
    evaluate = block.evaluator()
    with pytest.raises(rbm.ParameterError) as expected:
        block.solve(mu)
    for given in (mu, np.array(mu)) if isinstance(mu, list) else (mu,):
        with pytest.raises(rbm.ParameterError) as got:
            evaluate(given)
        if given is mu:
            assert str(got.value) == str(expected.value)
    with pytest.raises(ValueError, match="no coefficients"):
        evaluate.coefficients  # noqa: B018


def test_an_evaluator_answers_one_point(block: rbm.ReducedModel) -> None:
    with pytest.raises(rbm.ParameterError, match=r"one point at a time, got 3; solve\(mus\)"):
        block.evaluator()(np.full((3, 4), 0.5))
    with pytest.raises(rbm.ModelError, match="no estimator 'sketched'"):
        block.evaluator("sketched")


def test_points_in_every_form(block: rbm.ReducedModel) -> None:
    evaluate, mu = block.evaluator(), np.array([0.25, 0.5, 0.75, 1.0])
    expected = evaluate(mu)
    named = {f"k{j + 1}": x for j, x in enumerate(mu.tolist())}
    for form in (mu.tolist(), tuple(mu), mu[None], mu[::-1][::-1], named, [0.25, 0.5, 0.75, 1], mu.astype("float32")):
        assert evaluate(form) == expected
    assert evaluate(mu + np.array([0, 0, 0, 2.0**-52])) == expected  # the end of the range, but for rounding


def test_extrapolation(block: rbm.ReducedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate, mu = block.evaluator(extrapolate=True), np.array([0.5, 0.5, 2.0, 0.5])
    same(evaluate(mu), general(monkeypatch, lambda: block.solve(mu, extrapolate=True)), evaluate.coefficients)
    with pytest.raises(rbm.ParameterError, match="is not a finite number"):
        evaluate([0.5, np.inf, 0.5, 0.5])
    with pytest.raises(rbm.StabilityError, match="positive coefficients"):
        evaluate([0.5, -0.5, 0.5, 0.5])
    same(evaluate(mu), block.solve(mu, extrapolate=True), evaluate.coefficients)


def test_errors_of_formulas_and_functions_are_those_of_solve() -> None:
    base = reaction_diffusion_1d(60)

    def failing(mus: np.ndarray) -> np.ndarray:
        if mus[0, 0] > 1.5:
            raise RuntimeError("no value here")
        return 1.0 + 1j * (mus[:, 0] > 1.25) if mus[0, 0] > 1.25 else 1.0 + mus[:, 0]

    for rhs, stability in (("sqrt(1.5 - mu)", 1.0), ("1/(mu - 1.75)", 1.0), (1.0, "1.5 - mu"), (failing, 1.0)):
        model = rbm.FullOrderModel(
            [(1.0, base.operator_terms[0]), ("mu", base.operator_terms[1])],
            [(rhs, base.rhs_terms[:, 0])],
            base.product,
            rbm.ParameterSpace({"mu": (1.0, 2.0)}),
            stability,
        )
        reduced = rbm.project(model, np.eye(59)[:, ::9])
        evaluate = reduced.evaluator()
        same(evaluate([1.125]), reduced.solve([1.125]), evaluate.coefficients)
        if rhs is failing:  # a function may be complex here and there
            same(evaluate([1.375]), reduced.solve([1.375]), evaluate.coefficients)
        with pytest.raises(ValueError, match=r"mu = 1\.75|no value here") as expected:
            reduced.solve([1.75])
        with pytest.raises(type(expected.value)) as got:
            evaluate([1.75])
        assert str(got.value) == str(expected.value)


def test_threads_may_share_an_evaluator(block: rbm.ReducedModel) -> None:
    evaluate, mus = block.evaluator(), block.parameters.sample(300, "random", rng=5)
    expected = [evaluate(mu) for mu in mus]
    got: dict[int, list[Any]] = {}

    def work(k: int) -> None:
        got[k] = [evaluate(mu) for mu in mus] if k % 2 else [block.solve(mu).bound[0] for mu in mus]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got[1] == got[3] == expected
    assert got[0] == got[2] == [answer.bound for answer in expected]


def test_copies_have_scratch_memory_of_their_own(block: rbm.ReducedModel) -> None:
    evaluate = block.evaluator("orthonormal", extrapolate=True)
    mu = [0.5, 0.5, 0.5, 2.0]
    for other in (pickle.loads(pickle.dumps(evaluate)), copy.deepcopy(evaluate)):
        assert other(mu) == evaluate(mu)
        assert not np.shares_memory(other._scratch.room, evaluate._scratch.room)


def test_answers_do_not_change_with_later_ones(block: rbm.ReducedModel) -> None:
    evaluate = block.evaluator()
    first = evaluate([0.5, 0.5, 0.5, 0.5])
    gamma, kept = evaluate.coefficients, block.solve([0.5, 0.5, 0.5, 0.5])
    numbers = kept.to_dict()
    copies = {name: values.copy() for name, values in numbers.items()}
    evaluate([0.25, 0.5, 0.5, 0.5])
    block.solve([0.25, 0.5, 0.5, 0.5])
    assert evaluate([0.5, 0.5, 0.5, 0.5]) == first
    np.testing.assert_array_equal(gamma, kept.coefficients[0])
    for name, values in numbers.items():
        np.testing.assert_array_equal(values, copies[name])


def with_formulas(operator: Any, rhs: Any = 1.0) -> rbm.ReducedModel:
    """A model of five unknowns on its full basis."""
    k = 2 * np.eye(5) - np.eye(5, k=1) - np.eye(5, k=-1)
    space = rbm.ParameterSpace({"mu": (1.0, 2.0)})
    model = rbm.FullOrderModel([(operator, k), ("mu", np.eye(5))], [(rhs, np.ones(5))], k, space, 0.5)
    return rbm.project(model, np.eye(5))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("end", [1.0, 2.0])
@pytest.mark.parametrize("rhs", [1.0, "1 / sqrt(mu)", lambda mus: 1 / mus[:, 0]])
def test_a_point_that_rounding_put_outside_is_the_end_of_the_range(rows: int, end: float, rhs: Any) -> None:
    reduced = with_formulas("1 + 1e-15 / (2.000000000000004 - mu) + 1e-15 / (mu - 0.999999999999996)", rhs)
    mu = np.nextafter(np.nextafter(end, 9 * (end - 1.5)), 9 * (end - 1.5))
    for extrapolate in (False, True):
        found = reduced.solve(np.full((rows, 1), mu), extrapolate=extrapolate)
        there = reduced.solve(np.full((rows, 1), end), extrapolate=extrapolate)
        np.testing.assert_array_equal(found.coefficients, there.coefficients)
        np.testing.assert_array_equal(found.bound, there.bound)
        evaluate = reduced.evaluator(extrapolate=extrapolate)
        same(evaluate([mu]), reduced.solve([mu], extrapolate=extrapolate), evaluate.coefficients)


def test_functions_are_not_called_outside_the_ranges() -> None:
    seen: list[float] = []

    def rhs(mus: np.ndarray) -> np.ndarray:
        seen.extend(mus[:, 0].tolist())
        return 1 / mus[:, 0]

    reduced = with_formulas("mu**2", rhs)
    evaluate = reduced.evaluator()
    for ask in (evaluate, reduced.solve):
        with pytest.raises(rbm.ParameterError, match="outside"):
            ask([0.25])
    assert all(mu >= 1.0 for mu in seen)
    seen.clear()
    reduced.solve([0.25], extrapolate=True)
    assert set(seen) == {0.25}


@pytest.mark.parametrize("bad", [[1.0, 2.0, 3.0], "x", [[1.5], [1.6]]])
def test_there_are_no_coefficients_after_what_is_no_point(bad: Any) -> None:
    evaluate = with_formulas("mu").evaluator()
    evaluate([1.5])
    with pytest.raises(rbm.ParameterError):
        evaluate(bad)
    with pytest.raises(ValueError, match="no coefficients"):
        _ = evaluate.coefficients
