"""Multipliers of the linear program of :mod:`rbm.stability.safe_dual` for many theta, without a solver.

The polytope of the program does not depend on theta, so vertices that were optimal offline are vertices for good. From
the one that is best for a new theta a few steps along edges lead to the optimum (the primal simplex method): with the
matrix B of the Q inequalities that hold with equality at a vertex, lambda = B^{-T} theta are the multipliers there; if
all are nonnegative, the vertex is optimal; if not, the edge of the most negative one goes down. Whatever the walk
returns, :meth:`rbm.stability.safe_dual.SafeDual.value` makes a proved bound of it: a walk that is cut short, or lost
its way by rounding, costs sharpness and not truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lowrank.arrays import all_true, beside, namespace
from rbm.online.chunks import tiles
from rbm.stability.safe_dual import Proposal, SafeDual

__all__ = ["ALLOWED", "LEAST", "VertexWalk", "steps_for"]

#: Multipliers count as nonnegative down to this share of the largest |theta_q|.
ALLOWED = 1e-12
#: Smallest slope of an inequality along an edge that counts as one, in units in which all numbers are about one.
LEAST = 1e-9
#: Two normal vectors are taken for parallel below this sine.
PARALLEL = 1e-7


def steps_for(count: int) -> int:
    """Return how many steps a walk in Q dimensions may take; the second half goes by Bland's rule, without cycles."""
    return 20 + 8 * count


