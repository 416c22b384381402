"""States from sensors: exact recovery, the saddle-point system, bounds against full solves, bad sensors."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import flint
import numpy as np
import pytest
import scipy.sparse as sp
from helpers.exact_outputs import exact_matrix, line

import rbm
from rbm.storage.archive import read_archive, write_archive
from rbm.uses.sensor_space import SensorSpace
from rbm.uses.singular_values import singular_value_bounds
from rbm.uses.state_from_sensors import PBDW

N_UNKNOWNS = 40


@cache
def made(size: int = 4, complex_valued: bool = False) -> tuple[rbm.FullOrderModel, rbm.ReducedModel]:
    stiffness, mass, load = line(N_UNKNOWNS)
    if complex_valued:
        turn = sp.diags_array(np.exp(0.3j * np.arange(N_UNKNOWNS)), format="csr")
        stiffness, mass = (sp.csr_array(turn @ a @ turn.conj()) for a in (stiffness, mass))
        load = turn @ load
    half = load * (np.arange(N_UNKNOWNS) < 15)
    model = rbm.FullOrderModel(
        [(1.0, stiffness), ("k", mass)],
        [(1.0, load), ("v", half)],
        stiffness,
        {"k": (1.0, 900.0), "v": (0.0, 2.0)},
        1.0,
    )
    return model, rbm.greedy(model, model.parameters.sample(80), max_basis=size).reduced_model


def norm(model: rbm.FullOrderModel, u: np.ndarray) -> np.ndarray:
    return model.inner_product.norm(u.T)


def averages(count: int, complex_valued: bool, seed: int = 0) -> np.ndarray:
    """Sensors that read weighted means (count, n)."""
    rng = np.random.default_rng(seed)
    made = rng.random((count, N_UNKNOWNS)) * (rng.random((count, N_UNKNOWNS)) < 0.2)
    made[np.arange(count), (7 * np.arange(count) + 3) % N_UNKNOWNS] += 1.0
    return made * (1 + 0.5j if complex_valued else 1.0)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("kind", ["points", "averages", "sparse"])
def test_states_of_the_space_are_recovered(kind: str, complex_valued: bool) -> None:
    model, reduced = made(4, complex_valued)
    sensors: Any = rbm.place_sensors(reduced, 7)
    matrix = np.eye(N_UNKNOWNS)[sensors]
    if kind != "points":
        matrix = averages(7, complex_valued)
        sensors = sp.csr_array(matrix) if kind == "sparse" else matrix
    seen = rbm.pbdw(reduced, sensors)
    rng = np.random.default_rng(1)
    c = rng.standard_normal((20, 4)) + (1j * rng.standard_normal((20, 4)) if complex_valued else 0)
    u = c @ reduced.basis.T
    found = seen.estimate(u @ matrix.T)
    error = norm(model, found.states - u)
    assert np.all(error <= seen.error_bound(found, 0.0))
    assert np.all(seen.error_bound(found, 0.0) < 1e-10)
    assert np.all(error < 1e-13 / seen.stability)
    assert found.coefficients == pytest.approx(c, rel=0, abs=1e-12)
    assert np.all(np.abs(found.update) < 1e-12)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("xi", [0.0, 1e-3, 1.0])
def test_the_estimate_solves_the_saddle_point_system(xi: float, complex_valued: bool) -> None:
    """[K + xi I, B; B^H, 0], written out with dense matrices."""
    model, reduced = made(4, complex_valued)
    matrix = averages(9, complex_valued)
    seen = rbm.pbdw(reduced, matrix, regularization=xi)
    rng = np.random.default_rng(2)
    y = rng.standard_normal((3, 9)) + (1j * rng.standard_normal((3, 9)) if complex_valued else 0)
    q = np.linalg.solve(model.product.toarray(), matrix.conj().T)
    k, b = matrix @ q, matrix @ reduced.basis
    saddle = np.block([[k + xi * np.eye(9), b], [b.conj().T, np.zeros((4, 4))]])
    x = np.linalg.solve(saddle, np.concatenate([y.T, np.zeros((4, 3))]))
    states = (reduced.basis @ x[9:] + q @ x[:9]).T
    found = seen.estimate(y)
    assert found.states == pytest.approx(states, rel=0, abs=1e-10 * np.abs(states).max())
    assert found.residuals == pytest.approx(y - states @ matrix.T, rel=0, abs=1e-11 * np.abs(y).max() * 10)
    assert (np.abs(found.residuals).max() < 1e-11) == (xi == 0)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_the_inf_sup_constant_is_certified(complex_valued: bool) -> None:
    """Against 300 bits: the least eigenvalue of the pencil (B^H K^{-1} B, Z^H P Z)."""
    model, reduced = made(4, complex_valued)
    flint.ctx.prec = 300
    for count, seed in ((4, 0), (6, 1), (12, 2)):
        matrix = averages(count, complex_valued, seed)
        seen = rbm.pbdw(reduced, matrix)
        p, z, c = exact_matrix(model.product.toarray()), exact_matrix(reduced.basis), exact_matrix(matrix)
        ch, zh = exact_matrix(matrix.conj().T), exact_matrix(reduced.basis.conj().T)
        b = c * z
        small = (zh * p * z).solve((zh * ch) * ((c * p.solve(ch)).solve(b)))
        values = sorted(float(v.real.mid()) for v in small.eig())
        exact = values[0] ** 0.5
        assert seen.stability <= exact
        assert seen.stability == pytest.approx(exact, rel=1e-9)


def test_singular_values_are_between_their_ends() -> None:
    """Against 300 bits, with condition numbers up to 1e12, real and complex."""
    flint.ctx.prec = 300
    rng = np.random.default_rng(3)
    for trial in range(40):
        m, n = int(rng.integers(2, 9)), 0
        n = int(rng.integers(1, m + 1))
        a = np.linalg.qr(rng.standard_normal((m, n)))[0] * np.logspace(0, -float(rng.integers(0, 13)), n)
        a = a @ np.linalg.qr(rng.standard_normal((n, n)))[0]
        if trial % 2:
            a = a * np.exp(1j * rng.random((m, 1)))
        gram = exact_matrix(a.conj().T) * exact_matrix(a)
        exact = sorted(v.real.sqrt() for v in gram.eig())
        low, high = singular_value_bounds(a)
        assert flint.arb(low) <= exact[0]
        assert flint.arb(high) >= exact[-1]
        assert low > float(exact[0].mid()) * (1 - 1e-13 / float(exact[0].mid()) * n * m)
        assert high < float(exact[-1].mid()) * (1 + 1e-12)
    assert singular_value_bounds(np.ones((3, 2)))[0] == 0.0


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize(("xi", "noise"), [(0.0, 0.0), (0.0, 1e-3), (1e-4, 1e-3), (1e-1, 0.0)])
def test_errors_of_full_solves_are_within_the_bounds(xi: float, noise: float, complex_valued: bool) -> None:
    model, reduced = made(3, complex_valued)
    sensors = rbm.place_sensors(reduced, 8)
    seen = rbm.pbdw(reduced, sensors, regularization=xi)
    mus = model.parameters.sample(200, "random", rng=4)
    u = model.solve(mus)
    off = noise * np.random.default_rng(5).standard_normal((200, 8))
    found = seen.estimate(u[:, sensors] + off)
    error, size = norm(model, found.states - u), np.linalg.norm(off, axis=1)
    bound = seen.error_bound(found, reduced.solve(mus).bound, size)
    assert np.all(error <= bound)
    assert np.median(bound / error) < 300
    interval = seen.error_interval(found, reduced, mus, size)
    assert np.all((interval[:, 0] <= error) & (error <= interval[:, 1]))
    assert np.all(interval[:, 1] <= bound)
    # noise moves a state by at most the gain
    moved = norm(model, found.states - seen.estimate(u[:, sensors]).states)
    assert np.all(moved <= seen.noise_gain * size)
    if noise:
        assert np.max(moved / size) > 0.5 * seen.noise_gain
        root_mean = np.sqrt(np.mean(moved**2)) / noise
        assert root_mean == pytest.approx(seen.white_noise_gain, rel=0.25)


def test_more_sensors_see_more() -> None:
    model, reduced = made(5)
    for method in ("qr", "eim"):
        placed = rbm.place_sensors(reduced, 14, method=method)
        assert len(set(placed.tolist())) == 14
        constants = [rbm.pbdw(reduced, placed[:k]).stability for k in (5, 8, 11, 14)]
        assert constants == sorted(constants)
        rng = np.random.default_rng(6)
        others = [rbm.pbdw(reduced, rng.choice(N_UNKNOWNS, 14, replace=False)).stability for _ in range(10)]
        assert constants[-1] > np.median(others)
    del model


def test_sensors_are_placed_among_candidates() -> None:
    reduced = made(4)[1]
    some = np.arange(3, 38, 5)
    assert set(rbm.place_sensors(reduced, 6, candidates=some)) <= set(some)
    rows = rbm.place_sensors(reduced, 5, candidates=averages(20, False))
    assert len(set(rows.tolist())) == 5
    assert rows.max() < 20
    import eim

    assert np.array_equal(rbm.place_sensors(reduced), eim.qdeim(reduced.basis))
    assert np.array_equal(rbm.place_sensors(reduced, method="eim"), eim.deim(reduced.basis))


def test_a_candidate_that_reads_nothing_new_is_passed_over() -> None:
    """Two of the rows are the same; the largest left unread is the second of them, by rounding alone."""
    reduced = made(4)[1].truncate(1)
    model = made(4)[0]
    sees_all = np.asarray(model.product @ reduced.basis[:, 0])
    candidates = np.stack([sees_all, sees_all, np.eye(N_UNKNOWNS)[3], np.eye(N_UNKNOWNS)[5]])
    for count in (2, 3):
        rows = rbm.place_sensors(reduced, count, candidates=candidates)
        assert len(set(rows.tolist()) - {0, 1}) == count - 1
        assert rbm.pbdw(reduced, candidates[rows]).stability > 0.9
    with pytest.raises(rbm.ModelError, match="only 3 of the candidates are independent"):
        rbm.place_sensors(reduced, 4, candidates=candidates)


@pytest.mark.parametrize(
    ("sensors", "said"),
    [
        ([0, 5, 9], r"3 sensors cannot tell 4 basis vectors apart: .*reduced.truncate\(3\)"),
        ([0, 5, 9, 20, 5, 30], "sensor 4 depends on those before it"),
        ([0, 5, 9, 40], "unknown 40, outside 0 to 39"),
        (np.full((5, N_UNKNOWNS), np.nan), "NaN"),
        (np.ones((5, N_UNKNOWNS + 1)), r"expected \(k, 40\)"),
        (np.zeros((5, N_UNKNOWNS)), "sensor 0 depends"),
        ("all", "whole numbers"),
    ],
)
def test_bad_sensors_are_one_clear_error(sensors: Any, said: str) -> None:
    with pytest.raises(rbm.ModelError, match=said):
        rbm.pbdw(made(4)[1], sensors)


def test_sensors_that_almost_agree_need_no_triangular_factor() -> None:
    """Gram-Schmidt postpones columns of a panel, so that R is then no triangle; states are recovered all the same."""
    p = np.diag([1.0, 2.0, 3.0, 4.0])
    model = rbm.FullOrderModel([(1.0, p), ("mu", np.eye(4))], [(1.0, np.ones(4))], p, {"mu": (0.1, 10.0)}, 1.0)
    reduced = rbm.greedy(model, model.parameters.sample(20), max_basis=2).reduced_model
    rng = np.random.default_rng(28)
    size = 10.0 ** rng.uniform(-9, -1)
    rows = rng.standard_normal((1, 4)) + size * rng.standard_normal((3, 4))
    seen, u = rbm.pbdw(reduced, rows), reduced.basis @ [1.0, 2.0]
    assert not np.allclose(seen.space.factor, np.triu(seen.space.factor), rtol=0, atol=0)
    found = seen.estimate(rows @ u)
    error = norm(model, found.states - u)
    assert np.all(error <= seen.error_bound(found, 0.0))
    assert np.all(error < 1e-9)
    # the same row once more, and that one is named
    with pytest.raises(rbm.ModelError, match="sensor 3 depends on those before it"):
        rbm.pbdw(reduced, np.vstack([rows, rows[0]]))


def test_sensors_that_miss_a_direction_are_refused() -> None:
    """Functionals that vanish on one basis vector: independent, enough of them, and blind."""
    model, reduced = made(4)
    z = reduced.basis[:, 2]
    rows = averages(6, False)
    rows = rows - np.outer(rows @ z, z @ model.product)
    with pytest.raises(rbm.ModelError, match=r"the inf-sup constant, about .*e-1., cannot be shown to be positive"):
        rbm.pbdw(reduced, rows)


def test_other_bad_input_is_one_clear_error(tmp_path: Path) -> None:
    model, reduced = made(4)
    placed = rbm.place_sensors(reduced, 6)
    seen = rbm.pbdw(reduced, placed)
    y = np.ones(6)
    for data, said in (
        (np.ones(5), r"data have shape \(5,\), expected \(6,\)"),
        (np.ones((6, 3)), "transpose them"),
        (np.where(np.arange(6) == 2, np.nan, y), "NaN or infinite, the first is entry 2"),
        (np.ma.masked_array(y, mask=[1, 0, 0, 0, 0, 0]), "hidden behind a mask"),
        (["a"] * 6, "must be numbers"),
    ):
        with pytest.raises(rbm.ModelError, match=said):
            seen.estimate(data)
    for xi in (-1.0, np.nan, "small", [1.0]):
        with pytest.raises(rbm.ModelError, match="regularization must be a number"):
            rbm.pbdw(reduced, placed, regularization=xi)  # type: ignore[arg-type]
    found = seen.estimate(y)
    with pytest.raises(rbm.ModelError, match="distance must be numbers"):
        seen.error_bound(found, np.nan)
    with pytest.raises(rbm.ModelError, match="noise must be numbers"):
        seen.error_bound(found, 0.0, -1.0)
    with pytest.raises(rbm.ModelError, match="mus must be 1 points"):
        seen.error_interval(found, reduced, model.parameters.sample(3))
    with pytest.raises(rbm.ModelError, match="mus must be 1 points"):
        seen.error_interval(found, reduced.truncate(3), model.parameters.sample(1))
    reduced.save(tmp_path / "small.rbm", basis=False)
    with pytest.raises(rbm.ModelError, match="does not hold its basis"):
        rbm.pbdw(rbm.load(tmp_path / "small.rbm"), placed)
    with pytest.raises(rbm.ModelError, match="a reduced model is needed"):
        rbm.place_sensors(model)  # type: ignore[arg-type]
    for options, said in (
        ({"count": 3}, "at least N = 4"),
        ({"count": 41}, "41 sensors are asked for, and there are 40"),
        ({"method": "best"}, "method must be"),
        ({"candidates": [3, 4, 5]}, "4 sensors are asked for, and there are 3"),
        ({"candidates": np.tile(np.eye(1, N_UNKNOWNS), (6, 1))}, "do not tell the 4 basis vectors apart"),
        (
            {"count": 6, "candidates": np.repeat(np.eye(N_UNKNOWNS)[[3, 12, 22, 33]], 2, axis=0)},
            "only 4 of the candidates",
        ),
    ):
        with pytest.raises(rbm.ModelError, match=said):
            rbm.place_sensors(reduced, **options)


def test_a_model_of_few_sensors_is_not_proved_by_a_decomposition_that_succeeds() -> None:
    """Nearly blind sensors: the computed constant is above what can be proved, and that is what is returned."""
    model, reduced = made(4)
    z = reduced.basis[:, 2]
    rows = averages(6, False)
    rows = rows - (1 - 1e-7) * np.outer(rows @ z, z @ model.product)
    seen = rbm.pbdw(reduced, rows)
    computed = np.linalg.svd(seen.space.cross, compute_uv=False)[-1]
    assert 0 < seen.stability < computed
    assert seen.stability == pytest.approx(computed, rel=1e-2)


def test_files_give_the_same_bits(tmp_path: Path) -> None:
    model, reduced = made(3)
    placed = rbm.place_sensors(reduced, 5)
    for xi in (0.0, 1e-2):
        seen = rbm.pbdw(reduced, placed, regularization=xi)
        seen.save(tmp_path / "seen.rbm")
        loaded = PBDW.load(tmp_path / "seen.rbm")
        y = np.random.default_rng(0).standard_normal((4, 5))
        assert np.array_equal(loaded.estimate(y).states, seen.estimate(y).states)
        assert np.array_equal(loaded.error_bound(loaded.estimate(y), 1.0), seen.error_bound(seen.estimate(y), 1.0))
        assert (loaded.stability, loaded.noise_gain, repr(loaded)) == (seen.stability, seen.noise_gain, repr(seen))
    header, arrays = read_archive(tmp_path / "seen.rbm", "state from sensors")
    write_archive(
        tmp_path / "bad.rbm", {k: header[k] for k in ("kind", "regularization")}, arrays | {"basis": np.eye(3)}
    )
    with pytest.raises(rbm.FileFormatError, match="not a complete state from sensors"):
        PBDW.load(tmp_path / "bad.rbm")
    with pytest.raises(rbm.FileFormatError, match="holds a state from sensors, not a reduced model"):
        rbm.load(tmp_path / "seen.rbm")
    reduced.save(tmp_path / "model.rbm")
    assert rbm.pbdw(rbm.load(tmp_path / "model.rbm"), placed).stability == rbm.pbdw(reduced, placed).stability
    assert SensorSpace.__dataclass_fields__.keys() == {name.removeprefix("space/") for name in arrays if "/" in name}
    del model
