"""A simulated robot that walks: dm_control's quadruped, 12 joints, 50 commands a second.

The package dm_control, with MuJoCo below version 4, is imported when a robot is made. Nothing is drawn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.chunks.gaits import BOUNDS, CONTROL_SECONDS, Gait

__all__ = ["INSTALL", "Quadruped", "Tuning", "tune_gait"]

INSTALL = "dm_control==1.0.50 'mujoco<4'"
#: Ticks on the ground before a walk begins.
SETTLING = 25
#: Steps of the simulation in a tick.
STEPS = 4


class Quadruped:
    """The robot of the task quadruped-walk, put on its feet: what it is told, tick by tick, and how far it comes.

    A seed gives the direction in which it stands, and its joints and their speeds a little out of place (0.1 rad, 0.1
    rad/s). It has half a second to settle. (The task itself begins in any position, upside down too.)

    Raises ImportError, with the line that installs it, without dm_control.
    """

    def __init__(self) -> None:
        os.environ.setdefault("MUJOCO_GL", "disabled")  # it is read on import; no window is wanted
        suite = require("dm_control.suite", INSTALL, "the walking robot")
        environment = suite.load("quadruped", "walk", task_kwargs={"random": 0})
        environment.reset()
        self._physics = environment.physics

    def place(self, seed: int) -> None:
        """Put the robot on its feet and let it settle."""
        rng = np.random.default_rng(seed)
        angle = rng.uniform(-np.pi, np.pi)
        data = self._physics.data
        with self._physics.reset_context():
            root = self._physics.named.data.qpos["root"]
            root[:3] = 0, 0, 0.6
            root[3:] = np.cos(angle / 2), 0, 0, np.sin(angle / 2)
            data.qpos[7:] += 0.1 * rng.standard_normal(len(data.qpos) - 7)
            data.qvel[:] = 0.1 * rng.standard_normal(len(data.qvel))
        for _ in range(SETTLING):
            self.tick(np.zeros(12))

    def tick(self, command: np.ndarray) -> None:
        """Tell the joints what to do, for 0.02 s."""
        self._physics.set_control(command)
        self._physics.step(STEPS)

    def observe(self) -> np.ndarray:
        """Return position (3,), of the torso, and its forward direction (3,) on the ground."""
        named = self._physics.named.data
        return np.concatenate([named.xpos["torso"], named.xmat["torso"].reshape(3, 3)[:, 0]])

    def distance(self, command: Callable[[int], np.ndarray], ticks: int, seed: int) -> float:
        """Return how far the robot comes in its first direction, in metres.

        command : function of the tick, -> (12,)
        """
        self.place(seed)
        began = self.observe()
        for tick in range(ticks):
            self.tick(command(tick))
        direction = began[3:5] / np.linalg.norm(began[3:5])
        return float((self.observe()[:2] - began[:2]) @ direction)


@dataclass(frozen=True)
class Tuning:
    """Result of :func:`tune_gait`."""

    gait: Gait
    distance: float  #: mean of the best quarter in the last round, in metres
    history: tuple[float, ...]  #: mean of the best quarter in each round
    walks: int  #: that were simulated


def tune_gait(
    robot: Quadruped,
    legs: Sequence[float],
    *,
    rng: Any = 0,
    rounds: int = 14,
    population: int = 24,
    seconds: float = 5.0,
    say: Callable[[str], None] | None = None,
) -> Tuning:
    """Return a gait that takes the robot far, straight ahead: the cross-entropy method.

    Each round draws gaits from a normal distribution of parameters, lets each walk from two starts, and moves the
    distribution to mean and deviation of the quarter that came farthest. The turn stays zero.

    Parameters
    ----------
    robot : a simulator
    legs : phases of the legs (4,), in turns, which are not tuned
    rng : seed or generator
    rounds, population : of the method; rounds x population x 2 walks of `seconds`
    say : is told how it goes
    """
    generator = np.random.default_rng(rng)
    ticks = round(seconds / CONTROL_SECONDS)
    times = CONTROL_SECONDS * np.arange(ticks)
    width = BOUNDS[1] - BOUNDS[0]
    mean, deviation, history = Gait().vector(), width / 4, []
    for r in range(rounds):
        deviation[-1] = 0.0
        drawn = np.clip(mean + deviation * generator.standard_normal((population, len(mean))), *BOUNDS)
        far = []
        for x in drawn:
            commands = Gait.from_vector(x, legs).commands(times)
            far.append(np.mean([robot.distance(commands.__getitem__, ticks, 10_000 + 2 * r + s) for s in (0, 1)]))
        best = np.argsort(far)[::-1][: max(2, population // 4)]
        mean = drawn[best].mean(axis=0)
        deviation = drawn[best].std(axis=0) + 0.02 * 0.9**r * width
        history.append(float(np.mean(np.array(far)[best])))
        if say is not None:
            say(f"round {r + 1} of {rounds}: the best quarter came {history[-1]:.2f} m in {seconds:g} s")
    return Tuning(Gait.from_vector(mean, legs), history[-1], tuple(history), 2 * rounds * population)
