"""Where a box of parameters is cut: at the median of the training points, along its longest edge."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rbm.full_order import FullOrderModel
from rbm.parameters.ranges import filled
from rbm.reduced.model import ReducedModel

__all__ = ["Cut", "cut_of", "edge_lengths"]

#: Points on an edge between which changes of the model are added up.
ON_EDGE = 17
#: A part is trained beyond a cut by the mean distance of its points, or by this share of its edge, if that is less.
BEYOND = 0.2


class Cut(NamedTuple):
    """A box is cut where one parameter has a value: points with less are below."""

    axis: int  #: which parameter
    value: float

    def halves(self, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes (p, 2) below and above, of a box (p, 2)."""
        below, above = ends.copy(), ends.copy()
        below[self.axis, 1] = above[self.axis, 0] = self.value
        return below, above

    def sides(self, ends: np.ndarray, points: np.ndarray, inside: int, scale: str) -> tuple[np.ndarray, np.ndarray]:
        """Return which of the training points (m, p) each of the two parts is trained on, (m,) of bool.

        They are its own, and those that lie beyond the cut by less than the mean distance of points: between its last
        points and the cut a part would have none else, and its bounds would rise there.

        ends : (p, 2) of the box that is cut; inside : how many of the points lie in it
        """
        (low, high), x, value = ends[self.axis], points[:, self.axis], self.value
        share = min(BEYOND, max(inside / 2, 1.0) ** (-1 / len(ends)))
        if scale == "log":
            low, high, x, value = np.log(low), np.log(high), np.log(x), float(np.log(value))
        return x < value + share * (value - low), x >= value - share * (high - value)


def cut_of(
    model: FullOrderModel, reduced: ReducedModel, ends: np.ndarray, points: np.ndarray, least: int
) -> Cut | None:
    """Return where to cut a box, lower and upper ends (p, 2), that holds the training points (m, p).

    The longest edge is taken (:func:`edge_lengths`), and the median of the points along it, half way to the next ones,
    so that no point lies on the cut but where points differ in the last bit. Where that leaves fewer than `least`
    points on a side, the next edge is tried; None if there is none.
    """
    for axis in np.argsort(-edge_lengths(model, reduced, ends), kind="stable").tolist():
        values, counts = np.unique(points[:, axis], return_counts=True)
        if len(values) < 2:
            continue
        under = np.cumsum(counts)[:-1]  # points up to each value but the last
        k = int(np.argmin(np.abs(2 * under - len(points))))
        if min(under[k], len(points) - under[k]) < least:
            continue
        low, high = float(values[k]), float(values[k + 1])
        middle = float(np.sqrt(low) * np.sqrt(high)) if model.parameters.scale == "log" else low / 2 + high / 2
        value = middle if low < middle <= high else high
        if ends[axis, 0] < value < ends[axis, 1]:
            return Cut(axis, value)
    return None


def edge_lengths(model: FullOrderModel, reduced: ReducedModel, ends: np.ndarray) -> np.ndarray:
    """Return the lengths (p,) of the edges of a box (p, 2), as the model sees them: by how much it changes along each.

    Along an edge through the middle of the box, from point to point,

        sum of  sum_q |change of theta_q| ||A_q|| ||gamma||_2 + sum_q |change of phi_q| ||f_q||,

    with the spectral norms of the reduced terms, and gamma the solution in the middle: units of parameters cancel, and
    a parameter that hardly matters has a short edge, however wide its range.
    """
    scale = model.parameters.scale
    middle = filled(ends[:, 0], ends[:, 1], np.full(len(ends), 0.5), scale)
    size = float(np.linalg.norm(reduced.solve(middle, False, extrapolate=True).coefficients))
    operators = np.array([np.linalg.norm(a, 2) for a in reduced.operators]) * size
    rhs = np.linalg.norm(reduced.rhs, axis=1)
    lengths = np.zeros(len(ends))
    for j in range(len(ends)):
        unit = np.full((ON_EDGE, len(ends)), 0.5)
        unit[:, j] = np.linspace(0, 1, ON_EDGE)
        mus = np.clip(filled(ends[:, 0], ends[:, 1], unit, scale), ends[:, 0], ends[:, 1])
        theta, phi = model.operator_coefficients(mus), model.rhs_coefficients(mus)
        lengths[j] = np.sum(np.abs(np.diff(theta, axis=0)) @ operators + np.abs(np.diff(phi, axis=0)) @ rhs)
    return lengths
