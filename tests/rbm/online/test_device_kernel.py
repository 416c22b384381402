"""The fused kernel of a GPU against its definition, its threads run on the CPU (:mod:`helpers.emulated_gpu`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import array_api_strict
import numpy as np
import pytest
from helpers.emulated_gpu import EmulatedCupy, emulated

from lowrank.arrays import to_numpy
from rbm.estimators import Orthonormal
from rbm.online import reference
from rbm.online.device import FusedModel
from rbm.online.device.packing import DeviceModel
from rbm.online.device.source import STATES
from rbm.online.forms import Energy, Finish
from rbm.online.programs import ADD, COLUMN, DIVIDE, MULTIPLY, NUMBER, POWER, ROOT, program

__all__ = ["emulated"]  # a fixture

POINTS = 21
#: theta_0, theta_1, theta_2, phi_0, phi_1
FORMULAS: list[Any] = [
    (0, [(COLUMN, 0)]),
    (1, [(COLUMN, 0), (COLUMN, 1), (MULTIPLY, 0), (NUMBER, 0.5), (ADD, 0), (ROOT, 0)]),
    (2, [(COLUMN, 1), (POWER, -3), (NUMBER, 1.5), (ADD, 0)]),
    (3, [(NUMBER, 1.25)]),
    (4, [(COLUMN, 1)]),
]
LIMITS = np.array([[0.5, 0.5], [2.0, 2.0]])


def random_array(rng: Any, shape: tuple[int, ...], is_complex: bool) -> np.ndarray:
    made = rng.standard_normal(shape)
    return made + 1j * rng.standard_normal(shape) if is_complex else made


def random_model(
    n: int,
    kind: tuple[bool, bool, bool] = (False, False, True),
    outputs: int = 2,
    floor: float = 1e-14,
    rank: int | None = None,
) -> tuple[DeviceModel, Orthonormal]:
    """A model with three operator and two right-hand side terms, and its estimator.

    kind : single precision, complex, Hermitian and positive definite
    """
    single, is_complex, definite = kind
    rng = np.random.default_rng(n)
    a = random_array(rng, (3, n, n), is_complex) / np.sqrt(n)
    shift = 0.3 * np.eye(n) if definite else 3 * np.eye(n)[::-1]  # the pivots of LU lie off the diagonal
    operators = shift + (a @ a.conj().transpose(0, 2, 1) if definite else a)
    rhs = random_array(rng, (2, n), is_complex)
    m = 2 + 3 * n
    factor = np.triu(random_array(rng, (m if rank is None else rank, m), is_complex))
    norms = np.linalg.norm(factor, axis=0)
    if single:
        operators, rhs = (x.astype(np.complex64 if is_complex else np.float32) for x in (operators, rhs))
    state = Orthonormal(factor, norms, floor * norms, 1e-15)
    form = state.form(np.dtype(complex if is_complex else float))
    energy = Energy(np.abs(a[:, 0]) * 1e-8, np.full(3, 1e-9), 1.1, 1e-7, rng.random(n) * 1e-9)
    finish = Finish(
        np.concatenate([[0.7], 1 / np.array([1.0, 2.0, np.inf]), np.full(3, 1e-3), [0, 0, np.inf]]),
        random_array(rng, (outputs, n), is_complex),
        rng.random((outputs, n)) * 1e-13,
        rng.random(outputs),
        tuple(energy if o % 2 else None for o in range(outputs)),
    )
    return DeviceModel(operators, rhs, form, finish, LIMITS, 2, program(FORMULAS, 2)), state


def points(count: int = POINTS) -> np.ndarray:
    return np.random.default_rng(7).uniform(0.5, 2.0, (count, 2))


def theta_phi(mus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = mus.T
    return np.stack([x, np.sqrt(x * y + 0.5), 1 / (y * (y * y)) + 1.5], 1), np.stack([np.full_like(x, 1.25), y], 1)


def there(array: np.ndarray | None) -> Any:
    return None if array is None else array_api_strict.asarray(array)


def answered(model: DeviceModel, hermitian: bool, mus: np.ndarray, *given: Any, keep: bool = True) -> Any:
    """The answers; coefficients that are given are left out of the program."""
    if given:
        model = model._replace(program=program(FORMULAS[:3] if given[0] is None else [], 2), limits=np.zeros((2, 0)))
    fused = FusedModel(model, hermitian, there(np.zeros(1)))
    theta, phi, beta = (there(g) for g in given or (None, None, None))
    return fused.answer(there(mus), theta, phi, beta, keep)


def expected(model: DeviceModel, state: Orthonormal, mus: np.ndarray, direct: bool) -> dict[str, np.ndarray]:
    """What reference.py, the estimator and the formulas of the bounds make of it, in plain arrays."""
    theta, phi = theta_phi(mus)
    own = model.operators.real.dtype
    gamma = reference.solve(model.operators, model.rhs, theta.astype(own), phi.astype(own))
    finish, norm = model.finish, state.evaluate(theta, phi, gamma)
    s = finish.stability
    beta = s[0] * (theta * s[1:4])[:, :2].min(axis=1) - np.abs(theta) @ s[4:7]
    value, floor = norm.value / beta, norm.floor / beta
    bound = value + floor
    size = np.abs(gamma.astype(complex if gamma.dtype.kind == "c" else float))
    limits = bound[:, None] * finish.norms + size @ finish.magnitudes.T
    for o, e in enumerate(finish.energies):
        if e is not None and direct and own == np.float64:
            skew = theta @ e.skew
            total = np.einsum("mq,qn,mn->m", np.sqrt(theta), e.weights, size) ** 2 + size @ e.magnitudes
            linear = e.mismatch + skew * (e.size * np.linalg.norm(gamma, axis=1) + bound)
            limits[:, o] = np.minimum(
                limits[:, o], beta * bound**2 + linear * bound + total + size @ finish.magnitudes[o]
            )
    return {
        "gamma": gamma,
        "value": value,
        "floor": floor,
        "resolved": norm.resolved,
        "outputs": gamma @ finish.functionals.T,
        "output_bounds": limits,
    }


def compare(made: Any, wanted: dict[str, np.ndarray], single: bool = False) -> None:
    tolerance = 2e-3 if single else 1e-11
    for name, array in wanted.items():
        mine = to_numpy(getattr(made, name))
        assert mine.shape == array.shape, name
        if name == "resolved":
            np.testing.assert_array_equal(mine, array)
        elif name in ("gamma", "outputs"):
            np.testing.assert_allclose(mine, array, atol=tolerance * np.abs(array).max(), rtol=0, err_msg=name)
        else:
            np.testing.assert_allclose(mine, array, rtol=tolerance, err_msg=name)
    assert to_numpy(made.gamma).dtype == wanted["gamma"].dtype


def test_orders_of_threads_give_the_same_bits(emulated: EmulatedCupy) -> None:
    """Nothing depends on which thread is first; the emulation would show a barrier that is missing."""
    for kind in ((False, False, True), (False, True, False)):
        model, _ = random_model(34, kind, rank=70)
        made = []
        for order in range(4):
            emulated.order = order
            made.append(answered(model, kind[2], points()))
        for other in made[1:]:
            for one, two in zip(made[0], other, strict=True):
                np.testing.assert_array_equal(to_numpy(one), to_numpy(two))


KINDS = [(s, c, d) for s in (False, True) for c in (False, True) for d in (True, False)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"single={k[0]:d},complex={k[1]:d},definite={k[2]:d}")
def test_it_computes_what_the_definition_says(emulated: EmulatedCupy, kind: tuple[bool, bool, bool]) -> None:
    for n, order in ((1, 0), (7, 1), (33, 2)):
        emulated.order = order
        model, state = random_model(n, kind)
        made = answered(model, kind[2], points())
        assert made is not None
        compare(made, expected(model, state, points(), kind[2]), kind[0])


@pytest.mark.parametrize(("definite", "is_complex"), [(True, False), (False, True)])
def test_every_size_of_block(emulated: EmulatedCupy, definite: bool, is_complex: bool) -> None:
    """The memory of a GPU decides how many points a block has; a model that does not fit is refused."""
    sizes = set()
    for n, shared in ((2, 48), (31, 64), (32, 99), (64, 48), (64, 99), (64, 163), (63, 227), (64, 227)):
        emulated.shared, emulated.order = shared << 10, n % 3
        kind = (False, is_complex, definite)
        model, state = random_model(n, kind, 1, rank=3)
        made = answered(model, definite, points(5))
        if made is None:
            assert is_complex
            assert (n, shared) == (64, 48)
            continue
        compare(made, expected(model, state, points(5), definite))
        sizes.add(emulated.points)
    assert sizes >= ({16, 8, 4, 2} if definite else {16, 4, 2, 1}), sizes


def test_what_it_is_not_made_for(emulated: EmulatedCupy) -> None:
    small = random_model(3)[0]
    assert FusedModel.fits(small)
    assert not FusedModel.fits(small._replace(operators=np.zeros((3, 4, 3))))
    assert not FusedModel.fits(small._replace(operators=np.zeros((3, 65, 65))))
    assert not FusedModel.fits(small._replace(operators=np.zeros((3, 0, 0))))
    deep = program([(0, [(COLUMN, 0)] * 40 + [(ADD, 0)] * 39)], 2)
    assert not FusedModel.fits(small._replace(program=deep))


def at_round_off(n: int, is_complex: bool) -> tuple[DeviceModel, Orthonormal]:
    """A model whose residual is T (f - A gamma), zero but for rounding, and a row that lifts points off y = 1.25."""
    model, state = random_model(n, (False, is_complex, True))
    rng = np.random.default_rng(3)
    t = random_array(rng, (70, n), is_complex)
    columns = [t @ f for f in model.rhs] + [t @ a[:, i] for i in range(n) for a in model.operators]
    factor = np.stack(columns, axis=1)
    theta, phi = theta_phi(points())
    c = reference.residual_coefficients(theta, phi, reference.solve(model.operators, model.rhs, theta, phi))
    size = float(np.mean(np.abs(c) @ np.linalg.norm(factor, axis=0)))
    factor[-1] = 0.0
    factor[-1, :2] = 1e-12 * size * np.array([-1.0, 1.0])
    state = Orthonormal(factor, np.linalg.norm(factor, axis=0), 1e-18 * np.ones(len(columns)), 1e-15)
    return model._replace(form=state.form(np.dtype(complex if is_complex else float))), state


@pytest.mark.parametrize("is_complex", [False, True])
def test_near_round_off_in_twice_the_precision(emulated: EmulatedCupy, is_complex: bool) -> None:
    """The residual of the kernel's own solution, which plain sums get wrong by a large part of it."""
    model, state = at_round_off(6, is_complex)
    mus = points(40)
    mus[3::7, 1] = 1.25
    for order in (0, 1, 2):
        emulated.order = order
        made = answered(model, True, mus)
        gamma, theta, phi = to_numpy(made.gamma), *theta_phi(mus)
        norm = state.evaluate(theta, phi, gamma)
        c = reference.residual_coefficients(theta, phi, gamma)
        plain, floor = state._sums(c, state.factor)
        weak = state._weak(c, plain, floor, state.factor)
        assert 0 < np.count_nonzero(weak) < len(mus)
        assert np.max(np.abs(plain / norm.value - 1)[weak]) > 1e-3
        s = model.finish.stability
        beta = s[0] * (theta * s[1:4])[:, :2].min(axis=1) - np.abs(theta) @ s[4:7]
        np.testing.assert_allclose(to_numpy(made.value)[weak], (norm.value / beta)[weak], rtol=1e-9)
        np.testing.assert_allclose(to_numpy(made.floor), norm.floor / beta, rtol=1e-9)
        np.testing.assert_array_equal(to_numpy(made.resolved), norm.resolved)
    model = model._replace(form=replace(model.form, absolute=model.form.absolute + 1.0))
    np.testing.assert_allclose(to_numpy(answered(model, True, mus).floor), (norm.floor + 1.0) / beta, rtol=1e-12)


