"""Reads and checks what is asked of a scattering model: wavenumbers, and admittances of the parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from problems.user_input import as_array
from rbm.errors import ModelError

__all__ = ["Admittances", "Formulation", "Range", "read_admittances", "read_coupling", "read_wavenumber"]

Range = tuple[float, float]
Formulation = Literal["burton-miller", "direct"]


@dataclass(frozen=True)
class Admittances:
    """The admittances beta_1 .. beta_d of the parts, by parameters and formulas of them."""

    ranges: dict[str, Range]  #: {parameter: (low, high)}
    formulas: list[str]  #: of beta_j
    real_parts: list[str]  #: of Re beta_j


def read_coupling(formulation: Any, coupling: Any) -> float:
    """The coupling of the two equations: as given for "burton-miller", 0 for "direct"."""
    if formulation not in ("burton-miller", "direct"):
        raise ModelError(f"formulation must be 'burton-miller' or 'direct', got {formulation!r}")
    if not (
        isinstance(coupling, int | float | np.number)
        and np.isreal(coupling)
        and np.isfinite(coupling)
        and coupling >= 0
    ):
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
