"""Training without gradients on NumPy arrays: exact moves, replay, rates, logs, memory, errors. No PyTorch needed."""

from __future__ import annotations

import doctest
import itertools
import signal
import tracemalloc
import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from ml.tuning import zeroth_order, zeroth_order_spsa
from ml.tuning.zeroth_order import MezoWarning, mezo, replay
from ml.tuning.zeroth_order_arrays import trained_arrays
from ml.tuning.zeroth_order_files import load_mezo_log, save_mezo_log
from ml.tuning.zeroth_order_numbers import BASIS, DIRECTION, ROUNDING, NumpySource
from ml.tuning.zeroth_order_weights import Direction, Weights

OPTIONS = {
    "plain": {},
    "decay and schedule": {"weight_decay": 0.1, "schedule": "cosine"},
    "directions": {"directions": 3, "schedule": "linear"},
    "low rank": {"projection": 2, "keep": 4, "directions": 2, "weight_decay": 0.01},
    "factors": {"schedule": lambda s: 1.0 + s % 2},
}


@pytest.fixture(autouse=True)
def pythons_handler() -> Iterator[None]:
    """Interrupts are Python's, also in a process that was started in the background, where they are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(seed: int = 0, dtype: type = np.float32) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((7, 300), (300,), (), (3, 4, 5))]


def far(p: list[np.ndarray], step: int) -> float:
    """A smooth loss with another batch in every step."""
    return float(sum(np.sum((a.astype(float) - 0.1 * (step % 3)) ** 2) for a in p))


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def copies(p: list[np.ndarray]) -> list[np.ndarray]:
    return [a.copy() for a in p]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_replay_is_the_run_to_the_last_bit(options: dict, dtype: type) -> None:
    p = start(dtype=dtype)
    run = mezo(far, p, steps=20, rate=1e-4, eps=1e-3, **options)
    again = replay(start(dtype=dtype), run.log)
    assert same(again, p)
    assert not same(p, start(dtype=dtype))
    assert far(p, 0) < far(start(dtype=dtype), 0)
    # and after any of its steps
    half = start(dtype=dtype)
    options = {**options, "stop": lambda step, loss: step == 11}
    stopped = mezo(far, half, steps=20, rate=1e-4, eps=1e-3, **options)
    assert stopped.log.steps == 12
    assert "step 11" in stopped.stopped
    assert same(replay(start(dtype=dtype), run.log, steps=12), half)


@pytest.mark.parametrize("projection", ["full", 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moves_undo_themselves_to_the_last_bit(dtype: type, projection: object) -> None:
    """The start is rounded once, by half a spacing at the largest weight; then nothing changes over many moves."""
    eps, digits = 1e-3, np.finfo(dtype).nmant + 1
    p = [1000 * start(dtype=dtype)[0], start(dtype=dtype)[0] * 1e-3, np.zeros((2, 3), dtype)]
    first = copies(p)
    arrays, source = trained_arrays(p, "refuse")
    weights = Weights(arrays, source, eps, projection)  # type: ignore[arg-type]
    weights.to_grid()
    room = (16 if projection == "full" else 64) * eps
    for a, b in zip(p, first, strict=True):
        assert np.max(np.abs(a - b)) <= 2.0**-digits * (np.max(np.abs(b)) + room)
    rounded = copies(p)
    for k in range(1000 if dtype == np.float32 and projection == "full" else 50):
        direction = Direction(k, k // 7)
        for to in (1, -1, 0):
            weights.move(direction, to)
            if k == 0 and to:
                assert not any(same([a], [b]) for a, b in zip(p, rounded, strict=True))
        assert same(p, rounded)


def test_a_move_is_eps_times_normal_numbers() -> None:
    p = [np.full((60, 400), 0.3)]
    arrays, source = trained_arrays(p, "refuse")
    for projection in ("full", 1, 3):
        weights = Weights(arrays, source, 1e-2, projection)  # type: ignore[arg-type]
        weights.to_grid()
        before = p[0].copy()
        weights.move(Direction(5, 6), 1)
        up = (p[0] - before) / 1e-2
        weights.move(Direction(5, 6), -1)
        np.testing.assert_allclose((p[0] - before) / 1e-2, -up, atol=1e-12)
        weights.move(Direction(5, 6), 0)
        assert np.array_equal(p[0], before)
        if projection == "full":
            assert abs(np.mean(up)) < 0.03
            assert abs(np.std(up) - 1) < 0.03
            assert abs(np.mean(up**4) - 3) < 0.3
        else:
            values = np.linalg.svd(up, compute_uv=False)
            assert values[projection - 1] > 1e3 * values[projection]  # type: ignore[index]
            assert abs(np.linalg.norm(up) / np.sqrt(up.size) - 1) < 0.3


@pytest.mark.parametrize("shape", [(20,), (5, 4)])
def test_the_mean_of_g_z_is_the_gradient(shape: tuple[int, ...]) -> None:
    """Its relative error for n directions is about ((d + 1) / n)^{1/2}; the difference of a quadratic is exact."""
    rng = np.random.default_rng(1)
    h = rng.standard_normal((20, 20))
    h = h @ h.T

    def loss(p: list[np.ndarray], step: int) -> float:
        return 0.5 * float(p[0].reshape(-1) @ h @ p[0].reshape(-1))

    errors = {}
    for n in (50, 800):
        found = []
        for seed in range(4):
            p = [rng.standard_normal(shape)]
            before = p[0].copy()
            mezo(loss, p, steps=1, rate=1.0, eps=0.1, directions=n, rng=seed)
            gradient = (h @ before.reshape(-1)).reshape(shape)
            found.append(np.linalg.norm(before - p[0] - gradient) / np.linalg.norm(gradient))
        errors[n] = np.sqrt(np.mean(np.square(found)))
        expected = np.sqrt(21 / n)
        assert 0.7 * expected < errors[n] < 1.4 * expected, (n, errors[n], expected)


def test_low_rank_directions_give_the_gradient_too() -> None:
    rng = np.random.default_rng(2)
    c = rng.standard_normal((6, 5))
    errors = []
    for n in (100, 1600):
        p = [np.zeros((6, 5))]
        mezo(lambda p, s: float(np.sum(c * p[0])), p, steps=1, rate=1.0, eps=0.1, directions=n, projection=1, rng=3)
        errors.append(np.linalg.norm(p[0] + c) / np.linalg.norm(c))
    assert errors[1] < 0.35
    assert 2 < errors[0] / errors[1] < 8  # the ratio of the roots is 4


def steps_to(tol: float, r: int, d: int, seed: int) -> int:
    """Steps until f = |Q^T x|^2 / 2 falls below tol f(0), at the best constant rate 1 / (r + 2)."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, r)))
    p = [q @ np.full(r, r**-0.5)]
    run = mezo(
        lambda p, s: 0.5 * float(np.sum((p[0] @ q) ** 2)), p, steps=4000, rate=1 / (r + 2), eps=1e-4, rng=seed,
        stop=lambda s, loss: loss < 0.5 * tol,
    )  # fmt: skip
    return run.log.steps


