"""SPSA: many points at a time, bounds, noise, and the place of an optimiser of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from ml.tuning.zeroth_order_spsa import spsa

TARGET = np.array([0.3, 0.6, 0.45])


def bowl(x: np.ndarray) -> np.ndarray:
    """Minimum 1 at TARGET, with coupled parameters."""
    off = x - TARGET
    return 1 + np.sum(off**2, axis=-1) + 0.5 * np.sum(off, axis=-1) ** 2


def test_all_points_of_a_step_are_one_call() -> None:
    shapes = []

    def f(x: np.ndarray) -> np.ndarray:
        shapes.append(x.shape)
        assert np.all((x >= 0) & (x <= 1))
        return bowl(x)

    found = spsa(f, np.full(3, 0.5), [(0, 1)] * 3, steps=200, directions=8)
    assert shapes == [(16, 3)] * 200 + [(3, 3)]
    assert found.nfev == 16 * 200 + 3
    assert found.losses.shape == (200,)
    assert found.nit == 200
    np.testing.assert_allclose(found.x, TARGET, atol=2e-3)
    assert found.fun == pytest.approx(bowl(found.x))


def test_the_same_rng_gives_the_same_result_and_batches_change_nothing() -> None:
    one = spsa(bowl, np.full(3, 0.5), steps=50, directions=4, rng=3)
    two = spsa(lambda x: float(bowl(x)), np.full(3, 0.5), steps=50, directions=4, rng=3, batched=False)
    np.testing.assert_allclose(one.x, two.x, rtol=1e-12)
    assert not np.array_equal(one.x, spsa(bowl, np.full(3, 0.5), steps=50, directions=4, rng=4).x)


def test_nine_parameters_reach_the_optimum_of_nelder_mead() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40, 9))
    data = np.tanh(a @ rng.uniform(-0.5, 0.5, 9)) + 0.01 * rng.standard_normal(40)

    def misfit(x: np.ndarray) -> np.ndarray:
        return np.mean((np.tanh(x @ a.T) - data) ** 2, axis=-1) / 0.01**2

    options = {"maxfev": 20000, "maxiter": 20000, "xatol": 1e-6, "fatol": 1e-8, "adaptive": True}
    other = optimize.minimize(misfit, np.zeros(9), method="Nelder-Mead", options=options)
    found = spsa(misfit, np.zeros(9), [(-1, 1)] * 9)
    assert found.nfev == 12803
    assert found.fun <= other.fun * (1 + 1e-3)
    np.testing.assert_allclose(found.x, other.x, atol=5e-3)


def test_an_optimum_on_a_bound_and_noise() -> None:
    def f(x: np.ndarray) -> np.ndarray:
        return (x[:, 0] + 1) ** 2 + (x[:, 1] - 5.0) ** 2 / 100

    found = spsa(f, [0.5, 2.0], [(0, 1), (-10, 30)], steps=300)
    assert found.x[0] == pytest.approx(0, abs=1e-3)
    assert found.x[1] == pytest.approx(5, abs=0.05)
    rng = np.random.default_rng(1)
    noisy = spsa(lambda x: bowl(x) + 0.01 * rng.standard_normal(len(x)), np.full(3, 0.5), [(0, 1)] * 3, eps=0.1)
    np.testing.assert_allclose(noisy.x, TARGET, atol=0.03)


def test_points_stay_inside_and_a_start_on_a_bound_is_left() -> None:
    asked = []

    def f(x: np.ndarray) -> np.ndarray:
        asked.append(x)
        return (x[:, 0] - 3.0) ** 2

    found = spsa(f, [2.0], [(2, 6)], steps=200, directions=2, eps=0.05)
    assert sorted(set(asked[0][:, 0])) == pytest.approx([2.0, 2.4])  # around 2 + eps (6 - 2), not half of it outside
    assert found.x[0] == pytest.approx(3, abs=1e-3)
    with pytest.raises(ValueError, match="eps must be at most half of the box"):
        spsa(f, [2.0], [(2, 6)], eps=0.6)


def test_the_first_step_has_the_length_of_the_rate() -> None:
    """Adam, its moments corrected for their start: whatever the scale of f is."""
    for scale in (1e-6, 1e6):
        seen: list[np.ndarray] = []
        spsa(lambda x, scale=scale: scale * x[:, 0], [0.5], steps=3, directions=1, rate=0.02, callback=seen.append)
        np.testing.assert_allclose(-np.diff([0.5, *np.ravel(seen)]), 0.02 * np.array([1, 2 / 3, 1 / 3]), rtol=1e-4)


def test_plain_steps_fall_as_stated() -> None:
    """Without moments y <- y - rate_s g: one direction, one parameter, a quadratic, where g is exact."""
    found = spsa(lambda x: x[:, 0] ** 2, [1.0], steps=20, directions=1, rate=0.1, eps=1e-2, moments=False)
    left = 1 - np.arange(20) / 20
    y = np.cumprod(np.r_[1.0, 1 - 0.2 * left[:-1]])
    np.testing.assert_allclose(found.losses, y**2 + (1e-2 * (0.1 + 0.9 * left)) ** 2, rtol=1e-9)


def test_it_takes_the_place_of_a_method_of_scipy() -> None:
    calls = []

    def watch(intermediate_result: optimize.OptimizeResult) -> None:
        calls.append(intermediate_result.nit)

    found = optimize.minimize(
        lambda x, shift: float(bowl(x - shift)), np.full(3, 0.5), args=(0.1,), method=spsa, callback=watch,
        bounds=optimize.Bounds(0, 1), options={"batched": False, "directions": 4, "steps": 150},
    )  # fmt: skip
    np.testing.assert_allclose(found.x, TARGET + 0.1, atol=5e-3)
    assert calls == list(range(1, 151))
    seen = []

    def enough(x: np.ndarray) -> bool:
        seen.append(x)
        return len(seen) == 7

    stopped = spsa(bowl, np.full(3, 0.5), callback=enough)
    assert stopped.nit == 7
    assert "callback" in stopped.message

    def over(x: np.ndarray) -> None:
        raise StopIteration

    assert spsa(bowl, np.full(3, 0.5), callback=over).nit == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x0": np.zeros((2, 2))}, "x0 must be finite numbers"), ({"x0": [np.nan]}, "x0 must be finite"),
        ({"bounds": [(0, 1)]}, "bounds must be 3 pairs"), 
        ({"bounds": [(0, 1), (2, 1), (0, 1)]}, "bounds of parameter 1"),
        ({"bounds": [(0, 1), (0.6, 1), (0, 1)]}, r"x0\[1\] = 0.5 is outside"), ({"steps": 0}, "steps must be"),
        ({"bounds": [(0, 1), (0, np.nan), (0, 1)]}, "must not be NaN"), ({"directions": 0}, "directions must be"),
        ({"eps": 0.0}, "eps must be"), ({"rate": np.inf}, "rate must be"), ({"constraints": [{}]}, "no constraints"),
        ({"f": lambda x: np.zeros(3)}, r"f must give \(32,\) numbers"), ({"f": lambda x: 0.0}, "pass batched=False"),
        ({"f": lambda x: np.full(len(x), np.nan)}, "f is nan at x = "),
    ],
)  # fmt: skip
def test_wrong_input_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spsa(**{"f": bowl, "x0": np.full(3, 0.5), **change})
