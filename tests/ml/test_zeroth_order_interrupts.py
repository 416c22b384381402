"""Zeroth-order runs that end between the lines of a step: a full disk, Ctrl-C; what a crash leaves of a log."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import numpy as np
import pytest

from ml.tuning.zeroth_order import mezo, replay
from ml.tuning.zeroth_order_files import GrowingLog, read_log
from ml.tuning.zeroth_order_spsa import spsa
from ml.tuning.zeroth_order_weights import Weights

SETTINGS = {"steps": 10, "rate": 1e-3, "eps": 1e-3, "directions": 2, "weight_decay": 0.1}


@pytest.fixture(autouse=True)
def pythons_handler() -> Iterator[None]:
    """Interrupts are Python's, also in a process that was started in the background, where they are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start() -> list[np.ndarray]:
    return [np.random.default_rng(0).standard_normal((6, 50)).astype(np.float32), np.zeros(9)]


def loss(p: list[np.ndarray], step: int) -> float:
    return float(sum(np.sum((a.astype(float) - 0.1) ** 2) for a in p))


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def after(steps: int) -> list[np.ndarray]:
    p = start()
    mezo(loss, p, **SETTINGS, stop=lambda s, value: s == steps - 1)
    return p


def test_a_log_that_cannot_be_written_leaves_the_weights_of_the_last_step(tmp_path, monkeypatch) -> None:
    append, calls = GrowingLog.append, []

    def full(self, *entry: np.ndarray) -> None:
        calls.append(entry)
        if len(calls) == 4:
            raise OSError("no space left")
        append(self, *entry)

    monkeypatch.setattr(GrowingLog, "append", full)
    p = start()
    with pytest.raises(OSError, match="no space"):
        mezo(loss, p, **SETTINGS, log=tmp_path / "a.mezo")
    assert same(p, after(3))
    assert read_log(tmp_path / "a.mezo").steps == 3


@pytest.mark.parametrize(
    ("owner", "name"), [(GrowingLog, "append"), (Weights, "update"), (Weights, "move"), (Weights, "_update_piece")]
)
def test_an_interrupt_at_any_line_leaves_whole_steps(tmp_path, monkeypatch, owner, name) -> None:
    original, calls = getattr(owner, name), []

    def interrupting(self, *args, **kwargs):
        calls.append(0)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return original(self, *args, **kwargs)

    p = start()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupting)
        with pytest.raises(KeyboardInterrupt):
            mezo(loss, p, **SETTINGS, log=tmp_path / "a.mezo")
    known = read_log(tmp_path / "a.mezo").steps
    assert any(same(p, replay(start(), tmp_path / "a.mezo", steps=k)) for k in (known - 1, known) if k >= 0)
    p = start()
    mezo(loss, p, **SETTINGS, log=tmp_path / "a.mezo")
    assert same(p, after(10))


def test_zeros_behind_a_log_are_no_steps(tmp_path) -> None:
    mezo(loss, start(), **SETTINGS, log=tmp_path / "a.mezo", stop=lambda s, value: s == 4)
    with open(tmp_path / "a.mezo", "ab") as file:
        file.write(bytes(3 * 32))
    assert read_log(tmp_path / "a.mezo").steps == 5
    assert same(replay(start(), tmp_path / "a.mezo"), after(5))


def test_bounds_that_are_nan_are_refused_in_either_form() -> None:
    from scipy.optimize import Bounds

    for bounds in (Bounds([np.nan], [1.0]), [(0.0, np.nan)]):
        with pytest.raises(ValueError, match="bounds must not be NaN"):
            spsa(lambda x: np.zeros(len(x)), [0.5], bounds, steps=3)
