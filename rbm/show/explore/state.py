"""What sliders and choices say, and the numbers that are drawn for it: no widget is needed here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbm.errors import ParameterError, PointError
from rbm.show.digits import rounded_up, with_bound
from rbm.show.explore.answers import Answers, source_of
from rbm.show.placement import Placement, placed_on

__all__ = ["ERROR", "PARTS", "Curve", "Explorer"]

#: The last choice of outputs: the bound of the solution's error itself.
ERROR = "error bound"
#: Parts of a complex output that a curve shows.
PARTS = ("modulus", "real", "imag")
#: Points of a response curve.
POINTS = 81
_ROW = re.compile(r" ?\(row [0-9]+(, [0-9]+ such points)?\)")


@dataclass(frozen=True, eq=False)
class Curve:
    """A response curve: an output over one coordinate, with its certified band; NaN where there is no answer."""

    x: np.ndarray  #: (K,)
    middle: np.ndarray  #: (K,)
    low: np.ndarray  #: (K,) NaN where there is no bound
    high: np.ndarray  #: (K,)
    at: tuple[float, float, float, float]  #: the point where the sliders are: x, value, lower and upper end
    xlabel: str
    ylabel: str
    log_x: bool
    log_y: bool
    missing: str  #: why there are gaps; empty without

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of what should be seen: the curve, the point, and of the band what is not far from them; (0, 1)."""
        seen = np.array([*self.middle, *self.at[1:]])
        seen = seen[np.isfinite(seen) & ((seen > 0) | (not self.log_y))]
        if not len(seen):
            return 0.0, 1.0
        low, high = float(seen.min()), float(seen.max())
        radius = (self.high - self.middle)[np.isfinite(self.high)]
        if not len(radius):
            return low, high
        span = max(high - low, 4 * float(np.median(radius)))  # near a resonance a band may be wider than all else
        return max(low - span, min(low, float(np.nanmin(self.low)))), min(high + span, max(high, np.nanmax(self.high)))


