"""A simulated robot that walks: dm_control's quadruped, 12 joints, 50 commands a second.

The package dm_control, with MuJoCo below version 4, is imported when a robot is made. Nothing is drawn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lowrank.optional import require
from ml.chunks.gaits import BOUNDS, CONTROL_SECONDS, Gait
from ml.chunks.stream import ActionStream

__all__ = ["INSTALL", "Quadruped", "Steered", "Tuning", "Walk", "tune_gait"]

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
        """Return the place of the torso on the ground (2,), and its forward direction there (2,), of length 1."""
        named = self._physics.named.data
        forward = named.xmat["torso"].reshape(3, 3)[:2, 0]
        return np.concatenate([named.xpos["torso"][:2], forward / np.linalg.norm(forward)])

    def walk(self, act: Callable[[float], np.ndarray], ticks: int, seed: int) -> Walk:
        """Return how far a policy takes the robot.

        act : from the angle (radians) by which the robot has turned to the left of its first direction, to a command
            (12,)
        """
        self.place(seed)
        began = seen = self.observe()
        for _ in range(ticks):
            self.tick(act(_angle(began, seen)))
            seen = self.observe()
        return Walk(float((seen[:2] - began[:2]) @ began[2:]), _angle(began, seen))


@dataclass(frozen=True)
class Walk:
    """Result of :meth:`Quadruped.walk`."""

    distance: float  #: in the first direction, metres
    turned: float  #: to the left of it at the end, radians


def _angle(began: np.ndarray, seen: np.ndarray) -> float:
    (a, b), (c, d) = began[2:], seen[2:]
    return float(np.arctan2(a * d - b * c, a * c + b * d))


@dataclass(frozen=True)
class Steered:
    """A policy that walks straight on: chunks of a gait, with a turn against the angle that is observed."""

    gait: Gait
    chunk: int = 10
    gain: float = 0.3  #: turn per radian
    most: float = 0.15  #: largest turn

    def __call__(self, angle: float, tick: int) -> np.ndarray:
        """Return the commands (H, 12) from a tick on."""
        turn = float(np.clip(-self.gain * angle, -self.most, self.most))
        times = CONTROL_SECONDS * (tick + np.arange(self.chunk))
        return replace(self.gait, turn=turn).commands(times)

    def stream(self, code: Callable[[np.ndarray], np.ndarray] | None = None) -> ActionStream:
        """Return the stream of its commands, asked one chunk ahead; `code` : what is done to each chunk (H, 12)."""
        decode = (lambda chunk: chunk) if code is None else code
        return ActionStream(decode, self, chunk=self.chunk, ahead=self.chunk)


@dataclass(frozen=True)
class Tuning:
    """Result of :func:`tune_gait`."""

    gait: Gait
    distance: float  #: mean of the best quarter in the last round, in metres
    history: tuple[float, ...]  #: mean of the best quarter in each round, without penalty
    walks: int  #: that were simulated


def tune_gait(
    robot: Quadruped,
    legs: Sequence[float],
    *,
    rng: Any = 0,
    rounds: int = 14,
    population: int = 24,
    seconds: float = 5.0,
    starts: int = 2,
    penalty: float = 0.0,
    say: Callable[[str], None] | None = None,
) -> Tuning:
    """Return a gait that takes the robot far, straight ahead: the cross-entropy method.

    Each round draws gaits from a normal distribution of parameters, lets each walk from some starts, and moves the
    distribution to mean and deviation of the best quarter: those with the largest mean distance less `penalty` times
    its deviation between the starts. The robot steers (:class:`Steered`).

    Parameters
    ----------
    robot : a simulator
    legs : phases of the legs (4,), in turns, which are not tuned
    rng : seed or generator
    rounds, population, starts : of the method; rounds x population x starts walks of `seconds`, from starts that no
        round has seen before
    penalty : 0 takes gaits that come far on average, more takes regular ones
    say : is told how it goes
    """
    generator = np.random.default_rng(rng)
    ticks = round(seconds / CONTROL_SECONDS)
    width = BOUNDS[1] - BOUNDS[0]
    mean, deviation, history = Gait().vector(), width / 4, []
    for r in range(rounds):
        deviation[-1] = 0.0
        drawn = np.clip(mean + deviation * generator.standard_normal((population, len(mean))), *BOUNDS)
        far = []
        for x in drawn:
            policy = Steered(Gait.from_vector(x, legs))
            seeds = range(10_000 + starts * r, 10_000 + starts * (r + 1))
            far.append([robot.walk(policy.stream().step, ticks, seed).distance for seed in seeds])
        score = np.mean(far, axis=1) - penalty * np.std(far, axis=1)
        best = np.argsort(score)[::-1][: max(2, population // 4)]
        mean = drawn[best].mean(axis=0)
        deviation = drawn[best].std(axis=0) + 0.02 * 0.9**r * width
        history.append(float(np.mean(np.array(far)[best])))
        if say is not None:
            say(f"round {r + 1} of {rounds}: the best quarter came {history[-1]:.2f} m in {seconds:g} s")
    return Tuning(Gait.from_vector(mean, legs), history[-1], tuple(history), starts * rounds * population)
