"""What data say of parameters: singular values of the sensitivity against noise, and directions that stay open.

With x the parameters in units of their ranges (of their logarithms, if the space is logarithmic) and r the residuals in
units of the noise, D = dr/dx = U diag(sigma) V^H: along column j of V the data know x to 1 / sigma_j. Without data all
that is known is the range, which has the standard deviation 12^{-1/2}: a direction with 1 / sigma_j >= 12^{-1/2} is not
determined. D comes from the derivatives of the reduced model, or from its differences where it has none; nothing here
is proved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["RANGE", "STEP", "Sensitivity", "differences", "sensitivity_of", "stencil", "unknown_sensitivity"]

#: Step of the differences, as a share of the range.
STEP = 1e-4
#: The standard deviation of a number of which the range is all that is known, as a share of the range.
RANGE = 12**-0.5
#: Parts of a direction that differences cannot tell from zero: a parameter that is known must not get the infinite
#: spread of one that is not.
ROUGH = 1e-9
#: Parts of a direction smaller than this share of the largest are not named.
NAMED = 0.2


@dataclass(frozen=True)
class Sensitivity:
    """Singular values (r,), largest first, directions (p, r), standard deviations (p,) in x, and what stays open."""

    singular_values: np.ndarray
    directions: np.ndarray
    spread: np.ndarray
    undetermined: tuple[str, ...]


def stencil(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return points (2 p, p) beside x (p,), inside [0, 1]^p, above and below in turns, and their distances (p,)."""
    p = len(x)
    above, below = np.minimum(x + STEP, 1.0), np.maximum(x - STEP, 0.0)
    points = np.tile(x, (2 * p, 1))
    points[2 * np.arange(p), np.arange(p)] = above
    points[2 * np.arange(p) + 1, np.arange(p)] = below
    return points, above - below


def differences(residuals: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Return dr/dx (count, p) from residuals (2 p, ...) at the points of :func:`stencil`."""
    rows = residuals.reshape(2 * len(distances), -1)
    return ((rows[0::2] - rows[1::2]) / distances[:, None]).T


def sensitivity_of(slopes: np.ndarray, names: tuple[str, ...], noise: float, logarithmic: bool) -> Sensitivity:
    """Return what derivatives dr/dx (count, p) of residuals say; noise : the standard deviation of a residual."""
    p = len(names)
    derivative = slopes / noise
    derivative = np.concatenate([derivative.real, derivative.imag]) if np.iscomplexobj(derivative) else derivative
    if not np.all(np.isfinite(derivative)):
        return unknown_sensitivity(p, "points beside failed")
    # rows of zeros and not full_matrices, whose U would have the number of measurements squared
    rows_missing = np.zeros((max(p - len(derivative), 0), p))
    _, values, adjoint = np.linalg.svd(np.concatenate([derivative, rows_missing]), full_matrices=False)
    directions = adjoint.T.copy()
    # the sign is free: the largest part is positive
    directions *= np.sign(directions[np.argmax(np.abs(directions), axis=0), np.arange(p)])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        parts = np.where(np.abs(directions) > ROUGH, np.abs(directions) / values, 0.0)
        spread = np.sqrt(np.sum(np.square(parts), axis=1))
    open_ones = [j for j in range(p) if not values[j] * RANGE > 1]
    said = tuple(_sentence(directions[:, j], float(values[j]), names, logarithmic) for j in open_ones)
    return Sensitivity(values, directions, spread, said)


def unknown_sensitivity(p: int, why: str) -> Sensitivity:
    """Return that nothing is known of p parameters, and why."""
    return Sensitivity(np.full(p, np.nan), np.eye(p), np.full(p, np.inf), (f"not known: {why}",))


def _sentence(direction: np.ndarray, value: float, names: tuple[str, ...], logarithmic: bool) -> str:
    """Return a direction that is not determined, with names."""
    large = [i for i in np.argsort(-np.abs(direction)) if abs(direction[i]) >= NAMED * np.abs(direction).max()]
    if len(large) == 1:
        what = names[large[0]]
    else:
        what = ""
        for i in large:
            sign = " - " if direction[i] < 0 else " + "
            what += f"{sign if what else sign.strip(' +')}{abs(direction[i]):.2f} {names[i]}"
        what += f" (in units of the {'logarithms of the ' if logarithmic else ''}ranges)"
    return f"{what}: over its whole range the data change by {value:.2g} standard deviations of the noise"
