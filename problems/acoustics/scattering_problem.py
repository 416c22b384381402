"""The description of a scattering problem: obstacle, wave, admittances, and the formulation of its equation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from problems.acoustics.scattering_input import Admittances, Range, read_wavenumber
from problems.acoustics.surface_fields import unit_vectors
from problems.acoustics.surfaces import SurfaceMesh
from problems.user_input import as_array
from rbm.errors import ModelError
from rbm.parameters.space import ParameterSpace

__all__ = ["ScatteringProblem"]


@dataclass(frozen=True, eq=False)
class ScatteringProblem:
    """A plane wave exp(ik d.x) and an obstacle with admittances on the parts of its surface.

    mesh : the surface
    wavenumber : k, or (low, high): then k is the first parameter
    direction : d (3,), where the wave goes; normalised
    admittances : of :func:`problems.acoustics.scattering_input.read_admittances`
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
