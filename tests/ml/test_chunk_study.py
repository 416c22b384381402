"""The study of chunks: cases that are kept, tables, and the robot where its simulator is installed."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT

from ml.chunks import Gait, cases, study
from ml.chunks.gaits import CONTROL_SECONDS, FAMILIES, LIMITS
from ml.chunks.kept_cases import KeptCases
from ml.chunks.quadruped import INSTALL, Quadruped, Steered, Walk, tune_gait
from rbm.command_line.registered import load

TINY = study.Sizes(spreads=(0.1,), resamples=2, gaits=18, held_out=3, trainings=0)


def test_cases_are_kept_by_name_and_settings(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, float]:
        made.append(1)
        return {"value": 0.5, "of": (1, 2)}  # type: ignore[dict-item]

    first = KeptCases(tmp_path / "a.json").case("x", {"n": 3}, make)
    again = KeptCases(tmp_path / "a.json").case("x", {"n": 3}, make)
    assert first == again == {"value": 0.5, "of": [1, 2]}
    assert len(made) == 1
    KeptCases(tmp_path / "a.json").case("x", {"n": 4}, make)
    KeptCases(tmp_path / "a.json").case("y", {"n": 4}, make)
    assert len(made) == 3


def test_two_processes_may_work_on_one_file(tmp_path: Path) -> None:
    first, second = KeptCases(tmp_path / "a.json"), KeptCases(tmp_path / "a.json")
    first.case("x", {}, lambda: 1)
    second.case("y", {}, lambda: 2)
    assert list(KeptCases(tmp_path / "a.json").cases) == ["x", "y"]


def test_a_case_that_fails_leaves_the_others(tmp_path: Path) -> None:
    kept = KeptCases(tmp_path / "a.json")
    kept.case("good", {}, lambda: 1)

    def fail() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.case("bad", {}, fail)
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["good"]


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 3}', '{"a": {"result": 1}}', ""])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"a.json does not hold results of cases; remove it"):
        KeptCases(tmp_path / "a.json")


def test_the_study_is_registered() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["rbm.studies"]
    assert load(EntryPoint("chunks", points["chunks"], "rbm.studies")) is study.run


def test_the_study_has_no_tolerance(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no tolerance, got tol=0\.1"):
        study.run("chunks", tmp_path / "out", 0.1)
    assert not (tmp_path / "out").exists()


def test_the_study_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the simulator: its line is said. What was measured before is not measured again."""
    real, asked = study.importlib.util.find_spec, []
    monkeypatch.setattr(study.importlib.util, "find_spec", lambda n: None if n == "dm_control" else real(n))
    measured = {"residual": 0.1, "pod": 0.2, "pod_lloyd": 0.15}

    def errors(spread: float, seed: int, gaits: int, held_out: int) -> dict:
        asked.append(seed)
        if len(asked) == 2:
            raise KeyboardInterrupt
        found = {m: {str(b): e + 0.01 * seed for b in cases.BITS} for m, e in measured.items()}
        return {**found, "bins": {"8": 0.005, "2": 0.4}}

    times = {"microseconds": {"ours": 12.0}, "equal tokens": 1.0}
    clock: dict = {"report": {"text": "5 Hz"}, "measured": {"model_seconds": 0.18, "ticks": 9, "missed": 0}}
    clock["measured"] |= {"latest_action_ms": 1.0, "median_action_ms": 0.1}
    monkeypatch.setattr(cases, "errors", errors)
    monkeypatch.setattr(cases, "encoder_times", lambda: times)
    monkeypatch.setattr(cases, "clock", lambda: clock)
    with pytest.raises(KeyboardInterrupt):
        study.run("chunks", tmp_path, sizes=TINY)
    summary = study.run("chunks", tmp_path, sizes=TINY)
    assert asked == [0, 1, 1]
    mean, half = summary["errors"]["0.1"]["residual"]["8"]
    assert mean == pytest.approx(0.105)
    assert half == pytest.approx(12.7062 * 0.005, rel=1e-4)  # Student's t with one degree of freedom
    said = capsys.readouterr().out
    assert f"dm_control is not installed; pip install {INSTALL}" in said
    assert "0.1050 +- 0.0635" in said
    assert (tmp_path / "errors.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "summary.json").read_text())["walks"] == {"missing": f"pip install {INSTALL}"}


def test_every_gait_is_tuned_and_walks_as_a_case_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was stopped goes on with the gait it was at; the bound is tuned longer."""
    monkeypatch.setattr(study.importlib.util, "find_spec", lambda n: object() if n == "dm_control" else None)
    sizes = study.Sizes(spreads=(), trainings=0, families=("trot", "bound"), seeds=7)
    tuned, walked = [], []

    def tune(name: str, settings: dict, say: object) -> dict:
        tuned.append((name, settings))
        return {"vector": Gait().vector().tolist()}

    def walks(gaits: dict, name: str, seeds: int, demonstrations: int) -> dict:
        walked.append(name)
        if len(walked) == 2:
            raise KeyboardInterrupt
        assert gaits["bound"].legs == FAMILIES["bound"]
        return {"error_of_fit": 0.1, "methods": {"commands": {"mean": seeds}}}

    monkeypatch.setattr(cases, "encoder_times", dict)
    monkeypatch.setattr(cases, "clock", dict)
    monkeypatch.setattr(cases, "tuned", tune)
    monkeypatch.setattr(cases, "walks", walks)
    with pytest.raises(KeyboardInterrupt):
        study.measure(KeptCases(tmp_path / "a.json"), sizes, lambda text: None)
    summary = study.measure(KeptCases(tmp_path / "a.json"), sizes, lambda text: None)
    assert [name for name, _ in tuned] == ["trot", "bound"]
    assert tuned[0][1] == {"rounds": 14, "population": 24}
    assert tuned[1][1]["penalty"] > 0
    assert walked == ["trot", "bound", "bound"]
    assert summary["walks"] == {"gaits": {n: {"commands": {"mean": 7}} for n in ("trot", "bound")}}


def test_a_penalty_finds_regular_gaits() -> None:
    """A robot that comes 1 m farther with fast gaits, with a deviation of 2 m between its starts."""

    class Robot:
        def walk(self, act: Any, ticks: int, seed: int) -> Walk:
            fast = float(np.ptp(np.stack([act(0.0) for _ in range(ticks)])[:, 1]) > 1.5)
            starts.add(seed)
            return Walk(fast * (1 + 2 * (-1) ** seed), 0.0)

    starts: set[int] = set()
    settings = {"rounds": 4, "population": 12, "seconds": 2.0}
    far = tune_gait(Robot(), FAMILIES["trot"], **settings)  # type: ignore[arg-type]
    assert far.distance == 1
    assert starts == set(range(10_000, 10_008))  # new ones in every round
    regular = tune_gait(Robot(), FAMILIES["trot"], **settings, penalty=1.0, starts=4)  # type: ignore[arg-type]
    assert regular.distance == 0
    assert regular.walks == 4 * 12 * 4


@pytest.mark.slow
def test_tokens_beat_principal_components_at_few_bits_and_two_bit_bins() -> None:
    """On gaits that were not in the fit; a small draw of what benchmarks/chunks.json has at full size."""
    found = cases.errors(0.05, 0, gaits=18, held_out=3)
    for bits in ("8", "16", "24"):
        assert found["residual"][bits] < min(found["pod"][bits], found["pod_lloyd"][bits])
    assert found["residual"]["32"] < 0.5 * found["bins"]["2"]
    # more bits, less error, on gaits unseen; and best levels are not worse than uniform ones by more than the sample
    assert all(a > b for a, b in zip(list(found["pod"].values()), list(found["pod"].values())[1:], strict=False))


def test_intervals_of_ratios_hold_the_ratio() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        b = 5 + rng.standard_normal(20)
        a = 0.9 * b + 0.2 * rng.standard_normal(20)
        ratio, low, high = cases.ratio_interval(a, b, 400)
        assert low < ratio < high
        inside += low <= 0.9 <= high
    assert inside >= 50


def test_the_policy_steers_against_its_angle() -> None:
    policy = Steered(Gait(legs=FAMILIES["trot"]))
    straight, left = policy(0.0, 20), policy(0.3, 20)
    np.testing.assert_array_equal(straight, policy.gait.commands(CONTROL_SECONDS * np.arange(20, 30)))
    swing = np.ptp(left[:, ::3], axis=0) - np.ptp(straight[:, ::3], axis=0)
    assert np.all(swing[[0, 3]] > 0)  # turned to the left: larger steps on the left
    assert np.all(swing[[1, 2]] < 0)
    stream = policy.stream()
    commands = np.stack([stream.step(0.0) for _ in range(30)])
    np.testing.assert_allclose(commands, policy.gait.commands(CONTROL_SECONDS * np.arange(30)), atol=1e-12)
    assert np.all((commands >= LIMITS[0]) & (commands <= LIMITS[1]))


def test_without_the_simulator_the_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "dm_control", None)
    monkeypatch.delitem(__import__("sys").modules, "dm_control.suite", raising=False)
    with pytest.raises(
        ImportError, match=r"the walking robot needs the package dm_control.*pip install dm_control==1.0.50"
    ):
        Quadruped()


def test_the_robot_walks() -> None:
    pytest.importorskip("dm_control", reason=f"the robot needs its simulator: pip install {INSTALL}")
    robot = Quadruped()
    policy = Steered(Gait(1.5, (0.7, 0.6, 0.2), legs=FAMILIES["trot"]))
    first = robot.walk(policy.stream().step, 60, 0)
    again = robot.walk(policy.stream().step, 60, 0)
    assert first == again
    assert robot.walk(policy.stream().step, 60, 1) != first
    assert abs(robot.walk(lambda angle: np.zeros(12), 60, 0).distance) < 0.1
    found = tune_gait(robot, FAMILIES["trot"], rounds=3, population=8, seconds=2.0)
    assert found.history[-1] > found.history[0]
    assert found.walks == 48
