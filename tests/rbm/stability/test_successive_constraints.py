"""SCM: never above the exact coercivity constant, close to it on training points, clear about what it refuses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse as sp

import rbm
from problems import thermal_block
from rbm.errors import Interrupted, StabilityError
from rbm.stability import SCM, BoundSCM
from rbm.stability.hermitian_parts import hermitian_parts, range_of

RNG = np.random.default_rng(0)


def dense(matrix: Any) -> np.ndarray:
    return matrix.toarray() if sp.issparse(matrix) else matrix


def coercivity(model: rbm.FullOrderModel, mus: np.ndarray) -> np.ndarray:
    """The exact constants, by dense eigenvalues."""
    p = dense(model.product)
    exact = []
    for theta in model.operator_coefficients(mus):
        a = sum(t * dense(term) for t, term in zip(theta, model.operator_terms, strict=True))
        exact.append(scipy.linalg.eigh((a + a.conj().T) / 2, p, eigvals_only=True)[0])
    return np.array(exact)


def random_model(kind: str, n: int = 24, stability: object = None, **ranges: tuple[float, float]) -> rbm.FullOrderModel:
    """Coercive, with indefinite, skew and non-symmetric terms; complex coefficients and matrices if asked for."""

    def matrix() -> np.ndarray:
        real = RNG.standard_normal((n, n)) / np.sqrt(n)
        return real + 1j * RNG.standard_normal((n, n)) / np.sqrt(n) if "complex" in kind else real

    root = np.eye(n) + 0.3 * matrix()
    skew = matrix()
    coefficients = ["a", "b*b - c", "c"] if kind == "real" else ["a + 1j*b", "b*b - c*1j", "c"]
    terms = [np.diag(np.linspace(1, 3, n)) + 0.1 * matrix(), 0.15 * matrix(), skew - skew.conj().T]
    return rbm.FullOrderModel(
        [(1.0, np.eye(n)), *zip(coefficients, terms, strict=True)],
        [(1.0, np.ones(n))],
        root @ root.conj().T,
        ranges or {"a": (0.0, 2.0), "b": (-1.0, 1.0), "c": (0.0, 2.0)},
        stability or SCM(tol=0.2),
    )


@pytest.mark.parametrize("kind", ["real", "complex coefficients", "complex"])
def test_the_bound_is_never_above_the_constant_and_close_to_it(kind: str) -> None:
    model = random_model(kind, stability=SCM(tol=0.2, max_constraints=40))
    bound = model.stability
    mus = model.parameters.sample(150, "random", rng=1)
    theta = model.operator_coefficients(mus)
    exact, beta = coercivity(model, mus), bound(mus, theta)
    assert np.all(beta <= exact)
    assert np.median(beta / exact) > 0.8
    assert np.all(beta > 0.5 * exact)
    assert np.all(bound.upper(theta) >= exact * (1 - 1e-12))
    np.testing.assert_allclose(bound.linear_program(theta[:20]), beta[:20], rtol=1e-6)
    training = model.parameters.sample(500, rng=0)
    theta = model.operator_coefficients(training)
    assert np.all(bound(training, theta) >= 0.8 * bound.upper(theta) * (1 - 1e-6))


def test_constants_and_box_are_shown_and_not_above_the_exact_ones() -> None:
    model = random_model("complex")
    known, n = model.stability.constraints, model.dimension
    exact = coercivity(model, known.points)
    beta = model.stability(known.points, model.operator_coefficients(known.points))
    assert np.all(beta <= exact)
    np.testing.assert_allclose(beta, exact, rtol=1e-7)
    w = RNG.standard_normal((n, 300)) + 1j * RNG.standard_normal((n, 300))
    for part in hermitian_parts(model, True)[0]:
        a = dense(model.operator_terms[part.term]) * (1j if part.imaginary else 1)
        h = (a + a.conj().T) / 2
        values = scipy.linalg.eigh(h, dense(model.product), eigvals_only=True)
        low, high = (np.ldexp(x, part.exponent) for x in range_of(part, model.inner_product))
        size = np.abs(values).max()
        assert low <= values[0]
        assert values[-1] <= high
        np.testing.assert_allclose([low, high], values[[0, -1]], rtol=0, atol=1e-6 * size)
    # the quotients of any vectors satisfy all inequalities
    y = (
        np.array(
            [
                ((w.conj() * (dense(model.operator_terms[p % 4]) * (1j if p >= 4 else 1) @ w)).sum(axis=0)).real
                for p in known.positions
            ]
        )
        / (w.conj() * (dense(model.product) @ w)).sum(axis=0).real
    )
    y = y / known.scales[:, None]
    assert np.all(known.rows @ y >= known.levels[:, None])
    assert np.all((known.lower[:, None] <= y) & (y <= known.upper[:, None]))


def test_three_blocks_within_two_percent_of_the_exact_constant() -> None:
    base = thermal_block((3, 1), 12, (0.2, 2.0))
    model = with_bound(base, SCM(tol=0.02))
    mus = base.parameters.sample(100, "random", rng=3)
    exact = coercivity(model, mus)
    beta = model.stability(mus, model.operator_coefficients(mus))
    assert np.all(beta <= exact)
    assert np.all(beta >= 0.98 * exact)


def with_bound(base: rbm.FullOrderModel, stability: object, operators: Any = None) -> rbm.FullOrderModel:
    names = base.operator_coefficients.sources
    return rbm.FullOrderModel(
        operators or list(zip(names, base.operator_terms, strict=True)),
        [(1.0, base.rhs_terms[:, 0])],
        base.product,
        base.parameters,
        stability,
        outputs={"mean": base.rhs_terms[:, 0]},
    )


def test_sparse_eigenproblems_give_what_dense_ones_give() -> None:
    """1 - (1D convection, diffusion in two halves, an indefinite reaction) with more unknowns than dense ones have."""
    n = 1010
    h = 1 / (n + 1)
    x = np.arange(1, n + 1) * h
    left = sp.diags_array((np.arange(n + 1) * h < 0.5).astype(float))
    gradient = sp.csr_array(sp.diags_array([np.ones(n), -np.ones(n)], offsets=[0, -1], shape=(n + 1, n)) / h)
    halves = [h * gradient.T @ part @ gradient for part in (left, sp.eye_array(n + 1) - left)]
    reaction = sp.diags_array(h * np.sign(x - 0.3))
    wind = sp.diags_array([0.5 * np.ones(n - 1), -0.5 * np.ones(n - 1)], offsets=[1, -1])
    product = halves[0] + halves[1]
    model = rbm.FullOrderModel(
        [("a", halves[0]), ("b", halves[1]), ("c", reaction), ("c", wind)],
        [(1.0, np.full(n, h))],
        product,
        {"a": (0.5, 2.0), "b": (0.5, 2.0), "c": (-3.0, 3.0)},
        SCM(training=[(0.5, 2.0, 3.0), (1.0, 1.0, -3.0), (2.0, 0.5, 3.0), (1.0, 1.0, 0.0)], tol=1e-3),
    )
    known = model.stability.constraints
    exact = coercivity(model, known.points)
    beta = model.stability(known.points, model.operator_coefficients(known.points))
    assert np.all(beta <= exact)
    np.testing.assert_allclose(beta, exact, rtol=1e-5)


def test_what_is_nothing_but_rounding_is_charged_and_not_computed() -> None:
    base = thermal_block((2, 1), 4)
    skew = RNG.standard_normal((base.dimension,) * 2)
    skew = skew - skew.T + 1e-15 * RNG.standard_normal((base.dimension,) * 2)
    terms = [*zip(("k1", "k2"), base.operator_terms, strict=True), (1000.0, skew)]
    model = with_bound(base, SCM(tol=0.05), terms)
    assert len(model.stability.constraints.lower) == 2
    assert 0 < model.stability.constraints.losses[2] < 1e-10
    mus = base.parameters.sample(50, "random", rng=4)
    theta = model.operator_coefficients(mus)
    assert np.all(model.stability(mus, theta) <= coercivity(model, mus))
    # an imaginary part that the training points did not have costs the norm of the skew term
    turned = theta + np.array([0, 0, 1e-9j])
    assert np.all(model.stability.constant(turned) < model.stability.constant(theta))
    np.testing.assert_array_equal(model.stability.constant(theta + 0j), model.stability.constant(theta))


@pytest.mark.parametrize("kind", ["real", "complex coefficients"])
def test_the_loss_is_subtracted_in_exact_numbers(kind: str) -> None:
    """Its last subtraction may round up, by more than the loss was rounded up where that is small."""
    bound = random_model(kind, stability=SCM(training=[(1.0, 0.0, 1.0)])).stability
    losses = 1e-7 * RNG.random(len(bound.constraints.losses))
    bound, lossy = (
        BoundSCM(replace(bound.constraints, losses=each), bound.active, bound.parameters)
        for each in (0 * losses, losses)
    )
    theta = 1 + 0.01 * RNG.standard_normal((400, len(losses) // 2))
    theta = theta + 0.01j * RNG.standard_normal(theta.shape) if "complex" in kind else theta
    whole = bound.constant(theta), bound.linear_program(theta[:20])
    lost = [
        sum(abs(Fraction(x)) * Fraction(w) for x, w in zip(np.append(row.real, row.imag), losses, strict=True))
        for row in theta
    ]
    for full, made in zip(whole, (lossy.constant(theta), lossy.linear_program(theta[:20])), strict=True):
        assert all(Fraction(b) <= Fraction(a) - c for a, b, c in zip(full, made, lost[: len(full)], strict=True))
        np.testing.assert_allclose(made, full - np.array(lost[: len(full)], dtype=float), rtol=1e-14)


def test_error_bounds_with_it_are_true_and_survive_a_file(tmp_path: Path) -> None:
    model = with_bound(thermal_block((2, 2), 8), SCM(tol=0.1))
    result = rbm.greedy(model, model.parameters.sample(100, rng=0), max_basis=6)
    mus = model.parameters.sample(50, "random", rng=5)
    answer = result.reduced_model.solve(mus)
    assert np.all(model.error_norm(mus, answer.coefficients, result.basis) <= answer.estimate.bound)
    result.reduced_model.save(tmp_path / "model.rbm")
    loaded = rbm.load(tmp_path / "model.rbm")
    assert isinstance(loaded.stability, BoundSCM)
    np.testing.assert_array_equal(loaded.solve(mus).estimate.bound, answer.estimate.bound)
    arrays = model.stability.arrays()
    for name in ("levels", "positions", "lower", "quotients"):
        with pytest.raises(ValueError, match="do not fit"):
            BoundSCM.from_arrays({**arrays, name: arrays[name][:-1]})
    with pytest.raises(ValueError, match="do not fit"):
        BoundSCM.from_arrays({**arrays, "active": arrays["active"] + 1000})
    with pytest.raises(ValueError, match="do not fit"):
        BoundSCM.from_arrays({**arrays, "lower": arrays["upper"], "upper": arrays["lower"]})


def test_a_model_that_is_not_coercive_is_refused_with_its_parameter() -> None:
    with pytest.raises(StabilityError, match=r"coercive.*a = -9.*Anchored"):
        random_model("real", stability=SCM(training=[(-9.0, 0.0, 0.0)]), a=(-9.0, 2.0), b=(-1.0, 1.0), c=(0.0, 2.0))
    model = random_model("real", stability=SCM(training=[(1.0, 0.0, 0.0)]), a=(-9.0, 2.0), b=(-1.0, 1.0), c=(0.0, 2.0))
    mus = np.array([(1.0, 0.0, 0.0), (-9.0, 0.0, 0.0)])
    with pytest.raises(StabilityError, match=r"SCM bound is -.*row 1") as error:
        model.stability(mus, model.operator_coefficients(mus))
    np.testing.assert_array_equal(error.value.rows, [1])


def test_too_few_constraints_warn_or_are_refused() -> None:
    base = thermal_block((3, 3), 6, (0.05, 2.0))
    with pytest.warns(UserWarning, match=r"3 constraints are not enough.*not 0\.01"):
        model = with_bound(base, SCM(tol=0.01, max_constraints=3))
    mus = base.parameters.sample(20, "random", rng=6)
    assert np.all(model.stability.constant(model.operator_coefficients(mus)) <= coercivity(model, mus))
    with pytest.raises(StabilityError, match=r"1 constraints are not enough.*max_constraints="):
        random_model("real", stability=SCM(max_constraints=1), a=(-0.5, 0.5), b=(-2.0, 2.0), c=(-1.0, 1.0))


@pytest.mark.parametrize(
    ("wrong", "message"), [({"tol": 0.0}, "tol must"), ({"max_constraints": 0}, "max_constraints")]
)
def test_settings_out_of_range_are_refused(wrong: dict, message: str) -> None:
    base = thermal_block((2, 1), 4)
    with pytest.raises(StabilityError, match=message):
        with_bound(base, SCM(**wrong))


def test_an_eigensolver_that_does_not_converge_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.sparse.linalg import ArpackNoConvergence

    def fails(*_: object, **__: object) -> None:
        raise ArpackNoConvergence("no convergence (1 iterations)", np.zeros(0), np.zeros((0, 0)))

    monkeypatch.setattr("rbm.stability.hermitian_parts.DENSE_LIMIT", 1)
    monkeypatch.setattr("rbm.stability.hermitian_parts.spla.eigsh", fails)
    with pytest.raises(StabilityError, match="eigensolver did not find"):
        with_bound(thermal_block((2, 1), 4), SCM())


def test_an_interrupted_run_goes_on_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = thermal_block((3, 3), 6)
    whole = with_bound(base, SCM(tol=0.3)).stability
    extend, calls = rbm.stability.constraint_choice.ConstraintChoice.extend, []

    def interrupted(self: Any, point: int) -> bool:
        if self.size == 3:
            raise KeyboardInterrupt
        return extend(self, point)

    def counted(self: Any, point: int) -> bool:
        calls.append(point)
        return extend(self, point)

    where = "rbm.stability.constraint_choice.ConstraintChoice.extend"
    monkeypatch.setattr(where, interrupted)
    with pytest.raises(Interrupted, match="3 stability constraints done; they are in the cache") as stopped:
        with_bound(base, SCM(tol=0.3, cache=tmp_path))
    assert stopped.value.result.shape == (3, 9)
    monkeypatch.setattr(where, counted)
    resumed = with_bound(base, SCM(tol=0.3, cache=tmp_path)).stability
    assert len(calls) == len(whole.constraints.levels) - 3
    np.testing.assert_array_equal(resumed.constraints.points, whole.constraints.points)
    np.testing.assert_array_equal(resumed.constraints.levels, whole.constraints.levels)
    with_bound(thermal_block((3, 3), 6, (0.1, 0.9)), SCM(tol=0.3, cache=tmp_path))
    assert len(list(tmp_path.iterdir())) == 2  # another model has another file
    for path in tmp_path.iterdir():
        path.write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="computed again"):
        again = with_bound(base, SCM(tol=0.3, cache=tmp_path)).stability
    np.testing.assert_array_equal(again.constraints.levels, whole.constraints.levels)


def test_ranges_that_were_computed_before_an_interrupt_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = thermal_block((2, 2), 4)
    whole = with_bound(base, SCM(tol=0.3)).stability
    module = rbm.stability.constraint_choice
    right, calls = module.range_of, []

    def interrupted(*arguments: Any) -> Any:
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(0)
        return right(*arguments)

    for cache, message in ((None, "with a cache= folder they would be kept"), (tmp_path, "they are in the cache")):
        del calls[:]
        monkeypatch.setattr(module, "range_of", interrupted)
        with pytest.raises(Interrupted, match=f"with some of the ranges of Hermitian parts done; {message}"):
            with_bound(base, SCM(tol=0.3, cache=cache))
    monkeypatch.setattr(module, "range_of", lambda *a: (calls.append(0), right(*a))[1])
    again = with_bound(base, SCM(tol=0.3, cache=tmp_path)).stability
    assert len(calls) == 4
    np.testing.assert_array_equal(again.constraints.lower, whole.constraints.lower)
    np.testing.assert_array_equal(again.constraints.upper, whole.constraints.upper)
    np.testing.assert_array_equal(again.constraints.levels, whole.constraints.levels)
    assert [p.name[:11] for p in tmp_path.iterdir()] == ["constraints"]


def test_its_cost_is_said_before_it_starts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    base = thermal_block((2, 1), 4)
    with_bound(base, SCM(progress=True))
    assert "SCM: ranges of 2 Hermitian parts and about 8 constants: about" in capsys.readouterr().err
    monkeypatch.setattr("rbm.stability.successive_constraints.expected_seconds", lambda *_: 600.0)
    with pytest.warns(UserWarning, match="about 10 min.*cache="):
        with_bound(base, SCM())