def test_steps_grow_with_the_effective_rank_and_not_with_the_dimension() -> None:
    """H with r eigenvalues 1, the rest 0: the mean of f falls by 1 - 1 / (r + 2) a step, whatever d is."""
    mean = {(r, d): np.mean([steps_to(1e-3, r, d, s) for s in range(3)]) for r in (4, 32) for d in (40, 640)}
    for r in (4, 32):
        assert 0.7 < mean[r, 640] / mean[r, 40] < 1.4, mean
        assert mean[r, 640] < np.log(1e3) * (r + 2) * 1.2, mean
    slope = np.log(mean[32, 640] / mean[4, 640]) / np.log(34 / 6)
    assert 0.8 < slope < 1.25, slope


def test_updates_below_the_grid_are_right_in_the_mean() -> None:
    """Each of 400 steps is 1/50 of the spacing, which rounding to nearest would lose."""
    p = [np.full(2000, 0.75, np.float32)]
    arrays, source = trained_arrays(p, "refuse")
    weights = Weights(arrays, source, 1e-3, "full")
    weights.to_grid()
    for k in range(400):
        weights.update([Direction(k, k)], [0.0], 2.0**-24 / 50 / 0.75, k)
    moved = (0.75 - p[0].astype(float)) / 2.0**-24
    assert np.all(moved == np.round(moved))
    assert abs(np.mean(moved) - 8) < 0.3
    assert 1.5 < np.std(moved) < 4.5  # binomial: (400 x 0.02 x 0.98)^{1/2} = 2.8


