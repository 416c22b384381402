"""Gaits of a walking robot as commands of its joints: twelve waves, four legs with three joints each.

They are the material of the study of chunks: made by a formula, in the space of commands of dm_control's quadruped (12
actuators, 50 commands a second), whether or not that simulator is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowrank.limits import at_least

__all__ = ["CONTROL_SECONDS", "FAMILIES", "LIMITS", "Gait", "varied_gaits"]

#: Seconds between two commands.
CONTROL_SECONDS = 0.02
#: Of each actuator, legs in the order front left, front right, back right, back left; yaw, lift, extend of each.
LIMITS = np.array([[-1.0, -1.0, -0.8] * 4, [1.0, 1.1, 0.8] * 4])
#: Phases of the legs in turns, in the order of :data:`LIMITS`.
FAMILIES = {
    "trot": (0.0, 0.5, 0.0, 0.5),
    "walk": (0.0, 0.5, 0.25, 0.75),
    "pace": (0.0, 0.5, 0.5, 0.0),
    "bound": (0.0, 0.0, 0.5, 0.5),
    "gallop": (0.0, 0.15, 0.65, 0.5),
    "pronk": (0.0, 0.0, 0.0, 0.0),
}
#: The yaw that takes a foot forward is negative on the left and positive on the right.
FORWARD = np.array([-1.0, 1.0, 1.0, -1.0])
#: Least and largest value of each parameter of a gait, in the order of :meth:`Gait.vector`.
BOUNDS = np.array(
    [
        (0.6, 3.0),  # frequency
        *((0.1, 1.0), (0.1, 1.2), (0.0, 0.9)),  # amplitudes
        *((-0.3, 0.3), (-0.5, 0.5), (-0.5, 0.5)),  # offsets
        *((-0.5, 0.5), (-0.5, 0.5)),  # phases of lift and extend
        (-0.4, 0.4),  # second harmonic of the lift
        (-0.3, 0.3),  # turn
    ]
).T


@dataclass(frozen=True)
class Gait:
    """A periodic walk; :meth:`commands` gives what the joints are told at given times.

    With f the frequency in Hz and phi_leg the phase of a leg, tau = f t + phi_leg turns, the commands of a leg are

        yaw = +-(o_1 + a_1 (1 +- turn) cos 2 pi tau),
        lift = o_2 + a_2 cos 2 pi (tau + s_2) + h cos 4 pi (tau + s_2),
        extend = o_3 + a_3 cos 2 pi (tau + s_3),

    each kept within the range of its actuator, as the robot would do itself.
    """

    frequency: float = 1.2
    amplitudes: tuple[float, float, float] = (0.6, 0.6, 0.2)  #: a, of yaw, lift and extend
    offsets: tuple[float, float, float] = (0.0, 0.0, 0.0)  #: o
    shifts: tuple[float, float] = (0.25, 0.25)  #: s of lift and extend, in turns
    harmonic: float = 0.0  #: h
    turn: float = 0.0
    legs: tuple[float, float, float, float] = FAMILIES["trot"]  #: phi, in turns

    def vector(self) -> np.ndarray:
        """Return all parameters but the phases of the legs (11,)."""
        return np.array([self.frequency, *self.amplitudes, *self.offsets, *self.shifts, self.harmonic, self.turn])

    @classmethod
    def from_vector(cls, x: Any, legs: Sequence[float]) -> Gait:
        """Return the gait with these parameters (11,), brought within their bounds, and phases of the legs (4,)."""
        p = [float(v) for v in np.clip(np.asarray(x, dtype=float), *BOUNDS)]
        first, second, third, fourth = (float(v) for v in legs)
        return cls(
            p[0], (p[1], p[2], p[3]), (p[4], p[5], p[6]), (p[7], p[8]), p[9], p[10], (first, second, third, fourth)
        )

    def commands(self, times: Any) -> np.ndarray:
        """Return the commands (T, 12) at times (T,) in seconds."""
        tau = self.frequency * np.asarray(times, dtype=float)[:, None] + np.array(self.legs)
        a, o, (lift, extend) = self.amplitudes, self.offsets, self.shifts
        found = np.empty((len(tau), 4, 3))
        found[:, :, 0] = FORWARD * (o[0] + a[0] * (1 + FORWARD * self.turn) * np.cos(2 * np.pi * tau))
        found[:, :, 1] = (
            o[1] + a[1] * np.cos(2 * np.pi * (tau + lift)) + self.harmonic * np.cos(4 * np.pi * (tau + lift))
        )
        found[:, :, 2] = o[2] + a[2] * np.cos(2 * np.pi * (tau + extend))
        return np.clip(found.reshape(-1, 12), *LIMITS)


def varied_gaits(
    count: int,
    rng: Any = 0,
    *,
    seconds: float = 6.0,
    spread: float = 0.25,
    turn: float | None = None,
    around: Mapping[str, Gait] | None = None,
) -> np.ndarray:
    """Return commands (count, T, 12) of gaits that were drawn, each from a phase of its own on.

    Parameters
    ----------
    count : of gaits
    rng : seed or generator
    seconds : of each; T = 50 seconds
    spread : every parameter is uniform within so much of the range of :data:`BOUNDS` on both sides of its middle
    turn : the turn is uniform between -turn and turn, whatever the spread; by default as the other parameters
    around : the gaits in the middle by name, of which one is drawn each time; by default the six of :data:`FAMILIES`

    Raises
    ------
    ValueError
        counts below 1, no time, a negative spread.

    Examples
    --------
    >>> varied_gaits(3).shape
    (3, 300, 12)
    """
    count = at_least("count", count, 1)
    ticks = round(seconds / CONTROL_SECONDS)
    if ticks < 1 or not spread >= 0:
        raise ValueError(f"seconds must be at least {CONTROL_SECONDS} and spread >= 0, got {seconds} and {spread}")
    generator = np.random.default_rng(rng)
    middles = list((DEFAULT if around is None else around).values())
    width = spread * (BOUNDS[1] - BOUNDS[0])
    found = np.empty((count, ticks, 12))
    for i in range(count):
        middle = middles[generator.integers(len(middles))]
        x = middle.vector() + width * generator.uniform(-1, 1, len(width))
        if turn is not None:
            x[-1] = turn * generator.uniform(-1, 1)
        gait = Gait.from_vector(x, middle.legs)
        found[i] = gait.commands(CONTROL_SECONDS * np.arange(ticks) + generator.uniform(0, 1 / gait.frequency))
    return found


DEFAULT = {name: Gait(legs=legs) for name, legs in FAMILIES.items()}
