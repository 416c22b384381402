"""The fused kernel of a GPU against its definition, its threads run on the CPU (:mod:`helpers.emulated_gpu`)."""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np
import pytest
from helpers.emulated_gpu import EmulatedCupy, emulated

from lowrank.arrays import to_numpy
from rbm.estimators import Orthonormal
from rbm.online import reference
from rbm.online.compiled import CompiledModel
from rbm.online.device import FusedModel
from rbm.online.device.packing import DeviceModel
from rbm.online.device.source import STATES
from rbm.online.forms import Energy, Finish
from rbm.online.programs import ADD, COLUMN, MULTIPLY, NUMBER, POWER, ROOT, program

__all__ = ["emulated"]  # a fixture

POINTS = 21
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
    operators = a @ a.conj().transpose(0, 2, 1) + 0.3 * np.eye(n) if definite else a + 3 * np.eye(n)
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
        np.concatenate([[0.7], 1 / np.array([1.0, 2.0, 3.0]), np.full(3, 1e-3)]),
        random_array(rng, (outputs, n), is_complex),
        rng.random((outputs, n)) * 1e-13,
        rng.random(outputs),
        tuple(energy if o % 2 else None for o in range(outputs)),
    )
    formulas: list[Any] = [
        (0, [(COLUMN, 0)]),
        (1, [(COLUMN, 0), (COLUMN, 1), (MULTIPLY, 0), (NUMBER, 0.5), (ADD, 0), (ROOT, 0)]),
        (2, [(COLUMN, 1), (POWER, -3), (NUMBER, 1.5), (ADD, 0)]),
        (3, [(NUMBER, 1.25)]),
        (4, [(COLUMN, 1)]),
    ]
    return DeviceModel(operators, rhs, form, finish, LIMITS, 2, program(formulas, 2)), state


def points(count: int = POINTS) -> np.ndarray:
    return np.random.default_rng(7).uniform(0.5, 2.0, (count, 2))


def theta_phi(mus: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = mus.T
    return np.stack([x, np.sqrt(x * y + 0.5), 1 / (y * (y * y)) + 1.5], 1), np.stack([np.full_like(x, 1.25), y], 1)


def there(array: np.ndarray | None) -> Any:
    return None if array is None else array_api_strict.asarray(array)


def answered(model: DeviceModel, hermitian: bool, mus: np.ndarray, *given: Any, keep: bool = True) -> Any:
    fused = FusedModel(model, hermitian, there(np.zeros(1)))
    return fused.answer(there(mus), *(there(g) for g in given or (None, None, None)), keep)


def expected(model: DeviceModel, state: Orthonormal, mus: np.ndarray, direct: bool) -> dict[str, np.ndarray]:
    """What reference.py, the estimator and the formulas of the bounds make of it, in plain arrays."""
    theta, phi = theta_phi(mus)
    own = model.operators.real.dtype
    gamma = reference.solve(model.operators, model.rhs, theta.astype(own), phi.astype(own))
    finish, norm = model.finish, state.evaluate(theta, phi, gamma)
    s = finish.stability
    beta = s[0] * (theta * s[1:4]).min(axis=1) - np.abs(theta) @ s[4:]
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


KINDS = [(s, c, d) for s in (False, True) for c in (False, True) for d in (True, False)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"single={k[0]:d},complex={k[1]:d},definite={k[2]:d}")
def test_it_computes_what_the_definition_says(emulated: EmulatedCupy, kind: tuple[bool, bool, bool]) -> None:
    for n, order in ((1, 0), (7, 1), (33, 2)):
        emulated.order = order
        model, state = random_model(n, kind)
        made = answered(model, kind[2], points())
        assert made is not None
        compare(made, expected(model, state, points(), kind[2]), kind[0])
