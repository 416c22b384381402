"""The log of a zeroth-order run: a seed and a projected gradient for each direction and step, and what they "
"belong to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from ml.tuning.zeroth_order_arrays import Half, Trained
from ml.tuning.zeroth_order_numbers import Source
from ml.tuning.zeroth_order_weights import Direction, Projection

__all__ = [
    "ENTRY",
    "MezoFits",
    "MezoLog",
    "MezoSettings",
    "checked_settings",
    "digest_of",
    "fits_of",
    "json_of",
    "parts",
]

#: One direction of one step, 16 bytes.
ENTRY = np.dtype([("seed", "<u8"), ("gradient", "<f8")])
VERSION = 1
SCHEDULES = ("constant", "linear", "cosine")
#: The smallest eps whose grid is representable in single precision.
LEAST_EPS = 1e-30
Schedule = Literal["constant", "linear", "cosine"] | Sequence[float] | Callable[[int], float]


@dataclass(frozen=True)
class MezoSettings:
    """What the steps of a run depend on."""

    steps: int
    rate: float
    eps: float
    directions: int
    weight_decay: float
    schedule: str | tuple[float, ...]  #: a name, or factors (steps,)
    projection: Projection
    keep: int
    half: Half

    def rates(self) -> np.ndarray:
        """Return the rate of every step (steps,)."""
        s = np.arange(self.steps) / self.steps
        named = {"constant": np.ones(self.steps), "linear": 1 - s, "cosine": (1 + np.cos(np.pi * s)) / 2}
        return self.rate * (named[self.schedule] if isinstance(self.schedule, str) else np.array(self.schedule))


@dataclass(frozen=True)
class MezoFits:
    """Which parameters a log fits."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    start: str  #: SHA-256 of the weights at the start
    numbers: str  #: where random numbers come from: "numpy", or "torch" and a kind of device
    end: str = ""  #: SHA-256 of the weights after `end_steps` steps; "" for a run that has not ended
    end_steps: int = 0

    def refuse_others(self, arrays: Sequence[Trained], source: Source) -> None:
        """Raise ValueError for other parameters, with the first thing that differs."""
        own = fits_of(arrays, source, start="")
        if len(own.names) != len(self.names):
            raise ValueError(f"the log does not fit: it is of {len(self.names)} parameters, {len(own.names)} are given")
        for k, name in enumerate(self.names):
            here, there = ((f.dtypes[k], f.shapes[k]) for f in (own, self))
            if here != there:
                raise ValueError(
                    f"the log does not fit: its parameter {name} is {there[0]} {there[1]}, the one given "
                    f"({own.names[k]}) "
                    f"is {here[0]} {here[1]}"
                )
        if own.numbers != self.numbers:
            raise ValueError(
                f"the log does not fit: its random numbers are those of {self.numbers}, here they would be those of "
                f"{own.numbers}: bring the parameters to the kind of device of the run"
            )
        if digest_of(arrays) != self.start:
            raise ValueError(
                "the log does not fit: the weights are not those that the run started from (their SHA-256 differs); "
                "load the weights of the start first"
            )


@dataclass(frozen=True, eq=False)
class MezoLog:
    """A run as seeds and projected gradients: with the weights of the start it gives those after any of its steps."""

    settings: MezoSettings
    fits: MezoFits
    seeds: np.ndarray  #: (steps, directions) uint64
    gradients: np.ndarray  #: (steps, directions) float64: (L(t + eps z) - L(t - eps z)) / (2 eps)

    @property
    def steps(self) -> int:
        """Steps that are in the log: those of the settings, or fewer if the run was stopped."""
        return len(self.seeds)

    @property
    def nbytes(self) -> int:
        """Bytes of its entries: 16 for each direction and step."""
        return ENTRY.itemsize * self.seeds.size

    @property
    def zeros(self) -> float:
        """Share of the projected gradients that are exactly zero."""
        return float(np.mean(self.gradients == 0)) if self.gradients.size else 0.0

    @property
    def rates(self) -> np.ndarray:
        """Rate of every step that is in the log (steps,)."""
        return self.settings.rates()[: self.steps]

    def entries(self) -> bytes:
        """Return the entries as bytes, little-endian, directions of a step together."""
        found = np.empty(self.seeds.shape, ENTRY)
        found["seed"], found["gradient"] = self.seeds, self.gradients
        return found.tobytes()

    def directions(self, step: int) -> list[Direction]:
        """Return the seeds of the directions of a step."""
        return directions_of(self.seeds, step, self.settings.keep)