def test_weights_that_grow_take_their_grid_along() -> None:
    p = [np.full(4, 1e-3, np.float32)]
    run = mezo(lambda p, s: -float(np.sum(p[0])), p, steps=200, rate=0.5, eps=1e-3)
    assert np.all(p[0] > 10)
    assert same(replay([np.full(4, 1e-3, np.float32)], run.log), p)


def test_moves_stay_exact_when_weights_have_grown() -> None:
    """They grow a thousand times; the small ones are brought to the grid of the largest."""
    p = [np.exp(np.random.default_rng(0).uniform(-2, 2, 2000)).astype(np.float32)]
    arrays, source = trained_arrays(p, "refuse")
    weights = Weights(arrays, source, 1.0, "full")
    weights.to_grid()
    weights.update([Direction(1, 1)], [0.0], -1000.0, 1)
    assert 5000 < np.max(np.abs(p[0])) < 8000
    assert np.min(np.abs(p[0])) < 300
    assert np.all(p[0] / weights.spacing[0] % 1 == 0)
    rounded = copies(p)
    for k in range(20):
        for to in (1, -1, 0):
            weights.move(Direction(k, k), to)
        assert same(p, rounded)


def test_uses_of_a_seed_are_independent() -> None:
    source = NumpySource()
    pairs = ((1, DIRECTION), (1, BASIS), (1, ROUNDING), (1 + 2**40, DIRECTION))
    for (s, a), (t, b) in itertools.combinations(pairs, 2):
        x, y = (source.numbers(seed, use).normal(20000, np.float32) for seed, use in ((s, a), (t, b)))
        assert abs(np.mean(x * y)) < 0.04
    assert np.all(source.numbers(1, 0).uniform(10000, np.float32) < 1)


def test_v_is_kept_for_some_steps() -> None:
    p = [np.zeros((6, 5))]
    seen = [p[0].copy()]

    def keep(step: int, loss: float) -> bool:
        seen.append(p[0].copy())
        return False

    mezo(lambda p, s: float(np.sum(p[0] + 1)), p, steps=6, rate=1e-2, eps=0.1, projection=1, keep=3, stop=keep)
    rows = [(b - a)[np.argmax(np.abs(b - a).sum(1))] for a, b in itertools.pairwise(seen)]
    rows = [row / np.linalg.norm(row) for row in rows]
    along = np.abs([a @ b for a, b in itertools.pairwise(rows)])
    np.testing.assert_allclose(along[[0, 1, 3, 4]], 1, atol=1e-9)
    assert along[2] < 0.999


def test_no_array_is_ever_there_twice() -> None:
    p = [np.zeros((500, 2000), np.float32), np.zeros(10**6, np.float32)]
    for options in ({"directions": 2}, {"projection": 2}):
        first = copies(p)
        tracemalloc.start()
        run = mezo(lambda p, s: float(p[0][0, 0]), p, steps=1, rate=1e-3, eps=1e-3, weight_decay=0.1, **options)
        replay(first, run.log)
        assert tracemalloc.get_traced_memory()[1] < p[0].nbytes / 2
        tracemalloc.stop()


