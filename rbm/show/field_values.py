"""Which real numbers of a field are drawn or written: parts of complex values, components and lengths of vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbm.errors import ModelError

__all__ = ["PARTS", "Drawn", "check_part", "file_data", "part_of", "shown"]

#: Parts of complex values, and how labels call them.
PARTS = {"real": "Re", "imag": "Im", "modulus": "modulus", "phase": "phase"}


@dataclass(frozen=True, eq=False)
class Drawn:
    """Real numbers at the nodes of a mesh, for each field."""

    values: np.ndarray  #: (M, P)
    label: str
    signed: bool  #: symmetric about zero, as parts of waves are
    cyclic: bool  #: an angle from -pi to pi
    shifts: np.ndarray | None = None  #: (M, P, c) by which the nodes are moved

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the scale that all fields share."""
        if self.cyclic:
            return -math.pi, math.pi
        low, high = float(self.values.min()), float(self.values.max())
        if self.signed:
            high = max(abs(low), abs(high)) or 1.0
            return -high, high
        size = max(abs(low), abs(high))
        if high - low > 1e-12 * size:
            return low, high
        return low, low + (size or 1.0)  # constant up to round-off, which is no picture

    @property
    def cmap(self) -> str:
        """The colours, which are safe for colour-blind readers."""
        return "twilight" if self.cyclic else "PuOr" if self.signed else "cividis"


def check_part(values: np.ndarray, part: Any, component: Any, deform: Any, mesh: Any) -> None:
    """Raise ModelError for a part, component or displacement that the fields (M, P) or (M, P, c) do not have."""
    if part not in PARTS:
        raise ModelError(f"part must be one of {', '.join(map(repr, PARTS))}, got {part!r}")
    if not np.iscomplexobj(values) and part in ("imag", "phase"):
        raise ModelError(f"part {part!r} is for complex fields, these are real")
    count = values.shape[2] if values.ndim == 3 else 0
    if component is not None:
        whole = isinstance(component, int | np.integer) and not isinstance(component, bool)
        if not count or not whole or not 0 <= component < count:
            has = f"components 0 to {count - 1}" if count else "no components"
            raise ModelError(f"component {component!r} is not there, these fields have {has}")
    if isinstance(deform, bool) or not isinstance(deform, int | float | np.number) or not np.isfinite(deform):
        raise ModelError(f"deform must be a number, the factor of the displacements, got {deform!r}")
    if deform and count != mesh.points.shape[1]:
        raise ModelError(
            f"deform moves nodes by vectors of {mesh.points.shape[1]} components, these fields have {count or 1}"
        )
    if count and component is None and part == "phase":
        raise ModelError("a vector has no phase; give component=")


def part_of(values: np.ndarray, part: str) -> np.ndarray:
    """Return the real part, imaginary part, modulus or phase of values; real ones as they are, or their modulus.

    >>> part_of(np.array([1j, -2.0]), "modulus"), part_of(np.array([-2.0]), "real")
    (array([1., 2.]), array([-2.]))
    """
    if part == "modulus":
        return np.abs(values)
    if part == "imag":
        return np.asarray(values.imag)
    return np.angle(values) if part == "phase" else np.asarray(values.real)


def shown(values: np.ndarray, name: str, part: str, component: int | None, deform: float) -> Drawn:
    """Return what of the fields (M, P) or (M, P, c) is drawn; arguments as of :meth:`rbm.Fields.plot`."""
    wave = np.iscomplexobj(values)
    symbol = f"${name}_N$" if len(name) == 1 and name.isalpha() else name
    shifts = deform * values.real if deform else None
    if values.ndim == 3 and component is None:
        length = np.linalg.norm(values if part == "modulus" else part_of(values, part), axis=2)
        inside = symbol if part == "modulus" or not wave else f"{PARTS[part]} {symbol}"
        return Drawn(length, f"|{inside}|", False, False, shifts)
    if component is not None:
        values, symbol = values[:, :, component], f"{symbol}[{component}]"
    label = f"|{symbol}|" if part == "modulus" else f"{PARTS[part]} {symbol}" if wave else symbol
    return Drawn(part_of(values, part), label, wave and part in ("real", "imag"), part == "phase", shifts)


def file_data(name: str, u: np.ndarray) -> dict[str, np.ndarray]:
    """Return a field (P,) or (P, c) as meshio's point data; complex ones by three names, vectors with three entries."""
    if u.ndim == 2 and u.shape[1] < 3:
        u = np.pad(u, ((0, 0), (0, 3 - u.shape[1])))
    if np.iscomplexobj(u):
        parts = {"re": u.real, "im": u.imag, "abs": np.abs(u)}
        return {f"{name}_{end}": np.ascontiguousarray(a) for end, a in parts.items()}
    return {name: np.ascontiguousarray(u)}