def test_points_that_gain_nothing_keep_their_first_values(emulated: EmulatedCupy) -> None:
    """Where the defects of R make the floor, twice the precision would not lower it by a hundredth of the value."""
    model, state = at_round_off(6, False)
    state = replace(state, defects=1e-10 * state.norms)
    made = answered(model._replace(form=state.form(np.dtype(float))), True, points())
    gamma, theta, phi = to_numpy(made.gamma), *theta_phi(points())
    plain, floor = state._sums(reference.residual_coefficients(theta, phi, gamma), state.factor)
    wanted = state.evaluate(theta, phi, gamma).floor
    assert np.all(plain < 0.1 * floor)
    assert 0 < np.count_nonzero(wanted < (1 - 1e-6) * floor) < POINTS / 2
    s = model.finish.stability
    beta = s[0] * (theta * s[1:4])[:, :2].min(axis=1) - np.abs(theta) @ s[4:7]
    np.testing.assert_allclose(to_numpy(made.floor), wanted / beta, rtol=1e-9)


def test_a_residual_without_terms_has_no_floor(emulated: EmulatedCupy) -> None:
    model, state = random_model(4)
    none = np.zeros((POINTS, 2))
    none[1] = 1e-170, 0.0  # its products are zero, the term is not
    made = answered(model, True, points(), None, none, None)
    floor = to_numpy(made.floor)
    assert floor[0] == to_numpy(made.value)[0] == 0
    assert np.all(floor[2:] == 0)
    assert floor[1] > 0
    wanted = state.evaluate(theta_phi(points())[0], none, to_numpy(made.gamma))
    np.testing.assert_array_equal(wanted.floor > 0, floor > 0)
    one = np.zeros((POINTS, 2))
    one[::2, 1] = 1e-170  # a source that is zero on the reduced space only: no solution, but a residual
    silent = model._replace(rhs=model.rhs * np.array([[1.0], [0.0]]))
    assert (to_numpy(answered(silent, True, points(), None, one, None).floor) > 0).tolist() == (one[:, 1] > 0).tolist()
    # sources without a norm, which leave the terms of the solution
    norms = np.where(np.arange(14) < 2, 0.0, state.norms)
    form = replace(state, norms=norms, defects=1e-14 * norms).form(np.dtype(float))
    one[:, 0] = one[:, 1]
    made = answered(model._replace(form=form), True, points(), None, one, None)
    assert (to_numpy(made.floor) > 0).tolist() == (one[:, 1] > 0).tolist()


