"""The natural-norm bound as it is evaluated online: one small linear program per anchor."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from lowrank.arrays import beside, device, is_complex, namespace, to_numpy
from rbm.arithmetic.precision import ROUND_OFF
from rbm.parameters.space import ParameterSpace
from rbm.stability.positive import positive
from rbm.stability.safe_dual import SafeDual
from rbm.stability.stored_space import stored_space
from rbm.stability.vertex_walk import VertexWalk
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored, checked_arrays

__all__ = ["AnchorProgram", "BoundNaturalNorm"]


@dataclass(frozen=True, eq=False)
class AnchorProgram:
    """The linear program of one anchor, in R coordinates y / scales, and what starts its walks."""

    constant: float  #: a proved lower bound of beta(mu_k)
    theta: np.ndarray  #: theta(mu_k) (Qa,)
    scales: np.ndarray  #: (R,) powers of two: |y_r / scales_r| <= 1
    losses: np.ndarray  #: (2 Qa,) what |Re theta_q| and |Im theta_q| of all other coordinates cost
    program: SafeDual
    quotients: np.ndarray  #: (S, R) attained y / scales: c . y is an upper bound of b_k
    active: np.ndarray  #: (V, R) vertices of the program

    @cached_property
    def walk(self) -> VertexWalk:
        """The program with its vertices."""
        return VertexWalk(self.program, self.active)

    def bound(self, c: Any, size: Any) -> Any:
        """Return the bound (M,) from c (M, R) of the coordinates, and |Re theta|, |Im theta| (M, Qa or 2 Qa)."""
        xp = namespace(c)
        found = self.walk.bound(c * beside(self.scales, c)) - size @ beside(self.losses[: size.shape[1]], c)
        return self.constant * found - 4 * ROUND_OFF * self.constant * xp.abs(found)

    def started(self, c: np.ndarray) -> AnchorProgram:
        """Return the same with the vertex that a solver finds for the coefficients c (R,) as a further start."""
        found = VertexWalk.from_proposals(self.program, [self.program.propose(c)]).active
        return replace(self, active=np.unique(np.concatenate([self.active, found]), axis=0))

    def constrained(self, c: np.ndarray, level: float) -> AnchorProgram:
        """Return the same with one more constraint c . y >= level; walks have to be started anew."""
        exponent = -int(np.frexp(np.abs(c).max())[1])
        program = self.program.extended(np.ldexp(c, exponent), float(np.ldexp(level, exponent)))
        return replace(self, program=program, active=self.active[:0])


#: What a file holds of a bound, with one entry of `lengths` for each anchor: of its levels, quotients and vertices.
STORED = {
    "lengths": Stored("k3", "i", least=1),
    "constants": Stored("k", positive=True),
    "theta": Stored("kt", "c"),
    "scales": Stored("kr", positive=True),
    "losses": Stored("kl", least=0),
    "lower": Stored("kr"),
    "upper": Stored("kr"),
    "rows": Stored("jr"),
    "levels": Stored("j"),
    "quotients": Stored("sr"),
    "active": Stored("vr", "i", least=0),
    "positions": Stored("r", "i", least=0),
}


@register("stability bound")
@dataclass(frozen=True, eq=False)
class BoundNaturalNorm:
    """:class:`rbm.stability.NaturalNorm` bound to a model: the linear programs of its anchors."""

    kind: ClassVar[str] = "natural-norm"
    checked: ClassVar[bool] = True

    anchors: tuple[AnchorProgram, ...]
    positions: np.ndarray  #: (R,) of the coordinates in (Re theta, Im theta)
    parameters: ParameterSpace

    def coefficients(self, theta: Any) -> Any:
        """Return c (M, R), the coefficients of the coordinates."""
        xp, count = namespace(theta), theta.shape[1]
        if is_complex(theta):
            both = xp.concat([xp.real(theta), xp.imag(theta)], axis=1)
        else:
            both = xp.concat([theta, xp.zeros_like(theta)], axis=1) if int(self.positions.max()) >= count else theta
        return xp.take(both, beside(self.positions, both), axis=1)

    def promises(self, c: Any) -> Any:
        """Return beta_k min_i c . y_i (M, K): upper bounds of what each anchor can give."""
        quotients, starts = self._quotients
        if isinstance(c, np.ndarray):
            return np.minimum.reduceat(c @ quotients, starts[:-1], axis=1)
        xp, every = namespace(c), c @ beside(quotients, c)
        ends = itertools.pairwise(starts)
        return xp.stack([xp.min(every[:, int(i) : int(j)], axis=1) for i, j in ends], axis=1)

    def most_promising(self, c: Any) -> Any:
        """Return the anchor (M,) that promises most: any would do. On the CPU by compiled code."""
        if not isinstance(c, np.ndarray):
            return namespace(c).argmax(self.promises(c), axis=1)
        from rbm.online.kernels.vertices import most_promising  # loads Numba

        chosen = np.empty(len(c), dtype=np.int64)
        most_promising(np.ascontiguousarray(c, float), *self._rows, chosen)
        return chosen

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        quotients, starts = self._quotients
        return np.ascontiguousarray(quotients.T), starts

    @cached_property
    def _quotients(self) -> tuple[np.ndarray, np.ndarray]:
        """All beta_k y (R, S), and where each anchor's begin, with their number at the end."""
        parts = [(a.quotients * a.scales).T * a.constant for a in self.anchors]
        return np.concatenate(parts, axis=1), np.cumsum([0, *(p.shape[1] for p in parts)])

    def constant(self, theta: Any) -> Any:
        """Return the bound (M,), whatever its sign, from coefficients theta (M, Qa), by the most promising anchor."""
        xp, c = namespace(theta), self.coefficients(theta)
        chosen = self.most_promising(c)
        parts = [xp.real(theta), xp.imag(theta)] if is_complex(theta) else [theta]
        size = xp.abs(xp.concat(parts, axis=1)) * (1 + 4 * (theta.shape[1] + 2) * ROUND_OFF)
        beta = xp.zeros(theta.shape[0], dtype=c.dtype, device=device(c))
        for k, anchor in enumerate(self.anchors):
            here = chosen == k
            if isinstance(theta, np.ndarray):  # only the points of this anchor
                if np.any(here):
                    beta[here] = anchor.bound(c[here], size[here])
            elif bool(xp.any(here)):
                beta = xp.where(here, anchor.bound(c, size), beta)
        return beta

    def __call__(self, mus: Any, theta: Any) -> Any:
        """Return beta (M,); raise StabilityError where it is not positive."""
        return positive(
            self.constant(theta),
            lambda i, value, where: (
                f"the natural-norm bound from {len(self.anchors)} anchors is {value:.3g} at "
                f"{self.parameters.describe(to_numpy(mus)[i])} ({where}); an error bound needs beta > 0: bind it with "
                "more training points (training=), or stay inside the parameter ranges"
            ),
        )

    def arrays(self) -> dict[str, Any]:
        """Return the state by name, for a file: arrays of all anchors one after the other, and their lengths."""
        programs = [a.program for a in self.anchors]
        return {
            "constants": np.array([a.constant for a in self.anchors]),
            **{n: np.stack([getattr(a, n) for a in self.anchors]) for n in ("theta", "scales", "losses")},
            **{n: np.stack([getattr(p, n) for p in programs]) for n in ("lower", "upper")},
            **{n: np.concatenate([getattr(p, n) for p in programs]) for n in ("rows", "levels")},
            **{n: np.concatenate([getattr(a, n) for a in self.anchors]) for n in ("quotients", "active")},
            "lengths": np.array([[len(a.program.levels), len(a.quotients), len(a.active)] for a in self.anchors]),
            "positions": self.positions,
            "parameters": self.parameters,
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> BoundNaturalNorm:
        """Make the bound from what :meth:`arrays` returned. Raises ValueError for arrays that do not fit."""
        what, space = "anchors", stored_space("anchors", arrays)
        lengths = checked_arrays(what, arrays, {"lengths": Stored("k3", "i", least=1)})["lengths"]
        totals = {"k": len(lengths), **dict(zip("jsv", map(int, lengths.sum(axis=0)), strict=True))}
        arrays = checked_arrays(what, arrays, STORED, totals)
        count = 2 * arrays["theta"].shape[1]
        if not (totals["k"] and arrays["losses"].shape[1] == count and np.all(lengths[:, 0] >= 2)):
            raise ValueError("the arrays of its anchors do not fit each other")
        if not (len(arrays["positions"]) and np.all(arrays["positions"] < count)):
            raise ValueError("the arrays of its anchors do not fit each other: 'positions' name no coefficients")
        starts = np.cumsum(lengths, axis=0)[:-1]
        split = {
            n: np.split(arrays[n], starts[:, i])
            for n, i in (("rows", 0), ("levels", 0), ("quotients", 1), ("active", 2))
        }
        anchors = []
        for i in range(totals["k"]):
            program = SafeDual(arrays["lower"][i], arrays["upper"][i], split["rows"][i], split["levels"][i])
            active = split["active"][i]
            if not (program.fits() and VertexWalk(program, active).starts()):
                raise ValueError("the linear programs of its anchors do not fit their vertices")
            of_anchor = float(arrays["constants"][i]), arrays["theta"][i], arrays["scales"][i], arrays["losses"][i]
            anchors.append(AnchorProgram(*of_anchor, program, split["quotients"][i], active))
        return cls(tuple(anchors), arrays["positions"], space)

    @property
    def term_count(self) -> int:
        """The number of operator terms that it is for, Qa."""
        return len(self.anchors[0].theta)

    def __repr__(self) -> str:
        constants = [a.constant for a in self.anchors]
        rows = sum(len(a.program.levels) - 2 for a in self.anchors)
        return (
            f"BoundNaturalNorm({len(constants)} anchors, beta {min(constants):.3g} to {max(constants):.3g} at them, "
            f"{rows} constraints)"
        )