def directions_of(seeds: np.ndarray, step: int, keep: int) -> list[Direction]:
    """Return the seeds of the directions of a step; V is that of the first step of `keep`."""
    first = step // keep * keep
    return [Direction(int(a), int(b)) for a, b in zip(seeds[step], seeds[first], strict=True)]


def factors_of(settings: MezoSettings, rate: float, gradients: np.ndarray) -> list[float]:
    """Return what the rounded moves s = eps z of a step are multiplied by in its update."""
    return [float(rate * g / (settings.eps * len(gradients))) for g in gradients]


def checked_settings(given: dict[str, Any]) -> MezoSettings:
    """Return the settings of a run from the arguments of :func:`ml.mezo`; ValueError names a wrong one."""
    for name in ("steps", "directions", "keep"):
        if not isinstance(given[name], int | np.integer) or given[name] < 1:
            raise ValueError(f"{name} must be a positive integer, got {given[name]!r}")
    for name, least in (("rate", 0.0), ("eps", LEAST_EPS)):
        if not (math.isfinite(given[name]) and given[name] > least):
            raise ValueError(f"{name} must be a finite number above {least:g}, got {given[name]!r}")
    if not (math.isfinite(given["weight_decay"]) and given["weight_decay"] >= 0):
        raise ValueError(f"weight_decay must be a finite number, 0 or above, got {given['weight_decay']!r}")
    rank = given["projection"]
    if rank != "full" and (not isinstance(rank, int | np.integer) or rank < 1):
        raise ValueError(f"projection must be 'full' or the rank of the directions, 1 or above, got {rank!r}")
    schedule, steps = given["schedule"], int(given["steps"])
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, factors or a function, got {schedule!r}")
    else:
        factors = [schedule(s) for s in range(steps)] if callable(schedule) else list(schedule)
        schedule = tuple(float(f) for f in factors)
        if len(schedule) != steps or not all(math.isfinite(f) and f >= 0 for f in schedule):
            raise ValueError(f"schedule must be {steps} factors, finite and not negative, got {len(schedule)} numbers")
    return MezoSettings(
        steps, float(given["rate"]), float(given["eps"]), int(given["directions"]), float(given["weight_decay"]),
        schedule, rank if rank == "full" else int(rank), int(given["keep"]), given["half"],
    )  # fmt: skip


def digest_of(arrays: Sequence[Trained]) -> str:
    """Return the SHA-256 of all types, shapes and entries."""
    return hashlib.sha256(b"".join(array.digest() for array in arrays)).hexdigest()


def fits_of(arrays: Sequence[Trained], source: Source, start: str | None = None) -> MezoFits:
    """Return what a log of these arrays fits; start : known already."""
    return MezoFits(
        tuple(a.name for a in arrays), tuple(a.shape for a in arrays), tuple(a.dtype for a in arrays),
        digest_of(arrays) if start is None else start, source.name,
    )  # fmt: skip


def json_of(settings: MezoSettings, fits: MezoFits) -> dict[str, Any]:
    """Return both as what JSON holds."""
    return {"version": VERSION, "settings": asdict(settings), "fits": asdict(fits)}


def parts(found: dict[str, Any]) -> tuple[MezoSettings, MezoFits]:
    """Return both from what JSON held. Raises ValueError, TypeError or KeyError for anything else."""
    if found["version"] != VERSION:
        raise ValueError(f"its layout has version {found['version']!r}, this package reads {VERSION}")
    for kind, key in ((MezoSettings, "settings"), (MezoFits, "fits")):
        if set(found[key]) != {f.name for f in fields(kind)}:
            raise ValueError(f"its {key} are others")
    given, fits = dict(found["settings"]), dict(found["fits"])
    fits["shapes"] = tuple(tuple(int(n) for n in shape) for shape in fits["shapes"])
    fits["names"], fits["dtypes"] = tuple(map(str, fits["names"])), tuple(map(str, fits["dtypes"]))
    if not len(fits["names"]) == len(fits["shapes"]) == len(fits["dtypes"]):
        raise ValueError("its names, shapes and types are not as many")
    if not all(isinstance(fits[key], str) for key in ("start", "numbers", "end")):
        raise ValueError("its fingerprints are no text")
    return checked_settings(given), MezoFits(**fits)