def states(emulated: EmulatedCupy) -> list[str]:
    return [STATES[int(k)] for k in to_numpy(emulated.launches[-1][2][-1])]


def test_points_that_fail(emulated: EmulatedCupy) -> None:
    """Each is told from its neighbours in the block, and the piece is refused."""
    model, _ = random_model(5)
    mus = points(8)
    for bad, verdict in (((0.4, 1.0), "OUTSIDE"), ((1.0, 2.1), "OUTSIDE"), ((np.nan, 1.0), "OUTSIDE")):
        wrong = mus.copy()
        wrong[3] = bad
        assert answered(model, True, wrong) is None
        assert states(emulated) == ["SOLVED"] * 3 + [verdict] + ["SOLVED"] * 4
    theta, phi = theta_phi(mus)
    beta = np.ones(8)
    for k, value in ((1, 0.0), (2, -1.0), (5, np.nan), (6, np.inf)):
        beta[k] = value
    assert answered(model, True, mus, theta, phi, beta) is None
    assert states(emulated) == ["SOLVED", *["NO_BOUND"] * 2, "SOLVED", "SOLVED", *["NO_BOUND"] * 2, "SOLVED"]
    theta[2], phi[4] = 0.0, 1e308  # a singular matrix, and a solution beyond the range
    for hermitian in (True, False):
        assert answered(model, hermitian, mus, theta, phi, np.ones(8)) is None
        assert [states(emulated)[k] for k in (1, 2, 3)] == ["SOLVED", "NOT_FINITE", "SOLVED"]
        assert states(emulated)[4] in ("NOT_FINITE", "NO_BOUND")


