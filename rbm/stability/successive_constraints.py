"""The successive constraint method: lower bounds of coercivity constants from a linear program nobody has to trust."""

from __future__ import annotations

import itertools
import os
import warnings
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lowrank.arrays import namespace, to_numpy
from rbm.affine.fingerprints import digest
from rbm.affine.system import AffineSystem
from rbm.arithmetic.precision import ROUND_OFF
from rbm.errors import StabilityError, WorkersLost
from rbm.parameters.space import ParameterSpace
from rbm.stability.constraint_choice import ConstraintChoice, Constraints, expected_seconds
from rbm.stability.cost import announce, interrupted, proving_sources, read_kept, write_kept
from rbm.stability.executors import Employer, Step, lost
from rbm.stability.options import check_options
from rbm.stability.positive import positive
from rbm.stability.stored_space import stored_space
from rbm.stability.vertex_walk import VertexWalk
from rbm.storage.registry import register
from rbm.storage.stored_arrays import Stored, checked_arrays
from rbm.weak_greedy import StoppingRule, weak_greedy
from rbm.workers.crew import Crew

__all__ = ["SCM", "BoundSCM"]

KIND = "stability constraints"
KIND_OF_RANGES = "ranges of Hermitian parts"
#: Number of training points by default, and of corners of the parameter ranges that are added to them.
TRAINING, CORNERS = 500, 128
#: So many constraints per Hermitian part are expected.
EXPECTED = 4
#: At most so many vertices are kept.
VERTICES = 60


