"""Anchored on sparse models: proved, of any size, never above the constant, kept and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from helpers.models import complex_model

import rbm
from rbm.stability import Anchored, cost, eigen_estimates
from rbm.stability import anchored_choice as choice
from rbm.stability.certificates import Certifier
from rbm.stability.rotated_terms import Modes, RotatedTerms
from rbm.stability.sparse_anchors import SparseAnchors

SPACE = rbm.ParameterSpace({"k": (3.0, 6.0), "z": (0.2, 1.0)})
#: What rounding of dense reference values may take, absolute: constants are at most about one.
REFERENCE = 1e-11


def waves(m: int, kind: str = "complex", stability: Any = 1.0, space: rbm.ParameterSpace = SPACE) -> Any:
    """Waves in a square with one impedance wall and a wind, which makes A not normal: n = (m + 1)^2."""
    h = 1 / m
    ends = np.concatenate([[1.0], 2 * np.ones(m - 1), [1.0]])
    k = sp.diags_array([-np.ones(m), ends, -np.ones(m)], offsets=[-1, 0, 1]) / h
    w = sp.diags_array([np.ones(m), 2 * ends, np.ones(m)], offsets=[-1, 0, 1]) * h / 6
    d = sp.diags_array([-0.5 * np.ones(m), 0.5 * np.ones(m)], offsets=[-1, 1])
    e = sp.diags_array(np.concatenate([[1.0], np.zeros(m)]))
    stiffness, mass = sp.csr_array(sp.kron(k, w) + sp.kron(w, k)), sp.csr_array(sp.kron(w, w))
    wall, wind = sp.csr_array(sp.kron(e, w)), sp.csr_array(sp.kron(d, w))
    terms = {
        "complex": [("1", stiffness), ("-k**2", mass), ("-1j*k*z", wall), ("0.3*z", wind)],
        "real": [("1", stiffness), ("4 - k", mass), ("z", wall), ("2*z*k", wind)],
        "units": [("1", 1e6 * stiffness), ("1e-3 * (4 - k)", 1e9 * mass), ("1e12*z", 1e-6 * wall), ("2e6*z*k", wind)],
        # nearly dependent: their differences are what matters, and one hardly moves
        "dependent": [
            ("1", stiffness),
            ("4 - k + 100*z", mass),
            ("-100*z", sp.csr_array(mass + 1e-2 * wall)),
            ("1e-5*k*z", wind),
        ],
    }[kind]
    return rbm.FullOrderModel(
        terms, [(1.0, np.ones((m + 1) ** 2))], stiffness + mass, space, stability, projection="least-squares"
    )


def exact(model: Any, mus: np.ndarray) -> np.ndarray:
    """sigma_min of P^{-1/2} A(mu) P^{-1/2} by singular values, and not of the square."""
    values, vectors = np.linalg.eigh(model.product.toarray())
    root = (vectors / np.sqrt(values)) @ vectors.conj().T
    terms = np.stack([root @ a.toarray() @ root for a in model.operator_terms])
    theta = model.operator_coefficients(mus)
    return np.linalg.svd(np.einsum("mq,qij->mij", theta, terms), compute_uv=False)[:, -1]


@pytest.mark.parametrize("kind", ["complex", "real", "units", "dependent"])
def test_it_is_between_the_ratio_and_the_constant(kind: str) -> None:
    model, training = waves(4, kind), SPACE.sample(30)
    bound = Anchored(training, ratio=0.4).bind(model)
    truth = exact(model, training)
    beta = bound.best(model.operator_coefficients(training))
    scale = truth.max()
    assert np.all(beta >= 0.4 * truth)
    assert np.all(beta <= truth + REFERENCE * scale)
    unseen = SPACE.sample(1000, "random", rng=3)
    truth = exact(model, unseen)
    beta = bound.best(model.operator_coefficients(unseen))
    assert np.all(beta <= truth + REFERENCE * scale)
    assert np.median(beta / truth) > 0.4


def test_the_plain_formula_and_the_growth_are_those_of_the_terms() -> None:
    """Constants, norms and growths against dense singular values: on the safe side, and close."""
    model = waves(4)
    bound = Anchored(SPACE.sample(12), ratio=0.2).bind(model)
    values, vectors = np.linalg.eigh(model.product.toarray())
    root = (vectors / np.sqrt(values)) @ vectors.conj().T
    terms = np.stack([root @ a.toarray() @ root for a in model.operator_terms])
    norms = np.array([np.linalg.norm(a, 2) for a in terms])
    assert np.all((norms <= bound.norms) & (bound.norms <= 1.02 * norms))
    # x = C Delta runs through all of C^L, and the terms that are left are the others
    both = np.linalg.pinv(bound.transform)
    for theta, constant, growth in zip(bound.anchors, bound.constants, bound.growths, strict=True):
        at = np.tensordot(theta, terms, 1)
        beta = np.linalg.svd(at, compute_uv=False)[-1]
        assert beta * (1 - 1e-5) <= constant <= beta
        row = np.concatenate([np.linalg.solve(at, np.tensordot(w, terms, 1)) for w in both.T], axis=1)
        left = np.abs(bound.remainder @ both).sum(axis=0) / beta
        assert np.linalg.norm(row, 2) <= growth * (1 + 1e-10) + np.linalg.norm(left)
    assert len(bound.transform) >= 2


@pytest.mark.parametrize("seed", range(3))
def test_any_rotation_makes_a_true_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    of = Modes.of

    def turned(spread: Any, moving: Any, units: Any, basis: np.ndarray) -> Modes:
        made = rng.standard_normal(basis.shape) + 1j * rng.standard_normal(basis.shape)
        return of(spread, moving, units, np.linalg.qr(made)[0])

    monkeypatch.setattr(Modes, "of", turned)
    model, training = waves(3), SPACE.sample(15)
    bound = Anchored(training, ratio=0.2).bind(model)
    unseen = SPACE.sample(300, "random", rng=seed)
    assert np.all(bound.best(model.operator_coefficients(unseen)) <= exact(model, unseen) + REFERENCE)


def test_a_rotation_that_is_not_unitary_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what W^T R is off the identity, in units of the norms: far more than rounding here."""
    model, training = waves(3), SPACE.sample(15)
    theta = model.operator_coefficients(training)
    anchors = SparseAnchors(model)
    right = anchors.rotated(theta, 0, "here")
    assert 0 < right.loss < 1e-10
    of = Modes.of

    def off(*args: Any) -> Modes:
        made = of(*args)
        return Modes(made.moving, made.back, made.forth * (1 + 1e-4), made.amounts)

    monkeypatch.setattr(Modes, "of", off)
    assert anchors.rotated(theta, 0, "here").loss > 1e-4 * np.linalg.norm(right.weights @ right.norms)
    monkeypatch.setattr(Modes, "of", lambda *args: Modes(*[*vars(of(*args)).values()][:2], of(*args).back, np.ones(3)))
    with pytest.raises(rbm.StabilityError, match=r"sizes .* are lost in each other's rounding; choose other units"):
        anchors.rotated(theta, 0, "here")