def test_programs_with_values_that_are_none(emulated: EmulatedCupy) -> None:
    model, _ = random_model(3)
    fine = [(q, [(NUMBER, 1.0)]) for q in range(5)]
    bound = program([*fine, (5, [(COLUMN, 0), (NUMBER, -1.0), (ADD, 0)])], 2)  # beta = x - 1
    without = model.finish.__class__(np.zeros(0), *list(vars(model.finish).values())[1:])
    model = model._replace(finish=without, program=bound)
    mus = np.array([[1.5, 1.0], [1.0, 1.0], [0.7, 1.0], [2.0, 1.0]])
    assert answered(model, True, mus) is None
    assert states(emulated) == ["SOLVED", "OUTSIDE", "OUTSIDE", "SOLVED"]
    made = answered(model, True, mus[[0, 3]])
    np.testing.assert_allclose(to_numpy(made.value)[0], 2 * to_numpy(made.value)[1], rtol=1e-12)
    infinite = program([*fine[:4], (4, [(NUMBER, 1.0), (COLUMN, 1), (NUMBER, -1.0), (ADD, 0), (DIVIDE, 0)])], 2)
    model = model._replace(program=infinite)
    fused = FusedModel(model, True, there(np.zeros(1)))
    assert fused.answer(there(mus), None, None, there(np.ones(4)), True) is None
    assert states(emulated) == ["OUTSIDE"] * 4