def test_half_precision_is_refused_or_copied() -> None:
    p = [a.astype(np.float16) for a in start()]
    with pytest.raises(ValueError, match=r"parameter 0 is float16.*half='copy'"):
        mezo(far, p, steps=1, rate=1e-4, eps=1e-3)
    run = mezo(far, p, steps=60, rate=2e-4, eps=1e-2, half="copy")
    assert all(a.dtype == np.float16 for a in p)
    assert same(replay([a.astype(np.float16) for a in start()], run.log), p)
    assert far(p, 0) < 0.985 * far(start(), 0)
    with pytest.raises(ValueError, match="half must be"):
        mezo(far, p, steps=1, rate=1e-4, eps=1e-3, half="keep")  # type: ignore[arg-type]
    # no drift: with a constant loss the weights stay as they are, bit for bit
    q = [a.astype(np.float16) for a in start()]
    with pytest.warns(MezoWarning, match="exactly zero"):
        mezo(lambda p, s: 1.0, q, steps=100, rate=1e-4, eps=1e-3, half="copy")
    assert same(q, [a.astype(np.float16) for a in start()])


def test_a_stopped_loss_leaves_the_weights_of_the_last_whole_step() -> None:
    for fails, error in (
        (lambda: float("nan"), ValueError),
        (lambda: "x", TypeError),
        (lambda: 1 / 0, ZeroDivisionError),
    ):
        p, calls = start(), []

        def loss(p: list[np.ndarray], step: int, fails: object = fails, calls: list[int] = calls) -> float:
            calls.append(step)
            return fails() if len(calls) == 4 * 5 + 3 else far(p, step)  # type: ignore[operator]

        with pytest.raises(error) as caught:
            mezo(loss, p, steps=20, rate=1e-4, eps=1e-3, directions=2)
        if error is not ZeroDivisionError:
            assert "at step 5, direction 1, + eps" in str(caught.value)
        other = start()
        mezo(far, other, steps=20, rate=1e-4, eps=1e-3, directions=2, stop=lambda s, loss: s == 4)
        assert same(p, other)


def test_a_keyboard_interrupt_waits_for_a_whole_update() -> None:
    p = start()
    arrays, source = trained_arrays(p, "refuse")
    weights = Weights(arrays, source, 1e-3, "full")
    weights.to_grid()
    original = weights._write
    before = signal.getsignal(signal.SIGINT)

    def write(*args: object) -> None:
        original(*args)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)

    weights._write = write  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), weights.interrupts:
        weights.update([Direction(1, 1)], [1.0], 0.0, 7)
    other = start()
    arrays, source = trained_arrays(other, "refuse")
    weights = Weights(arrays, source, 1e-3, "full")
    weights.to_grid()
    weights.update([Direction(1, 1)], [1.0], 0.0, 7)
    assert same(p, other)
    assert signal.getsignal(signal.SIGINT) is before


