"""Logs of zeroth-order runs in files: going on after an interruption, damaged tails, logs of other runs."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from lowrank.reading import FileFormatError
from ml.tuning.zeroth_order import mezo, replay
from ml.tuning.zeroth_order_files import load_mezo_log, read_log, save_mezo_log

SETTINGS = {
    "steps": 30,
    "rate": 1e-3,
    "eps": 1e-3,
    "directions": 2,
    "weight_decay": 0.1,
    "schedule": "linear",
    "rng": 4,
}


def start() -> list[np.ndarray]:
    return [np.random.default_rng(0).standard_normal((6, 50)).astype(np.float32), np.zeros(9)]


def loss(p: list[np.ndarray], step: int) -> float:
    return float(sum(np.sum((a.astype(float) - 0.1 * (step % 3)) ** 2) for a in p))


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def interrupted(path, calls: int, **options) -> None:
    """Run until a call of the loss raises KeyboardInterrupt."""
    count = []

    def until(p: list[np.ndarray], step: int) -> float:
        count.append(step)
        if len(count) > calls:
            raise KeyboardInterrupt
        return loss(p, step)

    with pytest.raises(KeyboardInterrupt):
        mezo(until, start(), **SETTINGS, **options, log=path)


@pytest.mark.parametrize("options", [{}, {"projection": 1, "keep": 4}], ids=["full", "low rank"])
def test_a_run_that_was_interrupted_goes_on_with_the_same_result(tmp_path, options) -> None:
    whole = start()
    one = mezo(loss, whole, **SETTINGS, **options, log=tmp_path / "one.mezo")
    interrupted(tmp_path / "two.mezo", 4 * 7 + 3, **options)
    assert (tmp_path / "two.mezo").stat().st_size == 16 * 2 * 7
    interrupted(tmp_path / "two.mezo", 4 * 5, **options)
    p, asked = start(), []
    two = mezo(lambda p, s: (asked.append(s), loss(p, s))[1], p, **SETTINGS, **options, log=tmp_path / "two.mezo")
    assert two.first_step == 12
    assert sorted(set(asked)) == list(range(12, 30))
    assert two.losses.shape == (18,)
    assert two.evaluations == len(asked) == 4 * 18
    assert same(p, whole)
    for suffix in ("mezo", "mezo.json"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()
    assert one.log.entries() == two.log.entries()
    # a run that is done evaluates nothing
    p = start()
    assert mezo(lambda p, s: 1 / 0, p, **SETTINGS, **options, log=tmp_path / "two.mezo").evaluations == 0
    assert same(p, whole)


@pytest.mark.parametrize("damage", ["cut inside an entry", "cut inside a step", "zeros", "another seed", "NaN", "more"])
def test_a_damaged_tail_is_cut_off(tmp_path, damage) -> None:
    whole = start()
    mezo(loss, whole, **SETTINGS, log=tmp_path / "a.mezo")
    content = bytearray((tmp_path / "a.mezo").read_bytes())
    here = 32 * 20
    if damage.startswith("cut"):
        content = content[: here + (5 if "entry" in damage else 16)]
    elif damage == "zeros":
        content[here:] = bytes(len(content) - here)
    elif damage == "another seed":
        content[here] ^= 1
    elif damage == "NaN":
        content[here + 8 : here + 16] = struct.pack("<d", float("nan"))
    else:
        here, content = 32 * 30, content + b"x" * 64
    (tmp_path / "a.mezo").write_bytes(content)
    p = start()
    run = mezo(loss, p, **SETTINGS, log=tmp_path / "a.mezo")
    assert run.first_step == here // 32
    assert same(p, whole)
    assert (tmp_path / "a.mezo").stat().st_size == 32 * 30


def test_the_log_of_a_run_that_goes_on_can_be_replayed(tmp_path) -> None:
    interrupted(tmp_path / "a.mezo", 4 * 7 + 3)
    with open(tmp_path / "a.mezo", "ab") as file:
        file.write(b"part")
    p, q = start(), start()
    mezo(loss, q, **SETTINGS, stop=lambda s, value: s == 6)
    assert same(replay(p, tmp_path / "a.mezo"), q)
    assert read_log(tmp_path / "a.mezo").steps == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [({"rate": 2e-3}, "its rate is 0.001, here it is 0.002"), ({"steps": 31}, "its steps is 30"),
     ({"schedule": [1.0] * 30}, "its schedule is 'linear', here it is"), ({"projection": 3}, "projection")],
)  # fmt: skip
def test_the_log_of_another_run_is_refused_and_kept(tmp_path, change, message) -> None:
    path = tmp_path / "a.mezo"
    mezo(loss, start(), **SETTINGS, log=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"is the log of another run: .*{message}"):
        mezo(loss, start(), **{**SETTINGS, **change}, log=path)
    other = start()
    other[1] += 0.1
    before_other = [a.copy() for a in other]
    with pytest.raises(ValueError, match="another run: its start is"):
        mezo(loss, other, **SETTINGS, log=path)
    assert same(other, before_other)
    assert path.read_bytes() == before


def test_another_rng_starts_anew_only_in_another_file(tmp_path) -> None:
    """The seeds of the file are not those of the run: nothing of it is right, and it would be cut to nothing."""
    path = tmp_path / "a.mezo"
    mezo(loss, start(), **SETTINGS, log=path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="another rng"):
        mezo(loss, start(), **{**SETTINGS, "rng": 5}, log=path)
    assert path.read_bytes() == before


def test_files_that_are_no_logs_are_refused(tmp_path) -> None:
    run = mezo(loss, start(), **SETTINGS, log=tmp_path / "a.mezo")
    (tmp_path / "b.mezo").write_bytes(b"x" * 64)
    with pytest.raises(FileFormatError, match=r"has no b\.mezo\.json beside it"):
        mezo(loss, start(), **SETTINGS, log=tmp_path / "b.mezo")
    (tmp_path / "b.mezo.json").write_text("{")
    with pytest.raises(FileFormatError):
        mezo(loss, start(), **SETTINGS, log=tmp_path / "b.mezo")
    header = json.loads((tmp_path / "a.mezo.json").read_text())
    for change in ({"version": 2}, {"settings": {}}, {"fits": {**header["fits"], "shapes": [[1]]}}, {"fits": 3}):
        (tmp_path / "b.mezo.json").write_text(json.dumps({**header, **change}))
        with pytest.raises(FileFormatError, match=r"b\.mezo"):
            replay(start(), tmp_path / "b.mezo")
    with pytest.raises(ValueError, match=r"is no \.npz file"):
        mezo(loss, start(), **SETTINGS, log=tmp_path / "c.npz")
    with pytest.raises(ValueError, match="must end in"):
        save_mezo_log(run.log, tmp_path / "c.mezo")
    with pytest.raises(FileNotFoundError):
        replay(start(), tmp_path / "missing.mezo")
    save_mezo_log(run.log, tmp_path / "c.npz")
    content = (tmp_path / "c.npz").read_bytes()
    at = content.index(run.log.entries()) + 8
    for bad in (content[:-9], content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :], b""):
        (tmp_path / "d.npz").write_bytes(bad)
        with pytest.raises(FileFormatError, match=r"d\.npz"):
            load_mezo_log(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", a=np.ones(3))
    with pytest.raises(FileFormatError, match="it holds other arrays"):
        load_mezo_log(tmp_path / "d.npz")


def test_safetensors_hold_a_log_too(tmp_path) -> None:
    pytest.importorskip("safetensors")
    p = start()
    run = mezo(loss, p, **SETTINGS)
    save_mezo_log(run.log, tmp_path / "a.safetensors")
    assert same(replay(start(), tmp_path / "a.safetensors"), p)
    assert (tmp_path / "a.safetensors").stat().st_size < run.log.nbytes + 2500
