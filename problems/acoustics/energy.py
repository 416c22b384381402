"""Energy balance of a scatterer: the error of the optical theorem for a discrete solution, and the radiated power."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from problems.acoustics.surface_fields import far_field, sphere_rule
from problems.acoustics.surfaces import SurfaceMesh

__all__ = ["EnergyBalance", "radiated_power", "warn_of_defect"]

#: Above this share of the extinction, a defect is warned of.
WARN = 1e-2
#: Far fields are summed for so many directions at once.
DIRECTIONS = 128


@dataclass(frozen=True, eq=False)
class EnergyBalance:
    """Cross-sections of the full-order solution at a few parameter points.

    The scattering is computed from the far field, not by the optical theorem.
    """

    mus: np.ndarray  #: (m, p)
    extinction: np.ndarray  #: (m,) (4 pi / k) Im f(d)
    absorption: np.ndarray  #: (m,) int Re(beta) |u|^2
    scattering: np.ndarray  #: (m,) int |f|^2, from the far field
    forward: np.ndarray  #: (m,) (4 pi / k) |f(d)|

    @property
    def defect(self) -> np.ndarray:
        """The defect |extinction - absorption - scattering| (m,).

        It is an error of the discretisation: the exact solution has none.
        """
        return np.abs(self.extinction - self.absorption - self.scattering)

    @property
    def share(self) -> float:
        """The largest ratio of the defect to (4 pi / k) |f(d)|, about the relative error of the far field.

        Defects at other parameter points are estimated by it.
        """
        return float(np.max(self.defect / np.where(self.forward > 0, self.forward, 1.0)))

    def __repr__(self) -> str:
        return (
            f"EnergyBalance({len(self.mus)} parameter points, optical theorem off by up to {self.defect.max():.1e}, "
            f"{self.share:.1e} of 4 pi |f| / k)"
        )


def radiated_power(mesh: SurfaceMesh, wavenumber: float, pressures: np.ndarray, admittances: np.ndarray) -> np.ndarray:
    """The radiated power int |f|^2 over the unit sphere (M, 1), never negative.

    pressures (M, n) on the surface, admittances (M, d) of the parts.

    The rule is exact for far fields up to the degree beyond which those of an obstacle of this size are below 1e-8.
    """
    size = wavenumber * float(np.linalg.norm(np.ptp(mesh.vertices, axis=1))) / 2
    directions, weights = sphere_rule(int(np.ceil(size + 7 * np.cbrt(size))) + 5)
    total = np.zeros((len(pressures), 1))
    for start in range(0, len(weights), DIRECTIONS):
        part = slice(start, start + DIRECTIONS)
        field = far_field(mesh, wavenumber, directions[:, part], pressures, admittances)
        total[:, 0] += np.abs(field) ** 2 @ weights[part]
    return total


def warn_of_defect(
    balance: EnergyBalance, defect: np.ndarray, extinction: np.ndarray, describe: Callable[[np.ndarray], str]
) -> None:
    """Warn where the estimated defect (M,) is more than 1 % of the extinction (M,)."""
    high = defect > WARN * np.abs(extinction)
    if not np.any(high):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(high, defect / np.abs(extinction), 0.0)
    row, worst = int(np.argmax(relative)), int(np.argmax(balance.defect))
    warnings.warn(
        f"the optical theorem does not hold well on this mesh: extinction and scattering of {int(high.sum())} of "
        f"{len(defect)} points are off by about {relative[row]:.1g} of the extinction or less (row {row}: "
        f"{extinction[row]:.3g}, off by about {defect[row]:.1g}), which their bounds do not cover (measured: "
        f"{balance.defect[worst]:.1g} at {describe(balance.mus[worst])}); refine the mesh, or take scattering from "
        "the far field, which is never negative: model.scattering_cross_section(mus, "
        "reduced_model.reconstruct(solution.coefficients))",
        stacklevel=4,
    )
