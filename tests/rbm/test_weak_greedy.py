"""The weak greedy loop, with a surrogate that has nothing to do with reduced bases."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from rbm import weak_greedy as module
from rbm.weak_greedy import StoppingRule, Worst, weak_greedy

POINTS = np.linspace(0, 1, 101)


class Nearest:
    """Function values by the nearest centre: worst at the point that is farthest from all centres."""

    def __init__(self) -> None:
        self.centres: list[float] = []

    @property
    def size(self) -> int:
        return len(self.centres)

    def distances(self) -> np.ndarray:
        return np.abs(POINTS[:, None] - np.array([self.centres])).min(axis=1, initial=2.0)

    def evaluate(self) -> Worst:
        point = int(np.argmax(self.distances()))
        return Worst(point, float(self.distances()[point]), resolved=self.size < 20)

    def extend(self, point: int) -> bool:
        new = float(POINTS[point]) not in self.centres
        self.centres += [float(POINTS[point])] * new
        return new


def test_it_extends_at_the_worst_point_until_the_tolerance() -> None:
    surrogate = Nearest()
    stop, worst = weak_greedy(surrogate, StoppingRule(0.26, 50), "centres")
    assert surrogate.centres == [0.0, 1.0, 0.5]
    assert (stop, worst.point, worst.value) == ("tolerance", 25, 0.25)


@pytest.mark.parametrize(
    ("rule", "size", "expected"),
    [
        (StoppingRule(0.0, 4), 4, "limit"),
        (StoppingRule(0.0, 200), 20, "unresolved"),
        (StoppingRule(5.0, 200), 0, "tolerance"),
        (StoppingRule(5.0, 200, least=1), 1, "tolerance"),
        (StoppingRule(0.26, 3), 3, "tolerance"),  # asked before the limit
    ],
)
def test_why_it_stops(rule: StoppingRule, size: int, expected: str) -> None:
    surrogate = Nearest()
    assert weak_greedy(surrogate, rule, "centres")[0] == expected
    assert surrogate.size == size


def test_it_stops_where_an_extension_adds_nothing_and_goes_on_from_what_is_there() -> None:
    class Forgetful(Nearest):
        def distances(self) -> np.ndarray:
            return np.abs(POINTS - 0.3) if self.size > 2 else super().distances()

    surrogate = Forgetful()
    assert weak_greedy(surrogate, StoppingRule(0.0, 2), "centres")[0] == "limit"
    sizes: list[int] = []
    stop, worst = weak_greedy(surrogate, StoppingRule(0.0, 9), "centres", after=lambda: sizes.append(surrogate.size))
    assert (stop, POINTS[worst.point]) == ("exhausted", 1.0)
    assert sizes == [3]


def test_the_bar_counts_extensions_and_shows_the_worst_value(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    class Bar:
        n = 0

        def __init__(self, items: object, text: str, *, enabled: bool, total: int | None) -> None:
            seen.append((text, enabled, total))

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *error: object) -> None:
            seen.append("closed")

        def update(self, steps: int) -> None:
            self.n += steps

        def set_postfix_str(self, text: str) -> None:
            seen.append((self.n, text))

    monkeypatch.setattr(module, "progress_bar", Bar)
    weak_greedy(Nearest(), StoppingRule(0.6, 9), "centres", shown="{:.2f}".format, total=9, progress=True)
    assert seen == [("centres", True, 9), (0, "2.00"), (1, "1.00"), (2, "0.50"), "closed"]


def test_errors_and_interrupts_come_through_and_leave_what_was_added() -> None:
    class Stopped(Nearest):
        def extend(self, point: int) -> bool:
            if self.size == 2:
                raise KeyboardInterrupt
            return super().extend(point)

    surrogate = Stopped()
    with pytest.raises(KeyboardInterrupt):
        weak_greedy(surrogate, StoppingRule(0.0, 9), "centres")
    assert surrogate.centres == [0.0, 1.0]


def test_it_is_a_low_floor() -> None:
    """Stability bounds use it, under the full-order model."""
    tree = ast.parse(Path(str(module.__file__)).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("rbm")} <= {"rbm.errors"}


def test_a_value_that_equals_the_tolerance_is_reached() -> None:
    """With tol = 0, a surrogate that is exact must not be extended."""
    rule = StoppingRule(0.0, 9)
    assert rule(1, Worst(0, 0.0)) == "tolerance"
    assert rule(1, Worst(0, 5e-324)) is None


class PodGreedy:
    """Bases for heat in a rod, u_t = mu u_xx from a hat, in time steps: the worst trajectory gives its first mode."""

    def __init__(self) -> None:
        n, self.steps = 30, 40
        self.stiffness = (n + 1) ** 2 * (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
        self.start = 1 - np.abs(np.linspace(-1, 1, n + 2)[1:-1])
        self.training = np.geomspace(0.1, 10, 12)
        self.basis = np.zeros((n, 0))

    @property
    def size(self) -> int:
        return self.basis.shape[1]

    def errors(self, mu: float) -> np.ndarray:
        """What the basis misses of a trajectory (n, steps)."""
        march = np.linalg.inv(np.eye(len(self.start)) + 1e-3 * mu * self.stiffness)
        trajectory = [self.start]
        for _ in range(self.steps - 1):
            trajectory.append(march @ trajectory[-1])
        states = np.stack(trajectory, axis=1)
        return states - self.basis @ (self.basis.T @ states)

    def evaluate(self) -> Worst:
        missed = [float(np.linalg.norm(self.errors(mu))) for mu in self.training]
        return Worst(int(np.argmax(missed)), max(missed))

    def extend(self, point: int) -> bool:
        mode = np.linalg.svd(self.errors(self.training[point]))[0][:, :1]
        self.basis = np.linalg.qr(np.hstack([self.basis, mode]))[0]
        return True


def test_a_march_in_time_goes_through_the_same_loop() -> None:
    """A trajectory per point, and another rule for what is added, need no other loop."""
    surrogate = PodGreedy()
    stop, worst = weak_greedy(surrogate, StoppingRule(1e-6, 29), "modes")
    assert stop == "tolerance"
    assert 5 <= surrogate.size <= 20
    assert worst.value <= 1e-6
