"""Minima of outputs: found with few evaluations, with an interval that holds the full model's value."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers.exact_gradients import rod
from helpers.exact_outputs import convection_model
from helpers.small_models import matrices

import problems
import rbm


def model(**options: Any) -> rbm.FullOrderModel:
    """K + a M with a load; "cost" = s + 0.01 a has its minimum inside, and so has "square"."""
    stiffness, mass, load = matrices("sparse")
    made: dict[str, Any] = {"cost": [(1.0, load), ("a", 2e-4)], "square": mass, "complex": load * 1j}
    return rbm.FullOrderModel(
        [(1.0, stiffness), ("a", mass)], [(1.0, load)], stiffness, {"a": (1.0, 100.0), "b": (0.0, 2.0)}, 1.0,
        outputs=made, **options,
    )  # fmt: skip


def reduced(full: rbm.FullOrderModel, **options: Any) -> rbm.ReducedModel:
    return rbm.greedy(full, full.parameters.sample(60), **{"tol": 1e-7, **options}).reduced_model


def test_a_minimum_inside_is_that_of_a_fine_grid() -> None:
    full = model()
    found = rbm.minimize(reduced(full), "cost")
    a = np.linspace(1, 100, 2000)
    grid = full.outputs["cost"](mus := np.stack([a, 0 * a], axis=1), full.solve(mus))
    assert found.value <= grid.min() + 1e-9
    assert abs(found.parameters["a"] - a[np.argmin(grid)]) < 0.1
    assert abs(found.gradient[0]) < 1e-7
    assert found.gradient_bounds is not None
    assert found.evaluations < 20


def test_the_interval_holds_what_the_full_model_has_at_the_points_visited() -> None:
    """Also with a poor basis, where the interval is wide."""
    full = model()
    small = reduced(full, max_basis=1, tol=1e-12)
    asked: list[np.ndarray] = []
    solve = small.solve

    class Listening(rbm.ReducedModel):
        def solve(self, mus: Any, *args: Any, **options: Any) -> rbm.Solution:
            asked.append(np.atleast_2d(mus))
            return solve(mus, *args, **options)

    made = Listening(**{k: getattr(small, k) for k in small.__getstate__()})
    found = rbm.minimize(made, "cost", starts=2)
    mus = np.concatenate(asked)
    assert len(mus) == found.evaluations
    exact = full.outputs["cost"](mus, full.solve(mus))
    low, high = found.interval
    assert low <= exact.min() <= high
    at = full.outputs["cost"](found.mu[None], full.solve(found.mu))[0]
    assert abs(at - found.value) <= found.error
    assert high <= found.value + found.error


def test_a_quadratic_output_ranges_and_starts() -> None:
    full = model()
    small = reduced(full)
    whole = rbm.minimize(small, "square")
    assert whole.parameters["a"] == 100.0
    found = rbm.minimize(small, "square", ranges={"a": (3, 7), "b": 1.5}, starts=3, rng=4)
    assert found.parameters == {"a": 7.0, "b": 1.5}
    assert len(found.descents) == 3
    assert found.evaluations == 128 + sum(d.evaluations for d in found.descents)
    given = rbm.minimize(small, "cost", starts=[[50.0, 1.0], [2.0, 0.0]])
    assert [d.start.tolist() for d in given.descents] == [[50.0, 1.0], [2.0, 0.0]]
    assert "cost in [" in repr(given)


def test_a_logarithmic_space() -> None:
    full = rod(outputs={"s": [("cos(b)", np.ones(12)), ("a", 3.0)]})
    full.parameters.scale = "log"
    small = reduced(full)
    found = rbm.minimize(small, "s")
    mus = np.stack(np.meshgrid(np.linspace(0.5, 2, 60), np.linspace(0.4, 1.4, 60), indexing="ij"), -1).reshape(-1, 2)
    assert found.value <= small.solve(mus).outputs["s"].min() + 1e-6 * abs(found.value)


def test_the_number_of_evaluations_is_a_limit() -> None:
    found = rbm.minimize(reduced(model()), "cost", max_evaluations=3)
    assert found.evaluations == 3
    assert found.descents[0].message == "stopped after max_evaluations = 3"


def test_a_model_without_bounds_of_derivatives_has_an_interval_all_the_same() -> None:
    found = rbm.minimize(reduced(model(), estimators=("expanded",)), "cost")
    assert found.gradient_bounds is None
    assert found.interval[0] < found.interval[1]


def test_what_cannot_be_minimised_is_refused() -> None:
    small = reduced(model(), max_basis=3)
    with pytest.raises(rbm.ModelError, match="output 'complex' is complex, and complex numbers have no least one"):
        rbm.minimize(small, "complex")
    with pytest.raises(rbm.ModelError, match=r"names the output 'drag'.* it has 'cost', 'square', 'complex'"):
        rbm.minimize(small, "drag")
    with pytest.raises(rbm.ParameterError, match=r"range of a is \[0, 7\].*not inside.*\[1, 100\]"):
        rbm.minimize(small, "cost", ranges={"a": (0, 7)})
    with pytest.raises(rbm.ParameterError, match=r"a = 200.* is outside \[1.*100"):
        rbm.minimize(small, "cost", starts=[[200.0, 1.0]])
    with pytest.raises(rbm.ModelError, match="ranges name 'c', which is no parameter"):
        rbm.minimize(small, "cost", ranges={"c": 1.0})
    for wrong in ({"starts": 0}, {"max_evaluations": 0}, {"options": 3}, {"ranges": 3}):
        with pytest.raises(rbm.ModelError, match=next(iter(wrong))):
            rbm.minimize(small, "cost", **wrong)  # type: ignore[arg-type]
    with pytest.raises(rbm.ModelError, match="asks a reduced model, got a FullOrderModel"):
        rbm.minimize(model(), "cost")  # type: ignore[arg-type]
    stiffness, mass, load = matrices("sparse")
    no_slope = rbm.FullOrderModel(
        [(1.0, stiffness), (lambda mus: mus[:, 0], mass)], [(1.0, load)], stiffness, {"a": (1.0, 9.0)}, 1.0,
        outputs={"s": load},
    )  # fmt: skip
    with pytest.raises(rbm.ModelError, match="callable without a derivative"):
        rbm.minimize(reduced(no_slope, max_basis=2), "s")


def test_the_optimum_of_the_fin_takes_fewer_than_twenty_evaluations() -> None:
    pytest.importorskip("skfem")
    fin = problems.thermal_fin(1)
    f = fin.rhs_terms[:, 0]
    full = rbm.FullOrderModel(
        list(zip(fin.operator_coefficients.sources, fin.operator_terms, strict=True)), [(1.0, f)], fin.product,
        fin.parameters, rbm.stability.MinTheta(reference=[1.0] * 4 + [0.1]),
        outputs={"cost": [(1.0, f), ("Bi", 1.0)], "design": [(1.0, f), ("Bi", 1.0), ("k1 + k2 + k3 + k4", 0.05)]},
    )  # fmt: skip
    small = reduced(full, tol=1e-4, max_basis=30)
    for found in (
        rbm.minimize(small, "cost", ranges={"k1": 0.4, "k2": 0.6, "k3": 0.8, "k4": 1.2}),
        rbm.minimize(small, "design"),
    ):
        assert found.evaluations < 20
        exact = full.outputs[found.output](found.mu[None], full.solve(found.mu))[0]
        assert found.interval[0] <= exact <= found.interval[1]
        assert found.interval[1] - found.interval[0] < 1e-2 * found.value
        factors = np.exp(0.2 * np.random.default_rng(0).standard_normal((500, 5)))
        grid = np.clip(found.mu * factors, *full.parameters.bounds.T)
        grid = np.where(found.output == "cost", np.column_stack([np.tile(found.mu[:4], (500, 1)), grid[:, 4]]), grid)
        assert small.solve(grid).outputs[found.output].min() >= found.value - 1e-6


def bump(coefficient: str) -> rbm.ReducedModel:
    stiffness, mass, load = matrices("sparse")
    full = rbm.FullOrderModel(
        [(1.0, stiffness), (coefficient, mass)], [(1.0, load)], stiffness, {"a": (1.0, 9.0)}, 1.0, outputs={"s": load}
    )  # fmt: skip
    return reduced(full, max_basis=6)


def test_a_search_does_not_end_at_the_maximum_in_the_middle() -> None:
    """The slope is zero there, too."""
    found = rbm.minimize(bump("1 + (a - 5)**2"), "s")
    assert found.parameters["a"] in (1.0, 9.0)
    assert len(found.descents) == 2
    assert found.evaluations == 64 + sum(d.evaluations for d in found.descents)
    assert abs(rbm.minimize(bump("20 - (a - 5)**2"), "s").parameters["a"] - 5) < 1e-6
    assert rbm.minimize(bump("1 + (a - 5)**2"), "s", max_evaluations=1).evaluations == 1
    assert rbm.minimize(bump("1 + (a - 5)**2"), "s", ranges={"a": 5.0}).evaluations == 1


def test_values_that_are_zero_at_the_start_and_small_elsewhere() -> None:
    stiffness, mass, load = matrices("sparse")
    full = rbm.FullOrderModel(
        [(1.0, stiffness), ("a", mass)], [("b", 1e-9 * load)], stiffness, {"a": (1.0, 9.0), "b": (-1.0, 1.0)}, 1.0,
        outputs={"s": np.abs(load)},
    )  # fmt: skip
    found = rbm.minimize(reduced(full, tol=1e-14), "s")
    assert found.parameters == {"a": 1.0, "b": -1.0}
    assert found.value < 0


def test_points_that_are_tried_count_for_the_limit() -> None:
    found = rbm.minimize(bump("a"), "s", starts=3, max_evaluations=5)
    assert found.evaluations == 5
    with pytest.raises(rbm.ModelError, match="starts = 1000000 needs more than max_evaluations = 100"):
        rbm.minimize(bump("a"), "s", starts=10**6, max_evaluations=100)


def test_the_ends_of_the_interval_are_rounded_outwards() -> None:
    small = reduced(model())
    found = rbm.minimize(small, "cost", max_evaluations=1)
    solution = small.solve(found.mu[None])
    value, bound = (Fraction(float(a["cost"][0])) for a in (solution.outputs, solution.output_bounds))
    assert Fraction(found.interval[0]) < value - bound < value + bound < Fraction(found.interval[1])


def test_an_interrupted_search_keeps_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    small, asked = reduced(model()), []
    gradient = rbm.ReducedModel.gradient

    def interrupted(self: Any, *args: Any, **options: Any) -> rbm.Gradient:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return gradient(self, *args, **options)

    monkeypatch.setattr(rbm.ReducedModel, "gradient", interrupted)
    with pytest.raises(rbm.errors.Interrupted, match="interrupted after 3 evaluations") as caught:
        rbm.minimize(small, "cost")
    assert caught.value.result.evaluations == 3
    assert caught.value.result.interval[0] <= caught.value.result.value
    asked[:] = [1, 1]
    monkeypatch.setattr(rbm.ReducedModel, "solve", lambda *args, **options: interrupted(*args))
    with pytest.raises(KeyboardInterrupt) as early:  # before there is anything
        rbm.minimize(small, "cost")
    assert not isinstance(early.value, rbm.errors.Interrupted)


@pytest.mark.parametrize("wrong", ["x", (), (1, 2, 3), [[1, 2], [3, 4]]])
def test_a_range_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(rbm.ModelError, match=r"range of a must be \(low, high\) or one value, got"):
        rbm.minimize(reduced(model(), max_basis=2), "cost", ranges={"a": wrong})
    with pytest.raises(rbm.ModelError, match="names the output"):
        rbm.minimize(reduced(model(), max_basis=2), [wrong])  # type: ignore[arg-type]


def test_torch_differentiates_a_reduced_output() -> None:
    torch = pytest.importorskip("torch")
    small = reduced(model())
    function = rbm.uses.torch_function(small, "cost")
    mus = torch.tensor([[2.0, 1.0], [30.0, 0.5]], dtype=torch.float64, requires_grad=True)
    (function(mus) ** 2).sum().backward()
    s = small.solve(mus.detach().numpy()).outputs["cost"]
    slopes = small.gradient(mus.detach().numpy()).values["cost"]
    assert np.allclose(mus.grad.numpy(), 2 * s[:, None] * slopes, rtol=1e-12)
    assert torch.autograd.gradcheck(function, (mus,), eps=1e-4, atol=1e-8)
    one = torch.tensor([2.0, 1.0], requires_grad=True)
    function(one).backward()
    assert one.grad.dtype == torch.float32
    assert np.allclose(one.grad.numpy(), slopes[0], rtol=1e-6)
    with pytest.raises(rbm.ModelError, match="'complex' is complex"):
        rbm.uses.torch_function(small, "complex")


def test_what_torch_may_ask_and_what_not() -> None:
    torch = pytest.importorskip("torch")
    small = reduced(model())
    function = rbm.uses.torch_function(small, "cost")
    mus = torch.tensor([[[2.0, 1.0], [30.0, 0.5]], [[4.0, 1.0], [3.0, 0.5]]], dtype=torch.float64)
    assert function(mus).shape == (2, 2)
    assert function(mus[:0]).shape == (0, 2)
    assert torch.equal(torch.func.vmap(function)(mus[0]), function(mus[0]))
    slopes = torch.func.vmap(torch.func.grad(function))(mus[0])
    assert np.allclose(slopes.numpy(), small.gradient(mus[0].numpy()).values["cost"], rtol=1e-12)
    assert function(mus.to(torch.bfloat16)).dtype == torch.bfloat16
    tenth = bump("a / 10")  # in single precision 0.3 is more than 0.3
    narrow = rbm.uses.torch_function(replace(tenth, parameters=rbm.ParameterSpace({"a": (1.0, 8.3)})), "s")
    assert float(torch.tensor(8.3)) != 8.3
    assert narrow(torch.tensor([[8.3]])).shape == (1,)
    with pytest.raises(rbm.ParameterError, match="outside"):
        narrow(torch.tensor([[8.31]]))
    for wrong in (torch.tensor([[2, 1]]), np.ones((1, 2)), torch.tensor(2.0)):
        with pytest.raises(rbm.ModelError, match="asks floating-point tensors"):
            function(wrong)
    one = mus[0, 0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(one), one, create_graph=True)
    with pytest.raises(rbm.ModelError, match="has no derivative itself"):
        slope.sum().backward()


def test_jax_differentiates_a_reduced_output() -> None:
    jax = pytest.importorskip("jax")
    small = reduced(model())
    function = rbm.uses.jax_function(small, "cost")
    mus = jax.numpy.asarray([[2.0, 1.0], [30.0, 0.5]])
    made = jax.jit(jax.grad(lambda x: (function(x) ** 2).sum()))(mus)
    s = small.solve(np.asarray(mus)).outputs["cost"]
    assert np.allclose(made, 2 * s[:, None] * small.gradient(np.asarray(mus)).values["cost"], rtol=1e-5)
    assert jax.grad(function)(mus[0]).shape == (2,)
    with pytest.raises(rbm.ModelError, match="asks floating-point tensors"):
        function(jax.numpy.asarray([[2, 1]]))
    assert np.allclose(jax.vmap(jax.grad(function))(mus), small.gradient(np.asarray(mus)).values["cost"], rtol=1e-5)


def test_a_convection_problem_whose_minimum_is_at_a_corner() -> None:
    full = convection_model(4)
    found = rbm.minimize(reduced(full), "window", starts=2)
    low, high = full.parameters.bounds.T
    grid = full.parameters.sample(400, "grid")
    assert found.value <= full.outputs["window"](grid, full.solve(grid)).min() + 1e-6
    assert np.all((found.mu >= low) & (found.mu <= high))
