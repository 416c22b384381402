"""The natural-norm bound: never above the constant, at least the ratio asked for, with few anchors."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import rbm
from rbm.stability import Anchored, NaturalNorm
from rbm.stability import natural_norm as module
from rbm.stability.natural_bound import BoundNaturalNorm

SPACE = rbm.ParameterSpace({"k": (3.0, 6.0), "z": (0.2, 1.0)})


def impedance_model(m: int = 9, stability: Any = None, *, complex_valued: bool = True, dense: bool = False) -> Any:
    """Waves in a square with impedance walls: K - k^2 M - i k z B; without the i: a real, indefinite operator."""
    h = 1 / m
    ends = np.concatenate([[1.0], 2 * np.ones(m - 1), [1.0]])
    k = sp.diags_array([-np.ones(m), ends, -np.ones(m)], offsets=[-1, 0, 1]) / h
    w = sp.diags_array([np.ones(m), 2 * ends, np.ones(m)], offsets=[-1, 0, 1]) * h / 6
    e = sp.diags_array(np.concatenate([[1.0], np.zeros(m - 1), [1.0]]))
    terms = [sp.kron(k, w) + sp.kron(w, k), sp.kron(w, w), sp.kron(e, w) + sp.kron(w, e)]
    terms = [a.toarray() if dense else sp.csr_array(a) for a in terms]
    factor = "-1j*k*z" if complex_valued else "-0.2*k*z"
    return rbm.FullOrderModel(
        [("1", terms[0]), ("-k**2", terms[1]), (factor, terms[2])],
        [(1.0, np.ones((m + 1) ** 2))],
        terms[0] + terms[1],
        parameters=SPACE,
        stability=NaturalNorm(ratio=0.4) if stability is None else stability,
        projection="least-squares",
    )


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("complex_valued", [False, True])
def test_it_is_between_the_ratio_and_the_constant(complex_valued: bool, dense: bool) -> None:
    training = SPACE.sample(120)
    if not complex_valued:  # away from the resonances of the undamped operator
        training = training[(training[:, 0] > 4.7) & (training[:, 0] < 5.2)]
    model = impedance_model(7, NaturalNorm(training, ratio=0.4), complex_valued=complex_valued, dense=dense)
    truth = rbm.stability.inf_sup(model, training)
    beta = model.stability.constant(model.operator_coefficients(training))
    assert np.all(beta <= truth * (1 + 1e-7))
    assert np.all(beta >= 0.39 * truth)
    unseen = SPACE.sample(150, "random", rng=4)
    beta = model.stability.constant(model.operator_coefficients(unseen))
    assert np.all(beta <= rbm.stability.inf_sup(model, unseen) * (1 + 1e-7))


def test_it_needs_fewer_anchors_than_perturbation_does() -> None:
    """A quarter of what the dense rotation of the terms needs, half of what the rotation at the first anchor does."""
    training = SPACE.sample(60)
    few = impedance_model(8, NaturalNorm(training, ratio=0.4)).stability
    many = impedance_model(8, Anchored(training, ratio=0.4), dense=True).stability
    assert 4 * len(few.anchors) <= len(many.constants)
    fewer = impedance_model(8, Anchored(training, ratio=0.4)).stability
    assert 2 * len(few.anchors) <= len(fewer.constants) < len(many.constants)


def test_lanczos_and_dense_estimates_prove_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from rbm.stability import eigen_estimates

    training = SPACE.sample(25)
    monkeypatch.setattr(eigen_estimates, "DENSE_LIMIT", 10)
    model = impedance_model(8, NaturalNorm(training, ratio=0.3))
    truth = rbm.stability.inf_sup(model, training)
    beta = model.stability.constant(model.operator_coefficients(training))
    assert np.all(beta <= truth * (1 + 1e-7))
    assert np.all(beta >= 0.29 * truth)


def test_it_goes_through_greedy_batch_file_and_back(tmp_path: Path) -> None:
    model = impedance_model(8, NaturalNorm(SPACE.sample(60), ratio=0.2))
    reduced = rbm.greedy(model, SPACE.sample(80), tol=1e-5).reduced_model
    reduced.save(tmp_path / "waves.rbm")
    mus = SPACE.sample(60, "random", rng=3)
    assert np.array_equal(rbm.load(tmp_path / "waves.rbm").solve(mus).bound, reduced.solve(mus).bound)
    error = model.inner_product.norm((model.solve(mus) - reduced.reconstruct(reduced.solve(mus))).T)
    assert np.all(error <= reduced.solve(mus).bound)


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"training": SPACE.sample(40), "ratio": 0.4, "cache": tmp_path}
    whole = impedance_model(6, NaturalNorm(**options)).stability
    assert len(whole.anchors) > 1
    for path in tmp_path.iterdir():
        path.unlink()
    add = module.AnchorChoice._add

    def interrupted(self: Any, point: int) -> None:
        if self.anchors:
            raise KeyboardInterrupt
        add(self, point)

    monkeypatch.setattr(module.AnchorChoice, "_add", interrupted)
    with pytest.raises(rbm.Interrupted, match="in the cache"):
        impedance_model(6, NaturalNorm(**options))
    made: list[int] = []
    monkeypatch.setattr(module.AnchorChoice, "_add", lambda self, point: (made.append(point), add(self, point))[1])
    again = impedance_model(6, NaturalNorm(**options)).stability
    assert len(again.anchors) >= len(whole.anchors)
    assert len(made) < len(again.anchors)
    del made[:]
    impedance_model(6, NaturalNorm(**options))
    assert not made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ratio": 1.5}, "ratio must lie between 0 and 1, got 1.5"),
        ({"ratio": 0.9, "max_anchors": 1, "max_constraints": 1}, "1 anchors and .* are not enough: .* at k = "),
    ],
)
def test_options_that_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(rbm.StabilityError, match=message):
        impedance_model(5, NaturalNorm(SPACE.sample(30), **options))


def test_a_point_far_outside_is_refused() -> None:
    model = impedance_model(6, NaturalNorm(SPACE.sample(40), ratio=0.4))
    mus = np.array([[4.0, 0.5], [60.0, 0.5]])
    with pytest.raises(rbm.StabilityError, match=r"natural-norm bound from \d+ anchors is .* at k = 60.*\(row 1\)"):
        model.stability(mus, model.operator_coefficients(mus))


@pytest.mark.parametrize("name", ["constants", "lower", "rows", "active", "positions", "lengths"])
def test_files_that_do_not_fit(name: str) -> None:
    bound = impedance_model(5, NaturalNorm(SPACE.sample(20), ratio=0.2)).stability
    arrays = bound.arrays()
    assert np.array_equal(BoundNaturalNorm.from_arrays(arrays).arrays()["rows"], arrays["rows"])
    wrong = arrays[name][1:] if name != "constants" else -arrays[name]
    with pytest.raises(ValueError, match="do not fit"):
        BoundNaturalNorm.from_arrays({**arrays, name: wrong})


def test_other_arrays_give_the_same() -> None:
    strict = pytest.importorskip("array_api_strict")
    model = impedance_model(6, NaturalNorm(SPACE.sample(40), ratio=0.4))
    theta = model.operator_coefficients(SPACE.sample(50))
    other = model.stability.constant(strict.asarray(theta))
    np.testing.assert_allclose(np.asarray(other), model.stability.constant(theta), rtol=1e-9)


@pytest.mark.parametrize("small", [1e-9, 1e-12, 0.0])
def test_nearly_singular_anchors(small: float) -> None:
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    a = turn @ np.diag([1.0, 0.5, small]) @ turn.T

    def bound() -> float:
        model = rbm.FullOrderModel(
            [("1 + k", a)], [(1.0, np.ones(3))], np.eye(3), parameters={"k": (0.0, 1.0)}, stability=NaturalNorm()
        )
        return float(model.stability.constant(model.operator_coefficients(np.array([[0.0]])))[0])

    with suppress(rbm.StabilityError):  # refused, or right
        assert 0 < bound() <= small * (1 + 1e-6)