@dataclass(frozen=True, eq=False)
class VertexWalk:
    """A program and K of its vertices, from which walks start.

    Units: |y_q| <= 1 and |C_jq| <= 1 about, as the thresholds of the walk are absolute.
    """

    program: SafeDual
    active: np.ndarray  #: (K, Q) the inequalities that hold with equality: j for C_j, J + q for lower_q, J + Q + q

    @classmethod
    def from_proposals(cls, program: SafeDual, proposals: Sequence[Proposal]) -> VertexWalk:
        """Make it from what a solver found, at one theta or more."""
        found = {tuple(sorted(_active(program, one))) for one in proposals}
        return cls(program, np.array(sorted(found), dtype=np.int64).reshape(len(found), len(program.lower)))

    def spread(self, theta: np.ndarray, most: int) -> VertexWalk:
        """Return the same from other vertices: up to `most` of those where walks for theta (M, Q) end.

        They are chosen one by one, each so that the best start of all theta gets nearest to the optimum on average.
        """
        ends = VertexWalk(self.program, np.unique(np.sort(self.ends(theta)[0], axis=1), axis=0))
        values = theta @ ends.points.T
        size = np.abs(theta) @ self.program.sizes
        above = (values - values.min(axis=1)[:, None]) / np.where(size > 0, size, 1.0)[:, None]
        best = np.full(len(theta), np.inf)
        chosen: list[int] = []
        while len(chosen) < min(most, len(ends.active)) and np.any(best > 0):
            with_each = np.minimum(best[:, None], above)
            chosen.append(int(np.argmin(with_each.sum(axis=0))))
            best = with_each[:, chosen[-1]]
        return VertexWalk(self.program, ends.active[chosen])

    @cached_property
    def normals(self) -> np.ndarray:
        """The left sides of all inequalities, (J + 2 Q, Q)."""
        return _inequalities(self.program)[0]

    @cached_property
    def edges(self) -> np.ndarray:
        """B^{-1} (K, Q, Q) of each vertex; column i is the edge on which all active inequalities but number i hold."""
        return np.linalg.inv(self.normals[self.active])

    def starts(self) -> bool:
        """Say whether there are vertices, and each is one: Q inequalities of the program, and B has an inverse.

        If they are independent by rounding only, walks from there go astray, which costs sharpness and not truth.
        """
        if not (len(self.active) and np.all((self.active >= 0) & (self.active < len(self.normals)))):
            return False
        try:
            return bool(np.all(np.isfinite(self.edges)))
        except np.linalg.LinAlgError:
            return False

    @cached_property
    def points(self) -> np.ndarray:
        """The vertices y (K, Q)."""
        right = _inequalities(self.program)[1][self.active]
        return (self.edges @ right[:, :, None])[:, :, 0]

    @cached_property
    def _packed(self) -> tuple[tuple[Any, ...], tuple[np.ndarray, ...]]:
        """The program and the starts as the kernel takes them (:func:`rbm.online.kernels.vertices.walk_all`)."""
        program, contiguous = self.program, np.ascontiguousarray
        box = np.stack([program.lower, program.upper])
        distances = self.points @ program.rows.T - program.levels
        return (contiguous(program.rows.T), program.levels, box, program.rounding, program.underflow), tuple(
            contiguous(a) for a in (self.active, self.points.T, self.edges, distances)
        )

    def bound(self, theta: Any) -> Any:
        """Return the proved bound (M,) of the program, from coefficients theta (M, Q).

        On the CPU by compiled code; :meth:`multipliers` is its definition. Cost: O(K Q) per point, and O(J Q) per step.
        """
        if isinstance(theta, np.ndarray):
            from rbm.online.kernels.vertices import walk_all  # loads Numba

            count, rows = len(self.program.lower), len(self.program.levels)
            answers = np.empty(len(theta))
            scratch = np.empty(count * (count + 6) + 2 * rows + len(self.active)), np.empty(count, np.int64)
            limits = steps_for(count), LEAST, ALLOWED
            walk_all(np.ascontiguousarray(theta, float), *self._packed, limits, answers, *scratch)
            return answers
        return self.program.value(theta, self.multipliers(theta))

    def multipliers(self, theta: Any) -> Any:
        """Return lambda (M, J) where the walks end, for coefficients theta (M, Q); the readable definition."""
        xp, (held, values) = namespace(theta), self.ends(theta)
        numbers = beside(np.arange(len(self.program.levels)), theta)
        positive = xp.where(values > 0, values, 0.0)
        return sum(
            xp.where(held[:, i, None] == numbers, positive[:, i, None], 0.0) for i in range(len(self.program.lower))
        )

    def ends(self, theta: Any) -> tuple[Any, Any]:
        """Return which inequalities hold with equality where the walks end, and their multipliers, both (M, Q)."""
        count = len(self.program.lower)
        parts = [
            self._walk(theta[rows, ...])
            for rows in tiles(theta.shape[0], 32 * (count**2 + len(self.normals) + len(self.active)), theta)
        ]
        held, values = zip(*parts, strict=True)
        return namespace(theta).concat(list(held)), namespace(theta).concat(list(values))

    def _walk(self, theta: Any) -> tuple[Any, Any]:
        xp, program = namespace(theta), self.program
        q = len(program.lower)
        normals, edges, points, right = (
            beside(a, theta) for a in (self.normals, self.edges, self.points, _inequalities(program)[1])
        )
        numbers = beside(np.arange(q), theta)
        start = xp.argmin(theta @ points.T, axis=1)
        inverse, y = xp.take(edges, start, axis=0), xp.take(points, start, axis=0)
        held = xp.take(beside(self.active, theta), start, axis=0)
        tolerance = ALLOWED * xp.max(xp.abs(theta), axis=1)
        steps = steps_for(q)
        for step in range(steps + 1):
            multipliers = xp.sum(theta[:, :, None] * inverse, axis=1)
            down = multipliers < -tolerance[:, None]
            # the most negative one; later, so that no walk goes in circles, that of the first inequality
            order = multipliers if 2 * step < steps else xp.where(down, 1.0 * held - len(self.normals), 1.0)
            leaving = numbers[None, :] == xp.argmin(order, axis=1)[:, None]
            moving = xp.any(down, axis=1)
            if step == steps or not bool(xp.any(moving)):
                break
            edge = xp.sum(xp.where(leaving[:, None, :], inverse, 0.0), axis=2)
            slopes = edge @ normals.T
            distance = y @ normals.T - right
            distance = xp.where(distance > 0, distance, 0.0)
            hits = slopes < -LEAST
            far = xp.where(hits, distance / xp.where(hits, -slopes, 1.0), xp.inf)
            length = xp.min(far, axis=1)
            moving = moving & (length < xp.inf)
            entering = xp.argmin(far, axis=1)
            # B^{-1} with one row of B replaced
            image = xp.sum(xp.take(normals, entering, axis=0)[:, :, None] * inverse, axis=1)
            pivot = xp.sum(xp.where(leaving, image, 0.0), axis=1)
            ratio = edge / xp.where(moving, pivot, 1.0)[:, None]
            updated = inverse - ratio[:, :, None] * xp.where(leaving, pivot[:, None] - 1, image)[:, None, :]
            inverse = xp.where(moving[:, None, None], updated, inverse)
            y = xp.where(moving[:, None], y + xp.where(moving, length, 0.0)[:, None] * edge, y)
            held = xp.where(leaving & moving[:, None], entering[:, None], held)
            if all_true(~moving):
                break
        return held, multipliers


def _inequalities(program: SafeDual) -> tuple[np.ndarray, np.ndarray]:
    """Return left (J + 2 Q, Q) and right sides (J + 2 Q,) of all inequalities left @ y >= right."""
    one = np.eye(len(program.lower))
    return np.concatenate([program.rows, one, -one]), np.concatenate([program.levels, program.lower, -program.upper])


def _active(program: SafeDual, found: Proposal) -> list[int]:
    """Return Q independent inequalities that hold with equality at a vertex, those with multipliers first."""
    normals, right = _inequalities(program)
    slack = (normals @ found.minimiser - right) / np.linalg.norm(normals, axis=1)
    slack[: len(found.multipliers)][found.multipliers > 0] -= np.inf
    chosen: list[int] = []
    basis = np.zeros((0, normals.shape[1]))
    for i in np.argsort(slack, kind="stable"):
        left = normals[i] / np.linalg.norm(normals[i])
        for _ in range(2):
            left = left - (left @ basis.T) @ basis
        size = np.linalg.norm(left)
        if size > PARALLEL:
            chosen.append(int(i))
            basis = np.concatenate([basis, left[None] / size])
        if len(chosen) == normals.shape[1]:
            break
    return chosen