def test_coefficients_that_did_not_vary_are_not_forgotten() -> None:
    model = waves(3)
    training = np.column_stack([np.full(20, 5.0), np.linspace(0.2, 1, 20)])
    bound = Anchored(training, ratio=0.3).bind(model)
    mus = SPACE.sample(200, "random", rng=1)
    assert np.all(bound.best(model.operator_coefficients(mus)) <= exact(model, mus) + REFERENCE)
    single = Anchored(training[:1]).bind(model)
    assert len(single.transform) == 0
    assert np.all(single.best(model.operator_coefficients(mus)) <= exact(model, mus) + REFERENCE)


def test_a_growth_that_is_not_proved_is_bounded_by_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    model, training = waves(3), np.array([[4.0, 0.5], [4.01, 0.5]])
    sharp = Anchored(training, ratio=0.3).bind(model)
    monkeypatch.setattr(Certifier, "growth", lambda *_: None)
    rough = Anchored(training, ratio=0.3).bind(model)
    assert rough.growths[0] >= sharp.growths[0]
    mus = SPACE.sample(100, "random", rng=1)
    assert np.all(rough.best(model.operator_coefficients(mus)) <= exact(model, mus) + REFERENCE)


def test_lanczos_iterations_prove_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigen_estimates, "DENSE_LIMIT", 10)
    model, training = waves(4), SPACE.sample(8)
    bound = Anchored(training, ratio=0.4).bind(model)
    beta, truth = bound.best(model.operator_coefficients(training)), exact(model, training)
    assert np.all((0.4 * truth <= beta) & (beta <= truth + REFERENCE))