def test_zero_differences_are_reported_and_warned_of() -> None:
    x = np.random.default_rng(0).standard_normal((200, 5))
    y = x @ np.arange(1.0, 6.0) > 0

    def wrong(p: list[np.ndarray], step: int) -> float:
        return float(np.mean((x @ p[0] > 0) != y))

    with pytest.warns(MezoWarning, match="eps=1e-06 must be so large that answers flip"):
        small = mezo(wrong, [np.ones(5)], steps=50, rate=0.1, eps=1e-6)
    assert small.zeros > 0.9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = [np.ones(5)]
        large = mezo(wrong, p, steps=300, rate=0.3, eps=0.2)
    assert large.zeros < 0.3
    assert wrong(p, 0) < 0.5 * wrong([np.ones(5)], 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 0.0}, "eps must be a finite number above"), ({"eps": float("nan")}, "eps must be"),
        ({"eps": 1e-8}, "eps=1e-08 is too small for parameter 0.*Take eps >= "), ({"rate": 0.0}, "rate must be"),
        ({"steps": 0}, "steps must be a positive"), ({"directions": 1.5}, "directions must be"),
        ({"keep": 0}, "keep must"),
        ({"projection": 0}, "projection must be 'full' or"), ({"weight_decay": -1.0}, "weight_decay must"),
        ({"schedule": "step"}, "schedule must be one of constant, linear"),
        ({"schedule": [1.0]}, "schedule must be 3 factors"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(change: dict, message: str) -> None:
    p = start()
    with pytest.raises(ValueError, match=message):
        mezo(far, p, **{"steps": 3, "rate": 1e-4, "eps": 1e-3, **change})
    assert same(p, start())


def test_parameters_that_cannot_be_trained_are_refused() -> None:
    def refused(p: object, error: type, message: str) -> None:
        with pytest.raises(error, match=message):
            mezo(far, p, steps=1, rate=1e-4, eps=1e-3)

    a = np.ones((4, 3), np.float32)
    locked = a.copy()
    locked.flags.writeable = False
    refused([], ValueError, "nothing to train")
    refused(a, TypeError, r"got one array; pass \[array\]")
    refused({"a": a}, TypeError, "got dict")
    refused([a, [1.0]], TypeError, "parameter 1 is of type list")
    refused([a.astype(int)], TypeError, "parameter 0 is int64")
    refused([a, a.astype(complex)], TypeError, "parameter 1 is complex128")
    refused([a.T], ValueError, "parameter 0 is not contiguous")
    refused([locked], ValueError, "parameter 0 is read-only")
    refused([a, a], ValueError, "parameters 0 and 1 share memory")
    refused([a[:2], a[1:]], ValueError, "share memory")
    refused([np.array([1.0, np.nan])], ValueError, "parameter 0 holds NaN")


def test_a_log_that_does_not_fit_is_refused() -> None:
    p = start()
    log = mezo(far, p, steps=3, rate=1e-4, eps=1e-3).log
    for other, message in (
        (start()[:3], "is of 4 parameters, 3 are given"),
        ([start()[0], start()[1][:299].copy(), *start()[2:]], r"parameter 1 is float32 \(300,\), .* float32 \(299,\)"),
        (start(dtype=np.float64), "parameter 0 is float32 .* float64"),
        (start(1), "not those that the run started from"),
        (p, "not those that the run started from"),
    ):
        before = copies(other)
        with pytest.raises(ValueError, match=message):
            replay(other, log)
        assert same(other, before)
    with pytest.raises(ValueError, match="has 3 steps, 4 are asked for"):
        replay(start(), log, steps=4)
    altered = type(log)(log.settings, log.fits, log.seeds, log.gradients + 1)
    with pytest.warns(MezoWarning, match="not those of the run"):
        replay(start(), altered)


def test_a_log_has_16_bytes_a_direction_and_step(tmp_path) -> None:
    for k in (10, 80):
        p = start()
        run = mezo(far, p, steps=k, rate=1e-5, eps=1e-3, directions=2, log=tmp_path / f"{k}.mezo")
        assert run.log.nbytes == len(run.log.entries()) == 16 * 2 * k == (tmp_path / f"{k}.mezo").stat().st_size
        save_mezo_log(run.log, tmp_path / f"{k}.npz")
        assert (tmp_path / f"{k}.npz").stat().st_size <= 16 * 2 * k + 2500
        for file in (f"{k}.mezo", f"{k}.npz"):
            assert same(replay(start(), tmp_path / file), p)
        loaded = load_mezo_log(tmp_path / f"{k}.npz")
        assert loaded.settings == run.log.settings
        assert loaded.fits == run.log.fits
        assert loaded.entries() == run.log.entries()
        assert loaded.steps == k
        assert loaded.rates.shape == (k,)


def test_the_examples_of_the_docstrings_hold() -> None:
    for module in (zeroth_order, zeroth_order_spsa):
        found = doctest.testmod(module)
        assert found.attempted
        assert not found.failed