def test_indefinite_systems_are_solved_by_lu(emulated: EmulatedCupy) -> None:
    model, state = random_model(6)
    mus = points()
    theta, phi = theta_phi(mus)
    theta[[2, 17]] *= -1.0
    made = answered(model, True, mus, theta, phi, np.ones(POINTS))
    assert [launch[0] for launch in emulated.launches] == [2, 1]
    assert to_numpy(emulated.launches[1][2][6]).tolist() == [2, 17]
    gamma = reference.solve(model.operators, model.rhs, theta, phi)
    np.testing.assert_allclose(to_numpy(made.gamma), gamma, rtol=1e-10)
    norm = state.evaluate(theta, phi, gamma)
    np.testing.assert_allclose(to_numpy(made.value), norm.value, rtol=1e-9)
    limits = (norm.value + norm.floor)[:, None] * model.finish.norms + np.abs(gamma) @ model.finish.magnitudes.T
    made_limits = to_numpy(made.output_bounds)
    np.testing.assert_allclose(made_limits[[2, 17]], limits[[2, 17]], rtol=1e-9)  # not squared after LU
    assert np.all(made_limits[:, 1] < limits[:, 1] * (1 + 1e-9))


@pytest.mark.parametrize("is_complex", [False, True])
def test_coefficients_that_are_given(emulated: EmulatedCupy, is_complex: bool) -> None:
    model, state = random_model(5, (False, is_complex, True))
    mus = points()
    theta, phi = theta_phi(mus)
    theta = np.asfortranarray(theta) * (np.exp(0.3j) if is_complex else 1.0)
    beta = 1 + mus[:, 0]
    made = answered(model, not is_complex, 100 * mus, theta, phi, beta, keep=True)
    gamma = reference.solve(model.operators, model.rhs, theta, phi)
    np.testing.assert_allclose(to_numpy(made.gamma), gamma, rtol=1e-9)
    np.testing.assert_allclose(to_numpy(made.value), state.evaluate(theta, phi, gamma).value / beta, rtol=1e-9)
    without = answered(model, not is_complex, 100 * mus, theta, phi, beta, keep=False)
    assert without.gamma.shape == (POINTS, 0)
    np.testing.assert_array_equal(to_numpy(without.value), to_numpy(made.value))
