"""The compiled march in time against its definition in plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rbm.online.compiled_march import CompiledMarch, MarchAnswers
from rbm.online.kernels import packed
from rbm.online.kernels.arguments import NOT_FINITE, SOLVED
from rbm.online.marching import Recursion, march, sharp_norms, step_norms

EPS = float(np.finfo(float).eps)
COUNTS = [1, 7, 8, 9, 15, 16, 17, 33]


class Case:
    """A random recursion, a factor in the staircase of a residual range, and coefficients of 33 points."""

    def __init__(
        self, n: int, *, kind: str = "f", hermitian: bool = True, theta: float = 1.0, qm: int = 1, qf: int = 2,
        steps: int = 10, controls: bool = False, start: bool = False, seed: int = 0,
    ) -> None:  # fmt: skip
        self.rng = np.random.default_rng(seed)
        self.is_complex = kind == "c"
        qa, m, self.steps = 3, qf + (3 + qm) * n, steps
        operators = self.random(qa, n, n) / max(n, 1)
        operators = operators @ operators.conj().transpose(0, 2, 1) + np.eye(n) / 2
        if not hermitian:
            operators = operators + self.random(qa, n, n) / max(n, 1)
        mass = self.random(qm, n, n) / max(n, 1)
        mass = mass @ mass.conj().transpose(0, 2, 1) + np.eye(n)
        self.recursion = Recursion(operators, mass, self.random(qf, n), 0.05, theta)
        self.factor = np.triu(self.random(m, m))  # a column uses the rows up to its own
        self.floor_weights = self.rng.random(m) * 1e-15
        self.theta = self.rng.uniform(0.1, 2.0, (33, qa))
        if self.is_complex and not hermitian:
            self.theta = self.theta * np.exp(1j * self.rng.uniform(-1, 1, (33, qa)))
        self.weights, self.phi = self.rng.uniform(0.5, 2.0, (33, qm)), self.random(33, qf)
        self.control = self.random(33, steps) if controls else np.broadcast_to(self.random(steps), (33, steps))
        kind_of_gamma = complex if self.is_complex else float
        self.start = self.random(33, n) if start else np.zeros((33, n), kind_of_gamma)
        self.functionals, self.magnitudes = self.random(33, 2, n), self.rng.random((33, 2, n))
        self.compiled = CompiledMarch(self.recursion, self.factor, self.floor_weights)

    def random(self, *shape: int) -> np.ndarray:
        made = self.rng.standard_normal(shape)
        return made + 1j * self.rng.standard_normal(shape) if self.is_complex else made

    @property
    def terms(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.theta, self.weights, self.phi

    def answer(self, count: int = 33, **options: bool) -> MarchAnswers:
        some = [a[:count] for a in (*self.terms, self.control, self.start, self.functionals, self.magnitudes)]
        return self.compiled.answer(tuple(some[:3]), *some[3:5], (some[5], some[6]), **options)


CASES = {
    "heat": {},
    "one": {"n": 1},
    "no-basis": {"n": 0},
    "crank-nicolson": {"theta": 0.5},
    "three-quarters": {"theta": 0.75, "hermitian": False},
    "convection": {"hermitian": False},
    "masses": {"qm": 3, "start": True},
    "controls": {"controls": True, "hermitian": False, "start": True},
    "one-load": {"qf": 1, "qm": 1, "n": 20},
    "one-step": {"steps": 1},
    "seven-steps": {"steps": 7, "hermitian": False, "n": 6},
    "complex-heat": {"kind": "c", "start": True, "controls": True},
    "complex": {"kind": "c", "hermitian": False, "theta": 0.5, "qm": 2, "start": True, "controls": True},
}


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_computes_what_the_definition_says(name: str) -> None:
    case = Case(**{"n": 9, **CASES[name]})
    assert case.compiled.hermitian == CASES[name].get("hermitian", True)
    made = case.answer()
    marched = march(case.recursion, *case.terms, case.control, case.start)
    size = np.linalg.norm(marched.gamma, axis=2).max(axis=1, initial=0.0)
    far = np.linalg.norm(made.gamma - marched.gamma, axis=2).max(axis=1)
    shares = np.concatenate([case.weights, case.recursion.dt * case.recursion.theta * case.theta], axis=1)
    matrices = np.tensordot(shares, np.concatenate([case.recursion.mass, case.recursion.operators]), 1)
    condition = np.array([np.linalg.cond(a) if a.size else 1.0 for a in matrices])
    force = np.abs(case.phi) @ np.abs(case.recursion.rhs).sum(axis=1)
    size += case.recursion.dt * case.steps * np.abs(case.control).max() * force
    assert np.all(far <= 4 * EPS * condition * size)
    values, spreads, _ = step_norms(case.factor, case.floor_weights, case.recursion, *case.terms, case.control, marched)
    assert values.min() > 0
    # what increments and sums may differ by, relative to the terms that are added up
    scale = spreads / 1e-15
    assert np.all(np.abs(made.values - values) <= 20 * EPS * condition[:, None] * scale)
    np.testing.assert_allclose(made.values, values, rtol=1e-12)
    np.testing.assert_allclose(made.spreads, spreads, rtol=1e-12)
    np.testing.assert_allclose(made.sizes, np.linalg.norm(marched.gamma, axis=2), rtol=1e-12, atol=1e-149)
    assert np.all(made.failed == SOLVED)
    for o in range(2):
        value = np.einsum("mkn,mn->mk", marched.gamma, case.functionals[:, o])
        rounding = np.einsum("mkn,mn->mk", np.abs(marched.gamma), case.magnitudes[:, o])
        absolute = np.einsum("mkn,mn->mk", np.abs(marched.gamma), np.abs(case.functionals[:, o]))
        assert np.all(np.abs(made.outputs[o] - value) <= 50 * EPS * condition[:, None] * absolute.max(initial=0.0))
        np.testing.assert_allclose(made.roundings[o], rounding, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", ["heat", "controls", "complex"])
def test_no_point_depends_on_its_neighbours(name: str) -> None:
    case = Case(**{"n": 9, **CASES[name]})
    whole = case.answer()
    for count in COUNTS:
        part = case.answer(count)
        for a, b in zip(part[:4], whole[:4], strict=True):
            np.testing.assert_array_equal(a, b[:count])
        np.testing.assert_array_equal(part.outputs, whole.outputs[:, :count])
        np.testing.assert_array_equal(part.roundings, whole.roundings[:, :count])


@pytest.mark.parametrize("name", ["heat", "complex"])
def test_what_is_not_kept_changes_nothing(name: str) -> None:
    case = Case(**{"n": 9, **CASES[name]})
    whole, bare, marched = case.answer(), case.answer(keep=False), case.answer(certify=False)
    assert bare.gamma.size == 0
    assert marched.values.size == marched.spreads.size == marched.sizes.size == 0
    for a, b in zip(bare[1:], whole[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(marched.gamma, whole.gamma)
    np.testing.assert_array_equal(marched.outputs, whole.outputs)


def test_one_row_serves_all_points() -> None:
    case = Case(9, hermitian=False)
    many = case.compiled.answer(case.terms, np.array(case.control), case.start)
    once = case.compiled.answer(case.terms, case.control[:1], case.start)
    np.testing.assert_array_equal(once.gamma, many.gamma)
    outputs = case.functionals[:1], case.magnitudes[:1]
    made = case.compiled.answer(case.terms, case.control, case.start, outputs)
    wide = tuple(np.repeat(a, 33, axis=0) for a in outputs)
    np.testing.assert_array_equal(
        made.outputs, case.compiled.answer(case.terms, case.control, case.start, wide).outputs
    )


def test_columns_of_the_factor_that_are_zero_cost_nothing() -> None:
    case = Case(4)
    packed_factor, entries = packed.pack_time_factor(
        case.factor, case.floor_weights, case.compiled.shape, np.dtype(float)
    )
    # rows 2 b and 2 b + 1 begin at column 2 b: groups of 2 (f), 3 (A), 1 (M), 3, 1, ...
    groups = np.searchsorted(np.cumsum([2] + [3, 1] * 4), np.arange(0, 18, 2), side="right")
    assert packed_factor.first[0].tolist() == groups.tolist()
    assert entries == int(2 * (9 - groups).sum())
    assert case.answer().values.min() > 0


def test_a_factor_with_an_odd_number_of_rows_and_dependent_columns() -> None:
    case = Case(5, hermitian=False)
    factor = np.delete(case.factor, [3, 4, 11], axis=0)  # rows of columns that depend on others
    factor[6] = 0
    made = CompiledMarch(case.recursion, factor, case.floor_weights).answer(case.terms, case.control, case.start)
    marched = march(case.recursion, *case.terms, case.control, case.start)
    values, _, _ = step_norms(factor, case.floor_weights, case.recursion, *case.terms, case.control, marched)
    np.testing.assert_allclose(made.values, values, rtol=1e-12)


@pytest.mark.parametrize("kind", ["f", "c"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 13])
def test_factors_solve(kind: str, n: int) -> None:
    """One step from zero with theta dt A = 0 is M d = dt f; general matrices need their pivots."""
    rng = np.random.default_rng(n)

    def random(*shape: int) -> np.ndarray:
        made = rng.standard_normal(shape)
        return made + 1j * rng.standard_normal(shape) if kind == "c" else made

    rhs, one = random(1, n), np.ones((9, 1))
    for hermitian in (True, False):
        mass = random(1, n, n)
        if hermitian:
            mass = mass @ mass.conj().transpose(0, 2, 1) + np.eye(n)
        compiled = CompiledMarch(
            Recursion(np.zeros_like(mass), mass, rhs, 0.5, 1.0), np.zeros((1, 1 + 2 * n)), np.zeros(1 + 2 * n)
        )
        weights = rng.uniform(0.5, 2.0, (9, 1))
        made = compiled.answer((one, weights, one), np.ones((1, 1)), np.zeros((9, n)))
        exact = np.stack([np.linalg.solve(w * mass[0], 0.5 * rhs[0]) for (w,) in weights])
        scale = EPS * np.linalg.cond(mass[0]) * np.abs(exact).max()
        assert np.abs(made.gamma[:, 1] - exact).max() <= 8 * n * scale


def test_each_lane_has_its_own_pivots() -> None:
    """Without them the first lane divides by zero, and the second loses everything to a pivot of 1e-17."""
    mass = np.zeros((4, 2, 2))
    mass[[0, 1, 2, 3], [0, 0, 1, 1], [0, 1, 0, 1]] = 1.0
    operators = np.array([[[0.0, 1.0], [-3.0, 0.5]]])
    weights = np.array([[0.0, 1, 1, 0], [1e-17, 1, 1, 1], [3, 1, 1, 2], [1, 5, -8, 1]] * 3)
    one, rhs = np.ones((12, 1)), np.array([[1.0, 2.0]])
    recursion = Recursion(operators, mass, rhs, 0.25, 1.0)
    compiled = CompiledMarch(recursion, np.zeros((1, 1 + 5 * 2)), np.zeros(1 + 5 * 2))
    assert not compiled.hermitian
    made = compiled.answer((one, weights, one), np.ones((1, 3)), np.zeros((12, 2)))
    marched = march(recursion, one, weights, one, np.ones((12, 3)), np.zeros((12, 2)))
    np.testing.assert_allclose(made.gamma, marched.gamma, rtol=1e-13)


def test_an_indefinite_system_is_solved_with_pivots() -> None:
    """L D L^H has no pivots to choose: it is left for L U in the points that need it, and only in these."""
    case = Case(6)
    case.theta[3], case.theta[20] = -60.0, -75.0
    made, marched = case.answer(), march(case.recursion, *case.terms, case.control, case.start)
    assert np.all(made.failed == SOLVED)
    np.testing.assert_allclose(made.gamma, marched.gamma, rtol=1e-9, atol=1e-12)
    others = np.delete(np.arange(33), [3, 20])
    np.testing.assert_array_equal(made.gamma[others], Case(6).answer().gamma[others])


def test_a_singular_system_is_named() -> None:
    case = Case(3, hermitian=False)
    case.recursion.operators[0, 1] = 0.0
    case.recursion.mass[0, 1] = 0.0
    case.theta[:, 1:] *= np.where(np.arange(33) == 11, 0.0, 1.0)[:, None]
    made = CompiledMarch(case.recursion, case.factor, case.floor_weights).answer(case.terms, case.control, case.start)
    assert np.flatnonzero(made.failed).tolist() == [11]
    assert made.failed[11] == NOT_FINITE
    assert np.isfinite(made.gamma[np.arange(33) != 11]).all()


@pytest.mark.parametrize("name", CASES)
def test_residuals_that_are_kept_have_the_norms_and_the_signs_of_the_definition(name: str) -> None:
    case = Case(**{"n": 9, **CASES[name]})
    whole, made = case.answer(), case.answer(residuals=True)
    for a, b in zip(made[:-1], whole[:-1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole.residuals.size == 0
    np.testing.assert_allclose(np.linalg.norm(made.residuals, axis=2), made.values, rtol=1e-13)
    marched = march(case.recursion, *case.terms, case.control, case.start)
    args = case.factor, case.floor_weights, case.recursion, *case.terms, case.control, marched
    values, _, residuals = step_norms(*args, coordinates=True)
    assert np.all(np.abs(made.residuals - residuals) <= 1e-11 * values.max())
    sharp, exact = sharp_norms(case.factor, case.recursion, *case.terms, case.control, marched, coordinates=True)
    np.testing.assert_allclose(np.linalg.norm(exact, axis=2), sharp, rtol=1e-15)
    np.testing.assert_array_equal(
        sharp_norms(case.factor, case.recursion, *case.terms, case.control, marched)[0] > 0, sharp > 0
    )
    assert np.all(np.abs(exact - residuals) <= 1e-11 * values.max())


@pytest.mark.parametrize("name", ["heat", "masses", "complex"])
def test_the_definition_follows_the_array_api(name: str) -> None:
    strict = pytest.importorskip("array_api_strict")
    case = Case(**{"n": 9, **CASES[name]})

    def moved(array: np.ndarray) -> Any:
        return strict.asarray(np.ascontiguousarray(array))

    recursion = Recursion(*(moved(a) for a in case.recursion[:3]), *case.recursion[3:])
    given = [moved(a) for a in (*case.terms, case.control)]
    there, here = (
        march(recursion, *given, moved(case.start)),
        march(case.recursion, *case.terms, case.control, case.start),
    )
    np.testing.assert_allclose(np.asarray(there.gamma), here.gamma, rtol=1e-12, atol=1e-15)
    factor, weights = moved(case.factor), moved(case.floor_weights)
    for sharp in (False, True):
        if sharp:
            made = sharp_norms(factor, recursion, *given, there, coordinates=True)
            wanted = sharp_norms(case.factor, case.recursion, *case.terms, case.control, here, coordinates=True)
        else:
            made = step_norms(factor, weights, recursion, *given, there, coordinates=True)
            args = case.factor, case.floor_weights, case.recursion, *case.terms, case.control, here
            wanted = step_norms(*args, coordinates=True)
        for a, b in zip(made, wanted, strict=True):
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-10, atol=1e-13 * np.abs(b).max())