class Explorer:
    """Where someone is in a reduced model: a point, the output and the coordinate that are looked at.

    reduced, mesh, unknowns, free : as for :func:`rbm.fields`; without a mesh there is no field
    """

    def __init__(self, reduced: Any, mesh: Any = None, *, unknowns: Any = None, free: Any = None) -> None:
        self.source = source_of(reduced)
        self.placement: Placement | None = None if mesh is None else placed_on(reduced, mesh, unknowns, free)
        self.names = self.source.names
        low, high = self.source.ranges.T
        self.point = np.array(
            [self.source.snapped(j, self._value(j, 0.5)) for j in range(len(self.names))]
        )  #: where the sliders are
        self.over = 0 if len(self.names) == len(reduced.parameters.names) else len(self.names) - 1
        while low[self.over] == high[self.over] and self.over < len(self.names) - 1:
            self.over += 1  # a parameter that is fixed has no curve
        first = self.answers
        self.outputs: tuple[str, ...] = (*(first.values or self._declared()), ERROR)
        self.output = 0
        self.part = "modulus"
        self._curve: tuple[Any, Answers] | None = None

    def _declared(self) -> tuple[str, ...]:
        """Return the names of outputs that the model has, where the first point has no answer."""
        return tuple(self.source.reduced.outputs)

    def move(self, j: int, position: float) -> None:
        """Put coordinate j to a position in [0, 1] of its range; ParameterError for others, NaN included.

        The time goes to that of the nearest step, whose answer is shown.
        """
        if not 0 <= position <= 1:
            raise ParameterError(f"position {position!r} of {self.names[j]} is outside [0, 1], the ends of its range")
        self.point[j] = self.source.snapped(j, self._value(j, float(position)))

    def put(self, j: int, value: float) -> None:
        """Give coordinate j a value, the time that of the nearest step; ParameterError outside its range, or NaN."""
        low, high = self.source.ranges[j]
        if not low <= value <= high:
            raise ParameterError(f"{self.names[j]} = {value!r} is outside [{low:g}, {high:g}]")
        self.point[j] = self.source.snapped(j, value)

    def position(self, j: int) -> float:
        """Return where coordinate j is in its range, from 0 to 1."""
        low, high = self.source.ranges[j]
        if high == low:
            return 0.5
        if self.log_scale(j):
            return float(np.clip(np.log(self.point[j] / low) / np.log(high / low), 0, 1))
        return float(np.clip((self.point[j] - low) / (high - low), 0, 1))

    def log_scale(self, j: int) -> bool:
        """Return whether the range of coordinate j is divided by ratios."""
        return self.source.log and j < len(self.source.reduced.parameters.names)

    def fixed(self, j: int) -> bool:
        """Return whether the range of coordinate j is one value."""
        low, high = self.source.ranges[j]
        return bool(low == high)

    def _value(self, j: int, position: float) -> float:
        low, high = self.source.ranges[j]
        if position in (0.0, 1.0):
            return float(low if position == 0 else high)
        made = low * (high / low) ** position if self.log_scale(j) else low + position * (high - low)
        return float(np.clip(made, low, high))

    @property
    def answers(self) -> Answers:
        """The answer at the point."""
        return self.source.answers(self.point[None])

    @property
    def complex_valued(self) -> bool:
        """Whether the chosen output is complex, and has a modulus and parts."""
        name = self.outputs[self.output]
        return name != ERROR and np.iscomplexobj(self.answers.values.get(name, 0.0))

    def label(self, j: int) -> str:
        """Return the name of coordinate j with its unit."""
        return self._unit(self.names[j])

    def value_text(self, j: int) -> str:
        """Return the value of coordinate j as text."""
        return f"{self.point[j]:.4g}"

    def _unit(self, name: str) -> str:
        unit = self.source.units.get(name.partition("[")[0], "")
        return f"{name} [{unit}]" if unit else name

    def sentences(self, answers: Answers, room: int = 6) -> list[str]:
        """Return the answer at the point in words: outputs with their bounds, and the bound of the solution.

        room : how many outputs; the chosen one and those around it
        """
        if answers.reasons[0]:
            return [f"No answer here: {_ROW.sub('', answers.reasons[0])}"]
        names = [n for n in self.outputs if n != ERROR]
        first = int(np.clip(self.output - room // 2, 0, max(0, len(names) - room)))
        lines = []
        for name in names[first : first + room]:
            value, bound = answers.values[name][0], answers.bounds.get(name, [None])[0]
            lines.append(f"{name} = {_number(value, bound)}{self._tail(name)}")
        if len(names) > room:
            lines.append(f"outputs {first + 1} to {first + min(room, len(names))} of {len(names)}")
        error = rounded_up(answers.error[0])
        seen = "" if answers.resolved[0] else ", at the level of round-off"
        lines.append(f"error of the solution \N{LESS-THAN OR EQUAL TO} {error} in the {self.source.norm}-norm{seen}")
        return lines

    def _tail(self, name: str) -> str:
        unit = self.source.units.get(name.partition("[")[0], "")
        return f" {unit}" if unit else ""

    def curve(self, answers: Answers) -> Curve:
        """Return the response curve of the chosen output over the chosen coordinate, through the point.

        answers : those at the point. What was computed is kept while nothing but that coordinate moves.
        """
        j, name = self.over, self.outputs[self.output]
        key = (j, np.delete(self.point, j).tobytes())
        if self._curve is None or self._curve[0] != key:
            x = self.source.grid(j)
            if x is None:
                x = np.array([self._value(j, s) for s in np.linspace(0, 1, POINTS)])
            points = np.repeat(self.point[None], len(x), axis=0)
            points[:, j] = x
            self._curve = (key, self.source.answers(points))
            self._x = points[:, j]
        known = self._curve[1]
        middle, low, high, complex_valued = self._band(known, name)
        value, below, above, _ = self._band(answers, name)
        there = (float(self.point[j]), float(value[0]), float(below[0]), float(above[0]))
        label = f"{self._unit(name)}, {self.part}" if complex_valued else self._unit(name)
        missing = next((_ROW.sub("", reason) for reason in known.reasons if reason), "")
        return Curve(self._x, middle, low, high, there, self.label(j), label, self.log_scale(j), name == ERROR, missing)

    def _band(self, known: Answers, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Return value, lower and upper end of an output, or of the part of a complex one."""
        count = len(known.error)
        nothing = np.full(count, np.nan)
        if name == ERROR:
            error = np.where(np.isfinite(known.error), known.error, np.nan)
            return error, nothing, nothing, False
        values = known.values.get(name, nothing)
        bound = known.bounds.get(name, nothing)
        bound = np.where(np.isfinite(bound), bound, np.nan)
        if not np.iscomplexobj(values):
            return values, values - bound, values + bound, False
        part = np.abs(values) if self.part == "modulus" else values.real if self.part == "real" else values.imag
        low = np.maximum(part - bound, 0.0) if self.part == "modulus" else part - bound
        return part, low, part + bound, True

    def field(self) -> np.ndarray | None:
        """Return the real field (P,) at the nodes of the mesh, None without a mesh or an answer.

        Of vectors it is their length, of complex fields the real part.
        """
        if self.placement is None:
            return None
        try:
            u, mus = self.source.vectors(self.point)
        except PointError:
            return None
        values = self.placement.values(u, mus)[0].real
        return values if values.ndim == 1 else np.linalg.norm(values, axis=1)


def _number(value: Any, bound: Any) -> str:
    bound = None if bound is None else float(bound)
    if not isinstance(value, complex | np.complexfloating):
        return with_bound(float(value), bound)
    digits = 10 if not bound else int(np.clip(np.ceil(np.log10(max(abs(value), bound) / bound)) + 2, 2, 15))
    real, imag = (f"{x:.{digits}g}" for x in (value.real, abs(value.imag)))
    sign = "-" if value.imag < 0 else "+"
    if bound is None:
        return f"{real} {sign} {imag}i"
    moved = abs(complex(float(real), float(sign + imag)) - value)
    return f"{real} {sign} {imag}i ± {rounded_up((bound + moved) * (1 + 1e-15))}"