@dataclass(frozen=True, eq=False)
class SCM(Employer):
    """The successive constraint method: a lower bound of the coercivity constant, for models of any size.

    The Hermitian part of A(mu) must be positive definite for all mu. Its terms and coefficients may have any sign, and
    coefficients may be complex: with the Hermitian parts H_q of A_q (and of i A_q), real coefficients c_q(mu), and the
    Rayleigh quotients y_q(w) = w^H H_q w / w^H P w,

        alpha(mu) = min_w c(mu) . y(w)  >=  min { c(mu) . y : lo <= y <= hi,  c(mu_j) . y >= alpha(mu_j) for all j },

    a linear program with Q unknowns. Its value is not taken from a solver: any lambda >= 0 gives the lower bound
    sum_j lambda_j alpha_j + sum_q min(r_q lo_q, r_q hi_q), r = c(mu) - sum_j lambda_j c(mu_j), minus its rounding.

    Parameters
    ----------
    training : (M, p) parameter points on which the bound is made at least (1 - tol) of the constant; by default 500
        points, and the corners of the ranges of up to seven parameters
    tol : in (0, 1). Small ones make sharper bounds, and more eigenvalue problems
    max_constraints : stop at so many points mu_j
    rng, progress : of the default training points; whether to show a bar
    cache : a folder where constraints are kept while they are computed, by the SHA-256 of the model, the
        training points and the sources that prove; an interrupted run, or one for the same model, goes on from there
    batch : the most constants a step: at the worst point, and where the bound would be worst if the constants before
        were as large as they may be (:meth:`rbm.stability.constraint_choice.ConstraintChoice.extend`). The points
        depend on it, and so does the bound
    executor : ranges, and the constants of a step, are computed by its workers (docs/scale.md) while the model is made;
        the bound depends neither on it nor on the number of workers

    Points mu_j are chosen greedily, where 1 - lower / upper is largest; the upper bound is the smallest Rayleigh
    quotient c(mu) . y(w_j) of the minimisers so far.

    Proved: the ends lo, hi and the constants alpha_j, which come from an eigensolver and are then shown by the signs of
    pivots (:mod:`rbm.stability.hermitian_parts`), and the bound itself, its rounding included. Measured: that it is
    sharp. Online no solver runs: walks between vertices of the program, from at most 60 of them that are kept, find the
    multipliers (:mod:`rbm.stability.vertex_walk`).

    Raises StabilityError where the model is not coercive, naming the parameter, if the eigensolver does not converge or
    the program fails, and if `max_constraints` leave a bound that is not positive; they warn where they do not reach
    `tol`. Raises Interrupted on Ctrl-C, and WorkersLost where workers die more than once, with the points so far. Cost
    offline: two eigenvalues per part and one per mu_j, a factorisation each to prove them; online O(K Q + steps (J Q +
    Q^2)) per point for K vertices, about Q / 2 steps. It grows with Q: above 15 or so, and for models that are not
    coercive, choose another bound.
    Source: Huynh, Rozza, Sen and Patera, C. R. Math. 345 (2007) 473-478; the bound: :mod:`rbm.stability.safe_dual`.
    """

    training: Any = None
    tol: float = 0.1
    max_constraints: int = 60
    rng: int = 0
    progress: bool = False
    cache: str | os.PathLike[str] | None = None
    batch: int = 1
    executor: Executor | None = None

    def bind(self, system: AffineSystem) -> BoundSCM:
        """Choose the constraints for a system, going on with those in the cache.

        Raises StabilityError, Interrupted and WorkersLost as the class says.
        """
        check_options(self)
        space = system.parameters
        mus = _default_points(space, self.rng) if self.training is None else space.validate(self.training)
        path = None if self.cache is None else self._file(Path(self.cache), system, mus)
        beside = None if path is None else path.with_name(path.name.replace("constraints", "ranges"))
        known, choice = read_kept(path, KIND, "constraints", partial(Constraints.from_arrays, space=space)), None
        try:
            ranges = None if known is not None else read_kept(beside, KIND_OF_RANGES, "ranges", _ranges)
            with Crew(self.executor, None) as crew:
                choice = ConstraintChoice(
                    system,
                    mus,
                    known,
                    lambda parts: self._announce(system, parts, crew.count),
                    crew,
                    Step(self.batch, self.max_constraints, self.tol),
                    ranges,
                    lambda ends: write_kept(beside, KIND_OF_RANGES, "ranges", {"ranges": ends}),
                )
                if known is None and path is not None and beside is not None:
                    write_kept(path, KIND, "constraints", _arrays(choice.constraints))
                    beside.unlink(missing_ok=True)
                stop, worst = weak_greedy(
                    choice,
                    StoppingRule(tol=self.tol, limit=self.max_constraints, least=1),
                    "stability constraints",
                    shown=lambda value: f"gap {value:.2g}",
                    total=self.max_constraints,
                    progress=self.progress,
                    after=lambda: write_kept(path, KIND, "constraints", _arrays(choice.constraints)),
                )
        except (KeyboardInterrupt, WorkersLost) as error:
            raise self._broken_off(error, known if choice is None else choice.constraints, path) from error
        if stop != "tolerance":
            self._left(choice, worst.value, space)
        return BoundSCM(choice.constraints, choice.vertices(VERTICES).active, space)

    def _broken_off(
        self, error: KeyboardInterrupt | WorkersLost, found: Constraints | None, path: Path | None
    ) -> BaseException:
        """Return the error about Ctrl-C or lost workers, with what was found before."""
        done, points = "some of the ranges of Hermitian parts", None
        if found is not None:
            done, points = f"{len(found.levels)} stability constraints", found.points
        if isinstance(error, WorkersLost):
            return lost(error, done, path, points)
        where = "" if found is None else "; their parameter points are in `result` of this exception"
        return interrupted(done, path, points, where)

    def _announce(self, system: AffineSystem, parts: int, workers: int) -> None:
        constants = min(self.max_constraints, EXPECTED * parts)
        rounds = -(-parts // workers), -(-constants // min(workers, self.batch))
        announce(
            f"SCM: ranges of {parts} Hermitian parts and about {constants} constants",
            expected_seconds(system, *rounds),
            "a larger tol= or fewer max_constraints= make it shorter, and cache= keeps what is done",
            progress=self.progress,
        )

    def _left(self, choice: ConstraintChoice, gap: float, space: ParameterSpace) -> None:
        """Warn about a tolerance that is not reached; StabilityError where the bound is not positive."""
        point = int(np.argmin(choice.lower))
        what = f"{choice.size} constraints are not enough: 1 - (bound / upper bound of the constant) is {gap:.2g}"
        advice = "allow more (max_constraints=), ask for less (tol=), or narrow the parameter ranges"
        if not choice.lower[point] > 0:
            raise StabilityError(
                f"{what}, and the stability bound is {choice.lower[point]:.3g} at {space.describe(choice.mus[point])}; "
                + advice
            )
        warnings.warn(f"{what}, not {self.tol:g}; the bound is true all the same; {advice}", UserWarning, stacklevel=4)

    def _file(self, folder: Path, system: AffineSystem, mus: np.ndarray) -> Path:
        # with the sources: what another version of them certified is not for this one; tol and max_constraints decide
        # only how many there are
        return folder / f"constraints-{digest((proving_sources(), system.operators_fingerprint(), mus))[:40]}.npz"

    def __repr__(self) -> str:
        return f"SCM(tol={self.tol:g}, max_constraints={self.max_constraints})"


def _default_points(space: ParameterSpace, rng: int) -> np.ndarray:
    """Return the training points: samples, and the corners of the ranges where there are not too many."""
    made = space.sample(TRAINING, rng=rng)
    if 2 ** len(space) > CORNERS:
        return made
    return np.concatenate([made, np.array(list(itertools.product(*space.bounds)), dtype=made.dtype)])


def _ranges(arrays: dict[str, np.ndarray]) -> np.ndarray:
    ends = arrays["ranges"]
    if not (ends.ndim == 2 and ends.shape[1] == 2 and np.all(ends[:, 0] <= ends[:, 1])):
        raise ValueError("the ranges of its Hermitian parts do not fit each other")
    return ends


def _arrays(constraints: Constraints) -> dict[str, np.ndarray]:
    return {f.name: getattr(constraints, f.name) for f in fields(constraints)}


@register("stability bound")
@dataclass(frozen=True, eq=False)
class BoundSCM:
    """:class:`SCM` bound to a model: constraints, and vertices of their linear program."""

    kind: ClassVar[str] = "scm"
    checked: ClassVar[bool] = True

    constraints: Constraints
    active: np.ndarray  #: (K, Q) the inequalities that hold with equality at each vertex
    parameters: ParameterSpace

    def arrays(self) -> dict[str, Any]:
        """Return the state by name, for a file."""
        known = {f.name: getattr(self.constraints, f.name) for f in fields(self.constraints)}
        return {**known, "active": self.active, "parameters": self.parameters}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Any]) -> BoundSCM:
        """Make the bound from what :meth:`arrays` returned. Raises ValueError for arrays that do not fit."""
        space = stored_space("constraints", arrays)
        constraints = Constraints.from_arrays(arrays, space)
        expected = {"active": Stored("kq", "i", least=0)}
        active = checked_arrays("constraints", arrays, expected, {"q": len(constraints.lower)})["active"]
        if not VertexWalk(constraints.program, active).starts():
            raise ValueError("the vertices of its linear program do not fit the constraints")
        return cls(constraints, active, space)

    @property
    def term_count(self) -> int:
        """The number of operator terms that it is for, Qa."""
        return len(self.constraints.losses) // 2

    @cached_property
    def walk(self) -> VertexWalk:
        """The linear program, and where its walks start."""
        return VertexWalk(self.constraints.program, self.active)

    def __call__(self, mus: Any, theta: Any) -> Any:
        """Return beta (M,); raise StabilityError where it is not positive."""
        return positive(
            self.constant(theta),
            lambda i, value, where: (
                f"the SCM bound is {value:.3g} at {self.parameters.describe(to_numpy(mus)[i])} ({where}): the model is "
                "not coercive there, or none of the training points is near: bind it with more (training=), a smaller "
                "tol=, or leave this parameter out"
            ),
        )

    def constant(self, theta: Any) -> Any:
        """Return the bound (M,), whatever its sign, from coefficients theta (M, Qa)."""
        return self._without_loss(self.walk.bound(self.constraints.coefficients(theta)), theta)

    def _without_loss(self, bound: Any, theta: Any) -> Any:
        """Return the bound (M,) minus what all other parts may cost, the rounding of the difference included."""
        loss = self.constraints.loss(theta)
        if isinstance(loss, float):  # zero
            return bound
        made = bound - loss
        return made - 4 * ROUND_OFF * namespace(made).abs(made)

    def upper(self, theta: Any) -> Any:
        """Return upper bounds (M,) of the constant, from the minimisers at the constraints; right up to rounding."""
        xp, quotients = namespace(theta), self.constraints.quotients
        c = self.constraints.coefficients(theta)
        return xp.min(c @ xp.asarray(quotients.T), axis=1) + self.constraints.loss(theta)

    def linear_program(self, theta: np.ndarray) -> np.ndarray:
        """Return the bound (M,), whatever its sign, with multipliers of SciPy's solver; about a millisecond per point.

        theta : (M, Qa), ``model.operator_coefficients(mus)``
        """
        program, c = self.constraints.program, self.constraints.coefficients(theta)
        multipliers = np.stack([program.propose(row).multipliers for row in c]) if len(c) else np.zeros((0, 1))
        return self._without_loss(program.value(c, multipliers), theta)

    def __repr__(self) -> str:
        levels = f"{len(self.constraints.levels)} constraints, {len(self.constraints.lower)} Hermitian parts"
        return f"BoundSCM({levels}, {len(self.active)} vertices)"
