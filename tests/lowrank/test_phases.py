"""Where the time went: phases add up to the whole, and repeated ones are added."""

from __future__ import annotations

import time

import pytest

from lowrank.phases import Phases


def spin(seconds: float) -> None:
    """Use the processor."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_phases_are_measured_and_add_up() -> None:
    start = time.perf_counter()
    phases = Phases()
    for _ in range(2):
        with phases("work"):
            spin(0.05)
    with phases("sleep"):
        time.sleep(0.1)
    spin(0.04)
    rows = {row["phase"]: row for row in phases.rows()}
    assert list(rows) == ["work", "sleep", "everything else"]
    assert 0.1 <= rows["work"]["wall_seconds"] == phases.wall("work")
    assert rows["work"]["cpu_seconds"] > 0.02
    assert rows["sleep"]["wall_seconds"] >= 0.1 > 0.05 > rows["sleep"]["cpu_seconds"]
    assert rows["everything else"]["wall_seconds"] >= 0.04
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1, rel=1e-12)
    assert 0.23 < sum(row["wall_seconds"] for row in rows.values()) <= time.perf_counter() - start


def test_what_fails_is_counted_and_seconds_can_be_moved() -> None:
    phases = Phases()

    def failing() -> None:
        with phases("offline"):
            spin(0.03)
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    whole = phases.wall("offline")
    phases.move("compiling", "offline", 0.01, 0.01)
    assert phases.wall("compiling") == pytest.approx(0.01, rel=1e-12)
    assert phases.wall("offline") == pytest.approx(whole - 0.01, rel=1e-12)


def test_the_table_is_narrow_and_ends_with_all() -> None:
    phases = Phases()
    for k in range(30):
        phases.move(f"case {k}", "", float(k), k / 2)
    lines = phases.table(60).splitlines()
    assert lines[0].split() == ["phase", "wall", "s", "CPU", "s", "share"]
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 60
    assert lines[-1].split() == ["all", "435.00", "217.50", "100%"]
    assert any(line.split()[:2] == ["case", "29"] for line in lines)
    others = next(line for line in lines if "others" in line).split()
    assert float(others[2]) == sum(range(30 - int(len(lines) - 3)))
