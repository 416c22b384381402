"""The description of a scattering problem: obstacle, wave, admittances, formulation; read from the user and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from problems.acoustics.surface_fields import unit_vectors
from problems.acoustics.surfaces import SurfaceMesh
from problems.user_input import as_array
from rbm.errors import ModelError
from rbm.parameters.space import ParameterSpace

__all__ = ["Admittances", "Formulation", "Range", "ScatteringProblem", "read_admittances", "read_coupling"]

Range = tuple[float, float]
Formulation = Literal["burton-miller", "direct"]


@dataclass(frozen=True)
class Admittances:
    """The admittances beta_1 .. beta_d of the parts, by parameters and formulas of them."""

    ranges: dict[str, Range]  #: {parameter: (low, high)}
    formulas: list[str]  #: of beta_j
    real_parts: list[str]  #: of Re beta_j


@dataclass(frozen=True, eq=False)
class ScatteringProblem:
    """A plane wave exp(ik d.x) and an obstacle with admittances on the parts of its surface.

    mesh : the surface
    wavenumber : k, or (low, high): then k is the first parameter
    direction : d (3,), where the wave goes; normalised
    admittances : of :func:`read_admittances`
    coupling : 1 for Burton and Miller's equation, 0 for the direct one
    far_field_directions : (3, D) in which the far field is an output; for a fixed wavenumber only

    Raises ModelError for a wavenumber that is not positive, a direction that is zero or no vector (3,), and for
    far-field directions with a range of wavenumbers.
    """

    mesh: SurfaceMesh
    wavenumber: float | Range
    direction: np.ndarray
    admittances: Admittances
    coupling: float = 1.0
    far_field_directions: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = as_array("direction must be one vector (3,)", self.direction).shape
        if shape != (3,):
            raise ModelError(f"direction must be one vector (3,), got shape {shape}")
        object.__setattr__(self, "direction", unit_vectors(self.direction)[:, 0])
        object.__setattr__(self, "wavenumber", read_wavenumber(self.wavenumber))
        if self.far_field_directions is not None:
            if self.varies:
                raise ModelError(
                    "far_field_directions are outputs at a fixed wavenumber; with a range use far_field(mus, "
                    "pressures, directions)"
                )
            object.__setattr__(self, "far_field_directions", unit_vectors(self.far_field_directions))

    @property
    def varies(self) -> bool:
        """Whether the wavenumber is a parameter."""
        return isinstance(self.wavenumber, tuple)

    @property
    def bounds(self) -> Range:
        """The range (low, high) of the wavenumber; k twice where it is fixed."""
        return self.wavenumber if isinstance(self.wavenumber, tuple) else (self.wavenumber, self.wavenumber)

    @property
    def middle(self) -> float:
        """The wavenumber, or the geometric mean of its range."""
        low, high = self.bounds
        return float(np.sqrt(low * high)) if self.varies else low

    @cached_property
    def parameters(self) -> ParameterSpace:
        """The parameters: k if it varies, then those of the admittances."""
        ranges = self.admittances.ranges
        return ParameterSpace({"k": self.bounds, **ranges} if self.varies else ranges)


def read_coupling(formulation: Any, coupling: Any) -> float:
    """The coupling of the two equations: as given for "burton-miller", 0 for "direct"."""
    if formulation not in ("burton-miller", "direct"):
        raise ModelError(f"formulation must be 'burton-miller' or 'direct', got {formulation!r}")
    real = isinstance(coupling, int | float | np.number) and np.isreal(coupling)
    if not (real and np.isfinite(coupling) and coupling >= 0):
        raise ModelError(f"coupling must be a number >= 0, got {coupling!r}")
    return 0.0 if formulation == "direct" else float(coupling)


def read_wavenumber(given: Any) -> float | Range:
    """The wavenumber k, or its range (low, high), as numbers > 0."""
    rule = "wavenumber must be a number or a pair (low, high)"
    if isinstance(given, bool):
        raise ModelError(f"{rule}, got {given!r}")
    values = np.atleast_1d(as_array(rule, given))
    if values.shape not in ((1,), (2,)) or not np.all(np.isfinite(values) & (values > 0)):
        raise ModelError(f"wavenumber must be a positive number or a pair (low, high) of them, got {given!r}")
    if len(values) == 1:
        return float(values[0])
    if not values[0] < values[1]:
        raise ModelError(f"the range of wavenumbers must have low < high, got {given!r}")
    return float(values[0]), float(values[1])


def read_admittances(
    d: int, conductance: Range | Sequence[Range], susceptance: Range | Sequence[Range] | None
) -> Admittances:
    """Parameters and formulas of the admittances of d parts, from a range for all parts or one range per part."""
    real = _per_part("conductance", conductance, d)
    for j, (low, _) in enumerate(real, start=1):
        if low < 0:
            raise ModelError(
                f"conductance of part {j} starts at {low:g}: Re beta must be >= 0, or the surface radiates energy and "
                "the problem is not well-posed in general"
            )
    if susceptance is None:
        names = [f"beta_{j}" for j in range(1, d + 1)]
        return Admittances(dict(zip(names, real, strict=True)), names, names)
    ranges: dict[str, Range] = {}
    for j, (r, x) in enumerate(zip(real, _per_part("susceptance", susceptance, d), strict=True), start=1):
        ranges |= {f"beta_{j}_re": r, f"beta_{j}_im": x}
    parts = range(1, d + 1)
    formulas = [f"beta_{j}_re + 1j*beta_{j}_im" for j in parts]
    return Admittances(ranges, formulas, [f"beta_{j}_re" for j in parts])


def _per_part(name: str, given: Any, d: int) -> list[Range]:
    rule = f"{name} must be a pair (low, high), or one pair per part"
    array = as_array(rule, given)
    if array.shape == (2,):
        array = np.tile(array, (d, 1))
    if array.ndim != 2 or array.shape[1] != 2:
        raise ModelError(f"{rule}, got {given!r}")
    if len(array) != d:
        raise ModelError(
            f"{name} gives ranges for {len(array)} part(s), the mesh has part numbers 1 to {d}; give one range per part"
        )
    return [(float(low), float(high)) for low, high in array]