@pytest.mark.parametrize("small", [1e-6, 1e-9, 1e-12, 1e-14])
def test_nearly_singular_anchors_are_refused_or_bounded(small: float) -> None:
    """A(m) = A_0 - m s u v^H with sigma_min(A_0) = s: singular at m = 1."""
    for seed in range(5):
        u, _, v = np.linalg.svd(np.random.default_rng(seed).standard_normal((10, 10)))
        values = np.append(np.linspace(2, 1, 9), small)
        terms = [(1.0, sp.csr_array((u * values) @ v)), ("m", sp.csr_array(-small * np.outer(u[:, -1], v[-1])))]
        model = rbm.FullOrderModel(
            terms, [(1.0, np.ones(10))], sp.eye_array(10).tocsr(), rbm.ParameterSpace({"m": (0.0, 2.0)}), 1e-20
        )
        m = np.array([[0.0], [0.5], [0.9], [0.999], [1.0]])
        try:
            best = Anchored(training=np.array([[0.0], [0.3]])).bind(model).best(model.operator_coefficients(m))
        except rbm.StabilityError as error:
            assert small < 1e-10
            assert "singular" in str(error)  # noqa: PT017
        else:
            assert np.all(best <= small * (1 - m[:, 0]) + 1e-15), (seed, best)


def test_a_singular_anchor_is_named() -> None:
    with pytest.raises(rbm.StabilityError, match=r"singular .*at m = 0"):
        rbm.FullOrderModel(
            [("m", sp.eye_array(3).tocsr())],
            [(1.0, np.ones(3))],
            sp.eye_array(3).tocsr(),
            rbm.ParameterSpace({"m": (-1, 1)}),
            Anchored(training=np.linspace(-1, 1, 3)[:, None]),
        )


def test_models_that_were_refused_for_their_size_are_bound() -> None:
    """7000 complex unknowns on an interval; beta >= 1 in the energy norm, by the sign of a."""
    model = complex_model(7001)
    training = np.column_stack([np.linspace(10, 12, 3), np.linspace(-3, 3, 3)])
    bound = Anchored(training, ratio=0.4).bind(model)
    beta = bound.best(model.operator_coefficients(training))
    smaller = complex_model(201)
    assert np.all(beta <= exact(smaller, training) * (1 + 1e-3))
    assert np.all(beta >= 0.4)


@pytest.mark.slow
def test_a_large_model_in_the_plane() -> None:
    space = rbm.ParameterSpace({"k": (4.0, 4.2), "z": (0.5, 0.6)})
    bound = Anchored(space.sample(10), ratio=0.3).bind(waves(85, space=space))
    mus = space.sample(100, "random", rng=1)
    small = waves(20, space=space)
    assert np.all(bound.best(small.operator_coefficients(mus)) <= exact(small, mus) * 1.02)
    assert np.all(bound.best(small.operator_coefficients(space.sample(10))) > 0)


def interrupted_after(count: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Ctrl-C comes with anchor number `count`; the function that is returned counts those that are computed."""
    made: list[int] = []
    compute = SparseAnchors.anchor

    def anchor(self: SparseAnchors, *args: Any) -> Any:
        if len(made) == count:
            raise KeyboardInterrupt
        made.append(0)
        return compute(self, *args)

    monkeypatch.setattr(SparseAnchors, "anchor", anchor)
    return lambda: len(made)


def same(one: Any, other: Any) -> bool:
    a, b = one.arrays(), other.arrays()
    return all(np.array_equal(a[name], b[name]) for name in a if name != "parameters")


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = SPACE.sample(15)
    whole = Anchored(training, ratio=0.4).bind(waves(3))
    assert len(whole.constants) > 4
    with monkeypatch.context() as patch:
        interrupted_after(3, patch)
        with pytest.raises(rbm.Interrupted, match="with 3 stability anchors done; they are in the cache") as found:
            Anchored(training, ratio=0.4, cache=tmp_path).bind(waves(3))
        assert len(found.value.result.constants) == 3
    with monkeypatch.context() as patch:
        interrupted_after(3, patch)
        with pytest.raises(rbm.Interrupted, match="with a cache= folder they would be kept"):
            Anchored(training, ratio=0.4).bind(waves(3))
    with monkeypatch.context() as patch:
        computed = interrupted_after(1000, patch)
        again = Anchored(training, ratio=0.4, cache=tmp_path).bind(waves(3))
        assert computed() == len(whole.constants) - 3
    assert same(again, whole)


def test_interrupts_before_the_first_anchor(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Certifier, "norm", stop)
    with pytest.raises(rbm.Interrupted, match="with 0 stability anchors done") as found:
        Anchored(SPACE.sample(5)).bind(waves(3))
    assert found.value.result is None


def test_a_cache_serves_other_ratios_and_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors come in one order, whatever the ratio: a smaller one takes the first of them, and loses none."""
    training = SPACE.sample(15)
    with pytest.raises(rbm.StabilityError, match="4 anchors are not enough"):
        Anchored(training, ratio=0.4, max_anchors=4, cache=tmp_path).bind(waves(3))
    low, high = (Anchored(training, ratio=ratio).bind(waves(3)) for ratio in (0.2, 0.4))
    assert 1 < len(low.constants) < len(high.constants)
    assert same(Anchored(training, ratio=0.4, cache=tmp_path).bind(waves(3)), high)
    with monkeypatch.context() as patch:
        interrupted_after(0, patch)
        assert same(Anchored(training, ratio=0.2, cache=tmp_path).bind(waves(3)), low)
        assert same(Anchored(training, ratio=0.4, cache=tmp_path).bind(waves(3)), high)


@pytest.mark.parametrize("name", ["weights", "factors", "loss"])
def test_a_cache_that_does_not_fit_is_not_used(name: str, tmp_path: Path) -> None:
    training = SPACE.sample(10)
    right = Anchored(training, ratio=0.2, cache=tmp_path).bind(waves(3))
    (path,) = tmp_path.iterdir()
    arrays = cost.read_archive(path, "stability anchors")[1]
    wrong = np.full((), np.nan) if name == "loss" else arrays[name][:-1]
    cost.write_archive(path, {"kind": "stability anchors", "key": path.stem}, {**arrays, name: wrong})
    with pytest.warns(UserWarning, match="cached anchors are not used and will be computed again"):
        again = Anchored(training, ratio=0.2, cache=tmp_path).bind(waves(3))
    assert same(again, right)


def test_the_cost_is_said_before(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    Anchored(SPACE.sample(10), ratio=0.2, progress=True).bind(waves(3))
    assert "more anchors (a guess): about" in capsys.readouterr().err
    monkeypatch.setattr(cost, "LONG", 0.0)
    with pytest.warns(
        UserWarning, match=r"Anchored: \d+ to \d+ more anchors \(a guess\) will take about .* min; a smaller ratio="
    ):
        Anchored(SPACE.sample(10), ratio=0.2).bind(waves(3))


def test_dense_terms_go_the_dense_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "SparseAnchors", None)
    terms = [(a, b.toarray()) for a, b in zip(["1", "k"], waves(3).operator_terms[:2], strict=True)]
    model = rbm.FullOrderModel(
        terms, [(1.0, np.ones(16))], waves(3).product, rbm.ParameterSpace({"k": (0.0, 1.0)}), Anchored()
    )
    assert isinstance(model.stability.best(np.array([[1.0, 0.5]]))[0], float)


def test_leading_terms_and_others_make_up_the_change() -> None:
    """sum_l x_l B_l, and all others within what the remainder allows."""
    rng = np.random.default_rng(0)
    terms = rng.standard_normal((4, 6, 6))
    norms = np.array([np.linalg.norm(a, 2) for a in terms])
    spread = rng.standard_normal((50, 4)) * [1.0, 1.0, 1e-6, 0.0]
    moving = np.array([True, True, True, False])
    modes = Modes.of(spread, moving, np.ones(3), np.eye(3))
    made = RotatedTerms.of(
        modes, norms[:3], norms, lambda rows: np.array([np.linalg.norm(np.tensordot(w, terms, 1), 2) for w in rows])
    )
    assert len(made.transform) == len(made.remainder) == 2
    delta = rng.standard_normal(4)
    left = np.tensordot(delta - made.weights.T @ (made.transform @ delta), terms, 1)
    assert np.linalg.norm(left, 2) <= np.abs(made.remainder @ delta).sum() * (1 + 1e-12)
